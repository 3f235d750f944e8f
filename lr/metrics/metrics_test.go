package metrics

import (
	"fmt"
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

// signal makes predictions of a logistic model whose score is shift standard deviations
// higher for class 1 than for class 0. shared is a part of the noise that models have in common.
func signal(rnd *rand.Rand, label []int32, shift float64, shared []float64) *Predictions {
	out := &Predictions{Classes: 2, Label: label}
	for i, l := range label {
		z := (rnd.NormFloat64()+shared[i])/math.Sqrt2 + shift*(float64(l)-0.5)
		prob := 1 / (1 + math.Exp(-shift*z))
		c, own := int32(0), prob
		if z > 0 {
			c = 1
		}
		if l == 0 {
			own = 1 - prob
		}
		out.Class, out.Own, out.Score = append(out.Class, c), append(out.Own, own), append(out.Score, prob)
	}
	return out
}

func noise(rnd *rand.Rand, n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = rnd.NormFloat64()
	}
	return out
}

func labels(rnd *rand.Rand, n, classes int) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = int32(rnd.IntN(classes))
	}
	return out
}

// many makes predictions for three classes from noisy scores.
func many(rnd *rand.Rand, n int) *Predictions {
	p := &Predictions{Classes: 3, Label: labels(rnd, n, 3)}
	for _, l := range p.Label {
		var e [3]float64
		sum, best := 0.0, int32(0)
		for k := range e {
			e[k] = math.Exp(rnd.NormFloat64())
			if int32(k) == l {
				e[k] *= 3
			}
			if e[k] > e[best] {
				best = int32(k)
			}
			sum += e[k]
		}
		for k := range e {
			p.Prob = append(p.Prob, math.Round(e[k]/sum*50)/50) // with ties
		}
		p.Class, p.Own = append(p.Class, best), append(p.Own, e[l]/sum)
	}
	return p
}

func TestMeasureOnSmallCasesByHand(t *testing.T) {
	p := &Predictions{Classes: 2, Label: []int32{1, 1, 0, 0}, Class: []int32{1, 0, 0, 1},
		Own: []float64{0.8, 0.4, 0.7, 0.5}, Score: []float64{0.8, 0.4, 0.3, 0.5}}
	m := Measure(p)
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
	if w := wilson(0.5, 10); math.Abs(w.Low-0.2366) > 1e-4 || math.Abs(w.High-0.7634) > 1e-4 {
		t.Errorf("Wilson's interval is %+v", w)
	}
}

// TestMetricsAgainstTheirDefinitions counts pairs and cells the slow way.
func TestMetricsAgainstTheirDefinitions(t *testing.T) {
	p := many(rand.New(rand.NewPCG(4, 4)), 150)
	auc, macro := 0.0, 0.0
	for c := range 3 {
		pairs, good, hit, all := 0.0, 0.0, 0.0, 0.0
		for i, l := range p.Label {
			if int(l) == c {
				all++
			}
			if int(p.Class[i]) == c {
				all++
				if int(l) == c {
					hit++
				}
			}
			for j, k := range p.Label {
				if int(l) != c || int(k) == c {
					continue
				}
				pairs++
				switch a, b := p.Prob[3*i+c], p.Prob[3*j+c]; {
				case a > b:
					good++
				case a == b:
					good += 0.5
				}
			}
		}
		auc += good / pairs / 3
		macro += 2 * hit / all / 3
	}
	m := Measure(p)
	if math.Abs(m[AUC].Value-auc) > 1e-12 || math.Abs(m[F1Macro].Value-macro) > 1e-12 {
		t.Errorf("AUC %v and F1 %v, want %v and %v", m[AUC].Value, m[F1Macro].Value, auc, macro)
	}
	if _, ok := m[F1]; ok {
		t.Error("F1 of class 1 is not defined for three classes")
	}
	for name := range m { // the rows' contributions have the metric as their mean
		s, _ := p.spread(name)
		sum := 0.0
		for _, x := range s.rows {
			sum += x
		}
		if math.Abs(sum/float64(len(s.rows))-s.value) > 1e-12 {
			t.Errorf("%s: mean of contributions %v, value %v", name, sum/float64(len(s.rows)), s.value)
		}
	}
}

// TestVarianceAgainstResampling compares the closed forms with a bootstrap over rows.
func TestVarianceAgainstResampling(t *testing.T) {
	rnd := rand.New(rand.NewPCG(8, 8))
	l := labels(rnd, 600, 2)
	shared := noise(rnd, 600)
	a, b := signal(rnd, l, 1.2, shared), signal(rnd, l, 0.9, shared)
	pick := func(p *Predictions, rows []int) *Predictions {
		out := &Predictions{Classes: 2}
		for _, i := range rows {
			out.Label, out.Class = append(out.Label, p.Label[i]), append(out.Class, p.Class[i])
			out.Own, out.Score = append(out.Own, p.Own[i]), append(out.Score, p.Score[i])
		}
		return out
	}
	for _, name := range names {
		var one, diff []float64
		for range 1000 {
			rows := make([]int, 600)
			for i := range rows {
				rows[i] = rnd.IntN(600)
			}
			x, _ := Of(pick(a, rows), name)
			y, _ := Of(pick(b, rows), name)
			one, diff = append(one, x), append(diff, x-y)
		}
		s, _ := a.spread(name)
		if got, want := math.Sqrt(s.variance()), deviation(one); math.Abs(got-want) > 0.08*want {
			t.Errorf("%s: deviation %.5f, resampling gives %.5f", name, got, want)
		}
		d := Better(a, b, name)
		if got, want := (d.High-d.Low)/2/z95, deviation(diff); math.Abs(got-want) > 0.1*want {
			t.Errorf("%s: deviation of the difference %.5f, resampling gives %.5f", name, got, want)
		}
	}
}

func deviation(v []float64) float64 {
	mean, sq := 0.0, 0.0
	for _, x := range v {
		mean += x / float64(len(v))
	}
	for _, x := range v {
		sq += (x - mean) * (x - mean)
	}
	return math.Sqrt(sq / float64(len(v)-1))
}

// TestIntervalsCover draws many test sets from a known world.
func TestIntervalsCover(t *testing.T) {
	const trials = 1500
	// In a world of 300,000 rows the metrics are what they are.
	rnd := rand.New(rand.NewPCG(1, 2))
	whole := labels(rnd, 300_000, 2)
	world := signal(rnd, whole, 1.5, noise(rnd, len(whole)))
	truth := map[string]float64{}
	for _, name := range names {
		truth[name], _ = Of(world, name)
	}
	for _, n := range []int{30, 100, 500} {
		outside := map[string]int{}
		for s := range trials {
			rnd := rand.New(rand.NewPCG(uint64(s), uint64(n)))
			l := labels(rnd, n, 2)
			m := Measure(signal(rnd, l, 1.5, noise(rnd, n)))
			for _, name := range names {
				if want := truth[name]; m[name].Low > want || m[name].High < want {
					outside[name]++
				}
			}
		}
		for _, name := range names {
			limit := 0.065
			if n == 30 {
				limit = 0.11 // log-loss is skewed: a few rows do not show its tail
			}
			if share := float64(outside[name]) / trials; share > limit {
				t.Errorf("n=%d: %s is outside its interval in %.1f %% of trials", n, name, 100*share)
			}
		}
	}
}

func TestIntervalsDoNotCollapse(t *testing.T) {
	l := []int32{0, 0, 0, 0, 0, 1, 1, 1, 1, 1}
	p := &Predictions{Classes: 2, Label: l, Class: l}
	for _, v := range l {
		p.Own, p.Score = append(p.Own, 0.9), append(p.Score, 0.1+0.8*float64(v))
	}
	for name, v := range Measure(p) {
		if name != LogLoss && (v.Value != 1 || v.High != 1 || v.Low > 0.8) {
			t.Errorf("%s of ten rows without an error is %+v", name, v)
		}
	}
	p.Own[0] = math.NaN()
	if v := Measure(p)[LogLoss]; math.IsNaN(v.Value) || v.Value < 3 {
		t.Errorf("a probability that is no number gives %+v", v)
	}
}

func TestUndefinedMetricsAreLeftOut(t *testing.T) {
	p := &Predictions{Classes: 2, Label: []int32{1, 1}, Class: []int32{1, 0}, Own: []float64{0.6, 0.4}, Score: []float64{0.6, 0.4}}
	m := Measure(p)
	if _, ok := m[AUC]; ok || len(m) != 4 {
		t.Errorf("rows of one class have no AUC: %v", m)
	}
	if v := Better(p, p, AUC); v.Low >= 0 || v.High <= 0 {
		t.Errorf("a difference that is not defined is %+v", v)
	}
	if m := Measure(&Predictions{Classes: 2}); len(m) != 0 {
		t.Errorf("no rows have %v", m)
	}
	three := &Predictions{Classes: 3, Label: []int32{0, 1}, Class: []int32{0, 1}, Own: []float64{1, 1}}
	if m := Measure(three); len(m) != 3 || m[F1Macro].Value != 1 {
		t.Errorf("the third class does not occur, and there are no probabilities: %v", m)
	}
}

func TestBetterIsPairedAndHasASide(t *testing.T) {
	rnd := rand.New(rand.NewPCG(2, 9))
	l := labels(rnd, 2000, 2)
	shared := noise(rnd, len(l))
	a, b := signal(rnd, l, 1.6, shared), signal(rnd, l, 1.2, shared)
	for _, name := range names {
		v, w := Better(a, b, name), Better(b, a, name)
		if v.Low <= 0 || math.Abs(v.Value+w.Value) > 1e-12 || math.Abs(v.Low+w.High) > 1e-12 {
			t.Errorf("%s: %+v one way and %+v the other", name, v, w)
		}
		if s := Better(a, a, name); s.Value != 0 || s.Low > 0 || s.High < 0 {
			t.Errorf("%s: a model is %+v better than itself", name, s)
		}
	}
}

func TestSamePredictionsSameNumbers(t *testing.T) {
	p := many(rand.New(rand.NewPCG(6, 6)), 300)
	if a, b := Measure(p), Measure(p); !reflect.DeepEqual(a, b) {
		t.Errorf("%v and %v", a, b)
	}
}

func TestMajority(t *testing.T) {
	m := Measure(Majority([]int32{0, 1, 1, 1}, []int64{10, 30}))
	if m[Accuracy].Value != 0.75 || m[AUC].Value != 0.5 || math.Abs(m[LogLoss].Value+math.Log(.25)/4+3*math.Log(.75)/4) > 1e-12 {
		t.Errorf("got %v", m)
	}
	if m := Measure(Majority([]int32{0, 1, 2, 1}, []int64{1, 3, 1})); m[AUC].Value != 0.5 {
		t.Errorf("got %v", m)
	}
}

func BenchmarkMeasure(b *testing.B) {
	for _, n := range []int{4000, 40_000} {
		rnd := rand.New(rand.NewPCG(1, 1))
		two := coin(rnd, labels(rnd, n, 2), 0.8)
		three := many(rnd, n)
		for _, c := range []struct {
			classes int
			p       *Predictions
		}{{2, two}, {3, three}} {
			b.Run(fmt.Sprintf("rows=%d/classes=%d", n, c.classes), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					Measure(c.p)
				}
			})
		}
	}
}
