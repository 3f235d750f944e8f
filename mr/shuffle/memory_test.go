package shuffle

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"testing"
)

// constant is what a Writer or a merge may hold beside Options.Memory: a block being packed
// and its packed form, small structures.
const constant = 384 << 10

// heapAbove is the live heap, above base.
func heapAbove(base uint64) int64 {
	var ms runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&ms)
	return int64(ms.HeapAlloc) - int64(base)
}

// Whatever the records look like, live memory stays within the bound, in the Writer, in its
// last merge and in the merge of a reduce task.
func TestMemoryStaysWithinTheBound(t *testing.T) {
	for _, c := range []struct {
		name       string
		memory     int64
		key, value func(i int) int
		records    int
	}{
		{"hundred bytes", 1 << 20, func(int) int { return 10 }, func(int) int { return 90 }, 100_000},
		{"a few bytes", 1 << 20, func(int) int { return 3 }, func(int) int { return 1 }, 200_000},
		{"nothing", 512 << 10, func(int) int { return 0 }, func(int) int { return 0 }, 100_000},
		{"vectors", 2 << 20, func(int) int { return 12 }, func(int) int { return 32 << 10 }, 600},
		{"volumes", 8 << 20, func(int) int { return 12 }, func(int) int { return 800 << 10 }, 30},
		{"first small, then large", 4 << 20, func(int) int { return 8 }, func(i int) int {
			if i < 100_000 {
				return 4
			}
			return 300 << 10
		}, 100_080},
		{"all sizes", 1 << 20, func(i int) int { return i % 40 }, func(i int) int {
			return int(rand.New(rand.NewPCG(uint64(i), 1)).Uint64() >> 40 % (1 << (i % 16)))
		}, 8_000},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			value := make([]byte, 1<<20)
			rnd := rand.New(rand.NewPCG(1, 1))
			for i := range value {
				value[i] = byte(rnd.Uint32())
			}
			key := make([]byte, 64)
			out, err := os.CreateTemp(dir, "out")
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			base := uint64(heapAbove(0))
			var peak int64
			look := func() {
				if n := heapAbove(base); n > peak {
					peak = n
				}
			}
			w, err := NewWriter(Options{Partitions: 3, Memory: c.memory, Scratch: dir})
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			raw := int64(0)
			for i := range c.records {
				binary.BigEndian.PutUint64(key, rnd.Uint64())
				k, v := key[:c.key(i)], value[:c.value(i)]
				raw += int64(len(k) + len(v))
				if err := w.Add(t.Context(), k, v); err != nil {
					t.Fatal(err)
				}
				if i%(c.records/37+1) == 0 {
					look()
				}
			}
			index, err := w.Finish(t.Context(), &probe{w: out, look: look})
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if peak > c.memory+constant {
				t.Errorf("writing %d bytes took %d KiB, allowed are %d", raw, peak>>10, (c.memory+constant)>>10)
			}
			sorting := peak
			// As in a reduce task: the segment many times over.
			peak = 0
			for _, s := range index {
				var sources []Source
				for range 7 {
					sources = append(sources, Source{R: &probe{r: out, look: look}, Seg: s})
				}
				g, err := Merge(t.Context(), sources, MergeOptions{Memory: c.memory / 2, Scratch: dir})
				if err != nil {
					t.Fatal(err)
				}
				look()
				for n := 0; g.Next(t.Context()); n++ {
					for range g.Values() {
					}
					if n%(c.records/7+1) == 0 {
						look()
					}
				}
				if err := g.Err(); err != nil {
					t.Fatal(err)
				}
				if err := g.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if peak > c.memory/2+constant {
				t.Errorf("merging took %d KiB, allowed are %d", peak>>10, (c.memory/2+constant)>>10)
			}
			runtime.KeepAlive(value)
			t.Logf("bound %d KiB: sorting held %d, merging in half of it %d", c.memory>>10, sorting>>10, peak>>10)
		})
	}
}

// probe looks at the heap once in a while as it is written to or read.
type probe struct {
	w    io.Writer
	r    io.ReaderAt
	n    int
	look func()
}

func (p *probe) Write(b []byte) (int, error) {
	if p.n++; p.n%61 == 0 {
		p.look()
	}
	return p.w.Write(b)
}

// A record larger than all memory passes through, alone.
func TestRecordsLargerThanMemory(t *testing.T) {
	var recs []record
	for i := range 12 {
		n := 10
		if i%3 == 0 {
			n = 300_000 + i
		}
		recs = append(recs, record{key: string(rune('a' + 11 - i)), value: string(bytes.Repeat([]byte{byte(i)}, n))})
	}
	data, index := mapOutput(t, Options{Partitions: 1, Memory: 1000, MergeFactor: 2}, recs)
	got, err := merged(t.Context(), []Source{{R: bytes.NewReader(data), Seg: index[0]}, {R: bytes.NewReader(data), Seg: index[0]}}, MergeOptions{Memory: 1, Scratch: t.TempDir()})
	if err != nil || len(got) != 2*len(recs) {
		t.Fatalf("%d records, %v; want %d", len(got), err, 2*len(recs))
	}
	for i, g := range got {
		want := recs[len(recs)-1-i/2]
		if g.key != want.key || g.value != want.value || g.source != i%2 {
			t.Fatalf("record %d is %q with %d bytes of source %d, want %q with %d of %d", i, g.key, len(g.value), g.source, want.key, len(want.value), i%2)
		}
	}
}

func (p *probe) ReadAt(b []byte, off int64) (int, error) {
	if p.n++; p.n%101 == 0 {
		p.look()
	}
	return p.r.ReadAt(b, off)
}
