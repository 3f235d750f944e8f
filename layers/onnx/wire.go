package onnx

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
)

// maxDepth bounds the nesting of messages: a graph in an attribute of a node of a graph costs three.
// Real models stay below 20.
const maxDepth = 100

// maxDecoded bounds what the structure of a model may take in memory beside the file itself: a node of two
// bytes in the file is some hundred in memory. Real models stay below a tenth of it. Weights are slices of
// the file and do not count.
const maxDecoded = 512 << 20

// Memory that a field of a message takes at most, without what is in it: messages become structs of up to
// 300 bytes, in lists that grow by doubling.
const (
	costMessage = 400
	costNumber  = 32
)

// Wire types of protocol buffers.
const (
	wireVarint = 0
	wire64     = 1
	wireBytes  = 2
	wire32     = 5
)

func malformed(format string, a ...any) error {
	return &Error{Msg: "damaged: " + fmt.Sprintf(format, a...), Do: "copy or export the file again; it is not a complete ONNX model"}
}

// field is one field of a message as it lies on the wire.
type field struct {
	num  int
	wire int
	val  uint64 // varint, 64 or 32 bits
	data []byte // length-delimited
	raw  []byte // tag and value: what is kept for unknown fields
	left *int64 // the decoder's
}

// decoder walks over the fields of one message.
type decoder struct {
	b     []byte
	pos   int
	depth int
	left  *int64 // memory that may still be taken; shared with nested decoders
}

func newDecoder(b []byte) *decoder {
	left := int64(maxDecoded)
	return &decoder{b: b, left: &left}
}

// take notes memory that is about to be allocated.
func take(left *int64, n int) error {
	if *left -= int64(n); *left < 0 {
		return &Error{Msg: fmt.Sprintf("its structure takes more than %d MiB of memory, weights aside", maxDecoded>>20), Do: "no CNN is that large; export the model again"}
	}
	return nil
}

// next returns the next field; ok is false at the end of the message.
func (d *decoder) next() (f field, ok bool, err error) {
	if d.pos >= len(d.b) {
		return f, false, nil
	}
	start := d.pos
	tag, n := binary.Uvarint(d.b[d.pos:])
	if n <= 0 || tag>>3 == 0 || tag>>3 > 1<<29-1 {
		return f, false, malformed("bad field tag at byte %d of a message", d.pos)
	}
	d.pos += n
	f.num, f.wire, f.left = int(tag>>3), int(tag&7), d.left
	rest := d.b[d.pos:]
	switch f.wire {
	case wireVarint:
		v, n := binary.Uvarint(rest)
		if n <= 0 {
			return f, false, malformed("field %d: bad number", f.num)
		}
		f.val = v
		d.pos += n
	case wire64:
		if len(rest) < 8 {
			return f, false, malformed("field %d: message ends inside it", f.num)
		}
		f.val = binary.LittleEndian.Uint64(rest)
		d.pos += 8
	case wire32:
		if len(rest) < 4 {
			return f, false, malformed("field %d: message ends inside it", f.num)
		}
		f.val = uint64(binary.LittleEndian.Uint32(rest))
		d.pos += 4
	case wireBytes:
		l, n := binary.Uvarint(rest)
		if n <= 0 || l > uint64(len(rest)-n) {
			return f, false, malformed("field %d: length %d, but only %d bytes follow", f.num, l, max(0, len(rest)-max(n, 0)))
		}
		f.data = rest[n : n+int(l) : n+int(l)]
		d.pos += n + int(l)
	default:
		return f, false, malformed("field %d: wire type %d", f.num, f.wire)
	}
	f.raw = d.b[start:d.pos:d.pos]
	cost := costNumber
	if f.wire == wireBytes {
		cost = costMessage
	}
	return f, true, take(d.left, cost)
}

// sub returns a decoder for a nested message.
func (d *decoder) sub(f field) (*decoder, error) {
	if f.wire != wireBytes {
		return nil, malformed("field %d is not a message", f.num)
	}
	if d.depth+1 > maxDepth {
		return nil, malformed("nested more than %d deep", maxDepth)
	}
	return &decoder{b: f.data, depth: d.depth + 1, left: d.left}, nil
}

func (f field) text() (string, error) {
	if f.wire != wireBytes {
		return "", malformed("field %d is not a text", f.num)
	}
	return string(f.data), nil
}

func (f field) bytes() ([]byte, error) {
	if f.wire != wireBytes {
		return nil, malformed("field %d holds no bytes", f.num)
	}
	return f.data, nil
}

func (f field) int() (int64, error) {
	if f.wire != wireVarint {
		return 0, malformed("field %d is not a number", f.num)
	}
	return int64(f.val), nil
}

func (f field) float() (float32, error) {
	if f.wire != wire32 {
		return 0, malformed("field %d is not a float", f.num)
	}
	return math.Float32frombits(uint32(f.val)), nil
}

// ints appends the values of a repeated integer field, packed or not. The size of what it allocates is
// bounded by the size of the field.
func (f field) ints(dst []int64) ([]int64, error) {
	if f.wire == wireVarint {
		return append(dst, int64(f.val)), nil
	}
	if f.wire != wireBytes {
		return nil, malformed("field %d is not a list of numbers", f.num)
	}
	count := 0
	for _, c := range f.data {
		if c < 0x80 {
			count++
		}
	}
	if err := take(f.left, 8*count); err != nil {
		return nil, err
	}
	dst = slices.Grow(dst, count)
	for b := f.data; len(b) > 0; {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return nil, malformed("field %d: bad number in a list", f.num)
		}
		dst = append(dst, int64(v))
		b = b[n:]
	}
	return dst, nil
}

// fixed appends the bytes of a repeated float (width 4) or double (8) field to dst. A list in one piece
// is returned as it lies in the input, without a copy.
func (f field) fixed(dst []byte, width int) ([]byte, error) {
	switch {
	case f.wire == wireBytes:
		if len(f.data)%width != 0 {
			return nil, malformed("field %d: %d bytes are no whole number of elements", f.num, len(f.data))
		}
		if len(dst) == 0 {
			return f.data, nil
		}
		return append(dst, f.data...), nil
	case f.wire == wire32 && width == 4:
		return binary.LittleEndian.AppendUint32(dst, uint32(f.val)), nil
	case f.wire == wire64 && width == 8:
		return binary.LittleEndian.AppendUint64(dst, f.val), nil
	}
	return nil, malformed("field %d is not a list of floats", f.num)
}

// encoder collects a message as pieces, so that big payloads are referred to and not copied.
type encoder struct {
	segs []piece
	cur  []byte
	size int64 // bytes in segs
}

// piece is a part of a message: bytes, or a section of a file that is read when it is written.
type piece struct {
	b    []byte
	from *io.SectionReader
}

// bigPayload is the size from which bytes become a piece of their own.
const bigPayload = 4 << 10

func (e *encoder) len() int64 { return e.size + int64(len(e.cur)) }

func (e *encoder) flush() {
	if len(e.cur) > 0 {
		e.segs = append(e.segs, piece{b: e.cur})
		e.size += int64(len(e.cur))
		e.cur = nil
	}
}

func (e *encoder) raw(b []byte) {
	if len(b) < bigPayload {
		e.cur = append(e.cur, b...)
		return
	}
	e.flush()
	e.segs = append(e.segs, piece{b: b})
	e.size += int64(len(b))
}

// section refers to bytes that lie in a file.
func (e *encoder) section(from *io.SectionReader) {
	e.flush()
	e.segs = append(e.segs, piece{from: from})
	e.size += from.Size()
}

func (e *encoder) tag(num, wire int) {
	e.cur = binary.AppendUvarint(e.cur, uint64(num)<<3|uint64(wire))
}

func (e *encoder) bytes(num int, b []byte) {
	e.tag(num, wireBytes)
	e.cur = binary.AppendUvarint(e.cur, uint64(len(b)))
	e.raw(b)
}

// text writes a string; an empty one is left out, as proto3 does.
func (e *encoder) text(num int, s string) {
	if s != "" {
		e.bytes(num, []byte(s))
	}
}

func (e *encoder) texts(num int, list []string) {
	for _, s := range list {
		e.bytes(num, []byte(s))
	}
}

// int writes a number; 0 is left out.
func (e *encoder) int(num int, v int64) {
	if v != 0 {
		e.tag(num, wireVarint)
		e.cur = binary.AppendUvarint(e.cur, uint64(v))
	}
}

func (e *encoder) ints(num int, list []int64) {
	if len(list) == 0 {
		return
	}
	var b []byte
	for _, v := range list {
		b = binary.AppendUvarint(b, uint64(v))
	}
	e.bytes(num, b)
}

func (e *encoder) float(num int, v float32) {
	e.tag(num, wire32)
	e.cur = binary.LittleEndian.AppendUint32(e.cur, math.Float32bits(v))
}

func (e *encoder) floats(num int, list []float32) {
	if len(list) == 0 {
		return
	}
	b := make([]byte, 0, 4*len(list))
	for _, v := range list {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	e.bytes(num, b)
}

// message writes a nested message, also when it is empty.
func (e *encoder) message(num int, fill func(*encoder)) {
	var sub encoder
	fill(&sub)
	e.tag(num, wireBytes)
	e.cur = binary.AppendUvarint(e.cur, uint64(sub.len()))
	for _, s := range sub.segs {
		if s.from != nil {
			e.section(s.from)
			continue
		}
		e.raw(s.b)
	}
	e.raw(sub.cur)
}

func (e *encoder) writeTo(w io.Writer) (int64, error) {
	e.flush()
	var total int64
	for _, s := range e.segs {
		n, err := s.writeTo(w)
		total += n
		if err != nil {
			return total, fmt.Errorf("write model: %w", err)
		}
	}
	return total, nil
}

func (s piece) writeTo(w io.Writer) (int64, error) {
	if s.from == nil {
		n, err := w.Write(s.b)
		return int64(n), err
	}
	// A reader of its own: the same model may be written again.
	n, err := io.Copy(w, io.NewSectionReader(s.from, 0, s.from.Size()))
	if err == nil && n < s.from.Size() {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
