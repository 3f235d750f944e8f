package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/attemptlog"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/journal"
	"github.com/vista-mr/vista-mr/mr/status"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/run"
)

// askFor is how long a worker may take to answer with a log.
const askFor = 5 * time.Second

// findLogs are the logs of a task's attempts, or of one: those that run, of their workers; those that have ended, in the job's
// store.
func (d *daemon) findLogs(ctx context.Context, id, target string) ([]status.AttemptLog, error) {
	j, logs, past, ok := d.jobs.logsOf(id)
	if !ok {
		return nil, noJob("logs", id)
	}
	task, number, err := attemptlog.Target(target, past.Knows)
	if err != nil {
		return nil, err
	}
	out, err := d.logsOfTask(ctx, j, logs, task, number)
	if err != nil || len(out) > 0 {
		return out, err
	}
	if err := attemptlog.Missing(task, sizes(past)); err != nil || number == 0 {
		return nil, err
	}
	all, err := d.logsOfTask(ctx, j, logs, task, 0)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	var others []mr.AttemptID
	for _, l := range all {
		others = append(others, l.Attempt)
	}
	return nil, attemptlog.MissingAttempt(task, number, others)
}

// sizes are the phases that have been heard of.
func sizes(past *status.History) (out []attemptlog.PhaseSize) {
	for _, p := range past.Phases(nil) {
		out = append(out, attemptlog.PhaseSize{ID: p.ID, Tasks: p.Tasks})
	}
	return out
}

// logsOfTask is findLogs for a task that there may be; number 0 stands for all its attempts.
func (d *daemon) logsOfTask(ctx context.Context, j Job, logs map[mr.JobID]string, task mr.TaskID, number int) (_ []status.AttemptLog, err error) {
	var out []status.AttemptLog
	runs := slices.Sorted(maps.Keys(logs))
	for _, r := range runs {
		store, err := d.o.Stores.Folder(ctx, logs[r])
		if err != nil {
			return nil, err
		}
		found, err := attemptlog.Find(ctx, store, r, task, number)
		if err != nil {
			return nil, err
		}
		for _, f := range found {
			out = append(out, status.AttemptLog{Attempt: f.Attempt, Text: f.Log})
		}
	}
	if len(out) == 0 && j.State == Succeeded {
		if out, err = d.joinedLogs(ctx, j.Output, task, number); err != nil {
			return nil, err
		}
	}
	if len(out) == 0 {
		if out, err = d.quietLogs(ctx, j.Output, runs, task, number); err != nil {
			return nil, err
		}
	}
	for _, n := range d.tracker.Jobs(runs...) {
		for _, a := range n.Attempts {
			if a.Attempt.Task != task || number > 0 && a.Attempt.Number != number {
				continue
			}
			l := status.AttemptLog{Attempt: a.Attempt, Worker: string(a.Worker), Runs: true}
			ask, cancel := context.WithTimeout(ctx, askFor)
			text, err := d.tracker.RunningLog(ask, n.ID, a.Attempt)
			cancel()
			switch {
			case errs.Is(err, errs.NotExist):
				continue // it has just ended
			case err != nil:
				text = fmt.Appendf(nil, "%v\n", err)
			}
			l.Text = text
			out = append(out, l)
		}
	}
	return out, nil
}

// quietLogs are what is known of attempts that had nothing to say: of the tracker while the job runs, and then of the job's event log.
func (d *daemon) quietLogs(ctx context.Context, output string, runs []mr.JobID, task mr.TaskID, number int) ([]status.AttemptLog, error) {
	for _, r := range runs {
		all, _ := d.tracker.Tasks(r, task.Phase, "", task.Index, 1)
		for _, t := range all {
			if t.State != "committed" || number > 0 && t.Attempt.Number != number {
				return nil, nil
			}
			text := fmt.Appendf(nil, "It ended well and said nothing of its own: %.3f seconds, %d records and %d bytes written.\n", t.Seconds, t.Rows, t.Bytes)
			return []status.AttemptLog{{Attempt: *t.Attempt, Text: text}}, nil
		}
	}
	fs, err := d.o.Stores.Folder(ctx, output)
	if err != nil {
		return nil, err
	}
	f, err := fs.Open(ctx, run.EventsFile)
	if errs.Is(err, errs.NotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close() // reading only
	var out []status.AttemptLog
	err = journal.Read(io.NewSectionReader(f, 0, f.Size()), func(e journal.Event) error {
		var a mr.AttemptID
		if e.Attempt == "" || a.UnmarshalText([]byte(e.Attempt)) != nil || a.Task != task || number > 0 && a.Number != number {
			return ctx.Err()
		}
		line, err := json.Marshal(&e)
		if err != nil {
			return err
		}
		at := slices.IndexFunc(out, func(l status.AttemptLog) bool { return l.Attempt == a })
		if at < 0 {
			at = len(out)
			out = append(out, status.AttemptLog{Attempt: a})
		}
		if len(out[at].Text) < attemptlog.MaxBytes { // the job may have been run many times
			out[at].Text = append(append(out[at].Text, line...), '\n')
		}
		return nil
	})
	return out, err
}

// joinedLogs looks into the file that a job which has succeeded has them in.
func (d *daemon) joinedLogs(ctx context.Context, output string, task mr.TaskID, number int) ([]status.AttemptLog, error) {
	fs, err := d.o.Stores.Folder(ctx, output)
	if err != nil {
		return nil, err
	}
	f, err := fs.Open(ctx, run.AttemptsFile)
	if errs.Is(err, errs.NotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close() // reading only
	// Large requests: a store far away answers each of them late.
	found, err := attemptlog.FindJoined(bufio.NewReaderSize(io.NewSectionReader(f, 0, f.Size()), 4<<20), task, number)
	if err != nil {
		return nil, err
	}
	var out []status.AttemptLog
	for _, f := range found {
		out = append(out, status.AttemptLog{Attempt: f.Attempt, Text: f.Log})
	}
	return out, nil
}

// logsOf is a job with the stores of its runs.
func (m *jobs) logsOf(id string) (Job, map[mr.JobID]string, *status.History, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.byID[id]
	if b == nil {
		return Job{}, nil, nil, false
	}
	return m.copy(b), maps.Clone(b.logs), b.past, true
}

// attemptLogs sends the logs of a task's attempts: as text, each below a line with its name, or as JSON to whoever says to accept that.
func (d *daemon) attemptLogs(w http.ResponseWriter, r *http.Request) {
	all, err := d.findLogs(r.Context(), r.PathValue("id"), r.PathValue("target"))
	if err == nil && len(all) == 0 {
		err = &errs.Error{Op: "logs", Kind: errs.NotExist, Path: r.PathValue("target"), Err: errors.New(status.NoAttemptLog), Fix: "see the job's page or `vista-mr status` for its phases and attempts"}
	}
	if err != nil {
		refuse(w, err)
		return
	}
	out := LogsReply{SchemaVersion: 1, Attempts: []run.AttemptLog{}}
	for _, l := range all {
		state := run.AttemptEnded
		if l.Runs {
			state = run.AttemptRunning
		}
		out.Attempts = append(out.Attempts, run.AttemptLog{Attempt: l.Attempt, State: state, Worker: l.Worker, Log: string(l.Text)})
	}
	if r.Header.Get("Accept") == "application/json" {
		reply(w, out)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	for _, l := range out.Attempts {
		if err := l.Write(w); err != nil {
			return // whoever asked has gone
		}
	}
}
