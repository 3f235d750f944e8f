package image

import "golang.org/x/sys/cpu"

// The vector kernels compute what hline, hline3 and vline compute, in the same 32-bit arithmetic, eight
// outputs at a time; a test compares them byte for byte.

var hasAVX2 = cpu.X86.HasAVX2

// shuffles is an axis rearranged for rowAVX2, in groups of eight outputs (samples, not pixels). The four outputs of each
// half of a group read their t-th tap from 16 bytes that begin at base + t*channels; mask picks from these.
type shuffles struct {
	groups int
	base   []int32 // two per group, in bytes from sample in0
	mask   []byte  // 32 per group: every fourth byte picks, the others give zero
	coef   []int32 // 8 x taps per group
}

// shuffled returns the rearranged axis; without groups if it does not fit the kernel: too short a line, or
// outputs too far apart.
func (a *axis) shuffled(channels int) *shuffles {
	s := &a.shuf[channels/2]
	if *s != nil {
		return *s
	}
	*s = &shuffles{}
	end := (a.in1-a.in0)*channels - 16 - (a.taps-1)*channels
	groups := a.n * channels / 8
	if end < 0 {
		return *s
	}
	out := &shuffles{groups: groups, base: make([]int32, 2*groups), mask: make([]byte, 32*groups), coef: make([]int32, 8*a.taps*groups)}
	for g := range groups {
		for half := range 2 {
			first := g*8 + half*4
			at := func(i int) int { return (int(a.first[i/channels])-a.in0)*channels + i%channels }
			base := end
			for i := first; i < first+4; i++ {
				base = min(base, at(i))
			}
			out.base[2*g+half] = int32(base)
			for i := first; i < first+4; i++ {
				if at(i)-base > 15 {
					return *s
				}
				m := out.mask[32*g+4*(i-g*8):][:4]
				m[0], m[1], m[2], m[3] = byte(at(i)-base), 0x80, 0x80, 0x80
				for t := range a.taps {
					out.coef[(g*a.taps+t)*8+i-g*8] = a.coef[i/channels*a.taps+t]
				}
			}
		}
	}
	*s = out
	return out
}

// row resamples a line of single samples, row3 one of interleaved RGB; src[0] is source index x0.
func (a *axis) row(dst, src []byte, x0 int) {
	if hasAVX2 {
		if s := a.shuffled(1); s.groups > 0 {
			in := src[a.in0-x0 : a.in1-x0]
			out := dst[:a.n]
			rowAVX2(&out[0], &in[0], s.groups, a.taps, 1, &s.base[0], &s.mask[0], &s.coef[0])
			a.hline(dst, src, x0, s.groups*8)
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
			rowAVX2(&out[0], &in[0], s.groups, a.taps, 3, &s.base[0], &s.mask[0], &s.coef[0])
			a.hline3(dst, src, x0, s.groups*8/3)
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

// rowAVX2 computes 8*groups outputs; see shuffles. step is the number of channels.
//
//go:noescape
func rowAVX2(dst, src *byte, groups, taps, step int, base *int32, mask *byte, coef *int32)

// columnAVX2 computes n outputs, n a positive multiple of 16.
//
//go:noescape
func columnAVX2(dst, src *byte, n, stride int, coef *int32, taps int)

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
