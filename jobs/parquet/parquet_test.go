package parquet

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	pq "github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/encoding"

	"github.com/vista-mr/vista-mr/jobs/cell"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// column is a column to be written, with how its values are drawn.
type column struct {
	name string
	node pq.Node
	draw func(r *rand.Rand) pq.Value
	want cell.Type
}

func encoded(n pq.Node, e encoding.Encoding) pq.Node { return pq.Encoded(n, e) }

// texts of shared beginnings, short ones, and none at all.
func drawText(r *rand.Rand) pq.Value {
	return pq.ValueOf([]byte("shared beginning of some length"[:r.IntN(31)] + fmt.Sprint(r.IntN(50))))
}

func drawInt64(r *rand.Rand) pq.Value { return pq.ValueOf(int64(r.Uint64()) >> r.IntN(64)) }
func drawInt32(r *rand.Rand) pq.Value { return pq.ValueOf(int32(r.Uint32()) >> r.IntN(32)) }
func drawFixed(n int) func(*rand.Rand) pq.Value {
	return func(r *rand.Rand) pq.Value {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.IntN(3))
		}
		return pq.FixedLenByteArrayValue(b)
	}
}

// columns is every type with every encoding that it may have.
func columns() []column {
	var out []column
	add := func(name string, node pq.Node, want cell.Type, draw func(*rand.Rand) pq.Value, encodings ...encoding.Encoding) {
		for _, e := range encodings {
			n := fmt.Sprintf("%s_%v", name, e)
			out = append(out, column{n, encoded(node, e), draw, want}, column{n + "_opt", pq.Optional(encoded(node, e)), draw, want})
		}
	}
	plain, dict, bss := &pq.Plain, &pq.RLEDictionary, &pq.ByteStreamSplit
	add("bool", pq.Leaf(pq.BooleanType), cell.Type{Kind: cell.Bool}, func(r *rand.Rand) pq.Value { return pq.ValueOf(r.IntN(9) < 4) }, plain, &pq.RLE)
	add("int32", pq.Leaf(pq.Int32Type), cell.Type{Kind: cell.Int}, drawInt32, plain, dict, &pq.DeltaBinaryPacked, bss)
	add("int64", pq.Leaf(pq.Int64Type), cell.Type{Kind: cell.Int}, drawInt64, plain, dict, &pq.DeltaBinaryPacked, bss)
	add("uint32", pq.Uint(32), cell.Type{Kind: cell.Uint}, drawInt32, plain, dict, &pq.DeltaBinaryPacked)
	add("float", pq.Leaf(pq.FloatType), cell.Type{Kind: cell.Float32}, func(r *rand.Rand) pq.Value { return pq.ValueOf(float32(r.NormFloat64())) }, plain, dict, bss)
	add("double", pq.Leaf(pq.DoubleType), cell.Type{Kind: cell.Float64}, func(r *rand.Rand) pq.Value { return pq.ValueOf(r.NormFloat64()) }, plain, dict, bss)
	add("text", pq.String(), cell.Type{Kind: cell.Text}, drawText, plain, dict, &pq.DeltaLengthByteArray, &pq.DeltaByteArray)
	add("bytes", pq.Leaf(pq.ByteArrayType), cell.Type{Kind: cell.Text}, drawText, plain)
	add("fixed", pq.Leaf(pq.FixedLenByteArrayType(5)), cell.Type{Kind: cell.Text}, drawFixed(5), plain, dict, &pq.DeltaByteArray, bss)
	add("uuid", pq.UUID(), cell.Type{Kind: cell.UUID}, drawFixed(16), plain, dict)
	add("dec32", pq.Decimal(2, 9, pq.Int32Type), cell.Type{Kind: cell.Decimal, Scale: 2}, drawInt32, plain)
	add("dec64", pq.Decimal(3, 18, pq.Int64Type), cell.Type{Kind: cell.Decimal, Scale: 3}, drawInt64, dict)
	add("decfix", pq.Decimal(4, 20, pq.FixedLenByteArrayType(9)), cell.Type{Kind: cell.Decimal, Scale: 4}, drawFixed(9), plain, dict)
	add("date", pq.Date(), cell.Type{Kind: cell.Date}, drawInt32, plain, dict)
	add("time", pq.Time(pq.Millisecond), cell.Type{Kind: cell.Time, Unit: time.Millisecond}, drawInt32, plain)
	add("stamp", pq.Timestamp(pq.Microsecond), cell.Type{Kind: cell.Timestamp, Unit: time.Microsecond}, drawInt64, plain, &pq.DeltaBinaryPacked)
	return out
}

// file writes rows of all columns, with nulls in the optional ones.
func file(t testing.TB, rnd *rand.Rand, cols []column, rows int, codec compress.Codec, version int) (data []byte, values []pq.Row) {
	t.Helper()
	group := pq.Group{}
	for _, c := range cols {
		group[c.name] = pq.Compressed(c.node, codec)
	}
	schema := pq.NewSchema("t", group)
	names := schema.Columns() // in the order of the file
	byName := map[string]column{}
	for _, c := range cols {
		byName[c.name] = c
	}
	var b bytes.Buffer
	w := pq.NewWriter(&b, schema, pq.DataPageVersion(version), pq.PageBufferSize(1+rnd.IntN(4000)), pq.MaxRowsPerRowGroup(int64(1+rnd.IntN(2*rows+1))))
	run := pq.Value{}
	for range rows {
		row := make(pq.Row, len(names))
		for i, path := range names {
			c := byName[path[0]]
			v := c.draw(rnd)
			if i == 0 && rnd.IntN(4) > 0 { // runs, for the run-length encodings
				v = run
			}
			if i == 0 {
				run = v
			}
			switch {
			case !c.node.Optional():
				if v.IsNull() {
					v = c.draw(rnd)
				}
				row[i] = v.Level(0, 0, i)
			case rnd.IntN(3) == 0 || v.IsNull():
				row[i] = pq.NullValue().Level(0, 0, i)
			default:
				row[i] = v.Level(0, 1, i)
			}
		}
		values = append(values, row)
		if _, err := w.WriteRows([]pq.Row{row}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), values
}

var codecs = []compress.Codec{&pq.Uncompressed, &pq.Snappy, &pq.Gzip, &pq.Zstd, &pq.Brotli, &pq.Lz4Raw}

func TestEveryTypeEncodingCodecAndPageVersion(t *testing.T) {
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 2))
	for i, codec := range codecs {
		for version := 1; version <= 2; version++ {
			for _, rows := range []int{0, 1, 300}[2*min(i, 1):] {
				cols := columns()
				data, want := file(t, rnd, cols, rows, codec, version)
				f, err := Open(bytes.NewReader(data), int64(len(data)))
				if err != nil {
					t.Fatalf("seed %d: %v, version %d: %v", seed, codec, version, err)
				}
				compare(t, fmt.Sprintf("seed %d, %v, version %d, %d rows", seed, codec, version, rows), f, cols, want)
			}
		}
	}
}

func compare(t *testing.T, name string, f *File, cols []column, want []pq.Row) {
	t.Helper()
	if f.Rows != int64(len(want)) || len(f.Columns) != len(cols) {
		t.Fatalf("%s: %d rows of %d columns, want %d of %d", name, f.Rows, len(f.Columns), len(want), len(cols))
	}
	var all []int
	for i, c := range f.Columns {
		all = append(all, i)
		at := slices.IndexFunc(cols, func(k column) bool { return k.name == c.Name })
		if at < 0 || cols[at].want != c.Type {
			t.Fatalf("%s: column %q is %v", name, c.Name, c.Type)
		}
	}
	slices.Reverse(all) // in any order
	r, err := f.Read(all)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for ; r.Next(); n++ {
		for i, leaf := range all {
			if got, want := show(f.Columns[leaf].Type, r.Value(i)), expect(f.Columns[leaf].Type, want[n][leaf]); got != want {
				t.Fatalf("%s: row %d, column %q is %s, want %s", name, n, f.Columns[leaf].Name, got, want)
			}
		}
	}
	if r.Err() != nil || n != len(want) {
		t.Fatalf("%s: %d rows, want %d: %v", name, n, len(want), r.Err())
	}
	for i := range f.Columns {
		if err := sameByPages(f, &f.Columns[i]); err != nil && f.Columns[i].Bytes() {
			t.Fatalf("%s: column %q: %v", name, f.Columns[i].Name, err)
		}
	}
}

func show(typ cell.Type, v *cell.Value) string {
	switch {
	case v.Null:
		return "null"
	case v.Bytes != nil || typ.Kind == cell.Text:
		return fmt.Sprintf("%q", v.Bytes)
	case typ.Kind == cell.Float32 || typ.Kind == cell.Float64:
		return fmt.Sprint(v.Float)
	case typ.Kind == cell.Uint:
		return fmt.Sprint(uint64(v.Int))
	}
	return fmt.Sprint(v.Int)
}

func expect(typ cell.Type, v pq.Value) string {
	switch {
	case v.IsNull():
		return "null"
	case v.Kind() == pq.ByteArray, v.Kind() == pq.FixedLenByteArray:
		return fmt.Sprintf("%q", v.ByteArray())
	case v.Kind() == pq.Boolean:
		return map[bool]string{true: "1", false: "0"}[v.Boolean()]
	case v.Kind() == pq.Float:
		return fmt.Sprint(float64(v.Float()))
	case v.Kind() == pq.Double:
		return fmt.Sprint(v.Double())
	case v.Kind() == pq.Int32 && typ.Kind == cell.Uint:
		return fmt.Sprint(uint32(v.Int32()))
	case v.Kind() == pq.Int32:
		return fmt.Sprint(v.Int32())
	}
	return fmt.Sprint(v.Int64())
}

func TestNestedColumns(t *testing.T) {
	type image struct {
		Bytes []byte `parquet:"bytes"`
		Path  string `parquet:"path,optional"`
	}
	type record struct {
		ID    string   `parquet:"id"`
		Image *image   `parquet:"image,optional"`
		Tags  []string `parquet:"tags,list"`
		Stamp deprecated.Int96
	}
	var b bytes.Buffer
	err := pq.Write(&b, []record{{"a", &image{[]byte("xyz"), ""}, []string{"p", "q"}, deprecated.Int96{0, 0, 2440589}}, {"b", nil, nil, deprecated.Int96{5000, 0, 2440588}}})
	if err != nil {
		t.Fatal(err)
	}
	f, err := Open(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range f.Columns {
		got = append(got, c.Name+" "+c.Type.String())
	}
	want := []string{"id text", "image.bytes text", "image.path text", "tags.list.element nested or unknown", "Stamp local timestamp in 1µs"}
	if !slices.Equal(got, want) {
		t.Fatalf("columns %q, want %q", got, want)
	}
	if _, err := f.Read([]int{3}); !errs.Is(err, errs.Invalid) {
		t.Errorf("a list is read: %v", err)
	}
	r, err := f.Read([]int{0, 1, 2, 4})
	if err != nil {
		t.Fatal(err)
	}
	got = nil
	for r.Next() {
		for i, k := range []int{0, 1, 2, 4} {
			got = append(got, show(f.Columns[k].Type, r.Value(i)))
		}
	}
	if want := []string{`"a"`, `"xyz"`, "null", "86400000000", `"b"`, "null", "null", "5"}; !slices.Equal(got, want) || r.Err() != nil {
		t.Errorf("values %q, want %q, %v", got, want, r.Err())
	}
	for _, i := range []int{0, 1, 2} {
		if err := sameByPages(f, &f.Columns[i]); err != nil {
			t.Error(err)
		}
	}
	for _, i := range []int{3, 4} { // a list, and no byte strings
		for _, err := range f.Pages(&f.Columns[i]) {
			if !errs.Is(err, errs.Invalid) {
				t.Errorf("column %d has pages: %v", i, err)
			}
		}
	}
}

func TestHalf(t *testing.T) {
	for bits, want := range map[uint16]float64{0: 0, 1: 0x1p-24, 0x3c00: 1, 0xc000: -2, 0x7bff: 65504, 0x7c00: math.Inf(1), 0xfc00: math.Inf(-1), 0x3555: 0.333251953125} {
		if got := half(bits); got != want {
			t.Errorf("%#x is %v, want %v", bits, got, want)
		}
	}
	if !math.IsNaN(half(0x7e00)) {
		t.Error("NaN is a number")
	}
}
