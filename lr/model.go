package lr

import (
	"math"
	"slices"
)

// Model is a trained model: scores are Weights·x + Intercepts. With two classes there is one
// score, that of class 1; with more there is one for each class.
//
// Columns that lie far from zero (years, coordinates) lose their digits in products of single
// precision. For those Shift holds a number near their middle: scores are the same as
// Weights·(x - Shift) + Offsets(), and better computed so.
type Model struct {
	Kind       string      `json:"kind"`
	Classes    int         `json:"classes"`
	Params     Params      `json:"params"`
	Weights    [][]float32 `json:"weights"` // by score and column, for raw columns
	Intercepts []float64   `json:"intercepts"`
	Shift      []float32   `json:"shift,omitempty"` // by column; left out if it is 0 for all
	Report     Report      `json:"report"`
}

// Report says how training ended.
type Report struct {
	Iterations  int       `json:"iterations"`
	Evaluations int       `json:"evaluations"` // passes over the data
	Objective   float64   `json:"objective"`
	Gradient    float64   `json:"gradient"` // largest violation of optimality
	Converged   bool      `json:"converged"`
	Rows        int64     `json:"rows"`
	History     []float64 `json:"history"` // objective at the start and after each iteration
}

// Offsets are the intercepts that belong to shifted columns.
func (m *Model) Offsets() []float64 {
	out := slices.Clone(m.Intercepts)
	for k := range out {
		for j, c := range m.Shift {
			out[k] += float64(float64(m.Weights[k][j]) * float64(c))
		}
	}
	return out
}

// NonZero is the number of weights that are not 0.
func (m *Model) NonZero() int {
	n := 0
	for _, w := range m.Weights {
		for _, v := range w {
			if v != 0 {
				n++
			}
		}
	}
	return n
}

// Predict computes the class probabilities of rows [lo, hi), classes values for each, into
// out. A support vector classifier has no probabilities: in their place stand its score z for
// class 1 and -z for class 0, of which the larger names the class.
func Predict(r *Rows, parts []int, m *Model, lo, hi int, out []float64, sc *Scratch) {
	p := &Point{Kind: m.Kind, Classes: m.Classes, W: m.Weights, B: m.Offsets()}
	q := &Request{Parts: parts, Fold: -1, Point: p}
	shift := &Scales{Shift: m.shifts(r, parts)}
	scores := len(p.W)
	sc.prepare(p)
	for t := lo; t < hi; t += tileRows {
		n := min(tileRows, hi-t)
		sc.cut(r, shift, t, n)
		products(sc.tile, q, n, sc)
		for i := range n {
			probabilities(p, sc.score[i*scores:(i+1)*scores], out[(t-lo+i)*p.Classes:(t-lo+i+1)*p.Classes])
		}
	}
}

// shifts are the model's shifts by part of the rows; nil for parts without any.
func (m *Model) shifts(r *Rows, parts []int) [][]float32 {
	if len(m.Shift) == 0 {
		return nil
	}
	out := make([][]float32, len(r.Parts))
	at := 0
	for _, p := range parts {
		of := m.Shift[at : at+r.Parts[p].Cols]
		at += len(of)
		if slices.ContainsFunc(of, func(c float32) bool { return c != 0 }) {
			out[p] = of
		}
	}
	return out
}

func probabilities(p *Point, score []float32, out []float64) {
	if len(score) == 1 {
		z := float64(score[0]) + p.B[0]
		if p.Kind == LinearSVC {
			out[0], out[1] = -z, z
			return
		}
		out[1] = 1 / (1 + math.Exp(-z))
		out[0] = 1 / (1 + math.Exp(z))
		return
	}
	top := math.Inf(-1)
	for k := range score {
		out[k] = float64(score[k]) + p.B[k]
		top = max(top, out[k])
	}
	sum := 0.0
	for k := range out {
		out[k] = math.Exp(out[k] - top)
		sum += out[k]
	}
	for k := range out {
		out[k] /= sum
	}
}
