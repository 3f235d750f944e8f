package run

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vista-mr/vista-mr/jobs/extract"
	"github.com/vista-mr/vista-mr/jobs/images"
	"github.com/vista-mr/vista-mr/jobs/results"
	"github.com/vista-mr/vista-mr/layers/image"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/journal"
	"github.com/vista-mr/vista-mr/mr/tracker"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/machine"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/progress"
	"github.com/vista-mr/vista-mr/vistaopt/compile"
)

// phaseTime is when a phase ran, in all runs of the job together.
type phaseTime struct {
	since    time.Time // when it was begun in this run; zero while it does not run
	spent    float64   // seconds before that
	done     bool
	attempts int
	most     int64         // work that was seen done, in this run
	rounds   int           // that have ended, of a phase that has rounds
	shown    time.Time     // when one of them was shown last: there may be a thousand in a second
	begun    time.Duration // processor time of the process when since was set
	cpu      float64       // core-seconds so far
}

// watch turns what the runner tells into progress and events, and remembers times.
type watch struct {
	job    *prepared
	sink   progress.Sink
	events *events
	before float64 // seconds of the job's earlier runs
	// cpu is the processor time of the process, where attempts run in it; else nil.
	cpu func() time.Duration

	mu      sync.Mutex
	first   time.Time // when this run's first attempt was started
	phases  map[mr.PhaseID]*phaseTime
	retries int64
	done    map[mr.PhaseID]int64 // work of committed tasks
	kept    map[mr.PhaseID]int64 // of that, what an earlier run has done

	paces       paces
	left        float64 // seconds, when that was worked out last
	corrections []results.Correction

	manifests map[mr.PhaseID][]mr.Manifest // of committed attempts that set records aside
}

// replay takes the times from a log. A run that was killed ends with its last event.
func (w *watch) replay(log io.Reader) error {
	var begun, last time.Time
	stop := func() {
		for _, p := range w.phases {
			p.stop(last)
		}
		if !begun.IsZero() {
			w.before += last.Sub(begun).Seconds()
		}
	}
	err := journal.Read(log, func(e journal.Event) error {
		if e.Kind == started {
			stop()
			begun = e.Time
		}
		last = e.Time
		w.note(e.Kind, mr.PhaseID(e.Phase), e.Time)
		return nil
	})
	stop()
	return err
}

// resume takes over what the phases that are published already have set aside, and tasks of others. What the log does not say
// of them, because who wrote it was killed between a phase's publication and the line about it, is written now.
func (w *watch) resume(done []mr.PhaseManifest, tasks []mr.Manifest) {
	for _, t := range tasks {
		id := t.Attempt.Task
		w.phase(id.Phase)
		w.done[id.Phase] += w.size(id.Phase, id.Index)
		w.kept[id.Phase] = w.done[id.Phase]
		w.setAside(id.Phase, t)
	}
	for _, m := range done {
		if !w.phase(m.Phase).done {
			w.note(string(tracker.PhasePublished), m.Phase, time.Now())
			w.events.w.Append(journal.Event{Kind: string(tracker.PhasePublished), Phase: string(m.Phase)})
		}
		for _, t := range m.Tasks {
			w.setAside(m.Phase, t)
		}
	}
}

func (w *watch) setAside(id mr.PhaseID, m mr.Manifest) {
	if len(m.Bad) > 0 {
		w.manifests[id] = append(w.manifests[id], m)
	}
}

func (w *watch) phase(id mr.PhaseID) *phaseTime {
	if w.phases == nil {
		w.phases, w.manifests = map[mr.PhaseID]*phaseTime{}, map[mr.PhaseID][]mr.Manifest{}
		w.done, w.kept = map[mr.PhaseID]int64{}, map[mr.PhaseID]int64{}
	}
	p := w.phases[id]
	if p == nil {
		p = &phaseTime{}
		w.phases[id] = p
	}
	return p
}

// note notes when a phase begins and ends.
func (w *watch) note(kind string, id mr.PhaseID, at time.Time) {
	switch tracker.UpdateKind(kind) {
	case tracker.AttemptStarted:
		p := w.phase(id)
		if p.since.IsZero() {
			p.since = at
			if w.cpu != nil {
				p.begun = w.cpu()
			}
		}
		p.attempts++
	case tracker.PhasePublished:
		p := w.phase(id)
		if w.cpu != nil && !p.since.IsZero() {
			p.cpu += (w.cpu() - p.begun).Seconds()
		}
		p.stop(at)
		p.done = true
	}
}

func (p *phaseTime) stop(at time.Time) {
	if !p.since.IsZero() {
		p.spent += at.Sub(p.since).Seconds()
		p.since = time.Time{}
	}
}

// furthest keeps progress from going back. What an attempt has done is not told between its end and its commit, and what a lost
// one had done is done again: neither makes what was done before slower.
func (p *phaseTime) furthest(u *progress.Update) {
	p.most = max(p.most, u.Done)
	u.Done = p.most
}

// begun is when this run's first attempt was started; zero: none was.
func (w *watch) begun() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.first
}

// seconds is what a published phase has taken.
func (w *watch) seconds(id mr.PhaseID) float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.phases[id]
	if p == nil || !p.done {
		return 0
	}
	return p.spent
}

// coreSeconds is the processor time of a published phase in this run; 0 where nobody knows.
func (w *watch) coreSeconds(id mr.PhaseID) float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.phases[id]
	if p == nil || !p.done {
		return 0
	}
	return p.cpu
}

func (w *watch) update(u tracker.Update) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if u.Phase != "" {
		w.phase(u.Phase) // a driver that takes another one's place may hear first of an attempt's end
	}
	e := journal.Event{Kind: string(u.Kind), Phase: string(u.Phase), Seconds: u.Seconds}
	if u.Kind == tracker.AttemptStarted && w.phase(u.Phase).since.IsZero() {
		w.events.w.Append(journal.Event{Kind: "phase-started", Phase: string(u.Phase), Tasks: u.Tasks})
	}
	now := time.Now()
	if u.Kind == tracker.AttemptStarted && w.first.IsZero() {
		w.first = now
	}
	w.note(string(u.Kind), u.Phase, now)
	switch u.Kind {
	case tracker.PhaseProgress:
		w.show(u.Phase, u.Done, false)
		return
	case tracker.AttemptStarted:
		e.Attempt = u.Attempt.String()
	case tracker.AttemptSucceeded:
		w.done[u.Phase] += w.size(u.Phase, u.Attempt.Task.Index)
		w.setAside(u.Phase, *u.Manifest)
		if u.Manifest.Counters["batch.halved"] > 0 {
			w.halved(u.Phase, u.Attempt.Task.Index, "a batch did not fit into the runtime's memory")
		}
		e.Attempt, e.Counters = u.Attempt.String(), u.Manifest.Counters
		for _, f := range u.Manifest.Files {
			e.Bytes += f.Bytes
		}
		w.show(u.Phase, unknown, false)
	case tracker.AttemptFailed:
		w.retries++
		if errs.Is(u.Err, errs.NoMemory) {
			w.halved(u.Phase, u.Attempt.Task.Index, u.Err.Error())
		}
		e.Attempt, e.Error, e.Cause = u.Attempt.String(), u.Err.Error(), errs.KindOf(u.Err).String()
	case tracker.RoundDone:
		e.Round = u.Round
		p := w.phase(u.Phase)
		if p.rounds = u.Round + 1; now.Sub(p.shown) > time.Second/2 {
			p.shown = now
			w.show(u.Phase, 0, false)
		}
	case tracker.PhasePublished:
		e.Resident, _ = machine.Resident()
		w.show(u.Phase, 0, true)
	case tracker.JobDone:
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

// unknown stands for the progress of what runs, where only what is committed is known.
const unknown = -1

// show sends a line of progress: images where a phase reads images, else tasks. running is what tasks that run have done.
func (w *watch) show(id mr.PhaseID, running int64, end bool) {
	i := slices.IndexFunc(w.job.Spec.Phases, func(p mr.PhaseSpec) bool { return p.ID == id })
	p := &w.job.Spec.Phases[i]
	u := progress.Update{Stage: string(id), Unit: "tasks", Retries: w.retries, End: end}
	now, _ := machine.Resident()
	u.Memory = now
	for t := range p.NumTasks() {
		u.Total += w.size(id, t)
	}
	u.Done, u.Kept = w.done[id], w.kept[id]
	if len(p.Splits) > 0 && p.Splits[0].Records > 0 {
		u.Unit = "images"
		u.Done = min(u.Done+max(running, 0), u.Total)
	}
	w.phase(id).furthest(&u)
	switch {
	case end: // all of it is there, whatever was heard of it: who takes another process's place has not heard all
		u.Done, u.Seconds = u.Total, w.phase(id).spent
	case running == unknown:
		u.Left = w.left
	default:
		w.pace(p, &u, time.Now())
		w.left = u.Left
	}
	if u.Done >= u.Total && !end { // a phase has one end: when it is published
		return
	}
	w.sink.Update(u)
}

// BadRecordsError lists what was set aside when that made a job fail.
type BadRecordsError struct {
	Err    error
	Causes map[string]int64
	First  []mr.BadRecord
	Rows   int64  // of the table
	Advice string // if there is a better one than to allow more

	Tried, Unusable int64 // images that were looked at so far, and those of them that cannot be used
}

// Summarized says that the last line of Error is its summary.
func (e *BadRecordsError) Summarized() {}

// Error lists the records, then says in its last line how many there were of which cause.
func (e *BadRecordsError) Error() string {
	var b strings.Builder
	for _, r := range e.Listed() {
		fmt.Fprintf(&b, "%s: %s: %s\n", results.Visible(r.Key), r.Stage, results.Visible(r.Error))
	}
	if len(e.First) > maxListed {
		fmt.Fprintln(&b, "...")
	}
	var causes []string
	for c, n := range e.Causes {
		causes = append(causes, fmt.Sprintf("%d %s", n, c))
	}
	slices.Sort(causes)
	fmt.Fprintf(&b, "%v; so far: %s", e.Err, strings.Join(causes, ", "))
	return b.String()
}

// Listed are the records that are shown.
func (e *BadRecordsError) Listed() []mr.BadRecord { return e.First[:min(len(e.First), maxListed)] }

// maxListed is how many bad records are shown when they fail a job.
const maxListed = 100

// fewTried images are too few to judge all by.
const fewTried = 8

// memoryLeaves is what is said of an image that is too large for the memory alone (packages images and layers/image).
const memoryLeaves = "the memory limit leaves"

// Unwrap returns the budget's error.
func (e *BadRecordsError) Unwrap() error { return e.Err }

// ErrorID is stable.
func (e *BadRecordsError) ErrorID() string { return "E-BAD-RECORDS" }

// Input is the key of the first bad record.
func (e *BadRecordsError) Input() string {
	if len(e.First) == 0 {
		return ""
	}
	return e.First[0].Key
}

// Hint says what to do.
func (e *BadRecordsError) Hint() string {
	if e.Advice != "" {
		return e.Advice
	}
	var bad int64
	for _, n := range e.Causes {
		bad += n
	}
	if 2*e.Causes[extract.NotFinite] > bad {
		return "check the weights and the preprocessing, for which the network yields no numbers: `vista-mr model inspect` shows the layers"
	}
	if e.Tried >= fewTried && 10*e.Unusable >= 9*e.Tried {
		return fmt.Sprintf("restore or convert the images, or correct where they are: of %s that were looked at %s cannot be used, so to allow more of them would leave nothing to learn from",
			results.Count(e.Tried), results.Count(e.Unusable))
	}
	memory := ""
	if slices.ContainsFunc(e.First, func(r mr.BadRecord) bool {
		return r.Cause == images.TooLarge && strings.Contains(r.Error, memoryLeaves)
	}) {
		memory = " raise limits.memory (or, where it is not set, the memory of the machine or worker), which decides how large an image may be,"
	}
	share := 1.0
	if 2*bad < e.Rows { // the job stopped where the limit was passed: there may be more
		share = math.Ceil(200*float64(bad)/float64(e.Rows)) / 100
	}
	return fmt.Sprintf("correct the records,%s or allow more of them: --set limits.maxBadFraction=%g (1: any number; the output's quarantine/ then has each of them)", memory, share)
}

// withBad adds the bad records to an error that they have caused.
func (w *watch) withBad(err error) error {
	if !errs.Is(err, errs.Budget) {
		return err
	}
	e := &BadRecordsError{Err: err, Causes: map[string]int64{}, Rows: w.job.Rows}
	for _, p := range w.job.Spec.Phases {
		for _, m := range w.manifests[p.ID] {
			e.First = append(e.First, m.Bad...)
			for name, n := range m.Counters {
				if len(name) > 4 && name[:4] == "bad." {
					e.Causes[name[4:]] += n
				}
			}
			if p.ID != compile.TablePhase {
				tried, unusable := looked(m.Counters)
				e.Tried, e.Unusable = e.Tried+tried, e.Unusable+unusable
			}
		}
	}
	return e
}

// looked is how many images a task has looked at, and how many of them cannot be used, by its counters.
func looked(counters map[string]int64) (tried, unusable int64) {
	tried = counters[extract.Decodes]
	for _, c := range []string{image.ReasonEmpty, image.ReasonUnknown, image.ReasonTruncated, image.ReasonCorrupt, image.ReasonUnsupported, image.ReasonWrongSize} {
		unusable += counters["bad."+c]
	}
	for _, c := range []string{"missing", "damaged", "path", "outside", "no-permission"} { // which are not decoded
		n := counters["bad."+c]
		tried, unusable = tried+n, unusable+n
	}
	return tried, unusable
}
