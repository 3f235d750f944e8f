package local

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/sched"
	"github.com/vista-mr/vista-mr/mr/task"
)

// loop is the coordinator's side of a rounds phase: the job's own Loop, its current message,
// and the sums that arrived for the round.
type loop struct {
	loop    mr.Loop
	msg     []byte
	sum     []byte         // of the accepted sums of this round
	pending map[int]*round // sums that wait for their acceptance, by their first task
	started time.Time      // of the round
	ctx     context.Context
	stop    context.CancelFunc // rounds that are being computed are for nothing
}

// round is a worker's answer: one sum over the partitions that it could do.
type round struct {
	phase  mr.PhaseID
	number int
	tasks  []int
	sum    []byte
}

// nextMessage asks the loop for the message of a round. It is the only user of the loop's
// sum at that time: all sums of the round before have been accepted.
func (r *runner) nextMessage(a sched.NextMessage) {
	l := r.loops[a.Phase]
	if l == nil {
		l = &loop{pending: map[int]*round{}}
		l.ctx, l.stop = context.WithCancel(r.base)
		r.loops[a.Phase] = l
	}
	if a.Round > 0 {
		r.o.Observe(Update{Kind: RoundDone, Phase: a.Phase, Round: a.Round - 1, Seconds: time.Since(l.started).Seconds()})
	}
	spec := r.phases[a.Phase]
	// The loop runs beside other phases: it sees what is published now.
	published := maps.Clone(r.published)
	r.post(func() report {
		var msg []byte
		var final bool
		err := errs.Guard(func() (err error) {
			msg, final, err = r.advance(l, spec, published)
			return err
		})
		if err != nil {
			return report{event: sched.LoopFailed{Job: r.job.ID, Phase: a.Phase, Err: asErr("loop", err)}}
		}
		l.msg, l.sum, l.started = msg, nil, time.Now()
		return report{event: sched.Message{Job: r.job.ID, Phase: a.Phase, Round: a.Round, Final: final}}
	})
}

func (r *runner) advance(l *loop, spec *mr.PhaseSpec, published map[mr.PhaseID]*mr.PhaseManifest) (msg []byte, final bool, err error) {
	if l.loop == nil {
		kind, err := r.o.Env.Registry.Kind(spec.Kind)
		if err != nil {
			return nil, false, errs.E("loop", errs.Invalid, "", err)
		}
		if kind.Loop == nil {
			return nil, false, errs.E("loop", errs.Invalid, "", fmt.Errorf("kind %s has no loop", spec.Kind))
		}
		if l.loop, err = kind.Loop(l.ctx, spec.Params, func(id mr.PhaseID) []json.RawMessage { return values(published[id]) }); err != nil {
			return nil, false, err
		}
	}
	return l.loop.Next(l.ctx, l.sum)
}

// runRound has every slot take partitions until none is left. Each slot adds up its own sum;
// the slots' sums are added at the end. Merge does not care about the order.
func (r *runner) runRound(a sched.RunRound) {
	l := r.loops[a.Phase]
	parts := make([]*task.Pinned, len(a.Tasks))
	for i, t := range a.Tasks {
		parts[i] = r.pinned[a.Phase][t]
	}
	if a.Final {
		r.finishAll(parts, l.msg)
		return
	}
	slots := make([]slotSum, min(r.o.Env.Slots, len(parts)))
	var next atomic.Int64
	r.work.Add(1)
	go func() {
		defer r.work.Done()
		var wg sync.WaitGroup
		for s := range slots {
			wg.Go(func() {
				for i := int(next.Add(1)) - 1; i < len(parts); i = int(next.Add(1)) - 1 {
					if err := slots[s].add(l.ctx, l, parts[i], a.Round); err != nil {
						r.events <- r.gone(parts[i], err)
						continue
					}
					slots[s].tasks = append(slots[s].tasks, a.Tasks[i])
				}
			})
		}
		wg.Wait()
		done, err := joinSlots(l, slots)
		if err != nil {
			r.events <- report{event: sched.LoopFailed{Job: r.job.ID, Phase: a.Phase, Err: asErr("merge", err)}}
			return
		}
		if len(done.tasks) > 0 {
			rd := &round{phase: a.Phase, number: a.Round, tasks: done.tasks, sum: done.sum}
			r.events <- report{round: rd, event: sched.RoundDone{Worker: worker, Job: r.job.ID, Phase: a.Phase, Epoch: a.Epoch, Round: a.Round, Tasks: done.tasks}}
		}
	}()
}

// slotSum is what one slot has added up, and the buffer for the next partition's sum.
type slotSum struct {
	sum, buf []byte
	tasks    []int
}

func (s *slotSum) add(ctx context.Context, l *loop, p *task.Pinned, number int) (err error) {
	if s.buf, err = p.Round(ctx, number, l.msg, s.buf[:0]); err != nil {
		return err
	}
	return s.take(l, s.buf)
}

func (s *slotSum) take(l *loop, sum []byte) (err error) {
	if s.sum == nil {
		s.sum = append([]byte(nil), sum...)
		return nil
	}
	s.sum, err = l.merge(s.sum, sum)
	return err
}

func (l *loop) merge(a, b []byte) (sum []byte, err error) {
	err = errs.Guard(func() (err error) {
		sum, err = l.loop.Merge(a, b)
		return err
	})
	return sum, err
}

func joinSlots(l *loop, slots []slotSum) (slotSum, error) {
	var all slotSum
	for _, s := range slots {
		if len(s.tasks) == 0 {
			continue
		}
		if err := all.take(l, s.sum); err != nil {
			return all, err
		}
		all.tasks = append(all.tasks, s.tasks...)
	}
	return all, nil
}

// gone lets go of a partition that failed and reports its attempt's failure. The next attempt of
// its task may need the room.
func (r *runner) gone(p *task.Pinned, err error) report {
	if cerr := p.Close(); cerr != nil {
		r.log.Warn("close partition", zap.String("task", p.Spec().Attempt.Task.String()), zap.Error(cerr))
	}
	rep := r.failed(p.Spec().Attempt, err)
	rep.unpinned = p
	return rep
}

// finishAll ends every partition, as many at once as there are slots.
func (r *runner) finishAll(parts []*task.Pinned, msg []byte) {
	free := make(chan struct{}, r.o.Env.Slots)
	for _, p := range parts {
		r.post(func() report {
			free <- struct{}{}
			defer func() { <-free }()
			m, err := p.Finish(r.base, msg)
			if err != nil {
				return r.gone(p, err)
			}
			return report{event: sched.Succeeded{Worker: worker, Job: r.job.ID, Manifest: *m}}
		})
	}
}

// noteRound keeps a sum until the state machine says whether it counts.
func (r *runner) noteRound(rd *round) {
	if l := r.loops[rd.phase]; l != nil {
		l.pending[rd.tasks[0]] = rd
	}
}

func (r *runner) acceptSum(a sched.AcceptSum) {
	l := r.loops[a.Phase]
	rd := l.pending[a.Tasks[0]]
	delete(l.pending, a.Tasks[0])
	if rd == nil || rd.number != a.Round {
		r.done, r.err = true, errs.E("round", errs.Internal, "", fmt.Errorf("no sum of %s round %d for task %d", a.Phase, a.Round, a.Tasks[0]))
		return
	}
	if l.sum == nil {
		l.sum = rd.sum
		return
	}
	sum, err := l.merge(l.sum, rd.sum)
	if err != nil {
		r.done, r.err = true, asErr("merge", err)
		return
	}
	l.sum = sum
}
