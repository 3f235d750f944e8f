package sched

import (
	"container/heap"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

func (w *world) newWorker() {
	w.count++
	r := &realWorker{id: WorkerID(fmt.Sprintf("w%d", w.count)), slots: 1 + w.rnd.IntN(4), attempts: map[string]*realAttempt{}}
	if w.tight || w.rnd.IntN(2) == 0 {
		r.memory = int64(80 + w.rnd.IntN(100))
	}
	w.workers[r.id] = r
	w.alive = append(w.alive, r.id)
	w.announce(r)
}

// announce lets a worker say that it is there, with what it runs, as soon as it has a connection, or never.
func (w *world) announce(r *realWorker) {
	if w.chance(0.03) {
		return
	}
	s := w.s
	w.later(w.delay(), func() {
		if w.workers[r.id] == r && w.s == s { // it lives, and did not dial another coordinator
			w.connect(r)
		}
	})
}

// connect says on a new connection what a worker runs; nothing that is sent on it comes before, and what is still sent on the old
// one is lost.
func (w *world) connect(r *realWorker) {
	r.dialing = true
	heap.Push(&w.queue, happening{at: w.now, seq: w.first(), ev: WorkerUp{Worker: r.id, Slots: r.slots, Memory: r.memory, Running: r.progress(), Jobs: r.holds()}})
}

// progress names what a worker runs.
func (r *realWorker) progress() []Progress {
	var out []Progress
	for _, k := range slices.Sorted(maps.Keys(r.attempts)) {
		a := r.attempts[k]
		out = append(out, Progress{Job: a.spec.Job, Attempt: a.spec.Attempt, Epoch: a.spec.Epoch, Pinned: a.pinned, Memory: a.spec.Memory})
	}
	return out
}

// holds names the jobs of what a worker runs.
func (r *realWorker) holds() []Holding {
	var out []Holding
	for _, k := range slices.Sorted(maps.Keys(r.attempts)) {
		if j := r.attempts[k].spec.Job; len(out) == 0 || out[len(out)-1].Job != j {
			out = append(out, Holding{Job: j})
		}
	}
	return out
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
		case w.chance(0.01) && !r.silent: // another connection
			w.connect(r)
		}
		if w.chance(0.002) { // something large is under way from it
			r.large = w.now + Tick(w.rnd.IntN(30_000))
		}
		switch {
		case r.silent:
		case w.now < r.large:
			w.send(Alive{Worker: id})
		default:
			w.send(Beat{Worker: id, Progress: r.progress()})
		}
	}
	if len(w.alive) < 2 || len(w.alive) < 5 && w.rnd.IntN(20) == 0 {
		w.newWorker()
	}
	w.later(w.beat, w.beats)
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

func key(job mr.JobID, a mr.AttemptID, epoch int64) string { return string(job) + "/" + name(a, epoch) }

// ends takes an attempt off its worker, if it is there still, and says whether it was.
func (w *world) ends(id WorkerID, key string) bool {
	r := w.workers[id]
	if r == nil || r.attempts[key] == nil {
		return false
	}
	delete(r.attempts, key)
	return true
}

func (w *world) act(a Action) {
	switch a := a.(type) {
	case Launch:
		w.launch(a)
	case Cancel:
		k := key(a.Job, a.Attempt, a.Epoch)
		r := w.workers[a.Worker]
		if r == nil || r.attempts[k] == nil {
			return
		}
		at := r.attempts[k]
		switch {
		case w.chance(0.05): // it is lost
			at.unwanted = true
			return
		case w.rnd.IntN(4) == 0: // it had ended when it was to be cancelled
			w.send(Succeeded{Worker: a.Worker, Job: a.Job, Manifest: w.manifest(at.spec)})
		}
		w.ends(a.Worker, k)
	case Gone:
		if r := w.workers[a.Worker]; r != nil && !r.silent {
			w.announce(r)
		}
	case Publish:
		if w.chance(0.05) {
			w.send(PublishFailed{Job: a.Manifest.Job, Phase: a.Manifest.Phase, Revision: a.Manifest.Revision, Err: failure(errs.Transient, "", errors.New("timeout"))})
		} else {
			w.send(Published{Job: a.Manifest.Job, Phase: a.Manifest.Phase, Revision: a.Manifest.Revision})
		}
	case NextMessage:
		w.send(Message{Job: a.Job, Phase: a.Phase, Round: a.Round, Final: a.Round >= w.loops[a.Phase]})
	case RunRound:
		w.later(w.delay(), func() { w.runRound(a) })
	}
}

func (w *world) launch(a Launch) {
	r := w.workers[a.Worker]
	if r == nil || r.dialing || w.chance(0.01) {
		return // it has crashed, and nobody knows yet; or the message is lost
	}
	spec := a.Spec
	k := key(spec.Job, spec.Attempt, spec.Epoch)
	r.attempts[k] = &realAttempt{spec: &spec}
	took := w.delay() * 5
	if w.chance(0.02) {
		took += Tick(w.rnd.IntN(120_000)) // a straggler
	}
	if w.chance(0.002) {
		return // it hangs
	}
	w.later(took, func() {
		r := w.workers[a.Worker]
		if r == nil || r.attempts[k] == nil {
			return
		}
		if w.chance(0.12) {
			w.ends(a.Worker, k)
			w.send(Failed{Worker: a.Worker, Job: spec.Job, Attempt: spec.Attempt, Epoch: spec.Epoch, Err: w.failure(&spec)})
			if spec.Type != mr.RoundsPhase && w.rnd.IntN(5) == 0 { // it was stopped when it had just ended
				w.send(Succeeded{Worker: a.Worker, Job: spec.Job, Manifest: w.manifest(&spec)})
			}
			return
		}
		if spec.Type == mr.RoundsPhase {
			r.attempts[k].pinned = true
			w.send(Opened{Worker: a.Worker, Job: spec.Job, Attempt: spec.Attempt, Epoch: spec.Epoch})
			return
		}
		if !w.chance(0.3) {
			w.ends(a.Worker, k)
			w.succeeds(a.Worker, &spec)
			return
		}
		r.attempts[k].closing = true
		w.send(Closing{Worker: a.Worker, Job: spec.Job, Attempt: spec.Attempt, Epoch: spec.Epoch})
		w.later(w.delay(), func() { w.closes(a.Worker, k, &spec) })
	})
}

// closes ends an attempt that has written its files.
func (w *world) closes(id WorkerID, k string, spec *mr.TaskSpec) {
	if r := w.workers[id]; r == nil || r.attempts[k] == nil {
		return
	}
	w.ends(id, k)
	if w.chance(0.1) {
		w.send(Failed{Worker: id, Job: spec.Job, Attempt: spec.Attempt, Epoch: spec.Epoch, Err: failure(errs.Transient, "", errors.New("no reply"))})
		return
	}
	w.succeeds(id, spec)
}

// succeeds tells of a result: kept at once, or while the store takes its time, or not at all.
func (w *world) succeeds(id WorkerID, spec *mr.TaskSpec) {
	if !w.chance(0.2) {
		w.send(Succeeded{Worker: id, Job: spec.Job, Manifest: w.manifest(spec)})
		return
	}
	d, long := w.delay(), w.delay()
	if w.rnd.IntN(3) == 0 {
		long += w.o.Expire * Tick(1+w.rnd.IntN(3))
	}
	w.at(d, Held{Job: spec.Job, Attempt: spec.Attempt, Epoch: spec.Epoch})
	if w.chance(0.1) { // told twice
		w.at(d+Tick(w.rnd.IntN(int(long))), Held{Job: spec.Job, Attempt: spec.Attempt, Epoch: spec.Epoch})
	}
	if w.chance(0.1) {
		w.at(d+long, Failed{Worker: id, Job: spec.Job, Attempt: spec.Attempt, Epoch: spec.Epoch, Err: failure(errs.Unreachable, "", errors.New("no answer"))})
		return
	}
	w.at(d+long, Succeeded{Worker: id, Job: spec.Job, Manifest: w.manifest(spec)})
}

// failure makes an error of any kind; those that end a job at once are rare.
func (w *world) failure(spec *mr.TaskSpec) *errs.Error {
	if w.rnd.IntN(40) == 0 {
		return failure([...]errs.Kind{errs.Invalid, errs.Invalid, errs.NoSpace, errs.Unauthorized}[w.rnd.IntN(4)], "", errors.New("no use"))
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
	m := mr.Manifest{Attempt: id, Epoch: spec.Epoch, Counters: map[string]int64{"done": 1, "done." + string(id.Task.Phase): 1}}
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
	if r == nil || w.chance(0.01) {
		return
	}
	var done []int
	for _, i := range a.Tasks {
		var at *realAttempt
		for n := 1; n < 200 && at == nil; n++ { // the attempt that it has pinned
			if x := r.attempts[key(a.Job, mr.AttemptID{Task: mr.TaskID{Phase: a.Phase, Index: i}, Number: n}, a.Epoch)]; x != nil && x.pinned {
				at = x
			}
		}
		switch {
		case at == nil:
		case w.chance(0.02):
			w.ends(a.Worker, key(a.Job, at.spec.Attempt, a.Epoch))
			w.send(Failed{Worker: a.Worker, Job: a.Job, Attempt: at.spec.Attempt, Epoch: a.Epoch, Err: failure(errs.NoMemory, "", errors.New("evicted"))})
			if w.rnd.IntN(2) == 0 {
				done = append(done, i) // it was added to the sum before
			}
		case a.Final:
			w.ends(a.Worker, key(a.Job, at.spec.Attempt, a.Epoch))
			w.send(Succeeded{Worker: a.Worker, Job: a.Job, Manifest: w.manifest(at.spec)})
		default:
			done = append(done, i)
		}
	}
	if len(done) > 0 && !a.Final {
		w.send(RoundDone{Worker: a.Worker, Job: a.Job, Phase: a.Phase, Epoch: a.Epoch, Round: a.Round, Tasks: done})
	}
}

// room is what a worker really holds, and how many attempts hold memory.
func (r *realWorker) room() (used int, held int64, holders int) {
	for _, a := range r.attempts {
		if a.unwanted || a.closing { // it was to be cancelled, or computes no longer
			continue
		}
		if !a.pinned {
			used++
		}
		if held += a.spec.Memory; a.spec.Memory > 0 {
			holders++
		}
	}
	return used, held, holders
}

// belongs tells whether a path is one of an attempt's.
func belongs(p dfs.Path, job mr.JobID, a mr.AttemptID, epoch int64) bool {
	return p.Under(OutFolder(job, a, epoch))
}

// restart puts another coordinator in the place of the one that was. It goes on from what that
// one has written down: everything, or only what is published. What the first one was about to
// do is lost, and so are the answers to itself; the workers' messages arrive.
func (w *world) restart() {
	var jobs []Submit
	for _, id := range w.s.Jobs() {
		jobs = append(jobs, w.s.Snapshot(id))
	}
	left := w.queue[:0]
	for _, h := range w.queue {
		switch ev := h.ev.(type) {
		case Published, PublishFailed, Message, Held, Expect:
		case Submit:
			if ev.Epoch == 0 {
				left = append(left, h)
			} else { // the one before was waiting for it
				jobs = append(jobs, ev)
			}
		case WorkerUp: // it was made to the first one, on a connection of its
		default:
			left = append(left, h)
		}
	}
	w.queue = left
	heap.Init(&w.queue)
	w.o.Epoch++
	w.restarts++
	w.s = New(w.o)
	little := w.rnd.IntN(3) == 0
	for _, ev := range jobs {
		ev.Epoch = w.o.Epoch
		if little {
			ev.Committed, ev.Running = nil, nil
		}
		at, seq := w.now, w.first()
		if w.rnd.IntN(3) == 0 { // it has no driver yet
			w.queue = append(w.queue, happening{at: w.now, seq: seq, ev: Expect{Job: ev.Job.ID}})
			w.seq++
			at, seq = at+Tick(w.rnd.IntN(20_000)), w.seq
		}
		w.queue = append(w.queue, happening{at: at, seq: seq, ev: ev})
		heap.Init(&w.queue)
	}
	for _, id := range w.alive { // they notice that it is another one
		w.workers[id].dialing = false
		if r := w.workers[id]; !r.silent {
			w.announce(r)
		}
	}
	if w.restarts < 3 {
		w.later(Tick(w.rnd.IntN(120_000)), w.restart)
	}
}
