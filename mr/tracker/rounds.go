package tracker

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/sched"
)

// loop is the coordinator's side of a rounds phase: the job's own Loop, its current message,
// and the sum that has arrived for the round.
type loop struct {
	loop    mr.Loop
	merge   func(a, b []byte) ([]byte, error)
	msg     []byte
	sum     []byte    // of the accepted sums of this round
	offered []byte    // the sum that the state machine is being asked about
	started time.Time // of the round
	ctx     context.Context
	stop    context.CancelFunc
}

// nextMessage asks the loop for the message of a round. It is the only user of the loop's
// sum at that time: all sums of the round before have been accepted.
func (t *Tracker) nextMessage(j *job, a sched.NextMessage) {
	l := j.loops[a.Phase]
	if l == nil {
		l = &loop{}
		l.ctx, l.stop = context.WithCancel(j.base)
		j.loops[a.Phase] = l
	}
	if a.Round > 0 {
		j.o.Observe(Update{Kind: RoundDone, Phase: a.Phase, Round: a.Round - 1, Seconds: time.Since(l.started).Seconds()})
	}
	spec := j.phases[a.Phase]
	// The loop runs beside other phases: it sees what is published now.
	published := maps.Clone(j.published)
	j.do(t, func(context.Context) func() {
		var msg []byte
		var final bool
		err := errs.Guard(func() (err error) {
			msg, final, err = t.advance(l, spec, published)
			return err
		})
		return func() {
			if t.jobs[j.spec.ID] != j {
				return // it has ended, and another one may have its id
			}
			if err != nil {
				t.step(sched.LoopFailed{Job: j.spec.ID, Phase: a.Phase, Err: errs.Of("loop", err)})
				return
			}
			l.msg, l.sum, l.started = msg, nil, time.Now()
			t.step(sched.Message{Job: j.spec.ID, Phase: a.Phase, Round: a.Round, Final: final})
		}
	})
}

func (t *Tracker) advance(l *loop, spec *mr.PhaseSpec, published map[mr.PhaseID]*mr.PhaseManifest) (msg []byte, final bool, err error) {
	if l.loop == nil {
		kind, err := t.o.Registry.Kind(spec.Kind)
		if err != nil {
			return nil, false, errs.E("loop", errs.Invalid, "", err)
		}
		if kind.Loop == nil || kind.Merge == nil {
			return nil, false, errs.E("loop", errs.Invalid, "", fmt.Errorf("kind %s has no loop", spec.Kind))
		}
		l.merge = kind.Merge
		if l.loop, err = kind.Loop(l.ctx, spec.Params, func(id mr.PhaseID) []json.RawMessage { return values(published[id]) }); err != nil {
			return nil, false, err
		}
	}
	return l.loop.Next(l.ctx, l.sum)
}

// roundDone offers a worker's sum to the state machine, which says at once, by an AcceptSum, if it counts. Else it is
// thrown away.
func (t *Tracker) roundDone(ev sched.RoundDone, sum []byte) {
	j := t.jobs[ev.Job]
	if j == nil || j.loops[ev.Phase] == nil {
		t.step(ev)
		return
	}
	l := j.loops[ev.Phase]
	l.offered = sum
	t.step(ev)
	l.offered = nil
}

func (t *Tracker) acceptSum(j *job, a sched.AcceptSum) {
	l := j.loops[a.Phase]
	if l == nil {
		return
	}
	if l.offered == nil {
		t.fail(j, a.Phase, errs.E("round", errs.Internal, "", fmt.Errorf("no sum of %s round %d for task %d", a.Phase, a.Round, a.Tasks[0])))
		return
	}
	if l.sum == nil {
		l.sum = l.offered
		return
	}
	err := errs.Guard(func() (err error) {
		l.sum, err = l.merge(l.sum, l.offered)
		return err
	})
	if err != nil {
		t.fail(j, a.Phase, err)
	}
}

// fail ends a job whose loop cannot go on. It is posted, because a step is being carried out.
func (t *Tracker) fail(j *job, phase mr.PhaseID, err error) {
	t.post(func() {
		if t.jobs[j.spec.ID] == j {
			t.step(sched.LoopFailed{Job: j.spec.ID, Phase: phase, Err: errs.Of("merge", err)})
		}
	})
}
