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
//   - files that a manifest names were never given up for removal before it was committed;
//   - every job ends with one Done.
//
// What becomes of a failure depends on its kind alone (package errs); retry.go has the rules.
// Losses, preemptions and memory failures are not the task's fault and do not use up its
// attempts, but are bounded, so that nothing goes on for ever. Wrong input, a full disk or a
// broken budget end the job at once. The same error twice on one task ends it too: a third try
// would only cost time. A damaged file of the engine's own makes the task that wrote it run
// again, and the reader is not charged.
//
// A rounds phase goes: launch every task, which pins its partition and gives its slot back
// (Opened); NextMessage and Message make a round's message; RunRound goes once to every worker
// with the partitions it has; RoundDone is accepted unless one of its partitions was counted
// before; when all are counted, the next message is made. A final message makes the tasks
// write their outputs and succeed. The partitions of a lost worker are pinned again elsewhere,
// and only what was not yet counted is asked for again.
//
// Cost: a step costs what its actions cost, and a look at every worker for each launch. No
// event looks at every task, except a round's message (which names them all), the end of a
// phase, and damage to a file.
package sched

import (
	"fmt"
	"math"
	"slices"
	"sort"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// Options are the rules that a caller may set.
type Options struct {
	Epoch  int64
	Expire Tick // a worker that is silent for longer is lost; 0: never
	// Stall: when nothing of a job has moved for longer, what it runs is taken for lost; when
	// that does not help either, the job fails. 0: never.
	Stall Tick
	// Exclude is for how long a worker on which three tasks of a job failed gets no more of
	// that job's. At most a third of the workers is excluded. 0: never.
	Exclude Tick
	// Speculate launches a second attempt of tasks that take much longer than others did.
	Speculate bool
	rules     rules
}

// rules can be broken by tests, which must then fail: they show that the tests notice.
type rules struct {
	commitTwice, startEarly, countTwice, ignoreSlots, ignoreMemory, loserCounts, takeDiscarded, forgetLost, chargeLost bool
}

const (
	defaultAttempts = 4
	// systemAttempts bounds the failures of a task that are not its own.
	systemAttempts = 20
	publishTries   = 4
	never          = Tick(math.MaxInt64)
)

// State is the state machine. It belongs to one goroutine.
type State struct {
	o       Options
	now     Tick
	workers []*worker // in the order in which they came
	byID    map[WorkerID]*worker
	jobs    []*job // live ones, in the order in which they came
	jobByID map[mr.JobID]*job
	ended   map[mr.JobID]bool // so that a Submit that comes twice does no harm
	out     []Action

	free     int  // slots that are free, over all workers
	busy     int  // running attempts that hold a slot
	copies   int  // running speculative attempts
	expireAt Tick // no worker expires before
	stallAt  Tick // no job stalls before
	scanAt   Tick // stragglers are looked for again
}

// New returns a state machine without workers and jobs.
func New(o Options) *State {
	return &State{o: o, byID: map[WorkerID]*worker{}, jobByID: map[mr.JobID]*job{}, ended: map[mr.JobID]bool{},
		expireAt: never, stallAt: never}
}

type worker struct {
	id           WorkerID
	host         string
	slots, used  int
	memory, held int64
	seen         Tick
	running      map[*attempt]struct{}
}

type job struct {
	spec   mr.JobSpec
	phases []*phase
	byID   map[mr.PhaseID]*phase
	sums   map[string]int64 // counters of committed attempts
	moved  Tick             // when something happened last
	shaken bool             // since then, what ran was taken for lost
	faults map[WorkerID]*faults
	banned int // workers that are excluded
}

type phaseState uint8

const (
	waiting phaseState = iota
	running
	publishing
	published
)

var phaseStates = [...]string{"waiting", "running", "publishing", "published"}

func (s phaseState) String() string { return phaseStates[s] }

type phase struct {
	spec      *mr.PhaseSpec
	state     phaseState
	tasks     []task
	next      int                // tasks from here on were not launched in their turn
	again     []retry            // tasks to be launched again, in order
	near      map[string][]int32 // tasks by the host that their split is near
	running   int                // attempts
	committed int
	failures  int              // attempts that failed of their own
	losses    int              // attempts that failed otherwise
	manifest  mr.PhaseManifest // complete once all tasks are committed
	tries     int              // of publishing
	visible   bool             // published once; later it may run again to mend damage
	dropped   []string         // channels that were dropped; "" is all of them
	loop      loopState        // rounds phases
	pins      map[*worker]int  // rounds phases: attempts by worker
	times     durations        // of committed attempts, for speculation
}

// task is kept small: there may be a million.
type task struct {
	manifest *mr.Manifest // of the committed attempt
	attempts []*attempt   // that run
	number   int32        // of the last attempt
	halvings int32
	trouble  *trouble // nil unless something went wrong
}

type attempt struct {
	j       *job
	p       *phase
	index   int
	number  int
	worker  *worker
	memory  int64
	started Tick
	done    int64 // progress
	total   int64
	opened  bool // a pinned partition: holds memory, no slot
	copy    bool // speculative
}

func (a *attempt) id() mr.AttemptID {
	return mr.AttemptID{Task: mr.TaskID{Phase: a.p.spec.ID, Index: a.index}, Number: a.number}
}

// Step takes one event and returns what is to be done, in order.
func (s *State) Step(now Tick, ev Event) []Action {
	s.now = max(s.now, now)
	s.out = nil
	s.take(ev)
	s.expire()
	s.shake()
	s.schedule()
	s.speculate()
	s.refuse()
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
		s.beat(ev)
	case Submit:
		s.submit(ev)
	case Kill:
		if j := s.jobByID[ev.Job]; j != nil {
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
		if j := s.jobByID[ev.Job]; j != nil {
			s.end(j, ev.Err)
		}
	case Time:
	}
}

func failure(kind errs.Kind, task string, err error) *errs.Error {
	return &errs.Error{Op: "job", Kind: kind, Task: task, Err: err}
}

// phase finds a phase of a live job.
func (s *State) phase(id mr.JobID, p mr.PhaseID) (*job, *phase) {
	j := s.jobByID[id]
	if j == nil || j.byID[p] == nil {
		return nil, nil
	}
	return j, j.byID[p]
}

// move notes that something of a job has happened.
func (s *State) move(j *job) { j.moved, j.shaken = s.now, false }

// occupy changes how many of a worker's slots are used.
func (s *State) occupy(w *worker, n int) {
	s.free -= max(0, w.slots-w.used)
	w.used += n
	s.free += max(0, w.slots-w.used)
	s.busy += n
}

func (s *State) workerUp(ev WorkerUp) {
	w := s.byID[ev.Worker]
	if w == nil {
		w = &worker{id: ev.Worker, running: map[*attempt]struct{}{}}
		s.byID[ev.Worker] = w
		s.workers = append(s.workers, w)
	}
	s.free -= max(0, w.slots-w.used)
	w.slots, w.memory, w.host, w.seen = ev.Slots, ev.Memory, ev.Host, s.now
	s.free += max(0, w.slots-w.used)
	if s.o.Expire > 0 {
		s.expireAt = min(s.expireAt, s.now+s.o.Expire)
	}
}

// workerDown loses what ran there. The order of the lost attempts is fixed, so that the
// trace is.
func (s *State) workerDown(w *worker) {
	if w == nil {
		return
	}
	delete(s.byID, w.id)
	if i := slices.Index(s.workers, w); i >= 0 {
		s.workers = slices.Delete(s.workers, i, i+1)
	}
	for _, a := range s.sorted(w) {
		s.lose(a, fmt.Errorf("worker %s is gone", w.id))
	}
	s.free -= max(0, w.slots-w.used)
	for _, j := range s.jobs {
		s.pardon(j)
	}
}

// lose takes an attempt for lost. It may have been let go of already, with its job.
func (s *State) lose(a *attempt, why error) {
	id := a.id()
	s.failed(Failed{Worker: a.worker.id, Job: a.j.spec.ID, Attempt: id, Err: failure(errs.Lost, id.String(), why)})
}

// sorted are a worker's attempts by job, phase and task.
func (s *State) sorted(w *worker) []*attempt {
	all := make([]*attempt, 0, len(w.running))
	for a := range w.running {
		all = append(all, a)
	}
	sort.Slice(all, func(i, k int) bool {
		a, b := all[i], all[k]
		switch {
		case a.j != b.j:
			return slices.Index(s.jobs, a.j) < slices.Index(s.jobs, b.j)
		case a.p != b.p:
			return slices.Index(a.j.phases, a.p) < slices.Index(b.j.phases, b.p)
		case a.index != b.index:
			return a.index < b.index
		}
		return a.number < b.number
	})
	return all
}

// expire gives up workers that are silent. A look at all of them is only due when the one
// that was silent the longest at the last look may have expired.
func (s *State) expire() {
	if s.o.Expire <= 0 || s.now <= s.expireAt {
		return
	}
	s.expireAt = never
	for _, w := range slices.Clone(s.workers) {
		if s.now-w.seen > s.o.Expire {
			s.workerDown(w)
		} else {
			s.expireAt = min(s.expireAt, w.seen+s.o.Expire)
		}
	}
}

func (s *State) beat(ev Beat) {
	w := s.byID[ev.Worker]
	if w == nil {
		return
	}
	w.seen = s.now
	for _, pr := range ev.Progress {
		j, p := s.phase(pr.Job, pr.Attempt.Task.Phase)
		if p == nil {
			continue
		}
		if _, a := p.find(pr.Attempt); a != nil && a.worker == w {
			if pr.Done > a.done {
				s.move(j)
			}
			a.done, a.total = pr.Done, pr.Total
		}
	}
}

func (s *State) submit(ev Submit) {
	if s.jobByID[ev.Job.ID] != nil || s.ended[ev.Job.ID] {
		return
	}
	if err := ev.Job.Validate(); err != nil {
		s.ended[ev.Job.ID] = true
		s.do(Done{Job: ev.Job.ID, Err: failure(errs.Invalid, "", err)})
		return
	}
	j := &job{spec: ev.Job, byID: map[mr.PhaseID]*phase{}, sums: map[string]int64{}}
	for i := range j.spec.Phases {
		spec := &j.spec.Phases[i]
		p := &phase{spec: spec, tasks: make([]task, spec.NumTasks())}
		p.manifest = mr.PhaseManifest{Job: j.spec.ID, Phase: spec.ID, Epoch: s.o.Epoch}
		j.phases = append(j.phases, p)
		j.byID[spec.ID] = p
	}
	s.jobs = append(s.jobs, j)
	s.jobByID[j.spec.ID] = j
	s.move(j)
	if s.o.Stall > 0 {
		s.stallAt = min(s.stallAt, s.now+s.o.Stall)
	}
	for _, m := range ev.Done {
		p := j.byID[m.Phase]
		if p == nil || len(m.Tasks) != len(p.tasks) || p.visible {
			continue
		}
		p.manifest, p.state, p.visible, p.committed = m, published, true, len(m.Tasks)
		for i := range m.Tasks {
			p.tasks[i].manifest = &p.manifest.Tasks[i]
			p.tasks[i].number = int32(m.Tasks[i].Attempt.Number)
			j.add(m.Tasks[i].Counters, 1)
		}
		p.next = len(p.tasks)
	}
	if s.overBudget(j) {
		return
	}
	s.start(j)
}

func (j *job) add(counters map[string]int64, sign int64) {
	for k, v := range counters {
		j.sums[k] += sign * v
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
		p.findNear()
		if p.spec.Type == mr.RoundsPhase {
			p.loop, p.pins = newLoop(len(p.tasks)), map[*worker]int{}
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
	if i := slices.Index(s.jobs, j); i >= 0 {
		s.jobs = slices.Delete(s.jobs, i, i+1)
	}
	delete(s.jobByID, j.spec.ID)
	s.ended[j.spec.ID] = true
	for _, p := range j.phases {
		open := p.state == running || p.state == publishing
		for i := 0; p.running > 0; i++ {
			for _, a := range slices.Clone(p.tasks[i].attempts) {
				s.do(Cancel{Worker: a.worker.id, Job: j.spec.ID, Attempt: a.id()})
				s.release(&p.tasks[i], a)
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
