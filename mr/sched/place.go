package sched

import (
	"cmp"
	"encoding/json"
	"slices"

	"github.com/vista-mr/vista-mr/mr"
)

// lookAhead bounds how many tasks that avoid the free workers are passed over at a time.
const lookAhead = 16

// schedule launches ready tasks while there are slots: jobs in the order of turns,
// phases and tasks in theirs, tasks that failed before those that were never tried.
//
// Rounds phases are opened one after the other: two of them that each hold half of the
// memory would wait for each other for ever.
func (s *State) schedule() {
	opening := false
	for _, j := range s.turns() {
		for _, p := range j.phases {
			if s.free <= 0 && !s.o.rules.ignoreSlots {
				return
			}
			if p.state != running || p.next >= len(p.tasks) && len(p.again) == 0 && len(p.later) == 0 || !s.mayStart(j, p) {
				continue
			}
			pinned := p.spec.Type == mr.RoundsPhase
			if pinned && opening {
				continue
			}
			for s.launchAgain(j, p) {
			}
			for s.launchNext(j, p) {
			}
			opening = opening || pinned && (p.wants() || len(p.later) > 0)
		}
	}
}

// turns are the jobs in the order in which they may take slots: by priority, then those of the user who holds the fewest slots for
// its weight, then as they came. A job takes what is free when its turn is first; as its tasks end, the turn goes to others, so
// that shares are right over the time of some tasks. Nothing that runs is stopped for it.
func (s *State) turns() []*job {
	if len(s.jobs) < 2 {
		return s.jobs
	}
	weight := func(user string) int { return max(1, s.o.Weights[user]) }
	out := slices.Clone(s.jobs)
	slices.SortStableFunc(out, func(a, b *job) int {
		ua, ub := a.spec.User, b.spec.User
		return cmp.Or(cmp.Compare(b.spec.Priority, a.spec.Priority), cmp.Compare(s.held[ua]*weight(ub), s.held[ub]*weight(ua)))
	})
	return out
}

// idle tells whether a task is to be launched: nothing of it runs and nothing is committed.
func (p *phase) idle(i int) bool { return p.tasks[i].manifest == nil && len(p.tasks[i].attempts) == 0 }

// wants tells whether the phase has a task to launch. Tasks that need it no more, because a
// lost attempt came in after all, are passed over for good.
func (p *phase) wants() bool {
	for p.next < len(p.tasks) && (p.tasks[p.next].number > 0 || !p.idle(p.next)) {
		p.next++
	}
	for len(p.again) > 0 && !p.idle(p.again[0].index) {
		p.again = p.again[1:]
	}
	return p.next < len(p.tasks) || len(p.again) > 0
}

func (s *State) launchAgain(j *job, p *phase) bool {
	if s.free <= 0 && !s.o.rules.ignoreSlots || !p.wants() {
		return false
	}
	for k := 0; k < min(len(p.again), lookAhead); k++ {
		r := p.again[k]
		tr := p.tasks[r.index].trouble
		shuns := func(w *worker) bool { return w.id == r.avoid || tr.refusedBy(w.id) }
		w := s.place(j, p, shuns)
		if w == nil && (s.now >= r.until || !s.elsewhere(j, p, shuns)) {
			w = s.place(j, p, nil)
		}
		idle := p.idle(r.index)
		if w == nil && idle {
			continue
		}
		// Those passed over keep their order; only they are moved.
		copy(p.again[1:k+1], p.again[:k])
		p.again = p.again[1:]
		if !idle {
			return true
		}
		s.launch(j, p, r.index, w, false)
		return true
	}
	return false
}

func (s *State) launchNext(j *job, p *phase) bool {
	if s.free <= 0 && !s.o.rules.ignoreSlots || !p.wants() || p.next >= len(p.tasks) {
		return false
	}
	w := s.place(j, p, nil)
	if w == nil {
		return false
	}
	i := p.nearest(w)
	if i < 0 {
		i = p.next
		p.next++
	}
	s.launch(j, p, i, w, false)
	return true
}

// findNear sorts the tasks by the hosts that their splits are near.
func (p *phase) findNear() {
	for i := range p.spec.Splits {
		for _, h := range p.spec.Splits[i].Hosts {
			if p.near == nil {
				p.near = map[string][]int32{}
			}
			p.near[h] = append(p.near[h], int32(i))
		}
	}
}

// nearest takes the first task near a worker that was not launched yet; -1 if there is none.
// It is a preference among what can run now: nothing ever waits for a host.
func (p *phase) nearest(w *worker) int {
	if p.near == nil {
		return -1
	}
	for _, host := range w.near {
		q := p.near[host]
		for len(q) > 0 && host != "" {
			i := int(q[0])
			q = q[1:]
			p.near[host] = q
			if p.tasks[i].number == 0 && p.idle(i) {
				return i
			}
		}
	}
	return -1
}

// fits tells whether a worker has room for a task. A task alone on its worker always runs:
// what does not fit there fits nowhere.
func (s *State) fits(j *job, w *worker, p *phase) bool {
	if w.used >= w.slots && !s.o.rules.ignoreSlots {
		return false
	}
	if !j.admitted(w) && !s.o.rules.ignoreMemory {
		return false
	}
	return w.memory <= 0 || w.held == 0 || w.held+p.spec.Memory <= w.memory || s.o.rules.ignoreMemory
}

// admitted tells whether a job may have another attempt on a worker: within its own slots there, and, as long as other jobs
// have room there, within what those leave. A job alone on a worker always runs.
func (j *job) admitted(w *worker) bool {
	if n := j.spec.Settings.Slots; n > 0 && j.used[w] >= n {
		return false
	}
	_, here := w.jobs[j]
	if here || w.memory <= 0 || len(w.jobs)+len(w.awaited) == 0 {
		return true
	}
	held := j.spec.Settings.Memory
	for _, n := range w.awaited {
		held += n
	}
	for o := range w.jobs {
		held += o.spec.Settings.Memory
	}
	return held <= w.memory
}

// place finds the worker with the largest share of free slots that has room for a task; of
// equals, the one that came first. Pinned partitions are spread by how many a worker has, and
// none takes more than its share of them while others still can. Workers that are shunned (nil:
// none) are passed over.
func (s *State) place(j *job, p *phase, shuns func(*worker) bool) *worker {
	if s.full(j.spec.User) {
		return nil
	}
	var best *worker
	fits := func(w *worker) bool { return s.fits(j, w, p) && !s.excluded(j, w) && (shuns == nil || !shuns(w)) }
	if p.spec.Type == mr.RoundsPhase {
		slots := 0
		for _, w := range s.workers {
			slots += w.slots
		}
		beyond := false // some worker has room beyond its share
		for _, w := range s.workers {
			if !fits(w) {
				continue
			}
			if share := (len(p.tasks)*w.slots + slots - 1) / max(slots, 1); p.pins[w] >= share {
				beyond = true
				continue
			}
			if best == nil || p.pins[w]*best.slots < p.pins[best]*w.slots {
				best = w
			}
		}
		if best != nil || !beyond || p.opening() {
			return best
		}
	}
	for _, w := range s.workers {
		if !fits(w) {
			continue
		}
		if best == nil || (w.slots-w.used)*best.slots > (best.slots-best.used)*w.slots {
			best = w
		}
	}
	return best
}

// elsewhere tells whether a worker that is not shunned will be able to take a task of the phase:
// it can now, or something runs there that will end.
func (s *State) elsewhere(j *job, p *phase, shuns func(*worker) bool) bool {
	for _, w := range s.workers {
		if !shuns(w) && w.slots > 0 && !s.excluded(j, w) && (w.used > 0 || s.fits(j, w, p)) {
			return true
		}
	}
	return false
}

func (s *State) launch(j *job, p *phase, i int, w *worker, copy bool) {
	t := &p.tasks[i]
	t.number++
	a := &attempt{j: j, p: p, index: i, number: int(t.number), epoch: j.epoch, worker: w, memory: p.spec.Memory, started: s.now, copy: copy}
	s.put(t, a)
	j.moved = s.now
	id := a.id()
	spec := mr.TaskSpec{
		Job: j.spec.ID, Attempt: id, Epoch: j.epoch, Type: p.spec.Type, Kind: p.spec.Kind, Params: p.spec.Params,
		Out: OutFolder(j.spec.ID, id, j.epoch), Inputs: resolve(j, p, i),
		Tasks: len(p.tasks), Partitions: p.spec.Partitions, Memory: p.spec.Memory, Heap: p.spec.Heap, Halvings: int(t.halvings), Judged: j.judged,
	}
	if len(p.spec.Splits) > 0 {
		spec.Split = &p.spec.Splits[i]
	}
	s.do(Launch{Worker: w.id, Spec: spec})
}

// put takes an attempt into the books of its worker and task.
func (s *State) put(t *task, a *attempt) {
	w, p := a.worker, a.p
	a.seen, a.moved = s.now, s.now
	if limit := s.hangLimit(p); limit > 0 {
		s.hangAt = min(s.hangAt, s.now+limit)
	}
	t.attempts = append(t.attempts, a)
	w.running[a] = struct{}{}
	w.jobs[a.j] = struct{}{}
	s.claim(a.j, w, 1)
	w.held += a.memory
	p.running++
	if p.pins != nil {
		p.pins[w]++
	}
	if a.copy {
		s.copies++
	}
}

// release takes an attempt off its worker and task.
func (s *State) release(t *task, a *attempt) {
	for i, v := range t.attempts {
		if v == a {
			t.attempts = append(t.attempts[:i:i], t.attempts[i+1:]...)
			break
		}
	}
	if _, ok := a.worker.running[a]; ok {
		s.leave(a)
	} else if i := slices.Index(s.adrift, a); i >= 0 {
		s.adrift = slices.Delete(s.adrift, i, i+1)
	} else {
		return
	}
	a.p.running--
	if a.copy {
		s.copies--
	}
}

// leave takes an attempt off its worker.
func (s *State) leave(a *attempt) {
	w := a.worker
	delete(w.running, a)
	switch {
	case a.parted:
		a.parted = false
		if w.parted--; w.parted == w.slots-1 { // others may have waited for this
			s.partNext(w)
		}
	case a.opened:
		a.p.loop.pinned--
		w.held -= a.memory
	default:
		s.claim(a.j, w, -1)
		w.held -= a.memory
	}
	if a.p.pins != nil {
		a.p.pins[w]--
	}
}

// resolve finds the files that task i of a phase reads.
func resolve(j *job, p *phase, i int) []mr.TaskInput {
	var out []mr.TaskInput
	for _, in := range p.spec.Inputs {
		ti := mr.TaskInput{Input: in}
		from := &j.byID[in.Phase].manifest
		switch in.Mode {
		case mr.All:
			ti.Files = from.Files(in.Channel)
		case mr.Same:
			if i < len(from.Tasks) {
				for _, f := range from.Tasks[i].Files {
					if f.Channel == in.Channel {
						ti.Files = append(ti.Files, f)
					}
				}
			}
		case mr.Shuffled:
			for k := range from.Tasks {
				for _, f := range from.Tasks[k].Files {
					// Segments lie in the order of their partitions; a partition without
					// records has none.
					at, ok := slices.BinarySearchFunc(f.Segments, i, func(g mr.Segment, i int) int { return g.Partition - i })
					if ok {
						f.Segments = f.Segments[at : at+1 : at+1]
						ti.Files = append(ti.Files, f)
					}
				}
			}
		case mr.Values:
			ti.Values = make([]json.RawMessage, len(from.Tasks))
			for k := range from.Tasks {
				ti.Values[k] = from.Tasks[k].Value
			}
		}
		out = append(out, ti)
	}
	return out
}
