package image

import (
	"bytes"
	"errors"
	"fmt"
	goimage "image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"strings"

	"golang.org/x/image/bmp"
	"golang.org/x/image/webp"
)

// Pipeline processes pictures one after the other and reuses its buffers. It is not safe for concurrent
// use: make one per goroutine.
type Pipeline struct {
	specs []Spec       // of the pictures that are made of each source, at least one
	geo   []geometry   // of the source at hand, by spec
	turbo *turboHandle // nil: decode JPEG in Go
	fast  fastJPEG
	axes  map[axisKey]*axis

	rgb  []byte // a whole decoded picture, RGB
	ycc  []byte // the crop's planes
	tmp  []byte // between the two passes
	turn []byte // the crop before it is turned

	gate *Gate // nil: no bound on memory but the Spec's
	held int64 // of the gate, by the picture at hand
	took int64 // by the picture at hand, whether there is a gate or not
}

// keepBytes bounds the buffers that a Pipeline keeps from one picture to the next.
const keepBytes = 8 << 20

// maxAxes bounds the coefficient tables kept: data sets have few sizes, and a table is quickly made.
const maxAxes = 64

// NewPipeline makes a Pipeline, or says what is wrong with s. Turbo fails where libjpeg-turbo cannot be
// loaded.
func NewPipeline(s Spec, d DecoderChoice) (*Pipeline, error) { return NewViews([]Spec{s}, d) }

// NewViews makes a Pipeline that decodes each source once and makes a picture of it for each of the specs, of which
// there is at least one. A source that one of them refuses is refused. How much of a JPEG is decoded, and at which
// fraction of its size, follows from all of them together: the same specs give the same pixels, whichever are asked for.
func NewViews(specs []Spec, d DecoderChoice) (*Pipeline, error) {
	if len(specs) == 0 {
		return nil, errors.New("image: nothing is said of what a picture becomes")
	}
	p := &Pipeline{geo: make([]geometry, len(specs)), axes: map[axisKey]*axis{}}
	for _, s := range specs {
		if err := s.Validate(); err != nil {
			return nil, err
		}
		if s.MaxPixels == 0 {
			s.MaxPixels = DefaultMaxPixels
		}
		if s.MaxBytes == 0 {
			s.MaxBytes = DefaultMaxBytes
		}
		p.specs = append(p.specs, s)
	}
	switch d {
	case Go:
	case Auto, Turbo:
		h, err := newTurbo()
		if err != nil && d == Turbo {
			return nil, fmt.Errorf("image: libjpeg-turbo: %w", err)
		}
		p.turbo = h
	default:
		return nil, fmt.Errorf("image: unknown decoder choice %v", d)
	}
	return p, nil
}

// MaxBytes is the longest source that is taken, in bytes.
func (p *Pipeline) MaxBytes() int64 {
	n := p.specs[0].MaxBytes
	for _, s := range p.specs {
		n = min(n, s.MaxBytes)
	}
	return n
}

// Close frees what the decoder library holds. A Pipeline that becomes garbage frees it too.
func (p *Pipeline) Close() error {
	if p.turbo != nil {
		p.turbo.close()
		p.turbo = nil
	}
	return nil
}

// Process writes the picture in src to dst, of a Pipeline with one spec: see ProcessViews.
func (p *Pipeline) Process(dst, src []byte) (info Info, err error) {
	return p.ProcessViews([][]byte{dst}, src)
}

// ProcessViews decodes src and writes the picture for each spec to the destination at its place, which takes
// CropH*CropW*3 bytes: RGB, row by row. One that is nil is not asked for. The Info is as complete as the source
// allowed, also with an error. A source that cannot be used gives a *BadImage and leaves all destinations undefined;
// any other error is the caller's mistake.
func (p *Pipeline) ProcessViews(dst [][]byte, src []byte) (info Info, err error) {
	if len(dst) != len(p.specs) {
		return info, fmt.Errorf("image: %d destinations for %d pictures", len(dst), len(p.specs))
	}
	for i, s := range p.specs {
		if want := s.CropH * s.CropW * 3; dst[i] != nil && len(dst[i]) != want {
			return info, fmt.Errorf("image: destination has %d bytes, %dx%d takes %d", len(dst[i]), s.CropW, s.CropH, want)
		}
	}
	defer func() {
		// The decoders are fuzzed, but the pictures are not ours: a decoder's slip must cost one record only.
		if r := recover(); r != nil {
			err = bad(ReasonCorrupt, "decoder failed: %v", r)
		}
		info.Room = p.took
		p.trim()
		p.letGo()
	}()
	p.took = 0
	if b := p.process(dst, src, &info); b != nil {
		return info, b
	}
	return info, nil
}

func (p *Pipeline) process(dst [][]byte, src []byte, info *Info) *BadImage {
	info.Orientation, info.Scaled, info.Decoder = 1, 1, "go"
	if len(src) == 0 {
		return bad(ReasonEmpty, "no bytes")
	}
	if most := p.MaxBytes(); int64(len(src)) > most {
		return bad(ReasonTooLarge, "%d bytes, the limit is %d", len(src), most)
	}
	info.Format = sniff(src)
	switch info.Format {
	case "":
		if f := foreign(src); f != "" {
			return bad(ReasonUnknown, "%s is not read: convert to JPEG or PNG", f)
		}
		return bad(ReasonUnknown, "the first bytes are % x", src[:min(len(src), 8)])
	case "jpeg":
		return p.processJPEG(dst, src, info)
	case "tiff":
		return p.processTIFF(dst, src, info)
	}
	cfg, b := config(info.Format, src)
	if b != nil {
		return b
	}
	info.W, info.H = cfg.Width, cfg.Height
	info.Orientation = orientationOf(info.Format, src)
	if b := p.plan(info); b != nil {
		return b
	}
	if b := p.hold(cost(info.Format, src, info.W, info.H, cfg.ColorModel)); b != nil {
		return b
	}
	m, b := decode(info.Format, src, cfg)
	if b != nil {
		return b
	}
	if r := m.Bounds(); r.Dx() != info.W || r.Dy() != info.H {
		return bad(ReasonCorrupt, "header says %dx%d, the picture has %dx%d", info.W, info.H, r.Dx(), r.Dy())
	}
	p.drawImage(dst, m, info.Format == "webp")
	return nil
}

// plan checks the declared size and places the results.
func (p *Pipeline) plan(info *Info) (b *BadImage) {
	if info.W <= 0 || info.H <= 0 {
		return bad(ReasonCorrupt, "size %dx%d", info.W, info.H)
	}
	for i, s := range p.specs {
		if n := int64(info.W) * int64(info.H); n > s.MaxPixels {
			return bad(ReasonTooLarge, "%dx%d is %d pixels, the limit is %d", info.W, info.H, n, s.MaxPixels)
		}
		// TIFF's orientation is the format's own, and PIL turns what it reads, in the networks' training as well.
		s.ApplyEXIF = s.ApplyEXIF || info.Format == "tiff"
		if p.geo[i], b = s.layout(info.W, info.H, info.Orientation); b != nil {
			return b
		}
		g := &p.geo[i]
		// A picture of extreme shape would be blown up: 1 x 60000 to a shorter side of 256.
		if n := int64(g.outW) * int64(g.outH); n > s.MaxPixels {
			return bad(ReasonTooLarge, "%dx%d becomes %dx%d, the limit is %d pixels", info.W, info.H, g.outW, g.outH, s.MaxPixels)
		}
	}
	return nil
}

// draw calls with for each picture that is asked for.
func (p *Pipeline) draw(dst [][]byte, with func(at []byte, stride int, g *geometry)) {
	for i := range p.geo {
		if dst[i] == nil {
			continue
		}
		g := &p.geo[i]
		at, stride := p.target(dst[i], g)
		with(at, stride, g)
		p.finish(dst[i], g)
	}
}

// target prepares dst: it clears what the crop does not cover, and returns where to draw in stored
// orientation. After drawing, finish must be called.
func (p *Pipeline) target(dst []byte, g *geometry) (at []byte, stride int) {
	d := dst
	if g.turn > 1 {
		p.turn = grow(p.turn, len(dst))
		d = p.turn
	}
	if g.cropW != g.dstW || g.cropH != g.dstH {
		clear(d)
	}
	stride = 3 * g.dstW
	return d[g.padY*stride+3*g.padX:], stride
}

func (p *Pipeline) finish(dst []byte, g *geometry) {
	if g.turn > 1 {
		turnRGB(dst, p.turn, g.dstW, g.dstH, g.turn)
	}
}

func (p *Pipeline) drawImage(dst [][]byte, m goimage.Image, studio bool) {
	if a, ok := m.(*goimage.NYCbCrA); ok {
		m = &a.YCbCr
	}
	switch m := m.(type) {
	case *goimage.YCbCr:
		if pl, ok := planesOf(m); ok {
			pl.studio = studio
			p.drawPlanes(dst, &pl)
			return
		}
	case *goimage.Gray:
		if m.Rect.Min == (goimage.Point{}) {
			p.drawPlanes(dst, &planes{gray: true, denom: 1, y: plane{pix: m.Pix, stride: m.Stride, w: m.Rect.Dx(), h: m.Rect.Dy()}})
			return
		}
	}
	p.drawPacked(dst, p.pack(m))
}

// axis returns the coefficients for one direction, from the cache if they were needed before.
func (p *Pipeline) axis(k axisKey) *axis {
	if k.up == 1 {
		k.full, k.smooth = k.in, false
	}
	a := p.axes[k]
	if a == nil {
		if len(p.axes) >= maxAxes {
			clear(p.axes)
		}
		a = newAxis(filters[k.filter], k)
		p.axes[k] = a
	}
	return a
}

// trim lets go of buffers that an unusually large picture has left.
func (p *Pipeline) trim() {
	for _, b := range []*[]byte{&p.rgb, &p.ycc, &p.tmp, &p.turn} {
		if cap(*b) > keepBytes {
			*b = nil
		}
	}
	p.fast.trim()
}

// config reads the declared size of anything but JPEG and TIFF.
func config(format string, src []byte) (goimage.Config, *BadImage) {
	var c goimage.Config
	var err error
	r := bytes.NewReader(src)
	switch format {
	case "png":
		c, err = png.DecodeConfig(r)
	case "gif":
		c, err = gif.DecodeConfig(r)
	case "bmp":
		if c, err = bmp.DecodeConfig(r); errors.Is(err, bmp.ErrUnsupported) {
			return c, bad(ReasonUnsupported, "BMP with %s is not read: save it as JPEG or PNG", bmpProperty(src))
		}
	case "webp":
		if len(src) > 20 && string(src[12:16]) == "VP8X" && src[20]&2 != 0 {
			return c, bad(ReasonUnsupported, "animated WebP is not read: save its first frame as PNG or plain WebP")
		}
		c, err = webp.DecodeConfig(r)
	}
	if err != nil {
		return c, badDecode(err)
	}
	return c, nil
}

func decode(format string, src []byte, cfg goimage.Config) (goimage.Image, *BadImage) {
	var m goimage.Image
	var err error
	r := bytes.NewReader(src)
	switch format {
	case "png":
		m, err = png.Decode(r)
	case "gif":
		if m, err = gif.Decode(r); err == nil {
			m = gifCanvas(m, cfg)
		}
	case "bmp":
		m, err = bmp.Decode(r)
	case "webp":
		m, err = webp.Decode(r)
	}
	if err != nil {
		return nil, badDecode(err)
	}
	return m, nil
}

// gifCanvas puts a GIF's first frame on its screen and gives its transparent pixels back the colour
// that the palette has for them, which image/gif drops.
func gifCanvas(m goimage.Image, cfg goimage.Config) goimage.Image {
	f, ok := m.(*goimage.Paletted)
	if !ok {
		return m
	}
	if global, ok := cfg.ColorModel.(color.Palette); ok && len(global) == len(f.Palette) {
		clearAt := -1
		same := true
		for i := range global {
			if f.Palette[i] == (color.RGBA{}) && global[i] != (color.RGBA{}) && clearAt < 0 {
				clearAt = i
			} else if f.Palette[i] != global[i] {
				same = false
				break
			}
		}
		if same {
			f.Palette = global
		}
	}
	screen := goimage.Rect(0, 0, cfg.Width, cfg.Height)
	if f.Rect == screen {
		return f
	}
	out := goimage.NewPaletted(screen, f.Palette)
	at := f.Rect.Intersect(screen)
	for y := at.Min.Y; y < at.Max.Y; y++ {
		copy(out.Pix[out.PixOffset(at.Min.X, y):][:at.Dx()], f.Pix[f.PixOffset(at.Min.X, y):])
	}
	return out
}

// isUnsupported recognises what the decoders say of valid files that they cannot read.
func isUnsupported(err error) bool {
	var j jpeg.UnsupportedError
	var n png.UnsupportedError
	return errors.As(err, &j) || errors.As(err, &n) || errors.Is(err, bmp.ErrUnsupported) ||
		strings.Contains(err.Error(), "unsupported") || strings.Contains(err.Error(), "not supported")
}
