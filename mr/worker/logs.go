package worker

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/attemptlog"
	"github.com/vista-mr/vista-mr/mr/commit"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/sched"
	"github.com/vista-mr/vista-mr/mr/task"
)

// logPatience is how long the store may take for a log. How an attempt ended must not wait for long.
const logPatience = 5 * time.Second

// keepLog writes the log of an attempt that has ended, if it is worth a file. It comes before the report: when the job has ended,
// all logs are there, and none comes after it. An attempt whose end nobody wants to know leaves none.
func (w *Worker) keepLog(env *task.Env, a *attempt, err error) {
	if env == nil || !env.KeepLogs || err == nil && !a.log.Worth(a.spec.Attempt.Number) {
		return
	}
	w.mu.Lock()
	unwanted := a.stopped
	w.mu.Unlock()
	if !unwanted {
		w.writeLog(w.base, env, a)
	}
}

// writeLog writes a log unless the job has ended and its folder is gone: this process may have slept through that, and nobody would
// remove the file any more. If the folder goes meanwhile, the log is taken away again.
func (w *Worker) writeLog(ctx context.Context, env *task.Env, a *attempt) {
	ctx, cancel := context.WithTimeout(ctx, logPatience)
	defer cancel()
	if gone(ctx, env.Store, a.spec) {
		return
	}
	p := attemptlog.Path(a.spec.Job, a.spec.Attempt, a.spec.Epoch)
	err := dfs.WriteFile(ctx, env.Store, p, a.log.Bytes())
	if err != nil && !errs.Is(err, errs.Exist) {
		w.log.Warn("the log of an attempt was not written", zap.String("attempt", a.spec.Attempt.String()), zap.Error(err))
	}
	// This process may be stopped at any point above, for longer than the store was given: what it has left is looked after all the same.
	ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), logPatience)
	defer cancel()
	if !gone(ctx, env.Store, a.spec) {
		return
	}
	if err := env.Store.Remove(ctx, p); err != nil {
		w.log.Warn("the log of an attempt whose job is gone was not removed", zap.String("attempt", a.spec.Attempt.String()), zap.Error(err))
	}
	dfs.Prune(ctx, env.Store, p.Dir())
}

// clearLate removes the files of an attempt that has ended after its job's folder was removed: with the job, which this process may have
// slept through, or by somebody who removed the whole output. Nobody else would. The attempt's end has been told; if the folder goes
// after this look, the files go with it.
func (w *Worker) clearLate(env *task.Env, a *attempt) {
	if env == nil || !env.KeepLogs {
		return
	}
	ctx, cancel := context.WithTimeout(w.base, logPatience)
	defer cancel()
	if !gone(ctx, env.Store, a.spec) {
		return
	}
	out := sched.OutFolder(a.spec.Job, a.spec.Attempt, a.spec.Epoch)
	if err := dfs.RemoveAll(ctx, env.Store, out); err != nil {
		w.log.Warn("the files of an attempt whose job is gone were not removed", zap.String("attempt", a.spec.Attempt.String()), zap.Error(err))
	}
	dfs.Prune(ctx, env.Store, out)
}

// gone tells whether the coordinator's mark of an attempt is not there any more, with which the removal of a job's folder begins. A
// store that does not answer says nothing.
func gone(ctx context.Context, store dfs.FS, spec *mr.TaskSpec) bool {
	_, err := store.Stat(ctx, commit.EpochMark(dfs.Path(spec.Job), spec.Epoch))
	return errs.Is(err, errs.NotExist)
}

// giveUpFor keeps the log of an attempt that is given up although it may never end. It is called with w.mu held, before the attempt is
// taken off the books; the file is written beside, and not any more when the job has ended.
func (w *Worker) giveUpFor(j *job, k try, reason string) {
	a := j.running[k]
	if a == nil || reason == "" {
		return
	}
	a.log.Routine().Error("given up", zap.String("reason", reason))
	j.work.Go(func() {
		if env := j.made(); env != nil && env.KeepLogs {
			w.writeLog(j.base, env, a)
		}
	})
}

// showLog is called with w.mu held.
func (w *Worker) showLog(c ShowLog) {
	out := &LogText{Number: c.Number}
	if j := w.jobs[c.Job]; j != nil {
		if a := j.running[try{c.Attempt, c.Epoch}]; a != nil {
			out.Runs, out.Text = true, a.log.Bytes()
		}
	}
	w.o.Report(Report{Log: out})
}
