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
	Held   int64          `json:"held"`             // bytes that they may need
	Since  time.Time      `json:"since"`
	Seen   time.Time      `json:"seen"`
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

// Workers describes the workers, in the order in which they came.
func (t *Tracker) Workers() []WorkerNow {
	out := []WorkerNow{}
	t.look(func() {
		for _, w := range t.state.Workers() {
			n := WorkerNow{ID: w.ID, Host: w.Host, Slots: w.Slots, Used: w.Used, Memory: w.Memory, Held: w.Held}
			if b := t.workers[w.ID]; b != nil {
				n.Since, n.Seen = b.since.UTC(), b.seen.UTC()
			}
			out = append(out, n)
		}
	})
	return out
}
