package metrics

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
	OverStructured Value  // of the best over structured features alone, at 1 - 0.05/layers
	Tie            bool
	Helps          bool // the best layer is better than structured features alone
}

// Decide compares layers by a metric. It is a tie when the interval of the difference to the
// runner-up contains 0, or when the best layer is not better than structured features alone.
// The best is compared with structured features after having been chosen for being the best:
// the interval of that difference is widened so that, with any number of layers that are worth
// nothing, one seems to help in 2.5 % of cases at most.
func Decide(entries []Entry, structured *Predictions, metric string) Verdict {
	best, second := -1, -1
	for i, e := range entries {
		switch {
		case best < 0 || ahead(e.Value.Value, entries[best].Value.Value, metric):
			best, second = i, best
		case second < 0 || ahead(e.Value.Value, entries[second].Value.Value, metric):
			second = i
		}
	}
	if best < 0 {
		return Verdict{Tie: true}
	}
	b := entries[best]
	v := Verdict{Best: b.Layer, OverStructured: better(b.P, structured, metric, quantile(0.05/float64(len(entries))))}
	v.Helps = v.OverStructured.Low > 0
	v.Tie = !v.Helps
	if second >= 0 {
		d := Better(b.P, entries[second].P, metric)
		v.RunnerUp, v.Margin = entries[second].Layer, &d
		v.Tie = v.Tie || d.Low <= 0
	}
	return v
}

func ahead(a, b float64, metric string) bool {
	if Smaller(metric) {
		return a < b
	}
	return a > b
}
