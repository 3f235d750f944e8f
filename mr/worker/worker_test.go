package worker

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/cache"
	"github.com/vista-mr/vista-mr/mr/commit"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/sched"
	"github.com/vista-mr/vista-mr/mr/task"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bench is a worker whose attempts run until they are stopped, and what it reports.
type bench struct {
	*Worker
	mu      sync.Mutex
	reports []sched.Event
}

func newBench(t *testing.T) *bench {
	t.Helper()
	waits := mr.Kind{Name: "waits", Map: func(json.RawMessage) (mr.Mapper, error) {
		return mr.MapperFunc(func(ctx context.Context, _ mr.Task) error { <-ctx.Done(); return ctx.Err() }), nil
	}}
	registry, err := mr.NewRegistry(waits)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{}
	env := &task.Env{Store: mem.New(), Mux: dfs.NewMux(nil), Registry: registry, Shared: task.NewShared(), Cache: cache.New(5, t.TempDir()), Scratch: t.TempDir(), Slots: 2}
	b.Worker = New(Options{ID: "w", Slots: 2, Env: func(*mr.TaskSpec) (*task.Env, error) { return env, nil }, Report: func(r Report) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.reports = append(b.reports, r.Event)
	}})
	t.Cleanup(b.Close)
	return b
}

// keepsLogs has a bench's logs go into its store.
func (b *bench) keepsLogs(kinds ...mr.Kind) (*task.Env, error) {
	registry, err := mr.NewRegistry(kinds...)
	env, _ := b.o.Env(nil)
	own := *env
	own.Registry, own.KeepLogs = registry, true
	err = errors.Join(err, own.Store.Claim(context.Background(), commit.EpochMark("a", 2)))
	b.o.Env = func(*mr.TaskSpec) (*task.Env, error) { return &own, nil }
	return &own, err
}

func (b *bench) launchTask(job mr.JobID, index int) mr.AttemptID {
	id := mr.AttemptID{Task: mr.TaskID{Phase: "p", Index: index}, Number: 1}
	b.Do(Launch{Spec: mr.TaskSpec{Job: job, Attempt: id, Epoch: 1, Type: mr.MapPhase, Kind: "waits"}})
	return id
}

func (b *bench) said() []sched.Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]sched.Event(nil), b.reports...)
}

// TestShed: the newest attempt goes, as one that ran out of memory, and is said to have failed once.
func TestShed(t *testing.T) {
	b := newBench(t)
	if b.Shed(errors.New("too much")) {
		t.Error("something was shed of nothing")
	}
	b.launchTask("a", 0)
	newest := b.launchTask("b", 1)
	if !b.Shed(errors.New("too much")) {
		t.Fatal("nothing was shed")
	}
	said := b.said()
	f, ok := said[0].(sched.Failed)
	if len(said) != 1 || !ok || f.Attempt != newest || f.Job != "b" || !errs.Is(f.Err, errs.NoMemory) {
		t.Errorf("said %+v", said)
	}
	if r := b.Running(); len(r) != 1 || r[0].Job != "a" {
		t.Errorf("running are %+v", r)
	}
	b.jobs["b"].work.Wait() // its end would have been said by now
	if n := len(b.said()); n != 1 {
		t.Errorf("%d reports", n)
	}
}

// TestHeap: the heap may be as large as all jobs that are here need together, each in the phase that it is in; without a limit for
// one of them there is none.
func TestHeap(t *testing.T) {
	b := newBench(t)
	var told []int64
	b.o.Heap = func(n int64) { told = append(told, n) }
	launch := func(job mr.JobID, index int, heap int64) {
		b.Do(Launch{Spec: mr.TaskSpec{Job: job, Attempt: mr.AttemptID{Task: mr.TaskID{Phase: "p", Index: index}, Number: 1}, Epoch: 1, Type: mr.MapPhase, Kind: "waits", Heap: heap}})
	}
	launch("a", 0, 100)
	launch("a", 1, 100)
	launch("b", 0, 30)
	launch("a", 2, 200)
	launch("c", 0, 0)
	b.Do(CloseJob{Job: "c"})
	b.Do(CloseJob{Job: "a"})
	b.Do(CloseJob{Job: "b"})
	if want := []int64{100, 130, 230, 0, 230, 30, 0}; !slices.Equal(told, want) {
		t.Errorf("told %v, want %v", told, want)
	}
}

// TestUsage is said with each sign of life: the process's memory, and what all jobs have cached.
func TestUsage(t *testing.T) {
	b := newBench(t)
	b.o.Usage = func() task.Usage { return task.Usage{Resident: 7, Peak: 9} }
	b.launchTask("a", 0)
	for b.jobs["a"].ready.Load() == nil {
		time.Sleep(time.Millisecond)
	}
	b.Beat()
	if beat, ok := b.said()[0].(sched.Beat); !ok || beat.Usage.Resident != 7 || beat.Usage.Peak != 9 || beat.Usage.Budget != 5 || len(beat.Progress) != 1 {
		t.Errorf("said %+v", b.said())
	}
}

// TestCancelSaysNothing, and what was cancelled is not named any more; commands that come twice or too late do no harm.
func TestCancelSaysNothing(t *testing.T) {
	b := newBench(t)
	id := b.launchTask("a", 0)
	b.launchTask("a", 0) // once more
	if r := b.Running(); len(r) != 1 {
		t.Errorf("running are %+v", r)
	}
	for range 2 {
		b.Do(Cancel{Job: "a", Attempt: id, Epoch: 1})
	}
	b.Do(Cancel{Job: "nobody", Attempt: id, Epoch: 1})
	b.Do(Round{Job: "a", Phase: "p", Tasks: []int{0}})
	b.Do(ClosePhase{Job: "a", Phase: "p"})
	b.Do(CloseJob{Job: "a"})
	b.Do(CloseJob{Job: "a"})
	b.Close()
	b.Do(Launch{Spec: mr.TaskSpec{Job: "late", Attempt: id, Type: mr.MapPhase, Kind: "waits"}})
	if said := b.said(); len(said) != 0 || len(b.Running()) != 0 {
		t.Errorf("said %+v", said)
	}
}

// TestDrainTakesNothingNew, and brings to its end what runs.
func TestDrainTakesNothingNew(t *testing.T) {
	b := newBench(t)
	b.launchTask("a", 0)
	b.Drain()
	b.launchTask("a", 1)
	if r := b.Running(); len(r) != 1 || r[0].Attempt.Task.Index != 0 {
		t.Errorf("running are %+v", r)
	}
}

// TestUnknownKind ends the attempt with an error, not the worker.
func TestUnknownKind(t *testing.T) {
	b := newBench(t)
	id := mr.AttemptID{Task: mr.TaskID{Phase: "p"}, Number: 1}
	b.Do(Launch{Spec: mr.TaskSpec{Job: "a", Attempt: id, Epoch: 1, Type: mr.MapPhase, Kind: "unheard-of"}})
	for len(b.said()) == 0 {
		time.Sleep(time.Millisecond)
	}
	if f, ok := b.said()[0].(sched.Failed); !ok || !errs.Is(f.Err, errs.Invalid) {
		t.Errorf("said %+v", b.said())
	}
}
