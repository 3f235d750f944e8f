package parquet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/andybalholm/brotli"
	"github.com/golang/snappy"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go/format"
	"github.com/pierrec/lz4/v4"
)

func supported(codec format.CompressionCodec) bool {
	switch codec {
	case format.Uncompressed, format.Snappy, format.Gzip, format.Brotli, format.Zstd, format.Lz4Raw:
		return true
	}
	return false
}

// unpack fills dst with what src unpacks to, which must be exactly as long.
func unpack(codec format.CompressionCodec, dst, src []byte) (err error) {
	defer func() {
		if r := recover(); r != nil { // the codecs are not ours
			err = corrupt("%v: %v", codec, r)
		}
	}()
	switch codec {
	case format.Snappy:
		err = unpackSnappy(dst, src)
	case format.Gzip:
		var z *gzip.Reader
		if z, err = gzip.NewReader(bytes.NewReader(src)); err == nil {
			err = fill(dst, z)
		}
	case format.Brotli:
		err = fill(dst, brotli.NewReader(bytes.NewReader(src)))
	case format.Zstd:
		err = unpackZstd(dst, src)
	case format.Lz4Raw:
		var n int
		if n, err = lz4.UncompressBlock(src, dst); err == nil && n != len(dst) {
			err = fmt.Errorf("%d bytes, want %d", n, len(dst))
		}
	default:
		return unsupported("codec %v", codec) // chunks of it are refused before
	}
	if err != nil {
		return corrupt("%v: %w", codec, err)
	}
	return nil
}

func unpackSnappy(dst, src []byte) error {
	n, err := snappy.DecodedLen(src)
	if err != nil {
		return err
	}
	if n != len(dst) {
		return fmt.Errorf("%d bytes, want %d", n, len(dst))
	}
	_, err = snappy.Decode(dst, src)
	return err
}

// fill reads exactly dst from a stream.
func fill(dst []byte, r io.Reader) error {
	if _, err := io.ReadFull(r, dst); err != nil {
		return err
	}
	var more [1]byte
	if n, err := io.ReadFull(r, more[:]); n > 0 || !errors.Is(err, io.EOF) {
		return fmt.Errorf("more than %d bytes, or %w", len(dst), err)
	}
	return nil
}

// zstdDecoder is the process's one: many goroutines may use it at once, and it starts none.
var zstdDecoder = sync.OnceValues(func() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(MaxPage), zstd.WithDecodeAllCapLimit(true))
})

func unpackZstd(dst, src []byte) error {
	d, err := zstdDecoder()
	if err != nil {
		return err
	}
	out, err := d.DecodeAll(src, dst[:0:len(dst)])
	if err == nil && len(out) != len(dst) {
		err = fmt.Errorf("%d bytes, want %d", len(out), len(dst))
	}
	return err
}
