package sched

import (
	"errors"
	"testing"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// TestWorkersAreShown with the memory that their jobs were granted, and the jobs that avoid them, until that time is over.
func TestWorkersAreShown(t *testing.T) {
	s := New(Options{Exclude: 1000})
	launched := map[WorkerID]mr.AttemptID{}
	step := func(now Tick, ev Event) {
		for _, a := range s.Step(now, ev) {
			if l, ok := a.(Launch); ok {
				launched[l.Worker] = l.Spec.Attempt
			}
		}
	}
	for _, id := range []WorkerID{"a", "b", "c"} {
		step(0, WorkerUp{Worker: id, Slots: 1, Memory: 1000})
	}
	step(0, Submit{Job: mr.JobSpec{ID: "j", Settings: mr.Settings{Memory: 600}, Phases: []mr.PhaseSpec{{ID: "p", Type: mr.MapPhase, Kind: "k", Tasks: 9, Memory: 10}}}})
	for _, w := range s.Workers() {
		if w.Held != 600 || w.Used != 1 || w.Excluded != nil {
			t.Errorf("%+v", w)
		}
	}
	step(10, Failed{Worker: "b", Job: "j", Attempt: launched["b"], Err: &errs.Error{Kind: errs.NoSpace, Err: errors.New("the disk is full")}})
	x := s.Workers()[1].Excluded
	if len(x) != 1 || x[0].Job != "j" || len(x[0].Tasks) != 1 || x[0].Why != "the disk is full" || x[0].Until != 1010 {
		t.Errorf("excluded: %+v", x)
	}
	step(2000, Time{})
	if x := s.Workers()[1].Excluded; x != nil {
		t.Errorf("still excluded: %+v", x)
	}
	step(2000, Kill{Job: "j"})
	if w := s.Workers()[0]; w.Held != 0 {
		t.Errorf("after the job: %+v", w)
	}
}
