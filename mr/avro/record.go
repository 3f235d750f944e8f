package avro

import (
	"encoding/binary"
	"math"
	"unsafe"
)

// KVSchema is the schema of the engine's own files.
const KVSchema = `{"type":"record","name":"KV","namespace":"vistamr","fields":[` +
	`{"name":"key","type":"bytes"},{"name":"value","type":"bytes"}]}`

// FeatureSchema is the schema of exported features.
const FeatureSchema = `{"type":"record","name":"Feature","namespace":"vistamr","fields":[` +
	`{"name":"id","type":"string"},{"name":"label","type":"string"},{"name":"split","type":"string"},` +
	`{"name":"features","type":{"type":"array","items":"float"}}]}`

// AppendKV encodes a record of KVSchema.
func AppendKV(dst, key, value []byte) []byte {
	dst = binary.AppendVarint(dst, int64(len(key)))
	dst = append(dst, key...)
	dst = binary.AppendVarint(dst, int64(len(value)))
	return append(dst, value...)
}

// EachKV calls f for every record of a block of KVSchema, without copying, until it answers
// false. A block whose bytes are not exactly its records is errs.Corrupt.
func EachKV(block Block, f func(key, value []byte) bool) error {
	data := block.Data
	for n := block.Count; n > 0; n-- {
		key, rest, ok := cutBytes(data)
		if !ok {
			return corrupt("block at %d: its last %d records are not whole", block.Offset, n)
		}
		value, rest, ok := cutBytes(rest)
		if !ok {
			return corrupt("block at %d: its last %d records are not whole", block.Offset, n)
		}
		if !f(key, value) {
			return nil
		}
		data = rest
	}
	if len(data) > 0 {
		return corrupt("block at %d: %d bytes behind its last record", block.Offset, len(data))
	}
	return nil
}

// cutBytes takes a length-prefixed value off b.
func cutBytes(b []byte) (value, rest []byte, ok bool) {
	n, k := binary.Varint(b)
	if k <= 0 || n < 0 || n > int64(len(b)-k) {
		return nil, nil, false
	}
	return b[k : k+int(n)], b[k+int(n):], true
}

// AppendFeature encodes a record of FeatureSchema.
func AppendFeature(dst []byte, id, label, split string, v []float32) []byte {
	for _, s := range [...]string{id, label, split} {
		dst = binary.AppendVarint(dst, int64(len(s)))
		dst = append(dst, s...)
	}
	if len(v) > 0 {
		dst = binary.AppendVarint(dst, int64(len(v)))
		dst = AppendFloat32s(dst, v)
	}
	return append(dst, 0)
}

// Feature is a decoded record of FeatureSchema.
type Feature struct {
	ID, Label, Split []byte // valid as long as the block
	Values           []float32
}

// DecodeFeature decodes one record, reusing f.Values, and returns what is left of the block.
func (f *Feature) DecodeFeature(b []byte) (rest []byte, ok bool) {
	if f.ID, b, ok = cutBytes(b); !ok {
		return nil, false
	}
	if f.Label, b, ok = cutBytes(b); !ok {
		return nil, false
	}
	if f.Split, b, ok = cutBytes(b); !ok {
		return nil, false
	}
	f.Values = f.Values[:0]
	for {
		n, k := binary.Varint(b)
		if k <= 0 {
			return nil, false
		}
		b = b[k:]
		if n == 0 {
			return b, true
		}
		if n < 0 { // a negative count is followed by the size of the block in bytes
			if n == math.MinInt64 {
				return nil, false
			}
			_, k := binary.Varint(b)
			if k <= 0 {
				return nil, false
			}
			n, b = -n, b[k:]
		}
		if n > int64(len(b)/4) {
			return nil, false
		}
		f.Values = Float32s(f.Values, b[:4*n])
		b = b[4*n:]
	}
}

// littleEndian tells whether memory has Avro's byte order, which every platform that ONNX
// Runtime runs on has; then floats are copied in bulk.
var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// AppendFloat32s appends values as little-endian bytes.
func AppendFloat32s(dst []byte, v []float32) []byte {
	if littleEndian {
		if len(v) == 0 {
			return dst
		}
		return append(dst, unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), 4*len(v))...)
	}
	for _, x := range v {
		dst = binary.LittleEndian.AppendUint32(dst, math.Float32bits(x))
	}
	return dst
}

// Float32s appends len(raw)/4 values read from little-endian bytes, which need not be aligned.
func Float32s(dst []float32, raw []byte) []float32 {
	n := len(raw) / 4
	if n == 0 {
		return dst
	}
	at := len(dst)
	if cap(dst)-at < n {
		grown := make([]float32, at, max(2*cap(dst), at+n))
		copy(grown, dst)
		dst = grown
	}
	dst = dst[:at+n]
	if littleEndian {
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&dst[at])), 4*n), raw)
		return dst
	}
	for i := range n {
		dst[at+i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return dst
}
