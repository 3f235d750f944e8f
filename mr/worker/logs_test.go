package worker

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/attemptlog"
	"github.com/vista-mr/vista-mr/mr/commit"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/sched"
)

// TestLogs: who failed, was given up, spoke, or was not the first leaves a log, which is there when the end is reported; who ended
// well without a word, and who was not wanted any more, leaves none. While an attempt runs its log can be asked for.
func TestLogs(t *testing.T) {
	b := newBench(t)
	env, err := b.keepsLogs(mr.Kind{Name: "waits", Map: func(json.RawMessage) (mr.Mapper, error) {
		return mr.MapperFunc(func(ctx context.Context, t mr.Task) error {
			switch t.Spec().Attempt.Task.Index {
			case 0:
				return nil
			case 1:
				return errors.New("no luck at all")
			case 2:
				t.Log().Warn("look at this", zap.Int("n", 3))
				return nil
			case 3:
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		}), nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	var shown []LogText
	report := b.o.Report
	b.o.Report = func(r Report) {
		switch ev := r.Event.(type) {
		case nil:
			b.mu.Lock()
			shown = append(shown, *r.Log)
			b.mu.Unlock()
			return
		case sched.Failed:
			// The store has the log before anybody hears of the failure.
			if found, err := attemptlog.Find(context.Background(), env.Store, "a", ev.Attempt.Task, 1); ev.Attempt.Task.Index == 1 && (err != nil || len(found) != 1) {
				t.Errorf("%v, %v", found, err)
			}
		}
		report(r)
	}
	launch := func(index, number int) mr.AttemptID {
		id := mr.AttemptID{Task: mr.TaskID{Phase: "p", Index: index}, Number: number}
		b.Do(Launch{Spec: mr.TaskSpec{Job: "a", Attempt: id, Epoch: 2, Type: mr.MapPhase, Kind: "waits"}})
		return id
	}
	for i := range 3 {
		launch(i, 1)
	}
	launch(3, 2)
	for len(b.said()) < 4 {
		time.Sleep(time.Millisecond)
	}
	loser, hung, shed := launch(4, 1), launch(5, 1), launch(6, 1)
	b.Do(ShowLog{Number: 7, Job: "a", Attempt: hung, Epoch: 2})
	b.Do(ShowLog{Number: 8, Job: "a", Attempt: hung, Epoch: 1})
	if !b.Shed(errors.New("the worker holds too much")) {
		t.Error("nothing was shed")
	}
	b.Do(Cancel{Job: "a", Attempt: loser, Epoch: 2})
	b.Do(Cancel{Job: "a", Attempt: hung, Epoch: 2, Reason: "it has not moved"})
	log := func(id mr.AttemptID) string {
		found, err := attemptlog.Find(t.Context(), env.Store, "a", id.Task, id.Number)
		if err != nil {
			t.Fatal(err)
		}
		if len(found) != 1 {
			return ""
		}
		return string(found[0].Log)
	}
	for log(hung) == "" || log(shed) == "" {
		time.Sleep(time.Millisecond)
	}
	id := func(i, n int) mr.AttemptID {
		return mr.AttemptID{Task: mr.TaskID{Phase: "p", Index: i}, Number: n}
	}
	for _, c := range []struct {
		id   mr.AttemptID
		says []string
	}{{id(0, 1), nil}, {id(1, 1), []string{"attempt begins", `"kind": "waits"`, "attempt failed", "no luck at all", `"id": "E-UNKNOWN"`}}, {id(2, 1), []string{"look at this", "attempt ends well"}},
		{id(3, 2), []string{"attempt ends well"}}, {loser, nil}, {hung, []string{"given up", "it has not moved"}}, {shed, []string{"the worker holds too much"}}} {
		got := log(c.id)
		if (got == "") != (c.says == nil) {
			t.Errorf("%s: %q", c.id, got)
		}
		for _, s := range c.says {
			if !strings.Contains(got, s) {
				t.Errorf("%s does not say %q:\n%s", c.id, s, got)
			}
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(shown) != 2 || shown[0].Number != 7 || !shown[0].Runs || shown[1].Runs {
		t.Errorf("shown %+v", shown)
	}
	for _, ev := range b.reports {
		if f, ok := ev.(sched.Failed); ok && f.Attempt == shed && !errs.Is(f.Err, errs.NoMemory) {
			t.Errorf("%v", f.Err)
		}
	}
}

// ending is a store from which a job's folder goes, its coordinator's mark first, when somebody begins to write there.
type ending struct {
	dfs.FS
	begun bool
}

func (e *ending) Create(ctx context.Context, p dfs.Path) (dfs.Writer, error) {
	e.begun = true
	if err := e.Remove(ctx, commit.EpochMark("a", 2)); err != nil {
		return nil, err
	}
	return e.FS.Create(ctx, p)
}

// TestNoLogAfterTheJob: a worker that has slept through the end of its job, and through the removal of what it was made from, leaves no
// log there, whether the folder goes before it writes one or meanwhile.
func TestNoLogAfterTheJob(t *testing.T) {
	for _, before := range []bool{true, false} {
		b := newBench(t)
		env, err := b.keepsLogs(mr.Kind{Name: "fails", Map: func(json.RawMessage) (mr.Mapper, error) {
			return mr.MapperFunc(func(context.Context, mr.Task) error { return errors.New("its input is gone") }), nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		store := &ending{FS: env.Store}
		env.Store = store
		if before {
			if err := env.Store.Remove(t.Context(), commit.EpochMark("a", 2)); err != nil {
				t.Fatal(err)
			}
		}
		b.Do(Launch{Spec: mr.TaskSpec{Job: "a", Attempt: mr.AttemptID{Task: mr.TaskID{Phase: "p"}, Number: 1}, Epoch: 2, Type: mr.MapPhase, Kind: "fails"}})
		for len(b.said()) == 0 {
			time.Sleep(time.Millisecond)
		}
		if store.begun == before {
			t.Errorf("gone before: %v; begun to write: %v", before, store.begun)
		}
		for i, err := range store.List(t.Context(), "") {
			t.Errorf("gone before: %v; left: %s, %v", before, i.Path, err)
		}
	}
}
