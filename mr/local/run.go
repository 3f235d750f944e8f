package local

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/sched"
	"github.com/vista-mr/vista-mr/mr/task"
	"github.com/vista-mr/vista-mr/mr/tracker"
	"github.com/vista-mr/vista-mr/mr/worker"
)

// Options is what a run needs. Observe and Log may be nil.
type Options struct {
	Env       *task.Env
	Publisher tracker.Publisher
	Epoch     int64
	Done      []mr.PhaseManifest   // phases that an earlier run of the same job has published
	Committed []mr.Manifest        // tasks of others that it has kept
	Observe   func(tracker.Update) // called from one goroutine: it must not block
	Memory    int64                // bytes that concurrent tasks may hold together; 0: not limited
	Beat      time.Duration        // how often progress is observed; 0: twice a second
	Backoff   time.Duration        // sched.Options.Backoff; 0: a second
	Log       *zap.Logger
	// Guard, if it is set, runs beside the job until ctx ends, and gives up attempts that are to be tried again with less
	// memory: see worker.Worker.Shed.
	Guard func(ctx context.Context, shed func(why error) bool)
}

// id names the only worker there is.
const id sched.WorkerID = "local"

// link is the way to a worker in this process.
type link struct{ w *worker.Worker }

func (l link) Send(c worker.Command) { l.w.Do(c) }

// Run runs a job to its end and returns the manifests of its phases. The error is the job's:
// it has a kind, and with it come the manifests of the phases that were published before.
func Run(ctx context.Context, job *mr.JobSpec, o Options) (map[mr.PhaseID]*mr.PhaseManifest, error) {
	if o.Env.Slots < 1 {
		return nil, errs.E("submit", errs.Invalid, "", fmt.Errorf("%d slots: nothing could ever run", o.Env.Slots))
	}
	if o.Beat <= 0 {
		o.Beat = 500 * time.Millisecond
	}
	if o.Backoff <= 0 {
		o.Backoff = time.Second
	}
	t := tracker.New(tracker.Options{Registry: o.Env.Registry, Rules: sched.Options{Epoch: o.Epoch, Backoff: sched.Tick(o.Backoff.Milliseconds())},
		Beat: o.Beat, Log: o.Log})
	defer t.Close()
	w := worker.New(worker.Options{ID: id, Slots: o.Env.Slots, Env: func(*mr.TaskSpec) (*task.Env, error) { return o.Env, nil }, Report: func(r worker.Report) { t.Report(r, nil) }, Log: o.Log})
	defer w.Close()
	t.Join(link{w}, sched.WorkerUp{Worker: id, Slots: o.Env.Slots, Memory: o.Memory})
	defer beat(w, o.Beat)()
	if o.Guard != nil {
		guarded, stop := context.WithCancel(ctx)
		ended := make(chan struct{})
		go func() { defer close(ended); o.Guard(guarded, w.Shed) }()
		defer func() { stop(); <-ended }()
	}
	return t.Run(ctx, job, tracker.JobOptions{Store: o.Env.Store, Publisher: o.Publisher, Epoch: o.Epoch, Done: o.Done, Committed: o.Committed, Observe: o.Observe})
}

// beat has a worker give signs of life, until the function that it returns is called.
func beat(w *worker.Worker, every time.Duration) (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				w.Beat()
			case <-end:
				return
			}
		}
	}()
	return func() { close(end); <-ended }
}
