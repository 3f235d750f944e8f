package kernel

import "golang.org/x/sys/cpu"

// vector tells whether the machine has what the vector code needs. Tests switch it off.
var vector = cpu.X86.HasAVX2

//go:noescape
func dot4AVX2(x0, x1, x2, x3, w *float32, n int, acc *[4 * lanes]float32)

//go:noescape
func axpy4AVX2(dst, x0, x1, x2, x3 *float32, res *[4]float32, n int)

//go:noescape
func extent4AVX2(low, high, x0, x1, x2, x3 *float32, n int)

//go:noescape
func moments4AVX2(sum, square *float64, shift, x0, x1, x2, x3 *float32, n int)

// These take n, a positive multiple of the number of lanes.
func dot4(x0, x1, x2, x3, w []float32, n int, acc *[4 * lanes]float32) {
	if vector {
		dot4AVX2(&x0[0], &x1[0], &x2[0], &x3[0], &w[0], n, acc)
		return
	}
	dotGeneric(x0, x1, x2, x3, w, n, acc)
}

func axpy4(g, x0, x1, x2, x3 []float32, r *[4]float32, n int) {
	if vector {
		axpy4AVX2(&g[0], &x0[0], &x1[0], &x2[0], &x3[0], r, n)
		return
	}
	axpyRange(g, x0, x1, x2, x3, r, 0, n)
}

func extent4(low, high, x0, x1, x2, x3 []float32, n int) {
	if vector {
		extent4AVX2(&low[0], &high[0], &x0[0], &x1[0], &x2[0], &x3[0], n)
		return
	}
	extentRange(low, high, x0, x1, x2, x3, 0, n)
}

func moments4(sum, square []float64, shift, x0, x1, x2, x3 []float32, n int) {
	if vector {
		moments4AVX2(&sum[0], &square[0], &shift[0], &x0[0], &x1[0], &x2[0], &x3[0], n)
		return
	}
	momentsRange(sum, square, shift, x0, x1, x2, x3, 0, n)
}
