package sched

import (
	"testing"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// slowCluster is four workers of one slot that run tasks of five seconds, the first of which takes so many times as long. They say
// once a second how far their attempts are.
type slowCluster struct {
	s    *State
	slow Tick
	now  Tick
	runs map[WorkerID]*slowRun
}

type slowRun struct {
	spec       mr.TaskSpec
	begin, end Tick
}

// step feeds an event, and whatever workers answer to what comes of it.
func (c *slowCluster) step(ev Event) {
	for events := []Event{ev}; len(events) > 0; events = events[1:] {
		for _, a := range c.s.Step(c.now, events[0]) {
			switch a := a.(type) {
			case Launch:
				takes := Tick(5000)
				if a.Worker == "a" {
					takes *= c.slow
				}
				c.runs[a.Worker] = &slowRun{a.Spec, c.now, c.now + takes}
			case Cancel:
				if r := c.runs[a.Worker]; r != nil && r.spec.Attempt == a.Attempt {
					delete(c.runs, a.Worker)
					events = append(events, Failed{Worker: a.Worker, Job: a.Job, Attempt: a.Attempt, Epoch: a.Epoch, Err: &errs.Error{Kind: errs.Canceled}})
				}
			}
		}
	}
}

// phase runs a phase of so many tasks, and returns what it took.
func (c *slowCluster) phase(t *testing.T, tasks int) Tick {
	t.Helper()
	workers := []WorkerID{"a", "b", "c", "d"}
	c.runs = map[WorkerID]*slowRun{}
	for _, w := range workers {
		c.step(WorkerUp{Worker: w, Host: string(w), Slots: 1})
	}
	c.step(Submit{Job: mr.JobSpec{ID: "j", Phases: []mr.PhaseSpec{{ID: "p", Type: mr.MapPhase, Kind: "k", Tasks: tasks}}}})
	for ; c.s.Job("j").Phases[0].Committed < tasks; c.now += 100 {
		if c.now > 10_000_000 {
			t.Fatal("it does not end")
		}
		for _, w := range workers {
			r := c.runs[w]
			if r != nil && r.end <= c.now {
				delete(c.runs, w)
				c.step(done(w, r.spec))
				continue
			}
			if c.now%1000 != 0 {
				continue
			}
			b := Beat{Worker: w}
			if r != nil {
				b.Progress = []Progress{{Job: "j", Attempt: r.spec.Attempt, Epoch: r.spec.Epoch, Done: int64(100 * (c.now - r.begin) / (r.end - r.begin)), Total: 100}}
			}
			c.step(b)
		}
		c.step(Time{})
	}
	return c.now
}

// TestOneSlowWorker: one worker of four that is five times slower leaves 3.2 workers, which is 1.25 times the time at best. With
// copies of its last tasks a phase takes at most 1.3 times as long as on four quick workers; without them it takes longer where the
// slow worker has a task at the end, so the test would notice if they were missing.
func TestOneSlowWorker(t *testing.T) {
	worst := 0.0
	for _, tasks := range []int{66, 100, 128, 301} {
		calm := (&slowCluster{s: New(Options{Speculate: true}), slow: 1}).phase(t, tasks)
		with := (&slowCluster{s: New(Options{Speculate: true}), slow: 5}).phase(t, tasks)
		without := (&slowCluster{s: New(Options{}), slow: 5}).phase(t, tasks)
		t.Logf("%d tasks: %.2f times as long with copies, %.2f without", tasks, float64(with)/float64(calm), float64(without)/float64(calm))
		worst = max(worst, float64(without)/float64(calm))
		if float64(with) > 1.3*float64(calm) || with > without {
			t.Errorf("%d tasks take %d ticks instead of %d; without copies %d", tasks, with, calm, without)
		}
	}
	if worst <= 1.3 {
		t.Errorf("without copies it takes at most %.2f times as long: the test tests nothing", worst)
	}
}
