package metrics

import (
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
)

// coin makes predictions that are right with probability p.
func coin(rnd *rand.Rand, label []int32, p float64) *Predictions {
	out := &Predictions{Classes: 2, Label: label}
	for _, l := range label {
		own := 0.5 + 0.4*rnd.Float64()
		c := l
		if rnd.Float64() >= p {
			c, own = 1-l, 1-own
		}
		score := own
		if l == 0 {
			score = 1 - own
		}
		out.Class, out.Own, out.Score = append(out.Class, c), append(out.Own, own), append(out.Score, score)
	}
	return out
}

func labels(rnd *rand.Rand, n int) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = int32(rnd.IntN(2))
	}
	return out
}

func TestMeasureOnSmallCasesByHand(t *testing.T) {
	p := &Predictions{Classes: 2, Label: []int32{1, 1, 0, 0}, Class: []int32{1, 0, 0, 1},
		Own: []float64{0.8, 0.4, 0.7, 0.5}, Score: []float64{0.8, 0.4, 0.3, 0.5}}
	m := Measure(p, 1)
	for name, want := range map[string]float64{
		Accuracy: 0.5, F1: 0.5, F1Macro: 0.5,
		AUC:     0.75, // of the pairs (.8,.3) (.8,.5) (.4,.3) (.4,.5) three are in order
		LogLoss: -(math.Log(0.8) + math.Log(0.4) + math.Log(0.7) + math.Log(0.5)) / 4,
	} {
		if got := m[name]; math.Abs(got.Value-want) > 1e-12 || got.Low > want || got.High < want {
			t.Errorf("%s is %+v, want %v inside its interval", name, got, want)
		}
	}
	// Wilson's interval for 5 of 10 from his formula.
	if w := wilson(5, 10); math.Abs(w.Low-0.2366) > 1e-4 || math.Abs(w.High-0.7634) > 1e-4 {
		t.Errorf("Wilson's interval is %+v", w)
	}
}

func TestIntervalsCover(t *testing.T) {
	const trials = 300
	outside := map[string]int{}
	for s := range trials {
		rnd := rand.New(rand.NewPCG(uint64(s), 2))
		m := Measure(coin(rnd, labels(rnd, 400), 0.8), uint64(s))
		// F1 of a coin that is right with 0.8 on balanced classes is 0.8 as well.
		for _, name := range []string{Accuracy, F1, F1Macro} {
			if m[name].Low > 0.8 || m[name].High < 0.8 {
				outside[name]++
			}
		}
	}
	for name, n := range outside {
		if n > trials*10/100 {
			t.Errorf("%s: the true value is outside in %d of %d trials", name, n, trials)
		}
	}
}

func TestVerdictIsHonest(t *testing.T) {
	const trials = 200
	claimed, found := 0, 0
	for s := range trials {
		rnd := rand.New(rand.NewPCG(uint64(s), 3))
		l := labels(rnd, 500)
		structured := coin(rnd, l, 0.6)
		decide := func(p, q float64) Verdict {
			a, b := coin(rnd, l, p), coin(rnd, l, q)
			return Decide([]Entry{{"a", a, wilson(a.right(), 500)}, {"b", b, wilson(b.right(), 500)}}, structured, Accuracy, uint64(s))
		}
		if !decide(0.8, 0.8).Tie {
			claimed++
		}
		if v := decide(0.9, 0.75); !v.Tie && v.Best == "a" {
			found++
		}
	}
	if claimed > trials*8/100 { // 5 % and what 200 trials scatter
		t.Errorf("a winner among equals was claimed in %d of %d trials", claimed, trials)
	}
	if found < trials*95/100 {
		t.Errorf("a planted winner was found in %d of %d trials", found, trials)
	}
}

func TestNoLayerHelps(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 5))
	l := labels(rnd, 500)
	s, a := coin(rnd, l, 0.8), coin(rnd, l, 0.8)
	v := Decide([]Entry{{"a", a, wilson(a.right(), 500)}}, s, Accuracy, 1)
	if v.Helps || !v.Tie || v.RunnerUp != "" {
		t.Errorf("got %+v; want that no layer helps", v)
	}
}

func TestSameSeedSameNumbers(t *testing.T) {
	rnd := rand.New(rand.NewPCG(6, 6))
	p := coin(rnd, labels(rnd, 300), 0.7)
	if a, b := Measure(p, 9), Measure(p, 9); !reflect.DeepEqual(a, b) {
		t.Errorf("%v and %v", a, b)
	}
}
