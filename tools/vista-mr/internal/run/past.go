package run

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/journal"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
)

// PastState is where the job of an output is, as far as the output tells.
type PastState string

// The states. In a store elsewhere nobody can tell whether a run that has not ended goes on.
const (
	PastSucceeded  PastState = "succeeded"
	PastRunning    PastState = "running"    // a process of this machine works on it
	PastUnfinished PastState = "unfinished" // it has not ended; whether it runs is not known
	PastStopped    PastState = "stopped"    // its run was stopped; submitted again, it goes on
	PastFailed     PastState = "failed"
)

// Past is what a job's output tells of it when nobody else is asked.
type Past struct {
	SchemaVersion int         `json:"schemaVersion"`
	Name          string      `json:"name"`
	Output        string      `json:"output"`
	State         PastState   `json:"state"`
	Runs          int         `json:"runs"` // begun so far
	Plan          string      `json:"plan,omitempty"`
	Started       time.Time   `json:"started,omitzero"` // the first run
	Last          time.Time   `json:"last,omitzero"`    // what is known of last
	Phases        []PastPhase `json:"phases,omitempty"` // in the order in which they began
	Error         string      `json:"error,omitempty"`  // by which the last run has ended
	Verdict       string      `json:"verdict,omitempty"`

	kind string // of the error
	log  []byte
}

// PastPhase is a phase.
type PastPhase struct {
	Name      string `json:"name"`
	State     string `json:"state"` // running, published; ended: its run has ended before it was published
	Tasks     int    `json:"tasks"`
	Done      int    `json:"done"`
	Running   int    `json:"running,omitempty"` // attempts
	Failed    int    `json:"failed,omitempty"`  // attempts that failed of their own
	Lost      int    `json:"lost,omitempty"`    // attempts that failed otherwise: their worker went, they had no memory, nobody needed them
	Rounds    int    `json:"rounds,omitempty"`
	Published bool   `json:"published,omitempty"`

	tasks map[string]bool
	runs  map[string]bool // attempts
}

// maxEvents bounds the event log that is read.
const maxEvents = 1 << 30

// Look reads what an output tells of its job: the marker, the event log, and the verdict if it is done.
func Look(ctx context.Context, output string) (*Past, error) {
	at, err := openPlace(ctx, conf.URI(output))
	if err != nil {
		return nil, err
	}
	return look(ctx, at, output)
}

func look(ctx context.Context, at *place, output string) (*Past, error) {
	fail := func(err error) error {
		if at.dir == "" {
			return elsewhere("output", at.name, err)
		}
		return exit.As(exit.Invalid, &InputError{ID: "E-NO-JOB", Key: "output", Path: at.name, Cause: "cannot be read", Err: err, Next: "check the path, and who may read it"})
	}
	data, err := dfs.ReadFile(ctx, at.out, MarkerFile, maxConfig)
	var m marker
	if errs.Is(err, errs.NotExist) || err == nil && json.Unmarshal(data, &m) != nil {
		return nil, exit.As(exit.Invalid, &InputError{ID: "E-NO-JOB", Key: "output", Path: at.name, Cause: "is the output of no job (no " + MarkerFile + " of one)",
			Next: "name a job's output, or its id with --tracker"})
	}
	if err != nil {
		return nil, fail(err)
	}
	p := &Past{SchemaVersion: 1, Name: m.Name, Output: at.name, State: PastUnfinished}
	_, err = at.out.Stat(ctx, SuccessFile)
	switch {
	case err == nil:
		p.State = PastSucceeded
	case !errs.Is(err, errs.NotExist):
		return nil, fail(err)
	}
	if p.log, err = readEvents(ctx, at); err != nil {
		return nil, fail(err)
	}
	ended := p.replay()
	switch {
	case p.State == PastSucceeded:
		if _, s, err := Results(ctx, output); err == nil { // else results says what is wrong
			p.Verdict = s.Verdict.Sentence
		}
		p.Error = ""
	case ended && p.kind == errs.Canceled.String():
		p.State = PastStopped
	case ended && p.Error != "":
		p.State = PastFailed
	case at.dir != "":
		p.State = PastStopped
	}
	defer p.phasesNow()
	if at.dir != "" && p.State != PastSucceeded {
		f, err := lockNow(at.dir)
		if busy(err) {
			p.State, p.Error = PastRunning, ""
		} else if err == nil {
			err = f.Close()
		}
		if err != nil && !busy(err) && !errors.Is(err, os.ErrPermission) { // who may not write cannot ask
			return nil, err
		}
		// The one who had the lock may have come to its end since the marker was looked for.
		if _, serr := at.out.Stat(ctx, SuccessFile); serr == nil {
			return look(ctx, at, output)
		}
	}
	return p, nil
}

// readEvents returns the event log: in a store what is in pieces, while there are some.
func readEvents(ctx context.Context, at *place) ([]byte, error) {
	if at.dir != "" {
		b, err := ReadFile(filepath.Join(at.dir, EventsFile), maxEvents)
		if errors.Is(err, os.ErrNotExist) {
			err = nil
		}
		return b, err
	}
	var all bytes.Buffer
	err := newPieces(ctx, at.store, at.out, 0).copyTo(&all)
	if all.Len() > 0 || err != nil && !errs.Is(err, errs.NotExist) { // what is not there was joined meanwhile
		return all.Bytes(), err
	}
	b, err := dfs.ReadFile(ctx, at.out, EventsFile, maxEvents)
	if errs.Is(err, errs.NotExist) {
		err = nil
	}
	return b, err
}

// replay goes through the events, and tells whether the last run has ended. A last line that is cut is left out.
func (p *Past) replay() (ended bool) {
	_ = journal.Read(bytes.NewReader(p.log), func(e journal.Event) error { // what can be read of a damaged log is told
		p.Last = e.Time
		switch e.Kind {
		case started:
			p.Runs++
			p.Plan, p.Error, p.kind, ended = e.Plan, "", "", false
			if p.Started.IsZero() {
				p.Started = e.Time
			}
			for i := range p.Phases {
				clear(p.Phases[i].runs) // of the run before
			}
		case "job-done":
			p.Error, p.kind, ended = e.Error, e.Cause, true
		default:
			p.note(e)
		}
		return nil
	})
	return ended
}

func (p *Past) note(e journal.Event) {
	if e.Phase == "" {
		return
	}
	i := slices.IndexFunc(p.Phases, func(q PastPhase) bool { return q.Name == e.Phase })
	if i < 0 {
		i = len(p.Phases)
		p.Phases = append(p.Phases, PastPhase{Name: e.Phase, tasks: map[string]bool{}, runs: map[string]bool{}})
	}
	q := &p.Phases[i]
	q.Tasks = max(q.Tasks, e.Tasks)
	switch e.Kind {
	case "attempt-started":
		q.runs[e.Attempt] = true
	case "attempt-succeeded":
		delete(q.runs, e.Attempt)
		task, _, _ := strings.Cut(strings.TrimPrefix(e.Attempt, e.Phase+"/"), "/")
		q.tasks[task] = true
		q.Done = len(q.tasks)
	case "attempt-failed":
		delete(q.runs, e.Attempt)
		switch e.Cause { // as package status counts them
		case errs.Lost.String(), errs.Preempted.String(), errs.NoMemory.String(), errs.Canceled.String():
			q.Lost++
		default:
			q.Failed++
		}
	case "round-done":
		q.Rounds = max(q.Rounds, e.Round+1)
	case "phase-published":
		q.Published = true
	}
}

// phasesNow says where phases are, once it is known where the job is.
func (p *Past) phasesNow() {
	goesOn := p.State == PastRunning || p.State == PastUnfinished
	for i := range p.Phases {
		q := &p.Phases[i]
		switch {
		case q.Published: // with all its tasks, whatever of them is in the log of a run whose process was killed
			q.State, q.Done = "published", max(q.Done, q.Tasks)
		case goesOn:
			q.State, q.Running = "running", len(q.runs)
		default:
			q.State = "ended"
		}
	}
}

// Seconds is what the phases have taken that are published, by their names.
func (p *Past) Seconds() map[string]float64 {
	w, out := &watch{}, map[string]float64{}
	w.take(bytes.NewReader(p.log))
	for id, t := range w.phases {
		if t.done {
			out[string(id)] = t.spent
		}
	}
	return out
}

// Events are the events of the log, as far as it can be read.
func (p *Past) Events() []journal.Event {
	out := []journal.Event{}
	_ = journal.Read(bytes.NewReader(p.log), func(e journal.Event) error { // what can be read of a damaged log is told
		e.Check = ""
		out = append(out, e)
		return nil
	})
	return out
}

// Log writes the events from a byte of the log on, a line each, and returns where it ends.
func (p *Past) Log(from int, w io.Writer) (int, error) {
	if from > len(p.log) {
		from = 0 // it was begun anew
	}
	_, err := w.Write(p.log[from:])
	return len(p.log), err
}

// Outcome is the error that the run has ended with; nil: it has ended well, or goes on.
func (p *Past) Outcome() error {
	e := &InputError{ID: "E-JOB", Key: "output", Path: p.Output, Next: "vista-mr logs " + conf.Quote(p.Output) + " shows its events; submitted again, it goes on where it stopped"}
	switch p.State {
	case PastFailed:
		e.Cause = "the job has failed: " + p.Error
	case PastStopped:
		e.ID, e.Cause = "E-STOPPED", "nobody works on it, and it is not done"
	default:
		return nil
	}
	return exit.As(exit.JobFailed, e)
}
