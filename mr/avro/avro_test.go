package avro

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/linkedin/goavro/v2"

	"github.com/vista-mr/vista-mr/mr/errs"
)

// kvFile writes n records in small blocks.
func kvFile(t testing.TB, n int, codec Codec) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, WriterOptions{Schema: KVSchema, Codec: codec, BlockBytes: 200, Meta: map[string]string{"vista.test": "yes"}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		key, value := fmt.Appendf(nil, "key-%05d", i), bytes.Repeat([]byte{byte(i)}, i%50)
		if err := w.AppendFunc(func(dst []byte) []byte { return AppendKV(dst, key, value) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if w.Rows() != int64(n) || w.Bytes() != int64(b.Len()) {
		t.Fatalf("%d rows, %d bytes; want %d, %d", w.Rows(), w.Bytes(), n, b.Len())
	}
	return b.Bytes()
}

// keys reads the keys of a range.
func keys(data []byte, start, end int64) ([]string, error) {
	r, err := NewReader(bytes.NewReader(data), int64(len(data)), ReaderOptions{})
	if err != nil {
		return nil, err
	}
	it := r.Blocks(start, end)
	var out []string
	for it.Next() {
		err := EachKV(it.Block(), func(k, v []byte) bool {
			out = append(out, string(k)+string(v))
			return true
		})
		if err != nil {
			return out, err
		}
	}
	return out, it.Err()
}

func TestCuttingAnywhereGivesEveryRecordOnce(t *testing.T) {
	for _, codec := range []Codec{Null, Snappy} {
		data := kvFile(t, 100, codec)
		want, err := keys(data, 0, int64(len(data)))
		if err != nil || len(want) != 100 {
			t.Fatalf("%s: %d keys, %v", codec, len(want), err)
		}
		for cut := range int64(len(data)) + 1 {
			a, err := keys(data, 0, cut)
			if err != nil {
				t.Fatalf("%s: [0,%d): %v", codec, cut, err)
			}
			b, err := keys(data, cut, int64(len(data)))
			if err != nil {
				t.Fatalf("%s: [%d,end): %v", codec, cut, err)
			}
			if got := append(a, b...); !slices.Equal(got, want) {
				t.Fatalf("%s: cut at %d gives %d and %d records, want %d in order", codec, cut, len(a), len(b), len(want))
			}
		}
	}
}

func TestSameRecordsGiveSameBytes(t *testing.T) {
	if !bytes.Equal(kvFile(t, 50, Snappy), kvFile(t, 50, Snappy)) {
		t.Error("two files of the same records differ")
	}
}

func TestGoavroReadsWhatWeWrite(t *testing.T) {
	v := []float32{1, -2.5, 3e-9}
	var b bytes.Buffer
	w, err := NewWriter(&b, WriterOptions{Schema: FeatureSchema, Codec: Snappy})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range [][]float32{v, nil} {
		if err := w.AppendFunc(func(dst []byte) []byte { return AppendFeature(dst, "a", "yes", "train", f) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := goavro.NewOCFReader(&b)
	if err != nil {
		t.Fatal(err)
	}
	var got []any
	for r.Scan() {
		rec, err := r.Read()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, rec)
	}
	want := []any{
		map[string]any{"id": "a", "label": "yes", "split": "train", "features": []any{v[0], v[1], v[2]}},
		map[string]any{"id": "a", "label": "yes", "split": "train", "features": []any{}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("goavro reads something else (-want +got):\n%s", d)
	}
}

func TestWeReadWhatGoavroWrites(t *testing.T) {
	for _, codec := range []string{"null", "snappy", "deflate"} {
		var b bytes.Buffer
		w, err := goavro.NewOCFWriter(goavro.OCFConfig{W: &b, Schema: FeatureSchema, CompressionName: codec})
		if err != nil {
			t.Fatal(err)
		}
		err = w.Append([]any{map[string]any{"id": "x", "label": "1", "split": "test", "features": []any{float32(1.5), float32(2)}}})
		if err != nil {
			t.Fatal(err)
		}
		r, err := NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()), ReaderOptions{})
		if err != nil {
			t.Fatal(err)
		}
		it := r.Blocks(0, int64(b.Len()))
		if !it.Next() {
			t.Fatalf("%s: no block: %v", codec, it.Err())
		}
		var f Feature
		rest, ok := f.DecodeFeature(it.Block().Data)
		if !ok || len(rest) != 0 || string(f.ID) != "x" || string(f.Split) != "test" || !slices.Equal(f.Values, []float32{1.5, 2}) {
			t.Errorf("%s: %+v, %d bytes left, %v", codec, f, len(rest), ok)
		}
		if it.Next() || it.Err() != nil {
			t.Errorf("%s: more blocks, or %v", codec, it.Err())
		}
	}
}

func TestFlippedBytesAreNoticedOrHarmless(t *testing.T) {
	data := kvFile(t, 60, Snappy)
	want, _ := keys(data, 0, int64(len(data)))
	r, err := NewReader(bytes.NewReader(data), int64(len(data)), ReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 1))
	for range 1000 {
		at := int(r.HeaderEnd()) + rnd.IntN(len(data)-int(r.HeaderEnd()))
		bad := slices.Clone(data)
		bad[at] ^= 1 << rnd.IntN(8)
		got, err := keys(bad, 0, int64(len(bad)))
		if err == nil && !slices.Equal(got, want) {
			t.Fatalf("seed %d: a flip at %d gives other records and no error", seed, at)
		}
		if err != nil && !errs.Is(err, errs.Corrupt) {
			t.Fatalf("seed %d: a flip at %d gives %v, want a corrupt kind", seed, at, err)
		}
	}
}

func BenchmarkFeatureRows(b *testing.B) {
	const rows, dim = 2048, 4096
	v := make([]float32, dim)
	for i := range v {
		v[i] = float32(i)
	}
	var file bytes.Buffer
	encode := func() {
		file.Reset()
		w, err := NewWriter(&file, WriterOptions{Schema: FeatureSchema})
		if err != nil {
			b.Fatal(err)
		}
		for range rows {
			if err := w.AppendFunc(func(dst []byte) []byte { return AppendFeature(dst, "row-0000001", "1", "train", v) }); err != nil {
				b.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("op=encode/floats=4096", func(b *testing.B) {
		b.SetBytes(rows * dim * 4)
		b.ReportAllocs()
		for b.Loop() {
			encode()
		}
	})
	encode()
	b.Run("op=decode/floats=4096", func(b *testing.B) {
		b.SetBytes(rows * dim * 4)
		b.ReportAllocs()
		var f Feature
		for b.Loop() {
			r, err := NewReader(bytes.NewReader(file.Bytes()), int64(file.Len()), ReaderOptions{})
			if err != nil {
				b.Fatal(err)
			}
			n := 0
			for it := r.Blocks(0, int64(file.Len())); it.Next(); {
				for data := it.Block().Data; len(data) > 0; n++ {
					var ok bool
					if data, ok = f.DecodeFeature(data); !ok {
						b.Fatal("damaged")
					}
				}
			}
			if n != rows {
				b.Fatalf("%d rows", n)
			}
		}
	})
}
