package sched

import (
	"fmt"
	"slices"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// find finds a task that exists and its running attempt; either may be nil.
func (p *phase) find(id mr.AttemptID) (*task, *attempt) {
	if id.Task.Index < 0 || id.Task.Index >= len(p.tasks) {
		return nil, nil
	}
	t := &p.tasks[id.Task.Index]
	for _, a := range t.attempts {
		if a.number == id.Number {
			return t, a
		}
	}
	return t, nil
}

func (s *State) succeeded(ev Succeeded) {
	id := ev.Manifest.Attempt
	j, p := s.phase(ev.Job, id.Task.Phase)
	if p == nil {
		return
	}
	t, a := p.find(id)
	if t == nil || id.Number < 1 || id.Number > int(t.number) || p.spec.Type == mr.RoundsPhase && !p.loop.final {
		return // nothing that was asked for
	}
	if a != nil {
		s.release(t, a)
	}
	if t.manifest != nil && t.manifest.Attempt == id && !s.o.rules.commitTwice || t.trouble.damaged(id.Number) {
		return // said before
	}
	// An attempt that was given up because its worker was taken for lost, but has finished all
	// the same, is as good as another: its files are whole and its name is its own. One that
	// was discarded is not, because its files may be gone.
	alive := a != nil || t.trouble.isLost(id.Number) || s.o.rules.takeDiscarded
	if !alive || t.manifest != nil && !s.o.rules.commitTwice {
		if s.o.rules.loserCounts {
			j.add(ev.Manifest.Counters, 1)
		}
		s.do(Discard{Job: ev.Job, Attempt: id})
		return
	}
	s.move(j)
	if a != nil && s.o.Speculate {
		p.times.add(s.now - a.started)
	}
	s.commit(j, p, t, ev.Manifest)
}

// commit takes a manifest as the task's result, and with the last one of the phase publishes it.
func (s *State) commit(j *job, p *phase, t *task, m mr.Manifest) {
	t.manifest = &m
	p.committed++
	j.add(m.Counters, 1)
	for _, other := range slices.Clone(t.attempts) {
		s.do(Cancel{Worker: other.worker.id, Job: j.spec.ID, Attempt: other.id()})
		s.do(Discard{Job: j.spec.ID, Attempt: other.id()})
		s.release(t, other)
	}
	for _, n := range t.trouble.dropLost() {
		if n != m.Attempt.Number {
			s.do(Discard{Job: j.spec.ID, Attempt: mr.AttemptID{Task: m.Attempt.Task, Number: n}})
		}
	}
	if s.overBudget(j) {
		return
	}
	if p.committed < len(p.tasks) || p.state != running {
		return
	}
	// A new slice: the one before belongs to whoever was given the manifest.
	p.manifest.Tasks = make([]mr.Manifest, len(p.tasks))
	for i := range p.tasks {
		p.manifest.Tasks[i] = *p.tasks[i].manifest
	}
	if p.visible {
		p.state = published
		s.do(Mended{Manifest: p.manifest})
		s.do(ClosePhase{Job: j.spec.ID, Phase: p.spec.ID})
		s.start(j)
		return
	}
	p.state = publishing
	s.do(Publish{Manifest: p.manifest})
}

// overBudget judges the job's budgets and ends it if one is broken.
func (s *State) overBudget(j *job) bool {
	for _, b := range j.spec.Budgets {
		base := j.byID[b.Phase]
		if base.committed < len(base.tasks) {
			continue
		}
		n, of := j.sums[b.Counter], j.sums[b.Of]
		if float64(n) > b.Fraction*float64(of) {
			e := failure(errs.Budget, "", fmt.Errorf("%d of %d %s are %s, more than the share of %g that is allowed", n, of, b.Of, b.Counter, b.Fraction))
			e.ID = "E-BAD-RECORDS"
			s.end(j, e)
			return true
		}
	}
	return false
}

func (s *State) published(ev Published) {
	j, p := s.phase(ev.Job, ev.Phase)
	if p == nil || p.state != publishing {
		return
	}
	s.move(j)
	p.state, p.visible = published, true
	s.do(ClosePhase{Job: ev.Job, Phase: ev.Phase})
	for _, d := range p.spec.Drop {
		from := j.byID[d.Phase]
		from.dropped = append(from.dropped, d.Channel)
		var files []mr.PartFile
		for _, t := range from.manifest.Tasks {
			for _, f := range t.Files {
				if f.Channel == d.Channel || d.Channel == "" && f.Channel != mr.Quarantine {
					files = append(files, f)
				}
			}
		}
		if len(files) > 0 {
			s.do(DropFiles{Job: ev.Job, Phase: d.Phase, Files: files})
		}
	}
	s.start(j)
}

func (s *State) publishFailed(ev PublishFailed) {
	j, p := s.phase(ev.Job, ev.Phase)
	if p == nil || p.state != publishing {
		return
	}
	p.tries++
	kind := errs.KindOf(ev.Err)
	if p.tries < publishTries && (kind == errs.Transient || kind == errs.Unknown || kind == errs.Unreachable) {
		s.do(Publish{Manifest: p.manifest})
		return
	}
	s.end(j, ev.Err)
}
