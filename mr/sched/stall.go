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
		if s.now-j.moved > s.o.Stall {
			s.shakeJob(j)
		}
		s.stallAt = min(s.stallAt, j.moved+s.o.Stall)
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
			if a.j == j && a.awaited() {
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
			s.cancel(a)
			s.lose(a, "", fmt.Errorf("nothing has moved for %d ms", s.o.Stall))
		}
		j.moved, j.shaken = s.now, true
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

func (s *State) waitsFor(j *job, stuck []*attempt) string {
	if len(stuck) > 0 {
		return fmt.Sprintf("%d attempts, the first of them %s on worker %s", len(stuck), stuck[0].id(), stuck[0].worker.id)
	}
	for _, p := range j.phases {
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
// nothing is under way in any job: no answer is awaited, no task waits for its time, and no
// worker is excluded for a while.
func (s *State) starved() (*job, *phase) {
	if s.busy > 0 || s.free <= 0 {
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
