package worker

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/attemptlog"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/sched"
	"github.com/vista-mr/vista-mr/mr/task"
)

// Options is what a worker needs. Log may be nil.
type Options struct {
	ID    sched.WorkerID
	Slots int
	// Env makes what a job's attempts run in, from the first that comes; Close, if not nil, lets go of it.
	Env   func(spec *mr.TaskSpec) (*task.Env, error)
	Close func(job mr.JobID, e *task.Env)
	// Report takes what is to be told. It must not block: it is called with locks held, so that the order of
	// reports is that in which things happened.
	Report func(Report)
	// Usage tells what the process uses; nil: it is not known.
	Usage func() task.Usage
	// Anew makes the peak of Usage begin anew, with what the process holds now; false: the system cannot. It is called with locks
	// held. nil: it cannot.
	Anew func() bool
	// Heap is told how many bytes the jobs that run here may have on the heap together, whenever that changes; 0: there is no limit.
	// It is called with locks held. nil: nobody wants to know.
	Heap func(bytes int64)
	Log  *zap.Logger
}

// Worker runs attempts. Its methods may be called from any goroutine.
type Worker struct {
	o    Options
	log  *zap.Logger
	base context.Context
	stop context.CancelFunc
	work sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	draining bool
	jobs     map[mr.JobID]*job
	launches int // so far
	heap     int64
	most     int64 // that the process has held so far, in bytes, as far as is known
}

// job is what runs of a job.
type job struct {
	id      mr.JobID
	base    context.Context // until the job is closed
	stop    context.CancelFunc
	making  sync.Mutex // held while env is made
	env     *task.Env
	ready   atomic.Pointer[task.Env] // env, for who must not wait
	heap    int64                    // of the phase that was launched last
	memory  int64                    // that it may take here
	peak    int64                    // the most that the process has held while the job was here, as far as is known
	before  int64                    // Usage's peak up to this is from before the job came
	running map[try]*attempt
	rounds  map[mr.PhaseID]*rounds
	work    sync.WaitGroup
}

// try names an attempt among all coordinators'.
type try struct {
	attempt mr.AttemptID
	epoch   int64
}

type attempt struct {
	spec        *mr.TaskSpec
	log         *attemptlog.Log
	order       int // of its launch
	cancel      context.CancelFunc
	done, total atomic.Int64
	moves       atomic.Int64
	pinned      *task.Pinned // of a rounds phase, once it is open
	stopped     bool         // its end is not reported
}

func (a *attempt) progress(done, total int64) {
	a.done.Store(done)
	a.total.Store(total)
}

// New returns a worker that runs nothing.
func New(o Options) *Worker {
	w := &Worker{o: o, log: o.Log, jobs: map[mr.JobID]*job{}}
	if w.log == nil {
		w.log = zap.NewNop()
	}
	w.base, w.stop = context.WithCancel(context.Background())
	return w
}

// Do carries out a command, or begins to. After Close it does nothing.
func (w *Worker) Do(c Command) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	switch c := c.(type) {
	case Launch:
		if !w.draining { // what is not named is launched elsewhere
			w.launch(&c.Spec)
		}
	case Cancel:
		if j := w.jobs[c.Job]; j != nil {
			w.giveUpFor(j, try{c.Attempt, c.Epoch}, c.Reason)
			w.cancel(j, try{c.Attempt, c.Epoch})
		}
	case ShowLog:
		w.showLog(c)
	case Round:
		if j := w.jobs[c.Job]; j != nil {
			w.round(j, c)
		}
	case ClosePhase:
		if j := w.jobs[c.Job]; j != nil {
			w.closePhase(j, c)
		}
	case CloseJob:
		if j := w.jobs[c.Job]; j != nil {
			delete(w.jobs, c.Job)
			w.closeJob(j)
			w.fitHeap()
		}
	}
}

// Drain makes the worker take no new attempts, and lets go of the partitions that it has pinned: rounds would keep them for
// long, and go on without them elsewhere.
func (w *Worker) Drain() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.draining = true
	for _, j := range w.jobs {
		for k, a := range j.running {
			if a.spec.Type == mr.RoundsPhase {
				w.cancel(j, k)
			}
		}
	}
}

// Shed gives up the attempt that was launched last, as one that ran out of memory: it is tried again, with less. It is for who sees
// that the process holds more than it may. A pinned partition is not shed, because its rounds would begin anew. false:
// there is nothing to shed.
func (w *Worker) Shed(why error) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	var last *attempt
	var of *job
	for _, j := range w.jobs {
		for _, a := range j.running {
			if a.pinned == nil && (last == nil || a.order > last.order) {
				last, of = a, j
			}
		}
	}
	if last == nil {
		return false
	}
	w.giveUpFor(of, try{last.spec.Attempt, last.spec.Epoch}, why.Error())
	of.giveUp(try{last.spec.Attempt, last.spec.Epoch})
	w.o.Report(Report{Event: w.failed(last, errs.E("memory", errs.NoMemory, "", why))})
	return true
}

// Running names all attempts that run here, as a sign of life does.
func (w *Worker) Running() []sched.Progress {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.named()
}

// Jobs names all jobs of which something is here: attempts, or what they share.
func (w *Worker) Jobs() []sched.Holding {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []sched.Holding
	for _, j := range w.jobs {
		out = append(out, sched.Holding{Job: j.id, Memory: j.memory})
	}
	slices.SortFunc(out, func(a, b sched.Holding) int { return strings.Compare(string(a.Job), string(b.Job)) })
	return out
}

// Beat reports a sign of life.
func (w *Worker) Beat() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.o.Report(Report{Event: sched.Beat{Worker: w.o.ID, Progress: w.named(), Usage: w.usage()}})
	}
}

// usage is called with w.mu held.
func (w *Worker) usage() (u sched.Usage) {
	if w.o.Usage != nil {
		now := w.o.Usage()
		w.noted(now)
		u.Resident, u.Peak = now.Resident, w.most
	}
	for _, j := range w.jobs {
		if e := j.ready.Load(); e != nil && e.Cache != nil {
			c := e.Cache.Usage()
			u.Cached, u.Spilt, u.Budget = u.Cached+c.Memory, u.Spilt+c.Disk, u.Budget+c.Budget
		}
	}
	return u
}

// fitHeap tells how large the heap may be for the jobs that are here. It is called with w.mu held.
func (w *Worker) fitHeap() {
	sum := int64(0)
	for _, j := range w.jobs {
		if j.heap <= 0 {
			sum = 0 // one that has no limit
			break
		}
		sum += j.heap
	}
	if w.o.Heap != nil && sum != w.heap {
		w.heap = sum
		w.o.Heap(sum)
	}
}

func (w *Worker) named() []sched.Progress {
	var out []sched.Progress
	for _, j := range w.jobs {
		for k, a := range j.running {
			out = append(out, sched.Progress{Job: j.id, Attempt: k.attempt, Epoch: k.epoch, Done: a.done.Load(), Total: a.total.Load(), Moves: a.moves.Load(), Pinned: a.pinned != nil, Memory: a.spec.Memory})
		}
	}
	slices.SortFunc(out, func(a, b sched.Progress) int {
		return cmp.Or(strings.Compare(string(a.Job), string(b.Job)), strings.Compare(string(a.Attempt.Task.Phase), string(b.Attempt.Task.Phase)),
			a.Attempt.Task.Index-b.Attempt.Task.Index, a.Attempt.Number-b.Attempt.Number)
	})
	return out
}

// Close stops everything, waits for it, and reports nothing more.
func (w *Worker) Close() {
	w.mu.Lock()
	w.closed = true
	jobs := w.jobs
	w.jobs = nil
	w.stop()
	for _, j := range jobs {
		w.closeJob(j)
	}
	w.mu.Unlock()
	w.work.Wait()
}
