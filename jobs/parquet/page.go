package parquet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/bits"

	"github.com/parquet-go/parquet-go/format"

	"github.com/vista-mr/vista-mr/jobs/cell"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// A page's header is read in a first piece that is nearly always enough, and in ever larger
// ones when its statistics are long.
const (
	headerPiece = 4 << 10
	maxHeader   = 16 << 20
)

// cursor walks one column's values through the pages of a chunk.
type cursor struct {
	rows *Reader
	col  *Column

	chunk   chunk
	at      int64 // offset of the next page's header
	left    int64 // values of the current page that were not taken yet
	levels  *hybrid
	values  values
	fixed   fixed // of values, kept for reuse
	dict    values
	dictLen uint32
	starts  int64  // bytes that the dictionary's own index takes
	buf     []byte // the page
	dictBuf []byte
}

// values decodes the values of a page that are there, one at a step.
type values interface {
	// next decodes the next value into v, whose fields are zero.
	next(v *cell.Value) error
}

// dictionary finds a value by its number.
type dictionary interface {
	values
	value(i uint32, v *cell.Value) error
}

var errShort = errors.New("a page has fewer values than it announces")

// begin goes to the start of a chunk.
func (c *cursor) begin(ch chunk) {
	c.rows.held -= c.starts
	c.chunk, c.at, c.left, c.dict, c.dictLen, c.starts = ch, ch.start, 0, nil, 0, 0
}

func (c *cursor) next(v *cell.Value) error {
	for c.left == 0 {
		if err := c.page(); err != nil {
			return err
		}
	}
	c.left--
	*v = cell.Value{}
	if c.levels != nil {
		level, err := c.levels.next()
		if err != nil {
			return corrupt("definition levels: %w", err)
		}
		if int(level) < c.col.maxDef {
			v.Null = true
			return nil
		}
	}
	if err := c.values.next(v); err != nil {
		return corrupt("%w", err)
	}
	if len(v.Bytes) > cell.MaxDecimal && c.col.Type.Kind == cell.Decimal {
		return corrupt("a decimal of %d bytes", len(v.Bytes))
	}
	return nil
}

// page reads the next page of the chunk.
func (c *cursor) page() error {
	if c.at >= c.chunk.end {
		return corrupt("its chunk ends before its rows do")
	}
	h, err := c.header()
	if err != nil {
		return err
	}
	stored, unpacked := int64(h.CompressedPageSize), int64(h.UncompressedPageSize)
	if stored < 0 || stored > c.chunk.end-c.at {
		return corrupt("a page of %d bytes, %d are left", stored, c.chunk.end-c.at)
	}
	if unpacked < 0 || max(stored, unpacked) > maxPage {
		return corrupt("a page of %d bytes, more than %d", max(stored, unpacked), int64(maxPage))
	}
	at := c.at
	c.at += stored
	switch h.Type {
	case format.DictionaryPage, format.DataPage, format.DataPageV2:
	default:
		return nil // an index, which is of no use here
	}
	if c.rows.packed += unpacked; c.rows.packed > maxUnpacked+maxRatio*c.rows.f.size {
		return corrupt("the file of %d bytes unpacks to more than %d times its size", c.rows.f.size, maxRatio)
	}
	switch h.Type {
	case format.DictionaryPage:
		if c.dictBuf, err = c.load(c.dictBuf, h, at, 0, true); err == nil {
			err = c.dictionaryPage(h)
		}
	case format.DataPage:
		if c.buf, err = c.load(c.buf, h, at, 0, true); err == nil {
			err = c.dataPage(h)
		}
	case format.DataPageV2:
		p := &h.DataPageHeaderV2.V
		levels := int64(p.RepetitionLevelsByteLength) + int64(p.DefinitionLevelsByteLength)
		if !h.DataPageHeaderV2.Valid || p.RepetitionLevelsByteLength < 0 || p.DefinitionLevelsByteLength < 0 || levels > min(stored, unpacked) {
			return corrupt("a page of %d bytes with %d bytes of levels", min(stored, unpacked), levels)
		}
		if c.buf, err = c.load(c.buf, h, at, int(levels), !p.IsCompressed.Valid || p.IsCompressed.V); err == nil {
			err = c.dataPageV2(h)
		}
	}
	return err
}

// header reads the page header at c.at and moves behind it.
func (c *cursor) header() (*format.PageHeader, error) {
	for n := int64(headerPiece); ; n *= 16 {
		n = min(n, c.chunk.end-c.at, maxHeader)
		if int64(cap(c.rows.head)) < n {
			c.rows.head = make([]byte, n)
		}
		b := c.rows.head[:n]
		if err := readFull(c.rows.f.r, b, c.at); err != nil {
			return nil, err
		}
		size, err := measure(b, 1024)
		if errors.Is(err, io.ErrUnexpectedEOF) && n < c.chunk.end-c.at && n < maxHeader {
			continue
		}
		var h format.PageHeader
		if err == nil {
			err = decode(b[:size], &h)
		}
		if err != nil {
			return nil, corrupt("page header at %d: %w", c.at, err)
		}
		c.at += int64(size)
		return &h, nil
	}
}

// load reads a page and unpacks it into buf, but for the first plain bytes, which are never packed.
func (c *cursor) load(buf []byte, h *format.PageHeader, at int64, plain int, packed bool) ([]byte, error) {
	stored := int64(h.CompressedPageSize)
	packed = packed && c.chunk.codec != format.Uncompressed
	raw, err := buf, error(nil)
	if packed {
		raw = c.rows.raw // every column's, and only for a moment
	}
	if raw, err = c.rows.hold(raw, stored); err != nil {
		return buf, err
	}
	if packed {
		c.rows.raw = raw
	}
	if err := readFull(c.rows.f.r, raw, at); err != nil {
		return buf, err
	}
	if h.CRC != 0 && crc32.ChecksumIEEE(raw) != uint32(h.CRC) {
		return buf, corrupt("the checksum of the page at %d differs", at)
	}
	if !packed {
		return raw, nil
	}
	if buf, err = c.rows.hold(buf, int64(h.UncompressedPageSize)); err != nil || len(buf) == 0 {
		return buf, err
	}
	copy(buf, raw[:plain])
	if len(buf) == plain {
		return buf, nil
	}
	return buf, unpack(c.chunk.codec, buf[plain:], raw[plain:])
}

// hold gives a buffer of n bytes, within the budget that all columns share.
func (r *Reader) hold(b []byte, n int64) ([]byte, error) {
	if int64(cap(b)) >= n {
		return b[:n], nil
	}
	if r.held += n - int64(cap(b)); r.held > maxHeld {
		return b, unsupported("the pages of the columns need more than %d MiB at once: write the file with smaller row groups", maxHeld>>20)
	}
	return make([]byte, n), nil
}

func (c *cursor) dictionaryPage(h *format.PageHeader) error {
	if !h.DictionaryPageHeader.Valid || c.dict != nil {
		return corrupt("a dictionary page without its header, or a second one")
	}
	b := c.dictBuf
	n := int64(h.DictionaryPageHeader.V.NumValues)
	if n < 0 || n > int64(len(b)) {
		return corrupt("a dictionary of %d values in %d bytes", n, len(b))
	}
	switch e := h.DictionaryPageHeader.V.Encoding; e {
	case format.Plain, format.PlainDictionary:
	default:
		return unsupported("its dictionary is encoded as %v", e)
	}
	c.dictLen = uint32(n)
	if c.col.physical == format.ByteArray {
		c.starts = 4 * n
		if c.rows.held += c.starts; c.rows.held > maxHeld {
			return unsupported("the dictionaries of the columns need more than %d MiB at once", maxHeld>>20)
		}
		d, err := newTexts(b, int(n))
		c.dict = d
		return err
	}
	c.dict = &fixed{b: b, col: c.col}
	return nil
}

func (c *cursor) dataPage(h *format.PageHeader) error {
	if !h.DataPageHeader.Valid {
		return corrupt("a data page without its header")
	}
	b, p := c.buf, &h.DataPageHeader.V
	c.levels = nil
	if c.col.maxDef > 0 {
		if p.DefinitionLevelEncoding != format.RLE {
			return unsupported("its definition levels are encoded as %v", p.DefinitionLevelEncoding)
		}
		if len(b) < 4 {
			return corrupt("a page of %d bytes has no levels", len(b))
		}
		n := binary.LittleEndian.Uint32(b)
		if uint64(n) > uint64(len(b)-4) {
			return corrupt("levels of %d bytes, %d are left", n, len(b)-4)
		}
		c.levels = newHybrid(b[4:4+n], c.levelBits())
		b = b[4+n:]
	}
	return c.open(b, int64(p.NumValues), p.Encoding)
}

func (c *cursor) levelBits() int { return bits.Len(uint(c.col.maxDef)) }

// dataPageV2 opens a page whose levels, whose lengths were checked, are in front and without lengths.
func (c *cursor) dataPageV2(h *format.PageHeader) error {
	p := &h.DataPageHeaderV2.V
	reps, defs := int(p.RepetitionLevelsByteLength), int(p.DefinitionLevelsByteLength)
	c.levels = nil
	if c.col.maxDef > 0 {
		c.levels = newHybrid(c.buf[reps:reps+defs], c.levelBits())
	}
	return c.open(c.buf[reps+defs:], int64(p.NumValues), p.Encoding)
}

// open starts decoding a page's values.
func (c *cursor) open(b []byte, n int64, enc format.Encoding) (err error) {
	if n < 0 {
		return corrupt("a page of %d values", n)
	}
	c.left = n
	switch {
	case enc == format.RLEDictionary || enc == format.PlainDictionary:
		d, ok := c.dict.(dictionary)
		if !ok {
			return corrupt("a page without the dictionary that it refers to")
		}
		c.values, err = newIndexed(b, d, c.dictLen)
	case enc == format.Plain && c.col.physical == format.ByteArray:
		c.values = &texts{b: b}
	case enc == format.Plain && c.col.physical == format.Boolean:
		c.values = &booleans{b: b}
	case enc == format.Plain:
		c.fixed = fixed{b: b, col: c.col}
		c.values = &c.fixed
	case enc == format.RLE && c.col.physical == format.Boolean:
		c.values, err = newRunBooleans(b)
	case enc == format.DeltaBinaryPacked && (c.col.physical == format.Int32 || c.col.physical == format.Int64):
		var d *delta
		d, err = newDelta(b)
		c.values = &deltaInts{d: d, col: c.col}
	case enc == format.DeltaLengthByteArray && c.col.physical == format.ByteArray:
		c.values, err = newDeltaLengths(b)
	case enc == format.DeltaByteArray && (c.col.physical == format.ByteArray || c.col.physical == format.FixedLenByteArray):
		c.values, err = newDeltaTexts(b, c.col)
	case enc == format.ByteStreamSplit && c.col.width() > 0:
		c.values = newSplit(b, c.col)
	default:
		return unsupported("its values of type %v are encoded as %v, which cannot be read", c.col.physical, enc)
	}
	if err != nil && errs.KindOf(err) == errs.Unknown {
		err = corrupt("%w", err)
	}
	return err
}

// width is the length of a value in bytes, 0 where it varies.
func (c *Column) width() int {
	switch c.physical {
	case format.Int32, format.Float:
		return 4
	case format.Int64, format.Double:
		return 8
	case format.Int96:
		return 12
	case format.FixedLenByteArray:
		return c.length
	}
	return 0
}

// String helps to tell cursors apart in a debugger.
func (c *cursor) String() string { return fmt.Sprintf("column %q at %d", c.col.Name, c.at) }
