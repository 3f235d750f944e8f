// Package sched decides which attempts run where. It is a deterministic state machine:
// State.Step takes one event at one tick and returns the actions to carry out. It reads no
// clock, starts no goroutine, draws no random number and touches no file; package local, and
// later the tracker, do that for it.
//
// Invariants:
//   - of every task at most one attempt is ever committed, and only its counters are summed;
//   - a phase starts when every phase that it reads, or stands after, is published;
//   - a worker never runs more attempts than it has slots, nor more memory than it has;
//   - in every round each partition is counted exactly once;
//   - every job ends with one Done.
//
// What becomes of a failure depends on its kind alone (package errs). Losses, preemptions and
// memory failures are not the task's fault and do not use up its attempts, but are bounded,
// so that nothing goes on for ever. Wrong input, a full disk or a broken budget end the job at
// once. The same error twice on one task ends it too: a third try would only cost time.
//
// A rounds phase goes: launch every task, which pins its partition and gives its slot back
// (Opened); NextMessage and Message make a round's message; RunRound goes once to every worker
// with the partitions it has; RoundDone is accepted unless one of its partitions was counted
// before; when all are counted, the next message is made. A final message makes the tasks
// write their outputs and succeed. The partitions of a lost worker are pinned again elsewhere,
// and only what was not yet counted is asked for again.
package sched

import (
	"fmt"
	"sort"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// Options are the rules that a caller may set.
type Options struct {
	Epoch  int64
	Expire Tick // a worker that is silent for longer is lost; 0: never
	rules  rules
}

// rules can be switched off by tests, which must then fail: they show that the tests notice.
type rules struct {
	commitTwice, startEarly, countTwice, ignoreSlots, loserCounts bool
}

const (
	defaultAttempts = 4
	// systemAttempts bounds the failures of a task that are not its own.
	systemAttempts = 20
	publishTries   = 4
)

// State is the state machine. It belongs to one goroutine.
type State struct {
	o       Options
	now     Tick
	workers []*worker // in the order in which they came
	byID    map[WorkerID]*worker
	jobs    []*job // live ones, in the order in which they came
	out     []Action
}

// New returns a state machine without workers and jobs.
func New(o Options) *State { return &State{o: o, byID: map[WorkerID]*worker{}} }

type worker struct {
	id           WorkerID
	slots, used  int
	memory, held int64
	seen         Tick
	running      map[runKey]*attempt
}

type runKey struct {
	job     mr.JobID
	attempt mr.AttemptID
}

type job struct {
	spec   mr.JobSpec
	phases []*phase
	byID   map[mr.PhaseID]*phase
	sums   map[string]int64 // counters of committed attempts
}

type phaseState uint8

const (
	waiting phaseState = iota
	running
	publishing
	published
)

type phase struct {
	spec      *mr.PhaseSpec
	state     phaseState
	tasks     []task
	ready     []int // tasks to be launched, in order
	committed int
	manifest  mr.PhaseManifest // complete once all tasks are committed
	tries     int              // of publishing
	loop      loopState        // rounds phases
}

type task struct {
	manifest *mr.Manifest // of the committed attempt
	attempts []*attempt   // that run
	number   int          // of the last attempt
	failures int          // of its own making
	system   int          // not of its own making
	halvings int
	lastErr  string
}

type attempt struct {
	id     mr.AttemptID
	worker *worker
	memory int64
	opened bool // a pinned partition: holds memory, no slot
}

// Step takes one event and returns what is to be done, in order.
func (s *State) Step(now Tick, ev Event) []Action {
	s.now = max(s.now, now)
	s.out = nil
	s.take(ev)
	s.expire()
	s.schedule()
	return s.out
}

func (s *State) do(a Action) { s.out = append(s.out, a) }

func (s *State) take(ev Event) {
	switch ev := ev.(type) {
	case WorkerUp:
		s.workerUp(ev)
	case WorkerDown:
		s.workerDown(s.byID[ev.Worker])
	case Beat:
		if w := s.byID[ev.Worker]; w != nil {
			w.seen = s.now
		}
	case Submit:
		s.submit(ev)
	case Kill:
		if j := s.job(ev.Job); j != nil {
			s.end(j, failure(errs.Canceled, "", fmt.Errorf("killed: %s", ev.Reason)))
		}
	case Succeeded:
		s.succeeded(ev)
	case Failed:
		s.failed(ev)
	case Published:
		s.published(ev)
	case PublishFailed:
		s.publishFailed(ev)
	case Opened:
		s.opened(ev)
	case Message:
		s.message(ev)
	case RoundDone:
		s.roundDone(ev)
	case LoopFailed:
		if j := s.job(ev.Job); j != nil {
			s.end(j, ev.Err)
		}
	case Time:
	}
}

func failure(kind errs.Kind, task string, err error) *errs.Error {
	return &errs.Error{Op: "job", Kind: kind, Task: task, Err: err}
}

func (s *State) job(id mr.JobID) *job {
	for _, j := range s.jobs {
		if j.spec.ID == id {
			return j
		}
	}
	return nil
}

// phase finds a running phase of a live job.
func (s *State) phase(id mr.JobID, p mr.PhaseID) (*job, *phase) {
	j := s.job(id)
	if j == nil || j.byID[p] == nil {
		return nil, nil
	}
	return j, j.byID[p]
}

func (s *State) workerUp(ev WorkerUp) {
	w := s.byID[ev.Worker]
	if w == nil {
		w = &worker{id: ev.Worker, running: map[runKey]*attempt{}}
		s.byID[ev.Worker] = w
		s.workers = append(s.workers, w)
	}
	w.slots, w.memory, w.seen = ev.Slots, ev.Memory, s.now
}

// workerDown loses what ran there. The order of the lost attempts is fixed, so that the
// trace is.
func (s *State) workerDown(w *worker) {
	if w == nil {
		return
	}
	delete(s.byID, w.id)
	for i, v := range s.workers {
		if v == w {
			s.workers = append(s.workers[:i:i], s.workers[i+1:]...)
		}
	}
	keys := make([]runKey, 0, len(w.running))
	for k := range w.running {
		keys = append(keys, k)
	}
	sort.Slice(keys, func(a, b int) bool {
		x, y := keys[a], keys[b]
		if x.job != y.job {
			return x.job < y.job
		}
		if x.attempt.Task.Phase != y.attempt.Task.Phase {
			return x.attempt.Task.Phase < y.attempt.Task.Phase
		}
		if x.attempt.Task.Index != y.attempt.Task.Index {
			return x.attempt.Task.Index < y.attempt.Task.Index
		}
		return x.attempt.Number < y.attempt.Number
	})
	for _, k := range keys {
		s.failed(Failed{Worker: w.id, Job: k.job, Attempt: k.attempt, Err: failure(errs.Lost, k.attempt.String(), fmt.Errorf("worker %s is gone", w.id))})
	}
}

func (s *State) expire() {
	if s.o.Expire <= 0 {
		return
	}
	for _, w := range append([]*worker(nil), s.workers...) {
		if s.now-w.seen > s.o.Expire {
			s.workerDown(w)
		}
	}
}

func (s *State) submit(ev Submit) {
	if s.job(ev.Job.ID) != nil {
		return
	}
	j := &job{spec: ev.Job, byID: map[mr.PhaseID]*phase{}, sums: map[string]int64{}}
	if err := ev.Job.Validate(); err != nil {
		s.do(Done{Job: ev.Job.ID, Err: failure(errs.Invalid, "", err)})
		return
	}
	for i := range j.spec.Phases {
		spec := &j.spec.Phases[i]
		p := &phase{spec: spec, tasks: make([]task, spec.NumTasks())}
		p.manifest = mr.PhaseManifest{Job: j.spec.ID, Phase: spec.ID, Epoch: s.o.Epoch}
		j.phases = append(j.phases, p)
		j.byID[spec.ID] = p
	}
	s.jobs = append(s.jobs, j)
	for _, m := range ev.Done {
		p := j.byID[m.Phase]
		if p == nil || len(m.Tasks) != len(p.tasks) || p.state == published {
			continue
		}
		p.manifest, p.state, p.committed = m, published, len(m.Tasks)
		for i := range m.Tasks {
			p.tasks[i].manifest = &p.manifest.Tasks[i]
			j.add(m.Tasks[i].Counters)
		}
	}
	if s.overBudget(j) {
		return
	}
	s.start(j)
}

func (j *job) add(counters map[string]int64) {
	for k, v := range counters {
		j.sums[k] += v
	}
}

// start makes ready every phase that may run, and ends the job when all are published.
func (s *State) start(j *job) {
	left := 0
	for _, p := range j.phases {
		if p.state != published {
			left++
		}
		if p.state != waiting || !s.mayStart(j, p) {
			continue
		}
		p.state = running
		p.ready = make([]int, len(p.tasks))
		for i := range p.ready {
			p.ready[i] = i
		}
		if p.spec.Type == mr.RoundsPhase {
			p.loop = newLoop(len(p.tasks))
		}
	}
	if left == 0 {
		s.end(j, nil)
	}
}

func (s *State) mayStart(j *job, p *phase) bool {
	if s.o.rules.startEarly {
		return true
	}
	for _, in := range p.spec.Inputs {
		if j.byID[in.Phase].state != published {
			return false
		}
	}
	for _, id := range p.spec.After {
		if j.byID[id].state != published {
			return false
		}
	}
	return true
}

// end ends a job: what runs is cancelled, what is open is closed, and Done is said once.
func (s *State) end(j *job, err *errs.Error) {
	for i, v := range s.jobs {
		if v == j {
			s.jobs = append(s.jobs[:i:i], s.jobs[i+1:]...)
		}
	}
	for _, p := range j.phases {
		open := p.state == running || p.state == publishing
		for i := range p.tasks {
			for _, a := range append([]*attempt(nil), p.tasks[i].attempts...) {
				s.do(Cancel{Worker: a.worker.id, Job: j.spec.ID, Attempt: a.id})
				s.release(j, &p.tasks[i], a)
			}
		}
		if open {
			s.do(ClosePhase{Job: j.spec.ID, Phase: p.spec.ID})
		}
	}
	s.do(Done{Job: j.spec.ID, Err: err})
}

// OutFolder is where an attempt of an epoch writes. No two attempts have the same.
func OutFolder(job mr.JobID, a mr.AttemptID, epoch int64) dfs.Path {
	return dfs.Path(fmt.Sprintf("%s/%s/%05d-%d-e%d", job, mr.FileName(string(a.Task.Phase)), a.Task.Index, a.Number, epoch))
}
