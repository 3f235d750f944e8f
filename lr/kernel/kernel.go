// Package kernel has the two loops that training a linear model consists of: the products of
// rows with a weight vector, and the sum of rows weighted by their residuals.
//
// Invariant: the results have the same bits on every machine. Each loop has a fixed structure
// of eight lanes, a multiplication and an addition are rounded separately, and the portable
// code does exactly what the vector code does. (Fused multiply-add would be no faster: the
// loops wait for memory.)
//
// Package lr calls it with blocks that fit into the cache. It knows no model.
package kernel

// lanes is the width of the fixed structure.
const lanes = 8

// Dot4 returns the products of four rows of equal length with w.
func Dot4(x0, x1, x2, x3, w []float32) (s [4]float32) {
	n := len(w)
	x0, x1, x2, x3 = x0[:n], x1[:n], x2[:n], x3[:n]
	var acc [4 * lanes]float32
	whole := n &^ (lanes - 1)
	if whole > 0 {
		dot4(x0, x1, x2, x3, w, whole, &acc)
	}
	for j := whole; j < n; j++ {
		l := j - whole
		acc[l] += float32(x0[j] * w[j])
		acc[lanes+l] += float32(x1[j] * w[j])
		acc[2*lanes+l] += float32(x2[j] * w[j])
		acc[3*lanes+l] += float32(x3[j] * w[j])
	}
	for r := range s {
		a := acc[r*lanes : (r+1)*lanes]
		s[r] = ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]))
	}
	return s
}

// Axpy4 adds r[0]*x0 + r[1]*x1 + r[2]*x2 + r[3]*x3 to g, in this order.
func Axpy4(g, x0, x1, x2, x3 []float32, r [4]float32) {
	n := len(g)
	x0, x1, x2, x3 = x0[:n], x1[:n], x2[:n], x3[:n]
	whole := n &^ (lanes - 1)
	if whole > 0 {
		axpy4(g, x0, x1, x2, x3, &r, whole)
	}
	axpyRange(g, x0, x1, x2, x3, &r, whole, n)
}

func dotGeneric(x0, x1, x2, x3, w []float32, n int, acc *[4 * lanes]float32) {
	for j := 0; j < n; j += lanes {
		for l := range lanes {
			v := w[j+l]
			acc[l] += float32(x0[j+l] * v)
			acc[lanes+l] += float32(x1[j+l] * v)
			acc[2*lanes+l] += float32(x2[j+l] * v)
			acc[3*lanes+l] += float32(x3[j+l] * v)
		}
	}
}

// axpyRange is the portable loop over [lo, hi). The conversions keep compilers from fusing.
func axpyRange(g, x0, x1, x2, x3 []float32, r *[4]float32, lo, hi int) {
	for j := lo; j < hi; j++ {
		s := g[j] + float32(r[0]*x0[j])
		s += float32(r[1] * x1[j])
		s += float32(r[2] * x2[j])
		g[j] = s + float32(r[3]*x3[j])
	}
}
