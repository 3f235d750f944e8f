package worker

import (
	"context"
	"runtime/debug"

	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/attemptlog"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/sched"
	"github.com/vista-mr/vista-mr/mr/task"
)

// launch, like all that Do calls, is called with w.mu held.
func (w *Worker) launch(spec *mr.TaskSpec) {
	j := w.jobs[spec.Job]
	if j == nil {
		j = &job{id: spec.Job, running: map[try]*attempt{}, rounds: map[mr.PhaseID]*rounds{}}
		j.base, j.stop = context.WithCancel(w.base)
		w.comes(j)
	}
	k := try{spec.Attempt, spec.Epoch}
	if j.running[k] != nil {
		return
	}
	j.heap, j.memory = spec.Heap, spec.Settings.Memory
	w.fitHeap()
	w.launches++
	a := &attempt{spec: spec, order: w.launches, log: attemptlog.New()}
	var ctx context.Context
	ctx, a.cancel = context.WithCancel(w.base)
	j.running[k] = a
	j.work.Go(func() { w.run(ctx, j, a) })
}

// run runs an attempt to its end, or, of a rounds phase, until its partition is pinned.
func (w *Worker) run(ctx context.Context, j *job, a *attempt) {
	env, err := w.env(j, a.spec)
	if err != nil {
		w.end(j, a, w.failed(a, err))
		return
	}
	if a.spec.Type != mr.RoundsPhase {
		m, err := env.For(a.log, &a.moves, func() { w.closing(j, a) }).Run(ctx, a.spec, a.progress)
		w.keepLog(env, a, err)
		if err != nil {
			w.end(j, a, w.failed(a, err))
			return
		}
		w.end(j, a, sched.Succeeded{Worker: w.o.ID, Job: j.id, Manifest: *m})
		return
	}
	p, err := env.For(a.log, &a.moves, nil).Open(ctx, a.spec, a.progress)
	if err != nil {
		w.keepLog(env, a, err)
		w.end(j, a, w.failed(a, err))
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if a.stopped {
		w.let(p)
		return
	}
	a.pinned = p
	w.o.Report(Report{Event: sched.Opened{Worker: w.o.ID, Job: j.id, Attempt: a.spec.Attempt, Epoch: a.spec.Epoch}})
}

// closing reports that an attempt computes no longer.
func (w *Worker) closing(j *job, a *attempt) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !a.stopped {
		w.o.Report(Report{Event: sched.Closing{Worker: w.o.ID, Job: j.id, Attempt: a.spec.Attempt, Epoch: a.spec.Epoch}})
	}
}

// env is what the job's attempts run in. Making it is tried again by the next attempt if it fails.
func (w *Worker) env(j *job, spec *mr.TaskSpec) (*task.Env, error) {
	j.making.Lock()
	defer j.making.Unlock()
	if j.env == nil {
		env, err := w.o.Env(spec)
		if err != nil {
			return nil, err
		}
		j.env = env
		j.ready.Store(env)
	}
	return j.env, nil
}

// made is the job's environment, or nil if it has none yet.
func (j *job) made() *task.Env {
	j.making.Lock()
	defer j.making.Unlock()
	return j.env
}

// end takes an attempt off the books and reports how it ended.
func (w *Worker) end(j *job, a *attempt, ev sched.Event) {
	a.cancel()
	s, succeeded := ev.(sched.Succeeded)
	if succeeded {
		w.Look()
	}
	w.mu.Lock()
	wanted := !a.stopped
	if wanted {
		if succeeded {
			s.Peak = j.peak
			ev = s
		}
		a.stopped = true
		delete(j.running, try{a.spec.Attempt, a.spec.Epoch})
		w.o.Report(Report{Event: ev})
	}
	w.mu.Unlock()
	if !succeeded || len(s.Manifest.Files) > 0 {
		w.clearLate(j.made(), a)
	}
}

func (w *Worker) failed(a *attempt, err error) sched.Event {
	return sched.Failed{Worker: w.o.ID, Job: a.spec.Job, Attempt: a.spec.Attempt, Epoch: a.spec.Epoch, Err: errs.Of("attempt", err)}
}

// cancel gives an attempt up. A partition is closed beside, because closing waits for its round.
func (w *Worker) cancel(j *job, k try) {
	if p := j.giveUp(k); p != nil {
		j.work.Go(func() { w.let(p) })
	}
}

// giveUp takes an attempt off the books and stops it. It returns the partition that is to be closed, if any.
func (j *job) giveUp(k try) *task.Pinned {
	a := j.running[k]
	if a == nil {
		return nil
	}
	delete(j.running, k)
	a.stopped = true
	a.cancel()
	return a.pinned
}

// let lets go of a partition.
func (w *Worker) let(p *task.Pinned) {
	if err := p.Close(); err != nil {
		w.log.Warn("close partition", zap.String("task", p.Spec().Attempt.Task.String()), zap.Error(err))
	}
}

func (w *Worker) closePhase(j *job, c ClosePhase) {
	if r := j.rounds[c.Phase]; r != nil {
		r.stop()
		delete(j.rounds, c.Phase)
	}
	var pinned []*task.Pinned
	for k := range j.running {
		if k.attempt.Task.Phase == c.Phase {
			if p := j.giveUp(k); p != nil {
				pinned = append(pinned, p)
			}
		}
	}
	j.work.Go(func() {
		for _, p := range pinned {
			w.let(p)
		}
		env := j.made()
		if env == nil {
			return
		}
		if err := env.Shared.CloseIdle(c.KeepOpen...); err != nil {
			w.log.Warn("close shared resources", zap.String("phase", string(c.Phase)), zap.Error(err))
		}
		// The next phase is another kind of work with another shape of memory: what this one
		// used should not count against it.
		debug.FreeOSMemory()
	})
}

// closeJob stops what runs of a job and lets go of its environment when that has ended.
func (w *Worker) closeJob(j *job) {
	j.stop()
	for _, r := range j.rounds {
		r.stop()
	}
	for k := range j.running {
		w.cancel(j, k)
	}
	w.work.Go(func() {
		j.work.Wait()
		env := j.made()
		if env == nil {
			return
		}
		if err := env.Shared.CloseIdle(); err != nil {
			w.log.Warn("close shared resources", zap.String("job", string(j.id)), zap.Error(err))
		}
		if w.o.Close != nil {
			w.o.Close(j.id, env)
		}
		debug.FreeOSMemory() // what it held is not to be there when the next job's peak begins
	})
}
