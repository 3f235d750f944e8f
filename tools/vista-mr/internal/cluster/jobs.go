package cluster

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/status"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/progress"
)

// Request is what a client submits: a job file and what it is read with.
type Request struct {
	Name   string   `json:"name"`           // of the job
	File   string   `json:"file"`           // the job file's name, for messages
	Text   string   `json:"text"`           // what it says
	Sets   []string `json:"sets,omitempty"` // overrides; those of relative paths are absolute here
	Output string   `json:"output"`         // URI
	User   string   `json:"user,omitempty"`
	// Priority decides whose tasks come first where jobs share workers; the higher first, 0 if nothing is said.
	Priority int `json:"priority,omitempty"`
	// Resume: the job only goes on with an unfinished run.
	Resume bool `json:"resume,omitempty"`
}

// State is where a job is.
type State string

// The states of a job.
const (
	Queued    State = "queued"
	Running   State = "running"
	Succeeded State = "succeeded"
	Failed    State = "failed"
	Killed    State = "killed"
)

// Over tells whether nothing more will happen to the job.
func (s State) Over() bool { return s == Succeeded || s == Failed || s == Killed }

// Job is what the tracker says of a job.
type Job struct {
	ID        string            `json:"id"`
	Name      string            `json:"name"`
	User      string            `json:"user,omitempty"`
	Output    string            `json:"output"`
	State     State             `json:"state"`
	Submitted time.Time         `json:"submitted"`
	Started   time.Time         `json:"started,omitzero"`
	Ended     time.Time         `json:"ended,omitzero"`
	Ending    bool              `json:"ending,omitempty"`   // somebody has killed it, and it has not ended yet
	Waits     string            `json:"waits,omitempty"`    // what a queued job waits for
	Drivers   int               `json:"drivers,omitempty"`  // started so far
	Progress  []progress.Update `json:"progress,omitempty"` // by stage, in the order in which they began
	Plan      string            `json:"plan,omitempty"`     // that runs
	Verdict   string            `json:"verdict,omitempty"`
	Failure   json.RawMessage   `json:"failure,omitempty"` // as the commands print it with -o json
	ExitCode  int               `json:"exitCode,omitempty"`
}

// ended is what the state keeps of how a job ended.
type ended struct {
	State    State               `json:"state"`
	Started  time.Time           `json:"started,omitzero"`
	Ended    time.Time           `json:"ended"`
	Plan     string              `json:"plan,omitempty"`
	Verdict  string              `json:"verdict,omitempty"`
	Failure  json.RawMessage     `json:"failure,omitempty"`
	ExitCode int                 `json:"exitCode,omitempty"`
	Logs     map[mr.JobID]string `json:"logs,omitempty"` // the stores of its runs, where their attempts' logs are
	status.Record
}

// submission is what the state keeps of a request.
type submission struct {
	Request
	ID        string    `json:"id"`
	Submitted time.Time `json:"submitted"`
	again     bool      // a driver before has had phases run
}

// file is where a job is in the state.
func (s *submission) file() dfs.Path { return dfs.Path("jobs").Join(s.ID, "job.json") }

// jobs are the tracker's jobs. All methods may be called from any goroutine.
type jobs struct {
	store    dfs.FS // the tracker's state
	stateURI string // its place, for messages
	start    func(ctx context.Context, s *submission, tell func(driverLine)) (ending, error)
	putAway  func(id string)                 // what drivers of a job that is over have left here; nil: nothing
	dismiss  func(mr.JobID)                  // ends a run that nobody will ask for any more, if it goes on
	epoch    int64                           // of this tracker
	current  func(ctx context.Context) error // errs.Lost: another tracker has the state; nil: nobody else can have it
	log      *zap.Logger
	base     context.Context
	stop     context.CancelFunc
	work     sync.WaitGroup

	submitting sync.Mutex // held for a whole submission where the number of jobs that wait is limited

	mu      sync.Mutex
	coming  map[string]bool // outputs of jobs that are being taken in
	byID    map[string]*book
	order   []*book // as they were submitted
	running int
	most    int // drivers at once
	limits  Limits

	changes atomic.Uint64 // grows with whatever happens
	totals  totals
}

// book is the tracker's book of a job.
type book struct {
	Job
	sub  submission
	kill context.CancelCauseFunc // while a driver runs
	runs []mr.JobID
	logs map[mr.JobID]string // the stores of runs, where their attempts' logs are
	past *status.History
	ends bool          // its last driver has ended: nothing more is begun for it
	over chan struct{} // closed when it is over
}

func (b *book) end(e *ended) {
	b.State, b.Started, b.Ended, b.Plan, b.Verdict, b.Failure, b.ExitCode = e.State, e.Started, e.Ended, e.Plan, e.Verdict, e.Failure, e.ExitCode
	b.Progress, b.kill, b.Ending = nil, nil, false
	close(b.over)
}

var legalName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// submit takes a job in. It is in the state before its id is given out.
func (m *jobs) submit(ctx context.Context, r Request) (Job, error) {
	if !legalName.MatchString(r.Name) || r.Text == "" {
		return Job{}, errs.E("submit", errs.Invalid, r.File, fmt.Errorf("no job: name %q, %d bytes", r.Name, len(r.Text)))
	}
	var random [5]byte
	if _, err := rand.Read(random[:]); err != nil {
		return Job{}, err
	}
	s := submission{Request: r, Submitted: time.Now().UTC(),
		ID: r.Name + "-" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(random[:]))}
	data, err := json.Marshal(&s)
	if err != nil {
		return Job{}, err
	}
	free, err := m.reserve(&r)
	if err != nil {
		return Job{}, err
	}
	defer free()
	if m.limits.Queued > 0 { // what is refused must never have been in the state: so they come one after the other
		m.submitting.Lock()
		defer m.submitting.Unlock()
		if err := m.mayWait(&r); err != nil {
			return Job{}, err
		}
	}
	if err := dfs.WriteFile(ctx, m.store, s.file(), data); err != nil {
		return Job{}, m.full(err)
	}
	b := &book{sub: s, past: &status.History{}, over: make(chan struct{}), Job: Job{ID: s.ID, Name: r.Name, User: r.User, Output: r.Output, State: Queued, Submitted: s.Submitted}}
	// A tracker that has taken over since then has listed the jobs without this one, unless it did so behind this look.
	mine := !m.superseded(ctx)
	if !mine {
		if err := m.handOver(&s, data); err != nil {
			return Job{}, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.byID[s.ID] = b
	if mine {
		m.order = append(m.order, b)
		m.fill()
	}
	m.changes.Add(1)
	return b.Job, nil
}

// full names the tracker's state where that has no room for a job: whoever submits it may be on another machine.
func (m *jobs) full(err error) error {
	if !errs.Is(err, errs.NoSpace) {
		return err
	}
	return &errs.Error{Op: "submit", Kind: errs.NoSpace, ID: "E-NO-SPACE", Path: m.stateURI, Err: fmt.Errorf("the tracker's state (--state %s) has no room: %w", m.stateURI, err),
		Fix: "free space there, as the tracker sees it, then submit the job again"}
}

// mayWait refuses a job of a user of whom as many wait as may.
func (m *jobs) mayWait(r *Request) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := m.count(r.User, Queued); n >= m.limits.Queued {
		return &errs.Error{Op: "submit", Kind: errs.Exist, ID: "E-QUOTA", Path: r.File, Err: fmt.Errorf("%d jobs of %s wait already, as many as may", n, named(r.User)),
			Fix: "wait for one of them (vista-mr jobs), or kill one"}
	}
	return nil
}

// began notes what a job's driver has had run, so that a tracker after this one waits for it, and says for whom it runs.
func (m *jobs) began(id string, spec *mr.JobSpec) error {
	run := spec.ID
	m.mu.Lock()
	b := m.byID[id]
	if b != nil && b.ends {
		m.mu.Unlock()
		return errs.E("run", errs.Canceled, id, errors.New("the job is over"))
	}
	if b != nil {
		spec.User, spec.Priority = b.sub.User, b.sub.Priority
	}
	known := b != nil && slices.Contains(b.runs, run)
	if b != nil && !known {
		b.runs = append(b.runs, run)
	}
	if b != nil {
		if b.logs == nil {
			b.logs = map[mr.JobID]string{}
		}
		b.logs[run] = spec.Store
	}
	m.mu.Unlock()
	if b == nil {
		return noJob("run", id)
	}
	b.past.Begin(run)
	if known {
		return nil
	}
	if err := m.store.Claim(m.base, dfs.Path("jobs").Join(id, "runs", mr.FileName(string(run)))); err != nil && !errs.Is(err, errs.Exist) {
		m.mu.Lock()
		b.runs = slices.DeleteFunc(b.runs, func(r mr.JobID) bool { return r == run }) // the driver asks again, and the next tracker must know
		m.mu.Unlock()
		return err
	}
	return nil
}

// fill starts drivers while there is room. What a tracker before has begun comes first, whatever its priority: workers hold something of it,
// which others would wait for. It is called with m.mu held.
func (m *jobs) fill() {
	queued := slices.DeleteFunc(slices.Clone(m.order), func(b *book) bool { return b.State != Queued })
	slices.SortStableFunc(queued, func(a, b *book) int {
		if begun := len(a.runs) > 0; begun != (len(b.runs) > 0) {
			if begun {
				return -1
			}
			return 1
		}
		return cmp.Compare(b.sub.Priority, a.sub.Priority)
	})
	for _, b := range queued {
		switch {
		case m.base.Err() != nil:
		case b.Ending: // a tracker before was asked to, and did not live to see it
			m.off(b)
			m.work.Go(func() { m.overKilled(b, onRequest) })
		case m.waits(b) == "":
			m.run(b)
		}
	}
}

// postponed are the runs of jobs that a tracker before had begun and that have to wait for their turn now, as this one runs fewer at once. What
// workers hold of them would keep others out, which they may be waiting for.
func (m *jobs) postponed() (out []mr.JobID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range m.order {
		if b.State == Queued && !b.Ending {
			out = append(out, b.runs...)
		}
	}
	return out
}

// firstPause is how long to wait after a driver could not be started for the first time; then four times as long, and so on.
const firstPause = time.Second

// maxDrivers is how many drivers of a job may die before it has failed.
const maxDrivers = 4

func (m *jobs) run(b *book) {
	ctx, kill := context.WithCancelCause(m.base)
	b.State, b.kill = Running, kill
	if b.Started.IsZero() { // else a tracker before has begun it
		b.Started = time.Now().UTC()
		id, at := b.ID, b.Started
		m.work.Go(func() { m.keepStart(id, at) })
	}
	m.running++
	m.changes.Add(1)
	m.work.Go(func() {
		defer kill(nil)
		var end ending
		var err error
		for try := 1; ; try++ {
			m.mu.Lock()
			b.Drivers, b.Progress = try, nil
			sub := b.sub
			sub.again = len(b.runs) > 0
			m.mu.Unlock()
			end, err = m.start(ctx, &sub, func(l driverLine) { m.note(b, l) })
			if err == nil || ctx.Err() != nil || try == maxDrivers {
				break
			}
			var not *notStarted
			if !errors.As(err, &not) {
				m.log.Warn("a job's driver has died and is started again", zap.String("job", b.ID), zap.Error(err))
				continue
			}
			pause := firstPause << (2 * (try - 1))
			m.log.Warn("a job's driver cannot be started; it is tried again", zap.String("job", b.ID), zap.Duration("in", pause), zap.Error(err))
			select {
			case <-time.After(pause): // there may be room by then
				continue
			case <-ctx.Done():
			}
			break
		}
		m.over(ctx, b, end, err)
	})
}

// note takes what a driver tells of its progress.
func (m *jobs) note(b *book, l driverLine) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.changes.Add(1)
	if l.Plan != "" {
		b.Plan = l.Plan
	}
	if l.Progress == nil {
		return
	}
	i := slices.IndexFunc(b.Progress, func(u progress.Update) bool { return u.Stage == l.Progress.Stage })
	if i < 0 {
		b.Progress = append(b.Progress, *l.Progress)
	} else {
		b.Progress[i] = *l.Progress
	}
}

// over writes down how a job ended. One whose tracker stops is not over: the next one starts it again.
func (m *jobs) over(ctx context.Context, b *book, end ending, err error) {
	m.mu.Lock()
	b.ends = true // what a driver has asked for before it was killed may still be on its way
	e := ended{State: Succeeded, Started: b.Started, Ended: time.Now().UTC(), Plan: b.Plan, Verdict: end.verdict, Failure: end.failure, ExitCode: end.code, Logs: maps.Clone(b.logs), Record: b.past.Record()}
	runs := b.runs
	m.mu.Unlock()
	var killed errKill
	var not *notStarted
	switch well := err == nil && end.code == 0; {
	case !well && errors.As(context.Cause(ctx), &killed): // a kill that comes when all is done is too late
		e.State, e.ExitCode = Killed, int(exit.Killed)
		e.Failure = failureJSON("E-KILLED", "killed: "+killed.reason, "submit it again: it goes on where it stopped", int(exit.Killed))
	case m.base.Err() != nil:
		return
	case m.superseded(m.base): // its driver has lost to the other one's, or is about to
		m.log.Warn("how a job's driver ended is not told: another tracker goes on with it", zap.String("job", b.ID), zap.Int("code", end.code), zap.Error(err))
		return
	case errors.As(err, &not):
		e.State, e.ExitCode = Failed, int(exit.JobFailed)
		e.Failure = failureJSON(not.ErrorID(), fmt.Sprintf("the job's driver could not be started %d times: %v", maxDrivers, err), not.Hint(), e.ExitCode)
	case err != nil:
		e.State, e.ExitCode = Failed, 1
		e.Failure = failureJSON("E-DRIVER", fmt.Sprintf("the job's driver died %d times: %v", maxDrivers, err), "see its log: vista-mr logs "+b.ID, 1)
	case end.code != 0:
		e.State = Failed
	}
	m.keepEnd(b.ID, &e)
	if m.putAway != nil {
		m.putAway(b.ID)
	}
	for _, r := range runs { // a driver that was killed has told nobody that they are to end
		m.dismiss(r)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	b.end(&e)
	m.running--
	m.fill()
	m.changes.Add(1)
}

func failureJSON(id, cause, next string, code int) json.RawMessage {
	b, err := json.Marshal(map[string]any{"id": id, "cause": cause, "next": next, "exitCode": code})
	if err != nil {
		return nil // strings and a number
	}
	return b
}

// noJob says that a tracker has no job of this id.
func noJob(op, id string) error {
	return &errs.Error{Op: op, Kind: errs.NotExist, ID: "E-NO-JOB", Path: id, Err: errors.New("the tracker knows no such job"), Fix: "vista-mr jobs lists those that it knows"}
}

// list returns all jobs, the newest first.
func (m *jobs) list() []Job {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]Job, 0, len(m.order))
	for _, b := range slices.Backward(m.order) {
		out = append(out, m.copy(b))
	}
	return out
}

func (m *jobs) get(id string) (Job, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.byID[id]
	if b == nil {
		return Job{}, false
	}
	return m.copy(b), true
}

// await waits until a job is over, or ctx ends.
func (m *jobs) await(ctx context.Context, id string) {
	m.mu.Lock()
	b := m.byID[id]
	m.mu.Unlock()
	if b == nil {
		return
	}
	select {
	case <-b.over:
	case <-ctx.Done():
	}
}

// runsOf is what a job's driver has had run.
func (m *jobs) runsOf(id string) []mr.JobID {
	m.mu.Lock()
	defer m.mu.Unlock()
	if b := m.byID[id]; b != nil {
		return slices.Clone(b.runs)
	}
	return nil
}

func (m *jobs) copy(b *book) Job {
	j := b.Job
	j.Progress = slices.Clone(j.Progress)
	if j.State == Queued {
		j.Waits = m.waits(b)
	}
	return j
}

// close stops all drivers. Their jobs are not over.
func (m *jobs) close() {
	m.mu.Lock()
	m.stop() // nothing is begun after this
	m.mu.Unlock()
	m.work.Wait()
}

// logName is the local file that a job's drivers log to.
func logName(scratch, id string) string { return filepath.Join(scratch, "jobs", id, "driver.log") }
