//go:build unix

package wire

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs/local"
	"github.com/vista-mr/vista-mr/mr/sched"
	"github.com/vista-mr/vista-mr/mr/tracker"
)

// BenchmarkDeadWorker is a worker process that runs all four tasks of a job and is stopped (SIGSTOP), or whose network swallows what
// it says. Its connection stays open. It tells how long it took until the first and the last of its tasks ran elsewhere.
func BenchmarkDeadWorker(b *testing.B) {
	for name, dead := range map[string]func(p *process, n *network) error{
		"stopped":   func(p *process, _ *network) error { return p.Process.Signal(syscall.SIGSTOP) },
		"partition": func(_ *process, n *network) error { n.silence(true); return nil },
	} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				deadWorker(b, dead)
			}
		})
	}
}

func deadWorker(b *testing.B, dead func(*process, *network) error) {
	const tasks = 4
	dir := b.TempDir()
	t := start(b, "tracker", dir)
	defer t.kill(b)
	net := newNetwork(b)
	net.to(t.said)
	w := start(b, "worker", "http://"+net.addr(), dir)
	defer w.kill(b)
	ctx, cancel := context.WithCancel(b.Context())
	began := make(chan sched.WorkerID, 100)
	done := make(chan error, 1)
	h := &http.Client{Transport: &http.Transport{}}
	defer h.CloseIdleConnections()
	go func() {
		job := &mr.JobSpec{ID: "held", Phases: []mr.PhaseSpec{{ID: "p", Type: mr.MapPhase, Kind: "hold", Tasks: tasks}}}
		_, err := (&Remote{URL: "http://" + t.said, HTTP: h}).Run(ctx, job, func(u tracker.Update) {
			if u.Kind == tracker.AttemptStarted {
				began <- u.Worker
			}
		})
		done <- err
	}()
	for range tasks {
		if id := <-began; id != "stopped" {
			b.Fatalf("a task began on %s", id)
		}
	}
	ran := make(chan time.Time, tasks)
	other := make(chan error, 1)
	elsewhere := mr.Kind{Name: "hold", Map: func(json.RawMessage) (mr.Mapper, error) {
		return mr.MapperFunc(func(context.Context, mr.Task) error { ran <- time.Now(); return nil }), nil
	}}
	scratch := b.TempDir()
	go func() {
		other <- runWorker(ctx, "other", "http://"+t.said, tasks, local.New(dir, true), scratch, elsewhere)
	}()
	time.Sleep(2 * time.Second) // signs of life come and go
	begin := time.Now()
	if err := dead(w, net); err != nil {
		b.Fatal(err)
	}
	var times []time.Duration
	for range tasks {
		times = append(times, (<-ran).Sub(begin))
	}
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	cancel()
	<-other
	b.ReportMetric(times[0].Seconds(), "s-to-first-elsewhere")
	b.ReportMetric(times[tasks-1].Seconds(), "s-to-all-elsewhere")
	b.Log(fmt.Sprint(times))
}
