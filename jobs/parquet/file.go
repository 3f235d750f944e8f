// Package parquet reads the flat columns of Parquet files that nobody vouches for.
//
// Invariant: no length in a file is believed before it is checked against what is there. Memory
// stays below a fixed budget and work below a fixed multiple of the file's size, whatever the
// file claims; every failure is an error with a kind, never a panic.
//
// The footer's structures, their thrift decoding and their meaning are parquet-go's. Pages are
// read here, value by value, because a decoder that fills a page's worth of values at once
// allocates what the page claims: a few bytes of run-length encoding can stand for gigabytes.
//
//  1. Open walks the footer's bytes without decoding them (compact.go), decodes them, checks the
//     offsets, and turns the schema into columns (schema.go).
//  2. Rows keeps one cursor for each wanted column (page.go), which unpacks a page at a time
//     (codec.go) and decodes one value at a step (decode.go, delta.go).
//
// Every leaf of the schema is a column, named by its path; leaves below a repeated group are listed and
// cannot be read. Encrypted files, legacy LZ4 and the bit-packed levels of the format's first
// year are refused by name. Package table reads tables with it.
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
	maxPage    = 256 << 20
	// maxHeld bounds the pages and dictionaries that all columns hold at once.
	maxHeld = 512 << 20
	// A file of n bytes may unpack to maxUnpacked + maxRatio*n bytes and hold freeRows +
	// rowsPerByte*n rows. Real tables take bytes for a row; run lengths alone could claim
	// billions of rows in a kilobyte.
	maxUnpacked = 256 << 20
	maxRatio    = 200
	freeRows    = 1 << 20
	rowsPerByte = 4
)

// Column is one leaf of the schema.
type Column struct {
	Name string
	Type cell.Type

	leaf     int
	physical format.Type
	length   int // of fixed-length values
	maxDef   int // definition level of a value that is there
}

// File is an open file. It may be read by several goroutines, each with its own Rows.
type File struct {
	Columns []Column
	Rows    int64

	r      io.ReaderAt
	size   int64
	groups []group
}

// group is a row group as far as it is needed.
type group struct {
	rows   int64
	chunks []chunk // by leaf
}

type chunk struct {
	start, end int64
	codec      format.CompressionCodec
}

func corrupt(f string, args ...any) error {
	return errs.E("parquet", errs.Corrupt, "", fmt.Errorf(f, args...))
}

func unsupported(f string, args ...any) error {
	return errs.E("parquet", errs.Invalid, "", fmt.Errorf(f, args...))
}

// Open reads the footer.
func Open(r io.ReaderAt, size int64) (*File, error) {
	footer, err := readFooter(r, size)
	if err != nil {
		return nil, err
	}
	if _, err := measure(footer, maxStructs); err != nil {
		return nil, corrupt("footer: %w", err)
	}
	var meta format.FileMetaData
	if err := decode(footer, &meta); err != nil {
		return nil, corrupt("footer: %w", err)
	}
	if meta.EncryptionAlgorithm.Value != nil {
		return nil, unsupported("the file is encrypted")
	}
	f := &File{r: r, size: size}
	if f.Columns, err = columnsOf(meta.Schema); err != nil {
		return nil, err
	}
	return f, f.addGroups(meta.RowGroups)
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
	footer := make([]byte, n)
	return footer, readFull(r, footer, size-tail-n)
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
	return errs.E("parquet", errs.Unknown, "", err)
}

// decode reads a thrift structure whose lengths have been checked.
func decode(b []byte, v any) (err error) {
	defer func() {
		if r := recover(); r != nil { // the decoder is not ours
			err = fmt.Errorf("%v", r)
		}
	}()
	var protocol thrift.CompactProtocol
	return thrift.NewDecoder(protocol.NewReaderFromBytes(b)).Decode(v)
}

func (f *File) addGroups(groups []format.RowGroup) error {
	for i := range groups {
		g := &groups[i]
		if len(g.Columns) != len(f.Columns) || g.NumRows < 0 {
			return corrupt("row group %d has %d columns and %d rows, the schema has %d columns", i, len(g.Columns), g.NumRows, len(f.Columns))
		}
		out := group{rows: g.NumRows}
		for j := range g.Columns {
			c, err := f.chunkOf(&g.Columns[j], &f.Columns[j], g.NumRows)
			if err != nil {
				return fmt.Errorf("row group %d, column %q: %w", i, f.Columns[j].Name, err)
			}
			out.chunks = append(out.chunks, c)
		}
		f.groups = append(f.groups, out)
		f.Rows += g.NumRows
		if f.Rows > freeRows+rowsPerByte*f.size {
			return corrupt("more than %d rows in a file of %d bytes", freeRows+rowsPerByte*f.size, f.size)
		}
	}
	return nil
}

func (f *File) chunkOf(c *format.ColumnChunk, col *Column, rows int64) (chunk, error) {
	m := &c.MetaData
	if c.FilePath != "" {
		return chunk{}, unsupported("its data are in another file")
	}
	if c.CryptoMetadata.Value != nil || len(c.EncryptedColumnMetadata) > 0 {
		return chunk{}, unsupported("it is encrypted")
	}
	if col.Type.Kind == cell.Other {
		return chunk{}, nil // never read
	}
	start := m.DataPageOffset
	if d := m.DictionaryPageOffset; d > 0 && d < start {
		start = d
	}
	if m.Type != col.physical || m.NumValues != rows {
		return chunk{}, corrupt("%d values of type %v, want %d of %v", m.NumValues, m.Type, rows, col.physical)
	}
	if start < 0 || m.TotalCompressedSize < 0 || start > f.size || m.TotalCompressedSize > f.size-start {
		return chunk{}, corrupt("%d bytes at %d in a file of %d", m.TotalCompressedSize, start, f.size)
	}
	return chunk{start: start, end: start + m.TotalCompressedSize, codec: m.Codec}, nil
}

// Reader walks the rows of some columns. It belongs to one goroutine.
type Reader struct {
	f       *File
	cursors []*cursor
	values  []cell.Value
	group   int
	left    int64  // rows of the group
	held    int64  // bytes of all buffers
	raw     []byte // a page as it is stored
	head    []byte // a page's header
	packed  int64  // bytes unpacked so far
	err     error
}

// Read walks the rows of the columns with the given indices.
func (f *File) Read(columns []int) (*Reader, error) {
	r := &Reader{f: f, values: make([]cell.Value, len(columns)), group: -1}
	for _, i := range columns {
		col := &f.Columns[i]
		if !col.Type.Usable() {
			return nil, unsupported("column %q is %v", col.Name, col.Type)
		}
		r.cursors = append(r.cursors, &cursor{rows: r, col: col})
	}
	return r, nil
}

// Next goes to the next row. After it answers false, Err tells whether there was an error.
func (r *Reader) Next() bool {
	if r.err != nil {
		return false
	}
	for r.left == 0 {
		r.group++
		if r.group >= len(r.f.groups) {
			return false
		}
		g := &r.f.groups[r.group]
		r.left = g.rows
		for _, c := range r.cursors {
			c.begin(g.chunks[c.col.leaf])
		}
	}
	r.left--
	for i, c := range r.cursors {
		if err := c.next(&r.values[i]); err != nil {
			r.err = fmt.Errorf("column %q: %w", c.col.Name, err)
			return false
		}
	}
	return true
}

// Value is the row's value of the i-th wanted column, valid until the next step.
func (r *Reader) Value(i int) *cell.Value { return &r.values[i] }

// Err is what ended the walk early.
func (r *Reader) Err() error { return r.err }
