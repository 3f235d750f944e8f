package optim

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// quadratic is sum of h/2*(x-c)^2 over coordinates.
func quadratic(h, c []float64) Eval {
	return func(x []float64) (float64, []float64, error) {
		f, g := 0.0, make([]float64, len(x))
		for i, v := range x {
			f += h[i] / 2 * (v - c[i]) * (v - c[i])
			g[i] = h[i] * (v - c[i])
		}
		return f, g, nil
	}
}

// TestQuadraticHasItsClosedForm: with L1 the minimum is c, moved towards zero by l1/h.
func TestQuadraticHasItsClosedForm(t *testing.T) {
	for _, strength := range []float64{0, 0.1, 3, 1e6} {
		t.Run(fmt.Sprintf("l1=%v", strength), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(7, 7))
			const n = 40
			h, c, l1 := make([]float64, n), make([]float64, n), make([]float64, n)
			for i := range n {
				h[i] = math.Exp(rnd.NormFloat64())
				c[i] = rnd.NormFloat64() * 3
				l1[i] = strength * rnd.Float64()
			}
			l1[0] = 0 // as an intercept
			r, err := Minimize(make([]float64, n), l1, quadratic(h, c), Options{Iterations: 2000, Tol: 1e-14})
			if err != nil {
				t.Fatal(err)
			}
			for i, x := range r.X {
				want := math.Copysign(max(math.Abs(c[i])-l1[i]/h[i], 0), c[i])
				if math.Abs(x-want) > 1e-5 {
					t.Errorf("coordinate %d is %v, want %v", i, x, want)
				}
				if want == 0 && x != 0 {
					t.Errorf("coordinate %d is %v, not zero", i, x)
				}
			}
			if !r.Converged || r.Gradient > 1e-6 {
				t.Errorf("converged %v, gradient %v", r.Converged, r.Gradient)
			}
			if len(r.History) != r.Iterations+1 || r.Evaluations <= r.Iterations {
				t.Errorf("%d iterations with %d values and %d evaluations", r.Iterations, len(r.History), r.Evaluations)
			}
		})
	}
}

// TestNoiseEndsTheSearch: values that are off by more than steps gain end in a result near the
// minimum, in a bounded number of evaluations.
func TestNoiseEndsTheSearch(t *testing.T) {
	h, c := []float64{1, 20, 300}, []float64{5, -2, 1}
	exact := quadratic(h, c)
	rnd := rand.New(rand.NewPCG(3, 3))
	noisy := func(x []float64) (float64, []float64, error) {
		f, g, err := exact(x)
		for i := range g {
			g[i] += 1e-7 * rnd.NormFloat64()
		}
		return 1 + f + 1e-8*rnd.NormFloat64(), g, err
	}
	for _, l1 := range [][]float64{nil, {1e-9, 1e-9, 1e-9}} {
		r, err := Minimize(make([]float64, 3), l1, noisy, Options{Iterations: 100_000, Tol: 1e-14})
		if err != nil {
			t.Fatal(err)
		}
		for i, x := range r.X {
			if math.Abs(x-c[i]) > 1e-5 {
				t.Errorf("coordinate %d is %v, want %v", i, x, c[i])
			}
		}
		if !r.Converged || r.Evaluations > 2000 {
			t.Errorf("converged %v after %d evaluations", r.Converged, r.Evaluations)
		}
	}
}

func TestIterationsAreAtMostWhatWasAsked(t *testing.T) {
	evals := 0
	h, c := []float64{1, 1e4}, []float64{3, -3}
	f := quadratic(h, c)
	r, err := Minimize(make([]float64, 2), nil, func(x []float64) (float64, []float64, error) { evals++; return f(x) }, Options{Iterations: 3, Tol: 1e-6})
	if err != nil {
		t.Fatal(err)
	}
	if r.Iterations != 3 || r.Converged || r.Evaluations != evals {
		t.Errorf("%d iterations, converged %v, %d evaluations of %d", r.Iterations, r.Converged, r.Evaluations, evals)
	}
}

func TestErrorsOfEvaluationsComeBack(t *testing.T) {
	lost := errors.New("worker lost")
	for n := range 4 {
		evals := 0
		f := quadratic([]float64{1, 50}, []float64{1, 2})
		_, err := Minimize(make([]float64, 2), nil, func(x []float64) (float64, []float64, error) {
			if evals++; evals > n {
				return 0, nil, lost
			}
			return f(x)
		}, Options{Iterations: 50, Tol: 1e-12})
		if !errors.Is(err, lost) {
			t.Errorf("evaluation %d fails: %v", n, err)
		}
	}
	_, err := Minimize([]float64{0}, nil, func([]float64) (float64, []float64, error) { return math.NaN(), []float64{0}, nil }, Options{Iterations: 5})
	if !errors.Is(err, ErrNotFinite) {
		t.Errorf("a start that is no number: %v", err)
	}
}
