package image

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// TestKernels compares the vector kernels with the plain ones, on lines of exactly the needed length.
func TestKernels(t *testing.T) {
	if !hasAVX2 {
		t.Skip("this processor has no AVX2")
	}
	r := rand.New(rand.NewPCG(1, 2))
	fitted, apart := 0, 0
	for n := range 3000 {
		names := []string{"bilinear", "bicubic", "lanczos", "box", "nearest", "hamming"}
		k := axisKey{in: 1 + r.IntN(600), out: 1 + r.IntN(300), up: 1}
		k.full = k.in
		if n%3 == 1 {
			k.up, k.smooth, k.full = 2, true, 2*k.in-r.IntN(2)
		} else if n%3 == 2 {
			k.up, k.full = 4, 4*k.in-r.IntN(4)
		}
		k.off = r.IntN(k.out)
		k.n = 1 + r.IntN(k.out-k.off)
		a := newAxis(filters[names[r.IntN(len(names))]], k)
		for _, channels := range []int{1, 3} {
			src := make([]byte, (a.in1-a.in0)*channels)
			for i := range src {
				src[i] = byte(r.IntN(2) * r.IntN(256))
				if r.IntN(2) == 0 {
					src[i] = 255
				}
			}
			got, want := guarded(a.n*channels), make([]byte, a.n*channels)
			if channels == 1 {
				a.row(got, src, a.in0)
				a.hline(want, src, a.in0, 0)
			} else {
				a.row3(got, src, a.in0)
				a.hline3(want, src, a.in0, 0)
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("rows differ: %+v, %d channels", k, channels)
			}
			if !intact(got) {
				t.Fatalf("a row wrote beyond its end: %+v, %d channels", k, channels)
			}
			switch s := a.shuffled(channels); {
			case s.groups > 0 && s.per == 6:
				apart++
				fallthrough
			case s.groups > 0:
				fitted++
			}
		}
		w, stride := 1+r.IntN(100), 100+r.IntN(9)
		src := make([]byte, stride*(a.taps-1)+w)
		for i := range src {
			src[i] = byte(r.IntN(256))
		}
		coef := a.coef[r.IntN(a.n)*a.taps:][:a.taps]
		got, want := make([]byte, w), make([]byte, w)
		column(got, src, stride, coef)
		vline(want, src, stride, coef)
		if !bytes.Equal(got, want) {
			t.Fatalf("columns differ: %+v", k)
		}
	}
	if fitted < 2000 || apart < 300 {
		t.Errorf("only %d of 6000 rows went through the vector kernel, %d of them pixel by pixel", fitted, apart)
	}
}

// guarded is a slice with bytes behind it that intact looks for.
func guarded(n int) []byte {
	b := make([]byte, n+16)
	for i := range b {
		b[i] = 0xA5
	}
	return b[:n]
}

func intact(b []byte) bool {
	for _, v := range b[len(b):][:16] {
		if v != 0xA5 {
			return false
		}
	}
	return true
}

func TestToRGB(t *testing.T) {
	if !hasAVX2 {
		t.Skip("this processor has no AVX2")
	}
	// Every pair of chroma values, with three luma values, and every length of a line.
	lines := func(n int, at func(i int) (y, cb, cr byte)) {
		y, cb, cr := make([]byte, n), make([]byte, n), make([]byte, n)
		for i := range n {
			y[i], cb[i], cr[i] = at(i)
		}
		got, want := guarded(3*n), make([]byte, 3*n)
		toRGB(got, y, cb, cr)
		yccToRGB(want, y, cb, cr)
		if !bytes.Equal(got, want) || !intact(got) {
			t.Fatalf("%d pixels differ", n)
		}
	}
	for _, l := range []byte{0, 127, 255} {
		for b := range 256 {
			lines(258, func(i int) (y, cb, cr byte) { return l, byte(b), byte(i) })
		}
	}
	for n := range 100 {
		lines(n, func(i int) (y, cb, cr byte) { return byte(7 * i), byte(11 * i), byte(13 * i) })
	}
}

func TestTransform(t *testing.T) {
	if !hasAVX2 {
		t.Skip("this processor has no AVX2")
	}
	r := rand.New(rand.NewPCG(4, 2))
	for n := range 20000 {
		var a [64]int32
		for range 1 + r.IntN(64) {
			a[r.IntN(64)] = r.Int32N(4001) - 2000
			if n%10 == 0 { // what only damaged files have
				a[r.IntN(64)] = int32(r.Uint32())
			}
		}
		b := a
		stride := 8 + r.IntN(9)
		got, want := make([]byte, 7*stride+8), make([]byte, 7*stride+8)
		transform8(got, stride, &a)
		idct8(want, stride, &b)
		if !bytes.Equal(got, want) {
			t.Fatalf("block %d differs: %v, %v", n, got, want)
		}
	}
}
