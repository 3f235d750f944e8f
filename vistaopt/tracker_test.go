package vistaopt

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestTrackerShares: the jobs that may run at once have the same share, together they leave a tracker what it keeps back, and the
// memory that gives a share is the least that does.
func TestTrackerShares(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		at := Tracker{Memory: r.Int64N(64 << 30), Jobs: 1 + r.IntN(16)}
		if all := at.Share() * int64(at.Jobs); all+minTracker > max(at.Memory, minTracker) || at.Heap() > max(at.Memory, minTracker) {
			t.Fatalf("%+v: %d for all jobs, a heap of %d", at, all, at.Heap())
		}
		share := 1 + r.Int64N(8<<30)
		need := at.with(share)
		if got, less := (Tracker{Memory: need, Jobs: at.Jobs}).Share(), (Tracker{Memory: need - int64(2*at.Jobs), Jobs: at.Jobs}).Share(); got < share || less >= share {
			t.Fatalf("%d jobs, a share of %d: %d bytes give %d, a little less %d", at.Jobs, share, need, got, less)
		}
	}
	if at := (Tracker{}); at.Heap() != 0 {
		t.Errorf("a tracker of which nothing is known has a heap of %d", at.Heap())
	}
}

// TestLittleTracker: with less memory in the tracker training takes more waves, with the same inference and join; a job is refused only if
// one model at a time does not fit, and what the refusal says is exact and names the tracker.
func TestLittleTracker(t *testing.T) {
	waves, refusals := 0, 0
	eachJob(t, *jobs, func(t *testing.T, n int, j *simulated) {
		plain, err := j.choose(j.m)
		if err != nil {
			return
		}
		if plain.Room.Driven != (Driven{}) || len(plain.Room.Classes) != 2 {
			t.Errorf("job %d, %s: training is driven elsewhere, where there is no tracker: %+v", n, j, plain.Room)
		}
		before := 0.0
		for memory := int64(1 << 50); ; memory /= 2 {
			m := j.m
			m.Tracker = Tracker{Memory: memory, Jobs: 1 + n%4}
			c, err := j.choose(m)
			var no *TrackerError
			if errors.As(err, &no) {
				refusals++
				trackerRefusal(t, n, j, m, no)
				return
			}
			if err != nil {
				t.Fatalf("job %d, %s, a tracker of %d: %v", n, j, memory, err)
			}
			if memory == 1<<50 && (c.Plan != plain.Plan || c.Estimate.Seconds != plain.Estimate.Seconds) {
				t.Errorf("job %d, %s: %s in %.3f s, with much memory in the tracker %s in %.3f s", n, j, plain.Plan, plain.Estimate.Seconds, c.Plan, c.Estimate.Seconds)
			}
			if bitsOf(c.Plan) != bitsOf(plain.Plan) {
				t.Errorf("job %d, %s: the bits depend on the tracker: %s, and %s with %d", n, j, plain.Plan, c.Plan, memory)
			}
			if c.Estimate.Seconds*(1+2*noise) < before {
				t.Errorf("job %d, %s: %.3f s with a tracker of %d, and %.3f s with twice that", n, j, c.Estimate.Seconds, memory, before)
			}
			d, w, k := c.Room.Driven, newJob(j.ns, j.s, j.t).trained(c.Plan), j.t.scores()
			if one := k * (w.largest*d.PerTraining + w.all*d.PerTrained + w.kept*d.PerKept); one > d.Bytes || d.Bytes > m.Tracker.Share() {
				t.Errorf("job %d, %s: %d bytes for models of %d, a share of %d", n, j, d.Bytes, one, m.Tracker.Share())
			}
			if before > 0 && c.Estimate.Seconds > before {
				waves++
			}
			before = c.Estimate.Seconds
		}
	})
	if waves == 0 || refusals == 0 {
		t.Errorf("%d jobs took more waves, %d were refused", waves, refusals)
	}
}

func trackerRefusal(t *testing.T, n int, j *simulated, m Machine, no *TrackerError) {
	m.Tracker.Memory = no.Needed
	if _, err := j.choose(m); err != nil {
		t.Errorf("job %d, %s: a tracker of %d is asked for: %v", n, j, no.Needed, err)
	}
	m.Tracker.Memory = no.Needed - int64(2*m.Tracker.Jobs)
	if _, err := j.choose(m); err == nil {
		t.Errorf("job %d, %s: a tracker of %d is asked for, and less is enough", n, j, no.Needed)
	}
	if !strings.Contains(no.Error(), "in the tracker") || !strings.Contains(no.Hint(), "start the tracker with --memory ") || no.ErrorID() != "E-INFEASIBLE" {
		t.Errorf("job %d: %v; %s", n, no, no.Hint())
	}
}

// TestLargerTracker: a refusal advises fewer jobs where one of them would then have room, and only then; and --memory up to what the
// tracker's machine has, beyond that another machine.
func TestLargerTracker(t *testing.T) {
	for name, c := range map[string]struct {
		share, memory, whole int64
		jobs, classes        int
		want                 []string
		fewer, flag          bool
	}{
		"two are fine":                {300 * mib, 1024 * mib, 0, 4, 2, []string{"start the tracker with --memory 1600MiB or more", ", or with --jobs 2, or try fewer layers, folds"}, true, true},
		"only one":                    {600 * mib, 1024 * mib, 8 << 30, 4, 9, []string{"start the tracker with --memory 3200MiB or more", ", or with --jobs 1, or try fewer layers, classes, folds"}, true, true},
		"none":                        {900 * mib, 1024 * mib, 0, 4, 0, []string{"with --memory 4800MiB or more"}, false, true},
		"one as it was":               {900 * mib, 1024 * mib, 1200 * mib, 1, 2, []string{"with --memory 1200MiB or more"}, false, true},
		"a small machine":             {900 * mib, 1024 * mib, 1199 * mib, 1, 2, []string{"run the tracker on a machine, or in a control group, with 1200 MiB or more: its own has 1199 MiB, or try"}, false, false},
		"a small machine, fewer jobs": {300 * mib, 1024 * mib, 1024 * mib, 4, 2, []string{"start the tracker with --jobs 2, or run the tracker on a machine", "with 1600 MiB or more: its own has 1024 MiB"}, true, false},
		"both":                        {900 * mib, 1024 * mib, 2048 * mib, 4, 2, []string{"start the tracker with --memory 1200MiB or more", " and --jobs 1, or run the tracker on a machine"}, true, true},
	} {
		at := Tracker{c.memory, c.jobs, c.whole}
		e := &TrackerError{Share: c.share, Needed: at.with(c.share), Tracker: at, Classes: c.classes}
		for _, want := range c.want {
			if !strings.Contains(e.Hint(), want) {
				t.Errorf("%s: %q is not in %q", name, want, e.Hint())
			}
		}
		if strings.Contains(e.Hint(), "--jobs") != c.fewer || strings.Contains(e.Hint(), "--memory ") != c.flag || strings.Contains(e.Hint(), "dev-cluster") != c.flag {
			t.Errorf("%s: %s", name, e.Hint())
		}
	}
}
