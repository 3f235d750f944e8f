package image

import (
	goimage "image"
)

// planes is a decoded picture as luma and chroma. Chroma planes may be smaller by whole factors. Samples
// outside the window that the decoder was asked for may be missing: pix[0] is the sample at (x0, y0).
type planes struct {
	y, cb, cr plane
	gray      bool   // only y is set
	studio    bool   // BT.601 studio range, as in WebP, instead of JFIF's full range
	up        [2]int // chroma subsampling, horizontally and vertically: 1, 2 or 4
	denom     int    // DCT scaling of luma
}

// plane is one channel; w and h are its full logical size.
type plane struct {
	pix    []byte
	stride int
	w, h   int
	x0, y0 int
}

// planesOf views a YCbCr image of the standard library; ok is false for layouts it cannot describe.
func planesOf(m *goimage.YCbCr) (p planes, ok bool) {
	p.denom = 1
	switch m.SubsampleRatio {
	case goimage.YCbCrSubsampleRatio444:
		p.up = [2]int{1, 1}
	case goimage.YCbCrSubsampleRatio422:
		p.up = [2]int{2, 1}
	case goimage.YCbCrSubsampleRatio420:
		p.up = [2]int{2, 2}
	case goimage.YCbCrSubsampleRatio440:
		p.up = [2]int{1, 2}
	case goimage.YCbCrSubsampleRatio411:
		p.up = [2]int{4, 1}
	case goimage.YCbCrSubsampleRatio410:
		p.up = [2]int{4, 2}
	default:
		return p, false
	}
	if m.Rect.Min != (goimage.Point{}) {
		return p, false
	}
	w, h := m.Rect.Dx(), m.Rect.Dy()
	cw, ch := (w+p.up[0]-1)/p.up[0], (h+p.up[1]-1)/p.up[1]
	p.y = plane{pix: m.Y, stride: m.YStride, w: w, h: h}
	p.cb = plane{pix: m.Cb, stride: m.CStride, w: cw, h: ch}
	p.cr = plane{pix: m.Cr, stride: m.CStride, w: cw, h: ch}
	return p, true
}

// luma is how the luma plane is resampled to a crop, horizontally and vertically.
func (p *Pipeline) luma(m *planes, g *geometry) [2]*axis {
	return [2]*axis{p.axis(axisKey{filter: g.filter, in: m.y.w, out: g.outW, off: g.cropX, n: g.cropW, up: m.denom, full: g.srcW}),
		p.axis(axisKey{filter: g.filter, in: m.y.h, out: g.outH, off: g.cropY, n: g.cropH, up: m.denom, full: g.srcH})}
}

// chroma is the same for the chroma planes. Subsampled ones are scaled less when they are decoded, as far as luma is.
func (p *Pipeline) chroma(m *planes, g *geometry) [2]*axis {
	up := m.chromaUp()
	return [2]*axis{p.axis(axisKey{filter: g.filter, in: m.cb.w, out: g.outW, off: g.cropX, n: g.cropW, up: up[0], full: g.srcW, smooth: up[0] == 2 && m.up[0] == 2}),
		p.axis(axisKey{filter: g.filter, in: m.cb.h, out: g.outH, off: g.cropY, n: g.cropH, up: up[1], full: g.srcH, smooth: up[1] == 2 && m.up[1] == 2})}
}

// chromaUp is how many pixels of the picture a chroma sample stands for.
func (m *planes) chromaUp() [2]int { return [2]int{max(m.denom, m.up[0]), max(m.denom, m.up[1])} }

// drawPlanes resamples each plane to the crops and converts the crops to RGB.
func (p *Pipeline) drawPlanes(dst [][]byte, m *planes) {
	p.draw(dst, func(at []byte, stride int, g *geometry) { p.drawCrop(at, stride, m, g) })
}

func (p *Pipeline) drawCrop(dst []byte, stride int, m *planes, g *geometry) {
	luma := p.luma(m, g)
	n := g.cropW * g.cropH
	p.ycc = grow(p.ycc, 3*n)
	py, pb, pr := p.ycc[:n], p.ycc[n:2*n], p.ycc[2*n:]
	p.tmp = resample(py, g.cropW, m.y.pix, m.y.stride, m.y.x0, m.y.y0, 1, luma[0], luma[1], p.tmp)
	if m.gray {
		for r := range g.cropH {
			d := dst[r*stride:]
			for i, v := range py[r*g.cropW:][:g.cropW] {
				d[3*i], d[3*i+1], d[3*i+2] = v, v, v
			}
		}
		return
	}
	chroma := p.chroma(m, g)
	p.tmp = resample(pb, g.cropW, m.cb.pix, m.cb.stride, m.cb.x0, m.cb.y0, 1, chroma[0], chroma[1], p.tmp)
	p.tmp = resample(pr, g.cropW, m.cr.pix, m.cr.stride, m.cr.x0, m.cr.y0, 1, chroma[0], chroma[1], p.tmp)
	for r := range g.cropH {
		o := r * g.cropW
		convert := toRGB
		if m.studio {
			convert = studioToRGB
		}
		convert(dst[r*stride:][:3*g.cropW], py[o:], pb[o:], pr[o:])
	}
}

// yccToRGB is JFIF's conversion with libjpeg's rounding: 16 fractional bits, each product rounded as
// libjpeg's tables are.
func yccToRGB(dst, y, cb, cr []byte) {
	n := len(dst) / 3
	y, cb, cr = y[:n], cb[:n], cr[:n]
	for i := range y {
		l := int32(y[i])
		b := int32(cb[i]) - 128
		r := int32(cr[i]) - 128
		d := dst[3*i:][:3]
		d[0] = bound(l + (91881*r+32768)>>16)
		d[1] = bound(l + (-22554*b-46802*r+32768)>>16)
		d[2] = bound(l + (116130*b+32768)>>16)
	}
}

// studioToRGB converts BT.601 studio range with the constants of the WebP format's reference decoder:
// R = 1.164 (Y-16) + 1.596 (V-128) and so on, 14 fractional bits after an 8-bit product shift.
func studioToRGB(dst, y, cb, cr []byte) {
	n := len(dst) / 3
	y, cb, cr = y[:n], cb[:n], cr[:n]
	for i := range y {
		l := int32(y[i]) * 19077 >> 8
		u, v := int32(cb[i]), int32(cr[i])
		d := dst[3*i:][:3]
		d[0] = bound((l + v*26149>>8 - 14234) >> 6)
		d[1] = bound((l - u*6419>>8 - v*13320>>8 + 8708) >> 6)
		d[2] = bound((l + u*33050>>8 - 17685) >> 6)
	}
}

func bound(v int32) byte {
	if uint32(v) > 255 {
		return byte(^(v >> 31))
	}
	return byte(v)
}
