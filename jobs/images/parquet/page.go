package parquet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"strconv"

	"github.com/vista-mr/vista-mr/mr/errs"
)

// Encodings and kinds of pages, as the format numbers them.
const (
	plain           = 0
	plainDictionary = 2
	rleEncoding     = 3
	deltaBinary     = 5
	deltaLength     = 6
	deltaBytes      = 7
	rleDictionary   = 8

	dataPage       = 0
	indexPage      = 1
	dictionaryPage = 2
	dataPageV2     = 3
)

const (
	maxHeader = 4 << 20 // of a page; some writers put the smallest and the largest value into it
	maxRows   = 4 << 20 // of a page
)

// Page is a page as its header describes it. Its fields are what a reader needs to come back to it.
type Page struct {
	Offset     int64 `json:"-"` // of the body in the file
	Stored     int   `json:"-"` // bytes of the body
	Raw        int   `json:"u"` // bytes of the body, unpacked
	Values     int   `json:"n"` // nulls included
	Encoding   int32 `json:"e,omitempty"`
	Dictionary bool  `json:"d,omitempty"`
	V2         bool  `json:"v2,omitempty"`
	Levels     int   `json:"l,omitempty"` // version 2: bytes of levels in front, which are never packed
	Def        int   `json:"f,omitempty"` // version 2: those that are definition levels
	Unpacked   bool  `json:"p,omitempty"` // version 2: the values are not packed although the chunk is
}

// Walk calls f for the pages of a chunk, without reading their bodies, until all rows have been seen.
func (c *Chunk) Walk(r io.ReaderAt, f func(Page) error) error {
	at, end, rows := c.start, c.start+c.size, int64(0)
	w := window{r: r, end: end}
	for first := true; rows < c.Rows; first = false {
		p, n, err := readHeader(&w, at)
		if err != nil {
			return broken(err, "column %s: page at %d", c.Column.Name(), at)
		}
		if p.Dictionary && !first {
			return damaged("column %s: page at %d: a dictionary behind other pages", c.Column.Name(), at)
		}
		if *c.left -= int64(n + p.Stored); *c.left < 0 {
			return damaged("column %s: page at %d: the parts of the file overlap", c.Column.Name(), at)
		}
		p.Offset = at + int64(n)
		if int64(p.Stored) > end-p.Offset {
			return damaged("column %s: the page at %d goes beyond its chunk", c.Column.Name(), at)
		}
		at = p.Offset + int64(p.Stored)
		if p.kind == indexPage {
			continue
		}
		if !p.Dictionary {
			if rows += int64(p.Values); rows > c.Rows {
				return damaged("column %s: the pages hold more values than the %d rows of the group", c.Column.Name(), c.Rows)
			}
		}
		if err := f(p.Page); err != nil {
			return err
		}
	}
	return nil
}

// broken says what a failure means: bytes that make no sense are damage, a store that does not answer keeps its
// own kind.
func broken(err error, format string, args ...any) error {
	where := fmt.Sprintf(format, args...)
	var e *errs.Error
	if errors.As(err, &e) && e.Kind != errs.Corrupt {
		return errs.E("parquet", errs.Unknown, "", fmt.Errorf("%s: %w", where, err))
	}
	return damaged("%s: %w", where, err)
}

// window reads a little at a time: headers are small, and bodies lie between them. What it returns is valid
// until the next call.
type window struct {
	r    io.ReaderAt
	end  int64
	at   int64
	data []byte
}

// from returns what lies at an offset: n bytes, or fewer at the end.
func (w *window) from(at int64, n int) ([]byte, error) {
	n = int(min(int64(n), w.end-at))
	if at < w.at || at+int64(n) > w.at+int64(len(w.data)) {
		if cap(w.data) < n {
			w.data = make([]byte, n)
		}
		w.data, w.at = w.data[:n], at
		if err := readAt(w.r, w.data, at); err != nil {
			w.data = w.data[:0]
			return nil, err
		}
	}
	return w.data[at-w.at:], nil
}

type header struct {
	Page
	kind int32
}

func readHeader(w *window, at int64) (header, int, error) {
	for n := 1 << 10; ; n *= 8 {
		b, err := w.from(at, n)
		if err != nil {
			return header{}, 0, err
		}
		t := &thrift{b: b}
		h, err := parseHeader(t)
		if errors.Is(err, errShort) && n < maxHeader && int64(len(b)) < w.end-at {
			continue // a longer header than most
		}
		if err == nil {
			err = h.check()
		}
		return h, t.at, err
	}
}

func parseHeader(t *thrift) (header, error) {
	var h header
	var raw, stored, values, def, rep int32
	data := func(id int, typ byte) (bool, error) {
		switch id {
		case 1:
			return t.i32(typ, &values)
		case 2:
			return t.i32(typ, &h.Encoding)
		}
		return false, nil
	}
	err := t.fields(func(id int, typ byte) (bool, error) {
		switch id {
		case 1:
			return t.i32(typ, &h.kind)
		case 2:
			return t.i32(typ, &raw)
		case 3:
			return t.i32(typ, &stored)
		case 5, 7:
			return t.structure(typ, data)
		case 8:
			return t.structure(typ, func(id int, typ byte) (bool, error) {
				switch id {
				case 1:
					return t.i32(typ, &values)
				case 4:
					return t.i32(typ, &h.Encoding)
				case 5:
					return t.i32(typ, &def)
				case 6:
					return t.i32(typ, &rep)
				case 7:
					h.Unpacked = typ == typeFalse
					return true, nil
				}
				return false, nil
			})
		}
		return false, nil
	})
	h.Raw, h.Stored, h.Values = int(raw), int(stored), int(values)
	h.Def, h.Levels = int(def), int(def)+int(rep)
	h.Dictionary, h.V2 = h.kind == dictionaryPage, h.kind == dataPageV2
	return h, err
}

func (h *header) check() error {
	switch {
	case h.kind < dataPage || h.kind > dataPageV2:
		return fmt.Errorf("a page of unknown kind %d", h.kind)
	case h.Stored < 0 || h.Raw < 0 || h.Values < 0 || h.Def < 0 || h.Levels < h.Def:
		return errors.New("a negative size")
	case h.Stored > MaxPage || h.Raw > MaxPage:
		return fmt.Errorf("%d bytes, unpacked %d: pages of more than %d MiB are not read", h.Stored, h.Raw, MaxPage>>20)
	case h.Values > maxRows:
		return fmt.Errorf("%d values: pages of more than %d are not read", h.Values, maxRows)
	case h.V2 && (h.Levels > h.Stored || h.Levels > h.Raw):
		return fmt.Errorf("%d bytes of levels in a page of %d", h.Levels, h.Stored)
	}
	return nil
}

// unpacked undoes the codec. The result may be a part of body.
func (c *Chunk) unpacked(p Page, body []byte) (levels, values []byte, err error) {
	if len(body) != p.Stored {
		return nil, nil, fmt.Errorf("%d bytes of %d", len(body), p.Stored)
	}
	levels, values = body[:p.Levels], body[p.Levels:]
	if p.Unpacked {
		return levels, values, nil
	}
	values, err = unpack(c.codec, values, p.Raw-p.Levels)
	return levels, values, err
}

// Plain tells whether a page's values lie in the file as they are, one behind the other, so that each can be
// read by itself.
func (c *Chunk) Plain(p Page) bool {
	return (c.codec == uncompressed || p.Unpacked) && p.Encoding == plain && c.Column.Type == ByteArray
}

// ReadDictionary reads a dictionary page: one value for each number that data pages use.
func (c *Chunk) ReadDictionary(p Page, body []byte) ([][]byte, error) {
	_, raw, err := c.unpacked(p, body)
	if err != nil {
		return nil, c.wrong(p, err)
	}
	if p.Encoding != plain && p.Encoding != plainDictionary {
		return nil, c.wrong(p, fmt.Errorf("a dictionary of unknown encoding %d", p.Encoding))
	}
	out, err := c.plain(raw, p.Values)
	if err != nil {
		return nil, c.wrong(p, err)
	}
	return out, nil
}

func (c *Chunk) wrong(p Page, err error) error {
	return damaged("column %s: page at %d: %w", c.Column.Name(), p.Offset, err)
}

// Read reads a data page: a value for each row, nil where there is none. Numbers are written in decimal.
// Values are parts of body, of the dictionary, or of what body unpacks to.
func (c *Chunk) Read(p Page, body []byte, dictionary [][]byte) ([][]byte, error) {
	present, src, err := c.present(p, body)
	if err != nil {
		return nil, c.wrong(p, err)
	}
	n := p.Values
	if present != nil {
		n = count(present)
	}
	values, err := c.decode(p.Encoding, src, n, dictionary)
	if err != nil {
		return nil, c.wrong(p, err)
	}
	if present == nil {
		return values, nil
	}
	out, at := make([][]byte, p.Values), 0
	for i, ok := range present {
		if ok {
			out[i] = values[at]
			at++
		}
	}
	return out, nil
}

func count(present []bool) int {
	n := 0
	for _, ok := range present {
		if ok {
			n++
		}
	}
	return n
}

// Indices reads a data page that names values of a dictionary: the number of one for each row, -1 where there is
// none. ok is false for pages of other encodings.
func (c *Chunk) Indices(p Page, body []byte) (out []int32, ok bool, err error) {
	if p.Encoding != plainDictionary && p.Encoding != rleDictionary {
		return nil, false, nil
	}
	present, src, err := c.present(p, body)
	if err != nil {
		return nil, true, c.wrong(p, err)
	}
	n := p.Values
	if present != nil {
		n = count(present)
	}
	values, err := indices(src, n)
	if err != nil {
		return nil, true, c.wrong(p, err)
	}
	if present == nil {
		return values, true, nil
	}
	out = make([]int32, p.Values)
	at := 0
	for i, ok := range present {
		out[i] = -1
		if ok {
			out[i] = values[at]
			at++
		}
	}
	return out, true, nil
}

// present unpacks a data page and tells which rows have a value; nil: all.
func (c *Chunk) present(p Page, body []byte) (present []bool, values []byte, err error) {
	levels, values, err := c.unpacked(p, body)
	if err != nil {
		return nil, nil, err
	}
	if c.Column.MaxDef == 0 {
		return nil, values, nil
	}
	if p.V2 {
		levels = levels[len(levels)-p.Def:]
	} else if levels, values, err = cutLevels(values); err != nil {
		return nil, nil, err
	}
	present, err = defined(levels, p.Values, c.Column.MaxDef)
	return present, values, err
}

// cutLevels takes the levels of a page of version 1 off its front.
func cutLevels(b []byte) (levels, rest []byte, err error) {
	if len(b) < 4 {
		return nil, nil, errShort
	}
	n := binary.LittleEndian.Uint32(b)
	if uint64(n) > uint64(len(b)-4) {
		return nil, nil, errShort
	}
	return b[4 : 4+n], b[4+n:], nil
}

// Spans finds the values of a page for which Plain is true, without reading the values: the offset and length
// in the file of each row's, length -1 where there is none.
func (c *Chunk) Spans(r io.ReaderAt, p Page, f func(row int, offset, length int64) error) error {
	at, end := p.Offset+int64(p.Levels), p.Offset+int64(p.Stored)
	w := window{r: r, end: end}
	var present []bool
	if c.Column.MaxDef > 0 && !p.Dictionary {
		var err error
		if present, at, err = c.levelsOf(&w, p); err != nil {
			return broken(err, "column %s: page at %d", c.Column.Name(), p.Offset)
		}
	}
	for i := range p.Values {
		if present != nil && !present[i] {
			if err := f(i, 0, -1); err != nil {
				return err
			}
			continue
		}
		b, err := w.from(at, 64)
		if err != nil {
			return err
		}
		if len(b) < 4 {
			return c.wrong(p, errShort)
		}
		n := int64(binary.LittleEndian.Uint32(b))
		if at += 4; n > end-at {
			return c.wrong(p, fmt.Errorf("value %d has %d bytes, %d are left", i, n, end-at))
		}
		if err := f(i, at, n); err != nil {
			return err
		}
		at += n
	}
	return nil
}

// levelsOf reads the levels of an unpacked page, and tells where its values begin.
func (c *Chunk) levelsOf(w *window, p Page) (present []bool, values int64, err error) {
	at, n := p.Offset+int64(p.Levels-p.Def), int64(p.Def)
	if !p.V2 {
		b, err := w.from(at, 64)
		if err != nil {
			return nil, 0, err
		}
		if len(b) < 4 {
			return nil, 0, errShort
		}
		at, n = at+4, int64(binary.LittleEndian.Uint32(b))
	}
	if n > w.end-at {
		return nil, 0, errShort
	}
	b, err := w.from(at, int(n))
	if err != nil {
		return nil, 0, err
	}
	present, err = defined(b[:n], p.Values, c.Column.MaxDef)
	return present, at + n, err
}

// defined reads definition levels: a value is there where the level is the highest.
func defined(src []byte, n, highest int) ([]bool, error) {
	out := make([]bool, 0, n)
	err := hybrid(src, bits.Len(uint(highest)), n, func(v uint32, times int) error {
		if int64(v) > int64(highest) {
			return fmt.Errorf("level %d, the highest is %d", v, highest)
		}
		for range times {
			out = append(out, int(v) == highest)
		}
		return nil
	})
	return out, err
}

func indices(src []byte, n int) ([]int32, error) {
	if n == 0 {
		return nil, nil
	}
	if len(src) == 0 || src[0] > 31 {
		return nil, errors.New("no width of the dictionary's numbers")
	}
	out := make([]int32, 0, n)
	err := hybrid(src[1:], int(src[0]), n, func(v uint32, times int) error {
		for range times {
			out = append(out, int32(v))
		}
		return nil
	})
	return out, err
}

func (c *Chunk) decode(encoding int32, src []byte, n int, dictionary [][]byte) ([][]byte, error) {
	switch encoding {
	case plain:
		return c.plain(src, n)
	case plainDictionary, rleDictionary:
		at, err := indices(src, n)
		if err != nil {
			return nil, err
		}
		out := make([][]byte, n)
		for i, v := range at {
			if int(v) >= len(dictionary) {
				return nil, fmt.Errorf("value %d of a dictionary of %d", v, len(dictionary))
			}
			out[i] = dictionary[v]
		}
		return out, nil
	case deltaBinary:
		if c.Column.Type != Int32 && c.Column.Type != Int64 {
			break
		}
		v, _, err := deltas(src, n)
		if err != nil {
			return nil, err
		}
		out := make([][]byte, n)
		for i := range v {
			if c.Column.Type == Int32 {
				v[i] = int64(int32(v[i]))
			}
			out[i] = strconv.AppendInt(nil, v[i], 10)
		}
		return out, nil
	case deltaLength:
		return deltaLengths(src, n)
	case deltaBytes:
		return deltaStrings(src, n)
	}
	return nil, fmt.Errorf("encoding %d of type %d is not supported", encoding, c.Column.Type)
}

// plain reads n values, one behind the other.
func (c *Chunk) plain(src []byte, n int) ([][]byte, error) {
	size := 0
	switch c.Column.Type {
	case Int32, ByteArray:
		size = 4 // at least
	case Int64:
		size = 8
	case FixedLen:
		size = max(c.Column.Len, 1)
	default:
		return nil, fmt.Errorf("type %d is not supported", c.Column.Type)
	}
	if n > len(src)/size {
		return nil, fmt.Errorf("%d values in %d bytes", n, len(src))
	}
	out := make([][]byte, n)
	for i := range out {
		switch c.Column.Type {
		case Int32:
			out[i] = strconv.AppendInt(nil, int64(int32(binary.LittleEndian.Uint32(src))), 10)
		case Int64:
			out[i] = strconv.AppendInt(nil, int64(binary.LittleEndian.Uint64(src)), 10)
		case FixedLen:
			out[i] = src[:size:size]
		case ByteArray:
			if len(src) < 4 {
				return nil, errShort
			}
			k := binary.LittleEndian.Uint32(src)
			if src = src[4:]; uint64(k) > uint64(len(src)) {
				return nil, fmt.Errorf("value %d has %d bytes, %d are left", i, k, len(src))
			}
			out[i] = src[:k:k]
			src = src[k:]
			continue
		}
		src = src[size:]
	}
	return out, nil
}

// Ref is what must be known to read one page again, without the footer.
type Ref struct {
	Codec  int32 `json:"c,omitempty"`
	Type   Type  `json:"t"`
	Len    int   `json:"w,omitempty"`
	MaxDef int   `json:"m,omitempty"`
	Page   Page  `json:"page"`
}

// Ref makes one; where the body lies is kept by the caller.
func (c *Chunk) Ref(p Page) Ref {
	return Ref{Codec: c.codec, Type: c.Column.Type, Len: c.Column.Len, MaxDef: c.Column.MaxDef, Page: p}
}

// Values reads the page's values from its body: those of a dictionary, or those of rows, nil where there is none.
func (r *Ref) Values(body []byte, at int64) ([][]byte, error) {
	p := r.Page
	p.Offset, p.Stored = at, len(body)
	c := Chunk{codec: r.Codec, Column: &Column{Path: []string{"image"}, Type: r.Type, Len: r.Len, MaxDef: r.MaxDef}}
	h := header{Page: p}
	if err := h.check(); err != nil {
		return nil, c.wrong(p, err)
	}
	if p.Dictionary {
		return c.ReadDictionary(p, body)
	}
	return c.Read(p, body, nil)
}

// Indexed tells whether a data page names values of a dictionary.
func (c *Chunk) Indexed(p Page) bool {
	return p.Encoding == plainDictionary || p.Encoding == rleDictionary
}
