package commit

import (
	"context"
	"errors"
	"slices"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
)

func TestKeptTasks(t *testing.T) {
	ctx := t.Context()
	core, logged := observer.New(zap.WarnLevel)
	fs := mem.New()
	p := &Publisher{FS: fs, Root: "job", Log: zap.New(core)}
	job := &mr.JobSpec{ID: "j", Phases: []mr.PhaseSpec{
		{ID: "a", Type: mr.MapPhase, Tasks: 4},
		{ID: "b", Type: mr.MapPhase, Tasks: 1, After: []mr.PhaseID{"a"}},
		{ID: "r", Type: mr.RoundsPhase, Tasks: 1},
	}}
	kept := func(phase mr.PhaseID, index, number int, epoch int64) mr.Manifest {
		return mr.Manifest{Attempt: mr.AttemptID{Task: mr.TaskID{Phase: phase, Index: index}, Number: number}, Epoch: epoch}
	}
	for _, m := range []mr.Manifest{kept("a", 0, 1, 1), kept("a", 1, 2, 1), kept("a", 1, 1, 2), kept("a", 2, 1, 1),
		kept("b", 0, 1, 1), kept("r", 0, 1, 1)} {
		for range 2 { // after a lost reply
			if err := p.Keep(ctx, m); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 2 {
		if err := p.Forget(ctx, kept("a", 0, 1, 1).Attempt, 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Keep(ctx, kept("a", 3, 1, 1)); err != nil {
		t.Fatal(err)
	}
	var last dfs.Path
	for info, err := range fs.List(ctx, "job/phases/a/tasks") {
		if err != nil {
			t.Fatal(err)
		}
		last = info.Path
	}
	damage(ctx, t, fs, last)
	if err := dfs.WriteFile(ctx, fs, "job/phases/a/tasks/README", nil); err != nil {
		t.Fatal(err)
	}
	load := func(done ...mr.PhaseManifest) []mr.Manifest {
		t.Helper()
		got, err := p.LoadTasks(ctx, job, done)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	same := func(a, b mr.Manifest) bool { return a.Attempt == b.Attempt && a.Epoch == b.Epoch }
	// The first was taken back, of the second the newer counts, the last is damaged; b waits for a, and rounds begin anew.
	if got := load(); !slices.EqualFunc(got, []mr.Manifest{kept("a", 1, 1, 2), kept("a", 2, 1, 1)}, same) || logged.Len() != 1 {
		t.Errorf("got %+v and %d warnings", got, logged.Len())
	}
	if got := load(mr.PhaseManifest{Phase: "a"}); !slices.EqualFunc(got, []mr.Manifest{kept("b", 0, 1, 1)}, same) {
		t.Errorf("with a done: %+v", got)
	}
	// What was published once may miss files.
	if err := p.Publish(ctx, mr.PhaseManifest{Job: "j", Phase: "a", Epoch: 2}); err != nil {
		t.Fatal(err)
	}
	if got := load(); len(got) != 0 {
		t.Errorf("of a phase that was published: %+v", got)
	}
	p.Settle()
	for info, err := range fs.List(ctx, "job/phases/a/tasks") {
		if err != nil || info.Path.Base() != "README" {
			t.Errorf("%s is left of it, %v", info.Path, err)
		}
	}
}

func damage(ctx context.Context, t *testing.T, fs dfs.FS, p dfs.Path) {
	t.Helper()
	data, err := dfs.ReadFile(ctx, fs, p, 1<<20)
	if err == nil {
		data[len(data)/2] ^= 1
		err = errors.Join(fs.Remove(ctx, p), dfs.WriteFile(ctx, fs, p, data))
	}
	if err != nil {
		t.Fatal(err)
	}
}
