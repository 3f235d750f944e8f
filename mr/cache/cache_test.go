package cache

import (
	"os"
	"sync"
	"testing"
)

func fill(t *testing.T, c *Cache, n int64, first float32) *Floats {
	t.Helper()
	f, err := c.NewFloats(n)
	if err != nil {
		t.Fatal(err)
	}
	row := make([]float32, 0, 7)
	for i := int64(0); i < n; {
		row = row[:0]
		for ; i < n && len(row) < cap(row); i++ {
			row = append(row, first+float32(i))
		}
		if err := f.Append(row); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Seal(); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFloatsOverflowToDiskAndReadTheSame(t *testing.T) {
	dir := t.TempDir()
	c := New(4*1000, dir)
	a := fill(t, c, 900, 0)
	b := fill(t, c, 200_000, 5) // does not fit beside a
	d := fill(t, c, 100, 9)     // fits exactly
	if !a.InMemory() || b.InMemory() || !d.InMemory() {
		t.Fatalf("in memory: a %v, b %v, d %v; want true, false, true", a.InMemory(), b.InMemory(), d.InMemory())
	}
	if u := c.Usage(); u.Memory != 4000 || u.Disk != 800_000 {
		t.Fatalf("usage %+v, want 4000 bytes in memory and 800000 on disk", u)
	}
	if names, _ := os.ReadDir(dir); len(names) != 0 {
		t.Fatalf("%d files are visible in the folder, want none: they must not outlive the process", len(names))
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			var buf []float32
			for off := int64(g); off+1000 <= b.Len(); off += 7919 {
				var v []float32
				var err error
				if v, buf, err = b.View(off, 1000, buf); err != nil {
					t.Error(err)
					return
				}
				if v[0] != 5+float32(off) || v[999] != 5+float32(off+999) {
					t.Errorf("view at %d begins %v and ends %v", off, v[0], v[999])
					return
				}
			}
		})
	}
	wg.Wait()
	for _, f := range []*Floats{a, b, d} {
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if u := c.Usage(); u.Memory != 0 || u.Disk != 0 || u.PeakMemory != 4000 {
		t.Fatalf("usage after close %+v, want nothing held and a peak of 4000", u)
	}
}

func TestFloatsRefuseMisuse(t *testing.T) {
	c := New(100, t.TempDir())
	f, err := c.NewFloats(4)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Append(make([]float32, 5)); err == nil {
		t.Error("more values than reserved were taken")
	}
	if _, _, err := f.View(0, 0, nil); err == nil {
		t.Error("a view before Seal was given")
	}
	if err := f.Seal(); err != nil {
		t.Fatal(err)
	}
	if err := f.Append([]float32{1}); err == nil {
		t.Error("a value after Seal was taken")
	}
	if _, _, err := f.View(0, 1, nil); err == nil {
		t.Error("a view past the end was given")
	}
}

func BenchmarkViewFromDisk(b *testing.B) {
	c := New(0, b.TempDir())
	f, err := c.NewFloats(16 << 20)
	if err != nil {
		b.Fatal(err)
	}
	row := make([]float32, 1<<16)
	for range 256 {
		if err := f.Append(row); err != nil {
			b.Fatal(err)
		}
	}
	if err := f.Seal(); err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	b.SetBytes(4 * 16 << 20)
	var buf []float32
	for b.Loop() {
		for off := int64(0); off < f.Len(); off += 1 << 20 {
			if _, buf, err = f.View(off, 1<<20, buf); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func TestClosingTwiceAndNegativeRoom(t *testing.T) {
	c := New(16, t.TempDir())
	for _, n := range []int64{4, 100} { // in memory, on disk
		f, err := c.NewFloats(n)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := f.Close(); err != nil {
				t.Errorf("%d values: %v", n, err)
			}
		}
	}
	for _, n := range []int64{-1, 1 << 62} {
		if _, err := c.NewFloats(n); err == nil {
			t.Errorf("room for %d values was given", n)
		}
	}
	if u := c.Usage(); u.Memory != 0 || u.Disk != 0 {
		t.Errorf("in use at the end: %+v", u)
	}
}
