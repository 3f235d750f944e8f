package image

import (
	"bytes"
	"encoding/binary"
)

// fastJPEG decodes the JPEGs that nearly all files are: baseline or extended sequential, 8 bits, Huffman,
// grey or YCbCr with the usual sampling, one scan. It differs from the standard library's decoder in what it
// leaves out: blocks that the crop does not depend on are read past and not transformed, large pictures are
// transformed at 1/2, 1/4 or 1/8 of their size, chroma is not upsampled, nothing is allocated. Its inverse
// DCT gives the samples of libjpeg.
//
// It is strict: at the first thing it does not expect it gives up, and the standard library decides whether the
// picture is good. So it can be simple, and cannot make a bad picture good: it accepts only what it has
// decoded to the last block and end marker.
type fastJPEG struct {
	data  []byte // entropy-coded data without stuffing
	ends  []int  // where each restart interval ends in data
	pix   []byte // the planes
	quant [4][64]int32
	haveQ [4]bool
	dc    [4]huffman
	ac    [4]huffman
	comp  [3]component
	out   planes
}

// component is one of Y, Cb, Cr.
type component struct {
	id     byte
	h, v   int // sampling factors
	q      *[64]int32
	dc, ac *huffman
	nx, ny int // samples that a block becomes: 8, 4, 2 or 1
	pred   int32

	// The window of blocks to transform, and where its samples go.
	bx0, bx1, by0, by1 int
	pix                []byte
	stride             int
}

// zigzag maps the order of coefficients in the file to row-major order.
var zigzag = [64]uint8{
	0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28,
	35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
}

func (f *fastJPEG) trim() {
	if cap(f.pix) > keepBytes {
		f.pix = nil
	}
	if cap(f.data) > keepBytes {
		f.data = nil
	}
}

// decode returns the planes of src, at least where p's crops need them, valid until the next call; nil if the
// picture is for the standard library to judge.
func (f *fastJPEG) decode(src []byte, head *jpegHead, denom int, p *Pipeline) *planes {
	if head.progressive || head.precision != 8 || (head.components != 1 && head.components != 3) {
		return nil
	}
	f.haveQ = [4]bool{}
	for i := range 4 {
		f.dc[i].ok, f.ac[i].ok = false, false
	}
	frame, restart := false, 0
	for at := 2; at+4 <= len(src); {
		if src[at] != 0xFF {
			return nil
		}
		m := src[at+1]
		if m == 0xFF {
			at++
			continue
		}
		n := int(binary.BigEndian.Uint16(src[at+2:]))
		if n < 2 || at+2+n > len(src) {
			return nil
		}
		body := src[at+4 : at+2+n]
		at += 2 + n
		ok := true
		switch {
		case m == 0xDB:
			ok = f.quantTables(body)
		case m == 0xC4:
			ok = f.huffmanTables(body)
		case m == 0xC0 || m == 0xC1:
			ok = !frame && f.frame(body, head)
			frame = true
		case m == 0xDD:
			ok = len(body) == 2
			if ok {
				restart = int(binary.BigEndian.Uint16(body))
			}
		case m == 0xDA:
			if !frame || !f.scanHeader(body, head) {
				return nil
			}
			f.window(head, denom, p)
			if !f.unstuff(src[at:]) || !f.scan(head, restart) {
				return nil
			}
			return &f.out
		case m == 0xEE: // Adobe: transform 0 means RGB
			if len(body) >= 12 && bytes.HasPrefix(body, []byte("Adobe")) && body[11] != 1 && head.components == 3 {
				return nil
			}
		case m == 0xFE || m >= 0xE0 && m <= 0xEF:
		default:
			return nil
		}
		if !ok {
			return nil
		}
	}
	return nil
}

func (f *fastJPEG) quantTables(b []byte) bool {
	for len(b) > 0 {
		id, wide := b[0]&15, b[0]>>4
		if id > 3 || wide > 1 {
			return false
		}
		n := 64 << wide
		if len(b) < 1+n {
			return false
		}
		for i := range 64 {
			if wide == 1 {
				f.quant[id][i] = int32(binary.BigEndian.Uint16(b[1+2*i:]))
			} else {
				f.quant[id][i] = int32(b[1+i])
			}
		}
		f.haveQ[id] = true
		b = b[1+n:]
	}
	return true
}

func (f *fastJPEG) huffmanTables(b []byte) bool {
	for len(b) > 0 {
		if len(b) < 17 || b[0]>>4 > 1 || b[0]&15 > 3 {
			return false
		}
		n := 0
		for _, c := range b[1:17] {
			n += int(c)
		}
		if n > 256 || len(b) < 17+n {
			return false
		}
		t := &f.dc[b[0]&15]
		if b[0]>>4 == 1 {
			t = &f.ac[b[0]&15]
		}
		if !t.build((*[16]byte)(b[1:17]), b[17:17+n], b[0]>>4 == 1) {
			return false
		}
		b = b[17+n:]
	}
	return true
}

// frame reads the sampling factors. Chroma must have factors 1 x 1, luma 1 or 2.
func (f *fastJPEG) frame(b []byte, head *jpegHead) bool {
	if len(b) != 6+3*head.components {
		return false
	}
	for i := range head.components {
		c := component{id: b[6+3*i], h: int(b[7+3*i] >> 4), v: int(b[7+3*i] & 15)}
		q := b[8+3*i]
		if q > 3 || c.h < 1 || c.v < 1 || c.h > 2 || c.v > 2 || (i > 0 && (c.h != 1 || c.v != 1)) {
			return false
		}
		if head.components == 1 {
			c.h, c.v = 1, 1 // a single component is not interleaved
		}
		c.q = &f.quant[q]
		if !f.haveQ[q] {
			return false // tables after the frame header are legal, and rare
		}
		f.comp[i] = c
	}
	// RGB without Adobe's marker is told by its names.
	return head.components == 1 || f.comp[0].id != 'R' || f.comp[1].id != 'G' || f.comp[2].id != 'B'
}

func (f *fastJPEG) scanHeader(b []byte, head *jpegHead) bool {
	n := head.components
	if len(b) != 4+2*n || int(b[0]) != n || b[1+2*n] != 0 || b[2+2*n] != 63 || b[3+2*n] != 0 {
		return false
	}
	for i := range n {
		c := &f.comp[i]
		d, a := b[2+2*i]>>4, b[2+2*i]&15
		if b[1+2*i] != c.id || d > 3 || a > 3 || !f.dc[d].ok || !f.ac[a].ok {
			return false
		}
		c.dc, c.ac, c.pred = &f.dc[d], &f.ac[a], 0
	}
	return true
}

// window sets the scaling of each component and the blocks that the crops depend on, and makes room.
func (f *fastJPEG) window(head *jpegHead, denom int, p *Pipeline) {
	f.out = planes{denom: denom, gray: head.components == 1, up: [2]int{1, 1}}
	if !f.out.gray {
		f.out.up = [2]int{f.comp[0].h, f.comp[0].v}
	}
	into := [3]*plane{&f.out.y, &f.out.cb, &f.out.cr}
	total := 0
	for i := range head.components {
		c, pl := &f.comp[i], into[i]
		up := [2]int{denom, denom}
		if i > 0 {
			up = f.out.chromaUp()
			c.nx, c.ny = 8*f.out.up[0]/up[0], 8*f.out.up[1]/up[1]
		} else {
			c.nx, c.ny = 8/denom, 8/denom
		}
		pl.w, pl.h = (head.w+up[0]-1)/up[0], (head.h+up[1]-1)/up[1]
		for k := range p.geo {
			axes := p.luma
			if i > 0 {
				axes = p.chroma
			}
			a := axes(&f.out, &p.geo[k])
			bx0, bx1 := a[0].in0/c.nx, (a[0].in1+c.nx-1)/c.nx
			by0, by1 := a[1].in0/c.ny, (a[1].in1+c.ny-1)/c.ny
			if k > 0 {
				bx0, bx1, by0, by1 = min(bx0, c.bx0), max(bx1, c.bx1), min(by0, c.by0), max(by1, c.by1)
			}
			c.bx0, c.bx1, c.by0, c.by1 = bx0, bx1, by0, by1
		}
		pl.x0, pl.y0 = c.bx0*c.nx, c.by0*c.ny
		pl.stride = (c.bx1 - c.bx0) * c.nx
		c.stride = pl.stride
		total += c.stride * (c.by1 - c.by0) * c.ny
	}
	f.pix = grow(f.pix, total)
	at := 0
	for i := range head.components {
		c := &f.comp[i]
		n := c.stride * (c.by1 - c.by0) * c.ny
		c.pix = f.pix[at : at+n]
		into[i].pix = c.pix
		at += n
	}
}

// unstuff copies the entropy-coded data without the zero after each 0xFF and notes where restart
// markers split it. It reports whether the data end with the end marker.
func (f *fastJPEG) unstuff(src []byte) bool {
	f.data = grow(f.data, len(src)+16)
	f.ends = f.ends[:0]
	out := 0
	for next := byte(0xD0); ; {
		i := bytes.IndexByte(src, 0xFF)
		if i < 0 || i+1 >= len(src) {
			return false
		}
		copy(f.data[out:], src[:i])
		out += i
		switch m := src[i+1]; m {
		case 0:
			f.data[out] = 0xFF
			out++
		case next:
			f.ends = append(f.ends, out)
			next = 0xD0 | (next+1)&7
		case 0xD9:
			f.ends = append(f.ends, out)
			clear(f.data[out : out+8]) // so that the last bytes can be read eight at a time
			f.data = f.data[:out+8]
			return true
		default:
			return false
		}
		src = src[i+2:]
	}
}

// scan decodes all blocks; it reports whether every one was there and nothing was left over.
func (f *fastJPEG) scan(head *jpegHead, restart int) bool {
	h, v := f.comp[0].h, f.comp[0].v
	comps := f.comp[:head.components]
	mx, my := (head.w+8*h-1)/(8*h), (head.h+8*v-1)/(8*v)
	if restart == 0 {
		restart = mx * my
	}
	if len(f.ends) != (mx*my+restart-1)/restart {
		return false
	}
	var block [64]int32
	r := bitReader{data: f.data, end: f.ends[0]}
	left, interval := restart, 0
	for y := range my {
		for x := range mx {
			if left == 0 {
				interval++
				if !r.done() {
					return false
				}
				r = bitReader{data: f.data, at: f.ends[interval-1], end: f.ends[interval]}
				left = restart
				for i := range comps {
					comps[i].pred = 0
				}
			}
			left--
			for i := range comps {
				c := &comps[i]
				for by := y * c.v; by < (y+1)*c.v; by++ {
					for bx := x * c.h; bx < (x+1)*c.h; bx++ {
						if by < c.by0 || by >= c.by1 || bx < c.bx0 || bx >= c.bx1 {
							if !r.skip(c) {
								return false
							}
							continue
						}
						last := r.block(c, &block)
						if last < 0 {
							return false
						}
						c.put(&block, last, bx-c.bx0, by-c.by0)
					}
				}
			}
		}
	}
	return r.done()
}

// put transforms a block into the component's plane and clears it for the next. last is the file
// position of its last coefficient.
func (c *component) put(b *[64]int32, last, bx, by int) {
	dst := c.pix[by*c.ny*c.stride+bx*c.nx:]
	switch {
	case last == 0:
		v := bound((b[0]+4)>>3 + 128)
		for y := range c.ny {
			d := dst[y*c.stride:][:c.nx]
			for x := range d {
				d[x] = v
			}
		}
		b[0] = 0
		return
	case c.nx == 8 && c.ny == 8:
		transform8(dst, c.stride, b)
	default:
		var full [64]byte
		transform8(full[:], 8, b)
		shrink(dst, c.stride, &full, c.nx, c.ny)
	}
	clear(b[:])
}
