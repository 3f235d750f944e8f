package tracker

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/sched"
	"github.com/vista-mr/vista-mr/mr/worker"
)

// told writes down what a worker is told.
type told struct {
	mu  sync.Mutex
	all []worker.Command
}

func (l *told) Send(c worker.Command) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, c)
}

// words are what was told since the last time, in words.
func (l *told) words() (out []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.all {
		switch c := c.(type) {
		case worker.Launch:
			out = append(out, fmt.Sprintf("launch %s %s", c.Spec.Job, c.Spec.Attempt))
		case worker.Cancel:
			out = append(out, fmt.Sprintf("cancel %s %s", c.Job, c.Attempt))
		case worker.ClosePhase:
			out = append(out, fmt.Sprintf("close %s %s %s", c.Job, c.Phase, c.KeepOpen))
		case worker.CloseJob:
			out = append(out, fmt.Sprintf("close %s", c.Job))
		}
	}
	l.all = nil
	return out
}

// twoPhases is a job of one task after the other.
func twoPhases(id mr.JobID) *mr.JobSpec {
	return &mr.JobSpec{ID: id, Phases: []mr.PhaseSpec{{ID: "p", Type: mr.MapPhase, Kind: "k", Tasks: 1, KeepOpen: []string{"table/"}},
		{ID: "q", Type: mr.MapPhase, Kind: "k", Tasks: 1, After: []mr.PhaseID{"p"}}}}
}

// scene is a tracker in virtual time.
type scene struct {
	t  *testing.T
	tr *Tracker
}

func (s *scene) run(spec *mr.JobSpec, o JobOptions) (kill func()) {
	ctx, cancel := context.WithCancel(s.t.Context())
	o.Store, o.Publisher = mem.New(), newWaits("", nil)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = s.tr.Run(ctx, spec, o)
	}()
	synctest.Wait()
	return func() {
		cancel()
		<-ended
	}
}

func (s *scene) succeeds(job mr.JobID, phase mr.PhaseID) {
	s.tr.Report(worker.Report{Event: sched.Succeeded{Worker: "w", Job: job,
		Manifest: mr.Manifest{Attempt: mr.AttemptID{Task: mr.TaskID{Phase: phase}, Number: 1}, Epoch: 2}}}, nil)
	synctest.Wait()
}

// TestEndsThatAWorkerHasMissed are told on its next connection: of jobs and phases that ended while it had none, and of those that ended
// before there was this tracker.
func TestEndsThatAWorkerHasMissed(t *testing.T) {
	up := func(jobs ...mr.JobID) sched.WorkerUp {
		u := sched.WorkerUp{Worker: "w", Slots: 1}
		for _, j := range jobs {
			u.Jobs = append(u.Jobs, sched.Holding{Job: j})
		}
		return u
	}
	dead := linkFunc(func(worker.Command) {})
	for name, c := range map[string]struct {
		play func(s *scene, l *told)
		want []string
	}{
		"a job that ends meanwhile": {func(s *scene, l *told) {
			s.tr.Join(dead, up())
			s.run(mapJob("j", 1), JobOptions{Epoch: 2})()
			s.tr.Join(l, up("j"))
		}, []string{"close j"}},
		"a job of an earlier tracker": {func(s *scene, l *told) { s.tr.Join(l, up("j")) }, []string{"close j"}},
		"a job that is expected": {func(s *scene, l *told) {
			s.tr.Expect("j")
			s.tr.Join(l, up("j"))
		}, nil},
		"a job that does not come": {func(s *scene, l *told) {
			s.tr.Expect("j")
			s.tr.Join(l, up("j"))
			s.tr.Dismiss("j")
		}, []string{"close j"}},
		"a job that comes and runs nothing there": {func(s *scene, l *told) {
			s.tr.Expect("j")
			u := up("j")
			u.Slots = 0
			s.tr.Join(l, u)
			s.run(mapJob("j", 1), JobOptions{Epoch: 2})()
		}, []string{"close j p []", "close j"}},
		"a job that goes on": {func(s *scene, l *told) {
			s.tr.Join(dead, up())
			s.run(mapJob("j", 1), JobOptions{Epoch: 2})
			s.tr.Join(l, up("j"))
		}, []string{"launch j p/00000/2"}}, // the first one was lost with the connection
		"a phase that ends meanwhile": {func(s *scene, l *told) {
			s.tr.Join(dead, up())
			s.run(twoPhases("j"), JobOptions{Epoch: 2})
			s.succeeds("j", "p")
			u := up("j")
			u.Running = []sched.Progress{{Job: "j", Attempt: mr.AttemptID{Task: mr.TaskID{Phase: "q"}, Number: 1}, Epoch: 2}}
			s.tr.Join(l, u)
			s.tr.Join(l, u) // as one that drains: nothing can have been lost
		}, []string{"close j p [table/]"}},
		"a phase that has ended under an earlier tracker": {func(s *scene, l *told) {
			s.tr.Expect("j")
			s.tr.Join(l, up("j"))
			s.run(twoPhases("j"), JobOptions{Epoch: 2, Done: []mr.PhaseManifest{{Job: "j", Phase: "p", Epoch: 1, Tasks: make([]mr.Manifest, 1)}}})
		}, []string{"close j p [table/]", "launch j q/00000/1"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &told{}
				s := &scene{t, New(Options{Registry: &mr.Registry{}})}
				defer s.tr.Close()
				c.play(s, l)
				synctest.Wait()
				if got := l.words(); !slices.Equal(got, c.want) {
					t.Errorf("it is told %q, want %q", got, c.want)
				}
			})
		})
	}
}

// TestTwoJobsAfterARestart: the driver of one job is there before that of the other, of which a worker runs as many attempts as it has
// slots. They go on, and the worker is not given more than it has room for.
func TestTwoJobsAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const slots = 4
		s := &scene{t, New(Options{Registry: &mr.Registry{}, Rules: sched.Options{Expire: 5000}, Beat: time.Second})}
		defer s.tr.Close()
		s.tr.Expect("a", "b", "c")
		var runs []sched.Progress
		for i := range slots {
			runs = append(runs, sched.Progress{Job: "a", Attempt: mr.AttemptID{Task: mr.TaskID{Phase: "p", Index: i}, Number: 1}, Epoch: 1})
		}
		here, other := &told{}, &told{}
		s.tr.Join(here, sched.WorkerUp{Worker: "w", Slots: slots + 1, Running: append(slices.Clone(runs),
			sched.Progress{Job: "c", Attempt: runs[0].Attempt, Epoch: 1})})
		s.run(mapJob("b", slots), JobOptions{Epoch: 2})
		for range 8 {
			time.Sleep(time.Second)
			s.tr.Report(worker.Report{Event: sched.Beat{Worker: "w", Progress: append(slices.Clone(runs), sched.Progress{Job: "c", Attempt: runs[0].Attempt, Epoch: 1})}}, nil)
		}
		synctest.Wait()
		if got := here.words(); len(got) > 0 {
			t.Errorf("before its job has come, the worker is told %q", got)
		}
		s.run(mapJob("a", slots), JobOptions{Epoch: 2})
		if got := here.words(); len(got) > 0 || s.tr.Jobs("a")[0].Phases[0].Running != slots {
			t.Errorf("when it has come, the worker is told %q: %+v", got, s.tr.Jobs("a"))
		}
		s.tr.Join(other, sched.WorkerUp{Worker: "v", Slots: slots})
		synctest.Wait()
		if got := other.words(); len(got) != slots {
			t.Errorf("another worker is told %q", got)
		}
	})
}
