package parquet

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"github.com/vista-mr/vista-mr/mr/errs"
)

// Each column has the names of its groups in its own: one that is long, above many, would fill the memory.
func TestNamesOfGroups(t *testing.T) {
	for _, c := range []struct {
		group, columns int
		refused        bool
	}{{maxName - 6, 1000, false}, {maxName, 1, true}, {600, 100_000, false}, {600, maxColumns + 1, true}, {700, 100_000, true}} {
		schema := []format.SchemaElement{{Name: "root", NumChildren: thrift.New(int32(1))}, {Name: strings.Repeat("g", c.group), NumChildren: thrift.New(int32(c.columns))}}
		for i := range c.columns {
			schema = append(schema, format.SchemaElement{Name: fmt.Sprintf("%05d", i), Type: thrift.New(format.Int32)})
		}
		got, err := columnsOf(schema)
		if errs.Is(err, errs.Invalid) != c.refused || err == nil && len(got) != c.columns {
			t.Errorf("%+v: %d columns, %v", c, len(got), err)
		}
	}
}

// withFooter is a file of nothing but a footer.
func withFooter(t *testing.T, v any) []byte {
	t.Helper()
	b, err := thrift.Marshal(new(thrift.CompactProtocol), v)
	if err != nil {
		t.Fatal(err)
	}
	out := append([]byte("PAR1"), b...)
	return append(binary.LittleEndian.AppendUint32(out, uint32(len(b))), "PAR1"...)
}

// What is read of a footer stands where the format has it.
func TestFootersOfTheFormat(t *testing.T) {
	column := format.ColumnChunk{MetaData: format.ColumnMetaData{Type: format.ByteArray, Codec: format.Zstd, NumValues: 7, PathInSchema: []string{"a"},
		TotalUncompressedSize: 99, TotalCompressedSize: 30, DataPageOffset: 20, DictionaryPageOffset: 4, IndexPageOffset: 9,
		Statistics: format.Statistics{Min: []byte("1"), MinValue: []byte("2")}, EncodingStats: []format.PageEncodingStats{{Count: 3}}}}
	away, secret, sealed := column, column, column
	away.FilePath = "b.parquet"
	secret.CryptoMetadata = format.ColumnCryptoMetaData{Value: &format.EncryptionWithFooterKey{}}
	sealed.EncryptedColumnMetadata = []byte("x")
	leaf := format.SchemaElement{Name: "a", Type: thrift.New(format.ByteArray), RepetitionType: thrift.New(format.Required)}
	b := withFooter(t, &format.FileMetaData{Version: 2, NumRows: 7, CreatedBy: "someone", KeyValueMetadata: []format.KeyValue{{Key: "k", Value: "v"}},
		Schema:    []format.SchemaElement{{Name: "root", NumChildren: thrift.New(int32(4))}, leaf, leaf, leaf, leaf},
		RowGroups: []format.RowGroup{{Columns: []format.ColumnChunk{column, away, secret, sealed}, NumRows: 7, TotalByteSize: 5, Ordinal: 3}}})
	f, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"", "another file", "encrypted", "encrypted"} {
		c := f.groups[0].chunks[i]
		if c.start != 4 || c.end != 34 || c.codec != format.Zstd || (c.err == nil) != (want == "") || c.err != nil && !strings.Contains(c.err.Error(), want) {
			t.Errorf("column %d: %+v, want %q", i, c, want)
		}
	}
	if f.Rows != 7 {
		t.Errorf("%d rows", f.Rows)
	}
}

// A footer of a few megabytes may have a million columns of row groups.
func TestWhatFootersTake(t *testing.T) {
	const groups, columns = 5000, 10
	meta := footer{Schema: []format.SchemaElement{{Name: "root", NumChildren: thrift.New(int32(columns))}}}
	for range columns {
		meta.Schema = append(meta.Schema, format.SchemaElement{Name: "c", Type: thrift.New(format.Boolean), RepetitionType: thrift.New(format.Required)})
	}
	for range groups {
		meta.RowGroups = append(meta.RowGroups, rowGroup{Columns: make([]columnChunk, columns)})
	}
	b := withFooter(t, &meta)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := Open(bytes.NewReader(b), int64(len(b))); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if each := (after.TotalAlloc - before.TotalAlloc) / (groups * columns); each > 250 {
		t.Errorf("%d bytes for each column of a row group", each)
	}
}
