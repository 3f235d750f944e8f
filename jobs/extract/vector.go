package extract

import (
	"encoding/binary"
	"fmt"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/avro"
)

// WriteVector appends a key with float32 values to a key-value part file, converting straight
// into the block.
func WriteVector(w mr.PartWriter, key []byte, v []float32) error {
	return w.AppendFunc(func(dst []byte) []byte {
		dst = binary.AppendVarint(dst, int64(len(key)))
		dst = append(dst, key...)
		dst = binary.AppendVarint(dst, int64(4*len(v)))
		return avro.AppendFloat32s(dst, v)
	})
}

// ReadVector decodes a value written by WriteVector, reusing dst.
func ReadVector(dst []float32, value []byte) ([]float32, error) {
	if len(value)%4 != 0 {
		return dst, fmt.Errorf("a vector of %d bytes, not a multiple of 4", len(value))
	}
	return avro.Float32s(dst[:0], value), nil
}

// AppendJoined and SplitJoined are the value of the channel between a reduce-side join and
// the inference after it: a row and the image's bytes.
func AppendJoined(dst, row, image []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(row)))
	dst = append(dst, row...)
	return append(dst, image...)
}

// SplitJoined returns views into value.
func SplitJoined(value []byte) (row, image []byte, err error) {
	n, k := binary.Uvarint(value)
	if k <= 0 || n > uint64(len(value)-k) {
		return nil, nil, fmt.Errorf("a joined record of %d bytes is damaged", len(value))
	}
	return value[k : k+int(n)], value[k+int(n):], nil
}
