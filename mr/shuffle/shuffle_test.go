package shuffle

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/vista-mr/vista-mr/mr/errs"
)

type record struct {
	key, value string
	source     int
}

// mapOutput runs a Writer over records and returns its file.
func mapOutput(t testing.TB, o Options, recs []record) ([]byte, Index) {
	t.Helper()
	o.Scratch = t.TempDir()
	w, err := NewWriter(o)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, r := range recs {
		if err := w.Add(t.Context(), []byte(r.key), []byte(r.value)); err != nil {
			t.Fatal(err)
		}
	}
	index, err := w.Finish(t.Context(), &out)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(o.Scratch); len(left) != 0 {
		t.Fatalf("%d spill files are left", len(left))
	}
	return out.Bytes(), index
}

func merged(ctx context.Context, sources []Source, o MergeOptions) (out []record, err error) {
	g, err := Merge(ctx, sources, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = cmp.Or(err, g.Close()) }()
	for g.Next(ctx) {
		for v, err := range g.Values() {
			if err != nil {
				return out, err
			}
			out = append(out, record{string(g.Key()), string(v), g.Source()})
		}
	}
	return out, g.Err()
}

func TestMergeEqualsSortingInMemory(t *testing.T) {
	for trial := range 60 {
		seed := uint64(trial)
		rnd := rand.New(rand.NewPCG(seed, 7))
		parts := 1 + rnd.IntN(4)
		o := Options{Partitions: parts, Memory: int64(200 + rnd.IntN(3000)), MergeFactor: 2 + rnd.IntN(4)}
		var want []record
		files := make([][]byte, 1+rnd.IntN(5))
		indices := make([]Index, len(files))
		for m := range files {
			var recs []record
			for range rnd.IntN(300) {
				key := make([]byte, rnd.IntN(12))
				for i := range key {
					key[i] = byte(rnd.IntN(3))
				}
				recs = append(recs, record{string(key), fmt.Sprint(rnd.IntN(1000)), m})
			}
			files[m], indices[m] = mapOutput(t, o, recs)
			want = append(want, recs...)
		}
		slices.SortStableFunc(want, func(a, b record) int {
			return cmp.Or(Partition([]byte(a.key), parts)-Partition([]byte(b.key), parts), cmp.Compare(a.key, b.key), a.source-b.source)
		})
		var got []record
		for p := range parts {
			var sources []Source
			var tags []int
			for m, index := range indices {
				for _, s := range index {
					if s.Partition == p {
						sources = append(sources, Source{R: bytes.NewReader(files[m]), Seg: s})
						tags = append(tags, m)
					}
				}
			}
			recs, err := merged(t.Context(), sources, MergeOptions{Scratch: t.TempDir(), MergeFactor: 2})
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			for i := range recs {
				recs[i].source = tags[recs[i].source]
			}
			got = append(got, recs...)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d: %d records, want %d in the order of a stable sort", seed, len(got), len(want))
		}
	}
}

// sum adds up numbers, as a combiner.
func sum(key []byte, values iter.Seq[[]byte], emit func(key, value []byte) error) error {
	n := uint64(0)
	for v := range values {
		n += binary.LittleEndian.Uint64(v)
	}
	return emit(key, binary.LittleEndian.AppendUint64(nil, n))
}

func TestCombinerChangesNoSum(t *testing.T) {
	want := map[string]uint64{}
	var recs []record
	rnd := rand.New(rand.NewPCG(3, 3))
	for range 5000 {
		k, n := fmt.Sprintf("word-%d", rnd.IntN(40)), uint64(rnd.IntN(9))
		want[k] += n
		recs = append(recs, record{key: k, value: string(binary.LittleEndian.AppendUint64(nil, n))})
	}
	data, index := mapOutput(t, Options{Partitions: 1, Memory: 4000, Combine: sum}, recs)
	got, err := merged(t.Context(), []Source{{R: bytes.NewReader(data), Seg: index[0]}}, MergeOptions{Scratch: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Errorf("%d records after combining, want one for each of %d keys", len(got), len(want))
	}
	for _, r := range got {
		if n := binary.LittleEndian.Uint64([]byte(r.value)); n != want[r.key] {
			t.Errorf("%s: %d, want %d", r.key, n, want[r.key])
		}
	}
}

func TestSkippedValuesDoNotHideTheNextKey(t *testing.T) {
	data, index := mapOutput(t, Options{Partitions: 1}, []record{{key: "a", value: "1"}, {key: "a", value: "2"}, {key: "b", value: "3"}})
	g, err := Merge(t.Context(), []Source{{R: bytes.NewReader(data), Seg: index[0]}}, MergeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for g.Next(t.Context()) {
		keys = append(keys, string(g.Key()))
		for range g.Values() {
			break
		}
	}
	if want := []string{"a", "b"}; !slices.Equal(keys, want) || g.Err() != nil {
		t.Errorf("keys %v, %v; want %v", keys, g.Err(), want)
	}
}

func TestEveryFlippedByteIsNoticed(t *testing.T) {
	var recs []record
	for i := range 4000 {
		recs = append(recs, record{key: fmt.Sprintf("%05d", i*7919%4000), value: fmt.Sprint(i)})
	}
	data, index := mapOutput(t, Options{Partitions: 1, Memory: 20_000}, recs)
	want, err := merged(t.Context(), []Source{{R: bytes.NewReader(data), Seg: index[0]}}, MergeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 0))
	for range 1000 {
		at := rnd.IntN(len(data))
		bad := slices.Clone(data)
		bad[at] ^= 1 << rnd.IntN(8)
		got, err := merged(t.Context(), []Source{{R: bytes.NewReader(bad), Seg: index[0], Name: "part-0"}}, MergeOptions{})
		if !errs.Is(err, errs.Corrupt) {
			t.Fatalf("seed %d: a flip at %d of %d: %v, want a corrupt kind", seed, at, len(data), err)
		}
		if len(got) >= len(want) || !slices.Equal(got, want[:len(got)]) { // what was handed out before is sound
			t.Fatalf("seed %d: a flip at %d of %d gives %d records, wrong ones among them", seed, at, len(data), len(got))
		}
	}
	short := index[0]
	_, err = merged(t.Context(), []Source{{R: bytes.NewReader(data[:len(data)/2]), Seg: short}}, MergeOptions{})
	if !errs.Is(err, errs.Corrupt) {
		t.Fatalf("half a segment: %v, want a corrupt kind", err)
	}
}

func TestCancelledSortLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	w, err := NewWriter(Options{Partitions: 2, Memory: 1000, Scratch: dir})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	for i := range 500 {
		if err := w.Add(ctx, fmt.Append(nil, i), make([]byte, 20)); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if _, err := w.Finish(ctx, io.Discard); !errs.Is(err, errs.Canceled) {
		t.Errorf("Finish after cancel: %v, want canceled", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("%d spill files are left", len(left))
	}
}
