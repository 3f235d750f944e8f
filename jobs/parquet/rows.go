package parquet

import (
	"fmt"

	"github.com/parquet-go/parquet-go/format"

	"github.com/vista-mr/vista-mr/jobs/cell"
)

const (
	// maxHeld bounds the pages and dictionaries that all columns hold at once.
	maxHeld = 512 << 20
	// The rows of a file of n bytes may unpack to maxUnpacked + maxRatio*n bytes.
	maxUnpacked = 256 << 20
	maxRatio    = 200
	// Encodings can stand for far more than they unpack to: a run of one value, a dictionary's text for each row, text
	// that begins as the one before it. All values that are read may be freeValues + stand(n), and their text
	// freeText + stand(n) bytes. Of columns as people have them a value takes a bit and more, and each row has a
	// key of its own.
	freeValues = 64 << 20
	freeText   = 512 << 20
	longRatio  = 20
	longStand  = 4 << 30
)

// stand is what n bytes of a file may stand for, in values or in bytes of their text.
func stand(n int64) int64 { return min(maxRatio*n, longStand+longRatio*n) }

// Reader walks the rows of some columns. It belongs to one goroutine.
type Reader struct {
	f        *File
	cursors  []*cursor
	values   []cell.Value
	group    int
	left     int64  // rows of the group
	held     int64  // bytes of all buffers
	raw      []byte // a page as it is stored
	unpacked int64  // bytes so far
	text     int64  // bytes of values so far
	maxText  int64
	err      error
}

// Read walks the rows of the columns with the given indices.
func (f *File) Read(columns []int) (*Reader, error) {
	if most := freeValues + stand(f.size); len(columns) > 0 && f.Rows > most/int64(len(columns)) {
		return nil, failed(unsupported("%d rows of %d columns: a file of %d bytes may have %d values", f.Rows, len(columns), f.size, most))
	}
	r := &Reader{f: f, values: make([]cell.Value, len(columns)), group: -1, maxText: freeText + stand(f.size)}
	for _, i := range columns {
		col := &f.Columns[i]
		w, err := f.walk(col)
		if err == nil && !col.Type.Usable() {
			err = unsupported("it is %v", col.Type)
		}
		if err != nil {
			return nil, col.wrong(err)
		}
		r.cursors = append(r.cursors, &cursor{rows: r, col: col, walk: w})
	}
	return r, nil
}

// wrong is an error as callers see it.
func (c *Column) wrong(err error) error { return failed(fmt.Errorf("column %q: %w", c.Name, err)) }

// Next goes to the next row. After it answers false, Err tells whether there was an error.
func (r *Reader) Next() bool {
	if r.err != nil {
		return false
	}
	for r.left == 0 {
		if r.group+1 >= len(r.f.groups) {
			return false
		}
		r.group++
		r.left = r.f.groups[r.group].rows
		for _, c := range r.cursors {
			if err := c.begin(r.group); err != nil {
				r.err = c.col.wrong(err)
				return false
			}
		}
	}
	r.left--
	for i, c := range r.cursors {
		if err := c.next(&r.values[i]); err != nil {
			r.err = c.col.wrong(err)
			return false
		}
		r.text += int64(len(r.values[i].Bytes))
	}
	if r.text > r.maxText {
		r.err = failed(unsupported("its texts take more than %d bytes, out of %d of the file", r.maxText, r.f.size))
		return false
	}
	return true
}

// Value is the row's value of the i-th wanted column, valid until the next step.
func (r *Reader) Value(i int) *cell.Value { return &r.values[i] }

// Err is what ended the walk early.
func (r *Reader) Err() error { return r.err }

// cursor walks one column's values through its pages.
type cursor struct {
	rows *Reader
	col  *Column
	walk *walk

	page    content
	left    int // values of the page that were not taken yet
	dict    dictionary
	starts  int64  // bytes that the dictionary's own index takes
	buf     []byte // the page
	dictBuf []byte
}

// begin goes to the start of a row group.
func (c *cursor) begin(group int) error {
	c.rows.held -= c.starts
	c.left, c.dict, c.starts = 0, nil, 0
	return c.walk.begin(group)
}

func (c *cursor) next(v *cell.Value) error {
	for c.left == 0 {
		if err := c.nextPage(); err != nil {
			return err
		}
	}
	c.left--
	if err := c.page.next(v); err != nil {
		return err
	}
	if len(v.Bytes) > cell.MaxDecimal && c.col.Type.Kind == cell.Decimal {
		return corrupt("a decimal of %d bytes", len(v.Bytes))
	}
	return nil
}

// nextPage reads the next page, which may be the dictionary.
func (c *cursor) nextPage() error {
	p, err := c.walk.next()
	if err != nil {
		return err
	}
	if most := maxUnpacked + maxRatio*c.rows.f.size; c.rows.unpacked > most-int64(p.Raw) {
		return corrupt("the file of %d bytes unpacks to more than %d times its size", c.rows.f.size, maxRatio)
	}
	c.rows.unpacked += int64(p.Raw)
	if p.Dictionary() {
		if c.dictBuf, err = c.load(c.dictBuf, &p); err == nil {
			err = c.dictionary(&p)
		}
	} else if c.buf, err = c.load(c.buf, &p); err == nil {
		c.left = p.Values
		c.page, err = p.open(c.buf, c.col, c.dict)
	}
	if err != nil {
		return p.wrong(err)
	}
	return nil
}

// load reads a page and unpacks it into buf.
func (c *cursor) load(buf []byte, p *Page) (_ []byte, err error) {
	raw := buf
	if p.Codec != format.Uncompressed {
		raw = c.rows.raw // every column's, and only for a moment
	}
	if raw, err = c.rows.hold(raw, p.Stored); err != nil {
		return buf, err
	}
	if p.Codec == format.Uncompressed {
		buf = raw
	} else {
		c.rows.raw = raw
		if buf, err = c.rows.hold(buf, p.Raw); err != nil {
			return buf, err
		}
	}
	if err := readFull(c.rows.f.r, raw, p.Offset); err != nil {
		return buf, err
	}
	return p.unpack(buf, raw)
}

// hold gives a buffer of n bytes, within the budget that all columns share.
func (r *Reader) hold(b []byte, n int) ([]byte, error) {
	if cap(b) >= n {
		return b[:n], nil
	}
	if r.held += int64(n - cap(b)); r.held > maxHeld {
		return b, unsupported("the pages of the columns need more than %d MiB at once: write the file with smaller row groups", maxHeld>>20)
	}
	return make([]byte, n), nil
}

func (c *cursor) dictionary(p *Page) (err error) {
	if c.col.physical != format.ByteArray {
		c.dict = &fixed{b: c.dictBuf, col: c.col}
		return nil
	}
	c.starts = 4 * int64(p.Values)
	if c.rows.held += c.starts; c.rows.held > maxHeld {
		return unsupported("the dictionaries of the columns need more than %d MiB at once", maxHeld>>20)
	}
	c.dict, err = newTexts(c.dictBuf, p.Values)
	return err
}
