package sched

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// TestMendsWhatComesOverTheWire: a worker's error goes through JSON; the file that it names,
// deep inside, is still found, and the task that wrote it runs again.
func TestMendsWhatComesOverTheWire(t *testing.T) {
	s := New(Options{})
	s.Step(0, WorkerUp{Worker: "w", Slots: 1})
	s.Step(0, Submit{Job: mr.JobSpec{ID: "j", MaxAttempts: 1, Phases: []mr.PhaseSpec{
		{ID: "a", Type: mr.MapPhase, Kind: "k", Tasks: 1},
		{ID: "b", Type: mr.MapPhase, Kind: "k", Tasks: 1, Inputs: []mr.Input{{Name: "in", Phase: "a", Channel: "x", Mode: mr.All}}}}}})
	id := func(p mr.PhaseID, n int) mr.AttemptID { return mr.AttemptID{Task: mr.TaskID{Phase: p}, Number: n} }
	s.Step(0, Succeeded{Worker: "w", Job: "j", Manifest: mr.Manifest{Attempt: id("a", 1), Files: []mr.PartFile{{Channel: "x", Path: "j/a/x"}}}})
	s.Step(0, Published{Job: "j", Phase: "a"})
	inner := errs.E("read", errs.Corrupt, "j/a/x", errors.New("checksum differs"))
	b, err := json.Marshal(errs.E("map k", errs.Unknown, "", errs.E("records", errs.Unknown, "", inner)))
	if err != nil {
		t.Fatal(err)
	}
	var got errs.Error
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	for _, a := range s.Step(0, Failed{Worker: "w", Job: "j", Attempt: id("b", 1), Err: &got}) {
		if l, ok := a.(Launch); ok && l.Spec.Attempt == id("a", 2) {
			return
		}
	}
	t.Errorf("the task that wrote the file does not run again: %v", view(s.Job("j")))
}

// TestSnapshotIsTheState: a coordinator that goes on from a snapshot, and is told by the workers
// what runs, stands where the first one stood.
func TestSnapshotIsTheState(t *testing.T) {
	for seed := range uint64(60) {
		w := newWorld(seed+1, rules{})
		w.jobs = w.jobs[:1]
		for range w.rnd.IntN(3) + 1 {
			w.newWorker()
		}
		w.send(Submit{Job: w.jobs[0]})
		w.beats()
		for n := 0; n < 200 && w.queue.Len() > 0; n++ {
			if err := w.one(); err != nil {
				t.Fatal(err)
			}
		}
		id := w.jobs[0].ID
		snap := w.s.Snapshot(id)
		if snap.Job.ID == "" { // it has ended
			continue
		}
		snap.Epoch = 99
		s := New(w.o)
		s.Step(w.now, snap)
		was, is := w.s.Job(id), s.Job(id)
		for i, p := range is.Phases {
			before := was.Phases[i]
			redo := p.Type == mr.RoundsPhase && before.Committed < before.Tasks // its rounds begin anew
			if !redo && p.Committed != before.Committed || p.State == "published" != (before.State == "published") {
				t.Errorf("seed %d: %+v, was %+v", seed+1, p, before)
			}
		}
		again := s.Snapshot(id)
		if len(again.Done) != len(snap.Done) {
			t.Errorf("seed %d: %d phases done, were %d", seed+1, len(again.Done), len(snap.Done))
		}
	}
}

// TestEndedJobsAreForgotten: what is kept of jobs that have ended does not grow for ever.
func TestEndedJobsAreForgotten(t *testing.T) {
	s := New(Options{})
	for i := range 3 * maxEndings {
		s.Step(0, Submit{Job: mr.JobSpec{ID: mr.JobID(mr.TaskID{Phase: "j", Index: i}.String())}})
	}
	if n, m := len(s.ended.byID), len(s.ended.order); n != maxEndings || m != maxEndings {
		t.Errorf("%d and %d are remembered, want %d", n, m, maxEndings)
	}
}

// earlier is an attempt that the coordinator before has launched, as its worker names it.
var earlier = Progress{Job: "j", Attempt: mr.AttemptID{Task: mr.TaskID{Phase: "p"}, Number: 1}, Epoch: 1}

// TestWorkerThatComesAfterTheJobGoesOn: a coordinator was told of the job before the worker that runs an attempt of it has found
// its way back.
func TestWorkerThatComesAfterTheJobGoesOn(t *testing.T) {
	s := New(Options{Epoch: 2})
	s.Step(0, Submit{Job: mr.JobSpec{ID: "j", Phases: []mr.PhaseSpec{{ID: "p", Type: mr.MapPhase, Kind: "k", Tasks: 1}}}})
	out := s.Step(1, WorkerUp{Worker: "a", Slots: 1, Running: []Progress{earlier}})
	if count[Cancel](out)+count[Discard](out)+count[Launch](out) > 0 || s.Job("j").Phases[0].Running != 1 {
		t.Fatalf("its attempt does not run on: %v", out)
	}
	out = s.Step(2, Succeeded{Worker: "a", Job: "j", Manifest: mr.Manifest{Attempt: earlier.Attempt, Epoch: 1}})
	if count[Publish](out) != 1 {
		t.Errorf("its result does not count: %v", out)
	}
}

// TestDiscardedAttemptIsNotTakenBack: the files of one that was given up for good may be gone, even if nothing else is done
// about its task when it is named again.
func TestDiscardedAttemptIsNotTakenBack(t *testing.T) {
	for _, broken := range []bool{false, true} {
		s := New(Options{Epoch: 2, rules: rules{adoptDropped: broken}})
		s.Step(0, WorkerUp{Worker: "b", Slots: 1})
		s.Step(0, Submit{Job: mr.JobSpec{ID: "j", Phases: []mr.PhaseSpec{{ID: "p", Type: mr.MapPhase, Kind: "k", Tasks: 1}}}})
		if out := s.Step(1, WorkerUp{Worker: "a", Slots: 1, Running: []Progress{earlier}}); count[Discard](out) != 1 {
			t.Fatalf("another runs for the task: %v", out)
		}
		s.Step(2, WorkerUp{Worker: "a", Slots: 0})
		s.Step(3, WorkerDown{Worker: "b"})
		out := s.Step(4, WorkerUp{Worker: "a", Slots: 1, Running: []Progress{earlier}})
		if back := count[Launch](out) == 0; back != broken {
			t.Errorf("rule broken %v: %v", broken, out)
		}
	}
}
