package sched

import (
	"errors"
	"testing"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// Bugs that others have met in production, each as a test. Those of the store are in package commit.

// oneTask is a state machine with a job of one task on two workers of one slot, and the task's first attempt.
func oneTask(t *testing.T, o Options) (*State, mr.TaskSpec) {
	t.Helper()
	s := New(o)
	s.Step(0, WorkerUp{Worker: "a", Slots: 1})
	s.Step(0, WorkerUp{Worker: "b", Slots: 1})
	return s, launchOf(t, s.Step(0, Submit{Job: mr.JobSpec{ID: "j", Phases: []mr.PhaseSpec{{ID: "p", Type: mr.MapPhase, Kind: "k", Tasks: 1}}}}))
}

func launchOf(t *testing.T, actions []Action) mr.TaskSpec {
	t.Helper()
	for _, a := range actions {
		if l, ok := a.(Launch); ok {
			return l.Spec
		}
	}
	t.Fatalf("nothing is launched: %v", actions)
	return mr.TaskSpec{}
}

func count[T Action](actions []Action) (n int) {
	for _, a := range actions {
		if _, ok := a.(T); ok {
			n++
		}
	}
	return n
}

func done(worker WorkerID, spec mr.TaskSpec) Succeeded {
	return Succeeded{Worker: worker, Job: spec.Job, Manifest: mr.Manifest{Attempt: spec.Attempt, Epoch: spec.Epoch}}
}

func lost(worker WorkerID, spec mr.TaskSpec, kind errs.Kind) Failed {
	return Failed{Worker: worker, Job: spec.Job, Attempt: spec.Attempt, Epoch: spec.Epoch, Err: failure(kind, "", errors.New("no"))}
}

// TestLoserThatFailsDoesNotUndoTheCommit (SPARK-6614: the failure of an attempt that was denied cleared the lock, and another
// attempt committed as well).
func TestLoserThatFailsDoesNotUndoTheCommit(t *testing.T) {
	s, first := oneTask(t, Options{Epoch: 1})
	second := launchOf(t, s.Step(1, lost("a", first, errs.Lost)))
	if n := count[Publish](s.Step(2, done("b", second))); n != 1 {
		t.Fatalf("%d publications", n)
	}
	if out := s.Step(3, lost("a", first, errs.Internal)); count[Launch](out)+count[Publish](out) > 0 {
		t.Errorf("after the loser has failed: %v", out)
	}
	if out := s.Step(4, done("a", first)); count[Publish](out) > 0 || s.Job("j").Phases[0].Committed != 1 {
		t.Errorf("after the loser has succeeded: %v", out)
	}
}

// TestCommitThatFailedIsTriedAgain (SPARK-6614, the other half: after a commit that failed, nobody could commit any more).
func TestCommitThatFailedIsTriedAgain(t *testing.T) {
	s, first := oneTask(t, Options{Epoch: 1})
	if n := count[Publish](s.Step(1, done("a", first))); n != 1 {
		t.Fatalf("%d publications", n)
	}
	out := s.Step(2, PublishFailed{Job: "j", Phase: "p", Err: failure(errs.Transient, "", errors.New("no"))})
	if count[Publish](out) != 1 {
		t.Fatalf("after a failure: %v", out)
	}
	if out := s.Step(3, Published{Job: "j", Phase: "p"}); count[Done](out) != 1 {
		t.Errorf("in the end: %v", out)
	}
}

// TestFailedAttemptIsNeverCommitted (SPARK-19631: an attempt that had failed already was authorized to commit).
func TestFailedAttemptIsNeverCommitted(t *testing.T) {
	s, first := oneTask(t, Options{Epoch: 1})
	s.Step(1, lost("a", first, errs.Internal))
	if out := s.Step(2, done("a", first)); count[Publish](out) > 0 || s.Wants("j", first.Attempt, 1) {
		t.Errorf("an attempt that has failed is committed: %v", out)
	}
}

// TestAttemptsOfAnEarlierRunAreToldApart (SPARK-24589: the attempts of two runs of a stage had the same numbers, and one's
// commit was taken for the other's).
func TestAttemptsOfAnEarlierRunAreToldApart(t *testing.T) {
	_, old := oneTask(t, Options{Epoch: 1})
	s, young := oneTask(t, Options{Epoch: 2})
	if old.Attempt != young.Attempt || old.Out == young.Out {
		t.Fatalf("attempts %s in %s and %s in %s", old.Attempt, old.Out, young.Attempt, young.Out)
	}
	if out := s.Step(1, done("a", old)); count[Publish](out) > 0 {
		t.Errorf("the earlier run's attempt is committed: %v", out)
	}
	if out := s.Step(2, lost("a", old, errs.Invalid)); count[Done](out) > 0 {
		t.Errorf("the earlier run's failure ends the job: %v", out)
	}
	if n := count[Publish](s.Step(3, done("a", young))); n != 1 {
		t.Errorf("%d publications", n)
	}
}

// TestTaskThatCommittedAndCouldNotReport (HADOOP-17258: the attempt after one whose report was lost failed on what that one had
// left). The late report counts, if it comes before another attempt's, and else is as if it had never been.
func TestTaskThatCommittedAndCouldNotReport(t *testing.T) {
	for _, late := range []bool{false, true} {
		s, first := oneTask(t, Options{Epoch: 1})
		second := launchOf(t, s.Step(1, WorkerDown{Worker: "a"}))
		if second.Out == first.Out {
			t.Fatalf("both attempts write to %s", first.Out)
		}
		order := []Succeeded{done("a", first), done("b", second)}
		if late {
			order[0], order[1] = order[1], order[0]
		}
		published := count[Publish](s.Step(2, order[0])) + count[Publish](s.Step(3, order[1])) + count[Publish](s.Step(4, order[0]))
		if published != 1 || s.Job("j").Phases[0].Committed != 1 {
			t.Errorf("late %v: %d publications", late, published)
		}
	}
}
