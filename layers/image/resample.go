package image

import "math"

// filter is one of PIL's resampling kernels.
type filter struct {
	support float64
	at      func(x float64) float64
}

// filters by name; nearest has no kernel and is built by nearestAxis.
var filters = map[string]filter{
	"nearest": {},
	"box":     {0.5, boxFilter},
	"bilinear": {1, func(x float64) float64 {
		return max(0, 1-math.Abs(x))
	}},
	"hamming": {1, hammingFilter},
	"bicubic": {2, bicubicFilter},
	"lanczos": {3, lanczosFilter},
}

func boxFilter(x float64) float64 {
	if x > -0.5 && x <= 0.5 {
		return 1
	}
	return 0
}

func sinc(x float64) float64 {
	if x == 0 {
		return 1
	}
	x *= math.Pi
	return math.Sin(x) / x
}

func hammingFilter(x float64) float64 {
	x = math.Abs(x)
	if x >= 1 {
		return 0
	}
	return sinc(x) * (0.54 + 0.46*math.Cos(math.Pi*x))
}

// bicubicFilter is Keys' cubic with a = -0.5, as in PIL.
func bicubicFilter(x float64) float64 {
	const a = -0.5
	x = math.Abs(x)
	switch {
	case x < 1:
		return ((a+2)*x-(a+3))*x*x + 1
	case x < 2:
		return (((x-5)*x+8)*x - 4) * a
	}
	return 0
}

func lanczosFilter(x float64) float64 {
	if x >= -3 && x < 3 {
		return sinc(x) * sinc(x/3)
	}
	return 0
}

// coefBits is the fixed-point precision of coefficients: 32 bits less 8 of the pixel less 2 for the
// overshoot of kernels with negative lobes, as in PIL. Using the same number gives the same bytes.
const coefBits = 32 - 8 - 2

// axis holds the coefficients of one direction for the outputs of a crop. Every output has the same
// number of taps, padded with zeros, and all taps lie inside the source.
type axis struct {
	n     int     // outputs
	taps  int     // taps of each output
	first []int32 // per output: source index of its first tap
	coef  []int32 // n x taps, coefBits fractional bits
	in0   int     // the source interval [in0, in1) that the outputs depend on
	in1   int

	shuf [2]*shuffles // for the vector kernels, made on demand: single samples, RGB
}

// axisKey names an axis, for reuse from picture to picture.
type axisKey struct {
	filter          string // by name
	in, out, off, n int
	up, full        int  // the source is a coarser view of a line of length full, by a factor of up
	smooth          bool // see newAxis
}

// newAxis computes the coefficients for outputs [off, off+n) of resizing in to out (PIL, Resample.c,
// precompute_coeffs). If up > 1, the source is a coarser view of the line that is meant, and the step
// from it to that line, being linear, is multiplied into the coefficients: for chroma the interpolation
// that libjpeg calls fancy upsampling (smooth), for DCT-scaled pictures, whose samples are averages, repetition.
// The latter halves the distance to PIL against resizing the scaled picture as if it were an original.
func newAxis(f filter, k axisKey) *axis {
	length := k.in
	if k.up > 1 {
		length = k.full
	}
	scale := float64(length) / float64(k.out)
	fscale := max(scale, 1)
	support := f.support * fscale
	// Rows of (first, weights), before padding.
	first := make([]int, k.n)
	weights := make([][]float64, k.n)
	taps := 0
	for i := range k.n {
		centre := (float64(k.off+i) + 0.5) * scale
		var lo, hi int
		var w []float64
		if f.at == nil { // nearest
			lo = min(int(centre), length-1)
			w = []float64{1}
		} else {
			lo = max(int(centre-support+0.5), 0)
			hi = min(int(centre+support+0.5), length)
			w = make([]float64, hi-lo)
			sum := 0.0
			for x := range w {
				w[x] = f.at((float64(x+lo) - centre + 0.5) / fscale)
				sum += w[x]
			}
			if sum != 0 {
				for x := range w {
					w[x] /= sum
				}
			}
		}
		if k.up > 1 {
			lo, w = upsampled(lo, w, k.up, k.in, k.smooth)
		}
		for len(w) > 1 && fixed(w[0]) == 0 {
			lo, w = lo+1, w[1:]
		}
		for len(w) > 1 && fixed(w[len(w)-1]) == 0 {
			w = w[:len(w)-1]
		}
		first[i], weights[i] = lo, w
		taps = max(taps, len(w))
	}
	a := &axis{n: k.n, taps: taps, first: make([]int32, k.n), coef: make([]int32, k.n*taps), in0: k.in, in1: 0}
	for i, w := range weights {
		// Padded taps must stay inside the source: near its end the zeros go in front.
		lo := min(first[i], k.in-taps)
		a.first[i] = int32(lo)
		for x, v := range w {
			a.coef[i*taps+first[i]-lo+x] = fixed(v)
		}
		a.in0, a.in1 = min(a.in0, lo), max(a.in1, lo+taps)
	}
	return a
}

// fixed rounds as PIL does: half away from zero.
func fixed(v float64) int32 {
	if v < 0 {
		return int32(-0.5 + v*(1<<coefBits))
	}
	return int32(0.5 + v*(1<<coefBits))
}

// upsampled rewrites weights over an upsampled line as weights over the stored line of length n.
func upsampled(lo int, w []float64, up, n int, smooth bool) (int, []float64) {
	base := max(lo/up-1, 0)
	out := make([]float64, (lo+len(w)-1)/up+2-base)
	add := func(i int, v float64) {
		i = min(max(i, 0), n-1) - base
		out[i] += v
	}
	for x, v := range w {
		c := (lo + x) / up
		if !smooth {
			add(c, v)
			continue
		}
		// Where the wanted sample lies from the middle of stored sample c, in stored samples.
		d := (float64((lo+x)%up)+0.5)/float64(up) - 0.5
		add(c, v*(1-math.Abs(d)))
		if d < 0 {
			add(c-1, -v*d)
		} else {
			add(c+1, v*d)
		}
	}
	if base+len(out) > n {
		out = out[:n-base]
	}
	return base, out
}

// clip8 drops the fraction and bounds to a byte.
func clip8(v int32) byte {
	v >>= coefBits
	if uint32(v) > 255 {
		return byte(^(v >> 31))
	}
	return byte(v)
}

const half = 1 << (coefBits - 1)

// hline resamples one line of single bytes: outputs from on, where src[0] is source index base.
func (a *axis) hline(dst, src []byte, base, from int) {
	dst = dst[:a.n]
	first := a.first[:len(dst)]
	switch a.taps {
	case 2:
		coef := a.coef[:2*len(dst)]
		for i := from; i < len(dst); i++ {
			s := src[int(first[i])-base:][:2]
			k := coef[2*i:][:2]
			dst[i] = clip8(half + int32(s[0])*k[0] + int32(s[1])*k[1])
		}
	case 3:
		coef := a.coef[:3*len(dst)]
		for i := from; i < len(dst); i++ {
			s := src[int(first[i])-base:][:3]
			k := coef[3*i:][:3]
			dst[i] = clip8(half + int32(s[0])*k[0] + int32(s[1])*k[1] + int32(s[2])*k[2])
		}
	case 4:
		coef := a.coef[:4*len(dst)]
		for i := from; i < len(dst); i++ {
			s := src[int(first[i])-base:][:4]
			k := coef[4*i:][:4]
			dst[i] = clip8(half + int32(s[0])*k[0] + int32(s[1])*k[1] + int32(s[2])*k[2] + int32(s[3])*k[3])
		}
	default:
		for i := from; i < len(dst); i++ {
			k := a.coef[i*a.taps:][:a.taps]
			s := src[int(first[i])-base:][:len(k)]
			sum := int32(half)
			for t, c := range k {
				sum += int32(s[t]) * c
			}
			dst[i] = clip8(sum)
		}
	}
}

// hline3 does the same for interleaved RGB; from is a pixel.
func (a *axis) hline3(dst, src []byte, base, from int) {
	dst = dst[:3*a.n]
	for i := from; i < a.n; i++ {
		k := a.coef[i*a.taps:][:a.taps]
		s := src[3*(int(a.first[i])-base):][:3*len(k)]
		var r, g, b int32 = half, half, half
		for t, c := range k {
			p := s[3*t:][:3]
			r += int32(p[0]) * c
			g += int32(p[1]) * c
			b += int32(p[2]) * c
		}
		d := dst[3*i:][:3]
		d[0], d[1], d[2] = clip8(r), clip8(g), clip8(b)
	}
}

// vline mixes lines of len(dst) bytes, stride apart from src[0] on, with one coefficient each.
func vline(dst, src []byte, stride int, k []int32) {
	n := len(dst)
	switch len(k) {
	case 2:
		a, b := src[:n], src[stride:][:n]
		k0, k1 := k[0], k[1]
		for i := range dst {
			dst[i] = clip8(half + int32(a[i])*k0 + int32(b[i])*k1)
		}
	case 3:
		a, b, c := src[:n], src[stride:][:n], src[2*stride:][:n]
		k0, k1, k2 := k[0], k[1], k[2]
		for i := range dst {
			dst[i] = clip8(half + int32(a[i])*k0 + int32(b[i])*k1 + int32(c[i])*k2)
		}
	case 4:
		a, b, c, d := src[:n], src[stride:][:n], src[2*stride:][:n], src[3*stride:][:n]
		k0, k1, k2, k3 := k[0], k[1], k[2], k[3]
		for i := range dst {
			dst[i] = clip8(half + int32(a[i])*k0 + int32(b[i])*k1 + int32(c[i])*k2 + int32(d[i])*k3)
		}
	default:
		for i := range dst {
			sum := int32(half)
			for t, c := range k {
				sum += int32(src[t*stride+i]) * c
			}
			dst[i] = clip8(sum)
		}
	}
}

// resample scales one plane (channels 1) or interleaved picture (channels 3) into dst, which has
// y.n rows, stride apart. src[0] is the sample at column x0, row y0 of the source. tmp is scratch and is
// returned, grown if need be.
func resample(dst []byte, dstStride int, src []byte, srcStride, x0, y0, channels int, x, y *axis, tmp []byte) []byte {
	w := x.n * channels
	rows := y.in1 - y.in0
	tmp = grow(tmp, rows*w)
	for r := range rows {
		line := src[(y.in0+r-y0)*srcStride:]
		if channels == 1 {
			x.row(tmp[r*w:][:w], line, x0)
		} else {
			x.row3(tmp[r*w:][:w], line, x0)
		}
	}
	for r := range y.n {
		column(dst[r*dstStride:][:w], tmp[(int(y.first[r])-y.in0)*w:], w, y.coef[r*y.taps:][:y.taps])
	}
	return tmp
}

// grow returns a slice of n bytes, b's storage if it is large enough. The content is undefined.
func grow(b []byte, n int) []byte {
	if cap(b) >= n {
		return b[:n]
	}
	return make([]byte, n, n+n/8)
}
