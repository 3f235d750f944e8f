package run

import (
	"context"
	"errors"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/results"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/machine"
)

// Submit runs a job to its end: it checks everything that Validate does, makes the output folder its own,
// and executes the job's plan. A run that was interrupted is taken up where it stopped.
func Submit(ctx context.Context, j *conf.Job, o Options) (_ *results.Summary, err error) {
	o.fill()
	o.opensModel = true
	defer machine.SpareHeap()()
	Tidy(j.Output.LocalPath())
	if _, err := validate(ctx, j, &o); err != nil {
		return nil, err
	}
	claim, err := ClaimOutput(j)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, claim.Close()) }()
	return execute(ctx, j, &o)
}
