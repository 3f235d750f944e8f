package parquet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/parquet-go/parquet-go/format"

	"github.com/vista-mr/vista-mr/jobs/cell"
)

// values decodes the values of a page that are there, one at a step.
type values interface {
	// next decodes the next value into v, whose fields are zero.
	next(v *cell.Value) error
}

// dictionary finds a value by its number.
type dictionary interface {
	value(i uint32, v *cell.Value) error
}

var errShort = errors.New("there are fewer values than announced")

// decoder begins with values of an encoding. The dictionary may be nil.
func (c *Column) decoder(enc format.Encoding, b []byte, dict dictionary) (values, error) {
	is := func(types ...format.Type) bool { return slices.Contains(types, c.physical) }
	switch {
	case enc == format.RLEDictionary || enc == format.PlainDictionary:
		if dict == nil {
			return nil, corrupt("it refers to a dictionary, and there is none")
		}
		return newIndexed(b, dict)
	case enc == format.Plain && is(format.ByteArray):
		return &texts{b: b}, nil
	case enc == format.Plain && is(format.Boolean):
		return &booleans{b: b}, nil
	case enc == format.Plain:
		return &fixed{b: b, col: c}, nil
	case enc == format.RLE && is(format.Boolean):
		return newRunBooleans(b)
	case enc == format.DeltaBinaryPacked && is(format.Int32, format.Int64):
		d, err := newDelta(b)
		return &deltaInts{d: d, col: c}, err
	case enc == format.DeltaLengthByteArray && is(format.ByteArray):
		return newDeltaLengths(b)
	case enc == format.DeltaByteArray && is(format.ByteArray, format.FixedLenByteArray):
		return newDeltaTexts(b, c)
	case enc == format.ByteStreamSplit && c.width() > 0:
		return newSplit(b, c), nil
	}
	return nil, unsupported("its values of type %v are encoded as %v, which cannot be read", c.physical, enc)
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

// set turns the bytes of one value of fixed width into what the column's type says.
func (c *Column) set(b []byte, v *cell.Value) error {
	switch c.physical {
	case format.Int32:
		c.setInt(int64(int32(binary.LittleEndian.Uint32(b))), v)
	case format.Int64:
		v.Int = int64(binary.LittleEndian.Uint64(b))
	case format.Float:
		v.Float = float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
	case format.Double:
		v.Float = math.Float64frombits(binary.LittleEndian.Uint64(b))
	case format.Int96:
		return julian(b, v)
	case format.FixedLenByteArray:
		if c.Type.Kind == cell.Float32 {
			v.Float = half(binary.LittleEndian.Uint16(b))
			return nil
		}
		v.Bytes = b
	}
	return nil
}

// setInt puts a 32-bit integer in, of whose bits an unsigned column means something else.
func (c *Column) setInt(n int64, v *cell.Value) {
	if c.Type.Kind == cell.Uint && c.physical == format.Int32 {
		n = int64(uint32(n))
	}
	v.Int = n
}

// julian reads a timestamp of Impala and old Spark: nanoseconds of a day and the day's number.
func julian(b []byte, v *cell.Value) error {
	const unixDay, microsPerDay = 2440588, 86400_000_000
	nanos := int64(binary.LittleEndian.Uint64(b))
	days := int64(int32(binary.LittleEndian.Uint32(b[8:]))) - unixDay
	if days > math.MaxInt64/microsPerDay/2 || days < math.MinInt64/microsPerDay/2 {
		return fmt.Errorf("a timestamp %d days from 1970", days)
	}
	v.Int = days*microsPerDay + nanos/1000
	return nil
}

// half is a float of 16 bits.
func half(h uint16) float64 {
	sign := 1 - 2*float64(h>>15)
	exp, frac := int(h>>10&31), float64(h&1023)
	switch exp {
	case 0:
		return sign * math.Ldexp(frac, -24)
	case 31:
		if frac != 0 {
			return math.NaN()
		}
		return math.Inf(int(sign))
	}
	return sign * math.Ldexp(1024+frac, exp-25)
}

// fixed are plain values of one width.
type fixed struct {
	b   []byte
	col *Column
	at  int
}

func (f *fixed) next(v *cell.Value) error {
	w := f.col.width()
	if w == 0 || len(f.b)-f.at < w {
		return errShort
	}
	f.at += w
	return f.col.set(f.b[f.at-w:f.at], v)
}

func (f *fixed) value(i uint32, v *cell.Value) error {
	w := f.col.width()
	if at := int(i) * w; w > 0 && at+w <= len(f.b) {
		return f.col.set(f.b[at:at+w], v)
	}
	return errNumber(i, len(f.b)/max(w, 1))
}

func errNumber(i uint32, n int) error { return fmt.Errorf("value %d of a dictionary of %d", i, n) }

// booleans are plain bits, lowest first.
type booleans struct {
	b  []byte
	at int
}

func (p *booleans) next(v *cell.Value) error {
	if p.at>>3 >= len(p.b) {
		return errShort
	}
	v.Int = int64(p.b[p.at>>3] >> (p.at & 7) & 1)
	p.at++
	return nil
}

// runBooleans are booleans as runs, with the length of all in front.
type runBooleans struct{ runs *hybrid }

func newRunBooleans(b []byte) (*runBooleans, error) {
	if len(b) < 4 || uint64(binary.LittleEndian.Uint32(b)) > uint64(len(b)-4) {
		return nil, errShort
	}
	return &runBooleans{newHybrid(b[4:4+binary.LittleEndian.Uint32(b)], 1)}, nil
}

func (p *runBooleans) next(v *cell.Value) error {
	x, err := p.runs.next()
	v.Int = int64(x)
	return err
}

// texts are byte arrays with their lengths in front. As a dictionary it knows where each begins.
type texts struct {
	b     []byte
	at    int
	start []uint32
}

func newTexts(b []byte, n int) (*texts, error) {
	t := &texts{b: b}
	if n > len(b)/4 {
		return nil, corrupt("a dictionary of %d texts in %d bytes", n, len(b))
	}
	t.start = make([]uint32, n)
	var v cell.Value
	for i := range t.start {
		t.start[i] = uint32(t.at)
		if err := t.next(&v); err != nil {
			return nil, corrupt("dictionary: %w", err)
		}
	}
	return t, nil
}

func (t *texts) next(v *cell.Value) error {
	if len(t.b)-t.at < 4 {
		return errShort
	}
	n := binary.LittleEndian.Uint32(t.b[t.at:])
	if uint64(n) > uint64(len(t.b)-t.at-4) {
		return fmt.Errorf("a text of %d bytes, %d are left", n, len(t.b)-t.at-4)
	}
	v.Bytes = t.b[t.at+4 : t.at+4+int(n)]
	t.at += 4 + int(n)
	return nil
}

func (t *texts) value(i uint32, v *cell.Value) error {
	if int(i) >= len(t.start) {
		return errNumber(i, len(t.start))
	}
	one := texts{b: t.b, at: int(t.start[i])}
	return one.next(v)
}

// indexed are numbers of values in a dictionary.
type indexed struct {
	index *hybrid
	dict  dictionary
}

func newIndexed(b []byte, d dictionary) (*indexed, error) {
	if len(b) == 0 { // a page of nulls only may have nothing at all
		return &indexed{newHybrid(nil, 1), d}, nil
	}
	if b[0] > 32 {
		return nil, fmt.Errorf("numbers of %d bits", b[0])
	}
	return &indexed{newHybrid(b[1:], int(b[0])), d}, nil
}

func (p *indexed) next(v *cell.Value) error {
	i, err := p.index.next()
	if err != nil {
		return err
	}
	return p.dict.value(i, v)
}

// numbers stands for a dictionary where the numbers are wanted, and not the values.
type numbers struct{}

func (numbers) value(i uint32, v *cell.Value) error {
	v.Int = int64(i)
	return nil
}

// hybrid decodes small integers that come as runs of one value or packed in bits.
type hybrid struct {
	b     []byte
	bits  int
	run   uint64 // of one value, that many are left
	value uint32
	lit   uint64 // of packed ones, that many are left
	bit   uint64 // where the next of them begins, in b
}

func newHybrid(b []byte, bits int) *hybrid { return &hybrid{b: b, bits: bits} }

var errRuns = errors.New("runs end early")

func (h *hybrid) next() (uint32, error) {
	for h.run == 0 && h.lit == 0 {
		if h.bits == 0 {
			return 0, nil // there is but one value
		}
		if err := h.begin(); err != nil {
			return 0, err
		}
	}
	if h.run > 0 {
		h.run--
		return h.value, nil
	}
	h.lit--
	end := h.bit + uint64(h.bits)
	if end > 8*uint64(len(h.b)) {
		return 0, errRuns
	}
	v := loadBits(h.b, h.bit, h.bits)
	h.bit = end
	if h.lit == 0 {
		h.b = h.b[(end+7)/8:]
	}
	return uint32(v), nil
}

// begin reads the head of the next run. A run of no values is possible and means nothing; each
// takes a byte, so that they end.
func (h *hybrid) begin() error {
	head, n := binary.Uvarint(h.b)
	if n <= 0 || head>>1 > math.MaxUint32 {
		return errRuns
	}
	h.b = h.b[n:]
	if head&1 == 1 {
		h.lit, h.bit = head>>1*8, 0
		return nil
	}
	w := (h.bits + 7) / 8
	if len(h.b) < w {
		return errRuns
	}
	h.run, h.value = head>>1, 0
	for i := range w {
		h.value |= uint32(h.b[i]) << (8 * i)
	}
	h.b = h.b[w:]
	return nil
}

// loadBits reads up to 64 bits at a bit offset, lowest first. They must be there.
func loadBits(b []byte, bit uint64, n int) uint64 {
	at, shift := bit>>3, int(bit&7)
	var v uint64
	if at+8 <= uint64(len(b)) {
		v = binary.LittleEndian.Uint64(b[at:]) >> shift
	} else {
		for i := uint64(0); at+i < uint64(len(b)); i++ {
			v |= uint64(b[at+i]) << (8 * i)
		}
		v >>= shift
	}
	if n > 64-shift { // the last bits are in the ninth byte
		v |= uint64(b[at+8]) << (64 - shift)
	}
	if n < 64 {
		v &= 1<<n - 1
	}
	return v
}

// split are values of one width whose first bytes come first, then all second bytes, and so on.
type split struct {
	b   []byte
	col *Column
	n   int // values
	at  int
	one []byte
}

func newSplit(b []byte, col *Column) *split {
	w := col.width()
	return &split{b: b, col: col, n: len(b) / w, one: make([]byte, w)}
}

func (s *split) next(v *cell.Value) error {
	if s.at >= s.n {
		return errShort
	}
	for i := range s.one {
		s.one[i] = s.b[i*s.n+s.at]
	}
	s.at++
	return s.col.set(s.one, v)
}
