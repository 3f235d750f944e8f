package run

import (
	"context"
	"errors"
	"time"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/results"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/machine"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/progress"
)

// Submit runs a job to its end: it checks everything that Validate does, makes the output folder its own,
// and executes the job's plan. A run that was interrupted is taken up where it stopped. What is refused before
// anything was computed leaves the output as it was.
func Submit(ctx context.Context, j *conf.Job, o Options) (_ *results.Summary, err error) {
	start := time.Now()
	o.fill()
	o.opensModel = true
	defer machine.SpareHeap()()
	if err := Supported(j); err != nil {
		return nil, err
	}
	at, err := openPlace(ctx, j.Output)
	if err != nil {
		return nil, err
	}
	at.tidy(ctx)
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
		return nil, err
	}
	defer func() { err = errors.Join(err, claim.Close()) }()
	p, err := prepare(ctx, j, at, f, &o)
	if err != nil {
		return nil, inOutput(at, errors.Join(notReady(err), claim.Undo(ctx)))
	}
	s, err := execute(ctx, j, claim, p, start, &o)
	return s, inOutput(at, err)
}
