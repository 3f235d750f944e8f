package onnx

import (
	"encoding/binary"
	"math"
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
