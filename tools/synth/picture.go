package synth

import (
	"bytes"
	"image"
	"image/jpeg"
	"math"
	"math/rand/v2"
)

// quality is what most cameras and web sites use, more or less.
const quality = 85

// painter draws pictures, one after the other, into the same buffers.
type painter struct {
	tex *textures
	img image.YCbCr
	buf bytes.Buffer
}

func newPainter(t *textures) *painter { return &painter{tex: t} }

// jpeg returns picture i; the bytes are valid until the next call.
func (p *painter) jpeg(seed uint64, i int, l look) ([]byte, error) {
	p.paint(random(seed, streamPicture, i), l)
	p.buf.Reset()
	if err := jpeg.Encode(&p.buf, &p.img, &jpeg.Options{Quality: quality}); err != nil {
		return nil, err
	}
	return p.buf.Bytes(), nil
}

// size draws the picture's size: most are 500 x 375.
func size(r *rand.Rand) (w, h int) {
	sizes := [...][2]int{{500, 375}, {500, 375}, {500, 375}, {500, 375}, {500, 333}, {480, 360}, {500, 400}, {512, 384}, {500, 374}}
	s := sizes[r.IntN(len(sizes))]
	if r.IntN(6) == 0 {
		return s[1], s[0]
	}
	return s[0], s[1]
}

// prepare makes img a w x h picture, reusing its storage.
func (p *painter) prepare(w, h int) {
	cw, ch := (w+1)/2, (h+1)/2
	if cap(p.img.Y) < w*h {
		p.img.Y = make([]byte, side*side)
		p.img.Cb = make([]byte, side*side/4)
		p.img.Cr = make([]byte, side*side/4)
	}
	p.img = image.YCbCr{Y: p.img.Y[:w*h], Cb: p.img.Cb[:cw*ch], Cr: p.img.Cr[:cw*ch], YStride: w, CStride: cw,
		SubsampleRatio: image.YCbCrSubsampleRatio420, Rect: image.Rect(0, 0, w, h)}
}

// colour is a point of the chroma plane, relative to grey. warm colours lie along (-1, 1): little blue, much red.
type colour struct{ cb, cr float64 }

func warmColour(warm, across float64) colour {
	return colour{(-warm + across) * math.Sqrt2 / 2, (warm + across) * math.Sqrt2 / 2}
}

func (p *painter) paint(r *rand.Rand, l look) {
	w, h := size(r)
	p.prepare(w, h)
	warm := 24 * clampTo(l.warmth, 2.5)
	p.background(r, w, h, warm, l)
	n := int(math.Round(7 + 3*clampTo(l.crowd, 2.3)))
	for range n {
		p.thing(r, w, h, warm)
	}
}

func clampTo(v, limit float64) float64 { return min(max(v, -limit), limit) }

// background paints a lit, textured surface.
func (p *painter) background(r *rand.Rand, w, h int, warm float64, l look) {
	level := 118 + 7*r.NormFloat64()
	slopeX, slopeY := 24*r.NormFloat64()/float64(w), 24*r.NormFloat64()/float64(h)
	// Amplitudes with 8 fractional bits on tiles of deviation 32.
	grain := int32(256 * 0.40 * math.Exp(0.6*clampTo(l.grain, 2.2)))
	fine := int32(256 * 0.20 * math.Exp(0.18*clampTo(r.NormFloat64(), 2)))
	soft := int32(100)
	mid, thin, wide := &p.tex.mid[r.IntN(4)], &p.tex.fine[r.IntN(4)], &p.tex.soft[r.IntN(2)]
	var off [8]int
	for i := range off {
		off[i] = r.IntN(side)
	}
	for y := range h {
		row := p.img.Y[y*w:][:w]
		a, b, c := mid.row(off[0], y+off[1])[:w], thin.row(off[2], y+off[3])[:w], wide.row(off[4], y+off[5])[:w]
		base := int32(65536 * (level + slopeY*float64(y-h/2) - slopeX*float64(w/2)))
		step := int32(65536 * slopeX)
		for x := range row {
			v := base>>16 + (int32(a[x])*grain+int32(b[x])*fine+int32(c[x])*soft)>>8
			row[x] = limit(v)
			base += step
		}
	}
	// The palette runs from one colour to another, with patches.
	c0 := warmColour(warm+7*r.NormFloat64(), 9*r.NormFloat64())
	c1 := warmColour(warm+7*r.NormFloat64(), 9*r.NormFloat64())
	patches := int32(26)
	cw, ch := (w+1)/2, (h+1)/2
	for y := range ch {
		t := float64(y) / float64(ch)
		cb := int32(128.5 + c0.cb + (c1.cb-c0.cb)*t)
		cr := int32(128.5 + c0.cr + (c1.cr-c0.cr)*t)
		a, b := wide.row(off[6], y+off[7])[:cw], mid.row(off[7], y+off[6])[:cw]
		pb, pr := p.img.Cb[y*cw:][:cw], p.img.Cr[y*cw:][:cw]
		for x := range pb {
			d, e := int32(a[x])*patches>>8, int32(b[x])*patches>>9
			pb[x] = limit(cb + d + e)
			pr[x] = limit(cr + d - e)
		}
	}
}

// thing paints one shaded ellipse with its shadow.
func (p *painter) thing(r *rand.Rand, w, h int, warm float64) {
	short := float64(min(w, h))
	cx, cy := r.Float64()*float64(w), r.Float64()*float64(h)
	rx := short * (0.06 + 0.07*r.Float64())
	ry := rx * (0.6 + 0.4*r.Float64())
	sin, cos := math.Sincos(r.Float64() * math.Pi)
	level := 128 + 36*r.NormFloat64()
	c := warmColour(0.8*warm+14*r.NormFloat64(), 16*r.NormFloat64())
	lx, ly := 22*r.NormFloat64(), -25.0
	p.ellipse(cx+0.18*rx, cy+0.25*rx, rx*1.05, ry*1.05, sin, cos, 40, 0, 0, 0, nil, w, h)
	p.ellipse(cx, cy, rx, ry, sin, cos, level, 30, lx, ly, &c, w, h)
}

// ellipse blends a body of the given luma into the picture: dome adds light towards the middle, lx and ly from one
// side. Without a colour it is a shadow and blends weakly. Three quarters of the body cover, the rest
// lets the texture through.
func (p *painter) ellipse(cx, cy, rx, ry, sin, cos, level, dome, lx, ly float64, c *colour, w, h int) {
	reach := max(rx, ry) + 1
	x0, x1 := max(int(cx-reach), 0), min(int(cx+reach)+1, w)
	y0, y1 := max(int(cy-reach), 0), min(int(cy+reach)+1, h)
	cover := 0.75
	if c == nil {
		cover = 0.35
	}
	for y := y0; y < y1; y++ {
		row := p.img.Y[y*w:][:w]
		for x := x0; x < x1; x++ {
			q, dx, dy := quadratic(float64(x)-cx, float64(y)-cy, rx, ry, sin, cos)
			if q >= 1 {
				continue
			}
			v := level + dome*(1-q) + lx*dx + ly*dy
			a := cover * min(1, (1-q)*8)
			row[x] = limit(int32(float64(row[x]) + (v-float64(row[x]))*a))
		}
	}
	if c == nil {
		return
	}
	cw := (w + 1) / 2
	for y := y0 / 2; y < (y1+1)/2; y++ {
		pb, pr := p.img.Cb[y*cw:][:cw], p.img.Cr[y*cw:][:cw]
		for x := x0 / 2; x < (x1+1)/2; x++ {
			q, _, _ := quadratic(2*float64(x)+0.5-cx, 2*float64(y)+0.5-cy, rx, ry, sin, cos)
			if q >= 1 {
				continue
			}
			a := 0.85 * min(1, (1-q)*8)
			pb[x] = limit(int32(float64(pb[x]) + (128+c.cb-float64(pb[x]))*a))
			pr[x] = limit(int32(float64(pr[x]) + (128+c.cr-float64(pr[x]))*a))
		}
	}
}

// quadratic returns the ellipse's form at (x, y) from its middle, below 1 inside, and the position
// relative to its size.
func quadratic(x, y, rx, ry, sin, cos float64) (q, dx, dy float64) {
	u, v := (x*cos+y*sin)/rx, (y*cos-x*sin)/ry
	return u*u + v*v, x / rx, y / rx
}

func limit(v int32) byte {
	if uint32(v) > 255 {
		return byte(^(v >> 31))
	}
	return byte(v)
}
