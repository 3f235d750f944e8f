package vistaopt

import (
	"math"

	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// Threshold is the nearest change of one thing that changes the choice. At is exact: at it the choice is another one, and one row
// or one MiB nearer to what there is it is the one that there is.
type Threshold struct {
	Of      string    `json:"of" jsonschema:"enum=memory,enum=rows"` // memory of a worker, or rows of the table
	From    int64     `json:"from"`                                  // what it is now: bytes, or rows
	At      int64     `json:"at"`                                    // the nearest value at which the choice is another one; of memory a whole number of MiB, in bytes
	Plan    plan.Plan `json:"plan"`                                  // the choice there, with the partitions that there are then; empty if nothing fits
	Refused bool      `json:"refused"`                               // nothing fits there
	Gain    float64   `json:"gain"`                                  // the time now over the time there, where memory changes the plan; else 0
}

// Things whose thresholds are looked for.
const (
	OfMemory = "memory"
	OfRows   = "rows"
)

// Reach is how far thresholds are looked for, up and down: so many times what there is, or such a part of it.
const Reach = 64

// Thresholds finds what would change a choice: less and more memory in each worker, and less and more data of the same
// kind. What changes nothing within 64 times as much is left out. Partitions follow from the data as they do in Choose, unless
// want fixes them, and their number alone is no other choice.
func Thresholds(want plan.Plan, ns []Network, s Stats, t Training, m Machine) []Threshold {
	now, err := Choose(want, ns, s, t, m)
	if err != nil {
		return nil
	}
	// The plan alone is asked for: what is rejected beside it, or advised where nothing fits, would be most of the work.
	chosen := func(s Stats, m Machine) (plan.Plan, bool) {
		q := searched(want, ns, s, t, m)
		if q.best == nil {
			return plan.Plan{}, false
		}
		return q.best.Plan, true
	}
	memory := func(mibs int64) (plan.Plan, bool) {
		m := m
		m.Memory = mibs * mib
		return chosen(s, m)
	}
	rows := func(rows int64) (plan.Plan, bool) { return chosen(s.scaled(rows), m) }
	var out []Threshold
	for _, th := range []struct {
		of       string
		from     int64
		up       bool
		nearest  int64 // what counts as no change
		unit     int64
		at       func(int64) (p plan.Plan, fits bool)
		measured bool
	}{
		{OfMemory, m.Memory, false, (m.Memory + mib - 1) / mib, mib, memory, true},
		{OfMemory, m.Memory, true, m.Memory / mib, mib, memory, true},
		{OfRows, s.Rows, false, s.Rows, 1, rows, false},
		{OfRows, s.Rows, true, s.Rows, 1, rows, false},
	} {
		at, p, refused, ok := nearest(th.nearest, th.up, now.Plan, th.at)
		if !ok {
			continue
		}
		one := Threshold{Of: th.of, From: th.from, At: at * th.unit, Plan: p, Refused: refused}
		if th.measured && !refused {
			m := m
			m.Memory = one.At
			one.Gain = now.Estimate.Seconds / estimateOf(p, ns, s, t, m).Seconds
		}
		out = append(out, one)
	}
	return out
}

// scaled are statistics of so many rows of the same kind of data.
func (s Stats) scaled(rows int64) Stats {
	by := float64(rows) / float64(max(s.Rows, 1))
	s.Rows, s.Images, s.Matched, s.Aside = rows, scale(s.Images, by), scale(s.Matched, by), scale(s.Aside, by)
	return s
}

func scale(n int64, by float64) int64 {
	if n == 0 {
		return 0
	}
	return max(int64(math.Round(float64(n)*by)), 1)
}

// sameBut tells whether a choice is the same but for the partitions, which the data alone decide.
func sameBut(p, now plan.Plan) bool {
	p.Partitions = now.Partitions
	return p == now
}

// nearest goes away from what there is by steps of a fifth, the last of them to the end of its reach, until the choice is another
// one, and halves the step back down to one unit. What lies between two steps, and is over before the second, is not seen.
func nearest(from int64, up bool, now plan.Plan, at func(int64) (p plan.Plan, fits bool)) (found int64, p plan.Plan, refused, ok bool) {
	changed := func(v int64) bool {
		there, fits := at(v)
		if fits && sameBut(there, now) {
			return false
		}
		found, p, refused = v, there, !fits
		return true
	}
	same := max(from, 1)
	end := (same + Reach - 1) / Reach
	if up {
		end = same * Reach
	}
	for v := same; ; same = v {
		if v == end {
			return 0, plan.Plan{}, false, false
		}
		if up {
			v = min(max(v+1, v+v/5), end)
		} else {
			v = max(min(v-1, v-v/6), end)
		}
		if changed(v) {
			break
		}
	}
	for high := found; high-same > 1 || same-high > 1; {
		if middle := same + (high-same)/2; changed(middle) {
			high = middle
		} else {
			same = middle
		}
	}
	return found, p, refused, true
}
