package parquet

import (
	"errors"
	"fmt"
	"io"

	"github.com/vista-mr/vista-mr/mr/errs"
)

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
