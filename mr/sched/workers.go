package sched

import (
	"fmt"
	"slices"
	"sort"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
)

func (s *State) workerUp(ev WorkerUp) {
	w := s.byID[ev.Worker]
	known := w != nil
	if !known {
		w = &worker{id: ev.Worker, running: map[*attempt]struct{}{}, jobs: map[*job]struct{}{}}
		s.byID[ev.Worker] = w
		s.workers = append(s.workers, w)
	}
	s.free -= max(0, w.slots-w.used)
	w.slots, w.memory, w.host, w.seen = ev.Slots, ev.Memory, ev.Host, s.now
	w.near = append([]string{ev.Host}, ev.Near...)
	s.free += max(0, w.slots-w.used)
	if s.o.Expire > 0 {
		s.expireAt = min(s.expireAt, s.now+s.o.Expire)
	}
	s.letGuests(w, func(guest) bool { return true })
	s.holds(w, ev.Jobs)
	for _, pr := range ev.Running {
		s.named(w, pr)
	}
	for _, pr := range ev.Running { // now that those that are known have their room
		if s.expected[pr.Job] {
			s.reserve(w, pr)
		}
	}
	if known {
		s.reconnected(w, ev.Running)
	}
}

// reconnected deals with what was under way on a worker's earlier connection: launches that it does not name have not
// arrived, or how they ended has not; and rounds are asked for again.
func (s *State) reconnected(w *worker, running []Progress) {
	type key struct {
		job mr.JobID
		id  mr.AttemptID
		try int64
	}
	has := map[key]bool{}
	for _, pr := range running {
		has[key{pr.Job, pr.Attempt, pr.Epoch}] = true
	}
	open := map[*phase]bool{}
	for _, a := range s.sorted(w) {
		if a.held {
			continue
		}
		if !has[key{a.j.spec.ID, a.id(), a.epoch}] {
			s.lose(a, "", fmt.Errorf("worker %s has connected anew and does not name it", w.id))
		} else if a.opened {
			open[a.p] = true
		}
	}
	for _, j := range s.jobs {
		for _, p := range j.phases {
			if open[p] {
				s.askAgain(j, p, w)
			}
		}
	}
}

// workerDown loses what ran there, but for results that are being kept. The order of the lost attempts is fixed, so that the
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
		if a.held {
			s.leave(a)
			s.adrift = append(s.adrift, a)
			continue
		}
		s.lose(a, w.id, fmt.Errorf("worker %s is gone", w.id))
	}
	s.letGuests(w, func(guest) bool { return true })
	s.free -= max(0, w.slots-w.used)
	for _, j := range s.jobs {
		delete(j.used, w)
		s.pardon(j)
	}
}

// lose takes an attempt for lost. It may have been let go of already, with its job. Where it
// may still run and be taken back from is at; "" says that it was cancelled.
func (s *State) lose(a *attempt, at WorkerID, why error) {
	if _, held := a.worker.running[a]; !held {
		return
	}
	id := a.id()
	e := failure(errs.Lost, id.String(), why)
	s.gaveUp = append(s.gaveUp, GivenUp{Worker: a.worker.id, Job: a.j.spec.ID, Attempt: id, Err: e})
	s.fail(a, at, e)
}

func (s *State) cancel(a *attempt) {
	s.do(Cancel{Worker: a.worker.id, Job: a.j.spec.ID, Attempt: a.id(), Epoch: a.epoch})
}

// cancelFor cancels what is given up although nobody else has done its work.
func (s *State) cancelFor(a *attempt, reason string) {
	s.do(Cancel{Worker: a.worker.id, Job: a.j.spec.ID, Attempt: a.id(), Epoch: a.epoch, Reason: reason})
}

// discard gives an attempt up for good: its files are removed. One of an earlier epoch is remembered, because its worker may name it
// later as one that nobody has heard of yet (see trouble.dropped).
func (s *State) discard(j *job, p *phase, i int, a try) {
	t := &p.tasks[i]
	if a.epoch < j.epoch && !t.trouble.discarded(a) {
		t.inTrouble().dropped = append(t.trouble.dropped, a)
	}
	s.do(Discard{Job: j.spec.ID, Attempt: mr.AttemptID{Task: mr.TaskID{Phase: p.spec.ID, Index: i}, Number: a.number}, Epoch: a.epoch})
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
			s.do(Gone{Worker: w.id})
			s.workerDown(w)
		} else {
			s.expireAt = min(s.expireAt, w.seen+s.o.Expire)
		}
	}
}

func (s *State) beat(ev Beat) {
	w := s.byID[ev.Worker]
	if w == nil {
		s.do(Gone{Worker: ev.Worker})
		return
	}
	w.seen = s.now
	for _, pr := range ev.Progress {
		s.named(w, pr)
		if s.expected[pr.Job] {
			s.reserve(w, pr)
		}
	}
	if s.o.Expire <= 0 {
		return
	}
	s.letGuests(w, func(g guest) bool { return s.now-g.seen > s.o.Expire })
	missing := func(a *attempt) bool { return !a.held && s.now-a.seen > s.o.Expire }
	some := false
	for a := range w.running {
		some = some || missing(a)
	}
	if !some {
		return
	}
	for _, a := range s.sorted(w) {
		if missing(a) {
			s.lose(a, "", fmt.Errorf("worker %s has not named it for %d ms", w.id, s.now-a.seen))
		}
	}
}

func (s *State) alive(id WorkerID) {
	w := s.byID[id]
	if w == nil {
		s.do(Gone{Worker: id})
		return
	}
	silent := s.now - w.seen // this long nothing was heard of what its attempts have done
	w.seen = s.now
	for a := range w.running {
		a.seen, a.moved = s.now, min(a.moved+silent, s.now)
		s.move(a.j)
	}
	for i := range w.guests {
		w.guests[i].seen = s.now
	}
}

// named notes that a worker says it runs an attempt. One that it should not run, because it was
// given up or its job has ended, is taken back or cancelled.
func (s *State) named(w *worker, pr Progress) {
	if s.expected[pr.Job] {
		return // it waits for its job
	}
	j, p := s.phase(pr.Job, pr.Attempt.Task.Phase)
	if p == nil {
		s.stranger(w, pr)
		return
	}
	t, a := p.find(pr.Attempt, pr.Epoch)
	if t != nil && a == nil {
		s.heardOf(j, p, t, w, pr)
		a = s.takeBack(j, p, t, w, pr)
	}
	if a != nil && a.held && a.worker.id == w.id {
		return // it has told, and is named until it hears that it need not tell again; also when it was taken for gone meanwhile
	}
	if a == nil || a.worker != w {
		s.stranger(w, pr)
		me := try{pr.Attempt.Number, pr.Epoch}
		if t != nil && pr.Epoch < j.epoch && !t.wonBy(me) && !t.trouble.isLost(me) && !t.trouble.damaged(me) {
			s.discard(j, p, pr.Attempt.Task.Index, me)
		}
		return
	}
	a.seen = s.now
	if pr.Done > a.done {
		s.move(j)
	}
	if pr.Moves > a.moves || pr.Done != a.done {
		a.moved, a.moves = s.now, pr.Moves
	}
	a.done, a.total = pr.Done, pr.Total
	if pr.Pinned && !a.opened {
		s.opened(Opened{Worker: w.id, Job: pr.Job, Attempt: pr.Attempt, Epoch: pr.Epoch})
	}
}

func (s *State) stranger(w *worker, pr Progress) {
	if !s.o.rules.keepStrangers {
		s.do(Cancel{Worker: w.id, Job: pr.Job, Attempt: pr.Attempt, Epoch: pr.Epoch})
	}
}
