// Package metrics measures trained models on rows that they were not trained on, and says
// which of them is best, or that this cannot be told.
//
// Invariant: the same predictions and seed give the same numbers, and no verdict claims more
// than its interval shows.
//
// Intervals are 95 %: for accuracy Wilson's score interval, for log-loss the normal one of a
// mean, for F1 and AUC the percentiles of a seeded bootstrap over rows. Differences between two
// models are taken row by row (paired): the normal interval of the mean difference for accuracy
// and log-loss, the bootstrap with the same resampled rows for both otherwise.
//
// About choosing the best of several layers: with two equal ones, the better on the held-out
// rows is called a winner in at most 5 % of cases, because the interval of the difference to the
// runner-up is two-sided. With more, the runner-up is closer and the claim rarer. The winner's
// own value is optimistic, as any maximum is; its interval is that of a model chosen beforehand.
package metrics

import (
	"math"
	"math/rand/v2"
	"slices"
	"sort"
)

// Predictions are one model's answers for some rows.
type Predictions struct {
	Classes int
	Label   []int32   // the rows' classes
	Class   []int32   // the classes given
	Own     []float64 // probability given to the row's own class
	Score   []float64 // probability given to class 1; two classes only
}

// Value is a metric with its 95 % interval.
type Value struct{ Value, Low, High float64 }

// The metrics' names.
const (
	Accuracy = "accuracy"
	F1       = "f1"
	F1Macro  = "f1-macro"
	AUC      = "auc"
	LogLoss  = "log-loss"
)

const (
	z95        = 1.959963984540054
	replicates = 400
)

// Measure computes every metric that is defined for the rows: f1 and auc need two classes,
// auc rows of both.
func Measure(p *Predictions, seed uint64) map[string]Value {
	out := map[string]Value{}
	n := float64(len(p.Label))
	if n == 0 {
		return out
	}
	out[Accuracy] = wilson(p.right(), n)
	out[LogLoss] = meanInterval(p.losses())
	b := newBootstrap(p, seed)
	samples := map[string][]float64{}
	point := b.statistics(nil)
	for range replicates {
		for name, v := range b.statistics(b.draw()) {
			samples[name] = append(samples[name], v)
		}
	}
	for name, v := range point {
		lo, hi := percentiles(samples[name])
		out[name] = Value{v, min(lo, v), max(hi, v)}
	}
	return out
}

func (p *Predictions) right() float64 {
	n := 0.0
	for i, c := range p.Class {
		if c == p.Label[i] {
			n++
		}
	}
	return n
}

// losses are the rows' log-losses, with probabilities clipped where the logarithm would not
// be finite.
func (p *Predictions) losses() []float64 {
	out := make([]float64, len(p.Own))
	for i, v := range p.Own {
		out[i] = -math.Log(max(v, 1e-15))
	}
	return out
}

// wilson is the score interval of a share (Wilson 1927).
func wilson(k, n float64) Value {
	p, z2 := k/n, z95*z95
	mid := (p + z2/(2*n)) / (1 + z2/n)
	half := z95 / (1 + z2/n) * math.Sqrt(p*(1-p)/n+z2/(4*n*n))
	return Value{p, max(mid-half, 0), min(mid+half, 1)}
}

// meanInterval is the mean with its normal interval.
func meanInterval(v []float64) Value {
	n, mean, sq := float64(len(v)), 0.0, 0.0
	for _, x := range v {
		mean += x / n
	}
	for _, x := range v {
		sq += (x - mean) * (x - mean)
	}
	half := 0.0
	if n > 1 {
		half = z95 * math.Sqrt(sq/(n-1)/n)
	}
	return Value{mean, mean - half, mean + half}
}

// bootstrap resamples rows by giving each a number of times that it counts.
type bootstrap struct {
	p     *Predictions
	rnd   *rand.Rand
	order []int // rows by descending score, for AUC
	times []int32
}

func newBootstrap(p *Predictions, seed uint64) *bootstrap {
	b := &bootstrap{p: p, rnd: rand.New(rand.NewPCG(seed, 0x76697374612d6d72)), times: make([]int32, len(p.Label))}
	if p.Classes == 2 {
		b.order = make([]int, len(p.Label))
		for i := range b.order {
			b.order[i] = i
		}
		sort.SliceStable(b.order, func(i, j int) bool { return p.Score[b.order[i]] > p.Score[b.order[j]] })
	}
	return b
}

// draw resamples as many rows as there are.
func (b *bootstrap) draw() []int32 {
	clear(b.times)
	n := len(b.times)
	for range n {
		b.times[b.rnd.IntN(n)]++
	}
	return b.times
}

// statistics computes F1 and AUC with rows counted times; nil counts each once.
func (b *bootstrap) statistics(times []int32) map[string]float64 {
	p := b.p
	weight := func(i int) float64 {
		if times == nil {
			return 1
		}
		return float64(times[i])
	}
	hit, given, real := make([]float64, p.Classes), make([]float64, p.Classes), make([]float64, p.Classes)
	for i, c := range p.Class {
		w := weight(i)
		given[c] += w
		real[p.Label[i]] += w
		if c == p.Label[i] {
			hit[c] += w
		}
	}
	out := map[string]float64{}
	macro := 0.0
	for c := range hit {
		f := 0.0
		if s := given[c] + real[c]; s > 0 {
			f = 2 * hit[c] / s
		}
		macro += f / float64(p.Classes)
		if c == 1 && p.Classes == 2 {
			out[F1] = f
		}
	}
	out[F1Macro] = macro
	if p.Classes == 2 && real[0] > 0 && real[1] > 0 {
		out[AUC] = b.auc(weight) / (real[0] * real[1])
	}
	return out
}

// auc is the weight of pairs in which the row of class 1 has the higher score; equal scores
// count half.
func (b *bootstrap) auc(weight func(int) float64) float64 {
	sum, above := 0.0, 0.0 // above: weight of class 1 with a higher score
	for lo := 0; lo < len(b.order); {
		hi, pos, neg := lo, 0.0, 0.0
		for ; hi < len(b.order) && b.p.Score[b.order[hi]] == b.p.Score[b.order[lo]]; hi++ {
			if i := b.order[hi]; b.p.Label[i] == 1 {
				pos += weight(i)
			} else {
				neg += weight(i)
			}
		}
		sum += neg * (above + pos/2)
		above += pos
		lo = hi
	}
	return sum
}

func percentiles(v []float64) (lo, hi float64) {
	if len(v) == 0 {
		return math.Inf(1), math.Inf(-1)
	}
	slices.Sort(v)
	at := func(q float64) float64 { return v[min(int(q*float64(len(v))), len(v)-1)] }
	return at(0.025), at(0.975)
}

// Better is how much better a is than b in a metric, row by row: positive is better, also
// where smaller values are.
func Better(a, b *Predictions, metric string, seed uint64) Value {
	switch metric {
	case Accuracy:
		d := make([]float64, len(a.Label))
		for i, l := range a.Label {
			d[i] = indicator(a.Class[i] == l) - indicator(b.Class[i] == l)
		}
		return meanInterval(d)
	case LogLoss:
		la, lb := a.losses(), b.losses()
		for i := range la {
			la[i] = lb[i] - la[i]
		}
		return meanInterval(la)
	}
	x, y := newBootstrap(a, seed), newBootstrap(b, seed)
	var d []float64
	for range replicates {
		times := x.draw()
		d = append(d, x.statistics(times)[metric]-y.statistics(times)[metric])
	}
	v := x.statistics(nil)[metric] - y.statistics(nil)[metric]
	lo, hi := percentiles(d)
	return Value{v, min(lo, v), max(hi, v)}
}

func indicator(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Majority is the model that always gives the most frequent class of the training rows, with
// the classes' frequencies as probabilities.
func Majority(labels []int32, train []int64) *Predictions {
	total, best := 0.0, 0
	for c, n := range train {
		total += float64(n)
		if n > train[best] {
			best = c
		}
	}
	p := &Predictions{Classes: len(train), Label: labels}
	for _, l := range labels {
		p.Class = append(p.Class, int32(best))
		p.Own = append(p.Own, float64(train[l])/total)
		if len(train) == 2 {
			p.Score = append(p.Score, float64(train[1])/total)
		}
	}
	return p
}
