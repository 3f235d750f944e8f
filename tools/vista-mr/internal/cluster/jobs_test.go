package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vista-mr/vista-mr/mr/commit"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/fault"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// TestAKillThatComesTooLate does not take back that the job has succeeded; one of a job that waits is never too late.
func TestAKillThatComesTooLate(t *testing.T) {
	m := newJobs(t, mem.New(), &drive{ends: map[string]func(context.Context) (ending, error){
		"a": func(ctx context.Context) (ending, error) { <-ctx.Done(); return ending{verdict: "it helps"}, nil },
	}}, 1)
	a, b := submitted(t, m, "a"), submitted(t, m, "b")
	wait(t, m, a, Running)
	for _, id := range []string{b, a} {
		if _, err := m.end(id, "on request"); err != nil {
			t.Fatal(err)
		}
	}
	if j := wait(t, m, a, Succeeded); j.Verdict != "it helps" || j.ExitCode != 0 || j.Ending {
		t.Errorf("%+v", j)
	}
	if j := wait(t, m, b, Killed); j.ExitCode != 7 {
		t.Errorf("%+v", j)
	}
}

// hooked is a store that calls before it claims, creates or removes.
type hooked struct {
	dfs.FS
	before func(op string, p dfs.Path)
}

func (h *hooked) Claim(ctx context.Context, p dfs.Path) error {
	h.before("claim", p)
	return h.FS.Claim(ctx, p)
}

func (h *hooked) Create(ctx context.Context, p dfs.Path) (dfs.Writer, error) {
	h.before("create", p)
	return h.FS.Create(ctx, p)
}

func (h *hooked) Remove(ctx context.Context, p dfs.Path) error {
	h.before("remove", p)
	return h.FS.Remove(ctx, p)
}

// TestAJobBetweenTwoTrackers: one that a tracker takes in when another has just taken over is run by that one or by nobody, and its
// client is told which.
func TestAJobBetweenTwoTrackers(t *testing.T) {
	for _, when := range []string{"it finds it", "it finds it before the removal", "it is too early", "it reads too late"} {
		t.Run(when, func(t *testing.T) {
			store := mem.New()
			pub := &commit.Publisher{FS: store}
			next := newJobs(t, store, &drive{}, 0)
			load := func() {
				if _, err := next.load(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			takeOver := func() (err error) {
				next.epoch, err = pub.ClaimEpoch(t.Context())
				return err
			}
			first := newJobs(t, store, &drive{}, 0)
			var err error
			if first.epoch, err = pub.ClaimEpoch(t.Context()); err != nil {
				t.Fatal(err)
			}
			first.store = &hooked{store, func(op string, _ dfs.Path) {
				if op == "remove" && when == "it finds it before the removal" {
					load()
				}
			}}
			next.store = &hooked{store, func(op string, p dfs.Path) {
				if op == "claim" && when == "it reads too late" { // the first one takes it back between what is listed and what is read
					if err := store.Remove(t.Context(), dfs.Path(path.Dir(string(p))).Join("job.json")); err != nil {
						t.Error(err)
					}
				}
			}}
			first.current = func(ctx context.Context) error { // the other one takes over before this look
				if err := takeOver(); err != nil {
					t.Fatal(err)
				}
				if when == "it finds it" || when == "it reads too late" {
					load()
				}
				return pub.Current(ctx, first.epoch)
			}
			taken := strings.HasPrefix(when, "it finds it")
			j, err := first.submit(t.Context(), Request{Name: "a", Text: "x"})
			switch {
			case when == "it reads too late": // what the client hears here is of no account
			case taken && err != nil, !taken && !errs.Is(err, errs.Unreachable):
				t.Errorf("the client hears %v", err)
			}
			if got := len(next.order); got != 0 != taken || taken && next.byID[j.ID] == nil {
				t.Errorf("the next tracker has %d jobs", got)
			}
			after := newJobs(t, store, &drive{}, 0)
			if _, err := after.load(t.Context()); err != nil || (len(after.order) == 1) != taken {
				t.Errorf("the one after it has %d jobs, %v", len(after.order), err)
			}
			if len(first.order) != 0 {
				t.Error("the first one runs it, too")
			}
		})
	}
}

// TestRefusedJobsAreNeverInTheState: another tracker must not find a job whose client was told to wait.
func TestRefusedJobsAreNeverInTheState(t *testing.T) {
	var mu sync.Mutex
	written := 0
	m := newJobs(t, &hooked{mem.New(), func(op string, p dfs.Path) {
		if op == "create" {
			mu.Lock()
			written++
			mu.Unlock()
			time.Sleep(10 * time.Millisecond) // the others come in meanwhile, if they can
		}
	}}, &drive{}, 0)
	m.limits.Queued = 2
	var refused sync.WaitGroup
	errors := make(chan error, 8)
	for range cap(errors) {
		refused.Go(func() {
			_, err := m.submit(t.Context(), Request{Name: "a", Text: "x", User: "ann"})
			errors <- err
		})
	}
	refused.Wait()
	close(errors)
	taken := 0
	for err := range errors {
		if err == nil {
			taken++
		} else if !errs.Is(err, errs.Exist) {
			t.Error(err)
		}
	}
	if taken != 2 || written != 2 {
		t.Errorf("%d jobs were taken and %d written down, want 2", taken, written)
	}
}

// TestAThousandJobsDelayNoTracker: on a store that takes 20 ms for each file, in virtual time.
func TestAThousandJobsDelayNoTracker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := mem.New()
		const n = 1000
		for i := range n {
			id := fmt.Sprintf("job-%04d", i)
			s := submission{Request: Request{Name: "job", Text: "x"}, ID: id, Submitted: time.Now().Add(time.Duration(i) * time.Second)}
			for name, v := range map[string]any{"job.json": &s, "ended-0000000001.json": &ended{State: Succeeded}} {
				b, err := json.Marshal(v)
				if err != nil {
					t.Fatal(err)
				}
				if err := dfs.WriteFile(t.Context(), store, dfs.Path("jobs").Join(id, name), b); err != nil {
					t.Fatal(err)
				}
			}
		}
		m := newJobs(t, fault.New(store, fault.Options{Rules: []fault.Rule{{Do: fault.Delay, Op: fault.Open, By: 20 * time.Millisecond}}}), &drive{}, 1)
		start := time.Now()
		if _, err := m.load(t.Context()); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d < 20*time.Millisecond || d > 5*time.Second {
			t.Errorf("it takes %v", d)
		}
		if len(m.order) != n || m.order[0].ID != "job-0000" || m.order[n-1].ID != fmt.Sprintf("job-%04d", n-1) || m.order[7].State != Succeeded {
			t.Errorf("%d jobs, the first %+v", len(m.order), m.order[0].Job)
		}
	})
}

// TestAnEndThatCannotBeWritten is tried again while the tracker runs, so that the next one does not bring the job back to life.
func TestAnEndThatCannotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := mem.New()
		away := []fault.Rule{{Do: fault.Fail, Op: fault.Create, Path: "*/ended-*", Nth: 1, Times: 9}}
		m := newJobs(t, fault.New(store, fault.Options{Rules: away}), &drive{ends: map[string]func(context.Context) (ending, error){
			"a": func(ctx context.Context) (ending, error) { return ending{verdict: "it helps"}, nil },
			"b": func(ctx context.Context) (ending, error) { <-ctx.Done(); return ending{}, ctx.Err() },
		}}, 2)
		ended := map[string]State{submitted(t, m, "a"): Succeeded, submitted(t, m, "b"): Killed}
		synctest.Wait()
		for id, want := range ended {
			if want == Killed {
				if _, err := m.end(id, "on request"); err != nil {
					t.Fatal(err)
				}
			}
			wait(t, m, id, want)
		}
		left := func() (n int) {
			list, err := ReadJobs(t.Context(), store)
			if err != nil {
				t.Fatal(err)
			}
			for _, j := range list.Jobs {
				if j.State != ended[j.ID] {
					n++
				}
			}
			return n
		}
		if n := left(); n != 2 {
			t.Errorf("%d jobs are not over while the store is away, want 2", n)
		}
		time.Sleep(10 * mostPause)
		if n := left(); n != 0 {
			t.Errorf("%d jobs are not over for the next tracker", n)
		}
	})
}

// TestAnEndIsNotTriedForEver: a tracker that is closed, or that another one has superseded, leaves it.
func TestAnEndIsNotTriedForEver(t *testing.T) {
	for _, why := range []string{"closed", "superseded"} {
		t.Run(why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := fault.New(mem.New(), fault.Options{Rules: []fault.Rule{{Do: fault.Fail, Op: fault.Create, Path: "*/ended-*"}}})
				m := newJobs(t, store, &drive{ends: map[string]func(context.Context) (ending, error){
					"a": func(context.Context) (ending, error) { return ending{}, nil },
				}}, 1)
				var lost atomic.Bool
				m.current = func(context.Context) error {
					if lost.Load() {
						return errs.E("epoch", errs.Lost, "", nil)
					}
					return nil
				}
				wait(t, m, submitted(t, m, "a"), Succeeded)
				if why == "closed" {
					m.close()
					return
				}
				lost.Store(true)
				m.work.Wait() // for ever, if it goes on
			})
		})
	}
}

// TestTheFirstStart of a job counts, whatever becomes of its tracker.
func TestTheFirstStart(t *testing.T) {
	store := mem.New()
	held := func(ctx context.Context) (ending, error) { <-ctx.Done(); return ending{}, ctx.Err() }
	first := newJobs(t, store, &drive{ends: map[string]func(context.Context) (ending, error){"a": held}}, 1)
	id := submitted(t, first, "a")
	began := wait(t, first, id, Running).Started
	for { // it is written beside
		if _, err := store.Stat(t.Context(), dfs.Path("jobs").Join(id, startedFile)); err == nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	first.close()
	if list, err := ReadJobs(t.Context(), store); err != nil || len(list.Jobs) != 1 || list.Jobs[0].State != Running || !list.Jobs[0].Started.Equal(began) || list.Jobs[0].Waits == "" {
		t.Errorf("while no tracker is there: %+v, %v", list, err)
	}
	next := newJobs(t, store, &drive{ends: map[string]func(context.Context) (ending, error){"a": well}}, 1)
	if _, err := next.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	next.mu.Lock()
	next.fill()
	next.mu.Unlock()
	if j := wait(t, next, id, Succeeded); !j.Started.Equal(began) || !j.Ended.After(began) {
		t.Errorf("it has begun at %v and ended at %v, and began at %v first", j.Started, j.Ended, began)
	}
	list, err := ReadJobs(t.Context(), store)
	if err != nil || len(list.Jobs) != 1 || !list.Jobs[0].Started.Equal(began) {
		t.Errorf("%+v, %v", list, err)
	}
}
