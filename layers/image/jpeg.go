package image

import (
	"bytes"
	"image/jpeg"
	"io"
	"strings"
)

// maxScanWork bounds the work of a progressive JPEG: every scan passes over all its pixels, and a few
// bytes are enough to ask for one. An ordinary file has ten scans.
const (
	maxScans    = 256
	maxScanWork = 20 * DefaultMaxPixels
)

// adobeInks is the marker that says that samples are inks as they are.
const adobeInks = "\xFF\xEE\x00\x0EAdobe\x00\x64\x00\x00\x00\x00\x00"

func (p *Pipeline) processJPEG(dst [][]byte, src []byte, info *Info) *BadImage {
	head, b := readJPEGHead(src)
	info.W, info.H, info.Orientation = head.w, head.h, head.orientation
	if b != nil {
		return b
	}
	if b := p.plan(info); b != nil {
		return b
	}
	if head.scans > maxScans || int64(head.scans)*int64(head.w)*int64(head.h) > maxScanWork {
		return bad(ReasonTooLarge, "%d scans of %dx%d pixels", head.scans, head.w, head.h)
	}
	if head.noQuant {
		return bad(ReasonCorrupt, "a quantisation table is missing") // which the standard library takes for zeros
	}
	if p.turbo != nil {
		// Never at a fraction of its size: whoever chooses this decoder wants PIL's pixels.
		if b := p.hold(scaledCost(&head, 1)); b != nil {
			return b
		}
		if m := p.turbo.decode(p, src, &head); m != nil {
			info.Decoder = "turbo"
			p.drawPacked(dst, m)
			return nil
		}
		// Any warning of the library ends here. The strict decoder decides whether the picture is good,
		// so that the same pictures are bad whichever decoder runs.
	}
	// The decoder here gains little from scaling beyond 1/2, and loses a little: it does so later.
	denom := p.denominator()
	if b := p.hold(scaledCost(&head, denom)); b != nil {
		return b
	}
	if m := p.fast.decode(src, &head, denom, p); m != nil {
		info.Scaled = denom
		p.drawPlanes(dst, m)
		return nil
	}
	if b := p.hold(jpegCost(&head)); b != nil {
		return b
	}
	var r io.Reader = bytes.NewReader(src)
	if head.components == 4 && !head.adobe {
		// Four inks without Adobe's marker are taken for Adobe's, as everybody but the standard library does.
		r = io.MultiReader(bytes.NewReader(src[:2]), strings.NewReader(adobeInks), bytes.NewReader(src[2:]))
	}
	m, err := jpeg.Decode(r)
	if err != nil {
		return badDecode(err)
	}
	if r := m.Bounds(); r.Dx() != info.W || r.Dy() != info.H {
		return bad(ReasonCorrupt, "header says %dx%d, the picture has %dx%d", info.W, info.H, r.Dx(), r.Dy())
	}
	p.drawImage(dst, m, false)
	return nil
}

// denominator picks the DCT scaling: 1/2, 1/4 or 1/8 if the picture's sides are at least 2, 6 or 16 times those of the
// resized one, of the largest of several. The numbers keep the mean distance to the full decode below one level or so in
// pictures full of detail.
func (p *Pipeline) denominator() int {
	d := 8
	for i, s := range p.specs {
		g, one := &p.geo[i], 1
		for _, f := range []int{2, 6, 16} {
			if s.NoScaledDecode || s.Exact || g.srcW < f*g.outW || g.srcH < f*g.outH {
				break
			}
			one *= 2
		}
		d = min(d, one)
	}
	return d
}
