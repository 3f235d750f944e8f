package tracker

import (
	"time"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/sched"
)

// JobNow is a running job as pages and commands show it.
type JobNow struct {
	ID       mr.JobID         `json:"id"`
	Phases   []PhaseNow       `json:"phases"`
	Attempts []AttemptNow     `json:"attempts,omitempty"` // that run
	Counters map[string]int64 `json:"counters,omitempty"` // of committed attempts
}

// PhaseNow is a phase in figures. Waiting, Running and Committed add up to Tasks.
type PhaseNow struct {
	ID        mr.PhaseID   `json:"id"`
	Type      mr.PhaseType `json:"type"`
	State     string       `json:"state"` // waiting, running, publishing, published
	Tasks     int          `json:"tasks"`
	Waiting   int          `json:"waiting"`
	Running   int          `json:"running"`
	Committed int          `json:"committed"`
	Failures  int          `json:"failures,omitempty"` // attempts that failed of their own
	Losses    int          `json:"losses,omitempty"`   // attempts that failed otherwise
	Round     int          `json:"round,omitempty"`    // rounds phases: the round that is under way
}

// AttemptNow is a running attempt.
type AttemptNow struct {
	Attempt mr.AttemptID   `json:"attempt"`
	Worker  sched.WorkerID `json:"worker"`
	Seconds float64        `json:"seconds"` // since it was launched
	Done    int64          `json:"done"`
	Total   int64          `json:"total"`
	Pinned  bool           `json:"pinned,omitempty"` // it holds a partition and no slot
	Copy    bool           `json:"copy,omitempty"`   // it was launched beside a straggler
}

// WorkerNow is a worker in figures.
type WorkerNow struct {
	ID     sched.WorkerID `json:"id"`
	Host   string         `json:"host"`
	Slots  int            `json:"slots"`
	Used   int            `json:"used"`
	Memory int64          `json:"memory,omitempty"` // bytes that its attempts may hold; 0: not limited
	Whole  int64          `json:"whole,omitempty"`  // bytes that its machine or control group has, of which Memory is a part; 0: not known
	Keeps  bool           `json:"keeps,omitempty"`  // it has a cache that can be written
	Held   int64          `json:"held"`             // bytes that its jobs may take
	// What its process holds, as it has said last, in bytes.
	Resident int64 `json:"resident,omitempty"`
	Peak     int64 `json:"peak,omitempty"`   // resident, at most so far
	Cached   int64 `json:"cached,omitempty"` // pinned partitions in memory
	Budget   int64 `json:"budget,omitempty"` // for those
	Spilt    int64 `json:"spilt,omitempty"`  // pinned partitions on its disk
	// Excluded are the jobs that have nothing run there for a while, because too much of theirs failed there.
	Excluded []ExcludedNow `json:"excluded,omitempty"`
	Since    time.Time     `json:"since"`
	Seen     time.Time     `json:"seen"`
}

// ExcludedNow says that a job avoids a worker, until when, and why. Other jobs use it.
type ExcludedNow struct {
	Job   string      `json:"job"`
	Tasks []mr.TaskID `json:"tasks"` // that failed there
	Why   string      `json:"why"`   // how the last of them did
	Until time.Time   `json:"until"`
}

// Jobs describes those of the given jobs that run here.
func (t *Tracker) Jobs(ids ...mr.JobID) []JobNow {
	var out []JobNow
	t.look(func() {
		now := sched.Tick(time.Since(t.start).Milliseconds())
		for _, id := range ids {
			v := t.state.Job(id)
			if v.ID == "" {
				continue
			}
			j := JobNow{ID: v.ID, Counters: v.Counters}
			for _, p := range v.Phases {
				j.Phases = append(j.Phases, PhaseNow{ID: p.ID, Type: p.Type, State: p.State, Tasks: p.Tasks, Waiting: p.Waiting, Running: p.Running,
					Committed: p.Committed, Failures: p.Failures, Losses: p.Losses, Round: p.Round})
			}
			j.Attempts = make([]AttemptNow, 0, len(v.Attempts))
			for _, a := range v.Attempts {
				j.Attempts = append(j.Attempts, AttemptNow{Attempt: a.Attempt, Worker: a.Worker, Seconds: float64(now-a.Started) / 1000,
					Done: a.Done, Total: a.Total, Pinned: a.Pinned, Copy: a.Copy})
			}
			out = append(out, j)
		}
	})
	return out
}

// TaskNow is a task of a running job.
type TaskNow struct {
	Task     mr.TaskID      `json:"task"`
	State    string         `json:"state"`             // waiting, running, committed
	Attempts int            `json:"attempts"`          // launched so far
	Failed   int            `json:"failed,omitempty"`  // of these, that failed, for whatever reason
	Attempt  *mr.AttemptID  `json:"attempt,omitempty"` // the committed one, or the last that runs
	Worker   sched.WorkerID `json:"worker,omitempty"`  // where it runs
	Seconds  float64        `json:"seconds,omitempty"` // that it has run, or taken
	Done     int64          `json:"done,omitempty"`
	Total    int64          `json:"total,omitempty"`
	Rows     int64          `json:"rows,omitempty"` // that the committed one wrote
	Bytes    int64          `json:"bytes,omitempty"`
}

// Tasks are tasks of a phase that runs here, of a state ("": any), at most limit from the from-th on, and how many are in each state; nil counts: there is no such
// phase here.
func (t *Tracker) Tasks(job mr.JobID, phase mr.PhaseID, state string, from, limit int) (out []TaskNow, counts map[string]int) {
	t.look(func() {
		now := sched.Tick(time.Since(t.start).Milliseconds())
		var views []sched.TaskView
		views, counts = t.state.Tasks(job, phase, state, from, limit)
		for _, v := range views {
			n := TaskNow{Task: mr.TaskID{Phase: phase, Index: v.Index}, State: v.State, Attempts: v.Attempts, Failed: v.Failed, Worker: v.Worker, Seconds: v.Seconds,
				Done: v.Done, Total: v.Total, Rows: v.Rows, Bytes: v.Bytes}
			if v.Number > 0 {
				n.Attempt = &mr.AttemptID{Task: n.Task, Number: v.Number}
			}
			if v.State == "running" {
				n.Seconds = float64(now-v.Since) / 1000
			}
			out = append(out, n)
		}
	})
	return out, counts
}

// Workers describes the workers, in the order in which they came.
func (t *Tracker) Workers() []WorkerNow {
	out := []WorkerNow{}
	t.look(func() {
		for _, w := range t.state.Workers() {
			n := WorkerNow{ID: w.ID, Host: w.Host, Slots: w.Slots, Used: w.Used, Memory: w.Memory, Held: w.Held}
			if b := t.workers[w.ID]; b != nil {
				n.Since, n.Seen, n.Whole, n.Keeps = b.since.UTC(), b.seen.UTC(), b.up.Whole, b.up.Keeps
				n.Resident, n.Peak, n.Cached, n.Budget, n.Spilt = b.usage.Resident, b.usage.Peak, b.usage.Cached, b.usage.Budget, b.usage.Spilt
			}
			for _, x := range w.Excluded {
				until := t.start.Add(time.Duration(x.Until) * time.Millisecond)
				n.Excluded = append(n.Excluded, ExcludedNow{Job: string(x.Job), Tasks: x.Tasks, Why: x.Why, Until: until.UTC()})
			}
			out = append(out, n)
		}
	})
	return out
}
