package worker

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/commit"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/local"
	"github.com/vista-mr/vista-mr/mr/sched"
)

// TestNothingOfLateAttempts: an attempt that ends after its job's folder was removed, well or not, wanted or not, leaves neither files nor
// folders on a local disk, where folders stay. While the job lives all stays.
func TestNothingOfLateAttempts(t *testing.T) {
	fails := errors.New("no luck at all")
	for name, c := range map[string]struct {
		result  error
		gone    bool // the job's folder, while the attempt runs
		closed  bool // the job, too, of which the attempt takes no notice
		another bool // job in the same store
		left    []string
	}{
		"ends well":             {gone: true},
		"fails":                 {result: fails, gone: true},
		"ends well, not wanted": {gone: true, closed: true},
		"fails, not wanted":     {result: fails, gone: true, closed: true},
		"beside another job":    {gone: true, another: true, left: []string{"b", "b/epochs", "b/epochs/0000000001"}},
		"while the job lives":   {left: []string{"a", "a/epochs", "a/epochs/0000000002", "a/p", "a/p/00000-1-e2", "a/p/00000-1-e2/x-00000.txt"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "work")
			store := local.New(dir, false)
			b := newBench(t)
			runs, on := make(chan struct{}), make(chan struct{})
			goOn := sync.OnceFunc(func() { close(on) })
			defer goOn()
			env, err := b.keepsLogs(mr.Kind{Name: "writes", Map: func(json.RawMessage) (mr.Mapper, error) {
				return mr.MapperFunc(func(ctx context.Context, task mr.Task) error {
					f, err := task.File(ctx, "x", ".txt")
					if err != nil {
						return err
					}
					if _, err := f.Write([]byte("late")); err != nil {
						return err
					}
					close(runs)
					<-on
					return c.result
				}), nil
			}})
			if err != nil {
				t.Fatal(err)
			}
			env.Store = store
			mark := commit.EpochMark("a", 2)
			if err := store.Claim(t.Context(), mark); err != nil {
				t.Fatal(err)
			}
			id := mr.AttemptID{Task: mr.TaskID{Phase: "p"}, Number: 1}
			b.Do(Launch{Spec: mr.TaskSpec{Job: "a", Attempt: id, Epoch: 2, Out: sched.OutFolder("a", id, 2), Type: mr.MapPhase, Kind: "writes"}})
			<-runs
			if c.gone {
				away(t, dir)
			}
			if c.another {
				if err := store.Claim(t.Context(), commit.EpochMark("b", 1)); err != nil {
					t.Fatal(err)
				}
			}
			j := b.jobs["a"]
			if c.closed {
				b.Do(CloseJob{Job: "a"})
			}
			goOn()
			for !c.closed && len(b.said()) == 0 {
				time.Sleep(time.Millisecond)
			}
			j.work.Wait()
			if left := names(t, dir); !slices.Equal(left, c.left) {
				t.Errorf("left: %q, want %q", left, c.left)
			}
		})
	}
}

// away takes a folder away at once, also while somebody makes folders in it.
func away(t *testing.T, dir string) {
	t.Helper()
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
}

// names are all files and folders below a folder, which may be absent.
func names(t *testing.T, dir string) (out []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
		if rel, _ := filepath.Rel(dir, name); rel != "." || err == nil && len(out) == 0 {
			out = append(out, rel)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(out, func(n string) bool { return n == "." && len(out) > 1 })
}

// slept is a store from which the whole of it goes while somebody is about to write a log there: a worker that was stopped at this point.
type slept struct {
	dfs.FS
	dir string
}

func (s slept) Create(ctx context.Context, p dfs.Path) (dfs.Writer, error) {
	if err := os.RemoveAll(s.dir); err != nil {
		return nil, err
	}
	return s.FS.Create(ctx, p)
}

// RemoveEmpty is that of the disk.
func (s slept) RemoveEmpty(ctx context.Context, dir dfs.Path) error {
	return s.FS.(*local.FS).RemoveEmpty(ctx, dir)
}

// TestNoFoldersOfALateLog: a worker that is stopped while it writes a log, and wakes when the job has ended, leaves no folders where it
// has put it.
func TestNoFoldersOfALateLog(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "work")
	b := newBench(t)
	env, err := b.keepsLogs(mr.Kind{Name: "fails", Map: func(json.RawMessage) (mr.Mapper, error) {
		return mr.MapperFunc(func(context.Context, mr.Task) error { return errors.New("no luck at all") }), nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	env.Store = slept{local.New(dir, false), dir}
	if err := env.Store.Claim(t.Context(), commit.EpochMark("a", 2)); err != nil {
		t.Fatal(err)
	}
	b.Do(Launch{Spec: mr.TaskSpec{Job: "a", Attempt: mr.AttemptID{Task: mr.TaskID{Phase: "p"}, Number: 1}, Epoch: 2, Type: mr.MapPhase, Kind: "fails"}})
	for len(b.said()) == 0 {
		time.Sleep(time.Millisecond)
	}
	b.jobs["a"].work.Wait()
	if left := names(t, dir); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}
