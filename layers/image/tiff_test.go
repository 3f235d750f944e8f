package image

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	goimage "image"
	"image/jpeg"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

// tiffOf writes a TIFF of one picture from LONG values; what does not fit into an entry follows the directory.
func tiffOf(tags map[uint16][]uint32, data []byte) []byte {
	le := binary.LittleEndian
	b := le.AppendUint32([]byte("II*\x00"), uint32(8+len(data)))
	b = append(b, data...)
	b = le.AppendUint16(b, uint16(len(tags)))
	end := uint32(len(b) + 12*len(tags) + 4)
	var more []byte
	for tag := range uint16(1000) {
		v, ok := tags[tag]
		if !ok {
			continue
		}
		b = le.AppendUint16(b, tag)
		b = le.AppendUint16(b, 4)
		b = le.AppendUint32(b, uint32(len(v)))
		if len(v) == 1 {
			b = le.AppendUint32(b, v[0])
			continue
		}
		b = le.AppendUint32(b, end+uint32(len(more)))
		for _, x := range v {
			more = le.AppendUint32(more, x)
		}
	}
	return append(le.AppendUint32(b, 0), more...)
}

func repeated(v uint32, n int) []uint32 {
	out := make([]uint32, n)
	for i := range out {
		out[i] = v
	}
	return out
}

// What an unsupported file has is named, and what helps.
func TestTIFFSaysWhatIsNotRead(t *testing.T) {
	for file, want := range map[string]string{
		"jpeg-old.tiff": "old-style JPEG compression (6)", "lzma.tiff": "LZMA compression (34925)", "webp-in.tiff": "WebP compression (50001)",
		"fax-rle.tiff": "CCITT RLE", "fax3-2d.tiff": "two-dimensional Group 3", "float.tiff": "floating-point samples", "int32.tiff": "signed",
		"signed.tiff": "signed", "bits12.tiff": "12 bits", "lab.tiff": "CIE L*a*b*", "bands.tiff": "5 samples a pixel for grey",
		"inks.tiff": "inks other than CMYK", "ycc420.tiff": "not compressed as JPEG",
	} {
		_, _, err := process(t, pipeline(t, Imagenet(), Go), readFile(t, "odd/"+file))
		wantBad(t, err, ReasonUnsupported)
		if !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "save it as") {
			t.Errorf("%s: %v, want %q and what to do", file, err, want)
		}
	}
}

// TIFF's own orientation is applied as PIL does it, once, whatever is to be done with EXIF's.
func TestTIFFOrientation(t *testing.T) {
	src := readFile(t, "odd/turned.tiff")
	var all [][]byte
	for _, apply := range []bool{false, true} {
		got, info, err := process(t, pipeline(t, Spec{Resize: 16, CropH: 16, CropW: 16, ApplyEXIF: apply}, Go), src)
		if err != nil || info.Orientation != 6 {
			t.Fatalf("%+v, %v", info, err)
		}
		all = append(all, got)
	}
	if !bytes.Equal(all[0], all[1]) {
		t.Error("the orientation depends on what is done with EXIF")
	}
}

// Files that name the same bytes again and again, or ask for more than they hold, are refused at once and cost nothing.
func TestTIFFTraps(t *testing.T) {
	const many = 400_000
	picture := func(w, h, samples, compression, photometric uint32) map[uint16][]uint32 {
		return map[uint16][]uint32{tagWidth: {w}, tagHeight: {h}, tagBits: repeated(8, int(samples)), tagCompression: {compression}, tagPhotometric: {photometric},
			tagSamples: {samples}, tagStripOffsets: {8}, tagStripCounts: {64}}
	}
	set := func(m map[uint16][]uint32, more map[uint16][]uint32) map[uint16][]uint32 {
		for k, v := range more {
			m[k] = v
		}
		return m
	}
	data := bytes.Repeat([]byte{0xA5}, 1<<20)
	for name, c := range map[string]struct {
		src    []byte
		reason string
	}{
		"strips of one row": {tiffOf(set(picture(1, many, 1, tiffDeflate, blackIsZero), map[uint16][]uint32{tagRowsPerStrip: {1}, tagStripOffsets: repeated(8, many), tagStripCounts: repeated(64, many)}), data), ReasonTooLarge},
		"the same strip":    {tiffOf(set(picture(16, 2000, 1, tiffPackBits, blackIsZero), map[uint16][]uint32{tagRowsPerStrip: {1}, tagStripOffsets: repeated(8, 2000), tagStripCounts: repeated(1<<20, 2000)}), data), ReasonTooLarge},
		"wide tiles":        {tiffOf(set(picture(64, 64, 1, tiffNone, blackIsZero), map[uint16][]uint32{tagTileWidth: {1 << 20}, tagTileHeight: {1 << 20}}), data), ReasonTooLarge},
		"tall tiles":        {tiffOf(set(picture(1<<20, 1, 1, tiffNone, blackIsZero), map[uint16][]uint32{tagTileWidth: {1}, tagTileHeight: {1 << 14}}), data), ReasonTooLarge},
		"more samples":      {tiffOf(set(picture(64, 64, 3, tiffNone, rgbColour), map[uint16][]uint32{tagSamples: {1 << 30}}), data), ReasonUnsupported},
		"large planes":      {tiffOf(set(picture(7000, 7000, 4, tiffDeflate, separated), map[uint16][]uint32{tagBits: repeated(16, 4), tagPlanar: {2}, tagStripOffsets: repeated(8, 4), tagStripCounts: repeated(64, 4)}), data), ReasonCorrupt},
		"values far away":   {tiffOf(set(picture(64, 64, 1, tiffNone, blackIsZero), map[uint16][]uint32{tagRowsPerStrip: {8}, tagStripOffsets: repeated(8, 8)}), data), ReasonTruncated},
	} {
		if c.reason == ReasonTruncated {
			c.src = c.src[:len(c.src)-4]
		}
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			_, _, err := process(t, pipeline(t, Imagenet(), Go), c.src)
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			wantBad(t, err, c.reason)
			if n := after.TotalAlloc - before.TotalAlloc; n > maxDecode || took > 5*time.Second {
				t.Errorf("it took %v and %d MiB", took, n>>20)
			}
			t.Log(err, took)
		})
	}
}

// What decoding allocates stays below what its cost says, for every way of packing.
func TestTIFFCost(t *testing.T) {
	const side = 1200
	rgb, grey := make([]byte, 3*side*side), make([]byte, side*side)
	for i := range rgb {
		rgb[i] = byte(i * i >> 9)
	}
	var deflated, frame, stream, flat bytes.Buffer
	z := zlib.NewWriter(&deflated)
	zs, err := zstd.NewWriter(&frame)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []io.WriteCloser{z, zs} {
		if _, err := w.Write(rgb); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := jpeg.Encode(&stream, goimage.NewYCbCr(goimage.Rect(0, 0, side, side), goimage.YCbCrSubsampleRatio420), nil); err != nil {
		t.Fatal(err)
	}
	if err := jpeg.Encode(&flat, &goimage.Gray{Pix: grey, Stride: side, Rect: goimage.Rect(0, 0, side, side)}, nil); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		compression, photometric, samples, planar uint32
		blocks                                    [][]byte
	}{
		"plain": {tiffNone, rgbColour, 3, 1, [][]byte{rgb}}, "planes": {tiffNone, rgbColour, 3, 2, [][]byte{grey, grey, grey}}, "grey": {tiffNone, blackIsZero, 1, 1, [][]byte{grey}},
		"deflate": {tiffDeflate, rgbColour, 3, 1, [][]byte{deflated.Bytes()}}, "zstd": {tiffZstd, rgbColour, 3, 1, [][]byte{frame.Bytes()}},
		"jpeg": {tiffJPEG, yCbCr, 3, 1, [][]byte{stream.Bytes()}}, "jpeg planes": {tiffJPEG, rgbColour, 3, 2, [][]byte{flat.Bytes(), flat.Bytes(), flat.Bytes()}},
	} {
		var data []byte
		var offsets, counts []uint32
		for _, b := range c.blocks {
			offsets, counts = append(offsets, uint32(8+len(data))), append(counts, uint32(len(b)))
			data = append(data, b...)
		}
		src := tiffOf(map[uint16][]uint32{tagWidth: {side}, tagHeight: {side}, tagBits: repeated(8, int(c.samples)), tagCompression: {c.compression}, tagPhotometric: {c.photometric},
			tagSamples: {c.samples}, tagPlanar: {c.planar}, tagStripOffsets: offsets, tagStripCounts: counts}, data)
		var info Info
		pic, b := readTIFF(src, &info)
		if b != nil {
			t.Fatal(name, b)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		m := &packed{w: side, h: side, stride: 3 * side, pix: make([]byte, 3*side*side)}
		if b := pic.unpack(m); b != nil {
			t.Fatal(name, b)
		}
		runtime.ReadMemStats(&after)
		const decoders = 1 << 20 // their tables, and a stream with its tables in front
		if n := int64(after.TotalAlloc - before.TotalAlloc); n > pic.cost()+decoders {
			t.Errorf("%s: %d bytes were allocated, the cost says %d", name, n, pic.cost())
		}
	}
}

// Every sample of every kind is read from its own place: values of a ramp come back.
func TestTIFFRamp(t *testing.T) {
	for _, bits := range []uint32{1, 2, 4, 8, 16} {
		t.Run(fmt.Sprint(bits), func(t *testing.T) {
			const w = 32
			var row []byte
			top := 1<<bits - 1
			at := func(x int) int { return x * top / (w - 1) }
			acc, n := 0, uint32(0)
			for x := range w {
				if bits == 16 {
					row = binary.LittleEndian.AppendUint16(row, uint16(at(x)))
					continue
				}
				acc, n = acc<<bits|at(x), n+bits
				if n == 8 {
					row, acc, n = append(row, byte(acc)), 0, 0
				}
			}
			src := tiffOf(map[uint16][]uint32{tagWidth: {w}, tagHeight: {1}, tagBits: {bits}, tagPhotometric: {blackIsZero}, tagStripOffsets: {8}}, row)
			got, _, err := process(t, pipeline(t, Spec{CropW: w, CropH: 1, Exact: true}, Go), src)
			if err != nil {
				t.Fatal(err)
			}
			for x := range w {
				want := at(x) * 255 / top
				if bits == 16 {
					want = at(x) >> 8
				}
				if int(got[3*x]) != want {
					t.Errorf("pixel %d is %d, want %d", x, got[3*x], want)
				}
			}
		})
	}
}
