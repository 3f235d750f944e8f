package avro

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/linkedin/goavro/v2"
	twmb "github.com/twmb/avro"
	"github.com/twmb/avro/ocf"
	"pgregory.net/rapid"
)

type featureRow struct {
	ID       string    `avro:"id"`
	Label    string    `avro:"label"`
	Split    string    `avro:"split"`
	Features []float32 `avro:"features"`
}

type kvRow struct {
	Key   []byte `avro:"key"`
	Value []byte `avro:"value"`
}

// anyFloat has every bit pattern but one kind of NaN per value, so that rows can be compared.
func anyFloat(t *rapid.T) float32 {
	f := math.Float32frombits(rapid.Uint32().Draw(t, "bits"))
	if f != f {
		return 0.5
	}
	return f
}

func featureRows(t *rapid.T) []featureRow {
	text := rapid.StringN(0, 8, 40)
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) featureRow {
		n := rapid.IntRange(0, 40).Draw(t, "n")
		row := featureRow{ID: text.Draw(t, "id"), Label: text.Draw(t, "label"), Split: text.Draw(t, "split"), Features: make([]float32, n)}
		for i := range row.Features {
			row.Features[i] = anyFloat(t)
		}
		return row
	}), 0, 30).Draw(t, "rows")
}

// fataler is what a test of either kind, plain or of properties, has.
type fataler interface {
	Helper()
	Fatal(args ...any)
}

func writeFeatures(t fataler, rows []featureRow, codec Codec, block int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, WriterOptions{Schema: FeatureSchema, Codec: codec, BlockBytes: block})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if err := w.AppendFunc(func(dst []byte) []byte { return AppendFeature(dst, r.ID, r.Label, r.Split, r.Features) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func readFeatures(data []byte, start, end int64) (rows []featureRow, err error) {
	r, err := NewReader(bytes.NewReader(data), int64(len(data)), ReaderOptions{})
	if err != nil {
		return nil, err
	}
	it := r.Blocks(start, end)
	var f Feature
	for it.Next() {
		rest, ok := it.Block().Data, true
		for range it.Block().Count {
			if rest, ok = f.DecodeFeature(rest); !ok {
				return rows, fmt.Errorf("block at %d is damaged", it.Block().Offset)
			}
			rows = append(rows, featureRow{string(f.ID), string(f.Label), string(f.Split), slices.Clone(f.Values)})
		}
		if len(rest) > 0 {
			return rows, fmt.Errorf("block at %d has %d bytes left", it.Block().Offset, len(rest))
		}
	}
	return rows, it.Err()
}

var sameRows = cmp.Options{cmp.Transformer("bits", math.Float32bits), cmp.Transformer("nilIsEmpty", func(v []float32) []float32 {
	if len(v) == 0 {
		return nil
	}
	return v
})}

// equal compares rows, taking no features and an empty list for the same.
func equal(a, b []featureRow) bool {
	return slices.EqualFunc(a, b, func(x, y featureRow) bool {
		return x.ID == y.ID && x.Label == y.Label && x.Split == y.Split &&
			slices.EqualFunc(x.Features, y.Features, func(p, q float32) bool { return math.Float32bits(p) == math.Float32bits(q) })
	})
}

// Three implementations write, three read, and all read the same.
func TestFeatureRowsOfThreeLibraries(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := featureRows(t)
		codec := rapid.SampledFrom([]Codec{Null, Snappy, Deflate}).Draw(t, "codec")
		files := map[string][]byte{"goavro": goavroFeatures(t, rows, codec), "twmb": twmbFeatures(t, rows, codec)}
		if codec != Deflate {
			files["ours"] = writeFeatures(t, rows, codec, rapid.IntRange(1, 2000).Draw(t, "block"))
		}
		for name, data := range files {
			got, err := readFeatures(data, 0, int64(len(data)))
			if err != nil {
				t.Fatalf("%s file, %s: %v", name, codec, err)
			}
			if !equal(got, rows) {
				t.Fatalf("%s file, %s, read by us (-want +got):\n%s", name, codec, cmp.Diff(rows, got, sameRows))
			}
		}
		if ours := files["ours"]; ours != nil {
			got, err := twmbRead[featureRow](ours)
			if err != nil || !equal(got, rows) {
				t.Fatalf("our file read by twmb: %v (-want +got):\n%s", err, cmp.Diff(rows, got, sameRows))
			}
			got, err = goavroRead(ours)
			if err != nil || !equal(got, rows) {
				t.Fatalf("our file read by goavro: %v (-want +got):\n%s", err, cmp.Diff(rows, got, sameRows))
			}
		}
	})
}

func goavroFeatures(t *rapid.T, rows []featureRow, codec Codec) []byte {
	var b bytes.Buffer
	w, err := goavro.NewOCFWriter(goavro.OCFConfig{W: &b, Schema: FeatureSchema, CompressionName: string(codec)})
	if err != nil {
		t.Fatal(err)
	}
	for lo := 0; lo < len(rows); lo += 7 {
		var batch []any
		for _, r := range rows[lo:min(lo+7, len(rows))] {
			batch = append(batch, map[string]any{"id": r.ID, "label": r.Label, "split": r.Split, "features": r.Features})
		}
		if err := w.Append(batch); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func goavroRead(data []byte) (rows []featureRow, err error) {
	r, err := goavro.NewOCFReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	for r.Scan() {
		x, err := r.Read()
		if err != nil {
			return nil, err
		}
		m := x.(map[string]any)
		row := featureRow{ID: m["id"].(string), Label: m["label"].(string), Split: m["split"].(string)}
		for _, v := range m["features"].([]any) {
			row.Features = append(row.Features, v.(float32))
		}
		rows = append(rows, row)
	}
	return rows, r.Err()
}

func twmbFeatures(t *rapid.T, rows []featureRow, codec Codec) []byte {
	var b bytes.Buffer
	o := []ocf.WriterOpt{ocf.WithBlockBytes(rapid.IntRange(1, 2000).Draw(t, "twmbBlock"))}
	switch codec {
	case Snappy:
		o = append(o, ocf.WithCodec(ocf.SnappyCodec()))
	case Deflate:
		o = append(o, ocf.WithCodec(ocf.DeflateCodec(6)))
	}
	w, err := ocf.NewWriter(&b, twmb.MustParse(FeatureSchema), o...)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if err := w.Encode(&r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func twmbRead[T any](data []byte) (rows []T, err error) {
	r, err := ocf.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	for {
		var row T
		switch err := r.Decode(&row); {
		case errors.Is(err, io.EOF):
			return rows, nil
		case err != nil:
			return nil, err
		}
		rows = append(rows, row)
	}
}

func TestTwmbReadsOurKeyValueFiles(t *testing.T) {
	for _, codec := range []Codec{Null, Snappy} {
		got, err := twmbRead[kvRow](kvFile(t, 100, codec))
		if err != nil || len(got) != 100 {
			t.Fatalf("%s: %d rows, %v", codec, len(got), err)
		}
		for i, r := range got {
			if string(r.Key) != fmt.Sprintf("key-%05d", i) || !bytes.Equal(r.Value, bytes.Repeat([]byte{byte(i)}, i%50)) {
				t.Fatalf("%s: row %d is %q, %d bytes", codec, i, r.Key, len(r.Value))
			}
		}
	}
}

// Arrays may come in several blocks, and blocks with their size in front (a negative count).
func TestArraysInSeveralBlocks(t *testing.T) {
	head := []byte{2, 'a', 2, 'b', 2, 'c'}
	one, two := AppendFloat32s(nil, []float32{1, 2}), AppendFloat32s(nil, []float32{3})
	raw := append(slices.Clone(head), 4)
	raw = append(raw, one...)
	raw = append(raw, 1, 8) // count -1, 4 bytes
	raw = append(append(raw, two...), 0, 99)
	var f Feature
	rest, ok := f.DecodeFeature(raw)
	if want := []float32{1, 2, 3}; !ok || !slices.Equal(f.Values, want) || !bytes.Equal(rest, []byte{99}) {
		t.Errorf("%v, rest %v, %v; want %v, rest [99]", f.Values, rest, ok, want)
	}
	for n := range raw[:len(raw)-2] {
		if _, ok := f.DecodeFeature(raw[:n]); ok {
			t.Errorf("the first %d of %d bytes pass for a record", n, len(raw)-1)
		}
	}
}

// Cut into any ranges, a file gives its rows once and in order.
func TestAnyRangesGiveEveryRowOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := featureRows(t)
		data := writeFeatures(t, rows, rapid.SampledFrom([]Codec{Null, Snappy}).Draw(t, "codec"), rapid.IntRange(1, 600).Draw(t, "block"))
		cuts := rapid.SliceOfN(rapid.Int64Range(0, int64(len(data))), 0, 8).Draw(t, "cuts")
		slices.Sort(cuts)
		cuts = append(append([]int64{0}, cuts...), int64(len(data)))
		var got []featureRow
		for i := range cuts[1:] {
			part, err := readFeatures(data, cuts[i], cuts[i+1])
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, part...)
		}
		if !equal(got, rows) {
			t.Fatalf("ranges %v give %d rows of %d", cuts, len(got), len(rows))
		}
	})
}

// Sync markers of other libraries' files are found at every offset, too.
func TestForeignFilesCutAnywhere(t *testing.T) {
	var rows []featureRow
	for i := range 40 {
		rows = append(rows, featureRow{ID: fmt.Sprint(i), Label: "1", Split: "test", Features: make([]float32, i%5)})
	}
	rapid.Check(t, func(t *rapid.T) {
		data := twmbFeatures(t, rows, rapid.SampledFrom([]Codec{Null, Snappy, Deflate}).Draw(t, "codec"))
		cut := rapid.Int64Range(0, int64(len(data))).Draw(t, "cut")
		a, err := readFeatures(data, 0, cut)
		if err != nil {
			t.Fatal(err)
		}
		b, err := readFeatures(data, cut, int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		if !equal(append(a, b...), rows) {
			t.Fatalf("cut at %d: %d and %d rows of %d", cut, len(a), len(b), len(rows))
		}
	})
}
