package commit_test

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/commit"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/fault"
	"github.com/vista-mr/vista-mr/mr/dfs/local"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/mrtest"
)

// Bugs that others have met in production, each as a test. Those of the scheduler are in package sched.

// TestRunsOfOneMomentShareNothing (SPARK-33402, SPARK-33230, HADOOP-17318: jobs that were started in the same second had the same
// id, and mixed their output).
func TestRunsOfOneMomentShareNothing(t *testing.T) {
	store, job := mem.New(), &mr.JobSpec{ID: "j", Phases: []mr.PhaseSpec{{ID: "p", Type: mr.MapPhase, Kind: "k", Tasks: 1}}}
	var mu sync.Mutex
	seen := map[int64]bool{}
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			epoch, _, _, err := (&commit.Publisher{FS: store, Root: "j"}).TakeOver(t.Context(), job)
			mu.Lock()
			defer mu.Unlock()
			if err != nil || seen[epoch] { // the epoch is part of every name that a run writes to
				t.Errorf("epoch %d was there before: %v, %v", epoch, seen[epoch], err)
			}
			seen[epoch] = true
		})
	}
	wg.Wait()
}

// TestPublicationDoesNotGrowWithFiles (HADOOP-16570: committing some ten thousand files took all memory and threads): a phase of
// 100,000 files is published and loaded with as many operations as one of a single file, but for the pieces that its one manifest is
// written and read in.
func TestPublicationDoesNotGrowWithFiles(t *testing.T) {
	calls := func(tasks, files int) int {
		fs := fault.New(mem.New(), fault.Options{Trace: true})
		p := &commit.Publisher{FS: fs, Root: "j"}
		m := mr.PhaseManifest{Job: "j", Phase: "p", Epoch: 1, Tasks: make([]mr.Manifest, tasks)}
		for i := range m.Tasks {
			m.Tasks[i] = mr.Manifest{Attempt: mr.AttemptID{Task: mr.TaskID{Phase: "p", Index: i}, Number: 1}, Epoch: 1, Files: make([]mr.PartFile, files)}
		}
		if err := p.Publish(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		if got, err := p.Load(t.Context(), "p"); err != nil || len(got.Tasks) != tasks {
			t.Fatal(err)
		}
		return len(slices.DeleteFunc(fs.Trace(), func(c fault.Call) bool { return c.Op == fault.Write || c.Op == fault.Read }))
	}
	if few, many := calls(1, 1), calls(5000, 20); many > few {
		t.Errorf("%d operations for one file, %d for 100,000", few, many)
	}
}

// failing fails the first attempt of each task after it has written one of its two files to the store.
func failing() mr.Kind {
	return mr.Kind{Name: "failing", Map: func(json.RawMessage) (mr.Mapper, error) {
		return mr.MapperFunc(func(ctx context.Context, t mr.Task) error {
			id := t.Spec().Attempt
			if id.Number == 1 {
				return errors.Join(dfs.WriteFile(ctx, t.Store(), t.Spec().Out.Join("counts-00000.avro"), []byte("half of it")),
					errs.E("write", errs.Transient, "", errors.New("the node was cut off")))
			}
			out, err := t.Part(ctx, "counts", mr.PartOptions{})
			if err != nil {
				return err
			}
			return out.Append([]byte(id.Task.String()), []byte(id.String()))
		}), nil
	}}
}

// TestPartialOutputOfAFailedAttemptInPathsWithBlanks is in no result (FileOutputCommitter's algorithm 2 moved files of a failed attempt to where
// those of the next one were). The job's folder and its phase have blanks and other characters in their names (HADOOP-17112: a
// committer lost files of paths with white space).
func TestPartialOutputOfAFailedAttemptInPathsWithBlanks(t *testing.T) {
	c := mrtest.New(t, failing())
	c.Store = local.New(filepath.Join(t.TempDir(), "my out + 100 %", "ü"), false)
	out, err := c.Run(t.Context(), &mr.JobSpec{ID: "a job", Phases: []mr.PhaseSpec{{ID: "conv 4/1 %20", Type: mr.MapPhase, Kind: "failing", Tasks: 2}}})
	if err != nil {
		t.Fatal(err)
	}
	m, err := (&commit.Publisher{FS: c.Store, Root: "a job"}).Load(t.Context(), "conv 4/1 %20")
	if err != nil {
		t.Fatal(err)
	}
	want := "conv 4/1 %20/00000=conv 4/1 %20/00000/2 conv 4/1 %20/00001=conv 4/1 %20/00001/2"
	for _, m := range []*mr.PhaseManifest{m, out["conv 4/1 %20"]} {
		if got := strings.Join(c.Sorted(t, m, "counts"), " "); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// TestCoordinatorThatStopsMidwayBlocksNobody (Hadoop's application master marked that it had STARTED to commit before it waited,
// so that one that was cut off blocked its successor, which marked FAIL while the first one still went on).
func TestCoordinatorThatStopsMidwayBlocksNobody(t *testing.T) {
	store := mem.New()
	manifest := func(epoch int64) mr.PhaseManifest {
		return mr.PhaseManifest{Job: "j", Phase: "p", Epoch: epoch, Tasks: []mr.Manifest{{Attempt: mr.AttemptID{Task: mr.TaskID{Phase: "p"}, Number: 1}, Epoch: epoch}}}
	}
	stopped := make(chan struct{})
	goOn := make(chan struct{})
	first := &commit.Publisher{FS: fault.New(store, fault.Options{
		Rules: []fault.Rule{{Do: fault.Delay, Op: fault.Claim, Path: "*/published-*", By: 1}},
		Sleep: func(context.Context, time.Duration) error { close(stopped); <-goOn; return nil }}), Root: "j"}
	epoch, err := first.ClaimEpoch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- first.Publish(t.Context(), manifest(epoch)) }()
	<-stopped // its manifest is written, its marker is not
	second := &commit.Publisher{FS: store, Root: "j"}
	next, err := second.ClaimEpoch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Publish(t.Context(), manifest(next)); err != nil {
		t.Errorf("the successor: %v", err)
	}
	close(goOn)
	if err := <-ended; !errs.Is(err, errs.Lost) {
		t.Errorf("the first one, when it goes on: %v", err)
	}
	if m, err := second.Load(t.Context(), "p"); err != nil || m.Epoch != next {
		t.Errorf("readers find %+v, %v", m, err)
	}
}
