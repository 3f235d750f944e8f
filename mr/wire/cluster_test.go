package wire

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/cache"
	"github.com/vista-mr/vista-mr/mr/commit"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/sched"
	"github.com/vista-mr/vista-mr/mr/task"
	"github.com/vista-mr/vista-mr/mr/tracker"
	"github.com/vista-mr/vista-mr/mr/worker"
)

// quick are times for tests: a machine with much else to do must not be taken for one that is gone. Where a test is about that, times are impatient.
var (
	quick     = Timing{Beat: 20 * time.Millisecond, Silent: 5 * time.Second, Away: 5 * time.Second, Redial: 5 * time.Millisecond}
	impatient = Timing{Beat: 20 * time.Millisecond, Silent: 500 * time.Millisecond, Away: 250 * time.Millisecond, Redial: 5 * time.Millisecond}
)

// kinds are a task that writes its number, one that reads what was written, and rounds that add numbers up.
func kinds(pause func(ctx context.Context, s *mr.TaskSpec)) []mr.Kind {
	write := mr.Kind{Name: "write", Map: func(json.RawMessage) (mr.Mapper, error) {
		return mr.MapperFunc(func(ctx context.Context, t mr.Task) error {
			pause(ctx, t.Spec())
			out, err := t.Part(ctx, "x", mr.PartOptions{})
			if err != nil {
				return err
			}
			t.Count("written", 1)
			return out.Append([]byte(strconv.Itoa(t.Spec().Attempt.Task.Index)), []byte("v"))
		}), nil
	}}
	read := mr.Kind{Name: "read", Map: func(json.RawMessage) (mr.Mapper, error) {
		return mr.MapperFunc(func(ctx context.Context, t mr.Task) error {
			n := 0
			for r, err := range t.Records(ctx, "in") {
				if err != nil {
					return err
				}
				i, err := strconv.Atoi(string(r.Key))
				if err != nil {
					return err
				}
				n += i
			}
			return t.SetValue(n)
		}), nil
	}}
	add := mr.Kind{Name: "add", Rounds: func(json.RawMessage) (mr.Rounds, error) { return adds{pause}, nil },
		Merge: func(a, b []byte) ([]byte, error) {
			return binary.BigEndian.AppendUint64(a[:0], binary.BigEndian.Uint64(a)+binary.BigEndian.Uint64(b)), nil
		},
		Loop: func(_ context.Context, params json.RawMessage, _ func(mr.PhaseID) []json.RawMessage) (mr.Loop, error) {
			l := &addLoop{}
			return l, json.Unmarshal(params, &l.left)
		}}
	return []mr.Kind{write, read, add}
}

type adds struct {
	pause func(ctx context.Context, s *mr.TaskSpec)
}

func (a adds) Open(ctx context.Context, t mr.Task) (mr.Partition, error) {
	return &addPart{a, t.Spec()}, nil
}

type addPart struct {
	adds
	spec *mr.TaskSpec
}

func (p *addPart) Round(ctx context.Context, _ int, msg, dst []byte) ([]byte, error) {
	p.pause(ctx, p.spec)
	return binary.BigEndian.AppendUint64(dst, uint64(p.spec.Attempt.Task.Index)+binary.BigEndian.Uint64(msg)), nil
}
func (p *addPart) Finish(_ context.Context, t mr.Task, final []byte) error {
	return t.SetValue(binary.BigEndian.Uint64(final))
}
func (p *addPart) Close() error { return nil }

type addLoop struct{ left int }

func (l *addLoop) Next(_ context.Context, sum []byte) ([]byte, bool, error) {
	if sum == nil {
		sum = make([]byte, 8)
	}
	l.left--
	return sum, l.left < 0, nil
}

// want is what a job of n tasks and 5 rounds ends with.
func (c *cluster) check(t *testing.T, n int, out map[mr.PhaseID]*mr.PhaseManifest) {
	t.Helper()
	if got := out["write"].Sum("written"); got != int64(n) {
		t.Errorf("%d tasks were counted, want %d", got, n)
	}
	if got, want := string(out["read"].Tasks[0].Value), strconv.Itoa(n*(n-1)/2); got != want {
		t.Errorf("read %s, want %s", got, want)
	}
	sum := 0
	for range 5 { // each of 7 partitions adds its index to the sum before
		sum = 21 + 7*sum
	}
	for _, m := range out["add"].Tasks {
		if string(m.Value) != strconv.Itoa(sum) {
			t.Errorf("rounds ended with %s, want %d", m.Value, sum)
		}
	}
}

func testJob(id string, n int) *mr.JobSpec {
	return &mr.JobSpec{ID: mr.JobID(id), Phases: []mr.PhaseSpec{
		{ID: "write", Type: mr.MapPhase, Kind: "write", Tasks: n},
		{ID: "read", Type: mr.MapPhase, Kind: "read", Tasks: 1, Inputs: []mr.Input{{Name: "in", Phase: "write", Channel: "x", Mode: mr.All}}},
		{ID: "add", Type: mr.RoundsPhase, Kind: "add", Tasks: 7, Params: json.RawMessage("5"), After: []mr.PhaseID{"read"}},
	}}
}

// cluster is a tracker behind an address that stays, and workers that dial it through a network that can be cut.
type cluster struct {
	t        testing.TB
	store    dfs.FS
	timing   Timing
	registry *mr.Registry
	net      *network
	tracker  *tracker.Tracker
	server   *Server
	http     *httptest.Server
	runs     *Runs
	keepLogs bool
	closes   func(mr.JobID) // is told when a worker lets go of a job; may be nil
	work     sync.WaitGroup
}

func newCluster(t testing.TB, kinds []mr.Kind) *cluster {
	return newClusterOn(t, kinds, mem.New(), quick)
}

func newClusterOn(t testing.TB, kinds []mr.Kind, store dfs.FS, timing Timing) *cluster {
	r, err := mr.NewRegistry(kinds...)
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, store: store, timing: timing, registry: r, net: newNetwork(t)}
	c.startTracker()
	t.Cleanup(func() {
		c.stopTracker()
		c.work.Wait()
	})
	return c
}

func (c *cluster) startTracker(expect ...mr.JobID) {
	rules := sched.Options{Expire: sched.Tick(2 * c.timing.Silent.Milliseconds()), Backoff: 5, Speculate: false}
	c.tracker = tracker.New(tracker.Options{Registry: c.registry, Rules: rules, Beat: 10 * time.Millisecond})
	c.tracker.Expect(expect...)
	c.server = &Server{Tracker: c.tracker, Timing: c.timing}
	mux := http.NewServeMux()
	mux.Handle(WorkerPath, c.server)
	c.runs = &Runs{Tracker: c.tracker, Open: func(context.Context, string) (dfs.FS, error) { return c.store, nil }}
	mux.Handle(RunPath, c.runs)
	mux.Handle(RunPath+"/", c.runs)
	c.http = httptest.NewServer(mux)
	c.net.to(c.http.Listener.Addr().String())
}

func (c *cluster) stopTracker() {
	c.server.Close()
	c.tracker.Close()
	c.runs.Close()
	c.net.cut()
	c.http.CloseClientConnections()
	c.http.Close()
}

// startWorker runs a worker until stop is called.
func (c *cluster) startWorker(id string, slots int) (stop func()) {
	_, stop = c.startClient(id, slots)
	return stop
}

func (c *cluster) startClient(id string, slots int) (_ *Client, stop func()) {
	dir := c.t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	cl := &Client{URL: "http://" + c.net.addr(), Hello: Hello{Worker: sched.WorkerID(id), Slots: slots}, Timing: c.timing}
	w := worker.New(worker.Options{ID: sched.WorkerID(id), Slots: slots, Report: cl.Report, Close: func(id mr.JobID, _ *task.Env) {
		if c.closes != nil {
			c.closes(id)
		}
	}, Env: func(*mr.TaskSpec) (*task.Env, error) {
		return &task.Env{Store: c.store, Mux: dfs.NewMux(nil), Registry: c.registry, Shared: task.NewShared(), Cache: cache.New(1<<20, dir), Scratch: dir, Slots: slots, SortMemory: 1 << 20, KeepLogs: c.keepLogs}, nil
	}})
	c.work.Go(func() {
		defer w.Close()
		if err := cl.Run(ctx, w); !errors.Is(err, context.Canceled) {
			c.t.Errorf("worker %s: %v", id, err)
		}
	})
	c.t.Cleanup(cancel)
	return cl, cancel
}

// run runs a job on the tracker that is there now.
func (c *cluster) run(ctx context.Context, job *mr.JobSpec) (map[mr.PhaseID]*mr.PhaseManifest, error) {
	p := &commit.Publisher{FS: c.store, Root: dfs.Path(job.ID)}
	epoch, done, kept, err := p.TakeOver(ctx, job)
	if err != nil {
		return nil, err
	}
	return c.tracker.Run(ctx, job, tracker.JobOptions{Store: c.store, Publisher: p, Epoch: epoch, Done: done, Committed: kept})
}

// remote is a driver's way to the tracker.
func (c *cluster) remote() *Remote {
	h := &http.Client{Transport: &http.Transport{}}
	c.t.Cleanup(h.CloseIdleConnections)
	return &Remote{URL: "http://" + c.net.addr(), HTTP: h}
}
