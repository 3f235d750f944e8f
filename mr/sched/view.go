package sched

import (
	"maps"
	"slices"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
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
	Held   int64 // by attempts, or, if that is more, granted to the jobs that have had attempts there and have not ended
	Seen   Tick
	// Excluded are the jobs that launch nothing there for a while, in the order in which they came.
	Excluded []Exclusion
}

// Exclusion is a job's refusal to use a worker.
type Exclusion struct {
	Job   mr.JobID
	Tasks []mr.TaskID // that failed there
	Why   string      // how the last of them did
	Until Tick
}

// Ended is the epoch in which a job has ended; 0 for one that has not, or that is not remembered any more.
func (s *State) Ended(id mr.JobID) int64 { return s.ended.byID[id].epoch }

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
	add := func(all []*attempt) {
		for _, a := range all {
			if a.j != j {
				continue
			}
			if a.p.tasks[a.index].attempts[0] != a {
				twice[a.p]++
			}
			v.Attempts = append(v.Attempts, AttemptView{Attempt: a.id(), Worker: a.worker.id, Started: a.started,
				Done: a.done, Total: a.total, Pinned: a.opened, Copy: a.copy})
		}
	}
	for _, w := range s.workers {
		add(s.sorted(w))
	}
	add(s.adrift)
	for _, p := range j.phases {
		busy := p.running - twice[p]
		v.Phases = append(v.Phases, PhaseView{ID: p.spec.ID, Type: p.spec.Type, State: p.state.String(), Tasks: len(p.tasks),
			Waiting: len(p.tasks) - p.committed - busy, Running: busy, Committed: p.committed,
			Failures: p.failures, Losses: p.losses, Round: p.loop.round})
	}
	return v
}

// TaskView is a task as a page shows it.
type TaskView struct {
	Index    int
	State    string // waiting, running, committed
	Attempts int    // launched so far
	Failed   int    // of these, that failed, for whatever reason
	Number   int    // of the attempt that is shown: the committed one, or the last that runs
	Worker   WorkerID
	Since    Tick // running: when it was launched
	Done     int64
	Total    int64
	Seconds  float64 // committed: what it took
	Rows     int64   // and wrote
	Bytes    int64
}

// taskStates in the order in which they are counted.
var taskStates = [...]string{"waiting", "running", "committed"}

// Tasks are a live phase's tasks of a state ("": any), at most limit from the from-th on, and how many there are in each state; nil counts: there is no such phase. The cost
// is O(tasks).
func (s *State) Tasks(job mr.JobID, phase mr.PhaseID, state string, from, limit int) (out []TaskView, counts map[string]int) {
	_, p := s.phase(job, phase)
	if p == nil {
		return nil, nil
	}
	var n [len(taskStates)]int
	matched := 0
	for i := range p.tasks {
		t := &p.tasks[i]
		is := 0
		switch {
		case t.manifest != nil:
			is = 2
		case len(t.attempts) > 0:
			is = 1
		}
		n[is]++
		if state != "" && state != taskStates[is] {
			continue
		}
		if matched++; matched <= from || len(out) >= limit {
			continue
		}
		out = append(out, t.view(i, taskStates[is]))
	}
	counts = map[string]int{}
	for i, name := range taskStates {
		counts[name] = n[i]
	}
	return out, counts
}

func (t *task) view(i int, state string) TaskView {
	v := TaskView{Index: i, State: state, Attempts: int(t.number)}
	if t.trouble != nil {
		v.Failed = t.trouble.failures + t.trouble.system
	}
	if m := t.manifest; m != nil {
		v.Number, v.Seconds = m.Attempt.Number, m.Seconds
		v.Rows, v.Bytes = m.Wrote()
		return v
	}
	if n := len(t.attempts); n > 0 {
		a := t.attempts[n-1]
		v.Number, v.Worker, v.Since, v.Done, v.Total = a.number, a.worker.id, a.started, a.done, a.total
	}
	return v
}

// GivenUp is an attempt that ended without a word of its own.
type GivenUp struct {
	Worker  WorkerID
	Job     mr.JobID
	Attempt mr.AttemptID
	Err     *errs.Error
}

// GaveUp is what the last step has taken for lost or given up because it hung, for those who look: all that is to be done about it is among
// the step's actions.
func (s *State) GaveUp() []GivenUp { return s.gaveUp }

// Where says on which worker an attempt of a live job runs, and for which coordinator's epoch.
func (s *State) Where(job mr.JobID, id mr.AttemptID) (at WorkerID, epoch int64, ok bool) {
	_, p := s.phase(job, id.Task.Phase)
	if p == nil || id.Task.Index < 0 || id.Task.Index >= len(p.tasks) {
		return "", 0, false
	}
	for _, a := range p.tasks[id.Task.Index].attempts {
		if a.number == id.Number {
			return a.worker.id, a.epoch, true
		}
	}
	return "", 0, false
}

// Workers are the live workers in the order in which they came.
func (s *State) Workers() []WorkerView {
	out := make([]WorkerView, len(s.workers))
	for i, w := range s.workers {
		held := int64(0)
		for j := range w.jobs {
			held += j.spec.Settings.Memory
		}
		for _, n := range w.awaited {
			held += n
		}
		out[i] = WorkerView{ID: w.id, Host: w.host, Slots: w.slots, Used: w.used, Memory: w.memory, Held: max(held, w.held), Seen: w.seen}
		for _, j := range s.jobs {
			if s.excluded(j, w) {
				f := j.faults[w.id]
				out[i].Excluded = append(out[i].Excluded, Exclusion{Job: j.spec.ID, Tasks: slices.Clone(f.tasks), Why: f.why, Until: f.until})
			}
		}
	}
	return out
}
