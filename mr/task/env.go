package task

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/attemptlog"
	"github.com/vista-mr/vista-mr/mr/cache"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/shuffle"
)

// Env is what a process offers to its attempts. All fields but Log, KeepLogs and Usage are required.
type Env struct {
	Store    dfs.FS       // the job's folder
	Mux      *dfs.Mux     // opens the URIs of the job's input
	Registry *mr.Registry // the kinds it can run
	Shared   *Shared      // process-wide resources
	Cache    *cache.Cache // pinned partitions
	Scratch  string       // local folder for spills and the like
	Slots    int          // attempts at once
	// SortMemory bounds the sort buffer of a map task and the merge buffers of a reduce task,
	// in bytes.
	SortMemory int64
	Log        *zap.Logger
	// KeepLogs says that the logs of attempts go into the store (package attemptlog). Whoever runs them does that. The store has the
	// marks of the job's epochs (package commit): what is written when that of the attempt is gone is nobody's, logs and files alike.
	KeepLogs bool
	// Usage tells what the process uses, for the logs; nil: it is not known.
	Usage func() Usage

	own     *attemptlog.Log // of the one attempt that is run
	moves   *atomic.Int64   // grows with whatever it does
	closing func()          // is called when it has computed, before its files are made durable; nil: nobody wants to know
}

// Usage is what a process has used and holds.
type Usage struct {
	CPU            time.Duration // of all its attempts together
	Resident, Peak int64         // bytes, now and at most so far: since a job came to the process, where the system can tell that
}

// For is the same environment for one attempt that is watched: its log is l, and moves grows whenever it reads, writes, counts or
// reports something. One for which it does not grow for long is stuck. closing, if it is not nil, is called when a map or reduce attempt
// has computed all and only makes its files durable, unless it was quick or still has to merge what it has sorted.
func (e *Env) For(l *attemptlog.Log, moves *atomic.Int64, closing func()) *Env {
	own := *e
	own.own, own.moves, own.closing = l, moves, closing
	return &own
}

// quick is how long an attempt takes at most whose end is told in one message: another for each of many small ones costs more than the
// wait for their files.
const quick = 200 * time.Millisecond

// Progress is told how much of its input an attempt has dealt with.
type Progress func(done, total int64)

// Run runs a map or reduce attempt to its end. The error has a kind (package errs); only a
// nil error comes with a manifest.
func (e *Env) Run(ctx context.Context, spec *mr.TaskSpec, progress Progress) (*mr.Manifest, error) {
	start := time.Now()
	a, err := e.newAttempt(spec, progress)
	if err != nil {
		return nil, e.wrap(spec, err)
	}
	err = errs.Guard(func() error {
		switch spec.Type {
		case mr.MapPhase:
			return a.runMap(ctx)
		case mr.ReducePhase:
			return a.runReduce(ctx)
		default:
			return errs.E("run", errs.Internal, "", fmt.Errorf("a %s task is opened, not run", spec.Type))
		}
	})
	if err == nil && e.closing != nil && a.shuffle == nil && time.Since(start) > quick {
		e.closing()
	}
	m, err := a.end(ctx, err)
	if err != nil {
		err = e.wrap(spec, err)
		a.failed(err)
		return nil, err
	}
	m.Seconds = time.Since(start).Seconds()
	a.succeeded(m)
	return m, nil
}

func (e *Env) newAttempt(spec *mr.TaskSpec, progress Progress) (*attempt, error) {
	kind, err := e.Registry.Kind(spec.Kind)
	if err != nil {
		return nil, errs.E("run", errs.Invalid, "", err)
	}
	log := e.Log
	if log == nil {
		log = zap.NewNop()
	}
	if progress == nil {
		progress = func(int64, int64) {}
	}
	log = log.With(zap.String("task", spec.Attempt.Task.String()), zap.Int("attempt", spec.Attempt.Number))
	routine := zap.NewNop()
	if e.own != nil {
		log, routine = e.own.Beside(log), e.own.Routine()
	}
	a := &attempt{env: e, spec: spec, kind: kind, progress: progress, log: log, routine: routine, moves: e.moves, counters: map[string]int64{}, parts: map[string]output{}}
	if a.moves == nil {
		a.moves = &atomic.Int64{}
	}
	a.begins()
	return a, nil
}

// wrap adds the task to an error, once, and keeps its kind.
func (e *Env) wrap(spec *mr.TaskSpec, err error) error {
	w := errs.E(string(spec.Type)+" "+spec.Kind, errs.KindOf(err), "", err)
	var ee *errs.Error
	if asError(w, &ee) {
		ee.Task = spec.Attempt.String()
	}
	return w
}

// end finishes an attempt: on success its files are committed to the store under names that
// nobody else uses and the manifest is made; on failure they are dropped.
func (a *attempt) end(ctx context.Context, runErr error) (*mr.Manifest, error) {
	defer a.letGo()
	if runErr == nil {
		runErr = ctx.Err()
	}
	if runErr == nil {
		runErr = a.prove(ctx)
	}
	if runErr != nil {
		a.abort()
		return nil, a.blame(ctx, runErr)
	}
	files, err := a.commitFiles(ctx)
	if err != nil {
		a.abort()
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return &mr.Manifest{Attempt: a.spec.Attempt, Epoch: a.spec.Epoch, Files: files, Counters: a.counters, Value: a.value, Bad: a.bad}, nil
}

func (a *attempt) runMap(ctx context.Context) error {
	if a.kind.Map == nil {
		return errs.E("run", errs.Invalid, "", fmt.Errorf("kind %s has no map function", a.kind.Name))
	}
	m, err := a.kind.Map(a.spec.Params)
	if err != nil {
		return errs.E("parameters", errs.Invalid, "", err)
	}
	if a.spec.Partitions > 0 {
		if err := a.openShuffle(); err != nil {
			return err
		}
	}
	return m.Map(ctx, a)
}

func (a *attempt) openShuffle() error {
	scratch, err := a.Scratch()
	if err != nil {
		return err
	}
	o := shuffle.Options{Partitions: a.spec.Partitions, Memory: a.env.SortMemory, Scratch: scratch}
	if a.kind.Partition != nil {
		partition, err := a.kind.Partition(a.spec.Params)
		if err != nil {
			return errs.E("parameters", errs.Invalid, "", err)
		}
		o.Partition = partition
	}
	if a.kind.Combine != nil {
		combine, err := a.kind.Combine(a.spec.Params)
		if err != nil {
			return errs.E("parameters", errs.Invalid, "", err)
		}
		o.Combine = shuffle.Combine(combine)
	}
	w, err := shuffle.NewWriter(o)
	if err != nil {
		return err
	}
	a.shuffle = w
	return nil
}

func (a *attempt) runReduce(ctx context.Context) (err error) {
	if a.kind.Reduce == nil {
		return errs.E("run", errs.Invalid, "", fmt.Errorf("kind %s has no reduce function", a.kind.Name))
	}
	r, err := a.kind.Reduce(a.spec.Params)
	if err != nil {
		return errs.E("parameters", errs.Invalid, "", err)
	}
	groups, closeAll, err := a.merge(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := closeAll(); err == nil {
			err = cerr
		}
	}()
	for groups.Next(ctx) {
		a.moves.Add(1)
		if err := r.Reduce(ctx, a, groups.Key(), groups.values()); err != nil {
			return err
		}
	}
	if err := groups.Err(); err != nil {
		return err
	}
	if f, ok := r.(mr.Finisher); ok {
		return f.Finish(ctx, a)
	}
	return nil
}

// Scratch makes the attempt's folder when it is first asked for: most attempts need none.
func (a *attempt) Scratch() (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.scratch == "" {
		dir, err := os.MkdirTemp(a.env.Scratch, "attempt-*")
		if err != nil {
			return "", errs.E("scratch", errs.KindOf(err), a.env.Scratch, err)
		}
		a.scratch = dir
	}
	return a.scratch, nil
}

// SetValue sets the manifest's small result.
func (a *attempt) SetValue(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return errs.E("value", errs.Internal, "", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.value = b
	return nil
}
