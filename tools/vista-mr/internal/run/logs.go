package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/attemptlog"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
)

// AttemptsFile is the logs of a job's attempts in its output, in one file.
const AttemptsFile = "attempts.log"

// maxAttempts bounds it, in bytes.
const maxAttempts = 64 << 20

// joinLogs puts the logs of all attempts into one file: the folder that they lie in goes when the job has succeeded. A job whose attempts
// had nothing to say leaves none. What cannot be read or written of them is not worth a job that is done.
func (p *place) joinLogs(ctx context.Context, c *Claim, w *Work, log *zap.Logger) error {
	if _, err := c.vacate(ctx, p.out, AttemptsFile, nil); err != nil {
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

// AttemptLog is the log of an attempt, as commands and the tracker give it out.
type AttemptLog struct {
	Attempt mr.AttemptID `json:"attempt"` // PHASE/TASK/NUMBER
	State   string       `json:"state"`   // AttemptRunning or AttemptEnded
	Worker  string       `json:"worker,omitempty"`
	Log     string       `json:"log"`
}

// The states of attempts that have logs.
const (
	AttemptRunning = "running"
	AttemptEnded   = "ended"
)

// Write writes it as text, below a line with its name.
func (l AttemptLog) Write(w io.Writer) error {
	state := l.State
	if l.State == AttemptRunning {
		state += " on " + l.Worker
	}
	_, err := fmt.Fprintf(w, "==> %s (%s) <==\n%s", l.Attempt, state, l.Log)
	return err
}

// TaskLogs are the logs of a task's attempts, PHASE/TASK, or of one, PHASE/TASK/ATTEMPT, that an output's job has left.
func TaskLogs(ctx context.Context, output, target string) ([]AttemptLog, error) {
	p, err := Look(ctx, output)
	if err != nil {
		return nil, err
	}
	task, number, err := attemptlog.Target(target, func(id mr.PhaseID) bool {
		return slices.ContainsFunc(p.Phases, func(q PastPhase) bool { return q.Name == string(id) })
	})
	if err != nil {
		return nil, exit.As(exit.Usage, err)
	}
	at, err := openPlace(ctx, conf.URI(output))
	if err != nil {
		return nil, err
	}
	b, err := dfs.ReadFile(ctx, at.out, AttemptsFile, 2*maxAttempts)
	if err != nil && !errs.Is(err, errs.NotExist) {
		return nil, exit.Running(err)
	}
	found, err := attemptlog.FindJoined(bytes.NewReader(b), task, number)
	if err != nil {
		return nil, exit.Running(err)
	}
	if len(found) == 0 {
		if err := missing(p, b, task, number); err != nil {
			return nil, exit.As(exit.Invalid, err)
		}
		return nil, exit.As(exit.Invalid, &errs.Error{Op: "logs", Kind: errs.NotExist, Path: target, Err: errors.New("no log of it is in " + AttemptsFile + " of " + at.name),
			Fix: "an attempt that ended well and had nothing to say leaves none; the file is there when the job has succeeded"})
	}
	var out []AttemptLog
	for _, t := range found {
		out = append(out, AttemptLog{Attempt: t.Attempt, State: AttemptEnded, Log: string(t.Log)})
	}
	return out, nil
}

// missing says why an output's job has no such task or attempt; nil: it may have.
func missing(p *Past, logs []byte, task mr.TaskID, number int) error {
	var phases []attemptlog.PhaseSize
	for _, q := range p.Phases {
		phases = append(phases, attemptlog.PhaseSize{ID: mr.PhaseID(q.Name), Tasks: q.Tasks})
	}
	if err := attemptlog.Missing(task, phases); err != nil || number == 0 {
		return err
	}
	all, err := attemptlog.FindJoined(bytes.NewReader(logs), task, 0)
	if err != nil || len(all) == 0 {
		return err
	}
	var others []mr.AttemptID
	for _, t := range all {
		others = append(others, t.Attempt)
	}
	return attemptlog.MissingAttempt(task, number, others)
}
