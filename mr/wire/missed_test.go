package wire

import (
	"context"
	"testing"
	"time"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/commit"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// TestJobThatEndsWhileAWorkerIsAway: the worker lets go of all that it has of the job when it is back, also if it is another tracker by
// then.
func TestJobThatEndsWhileAWorkerIsAway(t *testing.T) {
	for _, another := range []bool{false, true} {
		begun := make(chan struct{}, 9)
		c := newCluster(t, kinds(func(ctx context.Context, _ *mr.TaskSpec) {
			begun <- struct{}{}
			<-ctx.Done()
		}))
		closed := make(chan mr.JobID, 9)
		c.closes = func(id mr.JobID) { closed <- id }
		c.startWorker("w", 1)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			_, err := c.run(ctx, testJob("a", 1))
			ended <- err
		}()
		<-begun
		c.net.to("127.0.0.1:1")
		c.net.cut()
		if another {
			c.stopTracker()
			<-ended
			c.startTracker()
		} else {
			cancel()
			if err := <-ended; !errs.Is(err, errs.Canceled) {
				t.Errorf("the killed job: %v", err)
			}
			c.net.to(c.http.Listener.Addr().String())
		}
		select {
		case id := <-closed:
			if id != "a" {
				t.Errorf("it lets go of %s", id)
			}
		case <-time.After(20 * time.Second):
			t.Error("it does not let go of the job")
		}
		cancel()
	}
}

// TestResultThatAnotherTrackerIsToHave: one that a tracker cannot keep, because its job was taken over, is not waited for by a worker that
// drains, and told to the next tracker all the same.
func TestResultThatAnotherTrackerIsToHave(t *testing.T) {
	ran := make(chan struct{}, 9)
	goOn := make(chan struct{})
	c := newCluster(t, kinds(func(context.Context, *mr.TaskSpec) {
		ran <- struct{}{}
		<-goOn
	}))
	cl, _ := c.startClient("w", 1)
	job := testJob("a", 1)
	job.Phases = job.Phases[:1]
	ended := make(chan error, 1)
	go func() {
		_, err := c.run(t.Context(), job)
		ended <- err
	}()
	<-ran
	if _, err := (&commit.Publisher{FS: c.store, Root: "a"}).ClaimEpoch(t.Context()); err != nil {
		t.Fatal(err)
	}
	close(goOn)
	if err := <-ended; !errs.Is(err, errs.Lost) {
		t.Errorf("the job that was taken over: %v", err)
	}
	for end := time.Now().Add(5 * time.Second); cl.Pending() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d reports are waited for", cl.Pending())
		}
	}
	c.stopTracker()
	c.startTracker("a")
	if _, err := c.run(t.Context(), job); err != nil {
		t.Error(err)
	}
	if len(ran) > 0 {
		t.Error("the task ran again")
	}
}
