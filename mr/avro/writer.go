// Package avro reads and writes Avro object container files, block by block, splittable at
// their sync markers. FORMAT.md describes the bytes.
//
// Invariant: what is written is an ordinary container file that any Avro library reads, and
// the same records with the same options give the same bytes. What is read is untrusted: no
// length is believed before it is checked against what is there or against a limit.
//
// Schemas and metadata are checked with goavro; the records of the two schemas that the
// engine owns are encoded here, because their cost is the cost of moving features around.
// Package task writes part files with it; inputs of other schemas are read elsewhere.
package avro

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sort"
	"sync"

	"github.com/golang/snappy"
	"github.com/linkedin/goavro/v2"

	"github.com/vista-mr/vista-mr/mr/errs"
)

// Codec says how blocks are stored.
type Codec string

// The codecs. Deflate is only read.
const (
	Null    Codec = "null"
	Snappy  Codec = "snappy"
	Deflate Codec = "deflate"
)

var magic = [4]byte{'O', 'b', 'j', 1}

// defaultBlock is large enough that compression works and small enough that a block is a
// cheap unit of retry and memory.
const defaultBlock = 64 << 10

// buffers are what a writer fills: a block, and the block compressed. A task writes several files at once and thousands
// one after the other, so they are handed on.
type buffers struct{ block, packed []byte }

var spare = sync.Pool{New: func() any { return new(buffers) }}

// WriterOptions says what is written.
type WriterOptions struct {
	Schema     string
	Codec      Codec             // empty means Null
	Meta       map[string]string // beside the schema and the codec
	Sync       [16]byte          // zero: derived from schema, codec and metadata
	BlockBytes int               // before compression; 0: 64 KiB
}

// Writer writes a container file. It belongs to one goroutine.
type Writer struct {
	w io.Writer
	o WriterOptions
	*buffers
	inBlock int64
	rows    int64
	bytes   int64
	err     error
	closed  bool
}

// NewWriter checks the options and writes the header.
func NewWriter(w io.Writer, o WriterOptions) (*Writer, error) {
	if o.Codec == "" {
		o.Codec = Null
	}
	if o.Codec != Null && o.Codec != Snappy {
		return nil, errs.E("avro", errs.Invalid, "", fmt.Errorf("codec %q cannot be written", o.Codec))
	}
	if o.BlockBytes <= 0 {
		o.BlockBytes = defaultBlock
	}
	o.BlockBytes = min(o.BlockBytes, maxBlock)
	if !ownSchema(o.Schema) {
		if _, err := goavro.NewCodec(o.Schema); err != nil {
			return nil, errs.E("avro", errs.Invalid, "", fmt.Errorf("schema: %w", err))
		}
	}
	header := o.header()
	out := &Writer{w: w, o: o, buffers: spare.Get().(*buffers)}
	return out, out.write(header)
}

// ownSchema tells whether a schema is one of those that tests have checked.
func ownSchema(s string) bool { return s == KVSchema || s == FeatureSchema }

// header encodes the header, and chooses the marker if there is none.
func (o *WriterOptions) header() []byte {
	meta := map[string]string{"avro.schema": o.Schema, "avro.codec": string(o.Codec)}
	for k, v := range o.Meta {
		if _, own := meta[k]; !own {
			meta[k] = v
		}
	}
	keys := make([]string, 0, len(meta))
	for k := range meta {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	b := append([]byte(nil), magic[:]...)
	b = binary.AppendVarint(b, int64(len(keys)))
	for _, k := range keys {
		b = AppendKV(b, []byte(k), []byte(meta[k]))
	}
	b = append(b, 0)
	if o.Sync == [16]byte{} {
		sum := sha256.Sum256(b)
		o.Sync = [16]byte(sum[:16])
	}
	return append(b, o.Sync[:]...)
}

func (w *Writer) write(b []byte) error {
	if w.err != nil {
		return w.err
	}
	n, err := w.w.Write(b)
	w.bytes += int64(n)
	if err != nil {
		w.err = errs.E("avro", errs.KindOf(err), "", err)
	}
	return w.err
}

// Append adds one encoded record.
func (w *Writer) Append(record []byte) error {
	return w.AppendFunc(func(dst []byte) []byte { return append(dst, record...) })
}

// AppendFunc adds one record by letting f append its encoded bytes to the block.
func (w *Writer) AppendFunc(f func(dst []byte) []byte) error {
	if w.err != nil {
		return w.err
	}
	if w.closed {
		return errs.E("avro", errs.Internal, "", errors.New("record after Close"))
	}
	before := len(w.block)
	w.block = f(w.block)
	if len(w.block) > maxBlock {
		if err := w.shed(before); err != nil {
			return err
		}
	}
	w.inBlock++
	w.rows++
	if len(w.block) >= w.o.BlockBytes {
		return w.Flush()
	}
	return nil
}

// shed writes the records in front of a large one as a block of their own, because readers
// take no block above maxBlock.
func (w *Writer) shed(before int) error {
	whole := w.block
	if n := len(whole) - before; n > maxBlock {
		w.block = whole[:before]
		return errs.E("avro", errs.Invalid, "", fmt.Errorf("a record of %d bytes is too large: readers take at most %d", n, maxBlock))
	}
	w.block = whole[:before]
	if err := w.Flush(); err != nil {
		return err
	}
	w.block = append(whole[:0], whole[before:]...)
	return nil
}

// Flush ends the block.
func (w *Writer) Flush() error {
	if w.inBlock == 0 || w.err != nil {
		return w.err
	}
	data := w.block
	if w.o.Codec == Snappy {
		w.packed = snappy.Encode(w.packed[:cap(w.packed)], w.block)
		w.packed = binary.BigEndian.AppendUint32(w.packed, crc32.ChecksumIEEE(w.block))
		data = w.packed
	}
	head := binary.AppendVarint(make([]byte, 0, 20), w.inBlock)
	head = binary.AppendVarint(head, int64(len(data)))
	for _, b := range [][]byte{head, data, w.o.Sync[:]} {
		if err := w.write(b); err != nil {
			return err
		}
	}
	w.block, w.inBlock = w.block[:0], 0
	if most := 4 * w.o.BlockBytes; cap(w.block) > most { // a large record's memory is not kept for small ones
		w.block, w.packed = nil, nil
	}
	return nil
}

// Close ends the last block. It does not close the underlying writer.
func (w *Writer) Close() error {
	if w.closed {
		return w.err
	}
	err := w.Flush()
	w.closed = true
	w.block = w.block[:0]
	spare.Put(w.buffers)
	w.buffers = nil
	return err
}

// Rows is the number of records appended.
func (w *Writer) Rows() int64 { return w.rows }

// Bytes is the number of bytes written so far.
func (w *Writer) Bytes() int64 { return w.bytes }
