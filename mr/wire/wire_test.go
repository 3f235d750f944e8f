package wire

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/cache"
	"github.com/vista-mr/vista-mr/mr/commit"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/sched"
	"github.com/vista-mr/vista-mr/mr/task"
	"github.com/vista-mr/vista-mr/mr/tracker"
	"github.com/vista-mr/vista-mr/mr/worker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// quick are times for tests.
var quick = Timing{Beat: 20 * time.Millisecond, Silent: 200 * time.Millisecond, Away: 150 * time.Millisecond, Redial: 5 * time.Millisecond}

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
	registry *mr.Registry
	net      *network
	tracker  *tracker.Tracker
	server   *Server
	http     *httptest.Server
	runs     *Runs
	work     sync.WaitGroup
}

func newCluster(t testing.TB, kinds []mr.Kind) *cluster {
	r, err := mr.NewRegistry(kinds...)
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, store: mem.New(), registry: r, net: newNetwork(t)}
	c.startTracker()
	t.Cleanup(func() {
		c.stopTracker()
		c.work.Wait()
	})
	return c
}

func (c *cluster) startTracker(expect ...mr.JobID) {
	rules := sched.Options{Expire: 400, Backoff: 5, Speculate: false}
	c.tracker = tracker.New(tracker.Options{Registry: c.registry, Rules: rules, Beat: 10 * time.Millisecond})
	c.tracker.Expect(expect...)
	c.server = &Server{Tracker: c.tracker, Timing: quick}
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
	dir := c.t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	cl := &Client{URL: "http://" + c.net.addr(), Hello: Hello{Worker: sched.WorkerID(id), Slots: slots}, Timing: quick}
	w := worker.New(worker.Options{ID: sched.WorkerID(id), Slots: slots, Report: cl.Report, Env: func(*mr.TaskSpec) (*task.Env, error) {
		return &task.Env{Store: c.store, Mux: dfs.NewMux(nil), Registry: c.registry, Shared: task.NewShared(), Cache: cache.New(1<<20, dir), Scratch: dir, Slots: slots, SortMemory: 1 << 20}, nil
	}})
	c.work.Go(func() {
		defer w.Close()
		if err := cl.Run(ctx, w); !errors.Is(err, context.Canceled) {
			c.t.Errorf("worker %s: %v", id, err)
		}
	})
	c.t.Cleanup(cancel)
	return cancel
}

// run runs a job on the tracker that is there now.
func (c *cluster) run(ctx context.Context, job *mr.JobSpec) (map[mr.PhaseID]*mr.PhaseManifest, error) {
	p := &commit.Publisher{FS: c.store, Root: dfs.Path(job.ID)}
	epoch, err := p.ClaimEpoch(ctx)
	if err != nil {
		return nil, err
	}
	done, err := p.LoadAll(ctx, job)
	if err != nil {
		return nil, err
	}
	kept, err := p.LoadTasks(ctx, job, done)
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

// TestDriverOutlivesItsTracker: the driver waits for the next tracker, which goes on; what was committed does not run again.
func TestDriverOutlivesItsTracker(t *testing.T) {
	var mu sync.Mutex
	runs := map[int]int{}
	c := newCluster(t, kinds(func(ctx context.Context, s *mr.TaskSpec) {
		if s.Attempt.Task.Phase == "write" {
			mu.Lock()
			runs[s.Attempt.Task.Index]++
			mu.Unlock()
		}
		short(ctx, s)
	}))
	for i := range 2 {
		c.startWorker(fmt.Sprint("w", i), 2)
	}
	var succeeded, restored atomic.Int32
	var wg sync.WaitGroup
	wg.Go(func() {
		for _, n := range []int32{20, 60} {
			for succeeded.Load() < n {
				time.Sleep(time.Millisecond)
			}
			c.stopTracker()
			c.startTracker("a")
		}
	})
	out, err := c.remote().Run(t.Context(), testJob("a", 150), func(u tracker.Update) {
		switch u.Kind {
		case tracker.AttemptSucceeded:
			if u.Phase == "write" {
				succeeded.Add(1)
			}
		case tracker.TaskRestored:
			restored.Add(1)
		}
	})
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	c.check(t, 150, out)
	if restored.Load() < 20 {
		t.Errorf("%d tasks were restored", restored.Load())
	}
	again := 0
	for _, n := range runs {
		again += n - 1
	}
	if again > 2*4 { // what was under way when its tracker ended, at most
		t.Errorf("%d tasks ran again", again)
	}
}

// TestDriverKillsItsJob, and hears why a job has failed.
func TestDriverKillsItsJob(t *testing.T) {
	begun := make(chan struct{}, 100)
	c := newCluster(t, kinds(func(ctx context.Context, s *mr.TaskSpec) {
		begun <- struct{}{}
		<-ctx.Done()
	}))
	c.startWorker("w", 2)
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		<-begun
		cancel(errors.New("enough"))
	}()
	_, err := c.remote().Run(ctx, testJob("a", 10), func(tracker.Update) {})
	if !errs.Is(err, errs.Canceled) {
		t.Errorf("a killed job: %v", err)
	}
	bad := testJob("b", 1)
	bad.Phases[0].Kind = "unheard-of"
	if _, err := c.remote().Run(t.Context(), bad, func(tracker.Update) {}); !errs.Is(err, errs.Invalid) {
		t.Errorf("a job of an unknown kind: %v", err)
	}
}

func short(ctx context.Context, _ *mr.TaskSpec) {
	select {
	case <-time.After(time.Duration(rand.IntN(4)) * time.Millisecond):
	case <-ctx.Done():
	}
}

func TestJobOverTheNetwork(t *testing.T) {
	c := newCluster(t, kinds(func(context.Context, *mr.TaskSpec) {}))
	for i := range 3 {
		c.startWorker(fmt.Sprint("w", i), 2)
	}
	for _, id := range []string{"a", "b"} {
		out, err := c.run(t.Context(), testJob(id, 100))
		if err != nil {
			t.Fatal(err)
		}
		c.check(t, 100, out)
	}
}

// TestConnectionsThatBreak: all connections end again and again; nothing is lost and nothing counted twice.
func TestConnectionsThatBreak(t *testing.T) {
	c := newCluster(t, kinds(short))
	for i := range 3 {
		c.startWorker(fmt.Sprint("w", i), 2)
	}
	end := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for range 12 { // a task is given up after 20 losses
			select {
			case <-time.After(50 * time.Millisecond):
				c.net.cut()
			case <-end:
				return
			}
		}
	})
	out, err := c.run(t.Context(), testJob("a", 300))
	close(end)
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	c.check(t, 300, out)
}

// TestSilence: what one side says does not arrive any more, while the connection stands.
func TestSilence(t *testing.T) {
	for _, way := range []string{"to the tracker", "to the worker"} {
		t.Run(way, func(t *testing.T) {
			var started atomic.Int32
			c := newCluster(t, kinds(func(ctx context.Context, s *mr.TaskSpec) {
				started.Add(1)
				short(ctx, s)
			}))
			c.startWorker("w0", 2)
			c.startWorker("w1", 2)
			var wg sync.WaitGroup
			wg.Go(func() {
				for started.Load() < 20 {
					time.Sleep(time.Millisecond)
				}
				c.net.silence(way == "to the tracker")
			})
			out, err := c.run(t.Context(), testJob("a", 200))
			wg.Wait()
			if err != nil {
				t.Fatal(err)
			}
			c.check(t, 200, out)
		})
	}
}

// TestWorkerIsKilled in the middle of everything, rounds included, and another one comes.
func TestWorkerIsKilled(t *testing.T) {
	for _, after := range []int32{3, 40, 105, 120} { // tasks and rounds begun
		var begun atomic.Int32
		c := newCluster(t, kinds(func(ctx context.Context, s *mr.TaskSpec) {
			begun.Add(1)
			short(ctx, s)
		}))
		kill := c.startWorker("w0", 2)
		c.startWorker("w1", 1)
		var wg sync.WaitGroup
		wg.Go(func() {
			for begun.Load() < after {
				time.Sleep(time.Millisecond)
			}
			kill()
			c.startWorker("w2", 2)
		})
		out, err := c.run(t.Context(), testJob("a", 100))
		wg.Wait()
		if err != nil {
			t.Fatal(err)
		}
		c.check(t, 100, out)
	}
}

// TestTrackerComesBack: a tracker ends in the middle of a job; the next one goes on with what was committed and with what
// still runs.
func TestTrackerComesBack(t *testing.T) {
	var mu sync.Mutex
	runs := map[int]int{} // of tasks of phase write
	hold := make(chan struct{})
	c := newCluster(t, kinds(func(ctx context.Context, s *mr.TaskSpec) {
		if s.Attempt.Task.Phase != "write" {
			return
		}
		mu.Lock()
		runs[s.Attempt.Task.Index]++
		n := len(runs)
		mu.Unlock()
		if n > 20 { // the last ones run while there is no tracker
			select {
			case <-hold:
			case <-ctx.Done():
			}
		}
	}))
	for i := range 2 {
		c.startWorker(fmt.Sprint("w", i), 2)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := c.run(t.Context(), testJob("a", 60))
		ended <- err
	}()
	for {
		mu.Lock()
		n := len(runs)
		mu.Unlock()
		if n >= 24 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	time.Sleep(50 * time.Millisecond) // results are on their way
	c.stopTracker()
	if err := <-ended; !errs.Is(err, errs.Canceled) {
		t.Fatalf("the first tracker: %v", err)
	}
	close(hold)
	time.Sleep(20 * time.Millisecond)
	c.startTracker("a")
	time.Sleep(200 * time.Millisecond) // workers are back
	out, err := c.run(t.Context(), testJob("a", 60))
	if err != nil {
		t.Fatal(err)
	}
	c.check(t, 60, out)
	for i, n := range runs {
		if n > 1 {
			t.Errorf("task %d ran %d times", i, n)
		}
	}
}

// TestOtherProtocolIsRefused for good, with the reason.
func TestOtherProtocolIsRefused(t *testing.T) {
	c := newCluster(t, kinds(short))
	cl := &Client{URL: "http://" + c.net.addr(), Hello: Hello{Worker: "w", Slots: 0}, Timing: quick}
	w := worker.New(worker.Options{ID: "w", Report: cl.Report})
	defer w.Close()
	var refused *RefusedError
	if err := cl.Run(t.Context(), w); !errors.As(err, &refused) {
		t.Errorf("a worker without slots: %v", err)
	}
}

// network passes connections on to an address that may change, and can be cut or made silent in one direction.
type network struct {
	l      net.Listener
	mu     sync.Mutex
	target string
	conns  map[net.Conn]*atomic.Int32 // what is swallowed: 1 to the tracker, 2 to the worker
	wg     sync.WaitGroup
}

func newNetwork(t testing.TB) *network {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &network{l: l, conns: map[net.Conn]*atomic.Int32{}}
	n.wg.Go(n.accept)
	t.Cleanup(func() {
		_ = l.Close()
		n.cut()
		n.wg.Wait()
	})
	return n
}

func (n *network) addr() string { return n.l.Addr().String() }

func (n *network) to(addr string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.target = addr
}

func (n *network) accept() {
	for {
		in, err := n.l.Accept()
		if err != nil {
			return
		}
		n.mu.Lock()
		out, err := net.Dial("tcp", n.target)
		if err != nil {
			n.mu.Unlock()
			_ = in.Close()
			continue
		}
		deaf := new(atomic.Int32)
		n.conns[in], n.conns[out] = deaf, deaf
		n.mu.Unlock()
		n.wg.Go(func() { n.pump(in, out, deaf, 1) })
		n.wg.Go(func() { n.pump(out, in, deaf, 2) })
	}
}

func (n *network) pump(from, to net.Conn, deaf *atomic.Int32, way int32) {
	buf := make([]byte, 64<<10)
	for {
		k, err := from.Read(buf)
		if k > 0 && deaf.Load() != way {
			if _, werr := to.Write(buf[:k]); werr != nil {
				err = werr
			}
		}
		if err != nil {
			break
		}
	}
	_, _ = from.Close(), to.Close()
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, from)
	delete(n.conns, to)
}

func (n *network) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		_ = c.Close()
	}
}

// silence swallows what comes one way on the connections that there are now.
func (n *network) silence(toTracker bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, deaf := range n.conns {
		if toTracker {
			deaf.Store(1)
		} else {
			deaf.Store(2)
		}
	}
}

// TestDrain: a worker is told to end; what it runs it brings to its end, and it gets nothing more.
func TestDrain(t *testing.T) {
	var mu sync.Mutex
	runs := map[int]int{}
	c := newCluster(t, kinds(func(ctx context.Context, s *mr.TaskSpec) {
		if s.Attempt.Task.Phase == "write" {
			mu.Lock()
			runs[s.Attempt.Task.Index]++
			mu.Unlock()
		}
		short(ctx, s)
	}))
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cl := &Client{URL: "http://" + c.net.addr(), Hello: Hello{Worker: "leaves", Slots: 2}, Timing: quick}
	w := worker.New(worker.Options{ID: "leaves", Slots: 2, Report: cl.Report, Env: func(*mr.TaskSpec) (*task.Env, error) {
		return &task.Env{Store: c.store, Mux: dfs.NewMux(nil), Registry: c.registry, Shared: task.NewShared(), Cache: cache.New(1<<20, dir), Scratch: dir, Slots: 2, SortMemory: 1 << 20}, nil
	}})
	defer w.Close()
	left := make(chan error, 1)
	go func() { left <- cl.Run(ctx, w) }()
	c.startWorker("stays", 1)
	var drained atomic.Int32
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			mu.Lock()
			n := len(runs)
			mu.Unlock()
			if n >= 50 {
				break
			}
			time.Sleep(time.Millisecond)
		}
		w.Drain()
		cl.Drain()
		for len(w.Running()) > 0 || cl.Pending() > 0 {
			time.Sleep(time.Millisecond)
		}
		cl.Leave()
		cancel()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("the worker that drains: %v", err)
		}
		drained.Add(1)
	})
	out, err := c.run(t.Context(), testJob("a", 200))
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	c.check(t, 200, out)
	again := 0
	for _, n := range runs {
		again += n - 1
	}
	if again > 2 { // launches that were on their way
		t.Errorf("%d tasks ran again", again)
	}
}
