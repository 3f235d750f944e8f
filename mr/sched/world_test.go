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
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "run only the world of this seed")
	worldFlag = flag.Int("worlds", 1000, "how many worlds to run")
	traceFlag = flag.Bool("show", false, "print the trace of the world of -seed")
)

// TestWorlds runs seeded worlds: workers that crash, fall silent, come back late and answer
// twice; attempts that fail in every way; loops; damaged files. After every step the judge
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
	var launches, mended, copies int
	for seed, r := range runWorlds(*worldFlag, rules{}) {
		if r.err != nil {
			t.Errorf("seed %d: %v", seed+1, r.err)
			continue
		}
		ok, failed = ok+r.w.judge.ok, failed+r.w.judge.failed
		launches, mended, copies = launches+r.w.judge.launches, mended+r.w.judge.mended, copies+r.w.judge.copies
		for k, n := range r.w.judge.kinds {
			kinds[k] += n
		}
	}
	t.Logf("%d jobs ended well and %d did not (%v); %d launches, %d of them copies, %d phases mended", ok, failed, kinds, launches, copies, mended)
	if ok < failed || failed < ok/50 || mended == 0 || copies == 0 {
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
	judge   *judge
	trace   bool
	lines   []string
	hash    interface {
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
}

type realAttempt struct {
	spec   *mr.TaskSpec
	pinned bool
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

// send lets an event arrive after a while; now and then twice, or very late.
func (w *world) send(ev Event) {
	d := w.delay()
	if w.chance(0.05) {
		d *= 20
	}
	w.seq++
	heap.Push(&w.queue, happening{at: w.now + d, seq: w.seq, ev: ev})
	if w.chance(0.1) {
		w.seq++
		heap.Push(&w.queue, happening{at: w.now + d + w.delay()*5, seq: w.seq, ev: ev})
	}
}

func (w *world) delay() Tick           { return Tick(1 + w.rnd.IntN(400)) }
func (w *world) chance(p float64) bool { return w.rnd.Float64() < p*w.hazard }

func newWorld(seed uint64, r rules) *world {
	w := &world{rnd: rand.New(rand.NewPCG(seed, 77)), workers: map[WorkerID]*realWorker{}, loops: map[mr.PhaseID]int{}, hash: fnv.New64a()}
	w.hazard = [...]float64{0, 0.3, 1, 1, 2}[w.rnd.IntN(5)]
	w.o = Options{Epoch: int64(1 + w.rnd.IntN(3)), Expire: 10_000, Stall: 300_000, rules: r}
	if w.rnd.IntN(2) == 0 {
		w.o.Exclude = 60_000
	}
	w.o.Speculate = w.rnd.IntN(2) == 0
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
	const longest = 3600 * 1000
	for w.queue.Len() > 0 && !w.judge.over() {
		h := heap.Pop(&w.queue).(happening)
		if w.now = h.at; w.now > longest {
			return fmt.Errorf("not done after %d s: %v", longest/1000, w.s.Jobs())
		}
		if h.f != nil {
			h.f()
			continue
		}
		if err := w.step(h.ev); err != nil {
			return err
		}
	}
	if !w.judge.over() {
		return errors.New("nothing is going to happen, and not every job is done")
	}
	return nil
}

func (w *world) step(ev Event) error {
	w.note(func() string { return fmt.Sprintf("%8d %T%+v", w.now, ev, ev) })
	w.judge.event(ev)
	for _, a := range w.s.Step(w.now, ev) {
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

func (w *world) newWorker() {
	w.count++
	r := &realWorker{id: WorkerID(fmt.Sprintf("w%d", w.count)), slots: 1 + w.rnd.IntN(4), attempts: map[string]*realAttempt{}}
	if w.rnd.IntN(2) == 0 {
		r.memory = int64(80 + w.rnd.IntN(100))
	}
	w.workers[r.id] = r
	w.alive = append(w.alive, r.id)
	w.send(WorkerUp{Worker: r.id, Slots: r.slots, Memory: r.memory})
}

// beats lets every worker give a sign of life each second, and makes trouble among them.
func (w *world) beats() {
	for _, id := range append([]WorkerID(nil), w.alive...) {
		r := w.workers[id]
		switch {
		case w.chance(0.004):
			w.crash(id)
		case w.chance(0.004):
			r.silent = !r.silent
		}
		if !r.silent {
			w.send(Beat{Worker: id})
		}
	}
	if len(w.alive) < 2 || len(w.alive) < 5 && w.rnd.IntN(20) == 0 {
		w.newWorker()
	}
	w.later(1000, w.beats)
}

// crash ends a worker. What it had sent still arrives; that it is gone is noticed at once, or
// by its silence.
func (w *world) crash(id WorkerID) {
	for i, v := range w.alive {
		if v == id {
			w.alive = append(w.alive[:i:i], w.alive[i+1:]...)
		}
	}
	delete(w.workers, id)
	if w.rnd.IntN(2) == 0 {
		w.send(WorkerDown{Worker: id})
	}
}

func key(job mr.JobID, a mr.AttemptID) string { return string(job) + "/" + a.String() }

// ends takes an attempt off its worker, if it is there still, and says whether it was.
func (w *world) ends(id WorkerID, job mr.JobID, a mr.AttemptID) bool {
	r := w.workers[id]
	if r == nil || r.attempts[key(job, a)] == nil {
		return false
	}
	delete(r.attempts, key(job, a))
	return true
}

func (w *world) act(a Action) {
	switch a := a.(type) {
	case Launch:
		w.launch(a)
	case Cancel:
		if w.rnd.IntN(4) > 0 {
			w.ends(a.Worker, a.Job, a.Attempt)
		} else if r := w.workers[a.Worker]; r != nil && r.attempts[key(a.Job, a.Attempt)] != nil {
			// It had ended when it was to be cancelled.
			w.send(Succeeded{Worker: a.Worker, Job: a.Job, Manifest: w.manifest(r.attempts[key(a.Job, a.Attempt)].spec)})
			w.ends(a.Worker, a.Job, a.Attempt)
		}
	case Publish:
		if w.chance(0.05) {
			w.send(PublishFailed{Job: a.Manifest.Job, Phase: a.Manifest.Phase, Err: failure(errs.Transient, "", errors.New("timeout"))})
		} else {
			w.send(Published{Job: a.Manifest.Job, Phase: a.Manifest.Phase})
		}
	case NextMessage:
		w.send(Message{Job: a.Job, Phase: a.Phase, Round: a.Round, Final: a.Round >= w.loops[a.Phase]})
	case RunRound:
		w.later(w.delay(), func() { w.runRound(a) })
	}
}

func (w *world) launch(a Launch) {
	r := w.workers[a.Worker]
	if r == nil {
		return // it has crashed, and nobody knows yet
	}
	spec := a.Spec
	r.attempts[key(spec.Job, spec.Attempt)] = &realAttempt{spec: &spec}
	took := w.delay() * 5
	if w.chance(0.02) {
		took += Tick(w.rnd.IntN(120_000)) // a straggler
	}
	if w.chance(0.002) {
		return // it hangs
	}
	w.later(took, func() {
		r := w.workers[a.Worker]
		if r == nil || r.attempts[key(spec.Job, spec.Attempt)] == nil {
			return
		}
		if w.chance(0.12) {
			w.ends(a.Worker, spec.Job, spec.Attempt)
			w.send(Failed{Worker: a.Worker, Job: spec.Job, Attempt: spec.Attempt, Err: w.failure(&spec)})
			if spec.Type != mr.RoundsPhase && w.rnd.IntN(5) == 0 { // it was stopped when it had just ended
				w.send(Succeeded{Worker: a.Worker, Job: spec.Job, Manifest: w.manifest(&spec)})
			}
			return
		}
		if spec.Type == mr.RoundsPhase {
			r.attempts[key(spec.Job, spec.Attempt)].pinned = true
			w.send(Opened{Worker: a.Worker, Job: spec.Job, Attempt: spec.Attempt})
			return
		}
		w.ends(a.Worker, spec.Job, spec.Attempt)
		w.send(Succeeded{Worker: a.Worker, Job: spec.Job, Manifest: w.manifest(&spec)})
	})
}

// failure makes an error of any kind; those that end a job at once are rare.
func (w *world) failure(spec *mr.TaskSpec) *errs.Error {
	if w.rnd.IntN(60) == 0 {
		return failure([...]errs.Kind{errs.Invalid, errs.NoSpace, errs.Unauthorized}[w.rnd.IntN(3)], "", errors.New("no use"))
	}
	for _, in := range spec.Inputs {
		if len(in.Files) > 0 && w.rnd.IntN(4) == 0 {
			e := failure(errs.Corrupt, "", errors.New("checksum"))
			e.Path = string(in.Files[w.rnd.IntN(len(in.Files))].Path)
			return e
		}
	}
	kind := [...]errs.Kind{errs.Lost, errs.Preempted, errs.NoMemory, errs.Canceled, errs.Transient, errs.Unknown, errs.Internal}[w.rnd.IntN(7)]
	return failure(kind, "", fmt.Errorf("failure %d", w.rnd.IntN(10)))
}

func (w *world) manifest(spec *mr.TaskSpec) mr.Manifest {
	id := spec.Attempt
	m := mr.Manifest{Attempt: id, Counters: map[string]int64{"done": 1, "done." + string(id.Task.Phase): 1}}
	m.Files = []mr.PartFile{{Channel: "x", Task: id.Task.Index, Path: spec.Out.Join("x")}}
	if spec.Partitions > 0 {
		f := mr.PartFile{Task: id.Task.Index, Path: spec.Out.Join("shuffle")}
		for p := range spec.Partitions {
			f.Segments = append(f.Segments, mr.Segment{Partition: p})
		}
		m.Files = append(m.Files, f)
	}
	return m
}

// runRound lets a worker answer for the partitions that it has, of which some may fail.
func (w *world) runRound(a RunRound) {
	r := w.workers[a.Worker]
	if r == nil {
		return
	}
	var done []int
	for _, i := range a.Tasks {
		var at *realAttempt
		for n := 1; n < 200 && at == nil; n++ { // the attempt that it has pinned
			if x := r.attempts[key(a.Job, mr.AttemptID{Task: mr.TaskID{Phase: a.Phase, Index: i}, Number: n})]; x != nil && x.pinned {
				at = x
			}
		}
		switch {
		case at == nil:
		case w.chance(0.02):
			w.ends(a.Worker, a.Job, at.spec.Attempt)
			w.send(Failed{Worker: a.Worker, Job: a.Job, Attempt: at.spec.Attempt, Err: failure(errs.NoMemory, "", errors.New("evicted"))})
			if w.rnd.IntN(2) == 0 {
				done = append(done, i) // it was added to the sum before
			}
		case a.Final:
			w.ends(a.Worker, a.Job, at.spec.Attempt)
			w.send(Succeeded{Worker: a.Worker, Job: a.Job, Manifest: w.manifest(at.spec)})
		default:
			done = append(done, i)
		}
	}
	if len(done) > 0 && !a.Final {
		w.send(RoundDone{Worker: a.Worker, Job: a.Job, Phase: a.Phase, Round: a.Round, Tasks: done})
	}
}

// room is what a worker really holds.
func (r *realWorker) room() (used int, held int64) {
	for _, a := range r.attempts {
		if !a.pinned {
			used++
		}
		held += a.spec.Memory
	}
	return used, held
}

// belongs tells whether a path is one of an attempt's.
func belongs(p dfs.Path, job mr.JobID, a mr.AttemptID, epoch int64) bool {
	return p.Under(OutFolder(job, a, epoch))
}
