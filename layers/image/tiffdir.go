package image

import (
	"encoding/binary"
)

// Tags of a TIFF directory that matter here.
const (
	tagWidth        = 256
	tagHeight       = 257
	tagBits         = 258
	tagCompression  = 259
	tagPhotometric  = 262
	tagFillOrder    = 266
	tagStripOffsets = 273
	tagOrientation  = 274
	tagSamples      = 277
	tagRowsPerStrip = 278
	tagStripCounts  = 279
	tagPlanar       = 284
	tagT4Options    = 292
	tagPredictor    = 317
	tagColorMap     = 320
	tagTileWidth    = 322
	tagTileHeight   = 323
	tagTileOffsets  = 324
	tagTileCounts   = 325
	tagInkSet       = 332
	tagExtraSamples = 338
	tagSampleFormat = 339
	tagJPEGTables   = 347
	tagYCCSubsample = 530
)

const (
	bigTIFFMagic   = 43
	maxTIFFEntries = 4096
)

// tiffDir is the first directory of a TIFF file, classic or BigTIFF, of either byte order. Its values stay in the file.
type tiffDir struct {
	order  binary.ByteOrder
	fields map[uint16]tiffField
	cut    uint16 // a tag whose values were asked for and lie beyond the end of the file; 0: none
}

// tiffField is one entry; data is nil if its values are not in the file or not whole numbers.
type tiffField struct {
	size uint64 // of a value
	n    uint64
	data []byte
}

// tiffSizes is the size of a value by its type. Only whole numbers matter, and bytes.
var tiffSizes = map[uint16]uint64{1: 1, 3: 2, 4: 4, 6: 1, 7: 1, 8: 2, 9: 4, 13: 4, 16: 8, 18: 8}

// readTIFFDir reads the entries of the first directory. Nothing is allocated for what they claim.
func readTIFFDir(src []byte) (*tiffDir, *BadImage) {
	d := &tiffDir{order: binary.LittleEndian, fields: map[uint16]tiffField{}}
	if src[0] == 'M' {
		d.order = binary.BigEndian
	}
	size := uint64(len(src))
	width, countSize := uint64(4), uint64(2) // of an offset, and of the number of entries
	if d.order.Uint16(src[2:]) == bigTIFFMagic {
		width, countSize = 8, 8
	}
	if size < 2*width {
		return nil, bad(ReasonTruncated, "TIFF of %d bytes", size)
	}
	if width == 8 && d.order.Uint16(src[4:]) != 8 {
		return nil, bad(ReasonCorrupt, "BigTIFF with offsets of %d bytes", d.order.Uint16(src[4:]))
	}
	at := d.word(src[width:], width)
	if at > size || countSize > size-at {
		return nil, bad(ReasonTruncated, "the directory at %d lies after the end, %d", at, size)
	}
	n := d.word(src[at:], countSize)
	if n > maxTIFFEntries {
		return nil, bad(ReasonCorrupt, "a directory of %d entries", n)
	}
	rest := src[at+countSize:]
	for entry := 4 + 2*width; n > 0; n, rest = n-1, rest[entry:] {
		if uint64(len(rest)) < entry {
			return nil, bad(ReasonTruncated, "the directory at %d goes on after the end, %d", at, size)
		}
		f := tiffField{size: tiffSizes[d.order.Uint16(rest[2:])], n: d.word(rest[4:], width)}
		switch value := rest[4+width:][:width]; {
		case f.size == 0 || f.n > size:
		case f.size*f.n <= width:
			f.data = value[:f.size*f.n]
		default:
			if from := d.word(value, width); from <= size && f.size*f.n <= size-from {
				f.data = src[from:][:f.size*f.n]
			}
		}
		tag := d.order.Uint16(rest)
		if _, twice := d.fields[tag]; !twice {
			d.fields[tag] = f
		}
	}
	return d, nil
}

// word reads a number of 1, 2, 4 or 8 bytes.
func (d *tiffDir) word(b []byte, size uint64) uint64 {
	switch size {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(d.order.Uint16(b))
	case 4:
		return uint64(d.order.Uint32(b))
	}
	return d.order.Uint64(b)
}

// count is how many values a tag has, 0 if it is absent.
func (d *tiffDir) count(tag uint16) uint64 { return d.fields[tag].n }

// at returns value i of a tag, otherwise if there is none. That a value should be there and is not is kept for later.
func (d *tiffDir) at(tag uint16, i, otherwise uint64) uint64 {
	f := d.fields[tag]
	if i >= f.n {
		return otherwise
	}
	if f.data == nil {
		d.cut = tag
		return otherwise
	}
	return d.word(f.data[i*f.size:], f.size)
}

// first is the only value of a tag.
func (d *tiffDir) first(tag uint16, otherwise uint64) uint64 { return d.at(tag, 0, otherwise) }
