package sched

import (
	"errors"
	"fmt"
	"math"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// Options are the rules that a caller may set.
type Options struct {
	Epoch int64
	// Expire: a worker that is silent for longer is lost, and so is an attempt that its worker's signs of life do not name for longer.
	// 0: never. How it relates to the times of connections is said at wire.Timing.
	Expire Tick
	// Stall: when nothing of a job has moved for longer, what it runs is taken for lost; when
	// that does not help either, the job fails. 0: never.
	Stall Tick
	// Hang is for how long an attempt may do nothing until it is given up and its task run elsewhere, unless its phase says
	// otherwise (mr.PhaseSpec.Timeout). It should be less than Stall. 0: for ever.
	Hang Tick
	// Exclude is for how long a worker on which three tasks of a job failed gets no more of
	// that job's. At most a third of the workers is excluded. 0: never.
	Exclude Tick
	// Weights are those of users, for their shares where jobs share workers; 0: 1.
	Weights map[string]int
	// Limits are how many slots a user's jobs may take at once, whoever else wants them; the limit of "*" is that of users who are
	// not named. 0: no limit. A partition that is pinned takes none. What runs is not stopped for it.
	Limits map[string]int
	// Speculate launches a second attempt of tasks that take much longer than others did.
	Speculate bool
	// Backoff is how long a task waits after its first failure, and a phase after the first
	// failure to publish it, until it is tried again; it doubles with each, up to 64 times as
	// long. 0: they do not wait. Losses never do.
	Backoff Tick
	rules   rules
}

// rules can be broken by tests, which must then fail: they show that the tests notice.
type rules struct {
	commitTwice, startEarly, countTwice, ignoreSlots, ignoreMemory, loserCounts, takeDiscarded, forgetLost, chargeLost,
	anyEpoch, keepStrangers, sameRevision, forgetHeld, forgetExpected bool
	adoptDropped bool // tried by a script: no world is unlucky enough
}

const (
	defaultAttempts = 4
	// systemAttempts bounds the failures of a task that are not its own.
	systemAttempts = 20
	publishTries   = 6
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
	ended   endings
	out     []Action
	gaveUp  []GivenUp // by the last step

	expected map[mr.JobID]bool // jobs that will be submitted
	guests   int               // attempts of theirs, over all workers
	adrift   []*attempt        // held ones whose workers are gone; few
	held     map[string]int    // slots that users' jobs take
	free     int               // slots that are free, over all workers
	busy     int               // running attempts that hold a slot
	copies   int               // running speculative attempts
	expireAt Tick              // no worker expires before
	stallAt  Tick              // no job stalls before
	hangAt   Tick              // no attempt hangs before
	scanAt   Tick              // stragglers are looked for again
	dueAt    Tick              // nothing that waits for its time is due before
	pardonAt Tick              // no exclusion of a worker ends before
	// starvedAt is since when a rounds phase has not found room and nothing was under way that
	// would make some.
	starvedAt Tick
}

// New returns a state machine without workers and jobs.
func New(o Options) *State {
	return &State{o: o, byID: map[WorkerID]*worker{}, jobByID: map[mr.JobID]*job{},
		expireAt: never, stallAt: never, hangAt: never, dueAt: never, pardonAt: never, starvedAt: never}
}

type worker struct {
	id           WorkerID
	host         string
	near         []string // its machine's names, host among them
	slots, used  int
	memory, held int64
	parted       int // attempts beyond the slots
	seen         Tick
	running      map[*attempt]struct{}
	jobs         map[*job]struct{}  // that have had attempts here and have not ended: what they share stays
	guests       []guest            // attempts of expected jobs: they have slots and memory as those that run
	awaited      map[mr.JobID]int64 // expected jobs of which something is here, and the memory that they may take
}

type job struct {
	spec   mr.JobSpec
	epoch  int64
	judged []string // counters that budgets are about
	phases []*phase
	byID   map[mr.PhaseID]*phase
	sums   map[string]int64 // counters of committed attempts
	moved  Tick             // when something happened last
	stall  Tick             // for how long nothing may move; 0: for ever
	shaken bool             // since then, what ran was taken for lost
	faults map[WorkerID]*faults
	banned int             // workers that are excluded
	used   map[*worker]int // slots that its attempts hold
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
	later     []retry            // those that wait for their time
	near      map[string][]int32 // tasks by the host that their split is near
	running   int                // attempts
	committed int
	failures  int              // attempts that failed of their own
	losses    int              // attempts that failed otherwise
	manifest  mr.PhaseManifest // complete once all tasks are committed
	results   []mr.Manifest    // of committed tasks, until they are first published: the manifest's then
	proposed  bool             // a manifest was said to be published
	tries     int              // of publishing
	publishAt Tick             // when it is to be tried again; 0: an answer is awaited
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
	epoch   int64 // of the coordinator that launched it
	worker  *worker
	memory  int64
	started Tick
	seen    Tick  // named by its worker, or launched
	done    int64 // progress
	total   int64
	moves   int64
	moved   Tick // when it did something last
	opened  bool // a pinned partition: holds memory, no slot
	held    bool // it has succeeded, and its result is being kept
	closing bool // it only makes its files durable
	parted  bool // closing or held, and its slot and memory are somebody else's
	copy    bool // speculative
}

func (a *attempt) id() mr.AttemptID {
	return mr.AttemptID{Task: mr.TaskID{Phase: a.p.spec.ID, Index: a.index}, Number: a.number}
}

// try is its name among those of its task.
func (a *attempt) try() try { return try{a.number, a.epoch} }

// Step takes one event and returns what is to be done, in order.
func (s *State) Step(now Tick, ev Event) []Action {
	s.now = max(s.now, now)
	s.out, s.gaveUp = nil, nil
	s.take(ev)
	s.expire()
	s.pardonAll()
	s.comeDue()
	s.giveUpHung()
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
	case Alive:
		s.alive(ev.Worker)
	case Submit:
		s.submit(ev)
		s.arrived(ev.Job.ID)
	case Expect:
		s.expectJob(ev.Job)
	case Dismiss:
		s.arrived(ev.Job)
	case Kill:
		if j := s.jobByID[ev.Job]; j != nil {
			s.end(j, failure(errs.Canceled, "", fmt.Errorf("killed: %s", ev.Reason)))
		}
	case Overtaken:
		if j := s.jobByID[ev.Job]; j != nil {
			s.end(j, given(ev.Err))
		}
	case Closing:
		s.closing(ev)
	case Held:
		s.hold(ev)
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
		if j, p := s.phase(ev.Job, ev.Phase); p != nil && p.state == running && p.loop.open != nil {
			s.end(j, given(ev.Err))
		}
	case Time:
	}
}

func failure(kind errs.Kind, task string, err error) *errs.Error {
	return &errs.Error{Op: "job", Kind: kind, Task: task, Err: err}
}

// given is an error that an event brought, whole even if the event was not.
func given(e *errs.Error) *errs.Error {
	switch {
	case e == nil:
		return failure(errs.Unknown, "", errNoReason)
	case e.Err == nil:
		whole := *e
		whole.Err = errNoReason
		return &whole
	}
	return e
}

var errNoReason = errors.New("no reason was given")

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

// claim has n more slots of a worker taken by a job; less than 0: fewer.
func (s *State) claim(j *job, w *worker, n int) {
	j.used[w] += n
	if s.held == nil {
		s.held = map[string]int{}
	}
	if s.held[j.spec.User] += n; s.held[j.spec.User] == 0 {
		delete(s.held, j.spec.User)
	}
	s.occupy(w, n)
}

// full tells whether a user's jobs take as many slots as they may.
func (s *State) full(user string) bool {
	limit, named := s.o.Limits[user]
	if !named {
		limit = s.o.Limits["*"]
	}
	return limit > 0 && s.held[user] >= limit
}

// occupy changes how many of a worker's slots are used.
func (s *State) occupy(w *worker, n int) {
	s.free -= max(0, w.slots-w.used)
	w.used += n
	s.free += max(0, w.slots-w.used)
	s.busy += n
}
