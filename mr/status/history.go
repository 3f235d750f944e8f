package status

import (
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/tracker"
)

// Phase is a phase of a job, live or over.
type Phase struct {
	Run       mr.JobID   `json:"run"`
	ID        mr.PhaseID `json:"id"`
	State     string     `json:"state"` // waiting, running, publishing, published; ended: the job was over before it was published
	Tasks     int        `json:"tasks"`
	Running   int        `json:"running,omitempty"`
	Committed int        `json:"committed"`
	Restored  int        `json:"restored,omitempty"` // of Committed, what an earlier run had left
	Failures  int        `json:"failures,omitempty"` // attempts that failed of their own
	Losses    int        `json:"losses,omitempty"`   // attempts that failed otherwise
	Rounds    int        `json:"rounds,omitempty"`
	Began     time.Time  `json:"began,omitzero"`
	Ended     time.Time  `json:"ended,omitzero"`
	// Of committed attempts: what they took, and the records and bytes that they wrote.
	Seconds *Spread `json:"seconds,omitempty"`
	Records *Spread `json:"records,omitempty"`
	Bytes   *Spread `json:"bytes,omitempty"`
}

// Waiting is how many tasks are neither committed nor running.
func (p Phase) Waiting() int { return max(0, p.Tasks-p.Committed-p.Running) }

// Spread is how a figure of attempts is spread. Quantiles are right to 3 %.
type Spread struct {
	Count  int     `json:"count"`
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	P95    float64 `json:"p95"` // of each 20 attempts 19 have at most so much
	Max    float64 `json:"max"`
	Sum    float64 `json:"sum"`
}

// FailedAttempt is an attempt that failed.
type FailedAttempt struct {
	Attempt mr.AttemptID `json:"attempt"`
	Worker  string       `json:"worker"`
	At      time.Time    `json:"at"`
	Kind    string       `json:"kind"`
	ID      string       `json:"id"`
	Error   string       `json:"error"`
	Next    string       `json:"next,omitempty"`
}

// KeptFailures is how many failed attempts of a job are kept: the last ones.
const KeptFailures = 100

// maxErrorText bounds what is kept of an error.
const maxErrorText = 2000

// History is what became of a job's attempts, from what its observer is told. It is bounded by the number of phases, not of
// tasks. Its methods may be called from any goroutine.
type History struct {
	mu     sync.Mutex
	phases []*past
	byID   map[phaseKey]*past
	failed []FailedAttempt
	count  int
}

type phaseKey struct {
	run   mr.JobID
	phase mr.PhaseID
}

type past struct {
	Phase
	seconds, records, bytes spread
}

// Begin says that a run of the job starts, perhaps anew: what it restores it tells again.
func (h *History) Begin(run mr.JobID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range h.phases {
		if p.Run == run {
			p.Committed, p.Restored, p.State = 0, 0, "waiting"
		}
	}
}

// Observe takes what happened at a time.
func (h *History) Observe(run mr.JobID, u tracker.Update, now time.Time) {
	if u.Kind == tracker.PhaseProgress {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if u.Kind == tracker.JobDone {
		for _, p := range h.phases {
			if p.Run == run && p.State != "published" {
				p.State = "ended"
			}
		}
		return
	}
	p := h.phase(run, u.Phase)
	switch u.Kind {
	case tracker.AttemptStarted:
		p.Tasks, p.State = u.Tasks, "running"
		if p.Began.IsZero() {
			p.Began = now
		}
	case tracker.AttemptSucceeded:
		p.Committed++
		p.seconds.add(u.Seconds)
		if u.Manifest != nil {
			rows, bytes := u.Manifest.Wrote()
			p.records.add(float64(rows))
			p.bytes.add(float64(bytes))
		}
	case tracker.AttemptFailed:
		h.fail(p, u, now)
	case tracker.RoundDone:
		p.Rounds = u.Round + 1
	case tracker.PhasePublished:
		p.State, p.Ended = "published", now
		if u.Published != nil {
			p.Tasks, p.Committed = len(u.Published.Tasks), len(u.Published.Tasks)
		}
	case tracker.PhaseRestored:
		p.State = "published"
		if u.Published != nil {
			p.Tasks, p.Committed, p.Restored = len(u.Published.Tasks), len(u.Published.Tasks), len(u.Published.Tasks)
		}
	case tracker.TaskRestored:
		p.Committed++
		p.Restored++
		p.Tasks = max(p.Tasks, p.Committed)
	}
}

// phase finds a phase, or makes its book. It is called with h.mu held.
func (h *History) phase(run mr.JobID, id mr.PhaseID) *past {
	key := phaseKey{run, id}
	p := h.byID[key]
	if p == nil {
		if h.byID == nil {
			h.byID = map[phaseKey]*past{}
		}
		p = &past{Phase: Phase{Run: run, ID: id, State: "waiting"}}
		h.byID[key] = p
		h.phases = append(h.phases, p)
	}
	return p
}

func (h *History) fail(p *past, u tracker.Update, now time.Time) {
	h.count++
	switch errs.KindOf(u.Err) {
	case errs.Lost, errs.Preempted, errs.NoMemory, errs.Canceled:
		p.Losses++
	default:
		p.Failures++
	}
	f := FailedAttempt{Attempt: u.Attempt, Worker: string(u.Worker), At: now.UTC(), Kind: errs.KindOf(u.Err).String()}
	if u.Err != nil {
		f.Error = clip(u.Err.Error(), maxErrorText)
	}
	if e, ok := u.Err.(interface{ ErrorID() string }); ok {
		f.ID = e.ErrorID()
	}
	if e, ok := u.Err.(interface{ Hint() string }); ok {
		f.Next = clip(e.Hint(), maxErrorText)
	}
	if len(h.failed) >= KeptFailures {
		h.failed = slices.Delete(h.failed, 0, 1)
	}
	h.failed = append(h.failed, f)
}

// clip shortens a text to at most n bytes, and says so.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return strings.ToValidUTF8(s[:n], "\uFFFD") + " … (cut)"
}

// Phases are the job's phases: those that now says to be live, in the order of the plan, after those of runs before.
func (h *History) Phases(now []tracker.JobNow) []Phase {
	h.mu.Lock()
	defer h.mu.Unlock()
	live := map[mr.JobID]bool{}
	for _, n := range now {
		live[n.ID] = true
	}
	var out []Phase
	for _, p := range h.phases {
		if !live[p.Run] {
			out = append(out, p.copy())
		}
	}
	for _, n := range now {
		for _, v := range n.Phases {
			p := Phase{Run: n.ID, ID: v.ID}
			if known := h.byID[phaseKey{n.ID, v.ID}]; known != nil {
				p = known.copy()
			}
			p.State, p.Tasks, p.Running, p.Committed = v.State, v.Tasks, v.Running, v.Committed
			p.Failures, p.Losses = max(p.Failures, v.Failures), max(p.Losses, v.Losses)
			p.Rounds = max(p.Rounds, v.Round)
			out = append(out, p)
		}
	}
	return out
}

func (p *past) copy() Phase {
	out := p.Phase
	for _, s := range []struct {
		now *spread
		to  **Spread // holds that of an earlier tracker
	}{{&p.seconds, &out.Seconds}, {&p.records, &out.Records}, {&p.bytes, &out.Bytes}} {
		if now := s.now.spread(); now != nil {
			*s.to = now
		}
	}
	return out
}

// Knows tells whether something has been heard of a phase.
func (h *History) Knows(id mr.PhaseID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.ContainsFunc(h.phases, func(p *past) bool { return p.ID == id })
}

// Failed are the last failed attempts, the newest first, and how many there were in all.
func (h *History) Failed() ([]FailedAttempt, int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := slices.Clone(h.failed)
	slices.Reverse(out)
	return out, h.count
}

// Record is a history as a tracker's state keeps it.
type Record struct {
	Phases      []Phase         `json:"phases,omitempty"`
	Failed      []FailedAttempt `json:"failedAttempts,omitempty"` // the newest first
	FailedCount int             `json:"failedAttemptsInAll,omitempty"`
}

// Record is what is to be kept of a job that is over.
func (h *History) Record() Record {
	r := Record{Phases: h.Phases(nil)}
	r.Failed, r.FailedCount = h.Failed()
	return r
}

// Restore is the history that a Record was made of.
func Restore(r Record) *History {
	h := &History{count: r.FailedCount, failed: slices.Clone(r.Failed)}
	slices.Reverse(h.failed)
	for _, p := range r.Phases {
		*h.phase(p.Run, p.ID) = past{Phase: p}
	}
	return h
}

// spread counts durations by their logarithm, so that a million of them need no more room than a hundred.
type spread struct {
	count    int
	min, max float64
	sum      float64
	buckets  map[int]int
}

const bucketGrowth = 1.05

func (s *spread) add(v float64) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return
	}
	v = max(v, 0)
	if s.count == 0 {
		s.min, s.max, s.buckets = v, v, map[int]int{}
	}
	s.count++
	s.sum += v
	s.min, s.max = min(s.min, v), max(s.max, v)
	s.buckets[int(math.Floor(math.Log(max(v, 1e-6))/math.Log(bucketGrowth)))]++
}

func (s *spread) spread() *Spread {
	if s.count == 0 {
		return nil
	}
	out := &Spread{Count: s.count, Min: s.min, Max: s.max, Sum: s.sum}
	seen, median := 0, false
	for _, b := range slices.Sorted(maps.Keys(s.buckets)) {
		seen += s.buckets[b]
		at := min(s.max, max(s.min, math.Pow(bucketGrowth, float64(b)+0.5)))
		if !median && 2*seen >= s.count {
			out.Median, median = at, true
		}
		if 20*seen >= 19*s.count {
			out.P95 = at
			break
		}
	}
	return out
}
