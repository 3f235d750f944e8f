package run

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/results"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/machine"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/progress"
)

// Submit runs a job to its end: it checks everything that Validate does, makes the output folder its own,
// and executes the job's plan. A run that was interrupted is taken up where it stopped. What is refused before
// anything was computed leaves the output as it was.
func Submit(ctx context.Context, j *conf.Job, o Options) (*results.Summary, error) {
	start := time.Now()
	o.fill()
	o.opensModel = true
	defer machine.SpareHeap(machine.Sparing)()
	if err := Supported(j); err != nil {
		return nil, err
	}
	if err := enoughAddresses(); err != nil {
		return nil, err
	}
	for told := false; ; told = true {
		s, err := submit(ctx, j, o, start)
		if !busy(err) || time.Since(start) > o.Patience {
			return s, err
		}
		if !told {
			o.Log.Warn("another process is writing to the output; waiting for it to end", zap.String("output", string(j.Output)), zap.Duration("at most", o.Patience))
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return nil, exit.Running(errs.E("wait for the output", errs.Canceled, string(j.Output), context.Cause(ctx)))
		}
	}
}

// submit is one try of Submit.
func submit(ctx context.Context, j *conf.Job, o Options, start time.Time) (_ *results.Summary, err error) {
	at, err := openPlace(ctx, j.Output)
	if err != nil {
		return nil, err
	}
	at.tidy(ctx)
	if s, err := o.finished(ctx, at, j); s != nil || err != nil {
		return s, err
	}
	state, err := at.check(ctx, j)
	if busy(err) || exit.Code(err) == int(exit.Unreachable) || o.Resume && err != nil { // before anything is read
		return nil, err
	}
	if o.Resume && state == OutputNew {
		return nil, noResume(at, "there is no run of this job that could be taken up")
	}
	o.Progress.Update(progress.Update{Stage: "plan"})
	_, f, err := validate(ctx, j, &o)
	if err != nil {
		return nil, err
	}
	claim, err := at.claim(ctx, j)
	if err != nil {
		if s, ferr := o.finished(ctx, at, j); s != nil && ferr == nil { // the process before this one was stopped before it could say so
			return s, nil
		}
		return nil, err
	}
	defer func() {
		if isGone(err) {
			err = errors.Join(err, claim.clearGone(ctx))
		}
		err = errors.Join(err, claim.Close())
	}()
	p, err := prepare(ctx, j, claim, f, &o)
	if err = claim.taken(ctx, err); err != nil {
		if s, ferr := o.finished(ctx, at, j); s != nil && ferr == nil {
			return s, nil
		}
		return nil, inOutput(at, errors.Join(notReady(err), claim.Undo(ctx)))
	}
	s, err := execute(ctx, j, claim, p, start, &o)
	if err != nil {
		// The process before this one may have come to the end meanwhile, and have removed what this one works on.
		if s, ferr := o.finished(ctx, at, j); s != nil && ferr == nil {
			return s, nil
		}
	}
	return s, inOutput(at, err)
}

// finished is what an earlier process has left of this job, if it has come to the end: nobody is told twice that a job has
// succeeded, or even that it has failed because it has.
func (o *Options) finished(ctx context.Context, at *place, j *conf.Job) (*results.Summary, error) {
	if !o.Again || !isFinished(errOf(at.check(ctx, j))) {
		return nil, nil
	}
	_, s, err := Results(ctx, string(j.Output))
	return s, err
}

func errOf(_ OutputState, err error) error { return err }
