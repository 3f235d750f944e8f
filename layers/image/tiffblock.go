package image

import (
	"bytes"
	"compress/zlib"
	"errors"
	goimage "image"
	"image/jpeg"
	"io"
	"math/bits"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/image/ccitt"
	"golang.org/x/image/tiff/lzw"
)

// zstdWindow bounds what a Zstandard frame makes its decoder keep. Every encoder's default is at most this.
const zstdWindow = 8 << 20

// tiffReader unpacks the blocks of one picture, with decoders that are made once.
type tiffReader struct {
	*tiffPicture
	deflate io.ReadCloser
	zstd    *zstd.Decoder
	swapped []byte // a block with its bits in the usual order
	scans   int64  // pixels of progressive scans so far
}

func (r *tiffReader) close() {
	if r.zstd != nil {
		r.zstd.Close()
	}
}

// block returns so many rows of block i, in buf if that is large enough.
func (r *tiffReader) block(buf []byte, i, rows, rowBytes int) ([]byte, *BadImage) {
	size, need := uint64(len(r.src)), rows*rowBytes
	offset, n := r.at(r.offsets, uint64(i), 0), r.at(r.counts, uint64(i), 0)
	if r.compression == tiffNone {
		n = uint64(need) // which writers get wrong, and nothing else needs
	}
	if offset > size || n > size-offset || n == 0 {
		return buf, bad(ReasonTruncated, "strip or tile %d of %d bytes at %d, the file has %d", i, n, offset, size)
	}
	raw := r.src[offset:][:n]
	if r.reversed && r.compression != tiffGroup3 && r.compression != tiffGroup4 && r.compression != tiffJPEG {
		r.swapped = grow(r.swapped, len(raw))
		for j, v := range raw {
			r.swapped[j] = bits.Reverse8(v)
		}
		raw = r.swapped
	}
	buf = grow(buf, need)
	var err error
	switch r.compression {
	case tiffNone:
		copy(buf, raw)
	case tiffPackBits:
		err = packBits(buf, raw)
	case tiffGroup3, tiffGroup4:
		err = r.fax(buf, raw, rows)
	case tiffLZW:
		if len(raw) >= 2 && raw[0] == 0 && raw[1]&1 != 0 {
			return buf, notTIFF("LZW compression of the kind before 1992")
		}
		z := lzw.NewReader(bytes.NewReader(raw), lzw.MSB, 8)
		_, err = io.ReadFull(z, buf)
		z.Close()
	case tiffDeflate, tiffDeflateOld:
		err = r.inflate(buf, raw)
	case tiffZstd:
		err = r.unzstd(buf, raw)
	case tiffJPEG:
		return buf, r.jpeg(buf, raw, rows)
	}
	if errors.Is(err, io.EOF) { // nothing, or less than the rows take
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return buf, badDecode(err)
	}
	if r.predictor {
		r.addUp(buf, rows, rowBytes)
	}
	return buf, nil
}

func (r *tiffReader) fax(buf, raw []byte, rows int) error {
	order, kind := ccitt.MSB, ccitt.Group3
	if r.reversed {
		order = ccitt.LSB
	}
	if r.compression == tiffGroup4 {
		kind = ccitt.Group4
	}
	// Inverted, so that runs of white are zeros, as the format has it whatever the zeros mean.
	_, err := io.ReadFull(ccitt.NewReader(bytes.NewReader(raw), order, kind, r.blockW, rows, &ccitt.Options{Invert: true}), buf)
	return err
}

func (r *tiffReader) inflate(buf, raw []byte) (err error) {
	if r.deflate == nil {
		r.deflate, err = zlib.NewReader(bytes.NewReader(raw))
	} else {
		err = r.deflate.(zlib.Resetter).Reset(bytes.NewReader(raw), nil)
	}
	if err == nil {
		_, err = io.ReadFull(r.deflate, buf)
	}
	return err
}

func (r *tiffReader) unzstd(buf, raw []byte) (err error) {
	if r.zstd == nil {
		r.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(zstdWindow))
		if err != nil {
			return err
		}
	}
	if err := r.zstd.Reset(bytes.NewReader(raw)); err != nil {
		return err
	}
	_, err = io.ReadFull(r.zstd, buf)
	return err
}

// packBits unpacks Apple's run lengths until dst is full.
func packBits(dst, src []byte) error {
	for len(dst) > 0 {
		if len(src) < 2 {
			return io.ErrUnexpectedEOF
		}
		n := int(int8(src[0]))
		src = src[1:]
		switch {
		case n >= 0:
			n = min(n+1, len(dst))
			if n > len(src) {
				return io.ErrUnexpectedEOF
			}
			copy(dst[:n], src)
			src = src[n:]
		case n == -128:
			continue
		default:
			n = min(1-n, len(dst))
			for i := range n {
				dst[i] = src[0]
			}
			src = src[1:]
		}
		dst = dst[n:]
	}
	return nil
}

// addUp makes samples of the differences that a predictor leaves.
func (r *tiffReader) addUp(buf []byte, rows, rowBytes int) {
	step := r.samples
	if r.planar {
		step = 1
	}
	for y := range rows {
		row := buf[y*rowBytes:][:rowBytes]
		if r.bits == 8 {
			for i := step; i < len(row); i++ {
				row[i] += row[i-step]
			}
			continue
		}
		for i := 2 * step; i+1 < len(row); i += 2 {
			r.order.PutUint16(row[i:], r.order.Uint16(row[i:])+r.order.Uint16(row[i-2*step:]))
		}
	}
}

// jpeg decodes a block that is a JPEG stream to its samples, which are not converted: what their colours are is the
// directory's to say.
func (r *tiffReader) jpeg(dst, raw []byte, rows int) *BadImage {
	n := r.samples
	if r.planar {
		n = 1
	}
	src := r.jpegStream(raw, n)
	head, b := readJPEGHead(src)
	if b != nil {
		return b
	}
	if head.w != r.blockW || head.h < rows || head.h > r.blockH || head.components != n {
		return bad(ReasonCorrupt, "a JPEG stream of %dx%d with %d components in a strip or tile of %dx%d with %d", head.w, head.h, head.components, r.blockW, rows, n)
	}
	if r.scans += int64(head.scans) * int64(head.w) * int64(head.h); head.scans > maxScans || r.scans > maxScanWork {
		return bad(ReasonTooLarge, "%d scans of %dx%d pixels", head.scans, head.w, head.h)
	}
	if head.noQuant {
		return bad(ReasonCorrupt, "a quantisation table is missing")
	}
	m, err := jpeg.Decode(bytes.NewReader(src))
	if err != nil {
		return badDecode(err)
	}
	w := r.blockW
	switch m := m.(type) {
	case *goimage.Gray:
		for y := range rows {
			copy(dst[y*w:][:w], m.Pix[y*m.Stride:])
		}
	case *goimage.YCbCr:
		pl, ok := planesOf(m)
		if !ok {
			return notTIFF("JPEG compression with sampling %v", m.SubsampleRatio)
		}
		for c, s := range []plane{pl.y, pl.cb, pl.cr} {
			up := [2]int{1, 1}
			if c > 0 {
				up = pl.up
			}
			for y := range rows {
				s.widen(dst[3*y*w+c:], 3, w, y, up)
			}
		}
	case *goimage.CMYK: // inverted by the decoder, because Adobe's files are
		for y := range rows {
			for x, v := range m.Pix[y*m.Stride:][:4*w] {
				dst[4*y*w+x] = ^v
			}
		}
	default:
		return bad(ReasonCorrupt, "a JPEG stream of %T in a strip or tile", m)
	}
	return nil
}

// jpegStream makes a file of a block's stream and the tables that all blocks share. What application markers say of
// colours is not for a TIFF reader; the ones written here make the decoder leave the samples as they are.
func (r *tiffReader) jpegStream(raw []byte, components int) []byte {
	out := append(make([]byte, 0, len(r.tables)+len(raw)+32), 0xFF, 0xD8)
	if components == 4 {
		out = append(out, adobeInks...)
	} else {
		out = append(out, "\xFF\xE0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"...)
	}
	out = append(out, r.tables...)
	raw = bytes.TrimPrefix(raw, []byte{0xFF, 0xD8})
	for len(raw) >= 4 && raw[0] == 0xFF && raw[1] != 0xDA {
		n := 2 + int(raw[2])<<8 + int(raw[3])
		if raw[1] == 0xFF || n > len(raw) {
			break // filling, or damage: the decoder's
		}
		if raw[1]&0xF0 != 0xE0 {
			out = append(out, raw[:n]...)
		}
		raw = raw[n:]
	}
	return append(out, raw...)
}

// widen writes row y of a plane at full size, every step bytes of dst. Planes at half the size are interpolated as
// libjpeg does: three parts of the nearest sample, one of the next.
func (s *plane) widen(dst []byte, step, w, y int, up [2]int) {
	near, far := s.pix[y/up[1]*s.stride:], []byte(nil)
	if other := y/2 + 2*(y&1) - 1; up[1] == 2 && other >= 0 && other < s.h {
		far = s.pix[other*s.stride:]
	} else {
		far = near
	}
	at := func(x int) int { return 3*int(near[x]) + int(far[x]) }
	for x := range w {
		v := at(x / up[0])
		if other := x/2 + 2*(x&1) - 1; up[0] == 2 && other >= 0 && other < s.w {
			v = (3*v + at(other) + 8 - x&1) >> 4
		} else {
			v = (v + 2) >> 2
		}
		dst[x*step] = byte(v)
	}
}
