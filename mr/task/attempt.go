package task

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/cache"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/shuffle"
)

// attempt is one running attempt: the mr.Task that its code sees.
type attempt struct {
	env      *Env
	spec     *mr.TaskSpec
	kind     mr.Kind
	scratch  string
	progress Progress
	log      *zap.Logger
	routine  *zap.Logger   // what every attempt says, for its own log alone
	cpu      time.Duration // of the process when it began
	moves    *atomic.Int64 // grows with whatever it does
	shuffle  *shuffle.Writer

	mu       sync.Mutex // guards what follows: meters are used from any goroutine
	counters map[string]int64
	names    int               // of counters that are bounded
	causes   int               // of bad records, so far
	parts    map[string]output // by channel
	value    json.RawMessage
	bad      []mr.BadRecord
	suspects []mr.PartFile // uncompressed files that were left in the middle: nobody knows yet whether they are sound
}

var _ mr.Task = (*attempt)(nil)

// maxBadListed is how many bad records a manifest lists by itself; the contract promises the
// first hundred of a job.
const maxBadListed = 100

// maxCounters and maxCauses bound the names of counters and of causes of bad records, which live
// in memory for the whole job. Those beyond are counted together. Counters that a budget is
// about, and the number of bad records, are none of them: they always count.
const (
	maxCounters = 256
	maxCauses   = 64
	overflow    = "counters.overflow"
	badOverflow = badPrefix + "overflow"
	badPrefix   = "bad."
)

func (a *attempt) Spec() *mr.TaskSpec         { return a.spec }
func (a *attempt) Store() dfs.FS              { return a.env.Store }
func (a *attempt) Cache() *cache.Cache        { return a.env.Cache }
func (a *attempt) Slots() int                 { return a.env.Slots }
func (a *attempt) Log() *zap.Logger           { return a.log }
func (a *attempt) Progress(done, total int64) { a.moves.Add(1); a.progress(done, total) }

func (a *attempt) Resolve(ctx context.Context, uri string) (dfs.FS, dfs.Path, error) {
	return a.env.Mux.Resolve(ctx, uri)
}

type moving struct{}

// Moved says that what is being opened with this context (mr.Host's Shared) goes on: neither the attempt that opens it nor those that wait
// for it are stuck. With any other context it does nothing.
func Moved(ctx context.Context) {
	if moves, ok := ctx.Value(moving{}).(*atomic.Int64); ok {
		moves.Add(1)
	}
}

func (a *attempt) Shared(ctx context.Context, key string, open func(context.Context) (io.Closer, error)) (io.Closer, error) {
	return a.env.Shared.get(ctx, a, key, func(ctx context.Context) (io.Closer, error) {
		start := time.Now()
		a.moves.Add(1)
		c, err := open(context.WithValue(ctx, moving{}, a.moves))
		a.moves.Add(1)
		if err != nil {
			a.routine.Error("shared resource not opened", zap.String("key", key), zap.Error(err))
		} else {
			a.routine.Info("shared resource opened", zap.String("key", key), zap.Float64("seconds", time.Since(start).Seconds()))
		}
		return c, err
	})
}

func (a *attempt) Count(name string, n int64) {
	a.moves.Add(1)
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.counters[name]; !ok && name != "bad" && !slices.Contains(a.spec.Judged, name) {
		used, rest := &a.names, overflow
		limit := maxCounters
		if strings.HasPrefix(name, badPrefix) {
			used, rest, limit = &a.causes, badOverflow, maxCauses
		}
		if *used >= limit {
			name = rest
		} else {
			*used++
		}
	}
	a.counters[name] += n
}

func (a *attempt) Emit(ctx context.Context, key, value []byte) error {
	if a.shuffle == nil {
		return errs.E("emit", errs.Internal, "", errors.New("the phase has no shuffle"))
	}
	a.moves.Add(1)
	return a.shuffle.Add(ctx, key, value)
}

// badSchema is that of the quarantine's files.
const badSchema = `{"type":"record","name":"BadRecord","namespace":"vistamr","fields":[` +
	`{"name":"key","type":"string"},{"name":"stage","type":"string"},` +
	`{"name":"cause","type":"string"},{"name":"error","type":"string"}]}`

func (a *attempt) SetAside(ctx context.Context, b mr.BadRecord) error {
	a.Count("bad", 1)
	a.Count("bad."+b.Cause, 1)
	a.mu.Lock()
	defer a.mu.Unlock()
	p, err := a.openPart(ctx, mr.Quarantine, mr.PartOptions{Schema: badSchema})
	if err != nil {
		return err
	}
	if len(a.bad) < maxBadListed {
		a.bad = append(a.bad, b)
		a.routine.Warn("record set aside", zap.String("key", b.Key), zap.String("stage", b.Stage), zap.String("cause", b.Cause), zap.String("error", b.Error))
	}
	return p.AppendFunc(func(dst []byte) []byte {
		for _, s := range [...]string{b.Key, b.Stage, b.Cause, b.Error} {
			dst = appendString(dst, s)
		}
		return dst
	})
}

// Part opens a part file. Names are the attempt's own, so a name is never used twice.
func (a *attempt) Part(ctx context.Context, channel string, o mr.PartOptions) (mr.PartWriter, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.openPart(ctx, channel, o)
}

// openPart is called with a.mu held.
func (a *attempt) openPart(ctx context.Context, channel string, o mr.PartOptions) (*part, error) {
	if o, ok := a.parts[channel]; ok {
		if p, ok := o.(*part); ok {
			return p, nil
		}
		return nil, errs.E("part", errs.Internal, "", fmt.Errorf("channel %s holds a file that is not of records", channel))
	}
	path := a.spec.Out.Join(fmt.Sprintf("%s-%05d.avro", mr.FileName(channel), a.spec.Attempt.Task.Index))
	p, err := newPart(ctx, a.env.Store, path, channel, o)
	if err != nil {
		return nil, err
	}
	a.parts[channel] = p
	return p, nil
}

// File opens a file in a format of the kind's own.
func (a *attempt) File(ctx context.Context, channel, extension string) (mr.FileWriter, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.parts[channel] != nil {
		return nil, errs.E("file", errs.Internal, "", fmt.Errorf("channel %s has a file already", channel))
	}
	path := a.spec.Out.Join(fmt.Sprintf("%s-%05d%s", mr.FileName(channel), a.spec.Attempt.Task.Index, extension))
	f := newFile(ctx, a.env.Store, path, channel)
	a.parts[channel] = f
	return f, nil
}

// atOnce bounds how many files of an attempt are committed at once. Each is a few calls to the store, one after the other.
const atOnce = 8

// commitFiles makes every file of the attempt durable, side by side. Their order in the manifest is that of the channels' names.
func (a *attempt) commitFiles(ctx context.Context) ([]mr.PartFile, error) {
	a.mu.Lock() // not while they are committed: combiners run then, which may ask the attempt for something
	var commits []func(context.Context) (mr.PartFile, error)
	for _, n := range slices.Sorted(maps.Keys(a.parts)) {
		commits = append(commits, a.parts[n].commit)
	}
	if a.shuffle != nil {
		commits = append(commits, a.commitShuffle)
	}
	a.mu.Unlock()
	files := make([]mr.PartFile, len(commits))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for i, commit := range commits {
		g.Go(func() error {
			return errs.Guard(func() (err error) { // a combiner runs here too
				a.moves.Add(1)
				files[i], err = commit(ctx)
				files[i].Task = a.spec.Attempt.Task.Index
				return err
			})
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return files, nil
}

// abort drops everything. Errors are only logged: the attempt has already failed, and what
// may remain is referenced by nobody.
func (a *attempt) abort() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.parts {
		if err := p.abort(); err != nil {
			a.log.Warn("abort part file", zap.Error(err))
		}
	}
}

// letGo ends the attempt's use of shared resources and removes its local files.
func (a *attempt) letGo() {
	a.env.Shared.release(a)
	if a.shuffle != nil {
		if err := a.shuffle.Close(); err != nil {
			a.log.Warn("close sort buffers", zap.Error(err))
		}
	}
	a.mu.Lock()
	scratch := a.scratch
	a.mu.Unlock()
	if scratch == "" {
		return
	}
	if err := os.RemoveAll(scratch); err != nil {
		a.log.Warn("remove scratch", zap.Error(err))
	}
}

func asError(err error, target **errs.Error) bool { return errors.As(err, target) }
