package sched

import (
	"testing"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// TestHung: an attempt that does nothing for as long as its phase allows is given up and run elsewhere, by the phase's own time or
// the common one; whatever it does counts as work; a phase may say never.
func TestHung(t *testing.T) {
	s := New(Options{Hang: 1000, Stall: 60_000})
	s.Step(0, WorkerUp{Worker: "a", Slots: 4})
	s.Step(0, WorkerUp{Worker: "b", Slots: 4})
	job := mr.JobSpec{ID: "j", Phases: []mr.PhaseSpec{
		{ID: "common", Type: mr.MapPhase, Kind: "k", Tasks: 1},
		{ID: "long", Type: mr.MapPhase, Kind: "k", Tasks: 1, Timeout: 5000},
		{ID: "never", Type: mr.MapPhase, Kind: "k", Tasks: 1, Timeout: -1},
		{ID: "works", Type: mr.MapPhase, Kind: "k", Tasks: 1},
		{ID: "spins", Type: mr.RoundsPhase, Kind: "k", Tasks: 1},
	}}
	at := map[mr.PhaseID]WorkerID{}
	number := map[mr.PhaseID]int{}
	given := map[mr.PhaseID][]Tick{}
	step := func(now Tick, ev Event) {
		for _, a := range s.Step(now, ev) {
			switch a := a.(type) {
			case Launch:
				id := a.Spec.Attempt.Task.Phase
				if len(given[id]) > 0 && at[id] == a.Worker {
					t.Errorf("%s is launched again on %s, where it hung", id, a.Worker)
				}
				at[id], number[id] = a.Worker, a.Spec.Attempt.Number
			case Cancel:
				if a.Reason == "" {
					t.Errorf("%s is cancelled without a reason", a.Attempt)
				}
			case Done:
				t.Fatalf("at %d the job ends: %v", now, a.Err)
			}
		}
		for _, g := range s.GaveUp() {
			if g.Err.ID != "E-HUNG" || !errs.Is(g.Err, errs.Transient) {
				t.Errorf("given up: %v", g.Err)
			}
			given[g.Attempt.Task.Phase] = append(given[g.Attempt.Task.Phase], now)
		}
	}
	step(0, Submit{Job: job})
	for now := Tick(100); now <= 2000; now += 100 {
		for _, w := range []WorkerID{"a", "b"} {
			beat := Beat{Worker: w}
			for id, n := range number {
				if at[id] == w {
					p := Progress{Job: "j", Attempt: mr.AttemptID{Task: mr.TaskID{Phase: id}, Number: n}, Pinned: id == "spins"}
					if id == "works" {
						p.Moves = int64(now)
					}
					beat.Progress = append(beat.Progress, p)
				}
			}
			step(now, beat)
		}
	}
	if len(given) != 1 || len(given["common"]) != 1 || given["common"][0] != 1100 {
		t.Errorf("given up: %v", given)
	}
	s.o.Hang = 0
	if s.hangLimit(s.jobs[0].phases[0]) != 0 {
		t.Error("without a time nothing hangs")
	}
}

// TestAlwaysHung: a task that hangs wherever it runs ends its job after four attempts, and says which it is.
func TestAlwaysHung(t *testing.T) {
	s := New(Options{Hang: 1000})
	s.Step(0, WorkerUp{Worker: "a", Slots: 1})
	s.Step(0, Submit{Job: mr.JobSpec{ID: "j", Phases: []mr.PhaseSpec{{ID: "p", Type: mr.MapPhase, Kind: "k", Tasks: 1}}}})
	launches := 0
	for now := Tick(500); now < 20_000; now += 500 {
		for _, a := range s.Step(now, Time{}) {
			switch a := a.(type) {
			case Launch:
				launches++
			case Done:
				if launches != 3 || a.Err == nil || a.Err.ID != "E-HUNG" || now > 7000 {
					t.Errorf("after %d more launches, at %d: %v", launches, now, a.Err)
				}
				return
			}
		}
	}
	t.Error("the job has not ended")
}
