package sched

import (
	"maps"

	"github.com/vista-mr/vista-mr/mr"
)

// JobView is a job as a page or a command line shows it. It shares nothing with the state.
type JobView struct {
	ID       mr.JobID
	Name     string
	Phases   []PhaseView
	Counters map[string]int64 // of committed attempts
	Attempts []AttemptView    // those that run, by worker
}

// PhaseView is a phase in figures. Waiting, Running and Committed add up to Tasks.
type PhaseView struct {
	ID        mr.PhaseID
	Type      mr.PhaseType
	State     string // waiting, running, publishing, published
	Tasks     int
	Waiting   int
	Running   int
	Committed int
	Failures  int // attempts that failed of their own
	Losses    int // attempts that failed otherwise
	Round     int // rounds phases: the round that is being summed or composed
}

// AttemptView is a running attempt.
type AttemptView struct {
	Attempt     mr.AttemptID
	Worker      WorkerID
	Started     Tick
	Done, Total int64 // progress
	Pinned      bool  // it holds a partition and no slot
	Copy        bool  // it was launched beside a straggler
}

// WorkerView is a worker in figures.
type WorkerView struct {
	ID     WorkerID
	Host   string
	Slots  int
	Used   int
	Memory int64
	Held   int64
	Seen   Tick
}

// Job describes a live job; one that is unknown or has ended has an empty ID. The cost is
// O(phases + running attempts).
func (s *State) Job(id mr.JobID) JobView {
	j := s.jobByID[id]
	if j == nil {
		return JobView{}
	}
	v := JobView{ID: id, Name: j.spec.Name, Counters: maps.Clone(j.sums)}
	twice := map[*phase]int{} // attempts beyond the first of their tasks
	n := 0
	for _, p := range j.phases {
		n += p.running
	}
	v.Attempts = make([]AttemptView, 0, n)
	for _, w := range s.workers {
		for _, a := range s.sorted(w) {
			if a.j != j {
				continue
			}
			if a.p.tasks[a.index].attempts[0] != a {
				twice[a.p]++
			}
			v.Attempts = append(v.Attempts, AttemptView{Attempt: a.id(), Worker: w.id, Started: a.started,
				Done: a.done, Total: a.total, Pinned: a.opened, Copy: a.copy})
		}
	}
	for _, p := range j.phases {
		busy := p.running - twice[p]
		v.Phases = append(v.Phases, PhaseView{ID: p.spec.ID, Type: p.spec.Type, State: p.state.String(), Tasks: len(p.tasks),
			Waiting: len(p.tasks) - p.committed - busy, Running: busy, Committed: p.committed,
			Failures: p.failures, Losses: p.losses, Round: p.loop.round})
	}
	return v
}

// Jobs are the live jobs in the order in which they came.
func (s *State) Jobs() []mr.JobID {
	out := make([]mr.JobID, len(s.jobs))
	for i, j := range s.jobs {
		out[i] = j.spec.ID
	}
	return out
}

// Workers are the live workers in the order in which they came.
func (s *State) Workers() []WorkerView {
	out := make([]WorkerView, len(s.workers))
	for i, w := range s.workers {
		out[i] = WorkerView{ID: w.id, Host: w.host, Slots: w.slots, Used: w.used, Memory: w.memory, Held: w.held, Seen: w.seen}
	}
	return out
}
