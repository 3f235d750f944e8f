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

// TestExpectedJobKeepsItsRoom: another job comes first, and takes neither the slots nor the memory of what a worker runs of one that is
// still to come; then that goes on, or is cancelled with the expectation.
func TestExpectedJobKeepsItsRoom(t *testing.T) {
	job := func(id mr.JobID, granted int64) mr.JobSpec {
		return mr.JobSpec{ID: id, Settings: mr.Settings{Memory: granted}, Phases: []mr.PhaseSpec{{ID: "p", Type: mr.MapPhase, Kind: "k", Tasks: 8, Memory: 10}}}
	}
	runs := func(pinned bool) (out []Progress) {
		for i := range 4 {
			out = append(out, Progress{Job: "a", Attempt: mr.AttemptID{Task: mr.TaskID{Phase: "p", Index: i}, Number: 1}, Epoch: 1, Memory: 10, Pinned: pinned})
		}
		return out
	}
	for name, c := range map[string]struct {
		up       WorkerUp
		granted  int64
		launched int // of the other job, before this one has come
		drops    bool
	}{
		"slots":                     {up: WorkerUp{Slots: 6, Running: runs(false)}, launched: 2},
		"all slots":                 {up: WorkerUp{Slots: 4, Running: runs(false)}},
		"memory":                    {up: WorkerUp{Slots: 9, Memory: 50, Running: runs(false)}, launched: 1},
		"memory of partitions":      {up: WorkerUp{Slots: 9, Memory: 50, Running: runs(true)}, launched: 1},
		"what both are granted":     {up: WorkerUp{Slots: 9, Memory: 90, Running: runs(false), Jobs: []Holding{{"a", 50}}}, granted: 50},
		"what it holds and runs no": {up: WorkerUp{Slots: 9, Memory: 90, Jobs: []Holding{{"a", 50}}}, granted: 50},
		"it does not come":          {up: WorkerUp{Slots: 4, Running: runs(false)}, drops: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := New(Options{Epoch: 2, Expire: 5000})
			s.Step(0, Expect{Job: "a"})
			c.up.Worker = "w"
			if out := s.Step(0, c.up); len(out) > 0 {
				t.Fatalf("the worker: %v", out)
			}
			if out := s.Step(1, Submit{Job: job("b", c.granted)}); count[Launch](out) != c.launched || len(out) != c.launched {
				t.Errorf("the other job: %v, want %d launches", out, c.launched)
			}
			if out := s.Step(4000, Beat{Worker: "w", Progress: c.up.Running}); len(out) > 0 {
				t.Errorf("a sign of life: %v", out)
			}
			if c.drops {
				if out := s.Step(4001, Dismiss{Job: "a"}); count[Cancel](out) != 4 || count[Launch](out) != 4 {
					t.Errorf("it does not come: %v", out)
				}
				return
			}
			out := s.Step(6000, Submit{Job: job("a", c.granted)})
			want := 0
			for _, r := range c.up.Running {
				if !r.Pinned {
					want++
				}
			}
			for _, a := range s.Job("a").Attempts {
				if a.Attempt.Task.Index < 4 {
					want--
				}
			}
			if want > 0 || c.up.Running != nil && !c.up.Running[0].Pinned && count[Cancel](out) > 0 {
				t.Errorf("%d of its attempts do not go on: %v", want, out)
			}
			if w := s.Workers()[0]; w.Used > w.Slots || w.Memory > 0 && w.Held > w.Memory {
				t.Errorf("in the end: %+v", w)
			}
		})
	}
}

// TestExpectedAttemptThatEnds gives its room back, when it is not named for long enough, and with its worker.
func TestExpectedAttemptThatEnds(t *testing.T) {
	for _, gone := range []bool{false, true} {
		s := New(Options{Epoch: 2, Expire: 5000})
		s.Step(0, Expect{Job: "j"})
		s.Step(0, WorkerUp{Worker: "w", Slots: 1, Running: []Progress{earlier}})
		s.Step(0, Submit{Job: mr.JobSpec{ID: "k", Phases: []mr.PhaseSpec{{ID: "p", Type: mr.MapPhase, Kind: "k", Tasks: 1}}}})
		launched := 0
		for now := Tick(1000); now <= 7000; now += 1000 {
			if gone && now == 3000 {
				s.Step(now, WorkerDown{Worker: "w"})
				launched += count[Launch](s.Step(now, WorkerUp{Worker: "w", Slots: 1}))
			}
			launched += count[Launch](s.Step(now, Beat{Worker: "w"}))
			if launched > 0 && !gone && now <= 5000 {
				t.Errorf("its room was given away after %d ms", now)
			}
		}
		if w := s.Workers()[0]; launched != 1 || w.Used != 1 || s.free != 0 || s.busy != 1 || s.guests != 0 {
			t.Errorf("worker gone %v: %d launches, %+v, %d free, %d busy", gone, launched, w, s.free, s.busy)
		}
	}
}
