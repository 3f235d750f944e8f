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
)

// A page's header is read in a first piece that is nearly always enough, and in ever larger
// ones when its statistics are long.
const (
	headerPiece = 1 << 10
	maxHeader   = 16 << 20
)

// Page is a page as its header describes it. With the place of its body, which is not in its
// JSON, it is all that is needed to come back to the page without the footer.
type Page struct {
	Group    int                     `json:"-"` // row group
	Offset   int64                   `json:"-"` // of the body in the file
	Stored   int                     `json:"-"` // bytes of the body
	Raw      int                     `json:"u"` // bytes of the body, unpacked
	Values   int                     `json:"n"` // nulls included
	Kind     format.PageType         `json:"k,omitempty"`
	Encoding format.Encoding         `json:"e,omitempty"`
	Codec    format.CompressionCodec `json:"c,omitempty"`
	MaxDef   int                     `json:"m,omitempty"` // definition level of a value that is there
	Levels   int                     `json:"l,omitempty"` // version 2: bytes of levels in front, which are never packed
	Def      int                     `json:"f,omitempty"` // version 2: those that are definition levels
	CRC      uint32                  `json:"s,omitempty"` // of the body; 0: not known
}

// Dictionary tells whether the values are those that data pages refer to.
func (p *Page) Dictionary() bool { return p.Kind == format.DictionaryPage }

// pageOf is what a header says of a page of the column.
func pageOf(h *format.PageHeader, col *Column, codec format.CompressionCodec) (Page, error) {
	p := Page{Kind: h.Type, Stored: int(h.CompressedPageSize), Raw: int(h.UncompressedPageSize), Codec: codec, CRC: uint32(h.CRC)}
	whole := true
	switch h.Type {
	case format.DictionaryPage:
		d := &h.DictionaryPageHeader
		whole, p.Values, p.Encoding = d.Valid, int(d.V.NumValues), d.V.Encoding
		switch p.Encoding {
		case format.PlainDictionary: // its name of the first years
			p.Encoding = format.Plain
		case format.Plain:
		default:
			return p, unsupported("the dictionary is encoded as %v", p.Encoding)
		}
	case format.DataPage:
		d := &h.DataPageHeader
		whole, p.Values, p.Encoding, p.MaxDef = d.Valid, int(d.V.NumValues), d.V.Encoding, col.maxDef
		if p.MaxDef > 0 && d.V.DefinitionLevelEncoding != format.RLE {
			return p, unsupported("the definition levels are encoded as %v", d.V.DefinitionLevelEncoding)
		}
	case format.DataPageV2:
		d := &h.DataPageHeaderV2
		whole, p.Values, p.Encoding, p.MaxDef = d.Valid, int(d.V.NumValues), d.V.Encoding, col.maxDef
		p.Def = int(d.V.DefinitionLevelsByteLength)
		p.Levels = p.Def + int(d.V.RepetitionLevelsByteLength)
		if c := d.V.IsCompressed; c.Valid && !c.V {
			p.Codec = format.Uncompressed
		}
	}
	if !whole {
		return p, corrupt("a %v without the header of one", h.Type)
	}
	return p, p.check()
}

// check tells whether the page makes sense by itself.
func (p *Page) check() error {
	switch {
	case p.Stored < 0 || p.Raw < 0 || p.Values < 0 || p.MaxDef < 0 || p.Def < 0 || p.Levels < p.Def:
		return corrupt("a negative size")
	case max(p.Stored, p.Raw) > MaxPage:
		return corrupt("%d bytes, unpacked %d: pages of more than %d MiB are not read", p.Stored, p.Raw, MaxPage>>20)
	case p.Levels > min(p.Stored, p.Raw):
		return corrupt("%d bytes of levels in a page of %d", p.Levels, min(p.Stored, p.Raw))
	}
	return nil
}

// wrong says which page an error is about.
func (p *Page) wrong(err error) error { return fmt.Errorf("page at %d: %w", p.Offset, err) }

// walk goes through the pages of a column from header to header.
type walk struct {
	f      *File
	col    *Column
	group  int
	chunk  chunk
	at     int64 // of the next header
	rows   int64 // of the row group, that no page was seen for
	budget int64 // bytes that may still be passed
	window window
}

// walk starts before the first row group. Chunks do not overlap: a file that has the same bytes
// walked again and again is after our time.
func (f *File) walk(col *Column) (*walk, error) {
	if col.List {
		return nil, unsupported("it lies in a list, which is not supported")
	}
	return &walk{f: f, col: col, budget: 2*f.size + 1<<20, window: window{r: f.r}}, nil
}

// begin goes to the column's first page in a row group.
func (w *walk) begin(group int) error {
	g := &w.f.groups[group]
	w.group, w.rows, w.chunk = group, g.rows, g.chunks[w.col.Index]
	w.at = w.chunk.start
	w.window.limit(w.chunk.end)
	if w.rows == 0 {
		return nil // nothing will be read
	}
	return w.chunk.err
}

// next passes a page, and answers what its header says. It must not be called when the pages of
// all rows have been seen.
func (w *walk) next() (Page, error) {
	for {
		if w.at >= w.chunk.end {
			return Page{}, corrupt("its chunk ends before its rows do")
		}
		at := w.at
		p, err := w.page()
		if err != nil {
			return p, fmt.Errorf("page header at %d: %w", at, err)
		}
		switch p.Kind {
		case format.DataPage, format.DataPageV2:
			if w.rows -= int64(p.Values); w.rows < 0 {
				return p, corrupt("its pages hold more values than the %d rows of the group", w.f.groups[w.group].rows)
			}
			return p, nil
		case format.DictionaryPage:
			return p, nil
		}
		// Else it is an index, or something newer, which is of no use here.
	}
}

func (w *walk) page() (Page, error) {
	start := w.at
	h, err := w.header()
	if err != nil {
		return Page{}, err
	}
	p, err := pageOf(h, w.col, w.chunk.codec)
	if err != nil {
		return p, err
	}
	if p.Dictionary() && start > w.chunk.start {
		return p, corrupt("a dictionary behind other pages")
	}
	if int64(p.Stored) > w.chunk.end-w.at {
		return p, corrupt("%d bytes, %d are left of its chunk", p.Stored, w.chunk.end-w.at)
	}
	p.Group, p.Offset = w.group, w.at
	w.at += int64(p.Stored)
	if w.budget -= w.at - start; w.budget < 0 {
		return p, corrupt("the parts of the file overlap")
	}
	return p, nil
}

// header reads a page header and moves behind it.
func (w *walk) header() (*format.PageHeader, error) {
	for n := headerPiece; ; n = min(16*n, maxHeader) {
		b, err := w.window.from(w.at, n)
		if err != nil {
			return nil, err
		}
		var h format.PageHeader
		size, err := decode(b, 1024, &h)
		if errors.Is(err, io.ErrUnexpectedEOF) && n < maxHeader && int64(len(b)) < w.chunk.end-w.at {
			continue
		}
		if err != nil {
			return nil, corrupt("%w", err)
		}
		w.at += int64(size)
		return &h, nil
	}
}

// window reads a little at a time: headers are small, and bodies lie between them.
type window struct {
	r    io.ReaderAt
	end  int64
	at   int64 // of data in the file
	data []byte
}

// limit says where there is nothing more to read.
func (w *window) limit(end int64) { w.end, w.data = end, w.data[:0] }

// from returns what lies at an offset: n bytes or more, or fewer at the end. They are valid until
// the next call.
func (w *window) from(at int64, n int) ([]byte, error) {
	n = int(min(int64(n), w.end-at))
	if at < w.at || at+int64(n) > w.at+int64(len(w.data)) {
		if cap(w.data) < n {
			w.data = make([]byte, n)
		}
		w.data, w.at = w.data[:n], at
		if err := readFull(w.r, w.data, at); err != nil {
			w.data = w.data[:0]
			return nil, err
		}
	}
	return w.data[at-w.at:], nil
}

// unpack checks a page's body and undoes its codec. What comes out fills dst, which must have
// p.Raw bytes; or it is the body itself, where nothing is packed.
func (p *Page) unpack(dst, body []byte) ([]byte, error) {
	if p.CRC != 0 && crc32.ChecksumIEEE(body) != p.CRC {
		return nil, corrupt("its checksum differs")
	}
	if p.Codec == format.Uncompressed {
		return body, nil
	}
	copy(dst, body[:p.Levels])
	if len(dst) == p.Levels {
		return dst, nil
	}
	return dst, unpack(p.Codec, dst[p.Levels:], body[p.Levels:])
}

// levels tell which values are there.
type levels struct {
	runs *hybrid // nil: all are
	max  int
}

func newLevels(b []byte, highest int) levels {
	return levels{newHybrid(b, bits.Len(uint(highest))), highest}
}

// next tells whether the next value is there.
func (l *levels) next() (bool, error) {
	if l.runs == nil {
		return true, nil
	}
	level, err := l.runs.next()
	if err != nil {
		return false, corrupt("definition levels: %w", err)
	}
	if int(level) > l.max {
		return false, corrupt("definition level %d, the highest is %d", level, l.max)
	}
	return int(level) == l.max, nil
}

// content is a page's values being decoded, one at a step.
type content struct {
	levels levels
	values values
}

// open begins with the values of a page that has been unpacked.
func (p *Page) open(b []byte, col *Column, dict dictionary) (c content, err error) {
	def, b := b[p.Levels-p.Def:p.Levels], b[p.Levels:]
	if p.MaxDef > 0 {
		if p.Kind == format.DataPage { // they are behind their length
			if len(b) < 4 || uint64(binary.LittleEndian.Uint32(b)) > uint64(len(b)-4) {
				return c, corrupt("its definition levels are longer than the page")
			}
			n := 4 + binary.LittleEndian.Uint32(b)
			def, b = b[4:n], b[n:]
		}
		c.levels = newLevels(def, p.MaxDef)
	}
	if c.values, err = col.decoder(p.Encoding, b, dict); err != nil {
		err = damage(err)
	}
	return c, err
}

func (c *content) next(v *cell.Value) error {
	*v = cell.Value{}
	if c.levels.runs != nil {
		there, err := c.levels.next()
		if err != nil || !there {
			v.Null = true
			return err
		}
	}
	if err := c.values.next(v); err != nil {
		return damage(err)
	}
	return nil
}
