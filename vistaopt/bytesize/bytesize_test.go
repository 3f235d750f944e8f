package bytesize

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestWords: two digits or more, and the next unit where rounding comes to it.
func TestWords(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 9: "9 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 10_137: "9.9 KiB", 10_200: "10 KiB", 412 * mib: "412 MiB",
		mib - 1: "1.0 MiB", 1023*mib + mib/4: "1023 MiB", 1023*mib + mib/2: "1.0 GiB", 24 * gib: "24 GiB", -1536: "-1.5 KiB", 1<<63 - 1: "8.0 EiB", -1 << 63: "-8.0 EiB",
	} {
		if got := Nearest(n); got != want {
			t.Errorf("Nearest(%d) = %s, want %s", n, got, want)
		}
	}
	for n, want := range map[int64][3]string{
		303*mib + 1: {"304 MiB", "303 MiB", "304MiB"}, 303 * mib: {"303 MiB", "303 MiB", "303MiB"}, 10*gib - 1: {"10240 MiB", "10239 MiB", "10240MiB"},
		12*gib - 1: {"12.0 GiB", "11.9 GiB", "12288MiB"}, 12*gib + 1: {"12.1 GiB", "12.0 GiB", "12289MiB"}, 0: {"0 MiB", "0 B", "0MiB"},
		1: {"1 MiB", "1 B", "1MiB"}, 1 << 10: {"1 MiB", "1 KiB", "1MiB"}, mib - 1: {"1 MiB", "1023 KiB", "1MiB"},
	} {
		if got := [3]string{AtLeast(n), AtMost(n), Flag(n)}; got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

// TestRounding: what is needed is never shown smaller than it is, and what there is never larger; and where more is needed than
// there is, the two look different.
func TestRounding(t *testing.T) {
	read := func(t *rapid.T, s string) float64 {
		var v float64
		var unit string
		if _, err := fmt.Sscanf(s, "%g %s", &v, &unit); err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		return v * map[string]float64{"B": 1, "KiB": 1 << 10, "MiB": mib, "GiB": gib}[unit]
	}
	rapid.Check(t, func(t *rapid.T) {
		there := rapid.Int64Range(0, 1<<50).Draw(t, "there")
		needed := there + rapid.OneOf(rapid.Int64Range(1, 4), rapid.Int64Range(1, 1<<45)).Draw(t, "more")
		n, h := AtLeast(needed), AtMost(there)
		if n == h || read(t, n) < float64(needed)*(1-1e-15) || read(t, h) > float64(there)*(1+1e-15) {
			t.Errorf("%d of %d is %s of %s", needed, there, n, h)
		}
	})
}

// TestPart: parts have the unit of their sum.
func TestPart(t *testing.T) {
	for n, c := range map[int64]struct {
		sum  int64
		want string
	}{
		1126 * mib: {1527 * mib, "1126 MiB"}, 5 * gib: {10*gib - 1, "5120 MiB"}, 9*mib + mib/2: {40 * mib, "9.5 MiB"}, 10 * mib: {40 * mib, "10 MiB"},
		512 * mib: {10 * gib, "0.5 GiB"}, 12*gib + gib/4 + 1: {14 * gib, "12.3 GiB"},
	} {
		if got := Part(n, c.sum); got != c.want {
			t.Errorf("%d of %d: %q, want %q", n, c.sum, got, c.want)
		}
	}
}

// TestDistinct: sizes that differ look different, in no more digits than it takes.
func TestDistinct(t *testing.T) {
	if a, b := Distinct(2*mib+3000, 2*mib); a != "2.003 MiB" || b != "2.000 MiB" {
		t.Errorf("%s and %s", a, b)
	}
	if a, b := Distinct(3*mib, 2*mib); a != "3.0 MiB" || b != "2.0 MiB" {
		t.Errorf("%s and %s", a, b)
	}
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.Int64Range(0, 1<<50).Draw(t, "a")
		b := a + rapid.OneOf(rapid.Int64Range(0, 3), rapid.Int64Range(0, 1<<40)).Draw(t, "more")
		x, y := Distinct(a, b)
		if (x == y) != (a == b) {
			t.Errorf("%d and %d are %s and %s", a, b, x, y)
		}
		if x == y && strings.Contains(x, ".000") {
			t.Errorf("%d twice in more digits than two: %s", a, x)
		}
	})
}
