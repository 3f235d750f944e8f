package wire

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/attemptlog"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// TestHungAttempt: one that does nothing is given up after its phase's time and run elsewhere, although it never ends. While it runs
// its log can be had from its worker, and then from the store.
func TestHungAttempt(t *testing.T) {
	hangs, release := make(chan struct{}), make(chan struct{})
	var once atomic.Bool
	var hung, again atomic.Int64 // when, in milliseconds
	c := newCluster(t, kinds(func(_ context.Context, s *mr.TaskSpec) {
		if s.Attempt.Task == (mr.TaskID{Phase: "write", Index: 3}) && once.CompareAndSwap(false, true) {
			hung.Store(time.Now().UnixMilli())
			close(hangs)
			<-release // whatever its context says
		} else if s.Attempt.Task.Phase == "write" && s.Attempt.Task.Index == 3 {
			again.Store(time.Now().UnixMilli())
		}
	}))
	defer close(release)
	c.keepLogs = true
	c.startWorker("a", 2)
	c.startWorker("b", 2)
	job := testJob("j", 20)
	job.Phases[0].Timeout = 3000
	seen := make(chan error, 1)
	go func() {
		<-hangs
		var log []byte
		err := errs.E("logs", errs.Unreachable, "", nil)
		for errs.Is(err, errs.Unreachable) { // a question that was lost with its connection is not answered
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			log, err = c.tracker.RunningLog(ctx, "j", mr.AttemptID{Task: mr.TaskID{Phase: "write", Index: 3}, Number: 1})
			cancel()
		}
		if err == nil && !strings.Contains(string(log), "attempt begins") {
			t.Errorf("its log: %q", log)
		}
		seen <- err
	}()
	out, err := c.run(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	c.check(t, 20, out)
	if err := <-seen; err != nil {
		t.Error(err)
	}
	t.Logf("hung for %d ms, with a limit of 3000 ms, until its task ran elsewhere", again.Load()-hung.Load())
	if m := out["write"].Tasks[3]; m.Attempt.Number == 1 {
		t.Errorf("its result is of %s", m.Attempt)
	}
	var text string
	for end := time.Now().Add(10 * time.Second); text == "" && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		found, err := attemptlog.Find(t.Context(), c.store, "j", mr.TaskID{Phase: "write", Index: 3}, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			if f.Attempt.Number == 1 {
				text = string(f.Log)
			}
		}
	}
	if !strings.Contains(text, "given up") || !strings.Contains(text, "it has done nothing for") {
		t.Errorf("the log of what was given up: %q", text)
	}
	if _, err := c.tracker.RunningLog(t.Context(), "j", mr.AttemptID{Task: mr.TaskID{Phase: "write", Index: 3}, Number: 1}); !errs.Is(err, errs.NotExist) {
		t.Errorf("the log of what does not run: %v", err)
	}
}
