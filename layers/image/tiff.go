package image

import (
	"bytes"
	"fmt"
)

// tiffPicture is the first picture of a TIFF file: strips or tiles of samples, which may be packed in many ways. Every
// number in it has been checked against the others and against the length of the file.
//
// golang.org/x/image/tiff, which is not used, reads part of this: no JPEG, no CMYK, no planes, no 2 or 4 bits, no BigTIFF; planes
// it takes for damage.
type tiffPicture struct {
	*tiffDir
	src            []byte
	w, h           int
	bits           int // of a sample: 1, 2, 4, 8 or 16
	samples        int // of a pixel, those that are not a colour included
	compression    uint64
	photometric    uint64
	predictor      bool // rows hold differences
	reversed       bool // bits of each byte run from the lowest
	planar         bool // a plane per sample
	premultiplied  bool
	palette        []byte // RGB
	tables         []byte // JPEG's, without its start and end
	offsets        uint16 // the tags of the blocks' places
	counts         uint16
	blockW, blockH int
	across, down   int
}

// Values of the Compression tag.
const (
	tiffNone       = 1
	tiffGroup3     = 3
	tiffGroup4     = 4
	tiffLZW        = 5
	tiffJPEG       = 7
	tiffDeflate    = 8
	tiffPackBits   = 32773
	tiffDeflateOld = 32946
	tiffZstd       = 50000
)

// Values of the PhotometricInterpretation tag.
const (
	whiteIsZero = 0
	blackIsZero = 1
	rgbColour   = 2
	paletted    = 3
	separated   = 5
	yCbCr       = 6
)

// What files use and this reader does not read, by its name.
var (
	tiffCompressions = map[uint64]string{2: "fax compression without line ends (CCITT RLE)", 6: "old-style JPEG compression", 32766: "NeXT compression",
		32771: "padded fax compression", 32809: "ThunderScan compression", 33003: "JPEG 2000 compression", 33005: "JPEG 2000 compression", 34661: "JBIG compression",
		34676: "SGI LogLuv compression", 34677: "SGI LogLuv compression", 34712: "JPEG 2000 compression", 34887: "LERC compression", 34925: "LZMA compression",
		50001: "WebP compression", 50002: "JPEG XL compression"}
	tiffColours = map[uint64]string{4: "a transparency mask as its picture", 8: "CIE L*a*b* colours", 9: "ICC L*a*b* colours", 10: "ITU L*a*b* colours",
		32803: "a camera's raw samples", 34892: "a camera's raw samples", 32844: "LogL samples", 32845: "LogLuv samples"}
	colourNames = map[uint64]string{whiteIsZero: "grey", blackIsZero: "grey", rgbColour: "RGB", paletted: "palette", separated: "CMYK", yCbCr: "YCbCr"}
)

// notTIFF says which property of a file is not read, and what helps.
func notTIFF(format string, args ...any) *BadImage {
	return bad(ReasonUnsupported, "TIFF with %s is not read: save it as JPEG, PNG or plain 8-bit RGB TIFF", fmt.Sprintf(format, args...))
}

// readTIFF reads the directory of the first picture. Width and height are set as soon as they are known.
func readTIFF(src []byte, info *Info) (*tiffPicture, *BadImage) {
	d, b := readTIFFDir(src)
	if b != nil {
		return nil, b
	}
	w, h := d.first(tagWidth, 0), d.first(tagHeight, 0)
	if w == 0 || h == 0 || w > 1<<31-1 || h > 1<<31-1 {
		return nil, bad(ReasonCorrupt, "size %dx%d", w, h)
	}
	info.W, info.H = int(w), int(h)
	if o := d.first(tagOrientation, 1); o >= 1 && o <= 8 {
		info.Orientation = int(o)
	}
	t := &tiffPicture{tiffDir: d, src: src, w: int(w), h: int(h), compression: d.first(tagCompression, tiffNone), photometric: d.first(tagPhotometric, whiteIsZero)}
	for _, read := range []func() *BadImage{t.readPacking, t.readColours, t.readBlocks} {
		b := read()
		if t.cut != 0 {
			return nil, bad(ReasonTruncated, "values of tag %d are no whole numbers or lie after the end, %d", t.cut, len(src))
		}
		if b != nil {
			return nil, b
		}
	}
	return t, nil
}

// readPacking reads how samples are packed.
func (t *tiffPicture) readPacking() *BadImage {
	t.reversed = t.first(tagFillOrder, 1) == 2
	predictor := t.first(tagPredictor, 1)
	packs := false // with a predictor, if that is asked for
	switch t.compression {
	case tiffNone, tiffPackBits, tiffGroup4:
	case tiffGroup3:
		if t.first(tagT4Options, 0)&1 != 0 {
			return notTIFF("two-dimensional Group 3 fax compression")
		}
	case tiffLZW, tiffDeflate, tiffDeflateOld, tiffZstd:
		packs = true
	case tiffJPEG:
		f := t.fields[tagJPEGTables]
		if f.n > 0 && f.data == nil {
			t.cut = tagJPEGTables
			return nil
		}
		t.tables = jpegSegments(f.data)
	default:
		name := tiffCompressions[t.compression]
		if name == "" {
			name = "an unknown compression"
		}
		return notTIFF("%s (%d)", name, t.compression)
	}
	if packs && predictor != 1 {
		if predictor != 2 {
			return notTIFF("predictor %d", predictor)
		}
		t.predictor = true
	}
	return nil
}

// readColours reads what the samples of a pixel are.
func (t *tiffPicture) readColours() *BadImage {
	colours := uint64(1)
	switch t.photometric {
	case whiteIsZero, blackIsZero, paletted:
	case rgbColour, yCbCr:
		colours = 3
	case separated:
		colours = 4
		if ink := t.first(tagInkSet, 1); ink != 1 {
			return notTIFF("inks other than CMYK")
		}
	default:
		name := tiffColours[t.photometric]
		if name == "" {
			name = "an unknown kind of colour"
		}
		return notTIFF("%s (%d)", name, t.photometric)
	}
	samples := t.first(tagSamples, max(1, t.count(tagBits)))
	if samples == 1 && t.photometric == yCbCr {
		t.photometric, colours = blackIsZero, 1
	}
	if samples < colours {
		return bad(ReasonCorrupt, "%d samples a pixel for %s", samples, colourNames[t.photometric])
	}
	if samples > colours+3 || samples > 2 && colours == 1 {
		return notTIFF("%d samples a pixel for %s", samples, colourNames[t.photometric])
	}
	t.samples = int(samples)
	bits := t.first(tagBits, 1)
	for i := range min(t.count(tagBits), samples) {
		if other := t.at(tagBits, i, bits); other != bits {
			return notTIFF("samples of %d and of %d bits", bits, other)
		}
	}
	for i := range min(t.count(tagSampleFormat), samples) {
		switch f := t.at(tagSampleFormat, i, 1); f {
		case 1, 4: // whole numbers, or nobody says
		case 2:
			return notTIFF("signed samples")
		case 3:
			return notTIFF("floating-point samples")
		default:
			return notTIFF("sample format %d", f)
		}
	}
	switch {
	case bits == 8, bits == 16, (bits == 1 || bits == 2 || bits == 4) && samples == 1:
	default:
		return notTIFF("%d samples a pixel of %d bits", samples, bits)
	}
	t.bits = int(bits)
	switch {
	case t.predictor && bits < 8:
		return notTIFF("a predictor for samples of %d bits", bits)
	case (t.compression == tiffGroup3 || t.compression == tiffGroup4) && (bits != 1 || samples != 1):
		return bad(ReasonCorrupt, "fax compression of %d samples of %d bits", samples, bits)
	case t.compression == tiffJPEG && bits != 8:
		return notTIFF("JPEG samples of %d bits", bits)
	case t.photometric == yCbCr && t.compression != tiffJPEG && (t.at(tagYCCSubsample, 0, 2) != 1 || t.at(tagYCCSubsample, 1, 2) != 1):
		return notTIFF("YCbCr colours at half their size that are not compressed as JPEG")
	case t.photometric == yCbCr && bits != 8:
		return notTIFF("YCbCr samples of %d bits", bits)
	}
	t.premultiplied = samples > colours && t.first(tagExtraSamples, 0) == 1 && t.photometric <= rgbColour
	t.planar = t.first(tagPlanar, 1) == 2 && samples > 1
	if t.photometric == paletted {
		if bits > 8 {
			return notTIFF("a palette for samples of %d bits", bits)
		}
		n := uint64(1) << bits
		if t.count(tagColorMap) < 3*n {
			return bad(ReasonCorrupt, "a palette of %d values for %d colours", t.count(tagColorMap), n)
		}
		t.palette = make([]byte, 0, 3*n)
		for i := range n {
			for c := range uint64(3) {
				t.palette = append(t.palette, byte(t.at(tagColorMap, c*n+i, 0)>>8))
			}
		}
	}
	return nil
}

// Limits of what the blocks of one picture may cost: a block however small takes a decoder, and a file may name the same
// bytes, or a tile far larger than the picture, again and again.
const (
	maxTIFFWork   = 1 << 30 // bytes to read, with blockWork for each block
	blockWork     = 4096
	maxTileSide   = 1 << 14
	maxTilePixels = 1 << 24
)

// readBlocks reads how the picture is cut.
func (t *tiffPicture) readBlocks() *BadImage {
	t.offsets, t.counts, t.blockW, t.across = tagStripOffsets, tagStripCounts, t.w, 1
	if rows := t.first(tagRowsPerStrip, 0); rows == 0 || rows > uint64(t.h) {
		t.blockH = t.h
	} else {
		t.blockH = int(rows)
	}
	if t.count(tagTileWidth) > 0 {
		w, h := t.first(tagTileWidth, 0), t.first(tagTileHeight, 0)
		if w == 0 || h == 0 {
			return bad(ReasonCorrupt, "tiles of %dx%d", w, h)
		}
		if w > maxTileSide || h > maxTileSide || w*h > maxTilePixels {
			return bad(ReasonTooLarge, "tiles of %dx%d", w, h)
		}
		t.blockW, t.blockH = int(w), int(h)
		if t.count(tagTileOffsets) > 0 { // some writers call the places of tiles those of strips
			t.offsets, t.counts = tagTileOffsets, tagTileCounts
		}
		t.across = (t.w + t.blockW - 1) / t.blockW
	}
	t.down = (t.h + t.blockH - 1) / t.blockH
	n := uint64(t.across) * uint64(t.down)
	if area, limit := n*uint64(t.blockW)*uint64(t.blockH), 4*uint64(t.w)*uint64(t.h)+maxTilePixels; area > limit {
		return bad(ReasonTooLarge, "%d tiles of %dx%d for a picture of %dx%d", n, t.blockW, t.blockH, t.w, t.h)
	}
	if t.planar {
		n *= uint64(t.samples)
	}
	if t.count(t.offsets) < n || (t.count(t.counts) < n && t.compression != tiffNone) {
		return bad(ReasonCorrupt, "%d places and %d lengths for %d strips or tiles", t.count(t.offsets), t.count(t.counts), n)
	}
	t.at(t.offsets, 0, 0) // notes that they are cut off
	work := uint64(0)
	for i := range n {
		if work += blockWork + uint64(len(t.tables)) + min(t.at(t.counts, i, 0), uint64(len(t.src))); work > maxTIFFWork || t.cut != 0 {
			break
		}
	}
	if work > maxTIFFWork {
		return bad(ReasonTooLarge, "%d strips or tiles of %d bytes and more in a file of %d", n, work, len(t.src))
	}
	return nil
}

// rowBytes is the length of a block's row, of one plane if there are several.
func (t *tiffPicture) rowBytes() int {
	n := t.samples
	if t.planar {
		n = 1
	}
	return (t.blockW*n*t.bits + 7) / 8
}

// cost is what decoding allocates: the picture as RGB, and a block as it is packed, unpacked and spread to bytes.
func (t *tiffPicture) cost() int64 {
	block := int64(t.blockW) * int64(min(t.blockH, t.h))
	n := rgbBytes*int64(t.w)*int64(t.h) + int64(t.rowBytes())*int64(min(t.blockH, t.h))*int64(t.planes())
	if t.compression == tiffJPEG {
		n += block * int64(t.samples) * 6 // coefficients, if it is progressive
	}
	if t.compression == tiffZstd {
		n += 2 * zstdWindow
	}
	return n
}

func (t *tiffPicture) planes() int {
	if t.planar {
		return t.samples
	}
	return 1
}

func (p *Pipeline) processTIFF(dst [][]byte, src []byte, info *Info) *BadImage {
	t, b := readTIFF(src, info)
	if b != nil {
		return b
	}
	if b := p.plan(info); b != nil {
		return b
	}
	if b := p.hold(t.cost()); b != nil {
		return b
	}
	m := &packed{w: t.w, h: t.h, stride: 3 * t.w}
	p.rgb = grow(p.rgb, m.stride*m.h)
	m.pix = p.rgb
	if b := t.unpack(m); b != nil {
		return b
	}
	p.drawPacked(dst, m)
	return nil
}

// unpack decodes all blocks to RGB.
func (t *tiffPicture) unpack(m *packed) *BadImage {
	r := tiffReader{tiffPicture: t}
	defer r.close()
	rowBytes := t.rowBytes()
	blocks := make([][]byte, t.planes())
	row := make([]byte, t.blockW*t.samples)
	for y0, at := 0, 0; y0 < t.h; y0 += t.blockH {
		rows := min(t.blockH, t.h-y0)
		for x0 := 0; x0 < t.w; x0, at = x0+t.blockW, at+1 {
			for i := range blocks {
				var b *BadImage
				if blocks[i], b = r.block(blocks[i], at+i*t.across*t.down, rows, rowBytes); b != nil {
					return b
				}
			}
			n := min(t.blockW, t.w-x0)
			for y := range rows {
				for i, block := range blocks {
					t.spread(row[i:], block[y*rowBytes:][:rowBytes], n)
				}
				t.colour(m.pix[(y0+y)*m.stride+3*x0:][:3*n], row)
			}
		}
	}
	return nil
}

// spread writes the samples of n pixels as bytes. Of planes it writes one, every t.samples bytes. Grey of few bits is
// scaled to 255; of 16 bits the high byte counts.
func (t *tiffPicture) spread(dst, src []byte, n int) {
	step := 1
	if t.planar {
		step = t.samples
	} else {
		n *= t.samples
	}
	switch t.bits {
	case 8:
		for i := range n {
			dst[i*step] = src[i]
		}
	case 16:
		high := 0
		if t.order.Uint16([]byte{0, 1}) != 1 {
			high = 1
		}
		for i := range n {
			dst[i*step] = src[2*i+high]
		}
	default:
		mask, scale := byte(1<<t.bits-1), byte(1)
		if t.photometric != paletted {
			scale = 255 / mask
		}
		for i := range n {
			bit := i * t.bits
			dst[i*step] = src[bit/8] >> (8 - t.bits - bit%8) & mask * scale
		}
	}
}

// colour converts a row of samples to RGB.
func (t *tiffPicture) colour(dst, row []byte) {
	k := t.samples
	for i := range len(dst) / 3 {
		d, s := dst[3*i:][:3], row[i*k:][:k]
		switch t.photometric {
		case whiteIsZero, blackIsZero:
			v := s[0]
			if t.premultiplied {
				v = unmultiply(v, s[1])
			}
			if t.photometric == whiteIsZero {
				v = ^v
			}
			d[0], d[1], d[2] = v, v, v
		case rgbColour:
			if t.premultiplied {
				d[0], d[1], d[2] = unmultiply(s[0], s[3]), unmultiply(s[1], s[3]), unmultiply(s[2], s[3])
			} else {
				copy(d, s)
			}
		case paletted:
			copy(d, t.palette[3*int(s[0]):][:3])
		case separated:
			cmyk(d, s[0], s[1], s[2], s[3])
		case yCbCr:
			yccToRGB(d, s[:1], s[1:2], s[2:3])
		}
	}
}

// jpegSegments returns what stands between the start and the end of a JPEG stream of tables.
func jpegSegments(b []byte) []byte {
	return bytes.TrimSuffix(bytes.TrimPrefix(b, []byte{0xFF, 0xD8}), []byte{0xFF, 0xD9})
}
