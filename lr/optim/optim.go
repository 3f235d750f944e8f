// Package optim minimises smooth convex functions with an optional L1 penalty: L-BFGS, and
// OWL-QN where the penalty is not zero (Andrew and Gao, "Scalable training of L1-regularized
// log-linear models", ICML 2007).
//
// Invariant: it is deterministic, and every evaluation that it asks for is one pass over the
// data: it never evaluates a point twice.
//
// Package lr calls it with a function that hands a point to the workers and waits for their
// sum. It knows no data.
package optim

import (
	"errors"
	"math"
	"slices"
)

// Options are the stopping rules.
type Options struct {
	Iterations int     // at most; 0: none
	Tol        float64 // it stops when the gradient's norm is below Tol times the objective, or when the objective has fallen by less over 20 iterations
	Memory     int     // pairs kept; 0: 10, as MLlib
}

// Eval returns the smooth part of the objective and its gradient at x. Neither slice is kept.
type Eval func(x []float64) (f float64, g []float64, err error)

// Result is where it ended.
type Result struct {
	X           []float64
	Objective   float64 // with the L1 penalty
	Gradient    float64 // largest component of the (pseudo-)gradient: the violation of optimality
	Iterations  int
	Evaluations int
	Converged   bool      // by Tol, or because the arithmetic's floor is reached
	History     []float64 // objective at the start and after each iteration
}

// ErrNotFinite says that the objective is not a number at a point that should have one.
var ErrNotFinite = errors.New("the objective is not finite")

const (
	armijo    = 1e-4
	curvature = 0.9
	maxSteps  = 30
	window    = 20   // iterations over which Tol looks at the objective
	noise     = 1e-7 // relative: rows are evaluated in float32, and smaller differences mean nothing
	patience  = 100  // iterations within noise without a smaller gradient, after which it stops
)

// state is the current point with all that belongs to it.
type state struct {
	x, g []float64
	f    float64 // with the L1 penalty
	pg   []float64
}

// Minimize starts at x0. l1 holds the strength of the L1 penalty for each coordinate; nil
// means none.
func Minimize(x0, l1 []float64, eval Eval, o Options) (*Result, error) {
	m := &minimizer{l1: l1, eval: eval, o: o, memory: o.Memory}
	if m.memory <= 0 {
		m.memory = 10
	}
	for _, v := range l1 {
		m.sparse = m.sparse || v > 0
	}
	return m.run(x0)
}

type minimizer struct {
	l1     []float64
	sparse bool
	eval   Eval
	o      Options
	memory int
	s, y   [][]float64 // steps and gradient differences, oldest first
	rho    []float64
	evals  int
}

func (m *minimizer) run(x0 []float64) (*Result, error) {
	cur, err := m.at(append([]float64(nil), x0...))
	if err != nil {
		return nil, err
	}
	if !finite(cur.f) {
		return nil, ErrNotFinite
	}
	r := &Result{History: []float64{cur.f}}
	best, since := cur, 0
	for r.Iterations < m.o.Iterations {
		if norm(cur.pg) <= max(m.o.Tol*math.Abs(cur.f), 1e-8) || m.flat(r.History) {
			r.Converged = true
			break
		}
		next, err := m.step(cur)
		if err != nil {
			return nil, err
		}
		if next == nil { // no direction leads down any more: the arithmetic's floor
			r.Converged = true
			break
		}
		r.Iterations++
		r.History = append(r.History, next.f)
		m.remember(cur, next)
		cur = next
		// Within noise of the least objective, the smallest gradient tells the best point.
		switch {
		case cur.f < best.f-noise*math.Abs(best.f), norm(cur.pg) < norm(best.pg):
			best, since = cur, 0
		default:
			since++
		}
		if since >= patience {
			r.Converged = true
			break
		}
	}
	r.X, r.Objective, r.Evaluations = best.x, best.f, m.evals
	for _, v := range best.pg {
		r.Gradient = max(r.Gradient, math.Abs(v))
	}
	return r, nil
}

// flat is MLlib's rule (Breeze's FunctionValuesConverged): over so many iterations the
// objective has fallen by less than Tol of its first value. A Tol below noise says nothing of
// the objective; then the gradient decides, and patience.
func (m *minimizer) flat(history []float64) bool {
	if len(history) < window || m.o.Tol < noise {
		return false
	}
	last := history[len(history)-window:]
	return slices.Max(last)-last[window-1] <= m.o.Tol*math.Abs(history[0])
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// at evaluates a point.
func (m *minimizer) at(x []float64) (*state, error) {
	f, g, err := m.eval(x)
	if err != nil {
		return nil, err
	}
	m.evals++
	s := &state{x: x, f: f, g: append([]float64(nil), g...)}
	s.pg = s.g
	if m.sparse {
		s.pg = make([]float64, len(x))
		for i, v := range x {
			s.f += m.l1[i] * math.Abs(v)
			s.pg[i] = pseudo(v, g[i], m.l1[i])
		}
	}
	return s, nil
}

// pseudo is a component of the pseudo-gradient (Andrew and Gao, equation 4): the one-sided
// derivative that points downhill, or 0 where both sides go up.
func pseudo(x, g, l1 float64) float64 {
	switch {
	case x > 0:
		return g + l1
	case x < 0:
		return g - l1
	case g+l1 < 0:
		return g + l1
	case g-l1 > 0:
		return g - l1
	}
	return 0
}

// step finds the next point, or nil when nothing decreases the objective.
func (m *minimizer) step(cur *state) (*state, error) {
	for {
		d := m.direction(cur.pg)
		slope := dot(cur.pg, d)
		if slope < 0 {
			t := 1.0
			if len(m.s) == 0 {
				t = min(1, 1/norm(cur.pg))
			}
			next, err := m.search(cur, d, slope, t)
			if next != nil || err != nil {
				return next, err
			}
		}
		if len(m.s) == 0 {
			return nil, nil
		}
		m.s, m.y, m.rho = nil, nil, nil // what was remembered misleads: start anew from here
	}
}

// direction is minus the inverse Hessian's approximation times pg (the two-loop recursion),
// kept to the orthant that pg points into.
func (m *minimizer) direction(pg []float64) []float64 {
	d := make([]float64, len(pg))
	for i, v := range pg {
		d[i] = -v
	}
	a := make([]float64, len(m.s))
	for k := len(m.s) - 1; k >= 0; k-- {
		a[k] = m.rho[k] * dot(m.s[k], d)
		axpy(-a[k], m.y[k], d)
	}
	if k := len(m.s) - 1; k >= 0 {
		scale := 1 / (m.rho[k] * dot(m.y[k], m.y[k]))
		for i := range d {
			d[i] *= scale
		}
	}
	for k := range m.s {
		b := m.rho[k] * dot(m.y[k], d)
		axpy(a[k]-b, m.s[k], d)
	}
	if m.sparse {
		for i := range d {
			if d[i]*pg[i] >= 0 {
				d[i] = 0
			}
		}
	}
	return d
}

// search walks along d. With an L1 penalty it backtracks and keeps to the orthant; without,
// it looks for a step with sufficient decrease and curvature by doubling and bisection. Where
// the objective's differences drown in noise, slopes decide instead of it (the approximate
// Wolfe conditions of Hager and Zhang, 2005).
func (m *minimizer) search(cur *state, d []float64, slope, t float64) (*state, error) {
	lo, hi := 0.0, math.Inf(1)
	var best *state
	for range maxSteps {
		x := make([]float64, len(cur.x))
		gain := 0.0 // the linear model's change
		for i, v := range cur.x {
			x[i] = v + t*d[i]
			if m.sparse && m.l1[i] > 0 && !sameOrthant(x[i], v, cur.pg[i]) {
				x[i] = 0
			}
			gain += float64(cur.pg[i] * (x[i] - v))
		}
		if -gain <= 1e-14*math.Abs(cur.f) {
			break // whatever there is to gain is far below noise
		}
		next, err := m.at(x)
		if err != nil {
			return nil, err
		}
		down := next.f <= cur.f+armijo*gain
		if !down && next.f <= cur.f+noise*math.Abs(cur.f) {
			down = m.slope(cur, next) <= (2*armijo-1)*gain
		}
		switch {
		case !finite(next.f) || !down:
			hi = t
		case m.sparse || dot(next.g, d) >= curvature*slope:
			return next, nil
		default:
			lo, best = t, next
		}
		if math.IsInf(hi, 1) {
			t *= 2
		} else {
			t = (lo + hi) / 2
		}
		if best != nil && hi-lo <= 1e-3*lo {
			break
		}
	}
	return best, nil
}

// slope is the derivative at next along the step from cur to it, within cur's orthant.
func (m *minimizer) slope(cur, next *state) float64 {
	s := 0.0
	for i, v := range next.g {
		if m.sparse && m.l1[i] > 0 {
			if up := cur.x[i] > 0 || cur.x[i] == 0 && cur.pg[i] < 0; up {
				v += m.l1[i]
			} else {
				v -= m.l1[i]
			}
		}
		s += float64(v * (next.x[i] - cur.x[i]))
	}
	return s
}

// sameOrthant tells whether a coordinate stays on its side of zero; from zero it may go
// where the pseudo-gradient points.
func sameOrthant(x, from, pg float64) bool {
	if from != 0 {
		return x*from > 0
	}
	return x*-pg > 0
}

func (m *minimizer) remember(cur, next *state) {
	s, y := make([]float64, len(cur.x)), make([]float64, len(cur.x))
	for i := range s {
		s[i], y[i] = next.x[i]-cur.x[i], next.g[i]-cur.g[i]
	}
	sy := dot(s, y)
	if sy <= 1e-12*norm(s)*norm(y) {
		return // no curvature to learn from
	}
	if len(m.s) == m.memory {
		m.s, m.y, m.rho = m.s[1:], m.y[1:], m.rho[1:]
	}
	m.s, m.y, m.rho = append(m.s, s), append(m.y, y), append(m.rho, 1/sy)
}

func dot(a, b []float64) float64 {
	s := 0.0
	for i, v := range a {
		s += float64(v * b[i])
	}
	return s
}

func axpy(a float64, x, y []float64) {
	for i, v := range x {
		y[i] += float64(a * v)
	}
}

func norm(a []float64) float64 { return math.Sqrt(dot(a, a)) }
