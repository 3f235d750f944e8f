package image

import (
	"bytes"
	"image/jpeg"
)

// maxScanWork bounds the work of a progressive JPEG: every scan passes over all its pixels, and a few
// bytes are enough to ask for one. An ordinary file has ten scans.
const (
	maxScans    = 256
	maxScanWork = 20 * DefaultMaxPixels
)

func (p *Pipeline) processJPEG(dst, src []byte, info *Info) *BadImage {
	head, b := readJPEGHead(src)
	info.W, info.H, info.Orientation = head.w, head.h, head.orientation
	if b != nil {
		return b
	}
	g, b := p.plan(info)
	if b != nil {
		return b
	}
	if head.scans > maxScans || int64(head.scans)*int64(head.w)*int64(head.h) > maxScanWork {
		return bad(ReasonTooLarge, "%d scans of %dx%d pixels", head.scans, head.w, head.h)
	}
	if head.noQuant {
		return bad(ReasonCorrupt, "a quantisation table is missing") // which the standard library takes for zeros
	}
	denom := p.denominator(&g)
	if p.turbo != nil {
		if m := p.turbo.decode(p, src, &head, denom); m != nil {
			info.Decoder, info.Scaled = "turbo", denom
			at, stride := p.target(dst, &g)
			p.drawPacked(at, stride, m, &g)
			p.finish(dst, &g)
			return nil
		}
		// Any warning of the library ends here. The strict decoder decides whether the picture is good,
		// so that the same pictures are bad whichever decoder runs.
	}
	if m := p.fast.decode(src, &head, denom, &g, p); m != nil {
		info.Scaled = denom
		at, stride := p.target(dst, &g)
		p.drawPlanes(at, stride, m, &g)
		p.finish(dst, &g)
		return nil
	}
	m, err := jpeg.Decode(bytes.NewReader(src))
	if err != nil {
		return badDecode(err)
	}
	if r := m.Bounds(); r.Dx() != info.W || r.Dy() != info.H {
		return bad(ReasonCorrupt, "header says %dx%d, the picture has %dx%d", info.W, info.H, r.Dx(), r.Dy())
	}
	p.drawImage(dst, m, &g, false)
	return nil
}

// denominator picks the DCT scaling: the largest at which both sides still have the resized picture's
// size.
func (p *Pipeline) denominator(g *geometry) int {
	if p.spec.NoScaledDecode || p.spec.Exact {
		return 1
	}
	d := 1
	for d < 8 && g.srcW >= 2*d*g.outW && g.srcH >= 2*d*g.outH {
		d *= 2
	}
	return d
}
