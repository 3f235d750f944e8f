package image

import "encoding/binary"

// checkTIFF looks at the first directory for tile sizes, from which the TIFF decoder derives how much it
// may decompress at once: tiles far larger than the picture are refused here. It reads at most 512
// entries and leaves every other judgement to the decoder.
func checkTIFF(src []byte) *BadImage {
	if len(src) < 8 {
		return bad(ReasonTruncated, "%d bytes", len(src))
	}
	var order binary.ByteOrder = binary.LittleEndian
	if src[0] == 'M' {
		order = binary.BigEndian
	}
	off := uint64(order.Uint32(src[4:]))
	if off+2 > uint64(len(src)) {
		return bad(ReasonTruncated, "directory at %d after the end", off)
	}
	n := min(int(order.Uint16(src[off:])), 512)
	b := src[off+2:]
	tile := [2]uint64{1, 1}
	for i := 0; i < n && len(b) >= 12; i, b = i+1, b[12:] {
		tag := order.Uint16(b)
		if tag != 322 && tag != 323 { // TileWidth, TileLength
			continue
		}
		v := uint64(order.Uint32(b[8:]))
		if order.Uint16(b[2:]) == 3 {
			v = uint64(order.Uint16(b[8:]))
		}
		tile[tag-322] = v
	}
	if tile[0] > 1<<14 || tile[1] > 1<<14 || tile[0]*tile[1] > 1<<24 {
		return bad(ReasonTooLarge, "tiles of %dx%d", tile[0], tile[1])
	}
	return nil
}
