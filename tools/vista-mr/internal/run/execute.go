package run

import (
	"context"
	"errors"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/results"
)

// execute runs the plan of a job that has been validated, in its claimed output.
func execute(ctx context.Context, j *conf.Job, o *Options) (*results.Summary, error) {
	return nil, errors.New("this build cannot execute jobs")
}
