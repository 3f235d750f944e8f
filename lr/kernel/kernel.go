// Package kernel has the loops that training a linear model consists of: the products of rows
// with a weight vector, and the sum of rows weighted by their residuals; before that, least and
// largest values, sums and sums of squares of columns.
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

// Extent4 widens low and high by the values of four rows. What is no number changes nothing.
func Extent4(low, high, x0, x1, x2, x3 []float32) {
	n := len(low)
	high, x0, x1, x2, x3 = high[:n], x0[:n], x1[:n], x2[:n], x3[:n]
	whole := n &^ (lanes - 1)
	if whole > 0 {
		extent4(low, high, x0, x1, x2, x3, whole)
	}
	extentRange(low, high, x0, x1, x2, x3, whole, n)
}

func extentRange(low, high, x0, x1, x2, x3 []float32, lo, hi int) {
	for j := lo; j < hi; j++ {
		a, b := low[j], high[j]
		for _, v := range [4]float32{x0[j], x1[j], x2[j], x3[j]} {
			if v < a {
				a = v
			}
			if v > b {
				b = v
			}
		}
		low[j], high[j] = a, b
	}
}

// Moments4 adds four rows less shift, one after the other, to sum, and their squares to square.
// The difference is float32, its square exact in float64.
func Moments4(sum, square []float64, shift, x0, x1, x2, x3 []float32) {
	n := len(sum)
	square, shift, x0, x1, x2, x3 = square[:n], shift[:n], x0[:n], x1[:n], x2[:n], x3[:n]
	whole := n &^ (lanes - 1)
	if whole > 0 {
		moments4(sum, square, shift, x0, x1, x2, x3, whole)
	}
	momentsRange(sum, square, shift, x0, x1, x2, x3, whole, n)
}

func momentsRange(sum, square []float64, shift, x0, x1, x2, x3 []float32, lo, hi int) {
	for j := lo; j < hi; j++ {
		s, q, c := sum[j], square[j], shift[j]
		for _, v := range [4]float32{x0[j], x1[j], x2[j], x3[j]} {
			d := float64(v - c)
			s += d
			q += float64(d * d)
		}
		sum[j], square[j] = s, q
	}
}

// Moments1 adds one row.
func Moments1(sum, square []float64, shift, x []float32) {
	for j, v := range x {
		d := float64(v - shift[j])
		sum[j] += d
		square[j] += float64(d * d)
	}
}
