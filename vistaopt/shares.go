package vistaopt

import (
	"cmp"
	"fmt"
	"slices"
)

// Measured makes a choice's estimates anew with what Snappy was found to leave of features (Layer.Left), where that was measured. What is
// chosen stays what it is: of plans that cost the same the one that writes the least is taken, and two knobs on which bits depend must
// not be chosen by what was measured. The arguments are those of Choose.
func (c *Choice) Measured(ns []Network, s Stats, t Training, m Machine) {
	known := measured(ns)
	if known == nil {
		return
	}
	m.Memory = c.Memory
	here := newJob(m.holds(known), s, t).at(m.Rates)
	c.Estimate = here.whole(c.Plan, m)
	chosen := &Rejected{Plan: c.Plan, Estimate: c.Estimate, Fits: true}
	for i := range c.Rejected {
		r := &c.Rejected[i]
		if !r.Fits { // what it would write changes nothing
			continue
		}
		r.Estimate = here.whole(r.Plan, m)
		if r.Why = slower(r, chosen); bitsOf(r.Plan) == bitsOf(c.Plan) && r.Estimate.Seconds*(1+noise) < c.Estimate.Seconds {
			r.Why = fmt.Sprintf("%.2f times as long by what was measured of features, which changes no choice", r.Estimate.Seconds/c.Estimate.Seconds)
		}
	}
	slices.SortStableFunc(c.Rejected, func(a, b Rejected) int {
		if !a.Fits || !b.Fits { // those come last already
			return 0
		}
		return cmp.Compare(a.Estimate.Seconds, b.Estimate.Seconds)
	})
}

// measured are networks of whose layers Snappy leaves what was measured; nil: nothing was.
func measured(ns []Network) []Network {
	var some bool
	out := slices.Clone(ns)
	for i := range out {
		out[i].Layers = slices.Clone(ns[i].Layers)
		for k := range out[i].Layers {
			l := &out[i].Layers[k]
			some = some || l.Left > 0 || l.RawLeft > 0
			l.Dense, l.RawDense = cmp.Or(l.Left, l.Dense), cmp.Or(l.RawLeft, l.RawDense)
		}
	}
	if !some {
		return nil
	}
	return out
}
