package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"

	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/sched"
)

// rounds is what a phase's rounds are computed in; they end with it.
type rounds struct {
	ctx  context.Context
	stop context.CancelFunc
}

// round has every slot take partitions until none is left. Each slot adds up its own sum; the slots' sums are
// added at the end. Merging does not care about the order. A partition that is not here any more is left out: its
// attempt is not named by signs of life either, and so given up by who asks.
func (w *Worker) round(j *job, c Round) {
	r := j.rounds[c.Phase]
	if r == nil {
		r = &rounds{}
		r.ctx, r.stop = context.WithCancel(w.base)
		j.rounds[c.Phase] = r
	}
	here := map[int]*attempt{}
	for k, a := range j.running {
		if k.attempt.Task.Phase == c.Phase && k.epoch == c.Epoch && a.pinned != nil {
			here[k.attempt.Task.Index] = a
		}
	}
	var parts []*attempt
	for _, i := range c.Tasks {
		if a := here[i]; a != nil {
			parts = append(parts, a)
		}
	}
	if len(parts) == 0 {
		return
	}
	kind, err := j.made().Registry.Kind(parts[0].spec.Kind)
	if err == nil && kind.Merge == nil {
		err = fmt.Errorf("kind %s cannot merge sums", kind.Name)
	}
	if err != nil {
		w.o.Report(Report{Event: sched.LoopFailed{Job: c.Job, Phase: c.Phase, Err: errs.Of("round", errs.E("round", errs.Invalid, "", err))}})
		return
	}
	if c.Final {
		w.finish(j, parts, c.Message)
		return
	}
	j.work.Go(func() { w.sum(r.ctx, j, c, kind.Merge, parts) })
}

// slotSum is what one slot has added up, and the buffer for the next partition's sum.
type slotSum struct {
	sum, buf []byte
	tasks    []int
}

func (s *slotSum) take(merge func(a, b []byte) ([]byte, error), sum []byte) error {
	if s.sum == nil {
		s.sum = append([]byte(nil), sum...)
		return nil
	}
	return errs.Guard(func() (err error) {
		s.sum, err = merge(s.sum, sum)
		return err
	})
}

func (w *Worker) sum(ctx context.Context, j *job, c Round, merge func(a, b []byte) ([]byte, error), parts []*attempt) {
	slots := make([]slotSum, min(w.o.Slots, len(parts)))
	broken := make([]error, len(slots)) // merging failed
	var next atomic.Int64
	var wg sync.WaitGroup
	for s := range slots {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(parts); i = int(next.Add(1)) - 1 {
				a := parts[i]
				var err error
				if slots[s].buf, err = a.pinned.Round(ctx, c.Number, c.Message, slots[s].buf[:0]); err != nil {
					w.gone(j, a, err)
					continue
				}
				if broken[s] = slots[s].take(merge, slots[s].buf); broken[s] != nil {
					return
				}
				slots[s].tasks = append(slots[s].tasks, a.spec.Attempt.Task.Index)
			}
		})
	}
	wg.Wait()
	var all slotSum
	err := errors.Join(broken...)
	for _, s := range slots {
		if len(s.tasks) > 0 && err == nil {
			err = all.take(merge, s.sum)
			all.tasks = append(all.tasks, s.tasks...)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case ctx.Err() != nil:
	case err != nil:
		w.o.Report(Report{Event: sched.LoopFailed{Job: c.Job, Phase: c.Phase, Err: errs.Of("merge", err)}})
	case len(all.tasks) > 0:
		w.o.Report(Report{Sum: all.sum, Event: sched.RoundDone{Worker: w.o.ID, Job: c.Job, Phase: c.Phase, Epoch: c.Epoch, Round: c.Number, Tasks: all.tasks}})
	}
}

// gone lets go of a partition that failed and then reports its attempt's failure: the next attempt of its task may
// need the room.
func (w *Worker) gone(j *job, a *attempt, err error) {
	w.let(a.pinned)
	w.keepLog(j.made(), a, err)
	w.end(j, a, w.failed(a, err))
}

// committers bounds how many partitions are written to the store at once.
const committers = 8

// finish ends every partition: as many compute as there are slots, and more wait for the store, which is slow to answer for each of many
// small files.
func (w *Worker) finish(j *job, parts []*attempt, msg []byte) {
	slots := semaphore.NewWeighted(int64(max(1, w.o.Slots)))
	open := semaphore.NewWeighted(int64(max(committers, w.o.Slots)))
	for _, a := range parts {
		j.work.Go(func() {
			take := func(s *semaphore.Weighted) { _ = s.Acquire(context.Background(), 1) } // each is given back soon, also when the job is stopped
			take(open)
			defer open.Release(1)
			take(slots)
			m, err := a.pinned.Finish(w.base, msg, func() { slots.Release(1) })
			if err != nil {
				w.gone(j, a, err)
				return
			}
			w.keepLog(j.made(), a, nil)
			w.end(j, a, sched.Succeeded{Worker: w.o.ID, Job: j.id, Manifest: *m})
		})
	}
}
