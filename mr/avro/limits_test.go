package avro

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/golang/snappy"
	"pgregory.net/rapid"

	"github.com/vista-mr/vista-mr/mr/errs"
)

// A volume of a large CNN layer is one value of some megabytes.
func TestLargeValuesRoundTrip(t *testing.T) {
	for _, codec := range []Codec{Null, Snappy} {
		value := make([]byte, 20<<20)
		for i := range value {
			value[i] = byte(i * i >> 7)
		}
		var b bytes.Buffer
		w, err := NewWriter(&b, WriterOptions{Schema: KVSchema, Codec: codec})
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range []string{"a", "b"} {
			if err := w.AppendFunc(func(dst []byte) []byte { return AppendKV(dst, []byte(k), value) }); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		r, err := NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()), ReaderOptions{})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for it := r.Blocks(0, int64(b.Len())); it.Next(); {
			err = EachKV(it.Block(), func(_, v []byte) bool {
				if !bytes.Equal(v, value) {
					t.Errorf("%s: value %d differs", codec, n)
				}
				n++
				return true
			})
			if err != nil || it.Err() != nil {
				t.Fatal(err, it.Err())
			}
		}
		if n != 2 {
			t.Errorf("%s: %d values, want 2", codec, n)
		}
	}
}

// What the writer takes, the reader takes: a record near the limit gets a block of its own,
// also if it cannot be packed, and one beyond it is refused when it is written.
func TestWriterKeepsWithinTheReadersLimit(t *testing.T) {
	value := make([]byte, maxBlock-100)
	x := uint64(88172645463325252)
	for i := 0; i+8 <= len(value); i += 8 {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		binary.LittleEndian.PutUint64(value[i:], x)
	}
	for _, codec := range []Codec{Null, Snappy} {
		var b bytes.Buffer
		w, err := NewWriter(&b, WriterOptions{Schema: KVSchema, Codec: codec})
		if err != nil {
			t.Fatal(err)
		}
		small := AppendKV(nil, []byte("small"), make([]byte, 300))
		for range 3 {
			if err := w.Append(small); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.AppendFunc(func(dst []byte) []byte { return AppendKV(dst, []byte("large"), value) }); err != nil {
			t.Fatal(err)
		}
		if err := w.Append(small); err != nil {
			t.Fatal(err)
		}
		err = w.AppendFunc(func(dst []byte) []byte { return append(append(dst, value...), small...) })
		if !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: a record above the limit: %v, want an invalid kind", codec, err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		got, err := readAll(bytes.NewReader(b.Bytes()), int64(b.Len()), 0)
		if err != nil || got != 5 || w.Rows() != 5 {
			t.Errorf("%s: %d records read, %d written, %v; want 5", codec, got, w.Rows(), err)
		}
	}
}

// withBlock is a header followed by one block as given.
func withBlock(codec Codec, count, size int64, stored []byte) []byte {
	o := WriterOptions{Schema: KVSchema, Codec: codec}
	b := o.header()
	b = binary.AppendVarint(b, count)
	b = binary.AppendVarint(b, size)
	b = append(b, stored...)
	return append(b, o.Sync[:]...)
}

// A few hostile bytes must not cost memory, and must be told apart from good ones.
func TestHostileLengthsCostNothing(t *testing.T) {
	bomb := binary.AppendUvarint(nil, 60<<20) // Snappy: 60 MiB announced, nothing there
	bomb = append(bomb, 0, 0)
	bomb = binary.BigEndian.AppendUint32(bomb, crc32.ChecksumIEEE(nil))
	headers := map[string]string{
		"entries":     "Obj\x01" + string(binary.AppendVarint(nil, math.MaxInt64)),
		"min entries": "Obj\x01" + string(binary.AppendVarint(nil, math.MinInt64)),
		"key":         "Obj\x01" + string(binary.AppendVarint([]byte{2}, 1<<40)),
		"negative":    "Obj\x01" + string(binary.AppendVarint([]byte{2}, -5)),
		"long varint": "Obj\x01" + strings.Repeat("\xff", 30),
		"size":        string(withBlock(Null, 1, 1<<50, nil)),
		"minus":       string(withBlock(Null, 1, -1, nil)),
		"count":       string(withBlock(Null, math.MaxInt64, 3, []byte{0, 0, 0})),
		"minus count": string(withBlock(Null, -1, 2, []byte{0, 0})),
		"no records":  string(withBlock(Null, 5, 0, nil)),
		"bomb":        string(withBlock(Snappy, 1, int64(len(bomb)), bomb)),
		"no crc":      string(withBlock(Snappy, 1, 3, []byte{0, 0, 0})),
		"deflate":     string(withBlock(Deflate, 1, 3, []byte{7, 7, 7})),
	}
	for name, data := range headers {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := readAll(strings.NewReader(data), int64(len(data)), 0)
		runtime.ReadMemStats(&after)
		if !errs.Is(err, errs.Corrupt) {
			t.Errorf("%s: %v, want a corrupt kind", name, err)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
			t.Errorf("%s: %d bytes allocated for %d of input", name, n, len(data))
		}
	}
}

// Blocks above the limit are refused before they are unpacked.
func TestMaxBlockIsKept(t *testing.T) {
	record := AppendKV(nil, []byte("k"), make([]byte, 10_000))
	packed := snappy.Encode(nil, record)
	packed = binary.BigEndian.AppendUint32(packed, crc32.ChecksumIEEE(record))
	for codec, stored := range map[Codec][]byte{Null: record, Snappy: packed} {
		data := withBlock(codec, 1, int64(len(stored)), stored)
		for limit, fits := range map[int64]bool{int64(len(record)): true, int64(len(record)) - 1: false} {
			r, err := NewReader(bytes.NewReader(data), int64(len(data)), ReaderOptions{MaxBlock: limit})
			if err != nil {
				t.Fatal(err)
			}
			it := r.Blocks(0, int64(len(data)))
			if it.Next() != fits || !fits && !errs.Is(it.Err(), errs.Corrupt) {
				t.Errorf("%s, limit %d for %d bytes: %v", codec, limit, len(record), it.Err())
			}
		}
	}
}

// Floats come back bit by bit, from memory of any alignment.
func TestFloatsKeepTheirBits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bits := rapid.SliceOfN(rapid.Uint32(), 0, 70).Draw(t, "bits")
		v := make([]float32, len(bits))
		want := make([]byte, 0, 4*len(bits))
		for i, b := range bits {
			v[i] = math.Float32frombits(b)
			want = binary.LittleEndian.AppendUint32(want, b)
		}
		off := rapid.IntRange(0, 7).Draw(t, "offset")
		raw := AppendFloat32s(make([]byte, off), v)[off:]
		if !bytes.Equal(raw, want) {
			t.Fatalf("encoded %x, want %x", raw, want)
		}
		prefix := rapid.IntRange(0, 3).Draw(t, "prefix")
		got := Float32s(make([]float32, prefix), raw)[prefix:]
		if !slices.EqualFunc(got, bits, func(f float32, b uint32) bool { return math.Float32bits(f) == b }) {
			t.Fatalf("from offset %d: %v, want bits %x", uintptr(unsafe.Pointer(unsafe.SliceData(raw)))%8, got, bits)
		}
		tail := append(slices.Clone(raw), make([]byte, rapid.IntRange(0, 3).Draw(t, "tail"))...)
		if n := len(Float32s(nil, tail)); n != len(bits) {
			t.Fatalf("%d values from %d bytes", n, len(tail))
		}
	})
}

// Rows are written and read without allocating once buffers have grown.
func TestRowsDoNotAllocate(t *testing.T) {
	v := make([]float32, 4096)
	dst := AppendFeature(nil, "some-id", "1", "train", v)
	if n := testing.AllocsPerRun(100, func() { dst = AppendFeature(dst[:0], "some-id", "1", "train", v) }); n > 0 {
		t.Errorf("encoding a row takes %v allocations", n)
	}
	var f Feature
	f.DecodeFeature(dst)
	if n := testing.AllocsPerRun(100, func() { f.DecodeFeature(dst) }); n > 0 {
		t.Errorf("decoding a row takes %v allocations", n)
	}
	kv := AppendKV(nil, dst, dst)
	if n := testing.AllocsPerRun(100, func() { EachKV(Block{Count: 1, Data: kv}, func(_, _ []byte) bool { return true }) }); n > 0 {
		t.Errorf("walking records takes %v allocations", n)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []WriterOptions{{Schema: `{"type":"nothing"}`}, {Schema: ""}, {Schema: KVSchema, Codec: Deflate}, {Schema: KVSchema, Codec: "lzma"}} {
		if _, err := NewWriter(&bytes.Buffer{}, o); !errs.Is(err, errs.Invalid) {
			t.Errorf("%q, %q: %v, want an invalid kind", o.Schema, o.Codec, err)
		}
	}
	zstd := withBlock("zstandard", 0, 0, nil)
	if _, err := NewReader(bytes.NewReader(zstd), int64(len(zstd)), ReaderOptions{}); !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "zstandard") {
		t.Errorf("unknown codec: %v, want an invalid kind that names it", err)
	}
	for _, data := range []string{"", "Ob", "id,label\n", "PAR1...."} {
		if _, err := NewReader(strings.NewReader(data), int64(len(data)), ReaderOptions{}); !errs.Is(err, errs.Invalid) {
			t.Errorf("%q: %v, want an invalid kind", data, err)
		}
	}
	w, err := NewWriter(&bytes.Buffer{}, WriterOptions{Schema: KVSchema})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Append([]byte{0, 0}); !errs.Is(err, errs.Internal) {
		t.Errorf("record after Close: %v", err)
	}
}

// The marker is part of the promise that the same records give the same bytes; a chosen one
// is kept, and metadata comes back.
func TestMarkerAndMetadata(t *testing.T) {
	var a, b, c bytes.Buffer
	meta := map[string]string{"vista.layer": "fc6", "vista.dtype": "float32", "other": "\x00\xff"}
	for dst, o := range map[*bytes.Buffer]WriterOptions{
		&a: {Schema: KVSchema, Meta: meta},
		&b: {Schema: KVSchema, Meta: map[string]string{"vista.layer": "fc7"}},
		&c: {Schema: KVSchema, Sync: [16]byte{1, 2, 3}},
	} {
		w, err := NewWriter(dst, o)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if bytes.Equal(a.Bytes()[a.Len()-16:], b.Bytes()[b.Len()-16:]) {
		t.Error("files of different content have the same marker")
	}
	if got := [16]byte(c.Bytes()[c.Len()-16:]); got != ([16]byte{1, 2, 3}) {
		t.Errorf("marker %x, not the one chosen", got)
	}
	r, err := NewReader(bytes.NewReader(a.Bytes()), int64(a.Len()), ReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got := r.Meta()
	for k, v := range meta {
		if got[k] != v {
			t.Errorf("metadata %q is %q, want %q", k, got[k], v)
		}
	}
	if r.Schema() != KVSchema || r.Codec() != Null || r.HeaderEnd() != int64(a.Len()) {
		t.Errorf("schema %q, codec %q, header of %d bytes", r.Schema(), r.Codec(), r.HeaderEnd())
	}
}
