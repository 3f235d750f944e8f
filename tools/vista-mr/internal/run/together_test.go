package run

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/results"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
)

// stop holds a run up before one of its operations of the store, until it may go on. Those of its phases do not count: all that the
// phases of two runs have in common is guarded by epochs, and tested with them.
type stop struct {
	at      int                                 // 1: the first operation; 0: none
	when    func(op string, path dfs.Path) bool // or the first of which this says so; nil: none
	dies    bool                                // what comes after that operation fails, as of a process that is killed
	reached chan struct{}
	on      chan struct{}

	mu   sync.Mutex
	n    int
	held bool
	dead bool
}

var errKilled = errors.New("killed")

type stopKey struct{}

// stopped is a store in which runs are held up by the stop in their contexts.
type stopped struct{ dfs.FS }

func (stopped) here(ctx context.Context, op string, p dfs.Path) error {
	s, _ := ctx.Value(stopKey{}).(*stop)
	if s == nil {
		return nil
	}
	s.mu.Lock()
	s.n++
	reached := !s.held && (s.n == s.at || s.when != nil && s.when(op, p))
	s.held = s.held || reached
	dead := s.dead
	s.mu.Unlock()
	if reached {
		close(s.reached)
		<-s.on
		s.mu.Lock()
		s.dead = s.dies
		s.mu.Unlock()
	}
	if dead {
		return errs.E(op, errs.Internal, string(p), errKilled)
	}
	return nil
}

func (f stopped) Open(ctx context.Context, p dfs.Path) (dfs.File, error) {
	if err := f.here(ctx, "open", p); err != nil {
		return nil, err
	}
	return f.FS.Open(ctx, p)
}

func (f stopped) Create(ctx context.Context, p dfs.Path) (dfs.Writer, error) {
	if err := f.here(ctx, "create", p); err != nil {
		return nil, err
	}
	w, err := f.FS.Create(ctx, p)
	return stoppedWriter{w, f, p}, err
}

func (f stopped) Claim(ctx context.Context, p dfs.Path) error {
	if err := f.here(ctx, "claim", p); err != nil {
		return err
	}
	return f.FS.Claim(ctx, p)
}

func (f stopped) Stat(ctx context.Context, p dfs.Path) (dfs.Info, error) {
	if err := f.here(ctx, "stat", p); err != nil {
		return dfs.Info{}, err
	}
	return f.FS.Stat(ctx, p)
}

func (f stopped) List(ctx context.Context, dir dfs.Path) iter.Seq2[dfs.Info, error] {
	if err := f.here(ctx, "list", dir); err != nil {
		return func(yield func(dfs.Info, error) bool) { yield(dfs.Info{}, err) }
	}
	return f.FS.List(ctx, dir)
}

func (f stopped) Remove(ctx context.Context, p dfs.Path) error {
	if err := f.here(ctx, "remove", p); err != nil {
		return err
	}
	return f.FS.Remove(ctx, p)
}

type stoppedWriter struct {
	dfs.Writer
	f    stopped
	path dfs.Path
}

func (w stoppedWriter) Commit(ctx context.Context) error {
	if err := w.f.here(ctx, "commit", w.path); err != nil {
		return err
	}
	return w.Writer.Commit(ctx)
}

// startStopped submits a job that is held up before its operation at.
func startStopped(ctx context.Context, j *conf.Job, at int) (s *stop, over chan error) {
	s = newStop()
	s.at = at
	return s, s.submit(ctx, j)
}

func newStop() *stop { return &stop{reached: make(chan struct{}), on: make(chan struct{})} }

// submit submits a job that is held up.
func (s *stop) submit(ctx context.Context, j *conf.Job) (over chan error) {
	e := &engineFunc{inProcess: inProcess{stores: stores()}}
	e.run = func(ctx context.Context, w *Work) (map[mr.PhaseID]*mr.PhaseManifest, error) {
		return e.inProcess.Run(context.WithValue(ctx, stopKey{}, nil), w)
	}
	over = make(chan error, 1)
	go func() {
		_, err := Submit(context.WithValue(ctx, stopKey{}, s), j, Options{Engine: e})
		over <- err
	}()
	return over
}

// TestTwoRunsTogether: two runs of one job in one store, of which the second comes at any moment of the first and is then held up at
// any moment of its own while the first goes on. One of them ends well, the other says that it is not the one, and the output is whole.
func TestTwoRunsTogether(t *testing.T) {
	alone(t)
	w := newWorld(t, true)
	w.ownNetwork(t)
	w.job.CNN[0].Layers.Last, w.job.Keep.Features = 1, false
	count := func(fs dfs.FS) int {
		bucket(t, stopped{fs})
		s, over := startStopped(t.Context(), w.away(t, fs, "s3://bucket/out"), 0)
		if err := <-over; err != nil {
			t.Fatal(err)
		}
		return s.n
	}
	n := count(mem.New())
	firsts, seconds := 7, 2
	if testing.Short() {
		firsts, seconds = 4, 1
	}
	if v := os.Getenv("VISTA_TOGETHER"); v != "" { // FIRSTS,SECONDS: how many moments of each
		if _, err := fmt.Sscanf(v, "%d,%d", &firsts, &seconds); err != nil {
			t.Fatal(err)
		}
	}
	outcomes := map[string]int{}
	for i := range firsts {
		for k := range seconds {
			first, second := 1+(n-1)*i/max(firsts-1, 1), 1+n*(k+1)/seconds // the last one is behind the end
			fs := mem.New()
			bucket(t, stopped{fs})
			j := w.away(t, fs, "s3://bucket/out")
			a, aOver := startStopped(t.Context(), j, first)
			<-a.reached
			b, bOver := startStopped(t.Context(), j, second)
			var errB error
			bEnded := false
			select {
			case <-b.reached:
			case errB = <-bOver:
				bEnded = true
			}
			close(a.on)
			errA := <-aOver
			if !bEnded {
				close(b.on)
				errB = <-bOver
			}
			outcomes[fmt.Sprintf("first: %s; second: %s", idOf(errA), idOf(errB))]++
			if (errA == nil) == (errB == nil) {
				t.Errorf("held up at %d and %d of %d: the first has %v, the second %v", first, second, n, errA, errB)
				continue
			}
			for _, err := range []error{errA, errB} {
				if err != nil && idOf(err) == "E-OUTPUT-TAKEN" && exit.Code(err) != int(exit.JobFailed) {
					t.Errorf("held up at %d and %d of %d: exit code %d of %v", first, second, n, exit.Code(err), err)
				}
				if err != nil && idOf(err) != "E-OUTPUT-TAKEN" && !isFinished(err) {
					t.Errorf("held up at %d and %d of %d: %v", first, second, n, err)
				}
			}
			if why := notWhole(t, fs); why != "" {
				t.Errorf("held up at %d and %d of %d (first: %v, second: %v): %s", first, second, n, errA, errB, why)
			}
		}
	}
	t.Logf("%d operations, %v", n, outcomes)
}

// idOf is the id of an error.
func idOf(err error) string {
	var id interface{ ErrorID() string }
	if errors.As(err, &id) {
		return id.ErrorID()
	}
	return fmt.Sprint(err)
}

// notWhole says what is wrong with the results of a job's output.
func notWhole(t *testing.T, fs dfs.FS) string {
	t.Helper()
	_, files := tree(t, fs, "out")
	var s results.Summary
	if err := json.Unmarshal([]byte(files[ResultsFile]), &s); err != nil {
		return "no results: " + err.Error()
	}
	for _, name := range []string{SuccessFile, MarkerFile, EventsFile} {
		if _, ok := files[name]; !ok {
			return "no " + name
		}
	}
	for name, digest := range s.Digests {
		if !strings.ContainsAny(name, "./") { // of an input
			continue
		}
		if sum := sha256.Sum256([]byte(files[name])); hex.EncodeToString(sum[:]) != digest {
			return name + " is not what the results say"
		}
	}
	return ""
}
