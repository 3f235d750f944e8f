package tracker

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/commit"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/sched"
	"github.com/vista-mr/vista-mr/mr/worker"
)

// slow is a publisher whose first Keep waits until it is told to go on; calls are written down.
type slow struct {
	*commit.Publisher
	keeps, goOn chan struct{}
	fails       error // of that
	mu          sync.Mutex
	calls       []string
}

func (s *slow) say(what string, a mr.AttemptID) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, what+" "+a.String())
	return len(s.calls)
}

func (s *slow) Keep(ctx context.Context, m mr.Manifest) error {
	if s.say("keep", m.Attempt) == 1 {
		close(s.keeps)
		<-s.goOn
		if s.fails != nil {
			return s.fails
		}
	}
	defer s.say("kept", m.Attempt)
	return s.Publisher.Keep(ctx, m)
}

func (s *slow) Forget(ctx context.Context, a mr.AttemptID, epoch int64) error {
	s.say("forget", a)
	return s.Publisher.Forget(ctx, a, epoch)
}

// launches are what a worker is told to launch.
type launches chan mr.TaskSpec

func (l launches) Send(c worker.Command) {
	if x, ok := c.(worker.Launch); ok {
		l <- x.Spec
	}
}

func result(spec mr.TaskSpec) worker.Report {
	return worker.Report{Event: sched.Succeeded{Worker: "a", Job: spec.Job, Manifest: mr.Manifest{Attempt: spec.Attempt, Epoch: spec.Epoch}}}
}

// TestOneResultOfATaskIsKept although two attempts of it succeed and both tell so twice: what is kept of the second would
// outlive its files, because those are removed when the first one counts. An observer hears of one success.
func TestOneResultOfATaskIsKept(t *testing.T) {
	tr := newTracker(t, 0, 0)
	got := make(launches, 4)
	tr.Join(got, sched.WorkerUp{Worker: "a", Slots: 2})
	store := mem.New()
	pub := &slow{Publisher: &commit.Publisher{FS: store}, keeps: make(chan struct{}), goOn: make(chan struct{})}
	if _, err := pub.ClaimEpoch(t.Context()); err != nil {
		t.Fatal(err)
	}
	succeeded := 0
	ended := make(chan error, 1)
	go func() {
		_, err := tr.Run(t.Context(), mapJob("j", 1), JobOptions{Store: store, Publisher: pub, Epoch: 1, Observe: func(u Update) {
			if u.Kind == AttemptSucceeded {
				succeeded++
			}
		}})
		ended <- err
	}()
	first := <-got
	tr.Report(worker.Report{Event: sched.Failed{Worker: "a", Job: "j", Attempt: first.Attempt, Epoch: 1, Err: &errs.Error{Op: "attempt", Kind: errs.Lost, Err: errors.New("gone")}}}, nil)
	second := <-got
	for _, s := range []mr.TaskSpec{first, second} {
		if err := dfs.WriteFile(t.Context(), store, s.Out.Join("x"), []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	told := make(chan struct{})
	tr.Report(result(first), nil)
	<-pub.keeps // the first is being kept, while the second ends and all is told again
	tr.Report(result(second), nil)
	tr.Report(result(first), nil)
	tr.Report(result(second), func() { close(told) })
	close(pub.goOn)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	tr.ask(func() {})
	tr.Close() // waits for what is removed
	if want := []string{"keep p/00000/1", "kept p/00000/1"}; !slices.Equal(pub.calls[:2], want) || slices.Contains(pub.calls, "keep p/00000/2") || succeeded != 1 {
		t.Errorf("%q, and %d successes observed", pub.calls, succeeded)
	}
}

// second is a publisher whose second Keep waits.
type second struct {
	*slow
	begun, goOn chan struct{}
}

func (s *second) Keep(ctx context.Context, m mr.Manifest) error {
	if m.Attempt.Number == 2 {
		close(s.begun)
		<-s.goOn
	}
	return s.slow.Keep(ctx, m)
}

// TestDiscardWaitsForEachKeeping: a result cannot be kept and is to be discarded, while another one of the same task that has waited
// longer is being kept.
func TestDiscardWaitsForEachKeeping(t *testing.T) {
	tr := newTracker(t, 0, 0)
	got := make(launches, 4)
	tr.Join(got, sched.WorkerUp{Worker: "a", Slots: 2})
	store := mem.New()
	pub := &second{slow: &slow{Publisher: &commit.Publisher{FS: store}, keeps: make(chan struct{}), goOn: make(chan struct{}), fails: errs.E("keep", errs.Transient, "", errors.New("no"))},
		begun: make(chan struct{}), goOn: make(chan struct{})}
	if _, err := pub.ClaimEpoch(t.Context()); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := tr.Run(t.Context(), mapJob("j", 1), JobOptions{Store: store, Publisher: pub, Epoch: 1})
		ended <- err
	}()
	one := <-got
	tr.Report(worker.Report{Event: sched.Failed{Worker: "a", Job: "j", Attempt: one.Attempt, Epoch: 1, Err: &errs.Error{Op: "attempt", Kind: errs.Lost, Err: errors.New("gone")}}}, nil)
	two := <-got
	tr.Report(result(one), nil)
	<-pub.keeps
	tr.Report(result(two), nil)
	tr.ask(func() { // as it is when it cannot be kept
		j := tr.jobs["j"]
		tr.discardOnce(j, sched.Discard{Job: "j", Attempt: one.Attempt, Epoch: 1})
	})
	close(pub.slow.goOn)
	<-pub.begun
	waits := 0
	tr.ask(func() { waits = len(tr.jobs["j"].keeping[one.Attempt.Task].waiting) })
	if waits == 0 {
		t.Error("the first result's files are being removed while the second is being kept")
	}
	close(pub.goOn)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestOldTrackerRemovesNothing that the next one may count on: it took over between what was kept and what is to be discarded.
func TestOldTrackerRemovesNothing(t *testing.T) {
	tr := newTracker(t, 0, 0)
	got := make(launches, 4)
	tr.Join(got, sched.WorkerUp{Worker: "a", Slots: 1})
	store := mem.New()
	pub := &commit.Publisher{FS: store}
	if _, err := pub.ClaimEpoch(t.Context()); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := tr.Run(t.Context(), mapJob("j", 1), JobOptions{Store: store, Publisher: pub, Epoch: 1})
		ended <- err
	}()
	first := <-got
	if err := dfs.WriteFile(t.Context(), store, first.Out.Join("x"), []byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := pub.ClaimEpoch(t.Context()); err != nil {
		t.Fatal(err)
	}
	tr.Report(worker.Report{Event: sched.Failed{Worker: "a", Job: "j", Attempt: first.Attempt, Epoch: 1, Err: &errs.Error{Op: "attempt", Kind: errs.Transient, Err: errors.New("no")}}}, nil)
	tr.Report(result(<-got), nil)
	if err := <-ended; !errs.Is(err, errs.Lost) {
		t.Errorf("the old tracker: %v", err)
	}
	tr.Close()
	if _, err := store.Stat(t.Context(), first.Out.Join("x")); err != nil {
		t.Errorf("the file that the next tracker counts on: %v", err)
	}
}

// waits is a publisher that keeps or publishes when it is told to, and then answers with err.
type waits struct {
	at          string // keep, publish
	began, goOn chan struct{}
	err         error
}

func (w *waits) wait(at string) error {
	if at != w.at {
		return nil
	}
	close(w.began)
	<-w.goOn
	return w.err
}

func (w *waits) Publish(context.Context, mr.PhaseManifest) error   { return w.wait("publish") }
func (w *waits) Keep(context.Context, mr.Manifest) error           { return w.wait("keep") }
func (w *waits) Forget(context.Context, mr.AttemptID, int64) error { return nil }
func (w *waits) Current(context.Context, int64) error              { return nil }
func (w *waits) Settle()                                           {}
func newWaits(at string, err error) *waits {
	return &waits{at, make(chan struct{}), make(chan struct{}), err}
}

// TestLateAnswersAreOfTheirOwnJob: what a store says to a job that was killed does not end the next one of its id.
func TestLateAnswersAreOfTheirOwnJob(t *testing.T) {
	for at, err := range map[string]error{"publish": errs.E("publish", errs.Invalid, "", errors.New("late")), "keep": errs.E("keep", errs.Lost, "", errors.New("late"))} {
		t.Run(at, func(t *testing.T) {
			tr := newTracker(t, 1, 1)
			ctx, kill := context.WithCancel(t.Context())
			run := func(ctx context.Context, epoch int64, p *waits) chan error {
				ended := make(chan error, 1)
				go func() {
					_, err := tr.Run(ctx, mapJob("a", 1), JobOptions{Store: mem.New(), Publisher: p, Epoch: epoch})
					ended <- err
				}()
				<-p.began
				return ended
			}
			old, now := newWaits(at, err), newWaits("publish", nil)
			first := run(ctx, 1, old)
			kill()
			for len(tr.Jobs("a")) > 0 {
				time.Sleep(time.Millisecond)
			}
			second := run(t.Context(), 2, now)
			close(old.goOn)
			if err := <-first; !errs.Is(err, errs.Canceled) {
				t.Errorf("the killed job: %v", err)
			}
			tr.ask(func() {}) // the late answer was dealt with
			close(now.goOn)
			if err := <-second; err != nil {
				t.Errorf("the next one: %v", err)
			}
		})
	}
}

// TestWhatIsBeingKeptIsNotRunAgain, however long the store takes for it: the worker has told its result and names the attempt no more, or is
// gone itself.
func TestWhatIsBeingKeptIsNotRunAgain(t *testing.T) {
	for _, gone := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			tr := New(Options{Registry: &mr.Registry{}, Rules: sched.Options{Expire: 5000}, Beat: time.Second})
			defer tr.Close()
			a, b := make(launches, 9), make(launches, 9)
			tr.Join(a, sched.WorkerUp{Worker: "a", Slots: 1})
			pub := newWaits("keep", nil)
			ended := make(chan error, 1)
			go func() {
				_, err := tr.Run(t.Context(), mapJob("j", 1), JobOptions{Store: mem.New(), Publisher: pub, Epoch: 1})
				ended <- err
			}()
			tr.Report(result(<-a), nil)
			<-pub.began
			tr.Join(b, sched.WorkerUp{Worker: "b", Slots: 1})
			if gone {
				tr.Leave(a, "a")
			}
			for range 14 {
				time.Sleep(time.Second)
				for _, id := range []sched.WorkerID{"a", "b"} {
					tr.Report(worker.Report{Event: sched.Beat{Worker: id}}, nil)
				}
			}
			close(pub.goOn)
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if n := len(a) + len(b); n > 0 {
				t.Errorf("worker gone: %v: the task was launched %d times more", gone, n)
			}
		})
	}
}

// TestWhatAnEarlierTrackerHasDiscardedDoesNotCount: an attempt hung and was given up, its files were removed, and its worker, which has not
// heard of that, names it to the next tracker and ends it well.
func TestWhatAnEarlierTrackerHasDiscardedDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, spec := mem.New(), mapJob("j", 1)
		run := func(slots int, running []sched.Progress) (*Tracker, launches, chan error) {
			pub := &commit.Publisher{FS: store}
			epoch, done, kept, err := pub.TakeOver(t.Context(), spec)
			if err != nil {
				t.Fatal(err)
			}
			tr, got, ended := New(Options{Registry: &mr.Registry{}, Rules: sched.Options{Expire: 5000, Hang: 3000}, Beat: time.Second}), make(launches, 9), make(chan error, 1)
			tr.Expect("j")
			tr.Join(got, sched.WorkerUp{Worker: "a", Slots: slots, Running: running})
			go func() {
				_, err := tr.Run(t.Context(), spec, JobOptions{Store: store, Publisher: pub, Epoch: epoch, Done: done, Committed: kept})
				ended <- err
			}()
			return tr, got, ended
		}
		write := func(s mr.TaskSpec) worker.Report {
			r := result(s)
			ev := r.Event.(sched.Succeeded)
			ev.Manifest.Files = []mr.PartFile{{Channel: "x", Path: s.Out.Join("x")}}
			if err := dfs.WriteFile(t.Context(), store, s.Out.Join("x"), []byte("x")); err != nil {
				t.Fatal(err)
			}
			r.Event = ev
			return r
		}
		old, got, ended := run(1, nil)
		first := <-got
		late := write(first)
		named := []sched.Progress{{Job: "j", Attempt: first.Attempt, Epoch: first.Epoch}}
		for range 5 {
			time.Sleep(time.Second)
			old.Report(worker.Report{Event: sched.Beat{Worker: "a", Progress: named}}, nil)
		}
		<-got // given up, and launched again
		old.Close()
		<-ended
		if _, err := store.Stat(t.Context(), first.Out.Join("x")); !errs.Is(err, errs.NotExist) {
			t.Fatalf("the file of what was discarded: %v", err)
		}
		next, got, ended := run(1, named)
		defer next.Close()
		next.Report(late, nil)
		select {
		case again := <-got:
			next.Report(write(again), nil)
			if err := <-ended; err != nil {
				t.Error(err)
			}
		case err := <-ended:
			t.Errorf("it was not run again: %v", err)
		}
		m, err := (&commit.Publisher{FS: store}).Load(t.Context(), "p")
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range m.Files("x") {
			if _, err := store.Stat(t.Context(), f.Path); err != nil {
				t.Errorf("a file that counts: %v", err)
			}
		}
	})
}
