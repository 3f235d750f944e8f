package vistaopt

import (
	"math"

	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// Threshold is the nearest change of one thing that changes the choice.
type Threshold struct {
	Of      string    `json:"of"`      // memory or rows
	From    int64     `json:"from"`    // what it is now: bytes of a worker, rows of the table
	At      int64     `json:"at"`      // the nearest value at which the choice is another one, within a hundredth
	Plan    plan.Plan `json:"plan"`    // the choice there
	Refused bool      `json:"refused"` // nothing fits there
	Gain    float64   `json:"gain"`    // the time now over the time there, where memory changes the plan
}

// Things whose thresholds are looked for.
const (
	OfMemory = "memory"
	OfRows   = "rows"
)

// Reach is how far thresholds are looked for, up and down: so many times what there is, or such a part of it.
const Reach = 64

// Thresholds finds what would change a choice: less and more memory in each worker, and less and more data of the same
// kind. What changes nothing within 64 times as much is left out.
func Thresholds(want plan.Plan, ns []Network, s Stats, t Training, m Machine) []Threshold {
	now, err := Choose(want, ns, s, t, m)
	if err != nil {
		return nil
	}
	want.Partitions = now.Plan.Partitions
	var out []Threshold
	for _, up := range []bool{false, true} {
		at := func(memory int64) (*Choice, error) {
			m := m
			m.Memory = memory
			return Choose(want, ns, s, t, m)
		}
		if th, ok := nearest(OfMemory, m.Memory, up, now.Plan, at); ok {
			out = append(out, th)
		}
	}
	for _, up := range []bool{false, true} {
		at := func(rows int64) (*Choice, error) {
			by := float64(rows) / float64(max(s.Rows, 1))
			s := s
			s.Rows = rows
			s.Images, s.Matched, s.Aside = scale(s.Images, by), scale(s.Matched, by), scale(s.Aside, by)
			return Choose(want, ns, s, t, m)
		}
		if th, ok := nearest(OfRows, s.Rows, up, now.Plan, at); ok {
			out = append(out, th)
		}
	}
	for i := range out {
		if th := &out[i]; th.Of == OfMemory && !th.Refused {
			m := m
			m.Memory = th.At
			th.Gain = now.Estimate.Seconds / estimateOf(th.Plan, ns, s, t, m).Seconds
		}
	}
	return out
}

func scale(n int64, by float64) int64 {
	if n == 0 {
		return 0
	}
	return max(int64(math.Round(float64(n)*by)), 1)
}

// nearest goes away from what is by steps of a fifth until the choice is another one, and halves the step back.
func nearest(of string, from int64, up bool, now plan.Plan, at func(int64) (*Choice, error)) (Threshold, bool) {
	other := func(v int64) (plan.Plan, bool, bool) {
		c, err := at(v)
		if err != nil {
			return plan.Plan{}, true, true
		}
		return c.Plan, c.Plan != now, false
	}
	step := 1.2
	if !up {
		step = 1 / step
	}
	same := float64(max(from, 1))
	for v := same * step; v >= 1 && v <= same*Reach && v >= float64(from)/Reach; v *= step {
		p, changed, refused := other(int64(v))
		if !changed {
			continue
		}
		low, high := v/step, v // low is as now
		for math.Abs(high-low) > 0.005*high {
			middle := (low + high) / 2
			if int64(middle) == int64(low) || int64(middle) == int64(high) {
				break
			}
			if q, changed, no := other(int64(middle)); changed {
				high, p, refused = middle, q, no
			} else {
				low = middle
			}
		}
		return Threshold{Of: of, From: from, At: int64(high), Plan: p, Refused: refused}, true
	}
	return Threshold{}, false
}
