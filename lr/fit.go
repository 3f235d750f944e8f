package lr

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"

	"github.com/vista-mr/vista-mr/lr/optim"
)

// The kinds of model.
const (
	Logistic  = "logistic-regression"
	LinearSVC = "linear-svc"
)

// Params are the hyper-parameters of a model.
type Params struct {
	Kind        string  `json:"kind"`
	Reg         float64 `json:"reg"`
	ElasticNet  float64 `json:"elasticNet"`
	Tol         float64 `json:"tol"`
	Iterations  int     `json:"iterations"` // of the optimizer
	Standardize bool    `json:"standardize"`
}

// Spec is one model to be trained.
type Spec struct {
	Params
	Parts   []int // whose columns it reads, in order
	Classes int
	Fold    int // group that is left out; -1: none
}

// OneClassError says that there is nothing to tell apart.
type OneClassError struct {
	Class int    // the only class among the training rows, or -1 without any rows
	Label string // its label, for whoever knows
	Rows  int64  // that were to be trained on; 0: all there are

	Fold  int // the fold that was left out, as metrics.csv numbers them: from 0
	Folds int // of so many; 0: none was left out

	Table string // where the rows are from, for whoever knows
}

func (e *OneClassError) Error() string {
	without := ""
	if e.Folds > 0 {
		without = fmt.Sprintf("without fold %d of the folds 0 to %d, ", e.Fold, e.Folds-1)
	}
	if e.Class < 0 {
		return without + "there are no rows to train on"
	}
	what := fmt.Sprintf("are of class %d", e.Class)
	if e.Label != "" {
		what = fmt.Sprintf("have the label %q", e.Label)
	}
	who := "all rows"
	if e.Rows > 0 {
		who = fmt.Sprintf("all %d training rows", e.Rows)
	}
	return fmt.Sprintf("%s%s %s: there is nothing to learn", without, who, what)
}

// ErrorID is stable.
func (e *OneClassError) ErrorID() string { return "E-ONE-CLASS" }

// Input is the table.
func (e *OneClassError) Input() string { return e.Table }

// Hint says what to do.
func (e *OneClassError) Hint() string {
	if e.Folds > 0 {
		return "set downstream.folds lower, or 0 with one value for each key of downstream.grid, or give table.label a column whose classes all have more rows"
	}
	return "check table.label, and that enough rows have both a label and an image"
}

// TwoClassesError says that a kind of model for two classes was given more.
type TwoClassesError struct{ Classes int }

func (e *TwoClassesError) Error() string {
	return fmt.Sprintf("%s tells two classes apart, the label has %d", LinearSVC, e.Classes)
}

// ErrorID is stable.
func (e *TwoClassesError) ErrorID() string { return "E-TWO-CLASSES" }

// Hint says what to do.
func (e *TwoClassesError) Hint() string {
	return "set downstream.kind to " + Logistic + ", or check table.label"
}

// RangeError says that a column's values are too large to be added up.
type RangeError struct {
	Column int // among the model's columns, from 0
	Value  float64
	Name   string // the column's, if it is one of the table, for whoever knows
	Layer  string // whose vector the column is of, for whoever knows
}

func (e *RangeError) Error() string {
	where := fmt.Sprintf("column %d of the model's input", e.Column+1)
	switch {
	case e.Name != "":
		where = fmt.Sprintf("column %q", e.Name)
	case e.Layer != "":
		where = fmt.Sprintf("the vector of layer %q", e.Layer)
	}
	return fmt.Sprintf("%s has values of %.3g, more than %.0g: sums of them are not finite in single precision", where, e.Value, float64(maxReach))
}

// ErrorID is stable.
func (e *RangeError) ErrorID() string { return "E-RANGE" }

// Input is the column, or the layer.
func (e *RangeError) Input() string { return e.Name + e.Layer }

// Hint says what to do.
func (e *RangeError) Hint() string {
	if e.Layer != "" {
		return "check cnn.weights and cnn.preprocess, or leave the layer out of cnn.layers"
	}
	return "rescale the column, or leave it out with table.features"
}

// maxReach keeps the sum over a block of rows, and products with it, finite.
const maxReach = 1e30

// TooLarge tells whether a column with this value is refused with a RangeError.
func TooLarge(v float32) bool { return math.Abs(float64(v)) > maxReach }

// Fit trains one model step by step: evaluate Point, Observe the merged sums, until Done. It
// belongs to one goroutine, and Close must be called in any case.
type Fit struct {
	spec   Spec
	n      float64
	mean   []float64 // of shifted columns
	shift  []float32
	dev    []float64 // 0 for constant columns
	scale  []float64 // of gradient sums: 2^-exp
	one    float64   // of residual sums
	scores int

	next   func() (*Point, bool)
	stop   func()
	point  *Point
	answer *Partial
	result *optim.Result
	err    error
}

// NewFit prepares a model. Statistics are those of the whole data set.
func NewFit(spec Spec, e *Extent, m *Moments, s *Scales) (*Fit, error) {
	if spec.Kind != Logistic && spec.Kind != LinearSVC {
		return nil, fmt.Errorf("lr: unknown kind of model %q", spec.Kind)
	}
	if spec.Kind == LinearSVC && spec.Classes > 2 {
		return nil, &TwoClassesError{Classes: spec.Classes}
	}
	counts, err := classCounts(spec, e)
	if err != nil {
		return nil, err
	}
	f := &Fit{spec: spec, scores: 1, one: pow2(-s.One)}
	if spec.Classes > 2 {
		f.scores = spec.Classes
	}
	for _, c := range counts {
		f.n += float64(c)
	}
	if err := f.columns(e, m, s); err != nil {
		return nil, err
	}
	f.next, f.stop = iter.Pull(func(yield func(*Point) bool) { f.minimize(f.start(counts), yield) })
	f.point, _ = f.next()
	return f, f.err
}

func classCounts(spec Spec, e *Extent) ([]int64, error) {
	counts := make([]int64, spec.Classes)
	for g, classes := range e.Groups {
		if g != spec.Fold {
			addInts(counts, classes)
		}
	}
	one := &OneClassError{Class: -1}
	if spec.Fold >= 0 {
		one.Fold, one.Folds = spec.Fold, len(e.Groups)
	}
	found := 0
	for c, n := range counts {
		if n > 0 {
			found++
			one.Class, one.Rows = c, n
		}
	}
	if found < 2 {
		return nil, one
	}
	return counts, nil
}

// columns computes mean and sample deviation of each column over the model's rows.
func (f *Fit) columns(e *Extent, m *Moments, s *Scales) error {
	for _, p := range f.spec.Parts {
		for j, exp := range s.Exp[p] {
			if top := e.reach(p, j, 0); top > maxReach {
				return &RangeError{Column: len(f.mean), Value: top}
			}
			var sum, square int64
			for g := range m.Sum {
				if g != f.spec.Fold {
					sum += m.Sum[g][p][j]
					square += m.Square[g][p][j]
				}
			}
			mean := float64(sum) * pow2(-exp) / f.n
			variance := (float64(square)*pow2(-squareExp(exp, s.One)) - f.n*mean*mean) / max(f.n-1, 1)
			// What is left of a column that is constant among these rows is rounding: float64
			// sums of squares carry about 1e-13 of the largest square.
			if top := e.reach(p, j, s.shift(p, j)); variance <= 1e-12*top*top || e.Low[p][j] == e.High[p][j] {
				variance = 0
			}
			f.mean, f.shift = append(f.mean, mean), append(f.shift, s.shift(p, j))
			f.dev = append(f.dev, f.unit(variance))
			f.scale = append(f.scale, pow2(-exp))
		}
	}
	return nil
}

// unit is what a column's weight is multiplied by in the optimizer's coordinates: the
// deviation, as in MLlib. Where the penalty acts on raw weights it outweighs the loss for
// columns of small deviation, by 4*reg to the variance at most (the curvature of log-loss is a
// quarter of it or less); then its share is added, which keeps the coordinates alike. MLlib
// does without and needs up to ten times as many iterations.
func (f *Fit) unit(variance float64) float64 {
	if variance > 0 && !f.spec.Standardize {
		variance += 4 * f.spec.Reg * (1 - f.spec.ElasticNet)
	}
	return math.Sqrt(variance)
}

// start is zero weights with intercepts that give every class its frequency (MLlib), or 0 for
// hinge loss.
func (f *Fit) start(counts []int64) []float64 {
	x := make([]float64, f.scores*(len(f.mean)+1))
	d := len(f.mean)
	switch {
	case f.spec.Kind == LinearSVC:
	case f.scores == 1:
		x[d] = math.Log(float64(counts[1]) / float64(counts[0]))
	default:
		avg := 0.0
		for k, c := range counts {
			// A class without rows starts as if it had a tenth of one: its log would be infinite.
			x[k*(d+1)+d] = math.Log(max(float64(c), 0.1))
			avg += x[k*(d+1)+d] / float64(f.scores)
		}
		for k := range counts {
			x[k*(d+1)+d] -= avg
		}
	}
	return x
}

var errStopped = errors.New("lr: the fit was closed")

// minimize runs the optimizer; each evaluation yields a point and waits for the answer.
func (f *Fit) minimize(x0 []float64, yield func(*Point) bool) {
	l1, l2 := f.penalties()
	grad := make([]float64, len(x0))
	eval := func(x []float64) (float64, []float64, error) {
		if !yield(f.toPoint(x)) {
			return 0, nil, errStopped
		}
		return f.value(x, l2, grad), grad, nil
	}
	f.result, f.err = optim.Minimize(x0, l1, eval, optim.Options{Iterations: f.spec.Iterations, Tol: f.spec.Tol})
}

// penalties are the strengths for each coordinate of x; intercepts have none.
func (f *Fit) penalties() (l1, l2 []float64) {
	d := len(f.mean)
	l1, l2 = make([]float64, f.scores*(d+1)), make([]float64, f.scores*(d+1))
	for k := range f.scores {
		for j, dev := range f.dev {
			if dev == 0 {
				continue
			}
			a, b := f.spec.Reg*f.spec.ElasticNet, f.spec.Reg*(1-f.spec.ElasticNet)
			if !f.spec.Standardize { // the penalty acts on w = v/dev
				a, b = a/dev, b/(dev*dev)
			}
			l1[k*(d+1)+j], l2[k*(d+1)+j] = a, b
		}
	}
	return l1, l2
}

// toPoint turns coordinates into raw weights, and offsets for shifted columns.
func (f *Fit) toPoint(x []float64) *Point {
	d := len(f.mean)
	p := &Point{Kind: f.spec.Kind, Classes: f.spec.Classes, B: make([]float64, f.scores), W: make([][]float32, f.scores)}
	for k := range f.scores {
		row := x[k*(d+1) : (k+1)*(d+1)]
		w := make([]float32, d)
		b := row[d]
		for j, dev := range f.dev {
			if dev == 0 {
				continue
			}
			w[j] = float32(row[j] / dev)
			b -= float64(float64(w[j]) * f.mean[j]) // the weight as it is used, so that centring is exact
		}
		p.W[k], p.B[k] = w, b
	}
	return p
}

// value is the smooth objective at x from the answer, with its gradient.
func (f *Fit) value(x, l2, grad []float64) float64 {
	d := len(f.mean)
	loss := f.answer.loss() / f.n
	for k := range f.scores {
		row, g := x[k*(d+1):(k+1)*(d+1)], grad[k*(d+1):(k+1)*(d+1)]
		res := float64(f.answer.Res[k]) * f.one
		for j, dev := range f.dev {
			if dev == 0 {
				g[j] = 0
				continue
			}
			l := l2[k*(d+1)+j]
			g[j] = (float64(f.answer.Grad[k][j])*f.scale[j]-f.mean[j]*res)/(dev*f.n) + l*row[j]
			loss += l / 2 * row[j] * row[j]
		}
		g[d] = res / f.n
	}
	return loss
}

// Point is where the model is to be evaluated next; nil when it is done.
func (f *Fit) Point() *Point { return f.point }

// Scores is the number of weight vectors.
func (f *Fit) Scores() int { return f.scores }

// Columns is the number of columns that the model reads.
func (f *Fit) Columns() int { return len(f.mean) }

// Observe takes the sums over all rows at Point.
func (f *Fit) Observe(p *Partial) error {
	if f.point == nil {
		return errors.New("lr: the fit is done")
	}
	f.answer = p
	f.point, _ = f.next()
	return f.err
}

// Done tells whether the model is trained.
func (f *Fit) Done() bool { return f.point == nil }

// Close lets go of a fit that is not wanted any more.
func (f *Fit) Close() { f.stop() }

// Model is the trained model, on raw columns. The fit must be done.
func (f *Fit) Model() *Model {
	r := f.result
	objective := r.Objective
	if f.scores > 1 {
		objective -= f.centre(r.X)
	}
	p := f.toPoint(r.X)
	f.unshift(p)
	m := &Model{Kind: f.spec.Kind, Classes: f.spec.Classes, Params: f.spec.Params, Weights: p.W, Intercepts: p.B,
		Report: Report{Iterations: r.Iterations, Evaluations: r.Evaluations, Objective: objective,
			Gradient: r.Gradient, Converged: r.Converged, Rows: int64(f.n), History: r.History}}
	if slices.ContainsFunc(f.shift, func(c float32) bool { return c != 0 }) {
		m.Shift = f.shift
	}
	return m
}

// unshift makes the offsets those of raw columns, centred where there are several.
func (f *Fit) unshift(p *Point) {
	mean := 0.0
	for k, w := range p.W {
		for j, c := range f.shift {
			p.B[k] -= float64(float64(w[j]) * float64(c))
		}
		mean += p.B[k] / float64(len(p.B))
	}
	if len(p.B) > 1 {
		for k := range p.B {
			p.B[k] -= mean
		}
	}
}

// centre takes what the weights of all classes have in common out of them, which changes no
// probability: for each column what makes the penalty least, or the mean where there is none.
// MLlib does the latter; with a penalty the optimizer gets there too, but slowly, for nothing
// else pulls that way. It returns by how much the objective has become smaller.
func (f *Fit) centre(x []float64) float64 {
	d := len(f.mean)
	l1, l2 := f.penalties()
	v := make([]float64, f.scores)
	gain := 0.0
	for j := range d {
		for k := range v {
			v[k] = x[k*(d+1)+j]
		}
		c := common(v, l1[j], l2[j])
		for k, w := range v {
			x[k*(d+1)+j] = w - c
			gain += l1[j]*(math.Abs(w)-math.Abs(w-c)) + l2[j]/2*c*(2*w-c)
		}
	}
	return gain
}

// common is the c for which the sum of l1*|w-c| + l2/2*(w-c)^2 over w is least; 0 if that is
// one, the mean if there is no penalty.
func common(w []float64, l1, l2 float64) float64 {
	n, sum := float64(len(w)), 0.0
	for _, v := range w {
		sum += v
	}
	if l1 == 0 {
		return sum / n
	}
	// slope of the sum at c, to the left and to the right of it
	slope := func(c float64) (lo, hi float64) {
		lo = l2 * (n*c - sum)
		hi = lo
		for _, v := range w {
			switch {
			case v < c:
				lo, hi = lo+l1, hi+l1
			case v > c:
				lo, hi = lo-l1, hi-l1
			default:
				lo, hi = lo-l1, hi+l1
			}
		}
		return lo, hi
	}
	if lo, hi := slope(0); lo <= 0 && hi >= 0 {
		return 0
	}
	at := slices.Sorted(slices.Values(w))
	for i, v := range at {
		lo, hi := slope(v)
		switch {
		case lo <= 0 && hi >= 0:
			return v
		case lo > 0 && i > 0 && l2 > 0: // between the last and this one: back from here along the line
			return v - lo/(l2*n)
		}
	}
	return 0
}
