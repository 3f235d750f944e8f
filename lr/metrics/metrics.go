// Package metrics measures trained models on rows that they were not trained on, and says
// which of them is best, or that this cannot be told.
//
// Invariant: the same predictions give the same numbers (nothing is drawn at random), and no
// verdict claims more than its interval shows.
//
// Every metric is written as a mean over rows of what each row contributes to it; for accuracy
// and log-loss that is what they are, for AUC and F1 it is their linearisation about the value
// (for AUC that of DeLong, DeLong and Clarke-Pearson 1988; for F1 the delta method). That
// gives each a variance, and each difference of two models on the same rows one as well, from
// the rows' differences, in O(n log n). From the variance come the 95 % intervals:
//  1. A metric between 0 and 1 has Wilson's score interval (1927) for a share of as many rows
//     as would give it that variance (for accuracy: of all rows). It stays within 0 and 1 and
//     does not collapse when a model makes no error.
//  2. Log-loss has the normal interval of a mean.
//  3. A difference has the interval of Bonett and Price (2012): the normal one after adding two
//     rows, one for each side, as large as the largest difference seen. A winner by four rows of
//     twenty is then none; with many rows it is the normal interval.
//
// The intervals speak of the models that were trained, on more rows of the same kind. They know
// nothing of what other training rows would have given. Between two layers of equal worth,
// trained on four times as many rows as they are judged on, that matters little (a test counts).
//
// About choosing the best of several: the winner's own interval is that of a model chosen
// beforehand, and a maximum is optimistic. The difference to the runner-up needs no correction:
// with two equal layers the better is called a winner in 5 % of cases, and with more equal ones
// the runner-up is closer and the claim rarer. The difference to structured features alone does
// need one, for the best of k useless layers looks useful k times as often: its interval is
// Bonferroni's, at 1 - 0.05/k (see Decide).
package metrics

import (
	"math"
)

// Predictions are one model's answers for some rows.
type Predictions struct {
	Classes int
	Label   []int32   // the rows' classes
	Class   []int32   // the classes given
	Own     []float64 // probability given to the row's own class; nil: no log-loss
	Score   []float64 // probability given to class 1, or a score that orders rows alike; two classes only
	Prob    []float64 // more classes: probability of each, row after row; nil: no AUC
}

// Value is a metric with its 95 % interval.
type Value struct{ Value, Low, High float64 }

// The metrics' names.
const (
	Accuracy = "accuracy"
	F1       = "f1"       // of class 1; two classes only
	F1Macro  = "f1-macro" // mean over the classes that occur among the rows or the answers
	AUC      = "auc"      // two classes; with more the mean over classes, each against the rest
	LogLoss  = "log-loss"
)

var names = []string{Accuracy, F1, F1Macro, AUC, LogLoss}

// Smaller tells whether smaller values of a metric are better.
func Smaller(metric string) bool { return metric == LogLoss }

// Measure computes every metric that is defined for the rows: f1 needs two classes, auc rows
// of at least two and, where there are more than two, Prob, log-loss Own.
func Measure(p *Predictions) map[string]Value {
	out := map[string]Value{}
	for _, name := range names {
		s, ok := p.spread(name)
		switch {
		case !ok:
		case name == LogLoss:
			half := z95 * math.Sqrt(s.variance())
			out[name] = Value{s.value, max(s.value-half, 0), s.value + half}
		default:
			out[name] = wilson(s.value, s.effective())
		}
	}
	return out
}

// Of is one metric's value without its interval; false when it is not defined for the rows.
func Of(p *Predictions, metric string) (float64, bool) {
	s, ok := p.spread(metric)
	return s.value, ok
}

// Better is how much better a is than b in a metric, row by row: positive is better, also
// where smaller values are. It is 0 from -1 to 1 where the metric is not defined for both.
func Better(a, b *Predictions, metric string) Value { return better(a, b, metric, z95) }

func better(a, b *Predictions, metric string, z float64) Value {
	x, okA := a.spread(metric)
	y, okB := b.spread(metric)
	if !okA || !okB {
		return Value{0, -1, 1}
	}
	if Smaller(metric) {
		x, y = y, x
	}
	n, sum, square, top := float64(len(x.rows))+2, 0.0, 0.0, 0.0
	for i := range x.rows {
		d := x.rows[i] - y.rows[i]
		sum += d
		square += d * d
		top = max(top, math.Abs(d))
	}
	square += 2 * top * top // the two added rows
	mid := sum / n
	half := z * math.Sqrt(max(square-sum*mid, 0)) / n
	d := x.value - y.value
	return Value{d, min(mid-half, d), max(mid+half, d)}
}

// z95 is the normal quantile of a two-sided 95 % interval.
const z95 = 1.959963984540054

// quantile is the same for an interval that misses with probability alpha.
func quantile(alpha float64) float64 { return math.Sqrt2 * math.Erfinv(1-alpha) }

// wilson is the score interval of a share v of n rows.
func wilson(v, n float64) Value {
	z2 := z95 * z95
	mid := (v + z2/(2*n)) / (1 + z2/n)
	half := z95 / (1 + z2/n) * math.Sqrt(v*(1-v)/n+z2/(4*n*n))
	return Value{v, max(min(mid-half, v), 0), min(max(mid+half, v), 1)}
}

// spread is a metric as a mean of what each row contributes.
type spread struct {
	value float64
	rows  []float64
	least float64 // rows on which the metric rests at least, when it shows no variance
}

// variance of the value.
func (s *spread) variance() float64 {
	n, sq := float64(len(s.rows)), 0.0
	for _, x := range s.rows {
		sq += (x - s.value) * (x - s.value)
	}
	return sq / n / max(n-1, 1)
}

// effective is how many rows a share would need for the variance that is seen: at most all,
// and as few as the metric can rest on where none is seen.
func (s *spread) effective() float64 {
	n := float64(len(s.rows))
	own := s.value * (1 - s.value)
	v := s.variance()
	if own <= 1e-15 || v <= 1e-15/n {
		return max(s.least, 1)
	}
	return min(max(own/v*(n/max(n-1, 1)), 1), n)
}

// spread computes a metric; false when it is not defined for the rows.
func (p *Predictions) spread(metric string) (*spread, bool) {
	n := len(p.Label)
	s := &spread{rows: make([]float64, n), least: float64(n)}
	if n == 0 {
		return s, false
	}
	switch metric {
	case Accuracy:
		for i, c := range p.Class {
			if c == p.Label[i] {
				s.rows[i] = 1
			}
		}
	case LogLoss:
		if p.Own == nil {
			return s, false
		}
		for i, v := range p.Own {
			if !(v > tiny) { // also what is no number
				v = tiny
			}
			s.rows[i] = -math.Log(v)
		}
	case F1:
		return s, p.Classes == 2 && p.f1(s, 1, 2)
	case F1Macro:
		return s, p.f1(s, 0, p.Classes)
	case AUC:
		return s, p.auc(s)
	default:
		return s, false
	}
	for _, x := range s.rows {
		s.value += x
	}
	s.value /= float64(n)
	return s, true
}

// tiny is what a probability counts as at least: the logarithm must stay finite.
const tiny = 1e-15

// f1 is the mean of F1 = 2*hits/(given+real) over the classes [lo, hi) that occur. A row
// contributes to it by (2*hit - F1*(given+real))/(all given+real).
func (p *Predictions) f1(s *spread, lo, hi int) bool {
	n := float64(len(p.Label))
	hit, all, of := make([]float64, p.Classes), make([]float64, p.Classes), make([]float64, p.Classes)
	for i, c := range p.Class {
		all[c]++
		all[p.Label[i]]++
		of[p.Label[i]]++
		if c == p.Label[i] {
			hit[c]++
		}
	}
	classes := 0.0
	for c := lo; c < hi; c++ {
		if all[c] > 0 {
			classes++
			s.least = min(s.least, max(of[c], 1))
		}
	}
	if classes == 0 && hi-lo > 1 {
		return false
	}
	classes = max(classes, 1) // F1 of a class that neither occurs nor is given is 0
	value := make([]float64, p.Classes)
	for c := lo; c < hi; c++ {
		if all[c] > 0 {
			value[c] = 2 * hit[c] / all[c]
			s.value += value[c] / classes
		}
	}
	in := func(c int32) bool { return int(c) >= lo && int(c) < hi }
	for i, c := range p.Class {
		l, x := p.Label[i], 0.0
		if in(c) {
			x -= value[c] / all[c]
		}
		if in(l) {
			x -= value[l] / all[l]
			if c == l {
				x += 2 / all[l]
			}
		}
		s.rows[i] = s.value + n*x/classes
	}
	return true
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
	p := &Predictions{Classes: len(train), Label: labels, Class: make([]int32, 0, len(labels)), Own: make([]float64, 0, len(labels))}
	if len(train) == 2 {
		p.Score = make([]float64, 0, len(labels))
	} else {
		p.Prob = make([]float64, 0, len(labels)*len(train))
	}
	for _, l := range labels {
		p.Class = append(p.Class, int32(best))
		p.Own = append(p.Own, float64(train[l])/total)
		if len(train) == 2 {
			p.Score = append(p.Score, float64(train[1])/total)
			continue
		}
		for _, n := range train {
			p.Prob = append(p.Prob, float64(n)/total)
		}
	}
	return p
}
