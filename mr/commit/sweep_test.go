package commit_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/commit"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/fault"
	"github.com/vista-mr/vista-mr/mr/dfs/fault/sweep"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/mrtest"
)

var update = flag.Bool("update", false, "rewrite testdata/io")

func phase(epoch int64, value string) mr.PhaseManifest {
	return mr.PhaseManifest{Job: "j", Phase: "p", Epoch: epoch, Tasks: []mr.Manifest{
		{Attempt: mr.AttemptID{Task: mr.TaskID{Phase: "p"}, Number: 1}, Value: json.RawMessage(value)}}}
}

func publisher(fs dfs.FS) *commit.Publisher { return &commit.Publisher{FS: fs, Root: "job"} }

// coordinate is what a coordinator does: take the job over, see what is there, publish. Its
// result is the small value 1; what it finds published it leaves.
func coordinate(ctx context.Context, fs dfs.FS) error {
	p := publisher(fs)
	epoch, err := p.ClaimEpoch(ctx)
	if err != nil {
		return err
	}
	if _, err := p.Load(ctx, "p"); err == nil || !errs.Is(err, errs.NotExist) {
		return err
	}
	return p.Publish(ctx, phase(epoch, `1`))
}

// TestOrderOfOperations: the order of operations on the store is the protocol, so it is written
// down: the manifest before the marker, the look at the epochs after it.
func TestOrderOfOperations(t *testing.T) {
	for name, run := range map[string][]func(fs dfs.FS) error{
		"publish": {func(fs dfs.FS) error { return coordinate(t.Context(), fs) }},
		// The reply was lost, and the coordinator publishes the same once more.
		"publish-again": {
			func(fs dfs.FS) error { return publisher(fs).Publish(t.Context(), phase(1, `1`)) },
			func(fs dfs.FS) error { return publisher(fs).Publish(t.Context(), phase(1, `1`)) }},
		// Another coordinator takes over a job that is published.
		"take-over": {
			func(fs dfs.FS) error { return coordinate(t.Context(), fs) },
			func(fs dfs.FS) error { return coordinate(t.Context(), fs) }},
	} {
		store := mem.New()
		var got string
		for _, f := range run { // the last one is what is written down
			fs := fault.New(store, fault.Options{Trace: true})
			if err := f(fs); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			got = ""
			for _, c := range fs.Trace() {
				got += c.String() + "\n"
			}
		}
		// A digest is of the manifest's bytes, which may gain a field; the order may not change.
		got = regexp.MustCompile(`[0-9a-f]{64}`).ReplaceAllString(got, "DIGEST")
		file := filepath.Join("testdata", "io", name+".txt")
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

// TestPublishSweep: whatever operation goes wrong, readers see nothing or the whole manifest,
// success means that it is there, and the next coordinator, on a store that works, ends well.
func TestPublishSweep(t *testing.T) {
	sweep.Run(t, sweep.Scenario{
		Run: func(t *testing.T, fs dfs.FS) error { return coordinate(t.Context(), fs) },
		Check: func(t *testing.T, r sweep.Result) {
			m, err := publisher(r.Store).Load(t.Context(), "p")
			switch {
			case err != nil && !errs.Is(err, errs.NotExist):
				t.Errorf("readers see %v", err)
			case err != nil && r.Err == nil:
				t.Error("it is said to be published, and is not")
			case err == nil && string(m.Tasks[0].Value) != `1`:
				t.Errorf("readers see %+v", m)
			case err == nil && r.Err != nil && r.Hit.Op != fault.Claim && r.Hit.Op != fault.List:
				t.Errorf("published, although a %v went wrong before the marker", r.Hit.Op)
			}
			if err := coordinate(t.Context(), r.Store); err != nil {
				t.Errorf("the next coordinator: %v", err)
			}
			if m, err := publisher(r.Store).Load(t.Context(), "p"); err != nil || string(m.Tasks[0].Value) != `1` {
				t.Errorf("after the next coordinator: %+v, %v", m, err)
			}
		},
	})
}

// TestTwoCoordinators lets a second coordinator take over before each operation of the first,
// and publish another result unless it finds one. When the first is told that it has published,
// the second has seen it; and readers end with what the acknowledged one wrote.
func TestTwoCoordinators(t *testing.T) {
	for n := 0; ; n++ {
		store := mem.New()
		second, saw := error(nil), error(nil)
		fs := &before{FS: store, n: n, f: func() {
			p := publisher(store)
			epoch, err := p.ClaimEpoch(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, saw = p.Load(t.Context(), "p"); saw != nil {
				second = p.Publish(t.Context(), phase(epoch, `2`))
			}
		}}
		first := publisher(store)
		epoch, err := first.ClaimEpoch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		first.FS = fs
		err = first.Publish(t.Context(), phase(epoch, `1`))
		if fs.f != nil {
			if n < 5 {
				t.Errorf("only %d operations", n)
			}
			return
		}
		m, loadErr := publisher(store).Load(t.Context(), "p")
		if loadErr != nil || second != nil {
			t.Fatalf("before %d: %v, %v", n, loadErr, second)
		}
		switch value := string(m.Tasks[0].Value); {
		case err == nil && (saw != nil || value != `1`):
			t.Errorf("before %d: the first was acknowledged, the second saw %v, readers see %s", n, saw, value)
		case err != nil && !errs.Is(err, errs.Lost):
			t.Errorf("before %d: the first: %v, want lost", n, err)
		case saw != nil && value != `2`:
			t.Errorf("before %d: the second has published, readers see %s", n, value)
		}
	}
}

// before runs f once, before the n-th operation. Operations that come meanwhile wait.
type before struct {
	dfs.FS
	mu sync.Mutex
	n  int
	f  func()
}

func (b *before) count() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.n == 0 && b.f != nil {
		b.f()
		b.f = nil
	}
	b.n--
}

func (b *before) Open(ctx context.Context, p dfs.Path) (dfs.File, error) {
	b.count()
	return b.FS.Open(ctx, p)
}

func (b *before) Create(ctx context.Context, p dfs.Path) (dfs.Writer, error) {
	b.count()
	w, err := b.FS.Create(ctx, p)
	return &beforeCommit{w, b}, err
}

func (b *before) Claim(ctx context.Context, p dfs.Path) error {
	b.count()
	return b.FS.Claim(ctx, p)
}

func (b *before) List(ctx context.Context, p dfs.Path) iter.Seq2[dfs.Info, error] {
	b.count()
	return b.FS.List(ctx, p)
}

func (b *before) Remove(ctx context.Context, p dfs.Path) error {
	b.count()
	return b.FS.Remove(ctx, p)
}

type beforeCommit struct {
	dfs.Writer
	b *before
}

func (w *beforeCommit) Commit(ctx context.Context) error {
	w.b.count()
	return w.Writer.Commit(ctx)
}

// wordCount counts words in two maps and two reduces.
func wordCount() []mr.Kind {
	return []mr.Kind{
		{Name: "words", Map: func(json.RawMessage) (mr.Mapper, error) {
			return mr.MapperFunc(func(ctx context.Context, t mr.Task) error {
				for _, w := range strings.Fields([]string{"a b a c", "b a d d"}[t.Spec().Attempt.Task.Index]) {
					t.Count("words", 1)
					if err := t.Emit(ctx, []byte(w), []byte{1}); err != nil {
						return err
					}
				}
				return nil
			}), nil
		}},
		{Name: "count", Reduce: func(json.RawMessage) (mr.Reducer, error) { return counter{}, nil }},
	}
}

type counter struct{}

func (counter) Reduce(ctx context.Context, t mr.Task, key []byte, values iter.Seq2[mr.Value, error]) error {
	n := 0
	for _, err := range values {
		if err != nil {
			return err
		}
		n++
	}
	out, err := t.Part(ctx, "counts", mr.PartOptions{})
	if err != nil {
		return err
	}
	return out.Append(key, fmt.Append(nil, n))
}

// TestJobSweep does the same with a whole job: attempts, shuffle, commit and scheduler. Either
// the job ends well with the right counts, or it fails with an error that has a kind; and run
// again on a store that works, on what is published, it ends well.
func TestJobSweep(t *testing.T) {
	job := &mr.JobSpec{ID: "wc", Phases: []mr.PhaseSpec{
		{ID: "map", Type: mr.MapPhase, Kind: "words", Tasks: 2, Partitions: 2},
		{ID: "reduce", Type: mr.ReducePhase, Kind: "count", Tasks: 2, Inputs: []mr.Input{{Name: "in", Phase: "map", Mode: mr.Shuffled}},
			Drop: []mr.Drop{{Phase: "map"}}},
	}}
	const want = "a=3 b=2 c=1 d=2"
	run := func(t *testing.T, fs dfs.FS) (string, error) {
		c := mrtest.New(t, wordCount()...)
		c.Store, c.Slots = fs, 1
		out, err := c.Run(t.Context(), job)
		if err != nil {
			return "", err
		}
		if n := out["map"].Sum("words"); n != 8 {
			return "", errs.E("count", errs.Internal, "", fmt.Errorf("%d words counted, want 8", n))
		}
		return strings.Join(c.Sorted(t, out["reduce"], "counts"), " "), nil
	}
	sweep.Run(t, sweep.Scenario{
		Run: func(t *testing.T, fs dfs.FS) error {
			// The result is read from the store below: what is swept is the job.
			c := mrtest.New(t, wordCount()...)
			c.Store, c.Slots = fs, 1
			_, err := c.Run(t.Context(), job)
			return err
		},
		Check: func(t *testing.T, r sweep.Result) {
			_, err := (&commit.Publisher{FS: r.Store, Root: "wc"}).Load(t.Context(), "reduce")
			if r.Err == nil && err != nil {
				t.Errorf("the job is said to be done: %v", err)
			}
			if err != nil && !errs.Is(err, errs.NotExist) {
				t.Errorf("readers see %v", err)
			}
			if got, err := run(t, r.Store); err != nil || got != want {
				t.Errorf("run again: %q, %v; want %q", got, err, want)
			}
		},
	})
}
