package lr

import (
	"fmt"
	"math"

	"github.com/vista-mr/vista-mr/lr/kernel"
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
	Low, High [][]float32 // by part and column: least and largest value over training rows
	Groups    [][]int64   // by group and class: training rows
}

// NewExtent is the extent of no rows: cols holds the columns of each part.
func NewExtent(cols []int, groups, classes int) *Extent {
	e := &Extent{}
	for _, c := range cols {
		low, high := make([]float32, c), make([]float32, c)
		for j := range low {
			low[j], high[j] = float32(math.Inf(1)), float32(math.Inf(-1))
		}
		e.Low, e.High = append(e.Low, low), append(e.High, high)
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
	m := &r.Parts[part]
	var four [4][]float32
	n := 0
	for i, g := range r.Group {
		if g == HeldOut {
			continue
		}
		four[n] = m.row(i)
		if n++; n == 4 {
			kernel.Extent4(e.Low[part], e.High[part], four[0], four[1], four[2], four[3])
			n = 0
		}
	}
	for _, x := range four[:n] {
		kernel.Extent4(e.Low[part], e.High[part], x, x, x, x)
	}
}

// Merge adds another extent.
func (e *Extent) Merge(o *Extent) {
	for p := range o.Low {
		for j, v := range o.Low[p] {
			e.Low[p][j] = min(e.Low[p][j], v)
			e.High[p][j] = max(e.High[p][j], o.High[p][j])
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

// Scales say how rows are summed: what is subtracted from columns beforehand, and the powers
// of two by which sums are multiplied before they become integers, as large as they can be
// without any sum over all rows overflowing.
type Scales struct {
	Exp   [][]int16   // by part and column: for sums of values times a factor of at most 1
	One   int16       // for sums of residuals
	Shift [][]float32 // by part and column; nil for parts of which nothing is subtracted
}

// headroom keeps sums below 2^62.
const headroom = 61

// farOff is how many times as far from 0 as it is wide a column must lie to be shifted. Years,
// coordinates and timestamps do; in float32 little would be left of their products otherwise.
// What networks compute does not, and is spared the copy.
const farOff = 4

// Scales of all sums that a training needs.
func (e *Extent) Scales() *Scales {
	n := float64(max(e.N(), 1))
	s := &Scales{One: exponent(n)}
	for p := range e.Low {
		exp, shift, any := make([]int16, len(e.Low[p])), make([]float32, len(e.Low[p])), false
		for j, low := range e.Low[p] {
			high := e.High[p][j]
			mid, half := (float64(low)+float64(high))/2, (float64(high)-float64(low))/2
			if half > 0 && math.Abs(mid) > farOff*half {
				shift[j], any = float32(mid), true
			}
			exp[j] = exponent(n * e.reach(p, j, shift[j]))
		}
		if !any {
			shift = nil
		}
		s.Exp, s.Shift = append(s.Exp, exp), append(s.Shift, shift)
	}
	return s
}

// reach is the largest absolute value of a column once shifted; 0 if there are no rows.
func (e *Extent) reach(part, j int, shift float32) float64 {
	low, high := e.Low[part][j], e.High[part][j]
	if low > high {
		return 0
	}
	return max(math.Abs(float64(low-shift)), math.Abs(float64(high-shift)))
}

// shift is what is subtracted from a column.
func (s *Scales) shift(part, j int) float32 {
	if s.Shift == nil || s.Shift[part] == nil {
		return 0
	}
	return s.Shift[part][j]
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

// pow2 is 2^exp for -1000 <= exp <= 1000.
func pow2(exp int16) float64 { return math.Float64frombits(uint64(int(exp)+1023) << 52) }

// Moments are the sums that the second pass finds, by group, over shifted columns. Merged in
// any order.
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
	shift := make([]float32, p.Cols)
	if s.Shift != nil && s.Shift[part] != nil {
		shift = s.Shift[part]
	}
	// Blocks are summed in float64, in row order, before they become integers.
	sum, sq := make([]float64, p.Cols), make([]float64, p.Cols)
	for lo := 0; lo < r.N; lo += blockRows {
		hi := min(lo+blockRows, r.N)
		for g := range m.Sum {
			var four [4][]float32
			n, any := 0, false
			for i := lo; i < hi; i++ {
				if int(r.Group[i]) != g {
					continue
				}
				any = true
				four[n] = p.row(i)
				if n++; n == 4 {
					kernel.Moments4(sum, sq, shift, four[0], four[1], four[2], four[3])
					n = 0
				}
			}
			if !any {
				continue
			}
			for _, x := range four[:n] {
				kernel.Moments1(sum, sq, shift, x)
			}
			for j := range sum {
				m.Sum[g][part][j] += fixed(sum[j], scale[j])
				m.Square[g][part][j] += fixed(sq[j], square[j])
			}
			clear(sum)
			clear(sq)
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
