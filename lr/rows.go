package lr

import (
	"fmt"
	"math"
)

// Matrix is a row-major matrix.
type Matrix struct {
	Data []float32
	Cols int
}

// row is one row.
func (m *Matrix) row(i int) []float32 { return m.Data[i*m.Cols : (i+1)*m.Cols] }

// HeldOut is the group of rows that no model is trained on.
const HeldOut uint8 = 255

// Rows are some rows of a partition: class, group, and the parts of their columns. A model
// reads the columns of some parts, one behind the other.
type Rows struct {
	N     int
	Class []int32
	Group []uint8 // HeldOut, or the fold; 0 for all when there are no folds
	Parts []Matrix
}

// Check reports rows that do not fit together.
func (r *Rows) Check(classes int) error {
	if len(r.Class) != r.N || len(r.Group) != r.N {
		return fmt.Errorf("lr: %d rows with %d classes and %d groups", r.N, len(r.Class), len(r.Group))
	}
	for i, p := range r.Parts {
		if len(p.Data) != r.N*p.Cols {
			return fmt.Errorf("lr: part %d has %d values for %d rows of %d", i, len(p.Data), r.N, p.Cols)
		}
	}
	for i, c := range r.Class {
		if c < 0 || int(c) >= classes {
			return fmt.Errorf("lr: row %d has class %d of %d", i, c, classes)
		}
	}
	return nil
}

// Extent is what the first pass finds. It is merged by Merge in any order.
type Extent struct {
	Max    [][]float32 `json:"max"`    // by part and column: largest absolute value over training rows
	Groups [][]int64   `json:"groups"` // by group and class: training rows
}

// NewExtent is the extent of no rows: cols holds the columns of each part.
func NewExtent(cols []int, groups, classes int) *Extent {
	e := &Extent{}
	for _, c := range cols {
		e.Max = append(e.Max, make([]float32, c))
	}
	for range groups {
		e.Groups = append(e.Groups, make([]int64, classes))
	}
	return e
}

// Count adds the rows' classes.
func (e *Extent) Count(r *Rows) {
	for i, g := range r.Group {
		if g != HeldOut {
			e.Groups[g][r.Class[i]]++
		}
	}
}

// Widen adds the values of one part of the rows.
func (e *Extent) Widen(r *Rows, part int) {
	m, top := &r.Parts[part], e.Max[part]
	for i, g := range r.Group {
		if g == HeldOut {
			continue
		}
		for j, v := range m.row(i) {
			if v < 0 {
				v = -v
			}
			if v > top[j] {
				top[j] = v
			}
		}
	}
}

// Merge adds another extent.
func (e *Extent) Merge(o *Extent) {
	for p, top := range o.Max {
		for j, v := range top {
			e.Max[p][j] = max(e.Max[p][j], v)
		}
	}
	for g, classes := range o.Groups {
		for c, n := range classes {
			e.Groups[g][c] += n
		}
	}
}

// N is the number of training rows.
func (e *Extent) N() int64 {
	n := int64(0)
	for _, g := range e.Groups {
		for _, c := range g {
			n += c
		}
	}
	return n
}

// Scales are the powers of two by which sums over columns are multiplied before they become
// integers: as large as they can be without any sum over all rows overflowing.
type Scales struct {
	Exp [][]int16 // by part and column: for sums of values times a factor of at most 1
	One int16     // for sums of residuals
}

// headroom keeps sums below 2^62.
const headroom = 61

// Scales of all sums that a training needs.
func (e *Extent) Scales() *Scales {
	n := float64(max(e.N(), 1))
	s := &Scales{One: exponent(n)}
	for _, top := range e.Max {
		exp := make([]int16, len(top))
		for j, v := range top {
			exp[j] = exponent(n * float64(v))
		}
		s.Exp = append(s.Exp, exp)
	}
	return s
}

// exponent is the largest k with bound * 2^k <= 2^headroom, within what a float64 can scale by.
func exponent(bound float64) int16 {
	if bound == 0 {
		return 0
	}
	_, exp := math.Frexp(bound) // bound < 2^exp
	return int16(max(min(headroom-exp, 1000), -1000))
}

// fixed is v as an integer scaled by 2^exp.
func fixed(v float64, scale float64) int64 { return int64(math.RoundToEven(v * scale)) }

func pow2(exp int16) float64 { return math.Ldexp(1, int(exp)) }

// Moments are the sums that the second pass finds, by group. Merged in any order.
type Moments struct {
	Sum    [][][]int64 // by group, part, column: sum of values, scaled by 2^Scales.Exp
	Square [][][]int64 // sum of squares, scaled by 2^squareExp
}

// NewMoments is the moments of no rows.
func NewMoments(cols []int, groups int) *Moments {
	m := &Moments{}
	for range groups {
		var sum, square [][]int64
		for _, c := range cols {
			sum, square = append(sum, make([]int64, c)), append(square, make([]int64, c))
		}
		m.Sum, m.Square = append(m.Sum, sum), append(m.Square, square)
	}
	return m
}

// squareExp scales sums of squares: n*max^2 <= 2^headroom.
func squareExp(exp, one int16) int16 {
	// exp is headroom - log2(n*max), one is headroom - log2(n): their difference is -log2(max).
	return max(min(2*exp-one-1, 1000), -1000)
}

// Add adds one part of the rows.
func (m *Moments) Add(r *Rows, part int, s *Scales) {
	p := &r.Parts[part]
	scale, square := make([]float64, p.Cols), make([]float64, p.Cols)
	for j, e := range s.Exp[part] {
		scale[j], square[j] = pow2(e), pow2(squareExp(e, s.One))
	}
	// Blocks are summed in float64, in row order, before they become integers.
	for lo := 0; lo < r.N; lo += blockRows {
		hi := min(lo+blockRows, r.N)
		for g := range m.Sum {
			sum, sq := make([]float64, p.Cols), make([]float64, p.Cols)
			any := false
			for i := lo; i < hi; i++ {
				if int(r.Group[i]) != g {
					continue
				}
				any = true
				for j, v := range p.row(i) {
					x := float64(v)
					sum[j] += x
					sq[j] += float64(x * x)
				}
			}
			if !any {
				continue
			}
			for j := range sum {
				m.Sum[g][part][j] += fixed(sum[j], scale[j])
				m.Square[g][part][j] += fixed(sq[j], square[j])
			}
		}
	}
}

// Merge adds other moments.
func (m *Moments) Merge(o *Moments) {
	for g := range o.Sum {
		for p := range o.Sum[g] {
			addInts(m.Sum[g][p], o.Sum[g][p])
			addInts(m.Square[g][p], o.Square[g][p])
		}
	}
}

func addInts(dst, src []int64) {
	for i, v := range src {
		dst[i] += v
	}
}
