package sched

import (
	"container/heap"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "run only the world of this seed")
	worldFlag = flag.Int("worlds", 1000, "how many worlds to run")
	traceFlag = flag.Bool("show", false, "print the trace of the world of -seed")
)

// TestWorlds runs seeded worlds: workers that crash, fall silent, come back late and answer
// twice; messages that are lost; coordinators that are replaced by another one; attempts that
// fail in every way; loops; damaged files. After every step the judge
// checks the package's invariants from outside, by what was asked for and answered. A failing
// seed is run again alone with -seed N -show.
func TestWorlds(t *testing.T) {
	if *seedFlag != 0 {
		w := newWorld(*seedFlag, rules{})
		w.trace = *traceFlag
		if err := w.run(); err != nil {
			t.Errorf("seed %d: %v", *seedFlag, err)
		}
		t.Log(strings.Join(w.lines, "\n"))
		return
	}
	ok, failed, kinds := 0, 0, map[errs.Kind]int{}
	var launches, mended, copies, restarts int
	for seed, r := range runWorlds(*worldFlag, rules{}) {
		if r.err != nil {
			t.Errorf("seed %d: %v", seed+1, r.err)
			continue
		}
		ok, failed = ok+r.w.judge.ok, failed+r.w.judge.failed
		launches, mended, copies = launches+r.w.judge.launches, mended+r.w.judge.mended, copies+r.w.judge.copies
		restarts += r.w.restarts
		for k, n := range r.w.judge.kinds {
			kinds[k] += n
		}
	}
	t.Logf("%d jobs ended well and %d did not (%v); %d launches, %d of them copies, %d phases mended, %d restarts", ok, failed, kinds, launches, copies, mended, restarts)
	if ok < failed || failed < ok/50 || mended == 0 || copies == 0 || restarts == 0 || kinds[errs.Infeasible] == 0 {
		t.Error("the worlds are too easy or too hard to prove anything")
	}
}

// TestWorldsAreRepeatable: the same seed gives the same trace.
func TestWorldsAreRepeatable(t *testing.T) {
	a, b := runWorlds(50, rules{}), runWorlds(50, rules{})
	for i := range a {
		if a[i].w.hash.Sum64() != b[i].w.hash.Sum64() {
			t.Errorf("seed %d has two traces", i+1)
		}
	}
}

// TestWorldsNotice breaks one rule at a time: some world must notice.
func TestWorldsNotice(t *testing.T) {
	for name, r := range map[string]rules{
		"commit twice": {commitTwice: true}, "start early": {startEarly: true}, "count twice": {countTwice: true},
		"ignore slots": {ignoreSlots: true}, "ignore memory": {ignoreMemory: true}, "losers count": {loserCounts: true},
		"take discarded": {takeDiscarded: true}, "forget lost": {forgetLost: true}, "charge lost": {chargeLost: true},
		"any epoch": {anyEpoch: true}, "keep strangers": {keepStrangers: true}, "same revision": {sameRevision: true},
		"forget what is held": {forgetHeld: true}, "forget what is expected": {forgetExpected: true},
	} {
		err, seed := error(nil), uint64(0)
		for err == nil && seed < 300 {
			seed++
			err = newWorld(seed, r).run()
		}
		if err == nil {
			t.Errorf("%s: no world noticed", name)
		}
		t.Logf("%s: noticed by seed %d: %v", name, seed, err)
	}
}

type worldResult struct {
	w   *world
	err error
}

func runWorlds(n int, r rules) []worldResult {
	out := make([]worldResult, n)
	var wg sync.WaitGroup
	next := make(chan int)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := range next {
				w := newWorld(uint64(i+1), r)
				out[i] = worldResult{w, w.run()}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	return out
}

// world is everything around the state machine: a virtual clock, workers and a store.
type world struct {
	rnd     *rand.Rand
	o       Options
	s       *State
	now     Tick
	queue   happenings
	seq     int
	workers map[WorkerID]*realWorker
	alive   []WorkerID // in the order in which they came
	count   int        // of workers ever
	jobs    []mr.JobSpec
	loops   map[mr.PhaseID]int // rounds that a loop takes
	hazard  float64            // how often things go wrong

	beat     Tick // between two signs of life
	tight    bool // every worker's memory is limited, and some partitions do not fit
	restarts int
	early    int // number of events that come before all others of their moment
	judge    *judge
	trace    bool
	lines    []string
	hash     interface {
		Write([]byte) (int, error)
		Sum64() uint64
	}
}

// realWorker is a worker as it is, which is not always what the state machine believes.
type realWorker struct {
	id            WorkerID
	slots         int
	memory        int64
	attempts      map[string]*realAttempt // by job and attempt
	silent, known bool
	large         Tick // until then it can give no other sign of life than that it lives
	dialing       bool // its connection has ended, and it has not announced itself on another one
}

type realAttempt struct {
	spec     *mr.TaskSpec
	pinned   bool
	closing  bool
	unwanted bool // its Cancel was lost
}

// happening is something that will happen at a time: an event that arrives, or f.
type happening struct {
	at  Tick
	seq int
	ev  Event
	f   func()
}

type happenings []happening

func (h happenings) Len() int { return len(h) }
func (h happenings) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].seq < h[j].seq
}
func (h happenings) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *happenings) Push(x any)   { *h = append(*h, x.(happening)) }
func (h *happenings) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

func (w *world) later(d Tick, f func()) {
	w.seq++
	heap.Push(&w.queue, happening{at: w.now + d, seq: w.seq, f: f})
}

// send lets an event arrive after a while; now and then twice, very late, or not at all.
func (w *world) send(ev Event) {
	switch ev.(type) {
	case Submit, Published, PublishFailed, Message: // nobody else hears of these if they are lost
	default:
		if w.chance(0.01) {
			return
		}
	}
	d := w.delay()
	if w.chance(0.05) {
		d *= 20
	}
	w.at(d, ev)
	if w.chance(0.1) {
		w.at(d+w.delay()*5, ev)
	}
}

func (w *world) at(d Tick, ev Event) {
	w.seq++
	heap.Push(&w.queue, happening{at: w.now + d, seq: w.seq, ev: ev})
}

func (w *world) first() int { w.early++; return w.early - 1_000_000 }

func (w *world) delay() Tick           { return Tick(1 + w.rnd.IntN(400)) }
func (w *world) chance(p float64) bool { return w.rnd.Float64() < p*w.hazard }

func newWorld(seed uint64, r rules) *world {
	w := &world{rnd: rand.New(rand.NewPCG(seed, 77)), workers: map[WorkerID]*realWorker{}, loops: map[mr.PhaseID]int{}, hash: fnv.New64a()}
	w.hazard = [...]float64{0, 0.3, 1, 1, 2}[w.rnd.IntN(5)]
	w.o = Options{Epoch: int64(1 + w.rnd.IntN(3)), Expire: 10_000, Stall: 300_000, rules: r}
	if w.rnd.IntN(2) == 0 {
		w.o.Exclude = 60_000
	}
	w.beat = [...]Tick{1000, 700, 1300}[w.rnd.IntN(3)]
	w.tight = w.rnd.IntN(10) == 0
	w.o.Speculate = w.rnd.IntN(2) == 0
	if w.rnd.IntN(2) == 0 {
		w.o.Backoff = 1000
	}
	w.s = New(w.o)
	w.judge = newJudge(w)
	for i := range 1 + w.rnd.IntN(3) {
		w.jobs = append(w.jobs, w.makeJob(mr.JobID(fmt.Sprintf("job%d", i))))
	}
	return w
}

// makeJob makes a job of a few phases that lean on each other at random.
func (w *world) makeJob(id mr.JobID) mr.JobSpec {
	j := mr.JobSpec{ID: id}
	for i := range 1 + w.rnd.IntN(5) {
		p := mr.PhaseSpec{ID: mr.PhaseID(fmt.Sprintf("p%d", i)), Kind: "k", Tasks: 1 + w.rnd.IntN(8), Memory: int64(w.rnd.IntN(40))}
		var before *mr.PhaseSpec
		if i > 0 {
			before = &j.Phases[w.rnd.IntN(i)]
		}
		switch {
		case before != nil && before.Partitions > 0:
			p.Type, p.Tasks = mr.ReducePhase, before.Partitions
			p.Inputs = []mr.Input{{Name: "in", Phase: before.ID, Mode: mr.Shuffled}}
		case w.rnd.IntN(4) == 0:
			p.Type, p.Memory = mr.RoundsPhase, int64(w.rnd.IntN(30))
			if w.tight {
				p.Memory *= 3
			}
			w.loops[p.ID] = w.rnd.IntN(5)
		default:
			p.Type = mr.MapPhase
			if w.rnd.IntN(3) == 0 {
				p.Partitions = 1 + w.rnd.IntN(4)
			}
		}
		if p.Type != mr.ReducePhase && before != nil {
			switch mode := w.rnd.IntN(4); {
			case mode == 0:
				p.After = []mr.PhaseID{before.ID}
			case mode == 1:
				p.Inputs = []mr.Input{{Name: "in", Phase: before.ID, Channel: "x", Mode: mr.All}}
			case mode == 2:
				p.Tasks = before.Tasks
				p.Inputs = []mr.Input{{Name: "in", Phase: before.ID, Channel: "x", Mode: mr.Same}, {Name: "v", Phase: before.ID, Mode: mr.Values}}
			}
		}
		j.Phases = append(j.Phases, p)
	}
	// What only one phase reads may be dropped when that one is published.
	readers := map[mr.PhaseID][]int{}
	for i, p := range j.Phases {
		for _, in := range p.Inputs {
			if in.Mode != mr.Values {
				readers[in.Phase] = append(readers[in.Phase], i)
			}
		}
	}
	for i := range j.Phases {
		if r := readers[j.Phases[i].ID]; len(r) == 1 && w.rnd.IntN(3) == 0 {
			j.Phases[r[0]].Drop = []mr.Drop{{Phase: j.Phases[i].ID}}
		}
	}
	return j
}

// run plays the world to its end: all jobs done, or too much time gone by.
func (w *world) run() error {
	for range 2 + w.rnd.IntN(4) {
		w.newWorker()
	}
	for _, j := range w.jobs {
		w.send(Submit{Job: j})
	}
	w.beats()
	if w.hazard > 0 && w.rnd.IntN(3) == 0 {
		w.later(Tick(w.rnd.IntN(60_000)), w.restart)
	}
	const longest = 4 * 3600 * 1000 // twenty losses of a partition may take more than one hour
	for w.queue.Len() > 0 && !w.judge.over() {
		if err := w.one(); err != nil {
			return err
		}
		if w.now > longest {
			return fmt.Errorf("not done after %d s: %v", longest/1000, w.s.Jobs())
		}
	}
	if !w.judge.over() {
		return errors.New("nothing is going to happen, and not every job is done")
	}
	return nil
}

// one lets the next thing happen.
func (w *world) one() error {
	h := heap.Pop(&w.queue).(happening)
	w.now = h.at
	if h.f != nil {
		h.f()
		return nil
	}
	return w.step(h.ev)
}

func (w *world) step(ev Event) error {
	w.note(func() string { return fmt.Sprintf("%8d %T%+v", w.now, ev, ev) })
	w.judge.event(ev)
	if up, ok := ev.(WorkerUp); ok && w.workers[up.Worker] != nil {
		w.workers[up.Worker].dialing = false
	}
	actions := w.s.Step(w.now, ev)
	if err := w.judge.gaveUp(w.s.GaveUp()); err != nil {
		return fmt.Errorf("at %d: %w", w.now, err)
	}
	for _, a := range actions {
		w.note(func() string { return "         " + show(a) })
		if err := w.judge.action(a); err != nil {
			return fmt.Errorf("at %d: %s: %w", w.now, show(a), err)
		}
		w.act(a)
		if err := w.judge.room(); err != nil {
			return fmt.Errorf("at %d: %s: %w", w.now, show(a), err)
		}
	}
	if err := w.judge.state(); err != nil {
		return fmt.Errorf("at %d: %w", w.now, err)
	}
	return nil
}

func (w *world) note(line func() string) {
	s := line()
	_, _ = w.hash.Write([]byte(s)) // a hash takes everything
	if w.trace {
		w.lines = append(w.lines, s)
	}
}
