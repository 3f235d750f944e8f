package image

import (
	"bytes"
	"errors"
	goimage "image"
	"image/color"
	"image/jpeg"
	"image/png"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// deep is a PNG of 16 bits a channel that is small as a file and large as a picture.
func deep(t testing.TB, side int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, goimage.NewNRGBA64(goimage.Rect(0, 0, side, side))); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestPictureThatNeverFitsIsRefusedBeforeItIsDecoded(t *testing.T) {
	src := deep(t, 2000) // 4 million pixels: 44 MB
	p, err := NewPipeline(Imagenet(), Go)
	if err != nil {
		t.Fatal(err)
	}
	dst := make([]byte, 224*224*3)
	p.Share(NewGate(16 << 20))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err = p.Process(dst, src)
	runtime.ReadMemStats(&after)
	var bi *BadImage
	if !errors.As(err, &bi) || bi.Reason != ReasonTooLarge || !strings.Contains(err.Error(), "16 MiB") {
		t.Errorf("got %v", err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
		t.Errorf("%d bytes were allocated for it", n)
	}
	// A small one goes through behind the same gate, and so does the large one behind a wider one.
	if _, err := p.Process(dst, deep(t, 300)); err != nil {
		t.Error(err)
	}
	p.Share(NewGate(64 << 20))
	if _, err := p.Process(dst, src); err != nil {
		t.Error(err)
	}
}

// Several Pipelines behind one gate hold no more than it allows, and all come through.
func TestGateIsShared(t *testing.T) {
	src := deep(t, 1000) // 11 MB
	g := NewGate(12 << 20)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			p, err := NewPipeline(Imagenet(), Go)
			if err != nil {
				t.Error(err)
				return
			}
			p.Share(g)
			dst := make([]byte, 224*224*3)
			for range 3 {
				if _, err := p.Process(dst, src); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if !g.room.TryAcquire(g.size) {
		t.Error("room is still taken")
	}
}

// The cost is at least what decoding allocates, for every format and depth.
func TestCostCoversWhatIsAllocated(t *testing.T) {
	const side = 1500
	rect := goimage.Rect(0, 0, side, side)
	encode := func(m goimage.Image) []byte {
		var b bytes.Buffer
		if err := png.Encode(&b, m); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	var j bytes.Buffer
	if err := jpeg.Encode(&j, goimage.NewYCbCr(rect, goimage.YCbCrSubsampleRatio420), nil); err != nil {
		t.Fatal(err)
	}
	opaque := goimage.NewRGBA(rect)
	for i := range opaque.Pix {
		opaque.Pix[i] = 255
	}
	for name, src := range map[string][]byte{
		"png grey": encode(goimage.NewGray(rect)), "png 16-bit grey": encode(goimage.NewGray16(rect)), "png alpha": encode(goimage.NewNRGBA(rect)),
		"png rgb": encode(opaque), "png 16-bit": encode(goimage.NewNRGBA64(rect)), "png palette": encode(goimage.NewPaletted(rect, color.Palette{color.Black, color.White})),
		"jpeg": j.Bytes(),
	} {
		p, err := NewPipeline(Imagenet(), Go)
		if err != nil {
			t.Fatal(err)
		}
		dst := make([]byte, 224*224*3)
		if _, err := p.Process(dst, deep(t, 256)); err != nil { // what a Pipeline keeps is made now
			t.Fatal(err)
		}
		g := NewGate(1 << 30)
		p.Share(g)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := p.Process(dst, src); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		var head jpegHead
		want := int64(0)
		if name == "jpeg" {
			head, _ = readJPEGHead(src)
			want = scaledCost(&head, 2)
		} else {
			cfg, b := config("png", src)
			if b != nil {
				t.Fatal(b)
			}
			want = cost("png", src, side, side, cfg.ColorModel)
		}
		if n := int64(after.TotalAlloc - before.TotalAlloc); n > want+want/4+6<<20 { // rows, tables, the compressed data
			t.Errorf("%s: %d bytes were allocated, the cost says %d", name, n, want)
		}
	}
}

// TestRoom: what decoding takes is told, with a gate and without.
func TestRoom(t *testing.T) {
	p, err := NewPipeline(Imagenet(), Go)
	if err != nil {
		t.Fatal(err)
	}
	dst := make([]byte, 224*224*3)
	for _, g := range []*Gate{nil, NewGate(64 << 20)} {
		p.Share(g)
		if info, err := p.Process(dst, deep(t, 1000)); err != nil || info.Room != 11e6 {
			t.Errorf("%d bytes, %v", info.Room, err)
		}
		if info, err := p.Process(dst, nil); err == nil || info.Room != 0 {
			t.Errorf("of nothing %d bytes, %v", info.Room, err)
		}
	}
}
