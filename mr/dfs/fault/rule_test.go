package fault

import (
	"path"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vista-mr/vista-mr/mr/errs"
)

func TestParseRules(t *testing.T) {
	got, err := ParseRules(`
# a comment
fail write path=*/part-* nth=3 kind=no-space
torn write after=4096; lose commit nth=1 times=-1   # two on a line
delay read by=50ms p=0.1
`)
	if err != nil {
		t.Fatal(err)
	}
	want := []Rule{
		{Do: Fail, Op: Write, Path: "*/part-*", Nth: 3, Kind: errs.NoSpace},
		{Do: Torn, Op: Write, After: 4096},
		{Do: Lose, Op: Commit, Nth: 1, Times: -1},
		{Do: Delay, Op: Read, By: 50 * time.Millisecond, P: 0.1},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestBadRules(t *testing.T) {
	for text, want := range map[string]string{
		"explode write":               `no action "explode"`,
		"fail":                        "the operation is missing",
		"fail rename":                 `no operation "rename"`,
		"\n\nlose read":               "line 3",
		"lose read":                   "lose cannot be done to read",
		"hang write":                  "hang cannot be done to write",
		"fail write nth":              "not key=value",
		"fail write nth=0":            "0 is below 1",
		"fail write nth=x":            "invalid syntax",
		"fail write p=2":              "at most 1",
		"fail write p=NaN":            "at most 1",
		"fail write kind=bad":         `no kind "bad"`,
		"fail write kind=unknown":     `no kind "unknown"`,
		"delay write":                 "by=DURATION is missing",
		"delay write by=-1s":          "not positive",
		"fail write colour=red":       "use path, nth",
		"torn write after=-1":         "-1 is below 0",
		"fail write times=-2":         "-2 is below -1",
		"fail open; fail write by=1x": "by: ",
	} {
		_, err := ParseRules(text)
		if !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want invalid with %q", text, err, want)
		}
	}
}

func FuzzParseRules(f *testing.F) {
	for _, s := range []string{"fail write path=*/part-* nth=3 kind=no-space", "delay any by=1h p=0.5\ntorn list after=1", "down any nth=2;full any", "#"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		rules, err := ParseRules(text)
		if err != nil {
			return
		}
		for _, r := range rules {
			again, err := ParseRules(r.String())
			if err != nil || len(again) != 1 || again[0] != r {
				t.Errorf("%+v printed as %q is read as %+v, %v", r, r, again, err)
			}
		}
	})
}

// FuzzGlob compares with the standard library's matcher on names without slashes.
func FuzzGlob(f *testing.F) {
	for _, c := range [][2]string{{"*", ""}, {"a*b*c", "aXbXbc"}, {"part-?", "part-1"}, {"**a", "bba"}, {"", "x"}, {"*.avro", "part.avro.tmp"}} {
		f.Add(c[0], c[1])
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		for _, s := range []string{pattern, name} {
			for _, r := range s {
				if r >= 0x80 || strings.ContainsRune(`/\[`, r) { // the library counts runes
					return
				}
			}
		}
		want, err := path.Match(pattern, name)
		if err == nil && glob(pattern, name) != want {
			t.Errorf("glob(%q, %q) = %v, want %v", pattern, name, !want, want)
		}
	})
}

func TestGlobCrossesSlashes(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"*/part-*", "job/map/0-1/part-3", true},
		{"*/part-*", "part-3", false},
		{"job/*", "job/a/b/c", true},
		{strings.Repeat("*a", 50), strings.Repeat("a", 5000) + "b", false}, // soon enough
	} {
		if got := glob(c.pattern, c.name); got != c.want {
			t.Errorf("glob(%q, %q) = %v", c.pattern, c.name, got)
		}
	}
}
