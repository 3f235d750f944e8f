package cluster

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs/fault"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// TestAKillOutlivesItsTracker: once somebody has been told that a job ends, no tracker goes on with it, also if the one that was asked dies before
// the driver has ended.
func TestAKillOutlivesItsTracker(t *testing.T) {
	store := mem.New()
	held := make(chan struct{})
	d := &drive{ends: map[string]func(context.Context) (ending, error){"a": func(context.Context) (ending, error) { <-held; return ending{}, errors.New("its tracker has died") }}}
	first := newJobs(t, store, d, 1)
	defer close(held)
	id := submitted(t, first, "a")
	wait(t, first, id, Running)
	if err := first.began(id, &mr.JobSpec{ID: "a-run"}); err != nil {
		t.Fatal(err)
	}
	if before, err := first.end(id, onRequest); before != Running || err != nil {
		t.Fatalf("%s, %v", before, err)
	}
	first.stop()

	if list, err := ReadJobs(t.Context(), store); err != nil || len(list.Jobs) != 1 || list.Jobs[0].State.Over() || !strings.Contains(list.Jobs[0].Waits, "was killed") {
		t.Errorf("the state says %+v, %v", list, err)
	}
	again := &drive{}
	next := newJobs(t, store, again, 1)
	var ended []string
	next.dismiss = func(run mr.JobID) { ended = append(ended, string(run)) }
	if _, err := next.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	next.mu.Lock()
	next.fill()
	next.mu.Unlock()
	if j := wait(t, next, id, Killed); j.ExitCode != 7 || !strings.Contains(string(j.Failure), "E-KILLED") {
		t.Errorf("%+v", j)
	}
	next.work.Wait()
	if len(again.began) > 0 || !slices.Equal(ended, []string{"a-run"}) {
		t.Errorf("the next tracker began %v and ended %v", again.began, ended)
	}
	after := newJobs(t, store, again, 1)
	if _, err := after.load(t.Context()); err != nil || after.byID[id].State != Killed {
		t.Errorf("the one after it finds %+v, %v", after.byID[id].Job, err)
	}
}

// TestAKillThatCannotBeNoted is not said to be one: nobody knows what the next tracker would do.
func TestAKillThatCannotBeNoted(t *testing.T) {
	for why, spoil := range map[string]func(m *jobs, later *atomic.Bool){
		"the store fails": func(m *jobs, _ *atomic.Bool) {
			m.store = fault.New(m.store, fault.Options{Rules: []fault.Rule{{Do: fault.Fail, Op: fault.Claim, Path: "*/killed"}}})
		},
		"another tracker has the state": func(m *jobs, later *atomic.Bool) {
			m.current = func(context.Context) error {
				if later.Load() {
					return errs.E("track", errs.Lost, "", nil)
				}
				return nil
			}
		},
	} {
		t.Run(why, func(t *testing.T) {
			m := newJobs(t, mem.New(), &drive{ends: map[string]func(context.Context) (ending, error){
				"a": func(ctx context.Context) (ending, error) { <-ctx.Done(); return ending{}, ctx.Err() }}}, 1)
			var later atomic.Bool
			spoil(m, &later)
			id := submitted(t, m, "a")
			wait(t, m, id, Running)
			later.Store(true)
			if _, err := m.end(id, onRequest); !errs.Is(err, errs.Unreachable) || !strings.Contains(err.Error(), id) {
				t.Errorf("%v", err)
			}
			wait(t, m, id, Killed) // here it has ended all the same
		})
	}
}
