package run

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/vista-mr/vista-mr/layers/ort"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/blobs"
	"github.com/vista-mr/vista-mr/mr/commit"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/sched"
	"github.com/vista-mr/vista-mr/mr/task"
	"github.com/vista-mr/vista-mr/mr/tracker"
	"github.com/vista-mr/vista-mr/mr/worker"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/host"
	"github.com/vista-mr/vista-mr/vistaopt"
)

// counting is a store that counts the bytes which are read of each file.
type counting struct {
	dfs.FS
	mu   sync.Mutex
	read map[dfs.Path]int64
}

type countedFile struct {
	dfs.File
	of   *counting
	path dfs.Path
}

func (c *counting) Open(ctx context.Context, p dfs.Path) (dfs.File, error) {
	f, err := c.FS.Open(ctx, p)
	if err != nil {
		return nil, err
	}
	return &countedFile{f, c, p}, nil
}

func (f *countedFile) ReadAt(b []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(b, off)
	f.of.mu.Lock()
	defer f.of.mu.Unlock()
	f.of.read[f.path] += int64(n)
	return n, err
}

// bytes are those read of files that match.
func (c *counting) bytes(match func(dfs.Path) bool) (n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for p, k := range c.read {
		if match(p) {
			n += k
		}
	}
	return n
}

// several runs phases on workers of their own, each with its own way to the store and its own place for programs, as processes on
// several machines have them.
type several struct {
	t       *testing.T
	fs      dfs.FS
	stores  []*counting
	opened  []*atomic.Int64 // programs, by worker
	tasks   []map[mr.PhaseID]int
	mu      sync.Mutex // guards tasks
	phases  map[mr.PhaseID]*mr.PhaseManifest
	sizes   map[dfs.Path]int64 // of programs
	workers int
}

type direct struct{ w *worker.Worker }

func (d direct) Send(c worker.Command) { d.w.Do(c) }

func (*several) Machine(context.Context) (vistaopt.Machine, error) {
	return vistaopt.Machine{Cores: 2, Memory: 4 << 30}, nil
}

func (e *several) Run(ctx context.Context, w *Work) (_ map[mr.PhaseID]*mr.PhaseManifest, err error) {
	rt, err := ort.Init(ort.Options{CacheDir: cacheDir()})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rt.Close()) }()
	w.Ran = w.Spec.ID
	h, err := host.Loops()
	if err != nil {
		return nil, err
	}
	tr := tracker.New(tracker.Options{Registry: h, Rules: sched.Options{Backoff: 10}})
	defer tr.Close()
	for i := range e.workers {
		store, opened := &counting{FS: e.fs, read: map[dfs.Path]int64{}}, &atomic.Int64{}
		e.stores, e.opened, e.tasks = append(e.stores, store), append(e.opened, opened), append(e.tasks, map[mr.PhaseID]int{})
		mux := dfs.NewMux(map[string]dfs.OpenFunc{"s3": func(_ context.Context, u *url.URL) (dfs.FS, dfs.Path, error) {
			return store, dfs.Path(strings.TrimPrefix(u.Path, "/")), nil
		}})
		host := &host.Host{Stores: mux, Blobs: blobs.New(e.t.TempDir(), 1<<30), Scratch: e.t.TempDir(), Slots: 2,
			Runtime: func(mr.Settings) (*ort.Runtime, func() error, error) {
				opened.Add(1)
				return rt, func() error { return nil }, nil
			}}
		id := sched.WorkerID(fmt.Sprint("w", i))
		k := worker.New(worker.Options{ID: id, Slots: 2, Env: func(s *mr.TaskSpec) (*task.Env, error) { return host.Env(ctx, s) }, Report: func(r worker.Report) {
			if s, ok := r.Event.(sched.Succeeded); ok {
				e.mu.Lock()
				e.tasks[i][s.Manifest.Attempt.Task.Phase]++
				e.mu.Unlock()
			}
			tr.Report(r, nil)
		}})
		defer k.Close()
		tr.Join(direct{k}, sched.WorkerUp{Worker: id, Slots: 2})
	}
	store, err := stores().Folder(ctx, w.Spec.Store)
	if err != nil {
		return nil, err
	}
	pub := &commit.Publisher{FS: store, Root: dfs.Path(w.Spec.ID)}
	epoch, done, kept, err := pub.TakeOver(ctx, &w.Spec)
	if err != nil {
		return nil, err
	}
	w.Resumed(done, kept)
	e.sizes = map[dfs.Path]int64{}
	for i, err := range store.List(ctx, modelsFolder) {
		if err != nil {
			return nil, err
		}
		e.sizes[i.Path] = i.Size
	}
	e.phases, err = tr.Run(ctx, &w.Spec, tracker.JobOptions{Store: store, Publisher: pub, Epoch: epoch, Done: done, Committed: kept, Observe: w.Observe})
	return e.phases, err
}

// TestOncePerWorker: however many tasks a worker runs, it reads the broadcast table once, fetches each program once, and makes one session of
// it.
func TestOncePerWorker(t *testing.T) {
	for networks := 1; networks <= 2; networks++ {
		t.Run(fmt.Sprintf("networks=%d", networks), func(t *testing.T) { oncePerWorker(t, networks) })
	}
}

func oncePerWorker(t *testing.T, networks int) {
	alone(t)
	w := newWorld(t, true)
	w.ownNetwork(t)
	fs := mem.New()
	bucket(t, fs)
	j := w.away(t, fs, "s3://bucket/out")
	j.Plan.Inference, j.Plan.Join, j.Plan.Partitions = "fused", "broadcast", 12
	if networks == 2 {
		second := j.CNN[0]
		second.Name, second.Layers.Last, second.Pool = "second", 1, "avg-1x1"
		j.CNN = append(j.CNN, second)
		j.Plan.Networks = "together"
	}
	e := &several{t: t, fs: fs, workers: 3}
	if _, err := Submit(t.Context(), j, Options{Engine: e}); err != nil {
		t.Fatal(err)
	}
	var table int64
	tables := map[dfs.Path]bool{}
	for _, f := range e.phases["table"].Files("rows") {
		table += f.Bytes
		tables[dfs.Path("out").Join(workFolder, string(f.Path))] = true
	}
	if table == 0 {
		t.Fatal("the table phase has no rows")
	}
	inTable := func(p dfs.Path) bool {
		return slices.ContainsFunc(slices.Collect(maps.Keys(tables)), func(q dfs.Path) bool { return p == q || strings.HasSuffix(string(q), "/"+string(p)) })
	}
	for i, s := range e.stores {
		n := e.tasks[i]["extract"]
		if n < 2 {
			t.Errorf("worker %d has run %d tasks of the CNN: this test wants several on each", i, n)
		}
		once := 1 + int64(e.tasks[i]["unmatched"]) // the one task that accounts for rows without images reads it by itself
		if got := s.bytes(inTable); got != once*table {
			t.Errorf("worker %d has read %d bytes of the table in %d tasks; it has %d", i, got, n, table)
		}
		if got := e.opened[i].Load(); got != int64(networks) {
			t.Errorf("worker %d has opened %d sessions in %d tasks", i, got, n)
		}
		fetched := 0
		for p, size := range e.sizes {
			got := s.bytes(func(q dfs.Path) bool { return strings.HasSuffix(string(q), string(p)) })
			if got != 0 && got != size {
				t.Errorf("worker %d has read %d bytes of %s, which has %d, in %d tasks", i, got, p, size, n)
			}
			if got > 0 {
				fetched++
			}
		}
		if fetched != 2*networks { // graph and weights
			t.Errorf("worker %d has fetched %d files of programs, of %d", i, fetched, len(e.sizes))
		}
	}
}
