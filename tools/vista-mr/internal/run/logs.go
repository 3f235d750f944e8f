package run

import (
	"context"
	"errors"

	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/attemptlog"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// AttemptsFile is the logs of a job's attempts in its output, in one file.
const AttemptsFile = "attempts.log"

// maxAttempts bounds it, in bytes.
const maxAttempts = 64 << 20

// joinLogs puts the logs of all attempts into one file: the folder that they lie in goes when the job has succeeded. A job whose attempts
// had nothing to say leaves none. What cannot be read or written of them is not worth a job that is done.
func (p *place) joinLogs(ctx context.Context, w *Work, log *zap.Logger) error {
	if err := p.out.Remove(ctx, AttemptsFile); err != nil && !errs.Is(err, errs.NotExist) {
		return err // a file of an earlier try would be taken for this one's
	}
	var phases []mr.PhaseID
	for i := range w.Spec.Phases {
		phases = append(phases, w.Spec.Phases[i].ID)
	}
	f, err := p.out.Create(ctx, AttemptsFile)
	if err == nil {
		var n int
		if n, err = attemptlog.Join(ctx, p.store, w.Ran, phases, f, maxAttempts); err == nil && n > 0 {
			err = f.Commit(ctx)
		}
		if err != nil || n == 0 {
			err = errors.Join(err, f.Abort())
		}
	}
	if err != nil && ctx.Err() == nil {
		log.Warn("the logs of the attempts are not in the output", zap.Error(err))
		return nil
	}
	return err
}
