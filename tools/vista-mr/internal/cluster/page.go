package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/status"
	"github.com/vista-mr/vista-mr/mr/tracker"
)

// pages are the tracker's pages. What changes something there is only for a tracker without a token: a browser's cookie may
// look and no more.
func (d *daemon) pages() http.Handler {
	return status.New(status.Options{Source: source{d}, Login: login(d.o.Token), MayChange: d.who.none(), Log: d.log})
}

// totals count what has happened since the tracker started.
type totals struct{ committed, failed atomic.Int64 }

// observe takes what happens to a job's attempts.
func (m *jobs) observe(id string, run mr.JobID, u tracker.Update) {
	m.changes.Add(1)
	switch u.Kind {
	case tracker.AttemptSucceeded:
		m.totals.committed.Add(1)
	case tracker.AttemptFailed:
		m.totals.failed.Add(1)
	}
	m.mu.Lock()
	b := m.byID[id]
	m.mu.Unlock()
	if b != nil {
		b.past.Observe(run, u, time.Now())
	}
}

// look is a job and what became of its attempts.
func (m *jobs) look(id string) (Job, *status.History, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.byID[id]
	if b == nil {
		return Job{}, nil, false
	}
	return m.copy(b), b.past, true
}

// source is what the pages show.
type source struct{ d *daemon }

func (s source) Tracker() status.Tracker {
	return status.Tracker{Version: s.d.o.Version, Epoch: s.d.epoch, Started: s.d.started}
}

func (s source) Jobs() []status.Job {
	all := s.d.jobs.list()
	out := make([]status.Job, len(all))
	for i := range all {
		out[i] = shown(all[i])
	}
	return out
}

func shown(j Job) status.Job {
	out := status.Job{ID: j.ID, Name: j.Name, User: j.User, Output: j.Output, State: string(j.State), Submitted: j.Submitted, Started: j.Started,
		Ended: j.Ended, Verdict: j.Verdict, Drivers: j.Drivers, Ending: j.Ending}
	for _, u := range j.Progress {
		out.Stages = append(out.Stages, status.Stage{Name: u.Stage, Done: u.Done, Total: u.Total, Unit: u.Unit, Left: time.Duration(u.Left * float64(time.Second)), End: u.End})
	}
	if j.State == Failed || j.State == Killed {
		out.Failure = &status.Failure{}
		if json.Unmarshal(j.Failure, out.Failure) != nil || out.Failure.Cause == "" {
			out.Failure = &status.Failure{ID: "E-JOB", Cause: "the job has " + string(j.State), Next: "see its log"}
		}
	}
	return out
}

func (s source) Job(id string) (status.Detail, bool) {
	j, past, ok := s.d.jobs.look(id)
	if !ok {
		return status.Detail{}, false
	}
	out := status.Detail{Job: shown(j), Again: s.d.jobs.again(id), Plan: j.Plan}
	now := s.d.tracker.Jobs(s.d.jobs.runsOf(id)...)
	out.Phases = past.Phases(now)
	out.Failed, out.FailedCount = past.Failed()
	for _, n := range now {
		out.Running = append(out.Running, n.Attempts...)
		if out.Counters == nil {
			out.Counters = n.Counters
		}
	}
	return out, true
}

// again is the command that submits a job once more.
func (m *jobs) again(id string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.byID[id]
	if b == nil {
		return ""
	}
	words := []string{"vista-mr", "submit", shellWord(b.sub.File)}
	last := map[string]int{} // of what is set more than once only the last counts
	for i, set := range b.sub.Sets {
		key, _, _ := strings.Cut(set, "=")
		last[key] = i
	}
	for i, set := range b.sub.Sets {
		if key, _, _ := strings.Cut(set, "="); last[key] == i {
			words = append(words, "--set", shellWord(set))
		}
	}
	return strings.Join(words, " ")
}

// shellWord is a word as a shell reads it.
func shellWord(s string) string {
	plain := func(c rune) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("_-./=:,@%+", c)
	}
	if s != "" && strings.IndexFunc(s, func(c rune) bool { return !plain(c) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func (s source) Workers() []tracker.WorkerNow { return s.d.workersNow() }

// workersNow are the workers; jobs are called as users know them.
func (d *daemon) workersNow() []tracker.WorkerNow {
	out := d.tracker.Workers()
	for i := range out {
		for k := range out[i].Excluded {
			x := &out[i].Excluded[k]
			x.Job = d.jobs.nameOf(mr.JobID(x.Job))
		}
	}
	return out
}

// nameOf is the job whose driver has had something run.
func (m *jobs) nameOf(run mr.JobID) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range m.order {
		if slices.Contains(b.runs, run) && !b.State.Over() {
			return b.ID
		}
	}
	return string(run)
}

func (s source) Totals() status.Totals {
	out := status.Totals{Committed: s.d.jobs.totals.committed.Load(), Failed: s.d.jobs.totals.failed.Load()}
	for _, n := range s.d.tracker.Jobs(s.d.jobs.liveRuns()...) {
		out.Running += int64(len(n.Attempts))
	}
	return out
}

// liveRuns is what the drivers of jobs that are not over have had run.
func (m *jobs) liveRuns() []mr.JobID {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []mr.JobID
	for _, b := range m.order {
		if b.State == Running {
			out = append(out, b.runs...)
		}
	}
	return out
}

func (s source) Log(id string) (io.ReadSeekCloser, error) {
	f, err := os.Open(logName(s.d.o.Scratch, id)) // id names a job that is known
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (s source) AttemptLogs(ctx context.Context, id, target string) ([]status.AttemptLog, error) {
	return s.d.findLogs(ctx, id, target)
}

func (s source) Tasks(id string, phase mr.PhaseID, state string, from, limit int) ([]tracker.TaskNow, map[string]int) {
	return s.d.tasksNow(id, phase, state, from, limit)
}

// tasksNow are tasks of the run of a job that is under way.
func (d *daemon) tasksNow(id string, phase mr.PhaseID, state string, from, limit int) ([]tracker.TaskNow, map[string]int) {
	for _, r := range d.jobs.runsOf(id) {
		if out, counts := d.tracker.Tasks(r, phase, state, from, limit); counts != nil {
			return out, counts
		}
	}
	return nil, nil
}

func (s source) Kill(id string) error {
	_, err := s.d.jobs.end(id, onRequest)
	return err
}

func (s source) Changes() uint64 { return s.d.jobs.changes.Load() }
