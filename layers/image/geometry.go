package image

import "math"

// geometry is where the result lies in a picture. All of it is in stored orientation: what EXIF asks
// for is done by turning the finished crop.
type geometry struct {
	srcW, srcH int // stored size
	outW, outH int // resized size
	cropX      int // first column of the crop in the resized picture
	cropY      int
	cropW      int // columns and rows taken, at most those of the resized picture
	cropH      int
	padX, padY int    // where they go in the result, in stored orientation
	dstW, dstH int    // the result's size in stored orientation
	turn       int    // EXIF orientation to apply to the result, 1: none
	filter     string // of the interpolation
}

// layout places the result of s in a picture of w x h.
func (s Spec) layout(w, h, orientation int) (geometry, *BadImage) {
	g := geometry{srcW: w, srcH: h, turn: 1, filter: s.interpolation()}
	if s.ApplyEXIF {
		g.turn = orientation
	}
	// From here on ow, oh and the crop are in the orientation that the viewer sees.
	ow, oh := w, h
	if g.turn >= 5 {
		ow, oh = h, w
	}
	switch {
	case s.Stretch:
		ow, oh = s.CropW, s.CropH
	case s.ResizeH > 0:
		ow, oh = s.ResizeW, s.ResizeH
	case s.Resize > 0:
		// torchvision: the shorter side becomes Resize, the longer one int(Resize * long / short).
		if ow <= oh {
			ow, oh = s.Resize, int(int64(s.Resize)*int64(oh)/int64(ow))
		} else {
			ow, oh = int(int64(s.Resize)*int64(ow)/int64(oh)), s.Resize
		}
	}
	if s.Exact && (ow != s.CropW || oh != s.CropH) {
		return g, bad(ReasonWrongSize, "picture has %dx%d, the model takes %dx%d", ow, oh, s.CropW, s.CropH)
	}
	x, cw, px := s.centre(ow, s.CropW)
	y, ch, py := s.centre(oh, s.CropH)
	dw, dh := s.CropW, s.CropH
	// To stored orientation. Seen from the stored picture, the orientations reverse the axes as follows.
	swap := g.turn >= 5
	if swap {
		ow, oh, x, y, cw, ch, px, py, dw, dh = oh, ow, y, x, ch, cw, py, px, dh, dw
	}
	flipX, flipY := turnFlips(g.turn)
	if flipX {
		x, px = ow-x-cw, dw-px-cw
	}
	if flipY {
		y, py = oh-y-ch, dh-py-ch
	}
	g.outW, g.outH, g.cropX, g.cropY, g.cropW, g.cropH = ow, oh, x, y, cw, ch
	g.padX, g.padY, g.dstW, g.dstH = px, py, dw, dh
	return g, nil
}

// centre returns where a centred crop of want begins in n, how much of it exists, and the black border
// before it, as torchvision's center_crop: Python rounds half to even.
func (s Spec) centre(n, want int) (off, length, pad int) {
	switch {
	case n >= want && s.FloorCrop:
		return (n - want) / 2, want, 0
	case n >= want:
		return int(math.RoundToEven(float64(n-want) / 2)), want, 0
	case s.FloorCrop:
		return 0, n, (want - n + 1) / 2
	}
	return 0, n, (want - n) / 2
}

// turnFlips says whether the stored columns and rows run against the seen ones.
//
// EXIF orientation n: 1 as is, 2 mirrored, 3 half turn, 4 upside down, 5 transposed, 6 needs a quarter
// turn clockwise, 7 transverse, 8 needs a quarter turn counter-clockwise.
func turnFlips(n int) (flipX, flipY bool) {
	switch n {
	case 2:
		return true, false
	case 3:
		return true, true
	case 4:
		return false, true
	case 6: // seen x = H-1-stored y
		return false, true
	case 7:
		return true, true
	case 8: // seen y = W-1-stored x
		return true, false
	}
	return false, false
}

// turnRGB writes src (w x h) to dst as orientation n says.
func turnRGB(dst, src []byte, w, h, n int) {
	if n <= 1 || n > 8 {
		copy(dst, src)
		return
	}
	flipX, flipY := turnFlips(n)
	for y := range h {
		sy := y
		if flipY {
			sy = h - 1 - y
		}
		for x := range w {
			sx := x
			if flipX {
				sx = w - 1 - x
			}
			d := (sy*w + sx) * 3
			if n >= 5 {
				d = (sx*h + sy) * 3
			}
			s := (y*w + x) * 3
			dst[d], dst[d+1], dst[d+2] = src[s], src[s+1], src[s+2]
		}
	}
}
