package wire

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/cache"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/task"
	"github.com/vista-mr/vista-mr/mr/tracker"
	"github.com/vista-mr/vista-mr/mr/worker"
)

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

// TestStoppingTrackerKillsNoJob: a driver that ends because its tracker is about to takes nothing along that the next tracker goes on
// with: the attempt that runs is taken back.
func TestStoppingTrackerKillsNoJob(t *testing.T) {
	begun, ends := make(chan struct{}, 100), make(chan struct{})
	var stopped atomic.Bool
	c := newCluster(t, kinds(func(ctx context.Context, s *mr.TaskSpec) {
		begun <- struct{}{}
		select {
		case <-ends:
		case <-ctx.Done():
			stopped.Store(true)
		}
	}))
	c.startWorker("w", 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-begun
		c.runs.Stop()
		cancel()
	}()
	if _, err := c.remote().Run(ctx, testJob("a", 1), func(tracker.Update) {}); !errs.Is(err, errs.Canceled) {
		t.Errorf("the driver: %v", err)
	}
	c.stopTracker()
	c.startTracker("a")
	for len(c.tracker.Workers()) == 0 { // it names what it runs
		time.Sleep(time.Millisecond)
	}
	var started atomic.Int32
	go func() {
		for len(c.tracker.Jobs("a")) == 0 {
			time.Sleep(time.Millisecond)
		}
		close(ends)
	}()
	out, err := c.remote().Run(t.Context(), testJob("a", 1), func(u tracker.Update) {
		if u.Kind == tracker.AttemptStarted && u.Phase == "write" {
			started.Add(1)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	c.check(t, 1, out)
	if stopped.Load() || started.Load() > 0 {
		t.Errorf("the attempt was stopped: %v; %d others were started", stopped.Load(), started.Load())
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

// TestAJobWhoseFolderWasRemoved runs once more on the tracker that has run it before, whatever of it the store has forgotten.
func TestAJobWhoseFolderWasRemoved(t *testing.T) {
	c := newCluster(t, kinds(func(context.Context, *mr.TaskSpec) {}))
	c.startWorker("w", 2)
	for range 3 {
		out, err := c.remote().Run(t.Context(), testJob("a", 10), func(tracker.Update) {})
		if err != nil {
			t.Fatal(err)
		}
		c.check(t, 10, out)
		if err := dfs.RemoveAll(t.Context(), c.store, ""); err != nil {
			t.Fatal(err)
		}
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
			c := newClusterOn(t, kinds(func(ctx context.Context, s *mr.TaskSpec) {
				started.Add(1)
				short(ctx, s)
			}), mem.New(), impatient)
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
		c := newClusterOn(t, kinds(func(ctx context.Context, s *mr.TaskSpec) {
			begun.Add(1)
			short(ctx, s)
		}), mem.New(), impatient)
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
	for len(c.tracker.Workers()) < 2 { // they name what they run, and what has ended and was not heard of
		time.Sleep(time.Millisecond)
	}
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
	cl := &Client{URL: "http://" + c.net.addr(), Hello: Hello{Worker: "leaves", Slots: 2, Memory: 5, Whole: 7, Keeps: true}, Timing: quick}
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
		offers := func() (memory, whole int64, keeps bool) {
			for _, n := range c.tracker.Workers() {
				if n.ID == "leaves" {
					return n.Memory, n.Whole, n.Keeps
				}
			}
			return 0, 0, false
		}
		if memory, whole, keeps := offers(); memory != 5 || whole != 7 || !keeps {
			t.Errorf("the worker offers %d of %d bytes, and keeps files: %t", memory, whole, keeps)
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
