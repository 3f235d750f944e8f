package tracker

import (
	"context"
	"errors"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/worker"
)

// RunningLog asks the worker of a running attempt for its log. An attempt that does not run here is errs.NotExist; how long to wait
// for the worker is ctx's.
func (t *Tracker) RunningLog(ctx context.Context, job mr.JobID, id mr.AttemptID) ([]byte, error) {
	answer := make(chan worker.LogText, 1)
	number, sent := uint64(0), false
	t.ask(func() {
		at, epoch, runs := t.state.Where(job, id)
		if !runs {
			return
		}
		t.asks++
		number, sent = t.asks, true
		t.asked[number] = answer
		t.send(at, worker.ShowLog{Number: number, Job: job, Attempt: id, Epoch: epoch})
	})
	none := errs.E("logs", errs.NotExist, id.String(), errors.New("it does not run"))
	if !sent {
		return nil, none
	}
	defer t.post(func() { delete(t.asked, number) })
	select {
	case a := <-answer:
		if !a.Runs {
			return nil, none
		}
		return a.Text, nil
	case <-t.ended:
		return nil, errs.E("logs", errs.Canceled, "", ErrClosed)
	case <-ctx.Done():
		return nil, errs.E("logs", errs.Unreachable, id.String(), errors.New("its worker does not answer"))
	}
}

// answered hands a log to who has asked. It is called in the loop.
func (t *Tracker) answered(a *worker.LogText) {
	if c := t.asked[a.Number]; c != nil {
		delete(t.asked, a.Number)
		c <- *a // it has room for one
	}
}
