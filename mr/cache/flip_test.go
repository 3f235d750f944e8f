package cache

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/vista-mr/vista-mr/mr/errs"
)

// TestFlippedBytesAreNoticed in a file, wherever they are: views that meet one fail, and the others are right.
func TestFlippedBytesAreNoticed(t *testing.T) {
	const values = 3*fileBuffer + 777
	c := New(0, t.TempDir())
	f, err := c.NewFloats(values)
	if err != nil {
		t.Fatal(err)
	}
	want := make([]float32, values)
	for i := range want {
		want[i] = float32(i)
	}
	for part := range slices.Chunk(want, 1000) {
		if err := f.Append(part); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Seal(); err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(1, 1))
	at := []int64{0, 3, 4*cell - 1, 4 * cell, 4*fileBuffer - 1, 4 * fileBuffer, 4*values - 1}
	for range 250 {
		at = append(at, rnd.Int64N(4*values))
	}
	var buf []float32
	for _, at := range at {
		var b [1]byte
		if _, err := f.file.ReadAt(b[:], at); err != nil {
			t.Fatal(err)
		}
		flipped := [1]byte{b[0] ^ byte(1+rnd.IntN(255))}
		if _, err := f.file.WriteAt(flipped[:], at); err != nil {
			t.Fatal(err)
		}
		n := 1 + rnd.Int64N(5000)
		lo := max(0, min(at/4-rnd.Int64N(n), values-n))
		if _, buf, err = f.View(lo, n, buf); !errs.Is(err, errs.Lost) {
			t.Errorf("byte %d is flipped, and a view of %d values from %d says %v", at, n, lo, err)
		}
		if _, err := f.file.WriteAt(b[:], at); err != nil {
			t.Fatal(err)
		}
		var v []float32
		if v, buf, err = f.View(lo, n, buf); err != nil || !slices.Equal(v, want[lo:lo+n]) {
			t.Fatalf("a view of %d values from %d is wrong, %v", n, lo, err)
		}
	}
	t.Logf("%d flips noticed", len(at))
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
