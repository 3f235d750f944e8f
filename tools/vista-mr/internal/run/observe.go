package run

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/journal"
	mrlocal "github.com/vista-mr/vista-mr/mr/local"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/machine"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/progress"
)

// EventsFile is the job's event log in its output.
const EventsFile = "events.jsonl"

// events is the event log of a run.
type events struct {
	f *os.File
	w *journal.Writer
}

// openEvents goes on with the log of an interrupted run.
func openEvents(j *conf.Job, now func() time.Time) (*events, error) {
	name := filepath.Join(j.Output.LocalPath(), EventsFile)
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o666)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		var whole bool
		if whole, err = journal.EndsWhole(f, info.Size()); err == nil && !whole {
			_, err = f.WriteString("\n")
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &events{f: f, w: journal.NewWriter(f, now)}, nil
}

func (e *events) begin(j *conf.Job, p *prepared) {
	e.w.Append(journal.Event{Schema: journal.SchemaVersion, Kind: "job-started", Job: string(p.Spec.ID), Plan: p.Plan.String()})
}

func (e *events) end(err error) {
	ev := journal.Event{Kind: "job-done"}
	if err != nil {
		ev.Error, ev.Cause = err.Error(), errs.KindOf(err).String()
	}
	_, ev.Resident = machine.Resident()
	e.w.Append(ev)
}

// Close makes the log durable.
func (e *events) Close() error { return errors.Join(e.w.Err(), e.f.Sync(), e.f.Close()) }

// phaseTime is when a phase ran.
type phaseTime struct {
	start, end time.Time
	attempts   int
	rounds     int
	worked     float64 // seconds of its committed attempts
}

// watch turns what the runner tells into progress and events, and remembers times.
type watch struct {
	job    *prepared
	sink   progress.Sink
	events *events

	mu      sync.Mutex
	phases  map[mr.PhaseID]*phaseTime
	retries int64
	done    map[mr.PhaseID]int64 // work of committed tasks

	manifests map[mr.PhaseID][]mr.Manifest // of committed attempts that set records aside
}

func (w *watch) phase(id mr.PhaseID) *phaseTime {
	if w.phases == nil {
		w.phases, w.done, w.manifests = map[mr.PhaseID]*phaseTime{}, map[mr.PhaseID]int64{}, map[mr.PhaseID][]mr.Manifest{}
	}
	p := w.phases[id]
	if p == nil {
		p = &phaseTime{start: time.Now()}
		w.phases[id] = p
	}
	return p
}

func (w *watch) update(u mrlocal.Update) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := journal.Event{Kind: string(u.Kind), Phase: string(u.Phase), Seconds: u.Seconds}
	switch u.Kind {
	case mrlocal.PhaseProgress:
		w.show(u.Phase, u.Done, false)
		return
	case mrlocal.AttemptStarted:
		p := w.phase(u.Phase)
		if p.attempts == 0 {
			w.events.w.Append(journal.Event{Kind: "phase-started", Phase: string(u.Phase), Tasks: u.Tasks})
		}
		p.attempts++
		e.Attempt = u.Attempt.String()
	case mrlocal.AttemptSucceeded:
		w.phase(u.Phase).worked += u.Seconds
		w.done[u.Phase] += w.size(u.Phase, u.Attempt.Task.Index)
		if len(u.Manifest.Bad) > 0 {
			w.manifests[u.Phase] = append(w.manifests[u.Phase], *u.Manifest)
		}
		e.Attempt, e.Counters = u.Attempt.String(), u.Manifest.Counters
		for _, f := range u.Manifest.Files {
			e.Bytes += f.Bytes
		}
		w.show(u.Phase, 0, false)
	case mrlocal.AttemptFailed:
		w.retries++
		e.Attempt, e.Error, e.Cause = u.Attempt.String(), u.Err.Error(), errs.KindOf(u.Err).String()
	case mrlocal.RoundDone:
		w.phase(u.Phase).rounds++
		e.Round = u.Round
	case mrlocal.PhasePublished:
		w.phase(u.Phase).end = time.Now()
		e.Resident, _ = machine.Resident()
		w.show(u.Phase, 0, true)
	case mrlocal.JobDone:
		return // the log's last line is written when it is known how the job ended
	}
	w.events.w.Append(e)
}

// size is the work of a task: its images, or 1.
func (w *watch) size(id mr.PhaseID, task int) int64 {
	i := slices.IndexFunc(w.job.Spec.Phases, func(p mr.PhaseSpec) bool { return p.ID == id })
	p := &w.job.Spec.Phases[i]
	if task < len(p.Splits) && p.Splits[task].Records > 0 {
		return p.Splits[task].Records
	}
	return 1
}

// show sends a line of progress: images where a phase reads images, else tasks.
func (w *watch) show(id mr.PhaseID, running int64, end bool) {
	i := slices.IndexFunc(w.job.Spec.Phases, func(p mr.PhaseSpec) bool { return p.ID == id })
	p := &w.job.Spec.Phases[i]
	u := progress.Update{Stage: string(id), Unit: "tasks", Retries: w.retries, End: end}
	now, _ := machine.Resident()
	u.Memory = now
	for t := range p.NumTasks() {
		u.Total += w.size(id, t)
	}
	u.Done = w.done[id]
	if len(p.Splits) > 0 && p.Splits[0].Records > 0 {
		u.Unit = "images"
		u.Done = min(u.Done+running, u.Total)
	}
	w.sink.Update(u)
}

// BadRecordsError lists what was set aside when that made a job fail.
type BadRecordsError struct {
	Err    error
	Causes map[string]int64
	First  []mr.BadRecord
}

// Error lists the records, then says in its last line how many there were of which cause.
func (e *BadRecordsError) Error() string {
	var b strings.Builder
	for i, r := range e.First {
		if i == maxListed {
			fmt.Fprintln(&b, "...")
			break
		}
		fmt.Fprintf(&b, "%s: %s: %s\n", r.Key, r.Stage, r.Error)
	}
	var causes []string
	for c, n := range e.Causes {
		causes = append(causes, fmt.Sprintf("%d %s", n, c))
	}
	slices.Sort(causes)
	fmt.Fprintf(&b, "%v: %s", e.Err, strings.Join(causes, ", "))
	return b.String()
}

// maxListed is how many bad records are shown when they fail a job.
const maxListed = 100

// Unwrap returns the budget's error.
func (e *BadRecordsError) Unwrap() error { return e.Err }

// ErrorID is stable.
func (e *BadRecordsError) ErrorID() string { return "E-BAD-RECORDS" }

// Hint says what to do.
func (e *BadRecordsError) Hint() string {
	return "correct the records, or raise limits.maxBadFraction (--set limits.maxBadFraction=0.05)"
}

// withBad adds the bad records to an error that they have caused.
func (w *watch) withBad(err error, bad map[mr.PhaseID][]mr.Manifest) error {
	if !errs.Is(err, errs.Budget) {
		return err
	}
	e := &BadRecordsError{Err: err, Causes: map[string]int64{}}
	for _, p := range w.job.Spec.Phases {
		for _, m := range bad[p.ID] {
			e.First = append(e.First, m.Bad...)
			for name, n := range m.Counters {
				if len(name) > 4 && name[:4] == "bad." {
					e.Causes[name[4:]] += n
				}
			}
		}
	}
	return e
}
