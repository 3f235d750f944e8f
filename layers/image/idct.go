package image

import "math"

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
	for x := range 8 {
		if b[8+x]|b[16+x]|b[24+x]|b[32+x]|b[40+x]|b[48+x]|b[56+x] == 0 {
			v := b[x] << pass1Bits
			b[x], b[8+x], b[16+x], b[24+x], b[32+x], b[40+x], b[48+x], b[56+x] = v, v, v, v, v, v, v, v
			continue
		}
		e0, e1, e2, e3, o0, o1, o2, o3 := butterfly(b[x], b[8+x], b[16+x], b[24+x], b[32+x], b[40+x], b[48+x], b[56+x])
		const s, r = dctBits - pass1Bits, 1 << (dctBits - pass1Bits - 1)
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

// boxBasis[n] is the matrix of a one-dimensional inverse DCT of 8 coefficients followed by averaging to n
// samples: row i, column k, 13 fractional bits.
var boxBasis = [9]*[8][8]int32{1: newBoxBasis(1), 2: newBoxBasis(2), 4: newBoxBasis(4), 8: newBoxBasis(8)}

func newBoxBasis(n int) *[8][8]int32 {
	var m [8][8]int32
	for i := range n {
		for k := range 8 {
			sum := 0.0
			for x := i * 8 / n; x < (i+1)*8/n; x++ {
				sum += math.Cos(float64((2*x+1)*k) * math.Pi / 16)
			}
			c := 0.5
			if k == 0 {
				c = math.Sqrt(0.125)
			}
			m[i][k] = int32(math.Round(c * sum * float64(n) / 8 * (1 << dctBits)))
		}
	}
	return &m
}

// idctBox transforms a dequantised block into nx x ny samples, each the average of the 8x8 transform's samples that
// it covers.
func idctBox(dst []byte, stride int, b *[64]int32, nx, ny int) {
	mx, my := boxBasis[nx], boxBasis[ny]
	var cols [8][8]int32 // ny rows of 8 coefficients, 2 fractional bits
	for k := range 8 {
		v := (*[57]int32)(b[k:])
		if v[8]|v[16]|v[24]|v[32]|v[40]|v[48]|v[56] == 0 {
			if v[0] == 0 {
				continue
			}
			t := (v[0]*my[0][0] + 1<<(dctBits-pass1Bits-1)) >> (dctBits - pass1Bits)
			for y := range ny {
				cols[y][k] = t
			}
			continue
		}
		for y := range ny {
			m := &my[y]
			s := v[0]*m[0] + v[8]*m[1] + v[16]*m[2] + v[24]*m[3] + v[32]*m[4] + v[40]*m[5] + v[48]*m[6] + v[56]*m[7]
			cols[y][k] = (s + 1<<(dctBits-pass1Bits-1)) >> (dctBits - pass1Bits)
		}
	}
	for y := range ny {
		c := &cols[y]
		d := dst[y*stride:][:nx]
		for x := range d {
			m := &mx[x]
			s := c[0]*m[0] + c[1]*m[1] + c[2]*m[2] + c[3]*m[3] + c[4]*m[4] + c[5]*m[5] + c[6]*m[6] + c[7]*m[7]
			const shift = dctBits + pass1Bits
			d[x] = bound((s+1<<(shift-1))>>shift + 128)
		}
	}
}
