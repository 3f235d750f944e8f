package lr

import (
	"math"

	"github.com/vista-mr/vista-mr/lr/kernel"
)

// blockRows is how many rows are summed in float32 before the sum becomes an integer. It is
// part of the results' bits. Partitions are cut into blocks from their first row on.
const blockRows = 256

// Chunk is a number of rows at whose multiples a partition may be cut without changing a bit.
const Chunk = blockRows

// tileRows is how many rows of a block go through products and sums at a time, small enough
// that they are still in the cache for the second.
const tileRows = 32

// Point is where a model wants to be evaluated: raw weights for each score and an offset that
// belongs to columns shifted by Scales.Shift. (A Model's offset belongs to raw columns.)
type Point struct {
	Kind    string
	Classes int
	W       [][]float32 // by score; one for two classes, else one for each class
	B       []float64
}

// Partial is what an evaluation yields over some rows: integers, so that any order of adding
// them up gives the same.
type Partial struct {
	Loss [3]int64  // whole and fractional part of the summed loss; blocks without a finite loss
	Res  []int64   // by score: sum of residuals, scaled by 2^Scales.One
	Grad [][]int64 // by score and column: sum of residual times value, scaled by 2^Scales.Exp
}

// NewPartial is the partial of no rows.
func NewPartial(scores, cols int) *Partial {
	p := &Partial{Res: make([]int64, scores), Grad: make([][]int64, scores)}
	for k := range p.Grad {
		p.Grad[k] = make([]int64, cols)
	}
	return p
}

// Reset makes it the partial of no rows again.
func (p *Partial) Reset() {
	p.Loss = [3]int64{}
	clear(p.Res)
	for _, g := range p.Grad {
		clear(g)
	}
}

// Merge adds another partial.
func (p *Partial) Merge(o *Partial) {
	addInts(p.Loss[:], o.Loss[:])
	addInts(p.Res, o.Res)
	for k := range o.Grad {
		addInts(p.Grad[k], o.Grad[k])
	}
}

// lossFraction scales the fractional part of a loss: 2^22 blocks of it stay below 2^62.
const lossFraction = 1 << 40

func (p *Partial) addLoss(v float64) {
	if !(v < 1<<50) { // also NaN
		p.Loss[2]++
		return
	}
	whole := math.Floor(v)
	p.Loss[0] += int64(whole)
	p.Loss[1] += int64(math.RoundToEven((v - whole) * lossFraction))
}

// loss is the summed loss; infinite if any block's was not finite.
func (p *Partial) loss() float64 {
	if p.Loss[2] != 0 {
		return math.Inf(1)
	}
	return float64(p.Loss[0]) + float64(p.Loss[1])/lossFraction
}

// Request is one model's evaluation in a scan.
type Request struct {
	Parts []int // whose columns it reads, in order
	Fold  int   // group that is left out; -1: none
	Point *Point
	Out   *Partial
}

// Scratch is memory that scans reuse. One goroutine uses it at a time.
type Scratch struct {
	sums  []blockSum
	tile  []Matrix    // by part: the rows of a tile, shifted
	own   [][]float32 // by part: memory of those that are
	score []float32
	res   []float32
	prob  []float64
	zero  []float32
}

// blockSum is what a request sums up within a block.
type blockSum struct {
	loss float64
	seen bool
	res  []float64   // by score
	grad [][]float32 // by score and column
}

// Scan evaluates requests over rows, in one pass: every tile of rows is read from memory once
// and goes through all requests while it is in the cache. All partitions' rows but those of
// the last call for a partition must come in multiples of Chunk.
func Scan(r *Rows, s *Scales, requests []Request, sc *Scratch) {
	for len(sc.sums) < len(requests) {
		sc.sums = append(sc.sums, blockSum{})
	}
	for i := range requests {
		sc.sums[i].prepare(requests[i].Point)
		sc.prepare(requests[i].Point)
	}
	for lo := 0; lo < r.N; lo += blockRows {
		hi := min(lo+blockRows, r.N)
		for t := lo; t < hi; t += tileRows {
			n := min(tileRows, hi-t)
			sc.cut(r, s, t, n)
			for i := range requests {
				scanTile(r, &requests[i], t, n, &sc.sums[i], sc)
			}
		}
		for i := range requests {
			sc.sums[i].flush(&requests[i], s, r)
		}
	}
}

// scanTile adds n rows from t on to a request's sums.
func scanTile(r *Rows, q *Request, t, n int, sum *blockSum, sc *Scratch) {
	any := false
	for _, g := range r.Group[t : t+n] {
		any = any || g != HeldOut && int(g) != q.Fold
	}
	if !any {
		return
	}
	sum.seen = true
	scores := len(q.Point.W)
	products(sc.tile, q, n, sc)
	for i := range n {
		row := sc.res[i*scores : (i+1)*scores]
		if g := r.Group[t+i]; g == HeldOut || int(g) == q.Fold {
			clear(row)
			continue
		}
		sum.loss += residuals(q.Point, sc.score[i*scores:(i+1)*scores], int(r.Class[t+i]), row, sc.prob)
		for k, v := range row {
			sum.res[k] += float64(v)
		}
	}
	weighted(sc.tile, q, n, sum.grad, sc)
}

// flush adds the block's sums to the request's as integers, and clears them.
func (b *blockSum) flush(q *Request, s *Scales, r *Rows) {
	if !b.seen {
		return
	}
	q.Out.addLoss(b.loss)
	one := pow2(s.One)
	for k, v := range b.res {
		q.Out.Res[k] += fixed(v, one)
		at := 0
		for _, p := range q.Parts {
			n := r.Parts[p].Cols
			flush(q.Out.Grad[k][at:at+n], b.grad[k][at:at+n], s.Exp[p])
			at += n
		}
	}
	b.loss, b.seen = 0, false
	clear(b.res)
}

// cut makes sc.tile the n rows from t on. Parts that are shifted are copied for it.
func (sc *Scratch) cut(r *Rows, s *Scales, t, n int) {
	for len(sc.tile) < len(r.Parts) {
		sc.tile = append(sc.tile, Matrix{})
	}
	for p := range r.Parts {
		m := &r.Parts[p]
		if m.Data == nil {
			continue // a part that no request reads need not be there
		}
		rows := m.Data[t*m.Cols : (t+n)*m.Cols]
		if s == nil || s.Shift == nil || s.Shift[p] == nil {
			sc.tile[p] = Matrix{Data: rows, Cols: m.Cols}
			continue
		}
		sc.shifted(p, rows, s.Shift[p])
	}
}

func (sc *Scratch) shifted(p int, rows, shift []float32) {
	for len(sc.own) <= p {
		sc.own = append(sc.own, nil)
	}
	if cap(sc.own[p]) < len(rows) {
		sc.own[p] = make([]float32, tileRows*len(shift))
	}
	to := sc.own[p][:len(rows)]
	for i := 0; i < len(rows); i += len(shift) {
		from, to := rows[i:i+len(shift)], to[i:i+len(shift)]
		for j, c := range shift {
			to[j] = from[j] - c
		}
	}
	sc.tile[p] = Matrix{Data: to, Cols: len(shift)}
}

// flush adds a block's float32 sums as integers and clears them.
func flush(dst []int64, src []float32, exp []int16) {
	last, scale := int16(0), 1.0
	for j, v := range src {
		if v == 0 {
			continue
		}
		if exp[j] != last {
			last = exp[j]
			scale = pow2(last)
		}
		dst[j] += int64(math.RoundToEven(float64(v) * scale))
	}
	clear(src)
}

func (b *blockSum) prepare(p *Point) {
	scores, cols := len(p.W), len(p.W[0])
	for len(b.grad) < scores {
		b.grad = append(b.grad, nil)
	}
	for k := range scores {
		if len(b.grad[k]) < cols {
			b.grad[k] = make([]float32, cols)
		}
	}
	if cap(b.res) < scores {
		b.res = make([]float64, scores)
	}
	b.res = b.res[:scores]
}

func (sc *Scratch) prepare(p *Point) {
	scores, cols := len(p.W), len(p.W[0])
	if len(sc.prob) < scores {
		sc.score, sc.res = make([]float32, tileRows*scores), make([]float32, tileRows*scores)
		sc.prob = make([]float64, scores)
	}
	if len(sc.zero) < cols {
		sc.zero = make([]float32, cols)
	}
}

// products computes the scores of a tile of n rows, without their offsets.
func products(tile []Matrix, q *Request, n int, sc *Scratch) {
	scores := len(q.Point.W)
	clear(sc.score[:n*scores])
	at := 0
	for _, p := range q.Parts {
		m := &tile[p]
		for i := 0; i < n; i += 4 {
			x := four(m, i, n, sc.zero)
			for k, w := range q.Point.W {
				d := kernel.Dot4(x[0], x[1], x[2], x[3], w[at:at+m.Cols])
				for l := 0; l < 4 && i+l < n; l++ {
					sc.score[(i+l)*scores+k] += d[l]
				}
			}
		}
		at += m.Cols
	}
}

// four are four rows from i on; behind the last of n, zeros stand in.
func four(m *Matrix, i, n int, zero []float32) (x [4][]float32) {
	for l := range x {
		if i+l < n {
			x[l] = m.row(i + l)
		} else {
			x[l] = zero[:m.Cols]
		}
	}
	return x
}

// weighted adds a tile's rows, times their residuals, to the block's sums.
func weighted(tile []Matrix, q *Request, n int, grad [][]float32, sc *Scratch) {
	scores := len(q.Point.W)
	at := 0
	for _, p := range q.Parts {
		m := &tile[p]
		for i := 0; i < n; i += 4 {
			x := four(m, i, n, sc.zero)
			for k := range scores {
				var w [4]float32
				for l := 0; l < 4 && i+l < n; l++ {
					w[l] = sc.res[(i+l)*scores+k]
				}
				if w == [4]float32{} {
					continue
				}
				kernel.Axpy4(grad[k][at:at+m.Cols], x[0], x[1], x[2], x[3], w)
			}
		}
		at += m.Cols
	}
}

// residuals turns a row's scores into the derivative of its loss with respect to each, and
// returns the loss.
func residuals(p *Point, score []float32, class int, res []float32, prob []float64) float64 {
	if len(score) == 1 {
		z := float64(score[0]) + p.B[0]
		if p.Kind == LinearSVC {
			y := float64(2*class - 1)
			if y*z >= 1 {
				res[0] = 0
				return 0
			}
			res[0] = float32(-y)
			return 1 - y*z
		}
		y := float64(class)
		prob := 1 / (1 + math.Exp(-z))
		res[0] = float32(prob - y)
		return softplus(z) - y*z
	}
	top := math.Inf(-1)
	for k := range score {
		prob[k] = float64(score[k]) + p.B[k]
		top = max(top, prob[k])
	}
	own, sum := prob[class], 0.0
	for k := range score {
		prob[k] = math.Exp(prob[k] - top)
		sum += prob[k]
	}
	for k := range score {
		v := prob[k] / sum
		if k == class {
			v--
		}
		res[k] = float32(v)
	}
	return math.Log(sum) + top - own
}

// softplus is log(1+e^z) without overflow.
func softplus(z float64) float64 {
	if z > 0 {
		return z + math.Log1p(math.Exp(-z))
	}
	return math.Log1p(math.Exp(z))
}
