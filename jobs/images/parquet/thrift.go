package parquet

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Types of Thrift's compact protocol.
const (
	typeStop   = 0
	typeTrue   = 1
	typeFalse  = 2
	typeByte   = 3
	typeI16    = 4
	typeI32    = 5
	typeI64    = 6
	typeDouble = 7
	typeBinary = 8
	typeList   = 9
	typeSet    = 10
	typeMap    = 11
	typeStruct = 12
)

// maxDepth bounds structures within structures; Parquet's own go six deep.
const maxDepth = 32

// errShort says that the bytes end within a value.
var errShort = errors.New("the bytes end too early")

// thrift walks values of the compact protocol. Nothing is allocated by a length that is read.
type thrift struct {
	b     []byte
	at    int
	depth int
}

func (t *thrift) byte() (byte, error) {
	if t.at >= len(t.b) {
		return 0, errShort
	}
	t.at++
	return t.b[t.at-1], nil
}

func (t *thrift) uvarint() (uint64, error) {
	v, n := binary.Uvarint(t.b[t.at:])
	if n == 0 {
		return 0, errShort
	}
	if n < 0 {
		return 0, errors.New("a number of more than 64 bits")
	}
	t.at += n
	return v, nil
}

// int reads an integer of 16, 32 or 64 bits.
func (t *thrift) int() (int64, error) {
	v, err := t.uvarint()
	return int64(v>>1) ^ -int64(v&1), err
}

// bytes returns a view.
func (t *thrift) bytes() ([]byte, error) {
	n, err := t.uvarint()
	if err != nil {
		return nil, err
	}
	if n > uint64(len(t.b)-t.at) {
		return nil, errShort
	}
	b := t.b[t.at : t.at+int(n)]
	t.at += int(n)
	return b, nil
}

// fields calls f for every field of a structure. f reads the value and answers true, or leaves it and
// answers false. The value of a boolean is its type.
func (t *thrift) fields(f func(id int, typ byte) (bool, error)) error {
	if t.depth++; t.depth > maxDepth {
		return fmt.Errorf("structures are nested more than %d deep", maxDepth)
	}
	defer func() { t.depth-- }()
	for id := 0; ; {
		b, err := t.byte()
		if err != nil {
			return err
		}
		typ := b & 15
		if typ == typeStop {
			return nil
		}
		if b>>4 != 0 {
			id += int(b >> 4)
		} else {
			v, err := t.int()
			if err != nil {
				return err
			}
			id = int(v)
		}
		if done, err := f(id, typ); err != nil {
			return err
		} else if !done {
			if err := t.skip(typ, true); err != nil {
				return err
			}
		}
	}
}

// list calls f for every item of a list; f reads it.
func (t *thrift) list(f func(typ byte) error) error {
	b, err := t.byte()
	if err != nil {
		return err
	}
	n := uint64(b >> 4)
	if n == 15 {
		if n, err = t.uvarint(); err != nil {
			return err
		}
	}
	if n > uint64(len(t.b)-t.at) { // an item takes a byte at least
		return errShort
	}
	for ; n > 0; n-- {
		if err := f(b & 15); err != nil {
			return err
		}
	}
	return nil
}

// skip passes over a value; booleans that are fields have no bytes of their own.
func (t *thrift) skip(typ byte, field bool) error {
	switch typ {
	case typeTrue, typeFalse:
		if field {
			return nil
		}
		_, err := t.byte()
		return err
	case typeByte:
		_, err := t.byte()
		return err
	case typeI16, typeI32, typeI64:
		_, err := t.uvarint()
		return err
	case typeDouble:
		if len(t.b)-t.at < 8 {
			return errShort
		}
		t.at += 8
		return nil
	case typeBinary:
		_, err := t.bytes()
		return err
	case typeList, typeSet:
		if t.depth++; t.depth > maxDepth {
			return fmt.Errorf("lists are nested more than %d deep", maxDepth)
		}
		defer func() { t.depth-- }()
		return t.list(func(item byte) error { return t.skip(item, false) })
	case typeMap:
		return t.skipMap()
	case typeStruct:
		return t.fields(func(int, byte) (bool, error) { return false, nil })
	}
	return fmt.Errorf("a value of unknown type %d", typ)
}

func (t *thrift) skipMap() error {
	if t.depth++; t.depth > maxDepth {
		return fmt.Errorf("maps are nested more than %d deep", maxDepth)
	}
	defer func() { t.depth-- }()
	n, err := t.uvarint()
	if err != nil || n == 0 {
		return err
	}
	b, err := t.byte()
	if err != nil {
		return err
	}
	if n > uint64(len(t.b)-t.at) {
		return errShort
	}
	for ; n > 0; n-- {
		if err := t.skip(b>>4, false); err != nil {
			return err
		}
		if err := t.skip(b&15, false); err != nil {
			return err
		}
	}
	return nil
}

// i32 and i64 read a field that must have that type.
func (t *thrift) i32(typ byte, to *int32) (bool, error) {
	if typ != typeI32 {
		return false, fmt.Errorf("a field of type %d where a number of 32 bits is expected", typ)
	}
	v, err := t.int()
	if err == nil && v != int64(int32(v)) {
		err = fmt.Errorf("%d is no number of 32 bits", v)
	}
	*to = int32(v)
	return true, err
}

func (t *thrift) i64(typ byte, to *int64) (bool, error) {
	if typ != typeI64 {
		return false, fmt.Errorf("a field of type %d where a number of 64 bits is expected", typ)
	}
	v, err := t.int()
	*to = v
	return true, err
}

func (t *thrift) text(typ byte, to *string) (bool, error) {
	if typ != typeBinary {
		return false, fmt.Errorf("a field of type %d where a string is expected", typ)
	}
	b, err := t.bytes()
	*to = string(b)
	return true, err
}

// structure reads a field that must be a structure.
func (t *thrift) structure(typ byte, f func(id int, typ byte) (bool, error)) (bool, error) {
	if typ != typeStruct {
		return false, fmt.Errorf("a field of type %d where a structure is expected", typ)
	}
	return true, t.fields(f)
}

// structures reads a field that must be a list of structures.
func (t *thrift) structures(typ byte, f func() error) (bool, error) {
	if typ != typeList {
		return false, fmt.Errorf("a field of type %d where a list is expected", typ)
	}
	return true, t.list(func(item byte) error {
		if item != typeStruct {
			return fmt.Errorf("an item of type %d where a structure is expected", item)
		}
		return f()
	})
}
