package vistaopt

import (
	"errors"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/vistaopt/bytesize"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

func refusedIn(t *testing.T, want plan.Plan, s Stats, m Machine) *InfeasibleError {
	t.Helper()
	_, err := Choose(want, []Network{alexnet}, s, plain, m)
	var e *InfeasibleError
	if !errors.As(err, &e) {
		t.Fatalf("%v in %d MiB: %v", want, m.Memory/mib, err)
	}
	return e
}

// twice is a limit under which half can be used.
type twice struct{}

func (twice) Raise(memory int64) string { return "ulimit of " + bytesize.AtLeast(2*memory) }

// TestWhoseMemoryItIs: a refusal asks for more where more would help: of the job's limit up to what there is without it, else of the
// machine, the control group or the process, each with what it has. And it names the plan whose figures it gives.
func TestWhoseMemoryItIs(t *testing.T) {
	need := refusedIn(t, plan.Plan{}, foods, Machine{Cores: 2, Memory: 100 * mib}).Needed
	for name, c := range map[string]struct {
		m            Machine
		error, hint  string
		limitCanHelp bool
	}{
		"limit":         {Machine{Memory: 100 * mib, Whole: 8 << 30}, "100 MiB is available (", "set limits.memory to " + bytesize.AtLeast(need), true},
		"just enough":   {Machine{Memory: 100 * mib, Whole: need}, "100 MiB is available (", "set limits.memory to " + bytesize.AtLeast(need), true},
		"limit is less": {Machine{Memory: 100 * mib, Whole: 200 * mib}, "100 MiB is available (", "run the job where there are " + bytesize.AtLeast(need) + ": without limits.memory there are 200 MiB here", false},
		"machine":       {Machine{Memory: 200 * mib, Whole: 200 * mib, Least: ThisMachine}, "200 MiB is available on this machine (", "run the job on a machine with " + bytesize.AtLeast(need) + " or more: this one has 200 MiB", false},
		"group":         {Machine{Memory: 200 * mib, Whole: 200 * mib, Least: ControlGroup}, "200 MiB is available in this control group (", "raise the limit of the control group that the process runs in to " + bytesize.AtLeast(need) + " or more: it is 200 MiB", false},
		"process":       {Machine{Memory: 200 * mib, Whole: 200 * mib, Least: ThisProcess, Ulimit: twice{}}, "200 MiB is available to this process (", "ulimit of " + bytesize.AtLeast(2*need), false},
	} {
		c.m.Cores = 2
		e := refusedIn(t, plan.Plan{}, foods, c.m)
		if e.Needed != need || !strings.Contains(e.Error(), c.error) || !strings.HasPrefix(e.Hint(), c.hint) || strings.Contains(e.Hint(), "set limits.memory") != c.limitCanHelp {
			t.Errorf("%s: %v; %s", name, e, e.Hint())
		}
		if !strings.Contains(e.Error(), "of those that the job allows "+e.Plan.String()+" needs the least") {
			t.Errorf("%s: the plan %s is not named: %v", name, e.Plan, e)
		}
	}
}

// TestBlamedKnobs: of the knobs that were set those are named without which the job fits, with the plan that would run and what it
// needs; if none does alone, as few as will do together; and none where nothing fits.
func TestBlamedKnobs(t *testing.T) {
	wide := foods
	wide.Rows, wide.Images = 1_000_000, 1_000_000
	wide.RowBytes = 2000
	few := foods // of which one partition has large batches, and many have small ones
	few.Rows, few.Images = 192, 192
	for name, c := range map[string]struct {
		want   plan.Plan
		s      Stats
		memory int64
		named  []string
		alone  bool
	}{
		"join":             {plan.Plan{Join: plan.Broadcast, Storage: plan.Raw}, wide, 1500, []string{"join"}, true},
		"cpu or batch":     {plan.Plan{CPU: 16, Batch: 64, Join: plan.Shuffle}, foods, 1200, []string{"cpu", "batch"}, true},
		"cpu and batch":    {plan.Plan{Inference: plan.Lazy, Storage: plan.Raw, CPU: 64, Batch: 256}, foods, 600, []string{"cpu", "batch"}, false},
		"nothing helps":    {plan.Plan{CPU: 2, Batch: 4, Inference: plan.Lazy}, foods, 200, nil, true},
		"nothing is fixed": {plan.Plan{}, foods, 200, nil, true},
		"few partitions":   {plan.Plan{Partitions: 7}, foods, 200, nil, true},
		"one partition":    {plan.Plan{Partitions: 1, CPU: 1, Batch: 256, Join: plan.Broadcast}, few, 450, []string{"partitions", "batch"}, true},
	} {
		m := Machine{Cores: 4, Memory: c.memory * mib, Whole: c.memory * mib, Least: ThisMachine}
		e := refusedIn(t, c.want, c.s, m)
		var named []string
		all := c.want
		for _, knob := range plan.Knobs {
			if strings.Contains(e.Hint(), "plan."+knob) {
				named, all = append(named, knob), all.Without(knob)
			}
			if !c.alone || c.want.Knob(knob) == "" {
				continue
			}
			chosen, err := Choose(c.want.Without(knob), []Network{alexnet}, c.s, plain, m)
			says := strings.Contains(e.Hint(), ", or leave plan."+knob+" to the optimizer: ")
			if says != (err == nil) {
				t.Errorf("%s: without plan.%s: %v; %s", name, knob, err, e.Hint())
			}
			if err == nil && !strings.Contains(e.Hint(), "optimizer: "+chosen.Plan.String()+" needs "+bytesize.AtLeast(chosen.Regions.Need())) {
				t.Errorf("%s: without plan.%s runs %s; %s", name, knob, chosen.Plan, e.Hint())
			}
		}
		if strings.Join(named, " ") != strings.Join(c.named, " ") {
			t.Errorf("%s: %v is named, want %v: %s", name, named, c.named, e.Hint())
		}
		if len(named) > 0 {
			if _, err := Choose(all, []Network{alexnet}, c.s, plain, m); err != nil {
				t.Errorf("%s: without %v: %v", name, named, err)
			}
		}
	}
}

// TestTrackerIsTooSmallAsWell: where workers and the tracker have too little, a refusal asks for more of both, which is enough, and for no change
// of the plan, which the tracker would refuse.
func TestTrackerIsTooSmallAsWell(t *testing.T) {
	for name, want := range map[string]plan.Plan{"nothing is fixed": {}, "cpu and batch": {CPU: 16, Batch: 64, Join: plan.Shuffle}} {
		m := Machine{Cores: 4, Memory: 1200 * mib, Workers: 2, Least: EachWorker, Tracker: Tracker{Memory: 8 << 30, Jobs: 2}}
		if want.CPU == 0 {
			m.Memory = 200 * mib
		}
		if hint := refusedIn(t, want, foods, m).Hint(); strings.Contains(hint, "start the tracker") || strings.Contains(hint, "plan.cpu") != (want.CPU > 0) {
			t.Errorf("%s, a large tracker: %s", name, hint)
		}
		m.Tracker.Memory = 130 * mib
		e := refusedIn(t, want, foods, m)
		if hint := e.Hint(); !strings.HasPrefix(hint, "start the workers with --memory ") || !strings.Contains(hint, ", and start the tracker with --memory ") || strings.Contains(hint, "plan.") {
			t.Errorf("%s: %s", name, hint)
		}
		m.Memory = e.Needed
		_, err := Choose(want, []Network{alexnet}, foods, plain, m)
		var no *TrackerError
		if !errors.As(err, &no) || !strings.HasSuffix(e.Hint(), ", and "+no.Hint()) {
			t.Fatalf("%s: with more memory in workers alone %v; %s", name, err, e.Hint())
		}
		m.Tracker.Memory = no.Needed
		if _, err := Choose(want, []Network{alexnet}, foods, plain, m); err != nil {
			t.Errorf("%s: with both %v", name, err)
		}
	}
}

// TestNothingElseHelps: where the program alone takes more than there is, no smaller network is advised.
func TestNothingElseHelps(t *testing.T) {
	if hint := refusedIn(t, plan.Plan{}, foods, Machine{Cores: 2, Memory: 10 * mib}).Hint(); strings.Contains(hint, ", or") {
		t.Error(hint)
	}
	many := foods
	many.Rows, many.Images = 9_000_000, 20_000
	if hint := refusedIn(t, plan.Plan{}, many, Machine{Cores: 2, Memory: 700 * mib}).Hint(); !strings.HasSuffix(hint, ", or give the job fewer rows or columns") {
		t.Error(hint)
	}
}

// TestRefusedPlans: a refusal lists every kind of plan that the job allows, the least need first, and each needs what it says: with that
// much it runs, and with a byte less it does not.
func TestRefusedPlans(t *testing.T) {
	wide := foods
	wide.RowBytes = 20_000
	for name, c := range map[string]struct {
		want         plan.Plan
		s            Stats
		plans, ruled int
	}{
		"all":               {plan.Plan{}, foods, 32, 0},
		"some":              {plan.Plan{Inference: plan.Lazy, Batch: 4}, foods, 8, 0},
		"one":               {plan.Plan{Inference: plan.Eager, Placement: plan.AfterJoin, Join: plan.Shuffle, Storage: plan.Raw}, foods, 1, 0},
		"no broadcast join": {plan.Plan{}, wide, 32, 16},
	} {
		m := Machine{Cores: 2, Memory: 100 * mib}
		e := refusedIn(t, c.want, c.s, m)
		if len(e.Plans) != c.plans || e.Plans[0].Plan != e.Plan || e.Plans[0].Need != e.Needed {
			t.Errorf("%s: %d plans, the first %+v; %s needs %d", name, len(e.Plans), e.Plans[0], e.Plan, e.Needed)
		}
		for i, p := range e.Plans {
			if i >= c.plans-c.ruled {
				if p.Need != 0 || !strings.Contains(p.Why, "more than a quarter of 100 MiB") {
					t.Errorf("%s: %+v", name, p)
				}
				continue
			}
			if p.Why != "" || i > 0 && p.Need < e.Plans[i-1].Need {
				t.Errorf("%s: %d: %+v", name, i, p)
			}
			m.Memory = p.Need
			if _, err := Choose(p.Plan, []Network{alexnet}, c.s, plain, m); err != nil {
				t.Errorf("%s: %s with what it needs: %v", name, p.Plan, err)
			}
			m.Memory--
			if less := refusedIn(t, p.Plan, c.s, m); less.Needed != p.Need {
				t.Errorf("%s: %s needs %d, alone %d", name, p.Plan, p.Need, less.Needed)
			}
		}
	}
}

// TestExceeds: of plans made for more memory than there is each that needs more does not fit, with what it needs and what there is.
func TestExceeds(t *testing.T) {
	c, err := Choose(plan.Plan{}, []Network{alexnet}, foods, plain, Machine{Cores: 2, Memory: refusedIn(t, plan.Plan{}, foods, Machine{Cores: 2, Memory: 100 * mib}).Needed})
	if err != nil {
		t.Fatal(err)
	}
	r := []Rejected{{Need: 90 * mib, Fits: true, Why: "twice as long"}, {Need: 101 * mib, Fits: true, Why: "twice as long"}, {Need: 300 * mib, Plan: plan.Plan{CPU: 1, Batch: 2}, Why: "of another memory"}, {Why: "ruled out"}}
	c.Rejected = r
	c.Exceeds(100 * mib)
	for i, want := range []string{"twice as long", "twice as long; needs 101 MiB, there are 100 MiB", "needs 300 MiB, there are 100 MiB, even with 1 at a time and batches of 2", "ruled out"} {
		if r[i].Why != want || r[i].Fits != (i == 0) {
			t.Errorf("%d: %+v, want %q", i, r[i], want)
		}
	}
	if c.Beyond != 100*mib {
		t.Errorf("beyond %d", c.Beyond)
	}
}
