package image

import "encoding/binary"

// lookBits is how many bits are looked up at once. Longer codes are rare.
const lookBits = 10

// huffman is a decoding table (ITU-T T.81, annex F).
type huffman struct {
	ok   bool
	look [1 << lookBits]uint16 // length of the code << 8 | symbol; 0: longer than lookBits
	// whole holds, where a code and the value bits after it fit into lookBits, all that they mean: bits 0-7
	// their length, 8-15 how many zeros come first, 16-31 the value. End of block is a run of endRun.
	// Tables for AC coefficients only.
	whole [1 << lookBits]int32
	// Codes longer than lookBits: the first code of each length, left-aligned to 16 bits, the one after
	// the last, and the index of the symbol of the first.
	first, after [17]int32
	index        [17]int32
	symbols      [256]byte
}

const endRun = 128

func (t *huffman) build(counts *[16]byte, symbols []byte, ac bool) bool {
	t.ok = false
	clear(t.look[:])
	clear(t.whole[:])
	clear(t.symbols[:])
	copy(t.symbols[:], symbols)
	code, k := 0, 0
	for n := 1; n <= 16; n++ {
		c := int(counts[n-1])
		t.first[n] = int32(code << (16 - n))
		t.index[n] = int32(k)
		if code+c > 1<<n {
			return false
		}
		for range c {
			if n <= lookBits {
				lo := code << (lookBits - n)
				for i := range 1 << (lookBits - n) {
					t.look[lo+i] = uint16(n)<<8 | uint16(symbols[k])
				}
			}
			code++
			k++
		}
		t.after[n] = int32(code << (16 - n))
		code <<= 1
	}
	if ac {
		for i, e := range t.look {
			t.whole[i] = wholeEntry(i, int(e>>8), int(e&255))
		}
	}
	t.ok = true
	return true
}

// wholeEntry is the entry for the bits i, which begin with a code of n bits for symbol.
func wholeEntry(i, n, symbol int) int32 {
	run, size := symbol>>4, symbol&15
	switch {
	case n == 0:
		return 0
	case symbol == 0:
		return int32(endRun<<8 | n)
	case symbol == 0xF0: // sixteen zeros: fifteen and a coefficient that is zero
		return int32(15<<8 | n)
	case size == 0 || n+size > lookBits:
		return 0
	}
	v := i >> (lookBits - n - size) & (1<<size - 1)
	return int32(extend(v, size))<<16 | int32(run<<8|n+size)
}

// extend turns size bits into the signed value that they stand for (T.81, figure F.12).
func extend(v, size int) int {
	if v < 1<<(size-1) {
		return v - 1<<size + 1
	}
	return v
}

// bitReader reads one restart interval of unstuffed data.
type bitReader struct {
	data    []byte // with at least eight bytes after end
	at, end int    // next byte; end of the interval
	acc     uint64 // bits not yet used, left-aligned
	n       int    // how many of them count
}

// fill makes at least 56 bits available. Past the end they are whatever comes there; done and the checks after each
// block tell.
func (r *bitReader) fill() {
	if r.at+8 <= len(r.data) {
		r.acc |= binary.BigEndian.Uint64(r.data[r.at:]) >> (r.n & 63)
		r.at += (63 - r.n) >> 3
		r.n |= 56
		return
	}
	for r.n < 56 {
		r.n += 8
		r.at++
	}
}

// over says whether more bits were used than the interval has.
func (r *bitReader) over() bool { return 8*r.at-r.n > 8*r.end }

// done says whether the interval was used up, except for padding to a whole byte.
func (r *bitReader) done() bool {
	left := 8*r.end - (8*r.at - r.n)
	return left >= 0 && left < 8
}

// symbol decodes a code longer than lookBits, which returns its length too; 0 if there is none.
func (t *huffman) long(acc uint64) (symbol, n int) {
	v := int32(acc >> 48)
	for n := lookBits + 1; n <= 16; n++ {
		if v < t.after[n] {
			i := t.index[n] + (v-t.first[n])>>(16-n)
			if v < t.first[n] || i > 255 {
				return 0, 0
			}
			return int(t.symbols[i]), n
		}
	}
	return 0, 0
}

// dcValue decodes the DC difference.
func (r *bitReader) dcValue(t *huffman) (int32, bool) {
	r.fill()
	e := t.look[r.acc>>(64-lookBits)]
	s, n := int(e&255), int(e>>8)
	if n == 0 {
		if s, n = t.long(r.acc); n == 0 {
			return 0, false
		}
	}
	if s > 11 {
		return 0, false
	}
	r.acc <<= uint(n)
	r.n -= n
	if s == 0 {
		return 0, true
	}
	v := int(r.acc >> (64 - uint(s)))
	r.acc <<= uint(s)
	r.n -= s
	return int32(extend(v, s)), true
}

// block decodes one block, dequantised, into b, which must be zero. It returns the position of the last coefficient
// in the file's order, or -1 if the data make no sense.
func (r *bitReader) block(c *component, b *[64]int32) int {
	diff, ok := r.dcValue(c.dc)
	if !ok {
		return -1
	}
	c.pred += diff
	b[0] = c.pred * c.q[0]
	t, q := c.ac, c.q
	last := 0
	for k := 1; k < 64; k++ {
		if r.n < 32 {
			r.fill()
		}
		if e := t.whole[r.acc>>(64-lookBits)]; e != 0 {
			n := e & 255
			r.acc <<= uint(n & 63)
			r.n -= int(n)
			k += int(e >> 8 & 255)
			if k > 63 {
				if k < endRun {
					return -1
				}
				break
			}
			b[zigzag[k]&63] = e >> 16 * q[k]
			last = k
			continue
		}
		e := t.look[r.acc>>(64-lookBits)]
		s, n := int(e&255), int(e>>8)
		if n == 0 {
			if s, n = t.long(r.acc); n == 0 {
				return -1
			}
		}
		r.acc <<= uint(n & 63)
		r.n -= n
		run, size := s>>4, s&15
		if size == 0 {
			if run == 0 {
				break
			}
			if run != 15 {
				return -1
			}
			k += 15
			continue
		}
		k += run
		if k > 63 {
			return -1
		}
		v := int(r.acc >> (64 - uint(size)))
		r.acc <<= uint(size)
		r.n -= size
		b[zigzag[k]&63] = int32(extend(v, size)) * q[k]
		last = k
	}
	if r.over() {
		return -1
	}
	return last
}

// skip reads past one block.
func (r *bitReader) skip(c *component) bool {
	diff, ok := r.dcValue(c.dc)
	if !ok {
		return false
	}
	c.pred += diff
	t := c.ac
	for k := 1; k < 64; k++ {
		if r.n < 32 {
			r.fill()
		}
		if e := t.whole[r.acc>>(64-lookBits)]; e != 0 {
			n := e & 255
			r.acc <<= uint(n & 63)
			r.n -= int(n)
			k += int(e >> 8 & 255)
			if k > 63 {
				if k < endRun {
					return false
				}
				break
			}
			continue
		}
		e := t.look[r.acc>>(64-lookBits)]
		s, n := int(e&255), int(e>>8)
		if n == 0 {
			if s, n = t.long(r.acc); n == 0 {
				return false
			}
		}
		run, size := s>>4, s&15
		r.acc <<= uint((n + size) & 63)
		r.n -= n + size
		if size == 0 {
			if run == 0 {
				break
			}
			if run != 15 {
				return false
			}
		}
		k += run
		if k > 63 {
			return false
		}
	}
	return !r.over()
}
