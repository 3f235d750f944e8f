package sched

import (
	"fmt"
	"slices"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// shake looks for jobs on which nothing has moved for Options.Stall, although something of
// theirs runs. The first time, what is waited for is taken for lost and launched again; the
// second time the job fails, because a hang helps nobody.
func (s *State) shake() {
	if s.o.Stall <= 0 || s.now <= s.stallAt {
		return
	}
	s.stallAt = never
	for _, j := range slices.Clone(s.jobs) {
		if s.now-j.moved > j.stall {
			s.shakeJob(j)
		}
		s.stallAt = min(s.stallAt, j.moved+j.stall)
	}
}

func (s *State) shakeJob(j *job) {
	var stuck []*attempt
	inFlight := false
	for _, p := range j.phases {
		inFlight = inFlight || p.inFlight()
	}
	for _, w := range s.workers {
		for _, a := range s.sorted(w) {
			if a.j == j && a.awaited() && !a.held {
				stuck = append(stuck, a)
			}
		}
	}
	switch {
	case !inFlight: // it waits for slots, which others have, or for workers
		j.moved = s.now
	case j.shaken:
		e := failure(errs.Lost, "", fmt.Errorf("nothing has moved for %d ms, nor for as long before that, when it was launched again: %s", s.now-j.moved, s.waitsFor(j, stuck)))
		e.ID, e.Fix = "E-STALLED", "look at the logs of the attempts and workers named"
		s.end(j, e)
	default:
		for _, a := range stuck {
			why := fmt.Errorf("nothing of the job has moved for %d ms", j.stall)
			s.cancelFor(a, why.Error())
			s.lose(a, "", why)
		}
		j.moved, j.shaken = s.now, true
	}
}

// hangLimit is for how long an attempt of a phase may do nothing; 0: for ever.
func (s *State) hangLimit(p *phase) Tick {
	switch t := p.spec.Timeout; {
	case t > 0:
		return Tick(t)
	case t < 0:
		return 0
	}
	return s.o.Hang
}

// giveUpHung gives up attempts that have done nothing for longer than their phase allows, while others go on. That counts among
// the failures of a task: one that hangs wherever it runs must not go on for hours. Pinned partitions wait for each other, and
// are left to shake. A look at all attempts is only due when the first of them may hang.
func (s *State) giveUpHung() {
	if s.now <= s.hangAt {
		return
	}
	s.hangAt = never
	for _, w := range slices.Clone(s.workers) {
		for _, a := range s.sorted(w) {
			limit := s.hangLimit(a.p)
			if limit == 0 || a.opened || a.held {
				continue
			}
			if _, runs := w.running[a]; !runs {
				continue // its job has ended meanwhile
			}
			if s.now-a.moved <= limit {
				s.hangAt = min(s.hangAt, a.moved+limit)
				continue
			}
			e := failure(errs.Transient, a.id().String(), fmt.Errorf("it has done nothing for %d ms on worker %s", s.now-a.moved, w.id))
			e.Op, e.ID, e.Fix = "watch", "E-HUNG", "look at its log and at the worker; an attempt that may be silent for longer needs a longer time (tracker --task-timeout)"
			s.cancelFor(a, e.Err.Error())
			s.gaveUp = append(s.gaveUp, GivenUp{Worker: w.id, Job: a.j.spec.ID, Attempt: a.id(), Err: e})
			s.fail(a, "", e)
		}
	}
}

// awaited tells whether something is expected of an attempt now: a pinned partition whose sum
// was counted only waits for the next round.
func (a *attempt) awaited() bool {
	return !a.opened || a.p.loop.stage == summing && !a.p.loop.counted[a.index]
}

// inFlight tells whether an answer is awaited that will move the phase on.
func (p *phase) inFlight() bool {
	switch {
	case p.state == publishing:
		return true
	case p.state != running:
		return false
	case p.spec.Type != mr.RoundsPhase:
		return p.running > 0
	case p.opening() || p.loop.stage == composing:
		return true
	case p.loop.stage == opening:
		return false
	}
	for i, open := range p.loop.open {
		if open && !p.loop.counted[i] && p.tasks[i].manifest == nil {
			return true
		}
	}
	return false
}

// held is how many results of a phase are being kept.
func (p *phase) held() (n int) {
	for i := range p.tasks {
		for _, a := range p.tasks[i].attempts {
			if a.held {
				n++
			}
		}
	}
	return n
}

func (s *State) waitsFor(j *job, stuck []*attempt) string {
	if len(stuck) > 0 {
		return fmt.Sprintf("%d attempts, the first of them %s on worker %s", len(stuck), stuck[0].id(), stuck[0].worker.id)
	}
	for _, p := range j.phases {
		if n := p.held(); n > 0 {
			return fmt.Sprintf("the store has not kept the results of %d attempts of phase %s", n, p.spec.ID)
		}
		if p.inFlight() {
			return fmt.Sprintf("phase %s is %s", p.spec.ID, p.state)
		}
	}
	return "nothing"
}

// refuse ends a job whose rounds phase cannot pin all of its partitions, when nothing is under
// way that would make room. Without a watchdog it ends at once, because then no other workers
// are to come; with one it is given that time.
func (s *State) refuse() {
	j, p := s.starved()
	if p == nil {
		s.starvedAt = never
		return
	}
	s.starvedAt = min(s.starvedAt, s.now)
	if s.now-s.starvedAt < s.o.Stall {
		return
	}
	s.starvedAt = never
	e := failure(errs.Infeasible, "", fmt.Errorf("phase %s must pin %d partitions of %d bytes at once; %d fit on %d workers", p.spec.ID, len(p.tasks), p.spec.Memory, p.loop.pinned, len(s.workers)))
	e.ID, e.Fix = "E-PINNED-MEMORY", "give the workers more memory, add workers, or use fewer or smaller partitions"
	s.end(j, e)
}

// starved finds a rounds phase that wants to pin a partition although there are free slots and
// nothing is under way in any job: no answer is awaited, no task waits for its time, no
// worker is excluded for a while, and no job is expected, which may have room that it will not need.
func (s *State) starved() (*job, *phase) {
	if s.busy > 0 || s.free <= 0 || s.guests > 0 || len(s.expected) > 0 {
		return nil, nil
	}
	var of *job
	var found *phase
	for _, j := range s.jobs {
		if j.banned > 0 {
			return nil, nil
		}
		for _, p := range j.phases {
			if p.inFlight() || len(p.later) > 0 {
				return nil, nil
			}
			if found == nil && p.state == running && p.spec.Type == mr.RoundsPhase && p.wants() {
				of, found = j, p
			}
		}
	}
	return of, found
}
