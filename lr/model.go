package lr

import "math"

// Model is a trained model: scores are Weights·x + Intercepts. With two classes there is one
// score, that of class 1; with more there is one for each class.
type Model struct {
	Kind       string      `json:"kind"`
	Classes    int         `json:"classes"`
	Params     Params      `json:"params"`
	Weights    [][]float32 `json:"weights"` // by score and column, for raw columns
	Intercepts []float64   `json:"intercepts"`
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

// Point is the model as a scan takes it.
func (m *Model) Point() *Point {
	return &Point{Kind: m.Kind, Classes: m.Classes, W: m.Weights, B: m.Intercepts}
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
func Predict(r *Rows, parts []int, p *Point, lo, hi int, out []float64, sc *Scratch) {
	q := &Request{Parts: parts, Fold: -1, Point: p}
	scores := len(p.W)
	sc.prepare(p)
	for t := lo; t < hi; t += tileRows {
		n := min(tileRows, hi-t)
		sc.cut(r, nil, t, n)
		products(sc.tile, q, n, sc)
		for i := range n {
			probabilities(p, sc.score[i*scores:(i+1)*scores], out[(t-lo+i)*p.Classes:(t-lo+i+1)*p.Classes])
		}
	}
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
