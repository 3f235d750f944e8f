package avro

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"

	"github.com/golang/snappy"

	"github.com/vista-mr/vista-mr/mr/errs"
)

// ReaderOptions bounds what is read.
type ReaderOptions struct {
	MaxBlock int64 // largest block, stored or unpacked; 0: 64 MiB
}

const (
	maxHeader  = 16 << 20
	maxEntries = 10_000
	maxBlock   = 64 << 20
	readBuffer = 256 << 10
	// snappyRatio is more than Snappy can pack: its best is 64 bytes in 3. Whoever announces
	// more gets no memory for it.
	snappyRatio = 22
)

// Reader reads a container file. It may be used by several goroutines, each with its own
// BlockIter.
type Reader struct {
	r     io.ReaderAt
	size  int64
	o     ReaderOptions
	meta  map[string]string
	codec Codec
	sync  [16]byte
	end   int64 // of the header
}

func corrupt(format string, args ...any) error {
	return errs.E("avro", errs.Corrupt, "", fmt.Errorf(format, args...))
}

// broken says what a cursor's failure means: bytes that make no sense are damage, a store that
// does not answer keeps its own kind.
func broken(err error, format string, args ...any) error {
	where := fmt.Sprintf(format, args...)
	var store *storeError
	if errors.As(err, &store) {
		return errs.E("avro", errs.Unknown, "", fmt.Errorf("%s: %w", where, store.err))
	}
	return corrupt("%s: %w", where, err)
}

// NewReader reads the header.
func NewReader(r io.ReaderAt, size int64, o ReaderOptions) (*Reader, error) {
	a := &Reader{r: r, size: size, o: o, meta: map[string]string{}}
	return a, a.header(newCursor(r, 0, size))
}

// Scan reads a whole file from front to back, each byte once. seen is told of the bytes as they
// are read, so that what was summed up is what was used.
func Scan(r io.ReaderAt, size int64, o ReaderOptions, seen func([]byte)) (*Reader, *BlockIter, error) {
	a := &Reader{r: r, size: size, o: o, meta: map[string]string{}}
	in := newCursor(r, 0, size)
	in.seen = seen
	if err := a.header(in); err != nil {
		return nil, nil, err
	}
	return a, &BlockIter{a: a, in: in, limit: size, found: true}, nil
}

// header reads the header and leaves the cursor behind it.
func (a *Reader) header(in *cursor) error {
	if a.o.MaxBlock <= 0 {
		a.o.MaxBlock = maxBlock
	}
	in.end = min(a.size, maxHeader)
	defer func() { in.end = a.size }()
	var got [4]byte
	err := in.full(got[:])
	if store := (*storeError)(nil); errors.As(err, &store) {
		return broken(err, "header")
	}
	if err != nil || got != magic {
		return errs.E("avro", errs.Invalid, "", errors.New("this is not an Avro object container file"))
	}
	if err := a.readMeta(in); err != nil {
		return err
	}
	if err := in.full(a.sync[:]); err != nil {
		return broken(err, "header")
	}
	a.end = in.offset()
	a.codec = Codec(a.meta["avro.codec"])
	switch a.codec {
	case "":
		a.codec = Null
	case Null, Snappy, Deflate:
	default:
		return errs.E("avro", errs.Invalid, "", fmt.Errorf("codec %q is not supported: null, snappy and deflate are", a.codec))
	}
	if a.meta["avro.schema"] == "" {
		return corrupt("header: no schema")
	}
	return nil
}

// readMeta reads the map of metadata, which comes in blocks.
func (a *Reader) readMeta(in *cursor) error {
	for {
		n, err := in.long()
		if err != nil {
			return broken(err, "header")
		}
		if n == 0 {
			return nil
		}
		if n < 0 {
			if _, err := in.long(); err != nil { // the block's size, of no use here
				return broken(err, "header")
			}
			n = -n
		}
		if n < 0 || n > maxEntries || len(a.meta)+int(n) > maxEntries {
			return corrupt("header: %d entries", n)
		}
		for ; n > 0; n-- {
			key, err := in.bytes(maxHeader)
			if err != nil {
				return broken(err, "header")
			}
			value, err := in.bytes(maxHeader)
			if err != nil {
				return broken(err, "header")
			}
			a.meta[string(key)] = string(value)
		}
	}
}

// Schema is the file's schema.
func (a *Reader) Schema() string { return a.meta["avro.schema"] }

// Meta is the file's metadata, schema and codec included.
func (a *Reader) Meta() map[string]string { return maps.Clone(a.meta) }

// Codec is how the blocks are stored.
func (a *Reader) Codec() Codec { return a.codec }

// Sync is the file's marker.
func (a *Reader) Sync() [16]byte { return a.sync }

// HeaderEnd is the offset of the first block.
func (a *Reader) HeaderEnd() int64 { return a.end }

// Block is one block of records.
type Block struct {
	Count  int64
	Data   []byte // unpacked; valid until the next block
	Offset int64  // of the block in the file
}

// BlockIter walks blocks. It belongs to one goroutine.
type BlockIter struct {
	a     *Reader
	in    *cursor
	limit int64 // blocks that start at or beyond it belong to somebody else
	block Block
	raw   []byte
	out   []byte
	err   error
	found bool
}

// Blocks walks the blocks that belong to bytes [start, end): those before which a marker (or
// the header) ends at an offset in that range. Ranges that cover the file give every block once.
func (a *Reader) Blocks(start, end int64) *BlockIter {
	return &BlockIter{a: a, in: newCursor(a.r, max(start, 0), a.size), limit: min(end, a.size)}
}

// seek finds the first block of the range.
func (it *BlockIter) seek() bool {
	it.found = true
	if it.in.offset() <= it.a.end {
		// The header's own marker ends at a.end. A range that starts there or before, and
		// reaches beyond, owns the first block.
		it.in = newCursor(it.a.r, it.a.end, it.a.size)
		return true
	}
	// A marker that ends at or behind start may begin up to 16 bytes before it.
	it.in = newCursor(it.a.r, max(it.a.end-16, it.in.offset()-16), it.a.size)
	ok, err := it.in.skipPast(it.a.sync[:], it.limit)
	if err != nil {
		it.err = broken(err, "looking for a block in front of %d", it.limit)
	}
	return ok
}

// Next reads the next block. After it answers false, Err tells whether there was an error.
func (it *BlockIter) Next() bool {
	if it.err != nil || !it.found && !it.seek() {
		return false
	}
	at := it.in.offset()
	if at >= it.limit || at >= it.a.size {
		return false
	}
	it.err = it.read(at)
	return it.err == nil
}

// maxStored bounds a block as it is stored: packing what cannot be packed makes it a little
// larger.
func (a *Reader) maxStored() int64 {
	if a.codec == Null {
		return a.o.MaxBlock
	}
	return a.o.MaxBlock + a.o.MaxBlock/6 + 64
}

func (it *BlockIter) read(at int64) error {
	count, err := it.in.long()
	if err != nil {
		return broken(err, "block at %d", at)
	}
	n, err := it.in.long()
	if err != nil {
		return broken(err, "block at %d", at)
	}
	if left := it.a.size - it.in.offset(); count < 0 || n < 0 || n > left {
		return corrupt("block at %d: %d records in %d bytes, %d are left", at, count, n, left)
	}
	if most := it.a.maxStored(); n > most {
		return corrupt("block at %d: %d bytes, more than %d", at, n, most)
	}
	it.raw = grow(it.raw, int(n))
	if err := it.in.full(it.raw); err != nil {
		return broken(err, "block at %d", at)
	}
	var marker [16]byte
	if err := it.in.full(marker[:]); err != nil {
		return broken(err, "block at %d", at)
	}
	if marker != it.a.sync {
		return corrupt("block at %d: no sync marker behind it", at)
	}
	data, err := it.unpack(it.raw)
	if err != nil {
		return corrupt("block at %d: %w", at, err)
	}
	if count > int64(len(data)) && len(data) > 0 || count > 0 && len(data) == 0 {
		// A record of our schemas takes at least a byte; an empty one has nothing to tell.
		return corrupt("block at %d: %d records in %d bytes", at, count, len(data))
	}
	it.block = Block{Count: count, Data: data, Offset: at}
	return nil
}

func (it *BlockIter) unpack(raw []byte) ([]byte, error) {
	switch it.a.codec {
	case Snappy:
		if len(raw) < 4 {
			return nil, errors.New("no room for a checksum")
		}
		body, want := raw[:len(raw)-4], binary.BigEndian.Uint32(raw[len(raw)-4:])
		n, err := snappy.DecodedLen(body)
		if err != nil {
			return nil, err
		}
		if int64(n) > it.a.o.MaxBlock {
			return nil, fmt.Errorf("unpacks to %d bytes, more than %d", n, it.a.o.MaxBlock)
		}
		if n > snappyRatio*len(body) {
			return nil, fmt.Errorf("%d bytes cannot unpack to %d", len(body), n)
		}
		it.out = grow(it.out, n)
		data, err := snappy.Decode(it.out, body)
		if err != nil {
			return nil, err
		}
		if crc32.ChecksumIEEE(data) != want {
			return nil, errors.New("checksum differs")
		}
		return data, nil
	case Deflate:
		in := flate.NewReader(bytes.NewReader(raw))
		var b bytes.Buffer
		n, err := io.Copy(&b, io.LimitReader(in, it.a.o.MaxBlock+1))
		if err != nil {
			return nil, err
		}
		if n > it.a.o.MaxBlock {
			return nil, fmt.Errorf("unpacks to more than %d bytes", it.a.o.MaxBlock)
		}
		return b.Bytes(), nil
	}
	return raw, nil
}

func grow(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}

// Block is the block that Next read.
func (it *BlockIter) Block() Block { return it.block }

// Err is what ended the walk early.
func (it *BlockIter) Err() error { return it.err }
