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
	OverStructured Value  // of the best over structured features alone
	Tie            bool
	Helps          bool // the best layer is better than structured features alone
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
	if second >= 0 {
		d := Better(b.P, entries[second].P, metric, seed)
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
