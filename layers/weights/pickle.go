package weights

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"unicode/utf8"
)

// Bounds on a pickle. The pickle of a state dict takes some 60 operations and 300 bytes for each tensor;
// with these bounds no pickle makes the reader hold more than about 300 MB.
const (
	maxPickle = 32 << 20
	maxOps    = 1 << 21
)

// The values of a pickle are nil, bool, int64, float64, string, tuple, *list, *dict, global, big, and what
// the host makes of persistent ids and calls.
type (
	tuple  []any
	global string // module and name, joined by a dot
	big    []byte // an integer of more than 8 bytes, little-endian
	list   struct{ items []any }
	dict   struct{ items []pair }
	pair   struct{ key, value any }
	mark   struct{}
)

// get returns the value under a text key.
func (d *dict) get(key string) (any, bool) {
	for i := len(d.items) - 1; i >= 0; i-- {
		if d.items[i].key == key {
			return d.items[i].value, true
		}
	}
	return nil, false
}

// host says what stands behind the parts of a pickle that are not data. It is where pickles of other
// readers run code; here it makes tensors out of tables.
type host interface {
	persistent(id any) (any, error)
	call(f global, args tuple) (any, error)
}

// unpickler reads one pickle (Python's pickletools describes the format). It is a stack machine without
// loops, so its time is that of reading. Containers are shared, never copied, and nothing walks them here,
// so sharing one in another many times over costs nothing.
type unpickler struct {
	in    []byte
	at    int
	stack []any
	memo  map[uint32]any
	host  host
}

// unpickle reads the pickle that in begins with and returns its value and length.
func unpickle(in []byte, h host) (any, int, error) {
	u := &unpickler{in: in[:min(len(in), maxPickle)], memo: map[uint32]any{}, host: h}
	for range maxOps {
		op, err := u.byte()
		if err != nil {
			return nil, 0, err
		}
		if op == '.' {
			v, err := u.pop()
			return v, u.at, err
		}
		if err := u.step(op); err != nil {
			return nil, 0, err
		}
	}
	return nil, 0, broken("the pickle has more than %d operations", maxOps)
}

func (u *unpickler) bytes(n uint64) ([]byte, error) {
	if n > uint64(len(u.in)-u.at) {
		return nil, broken("the pickle ends at byte %d, within an operation, or has more than %d bytes", len(u.in), maxPickle)
	}
	b := u.in[u.at : u.at+int(n)]
	u.at += int(n)
	return b, nil
}

func (u *unpickler) byte() (byte, error) {
	b, err := u.bytes(1)
	if err != nil {
		return 0, err
	}
	return b[0], nil
}

// uint reads an integer of n bytes.
func (u *unpickler) uint(n uint64) (uint64, error) {
	b, err := u.bytes(n)
	var v uint64
	for i := len(b) - 1; i >= 0; i-- {
		v = v<<8 | uint64(b[i])
	}
	return v, err
}

// text reads a length of n bytes and as many bytes of UTF-8.
func (u *unpickler) text(n uint64) (string, error) {
	size, err := u.uint(n)
	if err != nil {
		return "", err
	}
	b, err := u.bytes(size)
	if err == nil && !utf8.Valid(b) {
		return "", broken("text in the pickle is no UTF-8")
	}
	return string(b), err
}

// line reads to the end of the line.
func (u *unpickler) line() (string, error) {
	i := bytes.IndexByte(u.in[u.at:min(len(u.in), u.at+256)], '\n')
	if i < 0 {
		return "", broken("the pickle has a line without end")
	}
	b, err := u.bytes(uint64(i + 1))
	return string(b[:max(len(b)-1, 0)]), err
}

func (u *unpickler) push(v any) { u.stack = append(u.stack, v) }

func (u *unpickler) pop() (any, error) {
	v, err := u.top()
	if err == nil {
		u.stack = u.stack[:len(u.stack)-1]
	}
	return v, err
}

func (u *unpickler) top() (any, error) {
	if len(u.stack) == 0 {
		return nil, broken("the pickle takes a value that is not there")
	}
	v := u.stack[len(u.stack)-1]
	if _, is := v.(mark); is {
		return nil, broken("the pickle takes a value that is not there")
	}
	return v, nil
}

// popMark returns what lies above the topmost mark and takes both away. The values are a copy.
func (u *unpickler) popMark() ([]any, error) {
	for i := len(u.stack) - 1; i >= 0; i-- {
		if _, is := u.stack[i].(mark); is {
			items := append([]any(nil), u.stack[i+1:]...)
			u.stack = u.stack[:i]
			return items, nil
		}
	}
	return nil, broken("the pickle has no mark where one is needed")
}

func (u *unpickler) put(key uint64) error {
	v, err := u.top()
	if err == nil {
		u.memo[uint32(key)] = v
	}
	return err
}

// step does one operation.
func (u *unpickler) step(op byte) (err error) {
	var n uint64
	switch op {
	case 0x80: // PROTO
		n, err = u.uint(1)
		if err == nil && n > 5 {
			err = broken("a pickle of protocol %d", n)
		}
	case 0x95: // FRAME: its length tells nothing new
		_, err = u.uint(8)
	case '(':
		u.push(mark{})
	case 'N':
		u.push(nil)
	case 0x88, 0x89:
		u.push(op == 0x88)
	case 'K', 'M': // BININT1, BININT2
		n, err = u.uint(map[byte]uint64{'K': 1, 'M': 2}[op])
		u.push(int64(n))
	case 'J':
		n, err = u.uint(4)
		u.push(int64(int32(n)))
	case 0x8a: // LONG1
		err = u.long()
	case 'G':
		var b []byte
		if b, err = u.bytes(8); err == nil {
			u.push(math.Float64frombits(binary.BigEndian.Uint64(b)))
		}
	case 'X', 0x8c, 0x8d, 'T', 'U': // BINUNICODE, SHORT_BINUNICODE, BINUNICODE8, BINSTRING, SHORT_BINSTRING
		var s string
		s, err = u.text(map[byte]uint64{'X': 4, 0x8c: 1, 0x8d: 8, 'T': 4, 'U': 1}[op])
		u.push(s)
	case 'q', 'r': // BINPUT, LONG_BINPUT
		if n, err = u.uint(map[byte]uint64{'q': 1, 'r': 4}[op]); err == nil {
			err = u.put(n)
		}
	case 0x94: // MEMOIZE
		err = u.put(uint64(len(u.memo)))
	case 'h', 'j': // BINGET, LONG_BINGET
		if n, err = u.uint(map[byte]uint64{'h': 1, 'j': 4}[op]); err == nil {
			v, ok := u.memo[uint32(n)]
			if !ok {
				return broken("the pickle refers to value %d, which is not there", n)
			}
			u.push(v)
		}
	case '0':
		_, err = u.pop()
	default:
		return u.compose(op)
	}
	return err
}

func (u *unpickler) long() error {
	n, err := u.uint(1)
	if err != nil {
		return err
	}
	b, err := u.bytes(n)
	if err != nil {
		return err
	}
	if n > 8 {
		u.push(big(b))
		return nil
	}
	var v uint64
	if n > 0 && b[n-1]&0x80 != 0 {
		v = math.MaxUint64
	}
	for i := len(b) - 1; i >= 0; i-- {
		v = v<<8 | uint64(b[i])
	}
	u.push(int64(v))
	return nil
}

// compose does the operations on containers and calls.
func (u *unpickler) compose(op byte) error {
	switch op {
	case '}':
		u.push(&dict{})
	case ']', 0x8f: // a set is read as a list
		u.push(&list{})
	case ')':
		u.push(tuple{})
	case 't':
		items, err := u.popMark()
		u.push(tuple(items))
		return err
	case 0x85, 0x86, 0x87: // TUPLE1 to TUPLE3
		n := int(op - 0x84)
		t := make(tuple, n)
		for i := n - 1; i >= 0; i-- {
			var err error
			if t[i], err = u.pop(); err != nil {
				return err
			}
		}
		u.push(t)
	case 'a', 'e', 0x90, 's', 'u': // APPEND, APPENDS, ADDITEMS, SETITEM, SETITEMS
		return u.fill(op)
	case 'c':
		module, err := u.line()
		if err != nil {
			return err
		}
		name, err := u.line()
		u.push(global(module + "." + name))
		return err
	case 0x93: // STACK_GLOBAL
		name, err := u.pop()
		if err != nil {
			return err
		}
		module, err := u.pop()
		m, ok1 := module.(string)
		s, ok2 := name.(string)
		if err != nil || !ok1 || !ok2 {
			return broken("the pickle names a global by something that is no text")
		}
		u.push(global(m + "." + s))
	case 'Q': // BINPERSID
		id, err := u.pop()
		if err != nil {
			return err
		}
		v, err := u.host.persistent(id)
		u.push(v)
		return err
	case 'R', 0x81: // REDUCE, NEWOBJ
		return u.call()
	case 'b': // BUILD: attributes of an object, such as _metadata of a state dict, are left out
		if _, err := u.pop(); err != nil {
			return err
		}
		_, err := u.top()
		return err
	default:
		return &Error{Problems: []string{fmt.Sprintf("the pickle has the operation %#x, which no state dict needs", op)}, Do: saveStateDict}
	}
	return nil
}

func (u *unpickler) fill(op byte) error {
	var items []any
	var err error
	switch op {
	case 'a', 's':
		items = make([]any, map[byte]int{'a': 1, 's': 2}[op])
		for i := len(items) - 1; i >= 0 && err == nil; i-- {
			items[i], err = u.pop()
		}
	default:
		items, err = u.popMark()
	}
	if err != nil {
		return err
	}
	to, err := u.top()
	if err != nil {
		return err
	}
	l, isList := to.(*list)
	d, isDict := to.(*dict)
	switch {
	case op != 's' && op != 'u' && isList:
		l.items = append(l.items, items...)
	case (op == 's' || op == 'u') && isDict && len(items)%2 == 0:
		for i := 0; i < len(items); i += 2 {
			d.items = append(d.items, pair{items[i], items[i+1]})
		}
	default:
		return broken("the pickle fills a %T with %d values", to, len(items))
	}
	return nil
}

func (u *unpickler) call() error {
	a, err := u.pop()
	if err != nil {
		return err
	}
	f, err := u.pop()
	if err != nil {
		return err
	}
	args, ok1 := a.(tuple)
	name, ok2 := f.(global)
	if !ok1 || !ok2 {
		return broken("the pickle calls a %T with a %T", f, a)
	}
	v, err := u.host.call(name, args)
	u.push(v)
	return err
}
