package sched

import (
	"testing"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// TestTasksAreShown by their states, a window of them at a time.
func TestTasksAreShown(t *testing.T) {
	s := New(Options{})
	s.Step(0, WorkerUp{Worker: "a", Slots: 3})
	id := func(i int) mr.AttemptID { return mr.AttemptID{Task: mr.TaskID{Phase: "p", Index: i}, Number: 1} }
	s.Step(0, Submit{Job: mr.JobSpec{ID: "j", Phases: []mr.PhaseSpec{{ID: "p", Type: mr.MapPhase, Kind: "k", Tasks: 10}}}})
	s.Step(5, Succeeded{Worker: "a", Job: "j", Manifest: mr.Manifest{Attempt: id(1), Seconds: 2, Files: []mr.PartFile{{Rows: 3, Bytes: 30}, {Rows: 4, Bytes: 40}}}})
	s.Step(6, Failed{Worker: "a", Job: "j", Attempt: id(0), Err: failure(errs.Transient, "", errNoReason)})
	all, counts := s.Tasks("j", "p", "", 0, 100)
	if len(all) != 10 || counts["waiting"] != 6 || counts["running"] != 3 || counts["committed"] != 1 {
		t.Fatalf("%d tasks, %v", len(all), counts)
	}
	if v := all[1]; v.State != "committed" || v.Seconds != 2 || v.Rows != 7 || v.Bytes != 70 || v.Number != 1 {
		t.Errorf("committed: %+v", v)
	}
	if v := all[0]; v.State != "running" || v.Number != 2 || v.Failed != 1 || v.Worker != "a" || v.Since != 6 {
		t.Errorf("again: %+v", v)
	}
	some, _ := s.Tasks("j", "p", "waiting", 2, 3)
	if len(some) != 3 || some[0].Index != 6 || some[2].Index != 8 {
		t.Errorf("a window: %+v", some)
	}
	if none, counts := s.Tasks("j", "q", "", 0, 9); none != nil || counts != nil {
		t.Error("a phase that is not there has tasks")
	}
}
