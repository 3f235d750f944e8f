package parquet

import (
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"math"
	"slices"

	"github.com/parquet-go/parquet-go/format"

	"github.com/vista-mr/vista-mr/jobs/cell"
)

// What a page may take that is unpacked with all its values. The ratio is the best that deflate
// does: images do not pack at all.
const (
	maxValues    = 4 << 20
	maxPageRatio = 1100
	freeBytes    = 64 << 10
)

// Pages walks the pages of a column of byte strings, row group by row group, and reads nothing but
// their headers. A dictionary comes before the pages that refer to it.
func (f *File) Pages(col *Column) iter.Seq2[Page, error] {
	return func(yield func(Page, error) bool) {
		w, err := f.walk(col)
		if err == nil && !col.Bytes() {
			err = unsupported("it holds no byte strings")
		}
		for g := 0; g < len(f.groups) && err == nil; g++ {
			if err = w.begin(g); err != nil {
				break
			}
			for w.rows > 0 {
				var p Page
				if p, err = w.next(); err != nil {
					break
				}
				if !yield(p, nil) {
					return
				}
			}
		}
		if err != nil {
			yield(Page{}, col.wrong(err))
		}
	}
}

// Indexed tells whether the page has numbers of values in a dictionary.
func (p *Page) Indexed() bool {
	return !p.Dictionary() && (p.Encoding == format.PlainDictionary || p.Encoding == format.RLEDictionary)
}

// Plain tells whether the page's values lie in the file as they are, one behind the other, so that
// each can be read by itself.
func (p *Page) Plain() bool { return p.Codec == format.Uncompressed && p.Encoding == format.Plain }

// Strings are the page's values, from its body, which lies at the offset: those of a dictionary, or
// a value for each row, nil where there is none. They are parts of body or of what it unpacks to.
func (p Page) Strings(body []byte, at int64) (out [][]byte, err error) {
	p.Offset, p.Stored = at, len(body)
	err = p.each(body, nil, func(v *cell.Value) error {
		b := v.Bytes
		switch {
		case v.Null:
			b = nil
		case p.Encoding == format.DeltaByteArray: // the next value will be made of this one
			b = append([]byte{}, b...)
		}
		out = append(out, slices.Clip(b))
		return nil
	})
	return out, err
}

// Indices are what an indexed page refers to, from its body: the number of a value in the
// dictionary for each row, -1 where there is none.
func (p Page) Indices(body []byte) (out []int32, err error) {
	p.Stored = len(body)
	err = p.each(body, numbers{}, func(v *cell.Value) error {
		switch {
		case v.Null:
			v.Int = -1
		case v.Int > math.MaxInt32:
			return corrupt("value %d of a dictionary", v.Int)
		}
		out = append(out, int32(v.Int))
		return nil
	})
	return out, err
}

// each unpacks a page and decodes all its values.
func (p *Page) each(body []byte, dict dictionary, f func(v *cell.Value) error) error {
	err := p.check()
	switch {
	case err != nil:
	case p.Values > maxValues:
		err = corrupt("%d values: pages of more than %d are not read", p.Values, maxValues)
	case p.Codec != format.Uncompressed && p.Raw > maxPageRatio*p.Stored+freeBytes:
		err = corrupt("%d bytes unpack to %d: more than %d to 1 is not read", p.Stored, p.Raw, maxPageRatio)
	default:
		err = p.decode(body, dict, f)
	}
	if err != nil {
		return failed(p.wrong(err))
	}
	return nil
}

func (p *Page) decode(body []byte, dict dictionary, f func(v *cell.Value) error) error {
	var room []byte
	if p.Codec != format.Uncompressed {
		room = make([]byte, p.Raw)
	}
	b, err := p.unpack(room, body)
	if err != nil {
		return err
	}
	c, err := p.open(b, &Column{physical: format.ByteArray}, dict)
	if err != nil {
		return err
	}
	var v cell.Value
	for range p.Values {
		if err := c.next(&v); err != nil {
			return err
		}
		if err := f(&v); err != nil {
			return err
		}
	}
	return nil
}

// Span is where a value lies in the file.
type Span struct {
	At, Size int64 // Size is -1 if there is no value
}

// Spans finds the values of a plain page without reading them, one for each row.
func (p Page) Spans(r io.ReaderAt) iter.Seq2[Span, error] {
	return func(yield func(Span, error) bool) {
		w := window{r: r, end: p.Offset + int64(p.Stored)}
		l, at, err := p.readLevels(&w)
		for i := 0; i < p.Values && err == nil; i++ {
			s := Span{Size: -1}
			var there bool
			if there, err = l.next(); err == nil && there {
				if s.At, s.Size, err = w.length(at); err != nil {
					err = fmt.Errorf("value %d: %w", i, err)
				}
				at = s.At + s.Size
			}
			if err == nil && !yield(s, nil) {
				return
			}
		}
		if err != nil {
			yield(Span{}, failed(p.wrong(err)))
		}
	}
}

// length reads a length at an offset. What it is the length of begins at start and must be there.
func (w *window) length(at int64) (start, n int64, err error) {
	b, err := w.from(at, headerPiece/16)
	if err != nil {
		return 0, 0, err
	}
	if len(b) < 4 {
		return 0, 0, damage(errShort)
	}
	start, n = at+4, int64(binary.LittleEndian.Uint32(b))
	if n > w.end-start {
		return 0, 0, corrupt("%d bytes, %d are left", n, w.end-start)
	}
	return start, n, nil
}

// readLevels reads the levels of a page that is not packed, and tells where its values begin.
func (p *Page) readLevels(w *window) (l levels, values int64, err error) {
	at, n := p.Offset+int64(p.Levels-p.Def), int64(p.Def)
	if p.MaxDef > 0 {
		if p.Kind == format.DataPage {
			if at, n, err = w.length(p.Offset); err != nil {
				return l, 0, err
			}
		}
		b := make([]byte, n)
		if err := readFull(w.r, b, at); err != nil {
			return l, 0, err
		}
		l = newLevels(b, p.MaxDef)
	}
	return l, at + n, nil
}
