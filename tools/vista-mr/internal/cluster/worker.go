package cluster

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net/http"
	"os"
	"time"

	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/sched"
	"github.com/vista-mr/vista-mr/mr/task"
	"github.com/vista-mr/vista-mr/mr/wire"
	"github.com/vista-mr/vista-mr/mr/worker"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/host"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/machine"
)

// WorkerOptions is what a worker daemon needs.
type WorkerOptions struct {
	Tracker string // its URL
	Token   string
	HTTP    *http.Client // nil: the usual one
	Slots   int
	Memory  int64 // bytes that its attempts may hold together; 0: not limited
	Whole   int64 // bytes that its machine or control group has, for refusals; 0: not known
	Keeps   bool  // its cache can be written
	Scratch string
	Grace   time.Duration // that running attempts are given when the worker is to end
	Env     func(ctx context.Context, spec *mr.TaskSpec) (*task.Env, error)
	Timing  wire.Timing
	Version string
	Log     *zap.Logger
}

// ServeWorker runs a worker until ctx ends: then it takes no new attempts, gives those that run some time, and leaves. It ends at once, exit
// class unreachable, if the tracker refuses it, or if it has never joined and dialling again as it was started cannot help (mistake).
func ServeWorker(ctx context.Context, o WorkerOptions) error {
	if err := checkURL(o.Tracker); err != nil {
		return err
	}
	id, name, err := identity()
	if err != nil {
		return exit.As(exit.Internal, err)
	}
	log := o.Log
	if log == nil {
		log = zap.NewNop()
	}
	log = log.With(zap.String("worker", string(id)))
	base, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	cl := &wire.Client{URL: o.Tracker, Token: o.Token, HTTP: o.HTTP, Timing: o.Timing, Hopeless: hopeless(o.Tracker), Log: log,
		Hello: wire.Hello{Worker: id, Version: o.Version, Host: name, Near: machine.Names(), Slots: o.Slots, Memory: o.Memory, Whole: o.Whole, Keeps: o.Keeps}}
	w := worker.New(worker.Options{ID: id, Slots: o.Slots, Report: cl.Report, Log: log, Usage: host.Usage, Anew: machine.PeakAnew, Heap: func(n int64) { machine.LimitHeap(heapLimit(n, o.Memory)) },
		Env: func(s *mr.TaskSpec) (*task.Env, error) { return o.Env(base, s) }})
	defer w.Close()
	ended := make(chan error, 1)
	go func() { ended <- cl.Run(base, w) }()
	guarded := make(chan struct{})
	go func() {
		defer close(guarded)
		held := machine.Held
		if !machine.PeakAnew() { // what is seen here is all that is known of a job's peak
			held = func() int64 { w.Look(); return machine.Held() }
		}
		host.Guard(base, w.Shed, o.Memory, held, log)
	}()
	defer func() { stop(); <-guarded }()
	select {
	case err := <-ended:
		return refusedWorker(o.Tracker, err)
	case <-ctx.Done():
	}
	log.Info("draining", zap.Int("running", len(w.Running())), zap.Duration("grace", o.Grace))
	w.Drain()
	cl.Drain()
	end := time.After(o.Grace)
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
wait:
	for len(w.Running()) > 0 || cl.Pending() > 0 {
		select {
		case <-look.C:
		case <-end:
			log.Warn("the time is over; what still runs is lost", zap.Int("running", len(w.Running())), zap.Int("unheard", cl.Pending()))
			break wait
		case err := <-ended:
			return refusedWorker(o.Tracker, err)
		}
	}
	cl.Leave()
	stop()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		return refusedWorker(o.Tracker, err)
	}
	return nil
}

// refusedWorker says that a tracker does not take this worker.
func refusedWorker(url string, err error) error {
	if refused := (*wire.RefusedError)(nil); errors.As(err, &refused) {
		err = &errs.Error{Op: "worker", Kind: errs.Unauthorized, ID: "E-TRACKER", Path: url, Err: err,
			Fix: "set $" + TokenVariable + " or --token-file to the tracker's token, or --cert and --key to a certificate that it takes; and see that both programs have the same version"}
	}
	return exit.As(exit.Unreachable, err)
}

// heapLimit is the limit of Go's heap for jobs that may have so many bytes there together, in a worker with so much memory; 0 stands for no
// limit.
func heapLimit(jobs, memory int64) int64 {
	switch {
	case jobs <= 0:
		return math.MaxInt64
	case memory <= 0:
		return jobs
	}
	return min(jobs, memory)
}

// identity is a name that no other worker has or had.
func identity() (sched.WorkerID, string, error) {
	host, err := os.Hostname()
	if err != nil {
		host = "host"
	}
	var b [4]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", "", err
	}
	return sched.WorkerID(fmt.Sprintf("%s-%d-%s", host, os.Getpid(), hex.EncodeToString(b[:]))), host, nil
}
