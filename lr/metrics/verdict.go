package metrics

import (
	"fmt"
	"math"
	"strings"
)

// Entry is one layer's predictions, all layers' on the same rows.
type Entry struct {
	Layer string
	P     *Predictions
	Value Value // of the deciding metric
}

// Verdict says which layer is best.
type Verdict struct {
	Best           string
	RunnerUp       string // "" with one layer
	Margin         *Value // of the best over the runner-up
	OverStructured Value  // of the best over structured features alone
	Tie            bool
	Helps          bool // the best layer is better than structured features alone
	Sentence       string
}

// Smaller tells whether smaller values of a metric are better.
func Smaller(metric string) bool { return metric == LogLoss }

// Decide compares layers by a metric. It is a tie when the interval of the difference to the
// runner-up contains 0, or when the best layer is not better than structured features alone.
func Decide(entries []Entry, structured *Predictions, metric string, seed uint64) Verdict {
	best, second := -1, -1
	for i, e := range entries {
		switch {
		case best < 0 || ahead(e.Value.Value, entries[best].Value.Value, metric):
			best, second = i, best
		case second < 0 || ahead(e.Value.Value, entries[second].Value.Value, metric):
			second = i
		}
	}
	b := entries[best]
	v := Verdict{Best: b.Layer, OverStructured: Better(b.P, structured, metric, seed)}
	v.Helps = v.OverStructured.Low > 0
	v.Tie = !v.Helps
	var like []string // layers that cannot be told from the best
	for i, e := range entries {
		if i == best {
			continue
		}
		d := Better(b.P, e.P, metric, seed)
		if i == second {
			v.RunnerUp, v.Margin = e.Layer, &d
			v.Tie = v.Tie || d.Low <= 0
		}
		if d.Low <= 0 {
			like = append(like, e.Layer)
		}
	}
	v.Sentence = v.words(b, like, metric)
	return v
}

func ahead(a, b float64, metric string) bool {
	if Smaller(metric) {
		return a < b
	}
	return a > b
}

// words is the verdict as a sentence.
func (v *Verdict) words(b Entry, like []string, metric string) string {
	value := fmt.Sprintf("%s %.3f (%.3f to %.3f)", metric, b.Value.Value, b.Value.Low, b.Value.High)
	over := fmt.Sprintf("%s over structured features alone (%s to %s)",
		signed(v.OverStructured.Value), signed(v.OverStructured.Low), signed(v.OverStructured.High))
	switch {
	case !v.Helps:
		return fmt.Sprintf("No layer helps: the best, %s, has %s, %s.", b.Layer, value, over)
	case v.Tie:
		return fmt.Sprintf("%s is best but not clearly: %s, %s; it cannot be told from %s.", b.Layer, value, over, list(like))
	case v.RunnerUp == "":
		return fmt.Sprintf("%s helps: %s, %s.", b.Layer, value, over)
	}
	s := fmt.Sprintf("%s wins: %s, %s, %s over the runner-up %s", b.Layer, value, over, signed(v.Margin.Value), v.RunnerUp)
	if len(like) > 0 {
		s += fmt.Sprintf("; it cannot be told from %s", list(like))
	}
	return s + "."
}

func signed(v float64) string {
	if math.Abs(v) < 0.0005 {
		return "+0.000"
	}
	return fmt.Sprintf("%+.3f", v)
}

func list(names []string) string {
	if len(names) == 0 {
		return "structured features alone"
	}
	if len(names) == 1 {
		return names[0]
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}
