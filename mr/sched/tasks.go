package sched

import (
	"fmt"
	"slices"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// find finds a task that exists and its running attempt; either may be nil.
func (p *phase) find(id mr.AttemptID, epoch int64) (*task, *attempt) {
	if id.Task.Index < 0 || id.Task.Index >= len(p.tasks) {
		return nil, nil
	}
	t := &p.tasks[id.Task.Index]
	for _, a := range t.attempts {
		if a.number == id.Number && a.epoch == epoch {
			return t, a
		}
	}
	return t, nil
}

// wonBy tells whether an attempt is the committed one.
func (t *task) wonBy(a try) bool {
	return t.manifest != nil && t.manifest.Attempt.Number == a.number && t.manifest.Epoch == a.epoch
}

// Wants tells whether an attempt that succeeds now would be its task's result. Who makes results durable asks first: of an
// attempt that was given up for good nothing may be kept, because its files are being removed.
func (s *State) Wants(job mr.JobID, id mr.AttemptID, epoch int64) bool {
	_, p := s.phase(job, id.Task.Phase)
	if p == nil || p.spec.Type == mr.RoundsPhase && !p.loop.final {
		return false
	}
	t, a := p.find(id, epoch)
	return t != nil && t.manifest == nil && (a != nil || t.trouble.isLost(try{id.Number, epoch}))
}

// closing notes that an attempt computes no longer. On a store that is far away its files take as long as a tenth of its work.
func (s *State) closing(ev Closing) {
	_, p := s.phase(ev.Job, ev.Attempt.Task.Phase)
	if p == nil || p.spec.Type == mr.RoundsPhase {
		return
	}
	if _, a := p.find(ev.Attempt, ev.Epoch); a != nil && a.worker.id == ev.Worker {
		a.closing = true
		s.part(a)
	}
}

// hold notes that an attempt's result is being kept: to run its task again meanwhile would be in vain, because of a task one result at a
// time is kept. Its worker has done its part, so the slot goes on to the next attempt; but a store that is slower than the workers
// must not make results pile up, so a worker has no more of them than slots.
func (s *State) hold(ev Held) {
	_, p := s.phase(ev.Job, ev.Attempt.Task.Phase)
	if p == nil || p.spec.Type == mr.RoundsPhase || s.o.rules.forgetHeld {
		return
	}
	_, a := p.find(ev.Attempt, ev.Epoch)
	if a == nil || a.held {
		return
	}
	a.held = true
	s.part(a)
}

// part frees the slot of an attempt that computes no longer, unless as many have been freed as the worker has.
func (s *State) part(a *attempt) {
	w := a.worker
	if _, here := w.running[a]; !here || a.parted || w.parted >= w.slots {
		return
	}
	a.parted = true
	w.parted++
	w.held -= a.memory
	s.claim(a.j, w, -1)
}

// partNext frees the slot of one that had to keep it, after another is kept no longer.
func (s *State) partNext(w *worker) {
	for _, a := range s.sorted(w) {
		if (a.held || a.closing) && !a.parted {
			s.part(a)
			return
		}
	}
}

func (s *State) succeeded(ev Succeeded) {
	id, epoch := ev.Manifest.Attempt, ev.Manifest.Epoch
	j, p := s.phase(ev.Job, id.Task.Phase)
	if p == nil {
		return
	}
	if s.o.rules.anyEpoch {
		epoch = j.epoch
	}
	t, a := p.find(id, epoch)
	if t == nil || id.Number < 1 || epoch > j.epoch || epoch == j.epoch && id.Number > int(t.number) ||
		p.spec.Type == mr.RoundsPhase && !p.loop.final {
		return // nothing that was asked for
	}
	if a != nil {
		s.release(t, a)
	}
	if t.wonBy(try{id.Number, epoch}) && !s.o.rules.commitTwice || t.trouble.damaged(try{id.Number, epoch}) {
		return // said before
	}
	// An attempt that was given up because its worker was taken for lost, but has finished all
	// the same, is as good as another: its files are whole and its name is its own. One that
	// was discarded is not, because its files may be gone; nor is one of an earlier epoch that
	// this one was not told of, because that may have discarded it.
	alive := a != nil || t.trouble.isLost(try{id.Number, epoch}) || s.o.rules.takeDiscarded || s.o.rules.anyEpoch && id.Number <= int(t.number)
	if !alive || t.manifest != nil && !s.o.rules.commitTwice {
		if s.o.rules.loserCounts {
			j.add(ev.Manifest.Counters, 1)
		}
		t.trouble.forget(try{id.Number, epoch})
		s.discard(j, p, id.Task.Index, try{id.Number, epoch})
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
	m.Attempt.Task.Phase = p.spec.ID // the same words, held once
	p.hold(t, m)
	p.committed++
	j.add(m.Counters, 1)
	for _, other := range slices.Clone(t.attempts) {
		s.cancel(other)
		s.discard(j, p, other.index, other.try())
		s.release(t, other)
	}
	s.discardLost(j, p, m.Attempt.Task.Index, try{m.Attempt.Number, m.Epoch})
	if s.overBudget(j) {
		return
	}
	s.complete(j, p)
}

// hold keeps the result of a task: those of a million in one piece. What was published belongs to whoever was given it, and
// is not written to again.
func (p *phase) hold(t *task, m mr.Manifest) {
	if p.proposed {
		alone := m
		t.manifest = &alone
		return
	}
	if p.results == nil {
		p.results = make([]mr.Manifest, len(p.tasks))
	}
	t.manifest = &p.results[m.Attempt.Task.Index]
	*t.manifest = m
}

// discardLost gives up for good what was lost of a task, but for the attempt that won.
func (s *State) discardLost(j *job, p *phase, i int, winner try) {
	tr := p.tasks[i].trouble
	for _, l := range tr.gone() {
		if l.try != winner {
			s.discard(j, p, i, l.try)
		}
	}
	if tr != nil {
		tr.lost = nil
	}
}

// complete publishes a phase whose tasks are all committed: for the first time, or as the next
// revision.
func (s *State) complete(j *job, p *phase) {
	if p.committed < len(p.tasks) || p.state != running {
		return
	}
	if p.proposed || p.results == nil { // a new slice: the one before belongs to whoever was given the manifest
		p.results = make([]mr.Manifest, len(p.tasks))
		for i := range p.tasks {
			p.results[i] = *p.tasks[i].manifest
			p.tasks[i].manifest = &p.results[i]
		}
	}
	p.manifest.Tasks, p.results = p.results, nil
	if p.proposed && !s.o.rules.sameRevision {
		p.manifest.Revision++
	}
	p.manifest.Epoch = j.epoch
	p.proposed, p.state, p.tries, p.publishAt = true, publishing, 0, 0
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
		if b.Fraction < 1 && float64(n) > b.Fraction*float64(of) {
			e := failure(errs.Budget, "", fmt.Errorf("%d %s, where %d %s allow %d (a share of %g)", n, b.Counter, of, b.Of, int64(b.Fraction*float64(of)), b.Fraction))
			e.ID = "E-BAD-RECORDS"
			s.end(j, e)
			return true
		}
	}
	return false
}

func (s *State) published(ev Published) {
	j, p := s.phase(ev.Job, ev.Phase)
	if p == nil || p.state != publishing || p.manifest.Revision != ev.Revision {
		return
	}
	s.move(j)
	first := !p.visible
	p.state, p.visible = published, true
	s.do(ClosePhase{Job: ev.Job, Phase: ev.Phase})
	if first {
		s.drop(j, p)
	}
	s.start(j)
}

// drop gives up the files that a phase says nobody needs once it is published.
func (s *State) drop(j *job, p *phase) {
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
			s.do(DropFiles{Job: j.spec.ID, Phase: d.Phase, Files: files})
		}
	}
}

func (s *State) publishFailed(ev PublishFailed) {
	j, p := s.phase(ev.Job, ev.Phase)
	if p == nil || p.state != publishing || p.manifest.Revision != ev.Revision || p.publishAt > 0 {
		return
	}
	p.tries++
	err := given(ev.Err)
	kind := errs.KindOf(err)
	if p.tries >= publishTries || kind != errs.Transient && kind != errs.Unknown && kind != errs.Unreachable {
		s.end(j, err)
		return
	}
	pause := s.pause(p.tries)
	if pause == 0 {
		s.do(Publish{Manifest: p.manifest})
		return
	}
	p.publishAt = s.now + pause
	s.dueAt = min(s.dueAt, p.publishAt)
}
