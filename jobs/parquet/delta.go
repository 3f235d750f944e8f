package parquet

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/parquet-go/parquet-go/format"

	"github.com/vista-mr/vista-mr/jobs/cell"
)

// delta decodes integers that are kept as differences, packed in bits: blocks, each of a
// smallest difference and some miniblocks of one width of bits.
type delta struct {
	b      []byte
	mini   int    // values of a miniblock
	minis  int    // miniblocks of a block
	left   uint64 // values that were not taken yet
	value  int64
	first  bool
	least  int64
	widths []byte // of the block's miniblocks that were not begun
	width  int
	bit    uint64 // in b
	inMini int    // values left of the current miniblock
}

var errDelta = errors.New("differences end early")

func newDelta(b []byte) (*delta, error) {
	d := &delta{b: b, first: true}
	block, minis := d.uvarint(), d.uvarint()
	d.left = d.uvarint()
	d.value = d.varint()
	if d.b == nil {
		return nil, errDelta
	}
	if block == 0 || block > 1<<20 || minis == 0 || minis > block || block%minis != 0 || block/minis%8 != 0 {
		return nil, fmt.Errorf("blocks of %d differences in %d parts", block, minis)
	}
	d.mini, d.minis = int(block/minis), int(minis)
	return d, nil
}

// uvarint reads an integer from the front; when there is none, b becomes nil.
func (d *delta) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.b = nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *delta) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.b = nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *delta) next() (int64, error) {
	if d.left == 0 {
		return 0, errDelta
	}
	d.left--
	if d.first {
		d.first = false
		return d.value, nil
	}
	if d.inMini == 0 {
		if err := d.begin(); err != nil {
			return 0, err
		}
	}
	d.inMini--
	v := uint64(0)
	if d.width > 0 {
		v = loadBits(d.b, d.bit, d.width)
		d.bit += uint64(d.width)
	}
	d.value += d.least + int64(v) // wraps around, as it is meant to
	if d.inMini == 0 {
		d.b = d.b[d.mini*d.width/8:]
	}
	return d.value, nil
}

// begin goes to the next miniblock, whose bits must all be there.
func (d *delta) begin() error {
	if len(d.widths) == 0 {
		if d.least = d.varint(); d.b == nil || len(d.b) < d.minis {
			return errDelta
		}
		d.widths, d.b = d.b[:d.minis], d.b[d.minis:]
	}
	d.width, d.widths = int(d.widths[0]), d.widths[1:]
	if d.width > 64 || len(d.b) < d.mini*d.width/8 {
		return errDelta
	}
	d.inMini, d.bit = d.mini, 0
	return nil
}

// behind is what follows all the integers. It skips whole miniblocks, in time proportional to the
// bytes.
func (d delta) behind() ([]byte, error) {
	if d.left > 0 {
		d.left--
	}
	for d.left > 0 {
		if err := d.begin(); err != nil {
			return nil, err
		}
		d.b = d.b[d.mini*d.width/8:]
		d.left -= min(d.left, uint64(d.mini))
	}
	return d.b, nil
}

// deltaInts are the integers as values.
type deltaInts struct {
	d   *delta
	col *Column
}

func (p *deltaInts) next(v *cell.Value) error {
	n, err := p.d.next()
	if err != nil {
		return err
	}
	if p.col.physical == format.Int32 {
		n = int64(int32(n))
	}
	p.col.setInt(n, v)
	return nil
}

// deltaLengths are byte arrays behind all their lengths.
type deltaLengths struct {
	lengths *delta
	b       []byte
}

func newDeltaLengths(b []byte) (*deltaLengths, error) {
	d, err := newDelta(b)
	if err != nil {
		return nil, err
	}
	rest, err := d.behind()
	return &deltaLengths{d, rest}, err
}

func (p *deltaLengths) next(v *cell.Value) error {
	n, err := p.lengths.next()
	if err != nil {
		return err
	}
	if n < 0 || n > int64(len(p.b)) {
		return fmt.Errorf("a text of %d bytes, %d are left", n, len(p.b))
	}
	v.Bytes, p.b = p.b[:n], p.b[n:]
	return nil
}

// deltaTexts are byte arrays that each begin with some bytes of the one before. A few bytes can
// stand for very many, so the values that are put together may take no more than a page.
type deltaTexts struct {
	prefix *delta
	suffix *deltaLengths
	last   []byte
	total  int64 // bytes of values that were put together
	col    *Column
}

func newDeltaTexts(b []byte, col *Column) (*deltaTexts, error) {
	p, err := newDelta(b)
	if err != nil {
		return nil, err
	}
	rest, err := p.behind()
	if err != nil {
		return nil, err
	}
	s, err := newDeltaLengths(rest)
	return &deltaTexts{prefix: p, suffix: s, col: col}, err
}

func (p *deltaTexts) next(v *cell.Value) error {
	n, err := p.prefix.next()
	if err != nil {
		return err
	}
	if err := p.suffix.next(v); err != nil {
		return err
	}
	if n < 0 || n > int64(len(p.last)) {
		return fmt.Errorf("a text that shares %d bytes with one of %d", n, len(p.last))
	}
	if n > 0 {
		if p.total += n + int64(len(v.Bytes)); p.total > MaxPage {
			return fmt.Errorf("its values take more than %d MiB", MaxPage>>20)
		}
	}
	p.last = append(p.last[:n], v.Bytes...)
	if v.Bytes = p.last; p.col.physical == format.FixedLenByteArray {
		if len(p.last) != p.col.length {
			return fmt.Errorf("a value of %d bytes, want %d", len(p.last), p.col.length)
		}
		v.Bytes = nil
		return p.col.set(p.last, v)
	}
	return nil
}
