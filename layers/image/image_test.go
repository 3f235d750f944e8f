package image

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	goimage "image"
	"image/color"
	"image/jpeg"
	"image/png"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// scene draws a picture with energy at all scales, about as dense as a detailed photograph. Large ones are
// mirrored from a part.
func scene(w, h int, seed uint64) *goimage.RGBA {
	const part = 320
	r := rand.New(rand.NewPCG(seed, 1))
	acc := make([]float64, part*part*3)
	for step := 64; step >= 1; step /= 2 {
		n := part/step + 2
		grid := make([]float64, n*n*3)
		for i := range grid {
			grid[i] = r.NormFloat64() * 3.6 * math.Pow(float64(step), 0.55)
		}
		for y := range part {
			gy, fy := y/step, float64(y%step)/float64(step)
			for x := range part {
				gx, fx := x/step, float64(x%step)/float64(step)
				for c := range 3 {
					a, b := grid[(gy*n+gx)*3+c:], grid[((gy+1)*n+gx)*3+c:]
					acc[(y*part+x)*3+c] += (a[0]*(1-fx)+a[3]*fx)*(1-fy) + (b[0]*(1-fx)+b[3]*fx)*fy
				}
			}
		}
	}
	mirror := func(i int) int {
		if i %= 2 * part; i >= part {
			i = 2*part - 1 - i
		}
		return i
	}
	m := goimage.NewRGBA(goimage.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			p := m.Pix[m.PixOffset(x, y):][:4]
			for c := range 3 {
				p[c] = byte(min(max(128+acc[(mirror(y)*part+mirror(x))*3+c], 0), 255))
			}
			p[3] = 255
		}
	}
	return m
}

func sceneJPEG(t testing.TB, w, h int, seed uint64) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, scene(w, h, seed), &jpeg.Options{Quality: 85}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func pipeline(t testing.TB, s Spec, d DecoderChoice) *Pipeline {
	t.Helper()
	p, err := NewPipeline(s, d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// process runs src and returns the result's bytes.
func process(t testing.TB, p *Pipeline, src []byte) ([]byte, Info, error) {
	t.Helper()
	dst := make([]byte, p.specs[0].CropH*p.specs[0].CropW*3)
	info, err := p.Process(dst, src)
	return dst, info, err
}

func wantBad(t *testing.T, err error, reason string) {
	t.Helper()
	var b *BadImage
	if !errors.As(err, &b) {
		t.Fatalf("got error %v (%T), want a *BadImage", err, err)
	}
	if b.Reason != reason {
		t.Fatalf("got reason %q (%v), want %q", b.Reason, err, reason)
	}
	if b.ErrorID() == "" || b.Hint() == "" {
		t.Error("no error id or no hint")
	}
}

func TestSpec(t *testing.T) {
	for _, s := range []Spec{{}, {CropH: 1}, {CropH: 1, CropW: 1 << 20}, {CropH: 1, CropW: 1, Resize: -1},
		{CropH: 1, CropW: 1, Interpolation: "cubicle"}, {CropH: 1, CropW: 1, Exact: true, Stretch: true},
		{CropH: 1, CropW: 1, ResizeH: 5}, {CropH: 1, CropW: 1, ResizeH: 5, ResizeW: 5, Resize: 5}, {CropH: 1, CropW: 1, ResizeH: 5, ResizeW: 5000},
		{CropH: 1, CropW: 1, Stretch: true, Resize: 5}, {CropH: 1, CropW: 1, MaxPixels: -1}} {
		if _, err := NewPipeline(s, Go); err == nil {
			t.Errorf("%+v was accepted", s)
		}
	}
	if _, err := NewPipeline(Imagenet(), DecoderChoice(9)); err == nil {
		t.Error("unknown decoder was accepted")
	}
	p := pipeline(t, Imagenet(), Go)
	if _, err := p.Process(make([]byte, 5), nil); err == nil || errors.As(err, new(*BadImage)) {
		t.Errorf("short destination: got %v", err)
	}
}

// TestLayout checks sizes and offsets against torchvision's arithmetic, worked out by hand.
func TestLayout(t *testing.T) {
	for _, c := range []struct{ w, h, outW, outH, x, y int }{
		{500, 375, 341, 256, 58, 16},  // (341-224)/2 = 58.5 rounds to the even 58
		{375, 500, 256, 341, 16, 58},  //
		{343, 256, 343, 256, 60, 16},  // 59.5 rounds to the even 60
		{256, 256, 256, 256, 16, 16},  //
		{10, 30, 256, 768, 16, 272},   //
		{1000, 999, 256, 256, 16, 16}, // int(256.256)
	} {
		g, b := Imagenet().layout(c.w, c.h, 1)
		if b != nil {
			t.Fatal(b)
		}
		if g.outW != c.outW || g.outH != c.outH || g.cropX != c.x || g.cropY != c.y || g.cropW != 224 || g.cropH != 224 {
			t.Errorf("%dx%d: got %+v, want %+v", c.w, c.h, g, c)
		}
	}
}

// TestTurn applies each orientation to a picture with one marked corner, and back through the layout.
func TestTurn(t *testing.T) {
	// Where the stored pixel (0,0) of a 3 x 2 picture is seen.
	seen := map[int][2]int{1: {0, 0}, 2: {2, 0}, 3: {2, 1}, 4: {0, 1}, 5: {0, 0}, 6: {1, 0}, 7: {1, 2}, 8: {0, 2}}
	src := make([]byte, 3*3*2)
	src[0] = 9
	for n, at := range seen {
		dst := make([]byte, len(src))
		turnRGB(dst, src, 3, 2, n)
		w := 3
		if n >= 5 {
			w = 2
		}
		if dst[(at[1]*w+at[0])*3] != 9 {
			t.Errorf("orientation %d: %v", n, dst)
		}
	}
}

func TestExact(t *testing.T) {
	for _, d := range decoders(t) {
		p := pipeline(t, Spec{CropH: 48, CropW: 64, Exact: true}, d)
		var b bytes.Buffer
		m := scene(64, 48, 3)
		if err := png.Encode(&b, m); err != nil {
			t.Fatal(err)
		}
		got, _, err := process(t, p, b.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		for i := range 64 * 48 {
			if !bytes.Equal(got[3*i:3*i+3], m.Pix[4*i:4*i+3]) {
				t.Fatalf("pixel %d differs", i)
			}
		}
		_, _, err = process(t, p, sceneJPEG(t, 65, 48, 3))
		wantBad(t, err, ReasonWrongSize)
	}
}

func TestStretch(t *testing.T) {
	p := pipeline(t, Spec{CropH: 20, CropW: 50, Stretch: true}, Go)
	g, _ := p.specs[0].layout(100, 300, 1)
	if g.outW != 50 || g.outH != 20 || g.cropX != 0 || g.cropY != 0 {
		t.Errorf("got %+v", g)
	}
}

// TestReuse runs pictures of different kinds through one Pipeline in two orders: what came before must
// not show.
func TestReuse(t *testing.T) {
	cases := goldenCases(t)
	for _, d := range decoders(t) {
		p := pipeline(t, Imagenet(), d)
		first := map[string][]byte{}
		for _, c := range cases {
			first[c.Source], _, _ = process(t, p, readFile(t, c.Source))
		}
		for i := len(cases) - 1; i >= 0; i-- {
			name := cases[i].Source
			got, _, err := process(t, p, readFile(t, name))
			if err != nil {
				t.Fatal(name, err)
			}
			if !bytes.Equal(got, first[name]) {
				t.Errorf("%v: %s depends on what came before", d, name)
			}
			if fresh, _, _ := process(t, pipeline(t, Imagenet(), d), readFile(t, name)); !bytes.Equal(got, fresh) {
				t.Errorf("%v: %s differs in a new Pipeline", d, name)
			}
		}
	}
}

// TestTruncated cuts every test picture: both decoders must call each cut bad, except in the trailing
// bytes that formats other than JPEG do not need.
func TestTruncated(t *testing.T) {
	for _, d := range decoders(t) {
		p := pipeline(t, Imagenet(), d)
		for _, c := range goldenCases(t) {
			src := readFile(t, c.Source)
			for _, share := range []float64{0.1, 0.3, 0.5, 0.8, 0.9} {
				n := int(float64(len(src)) * share)
				if ext := c.Source[strings.LastIndexByte(c.Source, '.'):]; ext == ".tiff" || strings.HasPrefix(c.Source, "animated") {
					continue // the directory stands anywhere; the second frame is not needed
				}
				_, _, err := process(t, p, src[:n])
				if !errors.As(err, new(*BadImage)) {
					t.Errorf("%v: %s cut to %d of %d bytes: got %v", d, c.Source, n, len(src), err)
				}
			}
			if strings.HasSuffix(c.Source, ".jpg") {
				for _, n := range []int{len(src) - 1, len(src) - 2, len(src) - 3} {
					_, _, err := process(t, p, src[:n])
					wantBad(t, err, ReasonTruncated)
				}
			}
		}
	}
}

func TestBadImages(t *testing.T) {
	photo := readFile(t, "photo.jpg")
	bomb := func(format string) []byte {
		switch format {
		case "jpeg": // 60000 x 60000 in the frame header
			b := bytes.Clone(photo)
			i := bytes.Index(b, []byte{0xFF, 0xC0})
			binary.BigEndian.PutUint16(b[i+5:], 60000)
			binary.BigEndian.PutUint16(b[i+7:], 60000)
			return b
		case "png": // 20000 x 20000 in the header
			var b bytes.Buffer
			if err := png.Encode(&b, goimage.NewGray(goimage.Rect(0, 0, 2, 2))); err != nil {
				t.Fatal(err)
			}
			head := b.Bytes()[12:33]
			binary.BigEndian.PutUint32(head[4:], 20000)
			binary.BigEndian.PutUint32(head[8:], 20000)
			binary.BigEndian.PutUint32(head[17:], crc32.ChecksumIEEE(head[:17]))
			return b.Bytes()
		}
		return nil
	}
	zero := bytes.Clone(photo)
	i := bytes.Index(zero, []byte{0xFF, 0xC0})
	binary.BigEndian.PutUint16(zero[i+5:], 0)
	noise := bytes.Clone(photo)
	for i := len(noise) / 2; i < len(noise)*3/4; i++ {
		noise[i] = 0xFE
	}
	noTable := bytes.Clone(photo)
	i = bytes.Index(noTable, []byte{0xFF, 0xDB})
	noTable[i+1] = 0xE7
	for name, c := range map[string]struct {
		src    []byte
		reason string
	}{
		"no table":   {noTable, ReasonCorrupt},
		"empty":      {nil, ReasonEmpty},
		"text":       {[]byte("<html>not found</html>"), ReasonUnknown},
		"soi":        {photo[:3], ReasonTruncated},
		"head":       {photo[:30], ReasonTruncated},
		"bomb jpeg":  {bomb("jpeg"), ReasonTooLarge},
		"bomb png":   {bomb("png"), ReasonTooLarge},
		"no height":  {zero, ReasonCorrupt},
		"overlong":   {make([]byte, DefaultMaxBytes+1), ReasonTooLarge},
		"png header": {[]byte("\x89PNG\r\n\x1a\n"), ReasonTruncated},
		"noise":      {noise, ReasonCorrupt},
	} {
		for _, d := range decoders(t) {
			t.Run(d.String()+"/"+name, func(t *testing.T) {
				_, _, err := process(t, pipeline(t, Imagenet(), d), c.src)
				wantBad(t, err, c.reason)
			})
		}
	}
}

// TestForeignFormats: what is met and not read is called by its name.
func TestForeignFormats(t *testing.T) {
	rle := make([]byte, 54)
	copy(rle, "BM")
	rle[14], rle[18], rle[22], rle[26], rle[28], rle[30] = 40, 4, 4, 1, 8, 1
	high := bytes.Clone(rle)
	high[28], high[30] = 16, 0
	for src, want := range map[string]string{
		"\x00\x00\x00\x18ftypheic\x00\x00": "HEIF (HEIC) is not read: convert to JPEG or PNG", "\x00\x00\x00\x18ftypmif1": "HEIF", "\x00\x00\x00\x20ftypavif": "AVIF",
		"\xff\x0a\x00": "JPEG XL", "8BPS\x00\x01": "PSD", "\x00\x00\x01\x00\x01": "ICO", "<svg xmlns=''>": "SVG", "\xef\xbb\xbf<?xml version='1.0'?>\n<svg>": "SVG",
		"\x00\x00\x00\x18ftypmp42": "the first bytes are", "<?xml?><html>": "the first bytes are", "BM": "the first bytes are",
		string(rle): "BMP with run lengths (RLE)", string(high): "BMP with 16 bits a pixel",
	} {
		_, _, err := process(t, pipeline(t, Imagenet(), Go), []byte(src))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", src, err, want)
		}
	}
}

// TestScanBomb asks for more passes over a large picture than any encoder writes.
func TestScanBomb(t *testing.T) {
	src := readFile(t, "progressive.jpg")
	i := bytes.Index(src, []byte{0xFF, 0xDA})
	long := append(bytes.Clone(src[:len(src)-2]), bytes.Repeat(src[i:i+10], 1000)...)
	for _, d := range decoders(t) {
		_, _, err := process(t, pipeline(t, Imagenet(), d), long)
		wantBad(t, err, ReasonTooLarge)
	}
}

// TestScaledDecode: the decoder in Go uses DCT scaling where the picture is large enough, and stays close to the full
// decode; libjpeg-turbo never does.
func TestScaledDecode(t *testing.T) {
	for _, d := range decoders(t) {
		for _, c := range []struct {
			w, h  int
			denom map[DecoderChoice]int
		}{
			{500, 375, map[DecoderChoice]int{Go: 1, Turbo: 1}},
			{683, 511, map[DecoderChoice]int{Go: 1, Turbo: 1}},
			{683, 512, map[DecoderChoice]int{Go: 2, Turbo: 1}},
			{1024, 768, map[DecoderChoice]int{Go: 2, Turbo: 1}},
			{1365, 1024, map[DecoderChoice]int{Go: 2, Turbo: 1}},
			{2080, 1560, map[DecoderChoice]int{Go: 4, Turbo: 1}},
			{16 * 70, 16 * 64, map[DecoderChoice]int{Go: 8, Turbo: 1}},
		} {
			src := sceneJPEG(t, c.w, c.h, 7)
			s := Imagenet()
			if c.denom[Go] == 8 {
				s.Resize, s.CropW, s.CropH = 64, 56, 56
			}
			got, info, err := process(t, pipeline(t, s, d), src)
			if err != nil {
				t.Fatal(err)
			}
			s.NoScaledDecode = true
			want, _, err := process(t, pipeline(t, s, d), src)
			if err != nil {
				t.Fatal(err)
			}
			mean, most := difference(got, want)
			t.Logf("%v %dx%d: 1/%d, mean %.3f, largest %d", d, c.w, c.h, info.Scaled, mean, most)
			if info.Scaled != c.denom[d] {
				t.Errorf("%v %dx%d: decoded at 1/%d, want 1/%d", d, c.w, c.h, info.Scaled, c.denom[d])
			}
			if mean > 1 {
				t.Errorf("%v %dx%d: differs by %.2f levels on average", d, c.w, c.h, mean)
			}
		}
	}
}

// TestOwnDecoder: ordinary files must take the fast way, and give what the standard library gives, except for the
// last bit of its inverse DCT.
func TestOwnDecoder(t *testing.T) {
	p := pipeline(t, Spec{CropH: 1, CropW: 1}, Go)
	for _, c := range goldenCases(t) {
		if !strings.HasSuffix(c.Source, ".jpg") {
			continue
		}
		src := readFile(t, c.Source)
		head, b := readJPEGHead(src)
		if b != nil {
			t.Fatal(b)
		}
		// Without a crop every block counts.
		p.geo[0] = geometry{srcW: head.w, srcH: head.h, outW: head.w, outH: head.h, cropW: head.w, cropH: head.h, turn: 1, filter: "bilinear"}
		got := p.fast.decode(src, &head, 1, p)
		if odd := strings.HasPrefix(c.Source, "progressive") || strings.HasPrefix(c.Source, "cmyk"); (got == nil) != odd {
			t.Errorf("%s: decoded here: %v", c.Source, got != nil)
		}
		if got == nil {
			continue
		}
		m, err := jpeg.Decode(bytes.NewReader(src))
		if err != nil {
			t.Fatal(err)
		}
		var want planes
		switch m := m.(type) {
		case *goimage.YCbCr:
			want, _ = planesOf(m)
		case *goimage.Gray:
			want = planes{gray: true, y: plane{pix: m.Pix, stride: m.Stride, w: head.w, h: head.h}}
		}
		if got.up != want.up && !got.gray {
			t.Fatalf("%s: subsampling %v, want %v", c.Source, got.up, want.up)
		}
		for i, pl := range [][2]plane{{got.y, want.y}, {got.cb, want.cb}, {got.cr, want.cr}} {
			a, b := pl[0], pl[1]
			if a.w != b.w || a.h != b.h {
				t.Fatalf("%s: plane %d is %dx%d, want %dx%d", c.Source, i, a.w, a.h, b.w, b.h)
			}
			for y := range a.h {
				if _, most := difference(a.pix[y*a.stride:][:a.w], b.pix[y*b.stride:][:a.w]); most > 1 {
					t.Fatalf("%s: plane %d differs by %d in row %d", c.Source, i, most, y)
				}
			}
		}
	}
}

// TestDamage flips bytes in the coded data: whatever the fast way accepts, the standard library must too.
func TestDamage(t *testing.T) {
	src := readFile(t, "landscape.jpg")
	p := pipeline(t, Spec{Resize: 32, CropH: 32, CropW: 32}, Go)
	r := rand.New(rand.NewPCG(3, 3))
	taken := 0
	for range 2000 {
		b := bytes.Clone(src)
		for range 1 + r.IntN(3) {
			b[3+r.IntN(len(b)-3)] = byte(r.IntN(256))
		}
		head, bad := readJPEGHead(b)
		if bad != nil {
			continue
		}
		p.geo[0], bad = p.specs[0].layout(max(head.w, 1), max(head.h, 1), 1)
		if bad != nil || head.w*head.h == 0 || head.w*head.h > 1<<20 || head.noQuant {
			continue
		}
		if p.fast.decode(b, &head, 1, p) == nil {
			continue
		}
		taken++
		if _, err := jpeg.Decode(bytes.NewReader(b)); err != nil {
			t.Fatalf("accepted what the standard library refuses: %v", err)
		}
	}
	if taken < 100 {
		t.Errorf("only %d damaged pictures were accepted: the test tests nothing", taken)
	}
}

// TestPack: colours survive under alpha.
func TestPack(t *testing.T) {
	var p Pipeline
	m := goimage.NewRGBA(goimage.Rect(5, 5, 6, 6))
	m.Set(5, 5, color.NRGBA{200, 100, 50, 128})
	k := p.pack(m)
	for i, want := range []int{200, 100, 50} {
		if d := int(k.pix[i]) - want; d < -2 || d > 2 {
			t.Errorf("premultiplied pixel became %v", k.pix[:3])
		}
	}
	n := goimage.NewNRGBA64(goimage.Rect(0, 0, 1, 1))
	n.SetNRGBA64(0, 0, color.NRGBA64{0x1234, 0x80FF, 0xFF00, 0})
	if k := p.pack(n); !bytes.Equal(k.pix, []byte{0x12, 0x80, 0xFF}) {
		t.Errorf("16-bit pixel became %x", k.pix)
	}
}

func TestEXIF(t *testing.T) {
	entry := func(order binary.AppendByteOrder, head string, kind uint16, value uint32, short bool) []byte {
		b := []byte(head)
		b = order.AppendUint32(b, 8)
		b = order.AppendUint16(b, 1)
		b = order.AppendUint16(b, 0x0112)
		b = order.AppendUint16(b, kind)
		b = order.AppendUint32(b, 1)
		if short {
			b = order.AppendUint16(b, uint16(value))
			return order.AppendUint16(b, 0)
		}
		return order.AppendUint32(b, value)
	}
	le, be := binary.LittleEndian, binary.BigEndian
	for name, c := range map[string]struct {
		b    []byte
		want int
	}{
		"little":   {entry(le, "II*\x00", 3, 6, true), 6},
		"big":      {entry(be, "MM\x00*", 3, 8, true), 8},
		"long":     {entry(be, "MM\x00*", 4, 3, false), 3},
		"nine":     {entry(le, "II*\x00", 3, 9, true), 0},
		"huge":     {entry(le, "II*\x00", 4, 0xFFFFFFFF, false), 0},
		"text":     {entry(le, "II*\x00", 2, 6, true), 0},
		"cut":      {entry(le, "II*\x00", 3, 6, true)[:18], 0},
		"far":      {[]byte("II*\x00\xff\xff\xff\xff"), 0},
		"no magic": {[]byte("XX*\x00\x08\x00\x00\x00\x00\x00"), 0},
		"empty":    {nil, 0},
	} {
		if got := exifOrientation(c.b); got != c.want {
			t.Errorf("%s: got %d, want %d", name, got, c.want)
		}
	}
}
