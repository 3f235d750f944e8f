package image

import (
	"context"
	"image/color"

	"golang.org/x/sync/semaphore"
)

// Gate bounds the memory that several Pipelines decode in at the same time: a picture waits until there is room for
// it, and one for which there never is any is refused before it is decoded.
type Gate struct {
	size int64
	room *semaphore.Weighted
}

// NewGate makes a Gate of so many bytes.
func NewGate(size int64) *Gate { return &Gate{size: size, room: semaphore.NewWeighted(size)} }

// maxDecode bounds what one picture may take, whatever the Spec and the gate allow.
const maxDecode = 768 << 20

// Share makes the Pipeline decode behind a Gate.
func (p *Pipeline) Share(g *Gate) { p.gate = g }

// hold waits for room for n bytes, in the place of what the picture held before.
func (p *Pipeline) hold(n int64) *BadImage {
	p.letGo()
	if n > maxDecode {
		return bad(ReasonTooLarge, "decoding it takes %d MiB, the limit is %d MiB", (n+1<<20-1)>>20, maxDecode>>20)
	}
	if p.gate == nil || n <= 0 {
		p.took = max(n, 0)
		return nil
	}
	if n > p.gate.size {
		return bad(ReasonTooLarge, "decoding it takes %d MiB, the memory limit leaves %d MiB for that", (n+1<<20-1)>>20, p.gate.size>>20)
	}
	if err := p.gate.room.Acquire(context.Background(), n); err != nil {
		return bad(ReasonTooLarge, "%v", err) // only a context could end it
	}
	p.held, p.took = n, n
	return nil
}

func (p *Pipeline) letGo() {
	if p.held > 0 {
		p.gate.room.Release(p.held)
		p.held = 0
	}
}

// The cost of decoding a picture is what the decoder allocates for the whole of it, and the copy as RGB where the
// decoder's own form cannot be resampled.

const rgbBytes = 3

// jpegCost is that of the standard library's decoder, which keeps all coefficients of progressive pictures.
func jpegCost(h *jpegHead) int64 {
	perPixel := int64(h.components)
	if h.progressive {
		perPixel += 4 * int64(h.components)
	}
	if h.components == 4 {
		perPixel += rgbBytes
	}
	return int64(h.w) * int64(h.h) * perPixel
}

// scaledCost is that of a decoder which makes a picture of 1/denom of the size.
func scaledCost(h *jpegHead, denom int) int64 {
	w, ht := int64(h.w+denom-1)/int64(denom), int64(h.h+denom-1)/int64(denom)
	return w * ht * int64(max(h.components, rgbBytes))
}

// cost of anything but JPEG and TIFF, from what its header declares.
func cost(format string, src []byte, w, h int, m color.Model) int64 {
	own := int64(4)
	switch m {
	case color.GrayModel:
		own = 1
	case color.Gray16Model:
		own = 2
	case color.RGBA64Model, color.NRGBA64Model:
		own = 8
	case color.YCbCrModel:
		own = 3
	}
	if _, ok := m.(color.Palette); ok {
		own = 1
	}
	perPixel := own + rgbBytes
	switch format {
	case "png":
		if len(src) > 28 && src[28] != 0 { // interlaced: passes are pictures of their own
			perPixel += own
		}
	case "gif":
		perPixel++ // a frame, and the screen that it is put on
	case "webp":
		perPixel += own
	}
	return int64(w) * int64(h) * perPixel
}
