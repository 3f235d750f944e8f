package vistaopt

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/vista-mr/vista-mr/vistaopt/bytesize"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// refusal is the error when nothing fits. What it advises has been tried: as much memory as it asks for is enough where it says
// so, and a knob is named if the job fits without it, in workers and in the tracker.
func (q *search) refusal() error {
	if q.least == nil {
		return q.ruled
	}
	q.least.Plans = q.refused()
	tracker := q.j.fitsTracker(q.least.Plan, q.m)
	if q.least.Change = q.memory(); tracker != nil { // it would refuse this plan with more memory as well
		q.least.Change += ", and " + tracker.Hint()
	} else {
		q.least.Change += q.smaller()
	}
	return q.least
}

// refused are the plans of a search in which none fits.
func (q *search) refused() (out []Refused) {
	for i, r := range q.all {
		one := Refused{Plan: r.Plan, Need: r.Need}
		if q.tried[i].ruled {
			one.Why = r.Why
		}
		out = append(out, one)
	}
	slices.SortStableFunc(out, func(a, b Refused) int {
		return cmp.Or(cmp.Compare(a.Why, "")-cmp.Compare(b.Why, ""), cmp.Compare(a.Need, b.Need))
	})
	return out
}

// Exceeds marks a choice that was made as if there were the least memory that a plan needs: there are so many bytes, and every plan
// that needs more does not fit, which is said with what it needs.
func (c *Choice) Exceeds(there int64) {
	c.Beyond = there
	for i := range c.Rejected {
		switch r := &c.Rejected[i]; {
		case r.Need <= there: // or it was ruled out before
		case r.Fits:
			r.Fits, r.Why = false, fmt.Sprintf("%s; needs %s, there are %s", r.Why, bytesize.AtLeast(r.Need), bytesize.AtMost(there))
		default:
			r.Why = tooLarge(r.Plan, r.Need, there)
		}
	}
}

// memory says whose memory would have to be more: the job's own limit helps up to what there is without it, and that of a worker up to
// what its machine has.
func (q *search) memory() string {
	need, whole := q.least.Needed, q.m.Whole
	elsewhere := q.m.Most > 0 && need > q.m.Most
	end := fmt.Sprintf("end worker %s and others that have less, or run it", q.least.Worker)
	if q.m.Workers < 2 { // there would be none
		end = "run worker " + q.least.Worker
	}
	switch of := q.least.Worker; {
	case of == "" && whole > 0 && need > whole && q.m.Ulimit != nil:
		return "set limits.memory to as much, and " + q.m.Ulimit.Raise(need)
	case of == "" && whole > 0 && need > whole:
		return fmt.Sprintf("run the job where there are %s: without limits.memory there are %s here", bytesize.AtLeast(need), bytesize.AtMost(whole))
	case of == "":
		return fmt.Sprintf("set limits.memory to %s or more", bytesize.AtLeast(need))
	case of == ThisMachine:
		return fmt.Sprintf("run the job on a machine with %s or more: this one has %s", bytesize.AtLeast(need), bytesize.AtMost(q.m.Memory))
	case of == ControlGroup:
		return fmt.Sprintf("raise the limit of the control group that the process runs in to %s or more: it is %s", bytesize.AtLeast(need), bytesize.AtMost(q.m.Memory))
	case of == ThisProcess:
		return q.m.Ulimit.Raise(need)
	case of == EachWorker && elsewhere: // a plan must fit on each of them
		return fmt.Sprintf("run the workers on machines, or in control groups, with %s or more: the least of theirs has %s", bytesize.AtLeast(need), bytesize.AtMost(q.m.Most))
	case of == EachWorker:
		return fmt.Sprintf("start the workers with --memory %s or more", bytesize.Flag(need))
	case elsewhere:
		return fmt.Sprintf("%s on a machine, or in a control group, with %s or more: its own has %s", end, bytesize.AtLeast(need), bytesize.AtMost(q.m.Most))
	default:
		return fmt.Sprintf("%s with --memory %s or more", end, bytesize.Flag(need))
	}
}

// smaller names what would need less than the plan that was refused: the knobs without which the job fits, each for itself, or
// as few as will do together if none does alone; else what of the work is most to blame.
func (q *search) smaller() string {
	var set, alone []string
	for _, knob := range plan.Knobs {
		if q.want.Knob(knob) == "" {
			continue
		}
		set = append(set, knob)
		if fits := q.fits(knob); fits != "" {
			alone = append(alone, fmt.Sprintf(", or leave plan.%s to the optimizer: %s", knob, fits))
		}
	}
	if len(alone) > 0 {
		return strings.Join(alone, "")
	}
	if len(set) > 1 && q.fits(set...) != "" {
		for _, knob := range slices.Clone(set) { // who may stay is not to blame
			if fewer := slices.DeleteFunc(slices.Clone(set), func(k string) bool { return k == knob }); q.fits(fewer...) != "" {
				set = fewer
			}
		}
		return fmt.Sprintf(", or leave plan.%s to the optimizer: %s", strings.Join(set, " and plan."), q.fits(set...))
	}
	r := q.least.Regions
	switch {
	case r.always() > q.m.Memory:
		if r.Base > q.m.Memory {
			return "" // the program alone takes more
		}
		return ", or give the job fewer rows or columns"
	case r.largest() == inTraining:
		return ", or try fewer layers, folds or grid values"
	case r.largest() == inEvaluation:
		return ", or try fewer layers or grid values"
	default:
		return ", or choose a smaller network"
	}
}

// fits names the plan that would run if some knobs were left open, and what it needs; "": none fits.
func (q *search) fits(open ...string) string {
	want := q.want
	for _, knob := range open {
		want = want.Without(knob)
	}
	other := searched(want, q.j.ns, q.j.s, q.j.t, q.m)
	if other.best == nil || q.j.fitsTracker(other.best.Plan, q.m) != nil {
		return ""
	}
	p := other.best.Plan
	return fmt.Sprintf("%s needs %s", p, bytesize.AtLeast(q.j.regions(p).Need()))
}
