// Package row is the structured side of a record as it travels between phases: which part of
// the split it belongs to, its label, and its feature columns.
//
// Invariant: the split of a row depends on the seed and the row's key alone, so every plan,
// every number of workers and every rerun holds out the same rows.
//
// A row that the table has but no model sees leaves a mark in its place (Aside), so that its image is not
// taken for one without a row.
//
// Phases of package jobs write and read rows as values of key-value files; the key is the
// record's own. The byte layout:
//
//	byte 0       1 if the row is held out, else 0
//	bytes 1-8    u', the number that decides the fold, as a 64-bit little-endian integer
//	varint       length of the label, then the label
//	rest         the feature columns as little-endian float32
package row

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/vista-mr/vista-mr/mr/avro"
)

// Row is one record's structured side.
type Row struct {
	Test  bool
	U     uint64 // decides the fold: floor(folds * U / 2^64)
	Label string
	X     []float32 // feature columns in file order
}

// Splitter decides which rows are held out.
type Splitter struct {
	seed []byte
	test float64
}

// NewSplitter returns the splitter of a seed and a held-out share in [0, 1).
func NewSplitter(seed uint64, test float64) Splitter {
	return Splitter{seed: append(strconv.AppendUint(nil, seed, 10), ':'), test: test}
}

// Split hashes the key: a row is held out if u < test, where u is the first 8 bytes,
// big-endian, of SHA-256(seed in decimal, ":", key), divided by 2^64; the next 8 bytes decide
// the fold.
func (s Splitter) Split(key []byte) (test bool, u uint64) {
	h := sha256.New()
	h.Write(s.seed)
	h.Write(key)
	var sum [sha256.Size]byte
	h.Sum(sum[:0])
	first := binary.BigEndian.Uint64(sum[0:8])
	return float64(first)/(1<<64) < s.test, binary.BigEndian.Uint64(sum[8:16])
}

// Fold is the row's fold of k.
func (r *Row) Fold(k int) int {
	if k < 2 {
		return 0
	}
	return min(int(float64(k)*(float64(r.U)/(1<<64))), k-1)
}

// Aside stands in a row's place where the table has a row of that key that was set aside or left out.
var Aside = []byte{2}

// IsAside tells whether an encoded row is the mark Aside.
func IsAside(b []byte) bool { return bytes.Equal(b, Aside) }

// Append encodes the row.
func (r *Row) Append(dst []byte) []byte {
	var b byte
	if r.Test {
		b = 1
	}
	dst = append(dst, b)
	dst = binary.LittleEndian.AppendUint64(dst, r.U)
	dst = binary.AppendUvarint(dst, uint64(len(r.Label)))
	dst = append(dst, r.Label...)
	return avro.AppendFloat32s(dst, r.X)
}

// Decode reads what Append wrote, reusing r's memory.
func (r *Row) Decode(b []byte) error {
	if len(b) < 10 || b[0] > 1 {
		return fmt.Errorf("row of %d bytes is damaged", len(b))
	}
	r.Test, r.U = b[0] == 1, binary.LittleEndian.Uint64(b[1:9])
	n, k := binary.Uvarint(b[9:])
	if k <= 0 || n > uint64(len(b)-9-k) {
		return fmt.Errorf("row of %d bytes has a damaged label", len(b))
	}
	b = b[9+k:]
	r.Label = string(b[:n])
	b = b[n:]
	if len(b)%4 != 0 {
		return fmt.Errorf("row has %d bytes of features, not a multiple of 4", len(b))
	}
	r.X = avro.Float32s(r.X[:0], b)
	return nil
}
