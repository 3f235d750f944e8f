package shuffle

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"iter"
	"os"
	"slices"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A resumed job must send keys where its first run did: these numbers never change. They were
// computed apart from this code, from the definition of 64-bit FNV-1a.
func TestPartitionIsFixedForEver(t *testing.T) {
	for key, want := range map[string]int{"": 519, "a": 819, "foobar": 943, "\x00\xff": 283, "record-0000017": 747} {
		if got := Partition([]byte(key), 997); got != want {
			t.Errorf("%q goes to %d of 997, want %d", key, got, want)
		}
	}
}

// world is a map output in the making, and what it should come to.
type world struct {
	maps    [][]record
	o       Options
	merge   MergeOptions
	scratch string
}

func drawWorld(t *rapid.T, scratch string) world {
	letters := rapid.SampledFrom([]byte{0, 1, 'a', 255})
	w := world{scratch: scratch,
		o: Options{Partitions: rapid.IntRange(1, 4).Draw(t, "partitions"), Scratch: scratch,
			Memory: rapid.Int64Range(1, 9000).Draw(t, "memory"), MergeFactor: rapid.IntRange(0, 5).Draw(t, "factor")},
		merge: MergeOptions{Scratch: scratch, Memory: rapid.Int64Range(1, 1<<20).Draw(t, "mergeMemory"),
			MergeFactor: rapid.IntRange(0, 5).Draw(t, "mergeFactor")},
	}
	n := 0
	for m := range rapid.IntRange(0, 8).Draw(t, "maps") {
		var recs []record
		for range rapid.IntRange(0, 120).Draw(t, "records") {
			key := rapid.SliceOfN(letters, 0, 11).Draw(t, "key")
			value := binary.BigEndian.AppendUint32(nil, uint32(n)) // tells where it came from
			switch rapid.IntRange(0, 9).Draw(t, "size") {
			case 0:
				value = nil
			case 1:
				value = append(value, bytes.Repeat([]byte{7}, rapid.IntRange(0, 3000).Draw(t, "more"))...)
			}
			recs = append(recs, record{string(key), string(value), m})
			n++
		}
		w.maps = append(w.maps, recs)
	}
	return w
}

// want is the records of a partition as a stable sort orders them.
func (w *world) want(partition int) (recs []record) {
	for _, rs := range w.maps {
		for _, r := range rs {
			if Partition([]byte(r.key), w.o.Partitions) == partition {
				recs = append(recs, r)
			}
		}
	}
	slices.SortStableFunc(recs, func(a, b record) int { return cmp.Compare(a.key, b.key) })
	return recs
}

// run sorts every map's records and returns the sources of each partition, with their maps.
func (w *world) run(t *rapid.T) (sources [][]Source, maps [][]int) {
	sources, maps = make([][]Source, w.o.Partitions), make([][]int, w.o.Partitions)
	for m, recs := range w.maps {
		sw, err := NewWriter(w.o)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range recs {
			if err := sw.Add(t.Context(), []byte(r.key), []byte(r.value)); err != nil {
				t.Fatal(err)
			}
		}
		var out bytes.Buffer
		index, err := sw.Finish(t.Context(), &out)
		if err != nil {
			t.Fatal(err)
		}
		if err := sw.Close(); err != nil {
			t.Fatal(err)
		}
		end := int64(0)
		for i, s := range index {
			if s.Offset != end || i > 0 && s.Partition <= index[i-1].Partition || s.Records > 0 && s.Block < s.RawBytes/s.Records {
				t.Fatalf("segment %d of %+v", i, index)
			}
			end += s.Bytes
			sources[s.Partition] = append(sources[s.Partition], Source{R: bytes.NewReader(out.Bytes()), Seg: s, Name: fmt.Sprint("map-", m)})
			maps[s.Partition] = append(maps[s.Partition], m)
		}
		if end != int64(out.Len()) {
			t.Fatalf("segments end at %d of %d", end, out.Len())
		}
	}
	return sources, maps
}

func (w *world) empty(t *rapid.T) {
	left, err := os.ReadDir(w.scratch)
	if err != nil || len(left) > 0 {
		t.Fatalf("%d files are left in scratch, %v", len(left), err)
	}
}

// Sorting, spilling and merging give what sorting in memory gives, for any memory, number of
// partitions and merge factor.
func TestSortIsAStableSort(t *testing.T) {
	scratch := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t, scratch)
		sources, maps := w.run(t)
		for p := range w.o.Partitions {
			got, err := merged(t.Context(), sources[p], w.merge)
			if err != nil {
				t.Fatal(err)
			}
			for i := range got {
				got[i].source = maps[p][got[i].source]
			}
			if want := w.want(p); !slices.Equal(got, want) {
				t.Fatalf("partition %d: %d records, want %d in the order of a stable sort", p, len(got), len(want))
			}
		}
		w.empty(t)
	})
}

// A combiner that joins lists sees every value of every key once, in order within a map,
// also when it leaves values unread or emits more than one.
func TestCombinerSeesEveryValueOnce(t *testing.T) {
	scratch := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t, scratch)
		for m := range w.maps { // lists of one
			for i := range w.maps[m] {
				w.maps[m][i].value = string(binary.BigEndian.AppendUint32(nil, uint32(i)))
			}
		}
		pieces := rapid.IntRange(1, 3).Draw(t, "pieces")
		w.o.Combine = func(key []byte, values iter.Seq[[]byte], emit func(key, value []byte) error) error {
			var all []byte
			for v := range values {
				all = append(all, v...)
			}
			n := max(1, len(all)/4/pieces) * 4
			for ; len(all) > 0; all = all[min(n, len(all)):] {
				if err := emit(key, all[:min(n, len(all))]); err != nil {
					return err
				}
			}
			return nil
		}
		sources, maps := w.run(t)
		for p := range w.o.Partitions {
			got, err := merged(t.Context(), sources[p], w.merge)
			if err != nil {
				t.Fatal(err)
			}
			var flat []record
			for _, r := range got {
				for v := []byte(r.value); len(v) > 0; v = v[4:] {
					flat = append(flat, record{r.key, string(v[:4]), maps[p][r.source]})
				}
			}
			if want := w.want(p); !slices.Equal(flat, want) {
				t.Fatalf("partition %d: %d values, want %d in order", p, len(flat), len(want))
			}
		}
		w.empty(t)
	})
}

// A group's values may be left at any point, or not be asked for at all.
func TestGroupsMayBeLeftAnywhere(t *testing.T) {
	scratch := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t, scratch)
		sources, _ := w.run(t)
		for p := range w.o.Partitions {
			g, err := Merge(t.Context(), sources[p], w.merge)
			if err != nil {
				t.Fatal(err)
			}
			want := w.want(p)
			for g.Next(t.Context()) {
				if len(want) == 0 || string(g.Key()) != want[0].key {
					t.Fatalf("key %q, %d records are left", g.Key(), len(want))
				}
				n := 0
				for n < len(want) && want[n].key == want[0].key {
					n++
				}
				i, take := 0, rapid.IntRange(0, n).Draw(t, "take")
				if take > 0 {
					for v, err := range g.Values() {
						if err != nil || string(v) != want[i].value {
							t.Fatalf("value %d of %q: %q, %v", i, g.Key(), v, err)
						}
						if i++; i == take {
							break
						}
					}
				}
				if i != take {
					t.Fatalf("%d values of %d", i, take)
				}
				want = want[n:]
			}
			if g.Err() != nil || len(want) > 0 {
				t.Fatalf("%d records are left: %v", len(want), g.Err())
			}
			if err := g.Close(); err != nil {
				t.Fatal(err)
			}
		}
		w.empty(t)
	})
}

// Memory changes how a map task gets there, never what it writes.
func TestOutputDoesNotDependOnMemory(t *testing.T) {
	scratch := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t, scratch)
		if len(w.maps) == 0 {
			return
		}
		w.maps = w.maps[:1]
		read := func() (data []byte, index Index) {
			sources, _ := w.run(t)
			for _, ss := range sources {
				for _, s := range ss {
					b := make([]byte, s.Seg.Bytes)
					if _, err := s.R.ReadAt(b, s.Seg.Offset); err != nil {
						t.Fatal(err)
					}
					data, index = append(data, b...), append(index, s.Seg)
				}
			}
			return data, index
		}
		a, ai := read()
		w.o.Memory, w.o.MergeFactor = 1<<20, 0
		if b, bi := read(); !bytes.Equal(a, b) || !slices.Equal(ai, bi) {
			t.Fatalf("%d and %d bytes, or different ones: %+v, %+v", len(a), len(b), ai, bi)
		}
	})
}
