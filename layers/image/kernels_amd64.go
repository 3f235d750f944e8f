package image

import "golang.org/x/sys/cpu"

// The vector kernels compute what hline, hline3, vline and yccToRGB compute, in the same 32-bit arithmetic, eight
// outputs at a time; a test compares them byte for byte.

var hasAVX2 = cpu.X86.HasAVX2

// shuffles is an axis rearranged for rowAVX2, in groups of eight outputs (samples, not pixels), or of two pixels where the
// picture shrinks so much that four samples of the result lie too far apart. The outputs of each half of a group read
// their t-th tap from 16 bytes that begin at base + t*channels; mask picks from these.
type shuffles struct {
	groups int
	per    int // outputs of a group: 8, or 6 of which keep says where they are
	keep   *[8]byte
	base   []int32 // two per group, in bytes from sample in0
	mask   []byte  // 32 per group: every fourth byte picks, the others give zero
	coef   []int32 // 8 x taps per group
}

var (
	keepAll    = [8]byte{0, 1, 2, 3, 4, 5, 6, 7}
	keepPixels = [8]byte{0, 1, 2, 4, 5, 6, 0x80, 0x80}
)

// shuffled returns the rearranged axis; without groups if it does not fit the kernel: too short a line, or single
// samples too far apart.
func (a *axis) shuffled(channels int) *shuffles {
	s := &a.shuf[channels/2]
	if *s == nil {
		*s = &shuffles{}
		if a.arrange(*s, channels, 4); (*s).groups == 0 && channels == 3 {
			a.arrange(*s, channels, 3)
		}
	}
	return *s
}

// arrange fills s with groups of twice so many outputs, if the kernel can do it.
func (a *axis) arrange(s *shuffles, channels, half int) {
	per := 2 * half
	// The kernel stores eight bytes, whatever a group has.
	groups := (a.n*channels - 8 + per) / per
	end := (a.in1-a.in0)*channels - 16 - (a.taps-1)*channels
	if end < 0 || groups <= 0 {
		return
	}
	out := shuffles{groups: groups, per: per, keep: &keepAll, base: make([]int32, 2*groups), mask: make([]byte, 32*groups), coef: make([]int32, 8*a.taps*groups)}
	if half == 3 {
		out.keep = &keepPixels
	}
	for i := range out.mask {
		out.mask[i] = 0x80
	}
	at := func(i int) int { return (int(a.first[i/channels])-a.in0)*channels + i%channels }
	for h := range 2 * groups {
		first := h * half
		base := end
		for i := first; i < first+half; i++ {
			base = min(base, at(i))
		}
		out.base[h] = int32(base)
		for l := range half {
			i := first + l
			if at(i)-base > 15 {
				return
			}
			lane := 4*(h%2) + l
			out.mask[32*(h/2)+4*lane] = byte(at(i) - base)
			for t := range a.taps {
				out.coef[(h/2*a.taps+t)*8+lane] = a.coef[i/channels*a.taps+t]
			}
		}
	}
	*s = out
}

// row resamples a line of single samples, row3 one of interleaved RGB; src[0] is source index x0.
func (a *axis) row(dst, src []byte, x0 int) {
	if hasAVX2 {
		if s := a.shuffled(1); s.groups > 0 {
			in := src[a.in0-x0 : a.in1-x0]
			out := dst[:a.n]
			rowAVX2(&out[0], &in[0], s.groups, a.taps, 1, &s.base[0], &s.mask[0], &s.coef[0], &s.keep[0], s.per)
			a.hline(dst, src, x0, s.groups*s.per)
			return
		}
	}
	a.hline(dst, src, x0, 0)
}

func (a *axis) row3(dst, src []byte, x0 int) {
	if hasAVX2 {
		if s := a.shuffled(3); s.groups > 0 {
			in := src[3*(a.in0-x0) : 3*(a.in1-x0)]
			out := dst[:3*a.n]
			rowAVX2(&out[0], &in[0], s.groups, a.taps, 3, &s.base[0], &s.mask[0], &s.coef[0], &s.keep[0], s.per)
			a.hline3(dst, src, x0, s.groups*s.per/3)
			return
		}
	}
	a.hline3(dst, src, x0, 0)
}

// column mixes lines of len(dst) bytes, stride apart, with one coefficient each.
func column(dst, src []byte, stride int, k []int32) {
	if n := len(dst) &^ 15; hasAVX2 && n > 0 {
		last := (len(k)-1)*stride + len(dst)
		src = src[:last]
		columnAVX2(&dst[0], &src[0], n, stride, &k[0], len(k))
		dst, src = dst[n:], src[n:]
	}
	if len(dst) > 0 {
		vline(dst, src, stride, k)
	}
}

// rowAVX2 computes per*groups outputs; see shuffles. step is the number of channels.
//
//go:noescape
func rowAVX2(dst, src *byte, groups, taps, step int, base *int32, mask *byte, coef *int32, keep *byte, per int)

// columnAVX2 computes n outputs, n a positive multiple of 16.
//
//go:noescape
func columnAVX2(dst, src *byte, n, stride int, coef *int32, taps int)

// toRGB is yccToRGB.
func toRGB(dst, y, cb, cr []byte) {
	// The kernel stores 28 bytes for the 24 of eight pixels.
	if n := (len(dst)/3 - 2) &^ 7; hasAVX2 && n > 0 {
		y0, b0, r0 := y[:n], cb[:n], cr[:n]
		yccAVX2(&dst[0], &y0[0], &b0[0], &r0[0], n)
		dst, y, cb, cr = dst[3*n:], y[n:], cb[n:], cr[n:]
	}
	yccToRGB(dst, y, cb, cr)
}

// yccAVX2 converts n pixels, n a positive multiple of 8, and writes four bytes more.
//
//go:noescape
func yccAVX2(dst, y, cb, cr *byte, n int)

// transform8 is idct8 on a vector unit where there is one. dst must hold eight lines of eight samples.
func transform8(dst []byte, stride int, b *[64]int32) {
	if hasAVX2 {
		dst = dst[:7*stride+8]
		idct8AVX2(&dst[0], stride, b)
		return
	}
	idct8(dst, stride, b)
}

// idct8AVX2 does in two passes over eight lanes what idct8 does, in the same 32-bit arithmetic.
//
//go:noescape
func idct8AVX2(dst *byte, stride int, b *[64]int32)
