package tracker

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/commit"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/mrtest/cputime"
	"github.com/vista-mr/vista-mr/mr/sched"
	"github.com/vista-mr/vista-mr/mr/worker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo is a worker that succeeds at once in whatever it is told to launch.
type echo struct {
	t  *Tracker
	id sched.WorkerID
}

func (e *echo) Send(c worker.Command) {
	if l, ok := c.(worker.Launch); ok {
		e.t.Report(worker.Report{Event: sched.Succeeded{Worker: e.id, Job: l.Spec.Job, Manifest: mr.Manifest{Attempt: l.Spec.Attempt, Epoch: l.Spec.Epoch, Value: json.RawMessage("1")}}}, nil)
	}
}

func newTracker(t testing.TB, workers, slots int) *Tracker {
	registry, err := mr.NewRegistry()
	if err != nil {
		t.Fatal(err)
	}
	tr := New(Options{Registry: registry})
	t.Cleanup(tr.Close)
	for i := range workers {
		id := sched.WorkerID(string(rune('a' + i)))
		tr.Join(&echo{tr, id}, sched.WorkerUp{Worker: id, Slots: slots})
	}
	return tr
}

func mapJob(id mr.JobID, tasks int) *mr.JobSpec {
	return &mr.JobSpec{ID: id, Phases: []mr.PhaseSpec{{ID: "p", Type: mr.MapPhase, Kind: "k", Tasks: tasks}}}
}

// TestEndedJobIsNotRunTwice in an epoch: whoever asks learns that, and gets no empty success.
func TestEndedJobIsNotRunTwice(t *testing.T) {
	tr := newTracker(t, 1, 2)
	for epoch := 1; epoch <= 2; epoch++ {
		store := mem.New()
		out, err := tr.Run(t.Context(), mapJob("a", 3), JobOptions{Store: store, Publisher: &commit.Publisher{FS: store}, Epoch: int64(epoch)})
		if err != nil || len(out["p"].Tasks) != 3 {
			t.Fatalf("epoch %d: %v", epoch, err)
		}
	}
	store := mem.New()
	_, err := tr.Run(t.Context(), mapJob("a", 3), JobOptions{Store: store, Publisher: &commit.Publisher{FS: store}, Epoch: 2})
	if !errs.Is(err, errs.Exist) {
		t.Errorf("the same job in the same epoch: %v", err)
	}
}

// TestPeakIsPassedOn: who watches a job hears with each result what its worker has held.
func TestPeakIsPassedOn(t *testing.T) {
	tr, store := newTracker(t, 0, 0), mem.New()
	tr.Join(linkFunc(func(c worker.Command) {
		if l, ok := c.(worker.Launch); ok {
			tr.Report(worker.Report{Event: sched.Succeeded{Worker: "a", Job: l.Spec.Job, Peak: 700, Manifest: mr.Manifest{Attempt: l.Spec.Attempt, Epoch: l.Spec.Epoch}}}, nil)
		}
	}), sched.WorkerUp{Worker: "a", Slots: 1})
	var peaks []int64
	_, err := tr.Run(t.Context(), mapJob("a", 2), JobOptions{Store: store, Publisher: &commit.Publisher{FS: store}, Epoch: 1, Observe: func(u Update) {
		if u.Kind == AttemptSucceeded {
			peaks = append(peaks, u.Peak)
		}
	}})
	if err != nil || !slices.Equal(peaks, []int64{700, 700}) {
		t.Errorf("heard of peaks %v, %v", peaks, err)
	}
}

// TestTwoOfOneJob: a job that runs is not started beside itself.
func TestTwoOfOneJob(t *testing.T) {
	tr := newTracker(t, 0, 0) // nothing runs
	store := mem.New()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := tr.Run(ctx, mapJob("a", 1), JobOptions{Store: store, Publisher: &commit.Publisher{FS: store}, Epoch: 1})
		ended <- err
	}()
	for len(tr.Jobs("a")) == 0 {
		time.Sleep(time.Millisecond)
	}
	if _, err := tr.Run(t.Context(), mapJob("a", 1), JobOptions{Store: store, Publisher: &commit.Publisher{FS: store}, Epoch: 2}); !errs.Is(err, errs.Exist) {
		t.Errorf("a second one: %v", err)
	}
	cancel()
	if err := <-ended; !errs.Is(err, errs.Canceled) {
		t.Errorf("a killed job: %v", err)
	}
}

// flaky is a worker whose first attempt leaves a file and fails.
type flaky struct {
	echo
	store  dfs.FS
	file   dfs.Path
	before func() error // what happens before it fails
}

func (f *flaky) Send(c worker.Command) {
	l, ok := c.(worker.Launch)
	if !ok || l.Spec.Attempt.Number > 1 {
		f.echo.Send(c)
		return
	}
	f.file = sched.OutFolder(l.Spec.Job, l.Spec.Attempt, l.Spec.Epoch).Join("f")
	err := errors.Join(dfs.WriteFile(context.Background(), f.store, f.file, []byte("x")), f.before(), errors.New("no"))
	f.t.Report(worker.Report{Event: sched.Failed{Worker: f.id, Job: l.Spec.Job, Attempt: l.Spec.Attempt, Epoch: l.Spec.Epoch, Err: errs.Of("run", errs.E("run", errs.Transient, "", err))}}, nil)
}

// TestOutdatedTrackerDiscardsNothing: what an attempt has left that failed is removed, unless another tracker has taken the job over: it
// may count what this one does not.
func TestOutdatedTrackerDiscardsNothing(t *testing.T) {
	for _, outdated := range []bool{false, true} {
		tr := newTracker(t, 0, 0)
		store := mem.New()
		pub := &commit.Publisher{FS: store, Root: "a"}
		epoch, err := pub.ClaimEpoch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		f := &flaky{echo: echo{tr, "w"}, store: store, before: func() error {
			if !outdated {
				return nil
			}
			_, err := pub.ClaimEpoch(context.Background())
			return err
		}}
		tr.Join(f, sched.WorkerUp{Worker: "w", Slots: 1})
		if _, err := tr.Run(t.Context(), mapJob("a", 1), JobOptions{Store: store, Publisher: pub, Epoch: epoch}); (err == nil) == outdated || outdated && !errs.Is(err, errs.Lost) {
			t.Errorf("outdated %v: %v", outdated, err)
		}
		if _, err := store.Stat(t.Context(), f.file); (err == nil) != outdated {
			t.Errorf("outdated %v: the file of the attempt that failed: %v", outdated, err)
		}
	}
}

// TestViews: what pages and commands show.
func TestViews(t *testing.T) {
	tr := newTracker(t, 2, 3)
	ws := tr.Workers()
	for len(ws) < 2 { // whoever looks does not wait for what was told before
		time.Sleep(time.Millisecond)
		ws = tr.Workers()
	}
	if len(ws) != 2 || ws[0].ID != "a" || ws[1].Slots != 3 {
		t.Errorf("workers are %+v", ws)
	}
	if js := tr.Jobs("nobody"); len(js) != 0 {
		t.Errorf("an unknown job is %+v", js)
	}
}

// BenchmarkTasks is tasks that do nothing, in this process: what the tracker itself costs, with every result kept.
func BenchmarkTasks(b *testing.B) {
	tr := newTracker(b, 4, 8)
	store := mem.New()
	const tasks = 20_000
	cpu := cputime.Taken()
	b.ResetTimer()
	for i := range b.N {
		id := mr.JobID("job" + string(rune('a'+i%26)))
		if _, err := tr.Run(b.Context(), mapJob(id, tasks), JobOptions{Store: store, Publisher: &commit.Publisher{FS: store, Root: dfs.Path(id)}, Epoch: int64(1 + i)}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(tasks*float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
	b.ReportMetric(float64((cputime.Taken()-cpu).Microseconds())/float64(tasks*b.N), "cpu-µs/task")
}

// overtaken is a publisher whose coordinator has been overtaken.
type overtaken struct{ *commit.Publisher }

func (overtaken) Keep(context.Context, mr.Manifest) error {
	return errs.E("keep", errs.Lost, "", errors.New("another has taken over"))
}

// TestOvertaken: a tracker whose job another one has ends it, and neither tells the worker to forget the result nor removes its files.
func TestOvertaken(t *testing.T) {
	tr := newTracker(t, 0, 0)
	store := mem.New()
	told := make(chan bool, 2)
	tr.Join(linkFunc(func(c worker.Command) {
		l, ok := c.(worker.Launch)
		if !ok {
			return
		}
		if err := dfs.WriteFile(t.Context(), store, l.Spec.Out.Join("x-0"), []byte("x")); err != nil {
			t.Error(err)
		}
		tr.Report(worker.Report{Event: sched.Succeeded{Worker: "a", Job: l.Spec.Job, Manifest: mr.Manifest{Attempt: l.Spec.Attempt, Epoch: l.Spec.Epoch}}}, func() { told <- true })
	}), sched.WorkerUp{Worker: "a", Slots: 2})
	p := overtaken{&commit.Publisher{FS: store}}
	_, err := tr.Run(t.Context(), mapJob("a", 2), JobOptions{Store: store, Publisher: p, Epoch: 1})
	if !errs.Is(err, errs.Lost) {
		t.Errorf("the job ends with %v, want lost", err)
	}
	files := 0
	for _, err := range store.List(t.Context(), "a") {
		if err != nil {
			t.Fatal(err)
		}
		files++
	}
	if files != 2 {
		t.Errorf("%d files are left of 2", files)
	}
	if len(told) > 0 {
		t.Error("the worker was told that its result is durable")
	}
}

type linkFunc func(worker.Command)

func (f linkFunc) Send(c worker.Command) { f(c) }
