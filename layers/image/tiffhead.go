package image

import (
	"encoding/binary"
	"image"
)

// tiffHead is what the first directory says, as far as it concerns us.
type tiffHead struct {
	tile                     [2]uint64
	compression, photometric uint64
}

// readTIFFHead reads at most 512 entries of the first directory and leaves every judgement but one to the
// decoder: that derives from the tile sizes how much it may decompress at once, so tiles far larger than any
// picture's are refused here.
func readTIFFHead(src []byte) (tiffHead, *BadImage) {
	h := tiffHead{tile: [2]uint64{1, 1}}
	if len(src) < 8 {
		return h, bad(ReasonTruncated, "%d bytes", len(src))
	}
	var order binary.ByteOrder = binary.LittleEndian
	if src[0] == 'M' {
		order = binary.BigEndian
	}
	off := uint64(order.Uint32(src[4:]))
	if off+2 > uint64(len(src)) {
		return h, bad(ReasonTruncated, "directory at %d after the end", off)
	}
	n := min(int(order.Uint16(src[off:])), 512)
	b := src[off+2:]
	for i := 0; i < n && len(b) >= 12; i, b = i+1, b[12:] {
		v := uint64(order.Uint32(b[8:]))
		if order.Uint16(b[2:]) == 3 {
			v = uint64(order.Uint16(b[8:]))
		}
		switch tag := order.Uint16(b); tag {
		case 259:
			h.compression = v
		case 262:
			h.photometric = v
		case 322, 323: // TileWidth, TileLength
			h.tile[tag-322] = v
		}
	}
	if h.tile[0] > 1<<14 || h.tile[1] > 1<<14 || h.tile[0]*h.tile[1] > 1<<24 {
		return h, bad(ReasonTooLarge, "tiles of %dx%d", h.tile[0], h.tile[1])
	}
	return h, nil
}

// fixFax corrects what the decoder makes of fax-coded pictures whose zeros are black: the code's white runs
// are zeros by definition, whatever the photometric interpretation then calls them; it takes them for white.
func (h *tiffHead) fixFax(m image.Image) {
	const group3, group4, blackIsZero = 3, 4, 1
	g, ok := m.(*image.Gray)
	if !ok || h.photometric != blackIsZero || (h.compression != group3 && h.compression != group4) {
		return
	}
	for i := range g.Pix {
		g.Pix[i] = ^g.Pix[i]
	}
}
