package image

import (
	goimage "image"
	"image/color"
)

// packed is a decoded picture as interleaved RGB.
type packed struct {
	pix    []byte
	stride int
	w, h   int
}

// drawPacked resamples an RGB picture to the crops.
func (p *Pipeline) drawPacked(dst [][]byte, m *packed) {
	p.draw(dst, func(at []byte, stride int, g *geometry) {
		x := p.axis(axisKey{filter: g.filter, in: m.w, out: g.outW, off: g.cropX, n: g.cropW, up: 1})
		y := p.axis(axisKey{filter: g.filter, in: m.h, out: g.outH, off: g.cropY, n: g.cropH, up: 1})
		p.tmp = resample(at, stride, m.pix, m.stride, 0, 0, 3, x, y, p.tmp)
	})
}

// pack converts any image to RGB without alpha: colours of transparent pixels stay what they are
// (premultiplied ones are divided by their alpha), 16-bit samples keep their high byte, CMYK becomes
// (255-C)(255-K)/255 and so on as in PIL.
func (p *Pipeline) pack(m goimage.Image) *packed {
	r := m.Bounds()
	w, h := r.Dx(), r.Dy()
	out := &packed{w: w, h: h, stride: 3 * w}
	p.rgb = grow(p.rgb, 3*w*h)
	out.pix = p.rgb
	for y := range h {
		packRow(out.pix[y*out.stride:][:out.stride], m, r.Min.X, r.Min.Y+y)
	}
	return out
}

// packRow writes one row; x and y are image coordinates of its first pixel.
func packRow(d []byte, m goimage.Image, x, y int) {
	n := len(d) / 3
	switch m := m.(type) {
	case *goimage.Gray:
		for i, v := range m.Pix[m.PixOffset(x, y):][:n] {
			d[3*i], d[3*i+1], d[3*i+2] = v, v, v
		}
	case *goimage.Gray16:
		s := m.Pix[m.PixOffset(x, y):][:2*n]
		for i := range n {
			d[3*i], d[3*i+1], d[3*i+2] = s[2*i], s[2*i], s[2*i]
		}
	case *goimage.NRGBA:
		s := m.Pix[m.PixOffset(x, y):][:4*n]
		for i := range n {
			d[3*i], d[3*i+1], d[3*i+2] = s[4*i], s[4*i+1], s[4*i+2]
		}
	case *goimage.RGBA:
		s := m.Pix[m.PixOffset(x, y):][:4*n]
		for i := range n {
			r, g, b, a := s[4*i], s[4*i+1], s[4*i+2], s[4*i+3]
			if a != 255 {
				r, g, b = unmultiply(r, a), unmultiply(g, a), unmultiply(b, a)
			}
			d[3*i], d[3*i+1], d[3*i+2] = r, g, b
		}
	case *goimage.NRGBA64:
		s := m.Pix[m.PixOffset(x, y):][:8*n]
		for i := range n {
			d[3*i], d[3*i+1], d[3*i+2] = s[8*i], s[8*i+2], s[8*i+4]
		}
	case *goimage.Paletted:
		for i, v := range m.Pix[m.PixOffset(x, y):][:n] {
			var c color.NRGBA
			if int(v) < len(m.Palette) {
				c = nrgba(m.Palette[v])
			}
			d[3*i], d[3*i+1], d[3*i+2] = c.R, c.G, c.B
		}
	case *goimage.CMYK:
		s := m.Pix[m.PixOffset(x, y):][:4*n]
		for i := range n {
			cmyk(d[3*i:], s[4*i], s[4*i+1], s[4*i+2], s[4*i+3])
		}
	default:
		for i := range n {
			c := nrgba(m.At(x+i, y))
			d[3*i], d[3*i+1], d[3*i+2] = c.R, c.G, c.B
		}
	}
}

// cmyk writes the RGB of an ink mixture (255: full ink).
func cmyk(d []byte, c, m, y, k byte) {
	white := int32(255 - k)
	d[0] = bound(white - muldiv255(int32(c), white))
	d[1] = bound(white - muldiv255(int32(m), white))
	d[2] = bound(white - muldiv255(int32(y), white))
}

func muldiv255(a, b int32) int32 {
	t := a*b + 128
	return (t>>8 + t) >> 8
}

func unmultiply(v, a byte) byte {
	if a == 0 {
		return v
	}
	return byte(min(int(v)*255/int(a), 255))
}

func nrgba(c color.Color) color.NRGBA {
	switch c := c.(type) {
	case color.NRGBA:
		return c
	case color.RGBA:
		if c.A == 255 {
			return color.NRGBA{R: c.R, G: c.G, B: c.B, A: 255}
		}
	}
	return color.NRGBAModel.Convert(c).(color.NRGBA)
}
