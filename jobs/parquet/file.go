package parquet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"github.com/vista-mr/vista-mr/jobs/cell"
	"github.com/vista-mr/vista-mr/mr/errs"
)

const (
	magic      = "PAR1"
	maxFooter  = 64 << 20
	maxStructs = 1 << 20 // structures in all lists of a footer
	maxColumns = 100_000
	// MaxPage is the largest page that is read, stored or unpacked. Writers that do not bound
	// pages by bytes make them as large as a row group.
	MaxPage = 256 << 20
	// A file of n bytes may hold freeRows + rowsPerByte*n rows. Real tables take bytes for a
	// row; run lengths alone could claim billions of rows in a kilobyte.
	freeRows    = 1 << 20
	rowsPerByte = 4
)

// Column is one leaf of the schema.
type Column struct {
	Index int    // in File.Columns
	Name  string // with those of the groups that it lies in: "image.bytes"
	Type  cell.Type
	Text  bool // its byte strings are marked as text
	List  bool // it lies in a list or map, and cannot be read

	physical format.Type
	length   int // of fixed-length values
	maxDef   int // definition level of a value that is there
}

// Bytes tells whether the values are byte strings of any length, which Pages finds one by one.
func (c *Column) Bytes() bool { return c.physical == format.ByteArray }

// File is an open file. It may be read by several goroutines, each with its own Rows or Pages.
type File struct {
	Columns []Column
	Rows    int64

	r      io.ReaderAt
	size   int64
	groups []group
}

// footer is the part of format.FileMetaData that is needed. The structures of the format take 900 bytes for each
// column of each row group, which a footer may have in five; these take 100. What is not named is passed over.
type footer struct {
	Schema    thrift.Slice[format.SchemaElement] `thrift:"2,required"`
	NumRows   int64                              `thrift:"3,required"`
	RowGroups thrift.Slice[rowGroup]             `thrift:"4,required"`
}

type rowGroup struct {
	Columns thrift.Slice[columnChunk] `thrift:"1,required"`
	NumRows int64                     `thrift:"3,required"`
}

type columnChunk struct {
	FilePath       string                      `thrift:"1,optional"`
	MetaData       columnMetaData              `thrift:"3,optional"`
	CryptoMetadata format.ColumnCryptoMetaData `thrift:"8,optional"`
	Encrypted      []byte                      `thrift:"9,optional"`
}

type columnMetaData struct {
	Type                 format.Type             `thrift:"1,required"`
	Codec                format.CompressionCodec `thrift:"4,required"`
	NumValues            int64                   `thrift:"5,required"`
	TotalCompressedSize  int64                   `thrift:"7,required"`
	DataPageOffset       int64                   `thrift:"9,required"`
	DictionaryPageOffset int64                   `thrift:"11,optional"`
}

// group is a row group as far as it is needed.
type group struct {
	rows   int64
	chunks []chunk // by column
}

// chunk is a column's part of a row group.
type chunk struct {
	start, end int64
	codec      format.CompressionCodec
	err        error // why it cannot be read, which matters to those who ask for it
}

func corrupt(f string, args ...any) error {
	return errs.E("", errs.Corrupt, "", fmt.Errorf(f, args...))
}

func unsupported(f string, args ...any) error {
	return errs.E("", errs.Invalid, "", fmt.Errorf(f, args...))
}

// damage gives an error a kind that has none: bytes that make no sense are damaged.
func damage(err error) error {
	if errs.KindOf(err) == errs.Unknown {
		return corrupt("%w", err)
	}
	return err
}

// failed is an error as callers see it. It keeps its kind.
func failed(err error) error { return errs.E("parquet", errs.Unknown, "", err) }

// Open reads the footer.
func Open(r io.ReaderAt, size int64) (*File, error) {
	f := &File{r: r, size: size}
	if err := f.open(); err != nil {
		return nil, failed(err)
	}
	return f, nil
}

func (f *File) open() error {
	b, err := readFooter(f.r, f.size)
	if err != nil {
		return err
	}
	var meta footer
	if _, err := decode(b, maxStructs, &meta); err != nil {
		return corrupt("footer: %w", err)
	}
	if f.Columns, err = columnsOf(meta.Schema); err != nil {
		return err
	}
	if err := f.addGroups(meta.RowGroups); err != nil {
		return err
	}
	if f.Rows != meta.NumRows {
		return corrupt("footer: the row groups have %d rows, the file %d", f.Rows, meta.NumRows)
	}
	return nil
}

func readFooter(r io.ReaderAt, size int64) ([]byte, error) {
	const tail = 8
	if size < int64(len(magic))+tail {
		return nil, corrupt("%d bytes are no Parquet file", size)
	}
	var b [tail]byte
	if err := readFull(r, b[:], size-tail); err != nil {
		return nil, err
	}
	switch string(b[4:]) {
	case magic:
	case "PARE":
		return nil, unsupported("the file is encrypted")
	default:
		return nil, corrupt("the file does not end as a Parquet file does: it is truncated, or not one")
	}
	n := int64(binary.LittleEndian.Uint32(b[:4]))
	if n > maxFooter || n > size-tail-int64(len(magic)) {
		return nil, corrupt("footer of %d bytes in a file of %d", n, size)
	}
	out := make([]byte, n)
	return out, readFull(r, out, size-tail-n)
}

// readFull fills b; a store's failure keeps its kind.
func readFull(r io.ReaderAt, b []byte, at int64) error {
	n, err := r.ReadAt(b, at)
	switch {
	case n == len(b):
		return nil
	case err == nil || errors.Is(err, io.EOF):
		return corrupt("%d bytes at %d: the file is shorter", len(b), at)
	}
	return err
}

func (f *File) addGroups(groups []rowGroup) error {
	for i := range groups {
		g := &groups[i]
		if len(g.Columns) != len(f.Columns) || g.NumRows < 0 {
			return corrupt("row group %d has %d columns and %d rows, the schema has %d columns", i, len(g.Columns), g.NumRows, len(f.Columns))
		}
		out := group{rows: g.NumRows, chunks: make([]chunk, len(g.Columns))}
		for j := range g.Columns {
			out.chunks[j] = f.chunkOf(&g.Columns[j], &f.Columns[j], g.NumRows)
		}
		f.groups = append(f.groups, out)
		f.Rows += g.NumRows
		if most := freeRows + rowsPerByte*f.size; f.Rows > most || f.Rows < 0 {
			return corrupt("more than %d rows in a file of %d bytes", most, f.size)
		}
	}
	return nil
}

func (f *File) chunkOf(c *columnChunk, col *Column, rows int64) chunk {
	m := &c.MetaData
	start := m.DataPageOffset
	if d := m.DictionaryPageOffset; d > 0 && d < start {
		start = d
	}
	out := chunk{start: start, end: start + m.TotalCompressedSize, codec: m.Codec}
	switch {
	case c.FilePath != "":
		out.err = unsupported("its data are in another file")
	case c.CryptoMetadata.Value != nil || len(c.Encrypted) > 0:
		out.err = unsupported("it is encrypted")
	case m.Type != col.physical || m.NumValues != rows && !col.List:
		out.err = corrupt("%d values of type %v, want %d of %v", m.NumValues, m.Type, rows, col.physical)
	case start < 0 || m.TotalCompressedSize < 0 || start > f.size || m.TotalCompressedSize > f.size-start:
		out.err = corrupt("%d bytes at %d in a file of %d", m.TotalCompressedSize, start, f.size)
	case !supported(m.Codec):
		out.err = unsupported("codec %v is not supported: SNAPPY, GZIP, ZSTD, BROTLI and LZ4_RAW are", m.Codec)
	}
	return out
}
