package metrics

import (
	"math"
	"math/rand/v2"
	"testing"
)

// world draws rows and layers of the given strengths on them, with structured features alone
// at 0.4, and decides.
func world(seed uint64, n int, metric string, shifts ...float64) Verdict {
	rnd := rand.New(rand.NewPCG(seed, uint64(n)))
	l := labels(rnd, n, 2)
	shared := noise(rnd, n)
	structured := signal(rnd, l, 0.4, shared)
	var entries []Entry
	for i, s := range shifts {
		p := signal(rnd, l, s, shared)
		value, _ := Of(p, metric)
		entries = append(entries, Entry{string(rune('a' + i)), p, Value{Value: value}})
	}
	return Decide(entries, structured, metric)
}

// share is how often something holds in that many worlds.
func share(trials int, holds func(seed uint64) bool) float64 {
	n := 0
	for s := range trials {
		if holds(uint64(s)) {
			n++
		}
	}
	return float64(n) / float64(trials)
}

// TestVerdictIsHonest: among equals a winner is claimed in 5 % of cases at most, give or take
// what so many worlds scatter; one that is better is found.
func TestVerdictIsHonest(t *testing.T) {
	const trials = 1000 // 5 % of them scatter by 0.7 %
	for _, metric := range names {
		for _, c := range []struct {
			name   string
			n      int
			shifts []float64
			most   float64
		}{
			{"two equals", 500, []float64{1.5, 1.5}, 0.064},
			{"two equals, few rows", 40, []float64{1.5, 1.5}, 0.064},
			{"five equals", 500, []float64{1.5, 1.5, 1.5, 1.5, 1.5}, 0.035},
			{"two equals and a worse one", 500, []float64{1.5, 1.5, 1.0}, 0.064},
		} {
			got := share(trials, func(s uint64) bool { return !world(s, c.n, metric, c.shifts...).Tie })
			if got > c.most {
				t.Errorf("%s, %s: a winner was claimed in %.1f %% of worlds", metric, c.name, 100*got)
			}
		}
		if got := share(200, func(s uint64) bool { v := world(s, 500, metric, 1.0, 2.4); return !v.Tie && v.Best == "b" }); got < 0.95 {
			t.Errorf("%s: the planted winner was found in %.1f %% of worlds", metric, 100*got)
		}
	}
}

// TestUselessLayersDoNotHelp: however many layers are no better than structured features.
func TestUselessLayersDoNotHelp(t *testing.T) {
	for _, k := range []int{1, 2, 5, 9} {
		shifts := make([]float64, k)
		for i := range shifts {
			shifts[i] = 0.4
		}
		for _, metric := range names {
			got := share(600, func(s uint64) bool { return world(s, 300, metric, shifts...).Helps })
			if got > 0.04 {
				t.Errorf("%s: one of %d useless layers seems to help in %.1f %% of worlds", metric, k, 100*got)
			}
		}
	}
}

func TestVerdictNamesWhatItCompares(t *testing.T) {
	v := world(3, 2000, Accuracy, 1.0, 3.0, 1.8)
	if v.Best != "b" || v.RunnerUp != "c" || v.Tie || !v.Helps || v.Margin == nil || v.Margin.Low <= 0 || v.OverStructured.Value < v.Margin.Value {
		t.Errorf("got %+v", v)
	}
	v = world(3, 2000, LogLoss, 1.0, 3.0)
	if v.Best != "b" || v.Margin.Value <= 0 {
		t.Errorf("smaller losses are better: got %+v", v)
	}
	v = world(5, 500, Accuracy, 0.4)
	if v.Helps || !v.Tie || v.RunnerUp != "" || v.Margin != nil {
		t.Errorf("one useless layer: got %+v", v)
	}
	if v := Decide(nil, &Predictions{}, Accuracy); !v.Tie || v.Best != "" {
		t.Errorf("no layer: got %+v", v)
	}
}

// TestFewDiscordantRowsAreNoWin is why rows are added: the exact test of McNemar sees nothing in
// four rows of twenty, all on one side (p = 0.125), and the plain normal interval does.
func TestFewDiscordantRowsAreNoWin(t *testing.T) {
	a := &Predictions{Classes: 2, Label: make([]int32, 20), Class: make([]int32, 20)}
	b := &Predictions{Classes: 2, Label: make([]int32, 20), Class: make([]int32, 20)}
	for i := range 4 {
		b.Class[i] = 1
	}
	if v := Better(a, b, Accuracy); math.Abs(v.Value-0.2) > 1e-12 || v.Low > 0 {
		t.Errorf("got %+v", v)
	}
	for i := range 8 {
		b.Class[i] = 1
	}
	if v := Better(a, b, Accuracy); v.Low <= 0 {
		t.Errorf("got %+v; eight of twenty are one", v)
	}
}
