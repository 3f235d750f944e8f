package image

import (
	"encoding/binary"
	"math/bits"
)

// Fixed-point constants of the inverse DCT by Loeffler, Ligtenberg and Moschytz (1989), 13 fractional
// bits. With these, and rounding after the first pass to 2 fractional bits, the samples are those of
// libjpeg's accurate integer method.
const (
	dctBits   = 13
	pass1Bits = 2

	f0298 = 2446
	f0390 = 3196
	f0541 = 4433
	f0765 = 6270
	f0899 = 7373
	f1175 = 9633
	f1501 = 12299
	f1847 = 15137
	f1961 = 16069
	f2053 = 16819
	f2562 = 20995
	f3072 = 25172
)

// idct8 transforms a dequantised block into 8 x 8 samples. It overwrites b.
func idct8(dst []byte, stride int, b *[64]int32) {
	const s, r = dctBits - pass1Bits, 1 << (dctBits - pass1Bits - 1)
	for x := range 8 {
		if b[8+x]|b[16+x]|b[24+x]|b[32+x]|b[40+x]|b[48+x]|b[56+x] == 0 {
			v := (b[x]<<dctBits + r) >> s // also with the overflows of damaged files what the whole transform gives
			b[x], b[8+x], b[16+x], b[24+x], b[32+x], b[40+x], b[48+x], b[56+x] = v, v, v, v, v, v, v, v
			continue
		}
		e0, e1, e2, e3, o0, o1, o2, o3 := butterfly(b[x], b[8+x], b[16+x], b[24+x], b[32+x], b[40+x], b[48+x], b[56+x])
		b[x], b[56+x] = (e0+o3+r)>>s, (e0-o3+r)>>s
		b[8+x], b[48+x] = (e1+o2+r)>>s, (e1-o2+r)>>s
		b[16+x], b[40+x] = (e2+o1+r)>>s, (e2-o1+r)>>s
		b[24+x], b[32+x] = (e3+o0+r)>>s, (e3-o0+r)>>s
	}
	for y := range 8 {
		w := (*[8]int32)(b[8*y:])
		d := (*[8]byte)(dst[y*stride:])
		e0, e1, e2, e3, o0, o1, o2, o3 := butterfly(w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7])
		// The middle grey of 128 and the rounding go in at once.
		const s, r = dctBits + pass1Bits + 3, 1<<(dctBits+pass1Bits+2) + 128<<(dctBits+pass1Bits+3)
		d[0], d[7] = bound((e0+o3+r)>>s), bound((e0-o3+r)>>s)
		d[1], d[6] = bound((e1+o2+r)>>s), bound((e1-o2+r)>>s)
		d[2], d[5] = bound((e2+o1+r)>>s), bound((e2-o1+r)>>s)
		d[3], d[4] = bound((e3+o0+r)>>s), bound((e3-o0+r)>>s)
	}
}

// butterfly is the one-dimensional transform up to its last additions: outputs n and 7-n are
// e[n] + o[3-n] and e[n] - o[3-n].
func butterfly(i0, i1, i2, i3, i4, i5, i6, i7 int32) (e0, e1, e2, e3, o0, o1, o2, o3 int32) {
	z := (i2 + i6) * f0541
	t2, t3 := z-i6*f1847, z+i2*f0765
	t0, t1 := (i0+i4)<<dctBits, (i0-i4)<<dctBits
	e0, e3, e1, e2 = t0+t3, t0-t3, t1+t2, t1-t2

	z1, z2, z3, z4 := i7+i1, i5+i3, i7+i3, i5+i1
	z5 := (z3 + z4) * f1175
	z1, z2 = -z1*f0899, -z2*f2562
	z3, z4 = z5-z3*f1961, z5-z4*f0390
	o0 = i7*f0298 + z1 + z3
	o1 = i5*f2053 + z2 + z4
	o2 = i3*f3072 + z2 + z3
	o3 = i1*f1501 + z1 + z4
	return
}

// shrink averages 8 x 8 samples to nx x ny, each 8, 4, 2 or 1.
func shrink(dst []byte, stride int, b *[64]byte, nx, ny int) {
	const even = 0x00FF00FF00FF00FF
	fx, fy := 8/nx, 8/ny
	shift := bits.Len(uint(fx*fy)) - 1
	round := uint64(1) << shift >> 1
	for y := range ny {
		d := dst[y*stride:][:nx]
		if fx == 1 {
			for x := range d {
				s := round
				for i := range fy {
					s += uint64(b[(y*fy+i)*8+x])
				}
				d[x] = byte(s >> shift)
			}
			continue
		}
		// Four sums of pairs at once, 16 bits each.
		acc := uint64(0)
		for i := range fy {
			v := binary.LittleEndian.Uint64(b[(y*fy+i)*8:])
			acc += v&even + v>>8&even
		}
		for lanes := 2; lanes < fx; lanes *= 2 {
			acc += acc >> (8 * lanes)
		}
		for x := range d {
			d[x] = byte((acc>>(8*fx*x)&0xFFFF + round) >> shift)
		}
	}
}
