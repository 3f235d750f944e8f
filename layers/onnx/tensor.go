package onnx

import (
	"encoding/binary"
	"math"
	"strconv"
)

// FloatBytes returns float32 values as a tensor's raw bytes.
func FloatBytes(v ...float32) []byte {
	b := make([]byte, 0, 4*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return b
}

// Floats makes a float32 constant.
func Floats(name string, dims []int64, v ...float32) *Tensor {
	return &Tensor{Name: name, Dims: dims, Type: Float32, Raw: FloatBytes(v...)}
}

// Ints makes a one-dimensional int64 constant.
func Ints(name string, v ...int64) *Tensor {
	return &Tensor{Name: name, Dims: []int64{int64(len(v))}, Type: Int64, Raw: pack(v, 8)}
}

// tensorData gathers the several places where a TensorProto may keep its elements.
type tensorData struct {
	raw, floats, doubles []byte
	hasRaw               bool
	int32s, int64s, u64s []int64
	location             int64
	external             []Entry
}

func (d *decoder) tensor(f field) (*Tensor, error) {
	t := &Tensor{}
	var td tensorData
	err := d.message(f, func(d *decoder, f field) (*[]byte, error) {
		var err error
		switch f.num {
		case 1:
			t.Dims, err = f.ints(t.Dims)
		case 2:
			var v int64
			v, err = f.int()
			t.Type = Elem(v)
		case 4:
			td.floats, err = f.fixed(td.floats, 4)
		case 5:
			td.int32s, err = f.ints(td.int32s)
		case 6:
			var b []byte
			b, err = f.bytes()
			t.Strings = append(t.Strings, b)
		case 7:
			td.int64s, err = f.ints(td.int64s)
		case 8:
			return setText(f, &t.Name)
		case 9:
			td.raw, err = f.bytes()
			td.hasRaw = true
		case 10:
			td.doubles, err = f.fixed(td.doubles, 8)
		case 11:
			td.u64s, err = f.ints(td.u64s)
		case 12:
			return setText(f, &t.Doc)
		case 13:
			return addEntry(d, f, &td.external)
		case 14:
			return setInt(f, &td.location)
		case 16:
			return addEntry(d, f, &t.Metadata)
		default:
			return &t.unknown, nil
		}
		return nil, err
	})
	if err != nil {
		return t, err
	}
	return t, t.fill(&td)
}

// fill brings the elements into Raw, little-endian, and checks their number against Dims.
func (t *Tensor) fill(td *tensorData) error {
	bad := func(what string) error {
		return &Error{Msg: "tensor " + strconv.Quote(t.Name) + " " + what, Do: "the file is damaged or was written by a faulty exporter; export it again"}
	}
	n, ok := elements(t.Dims)
	if !ok {
		return bad("has impossible dimensions")
	}
	if td.location == 1 {
		return t.setExternal(td.external)
	}
	if t.Type == String {
		if int64(len(t.Strings)) != n {
			return bad("has another number of strings than its dimensions say")
		}
		return nil
	}
	switch {
	case td.hasRaw:
		t.Raw = td.raw
	case td.floats != nil:
		t.Raw = td.floats
	case td.doubles != nil:
		t.Raw = td.doubles
	case td.int64s != nil:
		t.Raw = pack(td.int64s, t.Type.Size())
	case td.int32s != nil:
		t.Raw = pack(td.int32s, t.Type.Size())
	case td.u64s != nil:
		t.Raw = pack(td.u64s, t.Type.Size())
	}
	switch size := t.Type.Size(); {
	case t.Type == Undefined && n == 0 && len(t.Raw) == 0:
	case size > 0:
		if int64(len(t.Raw))/int64(size) != n || len(t.Raw)%size != 0 {
			return bad("holds " + strconv.Itoa(len(t.Raw)) + " bytes, its dimensions ask for " + strconv.FormatInt(n, 10) + " elements of type " + t.Type.String())
		}
	case t.Type == 21 || t.Type == 22 || t.Type == 23: // two elements in a byte
		if int64(len(t.Raw)) != (n+1)/2 {
			return bad("has another number of bytes than its dimensions say")
		}
	default:
		return bad("has the unknown element type " + strconv.Itoa(int(t.Type)))
	}
	return nil
}

// pack writes integers little-endian in width bytes each.
func pack(list []int64, width int) []byte {
	if width == 0 { // types below a byte store one byte per pair
		width = 1
	}
	b := make([]byte, 0, len(list)*width)
	for _, v := range list {
		for range width {
			b = append(b, byte(v))
			v >>= 8
		}
	}
	return b
}

// maxElements bounds the elements of one tensor, so that products of dimensions cannot overflow.
const maxElements = 1 << 40

// elements returns the product of dims; ok is false when one is negative or the product is absurd.
func elements(dims []int64) (n int64, ok bool) {
	n = 1
	for _, d := range dims {
		if d < 0 {
			return 0, false
		}
		if d != 0 && n > maxElements/d {
			return 0, false
		}
		n *= d
	}
	return n, true
}
