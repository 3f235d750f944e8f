package parquet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go/encoding/thrift"
)

// The types of thrift's compact protocol.
const (
	compactTrue   = 1
	compactFalse  = 2
	compactByte   = 3
	compactI16    = 4
	compactI32    = 5
	compactI64    = 6
	compactDouble = 7
	compactBinary = 8
	compactList   = 9
	compactSet    = 10
	compactMap    = 11
	compactStruct = 12
)

// maxNesting is more than the deepest structure of the format takes.
const maxNesting = 24

var errCompact = errors.New("not a structure in thrift's compact protocol")

// decode reads the structure at the start of b into v and answers its length.
func decode(b []byte, most int, v any) (size int, err error) {
	defer func() {
		if r := recover(); r != nil { // the decoder is not ours
			err = fmt.Errorf("%v", r)
		}
	}()
	if size, err = measure(b, most); err != nil {
		return 0, err
	}
	var protocol thrift.CompactProtocol
	return size, thrift.NewDecoder(protocol.NewReaderFromBytes(b[:size])).Decode(v)
}

// measure is the length of the structure at the start of b. It checks that everything that the
// structure announces is there, and that lists hold no more than most structures in all, before
// anybody allocates for them. If b ends too early it answers io.ErrUnexpectedEOF.
func measure(b []byte, most int) (int, error) {
	w := walker{b: b, most: most}
	err := w.structure(0)
	return w.at, err
}

type walker struct {
	b    []byte
	at   int
	most int
}

func (w *walker) byte() (byte, error) {
	if w.at >= len(w.b) {
		return 0, io.ErrUnexpectedEOF
	}
	w.at++
	return w.b[w.at-1], nil
}

func (w *walker) varint() (uint64, error) {
	v, n := binary.Uvarint(w.b[w.at:])
	if n == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	if n < 0 {
		return 0, errCompact
	}
	w.at += n
	return v, nil
}

func (w *walker) skip(n uint64) error {
	if n > uint64(len(w.b)-w.at) {
		return io.ErrUnexpectedEOF
	}
	w.at += int(n)
	return nil
}

func (w *walker) structure(depth int) error {
	if depth > maxNesting {
		return errCompact
	}
	for {
		head, err := w.byte()
		if err != nil || head == 0 {
			return err
		}
		if head>>4 == 0 { // the field's number follows
			if _, err := w.varint(); err != nil {
				return err
			}
		}
		typ := head & 15
		if typ == compactTrue || typ == compactFalse { // the type is the value
			continue
		}
		if err := w.value(typ, depth); err != nil {
			return err
		}
	}
}

func (w *walker) value(typ byte, depth int) error {
	switch typ {
	case compactTrue, compactFalse, compactByte:
		return w.skip(1)
	case compactI16, compactI32, compactI64:
		_, err := w.varint()
		return err
	case compactDouble:
		return w.skip(8)
	case compactBinary:
		n, err := w.varint()
		if err != nil {
			return err
		}
		return w.skip(n)
	case compactList, compactSet:
		head, err := w.byte()
		if err != nil {
			return err
		}
		n := uint64(head >> 4)
		if n == 15 {
			if n, err = w.varint(); err != nil {
				return err
			}
		}
		return w.values(n, depth, head&15)
	case compactMap:
		n, err := w.varint()
		if err != nil || n == 0 {
			return err
		}
		types, err := w.byte()
		if err != nil {
			return err
		}
		return w.values(n, depth, types>>4, types&15)
	case compactStruct:
		return w.structure(depth + 1)
	}
	return errCompact
}

// values walks n elements, each of the given types in turn.
func (w *walker) values(n uint64, depth int, types ...byte) error {
	if depth > maxNesting {
		return errCompact
	}
	if n > uint64(len(w.b)-w.at) { // an element takes a byte at least
		return io.ErrUnexpectedEOF
	}
	for _, t := range types {
		if t >= compactBinary {
			if w.most -= int(n); w.most < 0 {
				return errors.New("too many elements")
			}
		}
	}
	for range n {
		for _, t := range types {
			if err := w.value(t, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}
