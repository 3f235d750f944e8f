//go:build linux

package main

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
)

// gzipped packs the same bytes many times over: members of a gzip file follow each other, so they are packed once.
func gzipped(t *testing.T, head string, chunk []byte, times int) []byte {
	t.Helper()
	member := func(data []byte) []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, err := z.Write(data)
		if err := errors.Join(err, z.Close()); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	return append(member([]byte(head)), bytes.Repeat(member(chunk), times)...)
}

// avroFile is a container file with one block.
func avroFile(schema, codec string, records, size int64, block []byte) []byte {
	str := func(b []byte, s string) []byte { return append(binary.AppendVarint(b, int64(len(s))), s...) }
	b := append([]byte("Obj\x01"), 4)
	b = str(str(b, "avro.schema"), schema)
	b = append(str(str(b, "avro.codec"), codec), 0)
	sync := []byte("0123456789abcdef")
	b = append(b, sync...)
	b = binary.AppendVarint(binary.AppendVarint(b, records), size)
	return append(append(b, block...), sync...)
}

// avroBlocks is a file of the same block many times over, which unpacks to a million rows each, and to 195 times its
// bytes: below what is refused for its ratio.
func avroBlocks(t *testing.T, blocks int) []byte {
	t.Helper()
	var raw []byte
	for i := range 60 {
		raw = fmt.Appendf(append(raw, 6), "r%02d", i)
		raw = append(raw, 0, 0, 0, 0, 0, 0, 0, 0, byte(i%2*2))
	}
	raw = bytes.Repeat(raw, 17_000)
	var packed bytes.Buffer
	f, err := flate.NewWriter(&packed, 1)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(raw)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	block := append(packed.Bytes(), make([]byte, max(0, len(raw)/195-packed.Len()))...)
	b := avroFile(rowSchema, "deflate", 60*17_000, int64(len(block)), block)
	last := b[len(b)-len(block)-24:] // with its numbers of records and bytes, and the sync marker
	if n := bytes.Index(last, binary.AppendVarint(nil, 60*17_000)); n >= 0 {
		last = last[n:]
	}
	return append(b, bytes.Repeat(last, blocks-1)...)
}

// doubled is a type that holds two of a type that holds two, and so on: 2^depth values of no bytes.
func doubled(depth int) string {
	s := fmt.Sprintf(`{"type":"record","name":"R%d","fields":[{"name":"a","type":"null"}]}`, depth)
	for k := depth - 1; k > 0; k-- {
		s = fmt.Sprintf(`{"type":"record","name":"R%d","fields":[{"name":"a","type":%s},{"name":"b","type":"R%d"}]}`, k, s, k+1)
	}
	return s
}

// deflated packs zeros, so many MiB of them.
func deflated(t *testing.T, mib int) []byte {
	t.Helper()
	var b bytes.Buffer
	f, err := flate.NewWriter(&b, flate.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	for range mib {
		if _, err := f.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// snappyClaim is a Snappy block that claims to unpack to 4 GiB, and holds nothing.
func snappyClaim() []byte {
	b := append(binary.AppendUvarint(nil, 1<<32-1), 0, 0)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(nil))
}

const (
	rowSchema   = `{"type":"record","name":"r","fields":[{"name":"id","type":"string"},{"name":"x","type":"double"},{"name":"label","type":"long"}]}`
	imageSchema = `{"type":"record","name":"r","fields":[{"name":"id","type":"string"},{"name":"image","type":"bytes"}]}`
	footerClaim = "PAR1\x49\xfc\xff\xff\xff\xff\x07\x07\x00\x00\x00PAR1" // a list of 2^31 row groups in seven bytes
)

type wideRow struct {
	ID    string  `parquet:"id,zstd"`
	X     float64 `parquet:"x"`
	Label int64   `parquet:"label"`
	Pad   string  `parquet:"pad,zstd"`
}

// parquetPage is a file with one page that unpacks to 320 MiB.
func parquetPage(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := parquet.NewGenericWriter[wideRow](&b, parquet.PageBufferSize(1<<30), parquet.DataPageStatistics(false), parquet.SkipPageBounds("pad"))
	pad := strings.Repeat("p", 32<<20)
	for i := range 10 {
		if _, err := w.Write([]wideRow{{fmt.Sprintf("r%02d", i), 1, int64(i % 2), pad}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func tableTraps() []trap {
	table := func(file string) []string { return []string{"table.uri=" + file} }
	rows := []byte(strings.Repeat("r00,"+strings.Repeat("0", 4000)+",0\n", 256)) // a thousandth, packed
	return []trap{
		{name: "csv.gz of a GiB", make: func(t *testing.T) []byte { return gzipped(t, "id,x,label\n", rows, 1024) }, file: "b.csv.gz", set: table("b.csv.gz"), run: "validate", code: 3, want: "unpack to more than"},
		{name: "csv.gz of one line", make: func(t *testing.T) []byte { return gzipped(t, "id,x,label\n", make([]byte, 1<<20), 1024) }, file: "b.csv.gz", set: table("b.csv.gz"), run: "validate", code: 3, want: "MiB"},
		{name: "csv of commas", make: text(strings.Repeat(",", 64<<20)), file: "b.csv", set: table("b.csv"), run: "validate", code: 3, want: "E-TABLE"},
		{name: "avro deflate", make: func(t *testing.T) []byte {
			d := deflated(t, 2048)
			return avroFile(rowSchema, "deflate", 1<<20, int64(len(d)), d)
		}, file: "b.avro", set: table("b.avro"), run: "validate", code: 3, want: "E-TABLE"},
		{name: "avro snappy", make: func(*testing.T) []byte {
			return avroFile(rowSchema, "snappy", 1, int64(len(snappyClaim())), snappyClaim())
		}, file: "b.avro", set: table("b.avro"), run: "validate", code: 3, want: "E-TABLE"},
		{name: "avro block of 8 EiB", make: func(*testing.T) []byte { return avroFile(rowSchema, "null", 1<<62, 1<<62, nil) }, file: "b.avro", set: table("b.avro"), run: "validate", code: 3, want: "E-TABLE"},
		{name: "avro schema in schema", make: func(*testing.T) []byte {
			s := strings.Repeat(`{"type":"array","items":`, 60_000) + `"int"` + strings.Repeat("}", 60_000)
			return avroFile(`{"type":"record","name":"r","fields":[{"name":"id","type":`+s+`}]}`, "null", 1, 1, []byte{0})
		}, file: "b.avro", set: table("b.avro"), run: "validate", code: 3, want: "E-TABLE"},
		{name: "csv.gz of short rows", make: func(t *testing.T) []byte {
			return gzipped(t, "id,x,label\n", []byte(strings.Repeat("r,1,0\n", 100_000)), 400)
		}, file: "b.csv.gz", set: table("b.csv.gz"), run: "validate", code: 3, want: "lines"},
		{name: "avro of short rows", make: func(t *testing.T) []byte { return avroBlocks(t, 4) }, file: "b.avro", set: table("b.avro"), run: "validate", code: 3, want: "records"},
		{name: "avro of nothing, doubled 40 times", make: func(*testing.T) []byte {
			return avroFile(strings.Replace(rowSchema, `]}`, `,{"name":"n","type":`+doubled(40)+`}]}`, 1), "null", 1, 13, []byte("\x06r00\x00\x00\x00\x00\x00\x00\x00\x00\x02"))
		}, file: "b.avro", set: table("b.avro"), run: "validate", code: 3, want: "take no bytes"},
		{name: "avro of items without bytes", make: func(*testing.T) []byte {
			b := binary.AppendVarint([]byte("\x06r00\x00\x00\x00\x00\x00\x00\x00\x00\x02"), 1<<62)
			return avroFile(strings.Replace(rowSchema, `]}`, `,{"name":"a","type":{"type":"array","items":"null"}}]}`, 1), "null", 1, int64(len(b)+1), append(b, 0))
		}, file: "b.avro", set: table("b.avro"), run: "validate", code: 5, want: "E-ONE-CLASS"},
		{name: "parquet footer", make: text(footerClaim), file: "b.parquet", set: table("b.parquet"), run: "validate", code: 3, want: "E-TABLE"},
		{name: "parquet page", make: parquetPage, file: "b.parquet", set: append(table("b.parquet"), "table.categorical=[pad]"), run: "validate", code: 3, want: "E-TABLE"},
	}
}
