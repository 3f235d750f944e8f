//go:build !amd64

package kernel

var vector = false

func dot4(x0, x1, x2, x3, w []float32, n int, acc *[4 * lanes]float32) {
	dotGeneric(x0, x1, x2, x3, w, n, acc)
}

func axpy4(g, x0, x1, x2, x3 []float32, r *[4]float32, n int) {
	axpyRange(g, x0, x1, x2, x3, r, 0, n)
}

func extent4(low, high, x0, x1, x2, x3 []float32, n int) {
	extentRange(low, high, x0, x1, x2, x3, 0, n)
}

func moments4(sum, square []float64, shift, x0, x1, x2, x3 []float32, n int) {
	momentsRange(sum, square, shift, x0, x1, x2, x3, 0, n)
}
