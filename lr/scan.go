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

// Point is where a model wants to be evaluated: raw weights for each score and an offset.
type Point struct {
	Kind    string
	Classes int
	W       [][]float32 // by score; one for two classes, else one for each class
	B       []float64
}

// Partial is what an evaluation yields over some rows: integers, so that any order of adding
// them up gives the same.
type Partial struct {
	Loss [2]int64  // whole and fractional part of the summed loss
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
	p.Loss = [2]int64{}
	clear(p.Res)
	for _, g := range p.Grad {
		clear(g)
	}
}

// Merge adds another partial.
func (p *Partial) Merge(o *Partial) {
	p.Loss[0] += o.Loss[0]
	p.Loss[1] += o.Loss[1]
	addInts(p.Res, o.Res)
	for k := range o.Grad {
		addInts(p.Grad[k], o.Grad[k])
	}
}

// lossFraction scales the fractional part of a loss: 2^22 blocks of it stay below 2^62.
const lossFraction = 1 << 40

func (p *Partial) addLoss(v float64) {
	if !(v < 1<<50) { // also NaN: the sum shows that it is no use
		p.Loss[0] = math.MaxInt64 / 2
		return
	}
	whole := math.Floor(v)
	p.Loss[0] += int64(whole)
	p.Loss[1] += int64(math.RoundToEven((v - whole) * lossFraction))
}

// loss is the summed loss.
func (p *Partial) loss() float64 {
	if p.Loss[0] >= math.MaxInt64/2 || p.Loss[0] < 0 {
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
	score []float32 // tile x scores
	res   []float32
	grad  [][]float32 // scores x columns, float32 sums of a block
	prob  []float64
	zero  []float32
}

// Scan evaluates requests over rows, in one pass. All partitions' rows but those of the last
// call for a partition must come in multiples of Chunk.
func Scan(r *Rows, s *Scales, requests []Request, sc *Scratch) {
	for lo := 0; lo < r.N; lo += blockRows {
		hi := min(lo+blockRows, r.N)
		for q := range requests {
			scanBlock(r, s, &requests[q], lo, hi, sc)
		}
	}
}

func scanBlock(r *Rows, s *Scales, q *Request, lo, hi int, sc *Scratch) {
	scores, cols := len(q.Point.W), len(q.Point.W[0])
	sc.prepare(scores, cols)
	loss, seen := 0.0, false
	var res [maxScores]float64
	resSum := res[:0]
	if scores <= maxScores {
		resSum = res[:scores]
	} else {
		resSum = make([]float64, scores)
	}
	for t := lo; t < hi; t += tileRows {
		n := min(tileRows, hi-t)
		products(r, q, t, n, sc)
		any := false
		for i := range n {
			g := r.Group[t+i]
			row := sc.res[i*scores : (i+1)*scores]
			if g == HeldOut || int(g) == q.Fold {
				clear(row)
				continue
			}
			any = true
			loss += residuals(q.Point, sc.score[i*scores:(i+1)*scores], int(r.Class[t+i]), row, sc.prob)
			for k, v := range row {
				resSum[k] += float64(v)
			}
		}
		if any {
			sums(r, q, t, n, sc)
			seen = true
		}
	}
	if !seen {
		return
	}
	q.Out.addLoss(loss)
	one := pow2(s.One)
	for k := range scores {
		q.Out.Res[k] += fixed(resSum[k], one)
		at := 0
		for _, p := range q.Parts {
			n := r.Parts[p].Cols
			flush(q.Out.Grad[k][at:at+n], sc.grad[k][at:at+n], s.Exp[p])
			at += n
		}
	}
}

// maxScores is how many scores need no allocation.
const maxScores = 16

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

func (sc *Scratch) prepare(scores, cols int) {
	if len(sc.score) < tileRows*scores {
		sc.score, sc.res = make([]float32, tileRows*scores), make([]float32, tileRows*scores)
		sc.prob = make([]float64, scores)
	}
	for len(sc.grad) < scores {
		sc.grad = append(sc.grad, nil)
	}
	for k := range scores {
		if len(sc.grad[k]) < cols {
			sc.grad[k] = make([]float32, cols)
		}
	}
	if len(sc.zero) < cols {
		sc.zero = make([]float32, cols)
	}
}

// products computes the scores of n rows from t on, without their offsets.
func products(r *Rows, q *Request, t, n int, sc *Scratch) {
	scores := len(q.Point.W)
	clear(sc.score[:n*scores])
	at := 0
	for _, p := range q.Parts {
		m := &r.Parts[p]
		for i := 0; i < n; i += 4 {
			x := four(m, t, i, n, sc.zero)
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

// four are four rows from t+i on; behind the last of n, zeros stand in.
func four(m *Matrix, t, i, n int, zero []float32) (x [4][]float32) {
	for l := range x {
		if i+l < n {
			x[l] = m.row(t + i + l)
		} else {
			x[l] = zero[:m.Cols]
		}
	}
	return x
}

// sums adds the rows, weighted by their residuals, to the block's sums.
func sums(r *Rows, q *Request, t, n int, sc *Scratch) {
	scores := len(q.Point.W)
	at := 0
	for _, p := range q.Parts {
		m := &r.Parts[p]
		for i := 0; i < n; i += 4 {
			x := four(m, t, i, n, sc.zero)
			for k := range scores {
				var w [4]float32
				for l := 0; l < 4 && i+l < n; l++ {
					w[l] = sc.res[(i+l)*scores+k]
				}
				if w == [4]float32{} {
					continue
				}
				kernel.Axpy4(sc.grad[k][at:at+m.Cols], x[0], x[1], x[2], x[3], w)
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
