package parquet

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/golang/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Codecs, as the format numbers them.
const (
	uncompressed = 0
	snappyCodec  = 1
	gzipCodec    = 2
	zstdCodec    = 6
	lz4Raw       = 7
)

// maxRatio is the best that deflate does. Images do not pack at all, and keys not that well.
const maxRatio = 1100

var codecNames = map[int32]string{3: "LZO", 4: "BROTLI", 5: "LZ4"}

func supported(codec int32) bool {
	return codec == uncompressed || codec == snappyCodec || codec == gzipCodec || codec == zstdCodec || codec == lz4Raw
}

func unsupported(codec int32) error {
	name := codecNames[codec]
	if name == "" {
		name = fmt.Sprint(codec)
	}
	return fmt.Errorf("codec %s is not supported: UNCOMPRESSED, SNAPPY, GZIP, ZSTD and LZ4_RAW are", name)
}

// zstdReader unpacks never more than the room that it is given. It may be used by several goroutines.
var zstdReader = sync.OnceValues(func() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(MaxPage), zstd.WithDecodeAllCapLimit(true))
})

// unpack undoes a codec. n is what the page says comes out; it is at most MaxPage.
func unpack(codec int32, src []byte, n int) ([]byte, error) {
	var out []byte
	var err error
	if codec != uncompressed && n > maxRatio*len(src)+64<<10 {
		return nil, fmt.Errorf("%d bytes unpack to %d: more than %d to 1 is not read", len(src), n, maxRatio)
	}
	switch codec {
	case uncompressed:
		out = src
	case snappyCodec:
		var k int
		if k, err = snappy.DecodedLen(src); err == nil && k != n {
			err = fmt.Errorf("unpacks to %d bytes, %d are stated", k, n)
		}
		if err == nil {
			out, err = snappy.Decode(nil, src)
		}
	case gzipCodec:
		var r *gzip.Reader
		if r, err = gzip.NewReader(bytes.NewReader(src)); err == nil {
			var b bytes.Buffer
			b.Grow(n + bytes.MinRead)
			_, err = io.Copy(&b, io.LimitReader(r, int64(n)+1))
			out = b.Bytes()
		}
	case zstdCodec:
		var d *zstd.Decoder
		if d, err = zstdReader(); err == nil {
			out, err = d.DecodeAll(src, make([]byte, 0, n))
		}
	case lz4Raw:
		out = make([]byte, n)
		var k int
		if n > 0 {
			k, err = lz4.UncompressBlock(src, out)
		}
		out = out[:max(k, 0)]
	default:
		return nil, unsupported(codec)
	}
	if err == nil && len(out) != n {
		err = fmt.Errorf("unpacks to %d bytes, %d are stated", len(out), n)
	}
	return out, err
}

// hybrid reads n numbers of the given width in bits from runs of equal ones and groups of packed ones.
func hybrid(src []byte, width, n int, f func(v uint32, times int) error) error {
	size := (width + 7) / 8
	for n > 0 {
		h, k := binary.Uvarint(src)
		if k <= 0 {
			return errShort
		}
		src = src[k:]
		if h&1 == 0 {
			if len(src) < size {
				return errShort
			}
			var b [4]byte
			copy(b[:], src[:size])
			src = src[size:]
			times := n
			if h>>1 < uint64(n) {
				times = int(h >> 1)
			}
			if times == 0 {
				return errors.New("an empty run")
			}
			if err := f(binary.LittleEndian.Uint32(b[:]), times); err != nil {
				return err
			}
			n -= times
			continue
		}
		groups := h >> 1
		if groups == 0 {
			return errors.New("an empty run")
		}
		m := n
		if groups < uint64(n) { // compared before it is multiplied
			m = min(n, int(groups)*8)
		}
		if (m*width+7)/8 > len(src) {
			return errShort
		}
		for i := range m {
			if err := f(uint32(packed(src, i, width)), 1); err != nil {
				return err
			}
		}
		n -= m
		if whole := groups * uint64(width); whole < uint64(len(src)) {
			src = src[whole:]
		} else {
			src = nil
		}
	}
	return nil
}

// packed is number i of those that lie in src, width bits each, from the lowest bit on.
func packed(src []byte, i, width int) uint64 {
	var v uint64
	for got, bit := 0, i*width; got < width; {
		take := min(8-bit%8, width-got)
		v |= uint64(src[bit/8]>>(bit%8)&(1<<take-1)) << got
		got, bit = got+take, bit+take
	}
	return v
}

// deltas reads n numbers of DELTA_BINARY_PACKED, and returns what lies behind them.
func deltas(src []byte, n int) (out []int64, rest []byte, err error) {
	var head [3]uint64
	for i := range head {
		v, k := binary.Uvarint(src)
		if k <= 0 {
			return nil, nil, errShort
		}
		head[i], src = v, src[k:]
	}
	first, k := binary.Varint(src)
	if k <= 0 {
		return nil, nil, errShort
	}
	src = src[k:]
	block, minis, total := head[0], head[1], head[2]
	if total != uint64(n) {
		return nil, nil, fmt.Errorf("%d numbers where %d are expected", total, n)
	}
	if minis == 0 || minis > 1<<10 || block == 0 || block > 1<<20 || block%minis != 0 || block/minis%8 != 0 {
		return nil, nil, fmt.Errorf("blocks of %d numbers in %d parts", block, minis)
	}
	if n == 0 {
		return nil, src, nil
	}
	out = append(make([]int64, 0, n), first)
	per := int(block / minis)
	for len(out) < n {
		least, k := binary.Varint(src)
		if k <= 0 || len(src)-k < int(minis) {
			return nil, nil, errShort
		}
		widths := src[k : k+int(minis)]
		src = src[k+int(minis):]
		for _, w := range widths {
			if len(out) == n {
				break // parts that nothing is left for have no bytes
			}
			if w > 64 {
				return nil, nil, fmt.Errorf("numbers of %d bits", w)
			}
			size := per * int(w) / 8
			if size > len(src) {
				return nil, nil, errShort
			}
			for i := 0; i < per && len(out) < n; i++ {
				out = append(out, out[len(out)-1]+least+int64(packed(src, i, int(w))))
			}
			src = src[size:]
		}
	}
	return out, src, nil
}

// deltaLengths reads DELTA_LENGTH_BYTE_ARRAY: all lengths, then all bytes.
func deltaLengths(src []byte, n int) ([][]byte, error) {
	lengths, src, err := deltas(src, n)
	if err != nil {
		return nil, err
	}
	out := make([][]byte, n)
	for i, k := range lengths {
		if k < 0 || k > int64(len(src)) {
			return nil, fmt.Errorf("value %d has %d bytes, %d are left", i, k, len(src))
		}
		out[i], src = src[:k:k], src[k:]
	}
	return out, nil
}

// deltaStrings reads DELTA_BYTE_ARRAY: how much of the value before each one begins with, and the rest of it. What
// comes out is bounded, because little can stand for much.
func deltaStrings(src []byte, n int) ([][]byte, error) {
	prefixes, src, err := deltas(src, n)
	if err != nil {
		return nil, err
	}
	out, err := deltaLengths(src, n)
	if err != nil {
		return nil, err
	}
	var before []byte
	total := int64(0)
	for i, k := range prefixes {
		if k < 0 || k > int64(len(before)) {
			return nil, fmt.Errorf("value %d begins with %d bytes of one of %d", i, k, len(before))
		}
		if k > 0 {
			if total += k + int64(len(out[i])); total > MaxPage {
				return nil, fmt.Errorf("the values take more than %d MiB", MaxPage>>20)
			}
			out[i] = append(append(make([]byte, 0, int(k)+len(out[i])), before[:k]...), out[i]...)
		}
		before = out[i]
	}
	return out, nil
}
