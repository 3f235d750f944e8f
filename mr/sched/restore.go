package sched

import (
	"slices"

	"github.com/vista-mr/vista-mr/mr"
)

// restore fills a job with what an earlier coordinator has reached.
func (s *State) restore(j *job, ev Submit) {
	for _, m := range ev.Done {
		p := j.byID[m.Phase]
		if p == nil || len(m.Tasks) != len(p.tasks) || p.visible {
			continue
		}
		p.manifest, p.state, p.visible, p.proposed, p.committed = m, published, true, true, len(m.Tasks)
		for i := range m.Tasks {
			p.tasks[i].manifest = &p.manifest.Tasks[i]
			p.tasks[i].number = int32(m.Tasks[i].Attempt.Number)
			j.add(m.Tasks[i].Counters, 1)
		}
		p.next = len(p.tasks)
	}
	for _, p := range j.phases {
		if p.visible { // the coordinator before may have been stopped between the two
			s.drop(j, p)
		}
	}
	for _, m := range ev.Committed {
		p := j.byID[m.Attempt.Task.Phase]
		if p == nil || p.visible {
			continue
		}
		t, _ := p.find(m.Attempt, m.Epoch)
		if t == nil || t.manifest != nil || m.Attempt.Number < 1 {
			continue
		}
		p.hold(t, m)
		t.number = max(t.number, int32(m.Attempt.Number))
		p.committed++
		j.add(m.Counters, 1)
	}
	for _, p := range j.phases {
		// What partitions of a rounds phase wrote stands on the rounds of all of them.
		if p.spec.Type != mr.RoundsPhase || p.visible || p.committed == len(p.tasks) {
			continue
		}
		for i := range p.tasks {
			if m := p.tasks[i].manifest; m != nil {
				j.add(m.Counters, -1)
				p.tasks[i].manifest = nil
				p.tasks[i].number = 0
			}
		}
		p.committed = 0
	}
	for _, r := range ev.Running {
		s.expect(j, r)
	}
}

// expect notes an attempt that an earlier coordinator has launched. It is taken back when its
// worker names it, which it is given the time for that makes a worker silent.
func (s *State) expect(j *job, r Running) {
	p := j.byID[r.Attempt.Task.Phase]
	if p == nil || p.visible || p.spec.Type == mr.RoundsPhase || !s.mayStart(j, p) {
		return
	}
	t, _ := p.find(r.Attempt, r.Epoch)
	if t == nil || t.manifest != nil || r.Attempt.Number < 1 || t.trouble.isLost(try{r.Attempt.Number, r.Epoch}) {
		return
	}
	if len(t.trouble.gone()) == 0 {
		s.again(p, retry{index: r.Attempt.Task.Index, from: s.now + s.o.Expire})
	}
	t.number = max(t.number, int32(r.Attempt.Number))
	t.inTrouble().lost = append(t.trouble.lost, lostAttempt{try{r.Attempt.Number, r.Epoch}, r.Worker})
}

// heardOf notes an attempt of an earlier coordinator's that only its worker knows of: the worker has come after the job. It is as good as
// one that was named with the job, if nothing else was done about its task and there is room for it.
func (s *State) heardOf(j *job, p *phase, t *task, w *worker, pr Progress) {
	me := try{pr.Attempt.Number, pr.Epoch}
	if me.epoch >= j.epoch || me.number < 1 || t.manifest != nil || len(t.attempts) > 0 || p.state != running || !s.mayStart(j, p) || p.spec.Type == mr.RoundsPhase ||
		t.trouble.isLost(me) || t.trouble.damaged(me) || t.trouble.discarded(me) && !s.o.rules.adoptDropped || !s.fits(j, w, p) {
		return
	}
	t.number = max(t.number, int32(me.number))
	t.inTrouble().lost = append(t.trouble.lost, lostAttempt{me, w.id})
}

// takeBack makes an attempt that was taken for lost with its worker, and that the worker still
// runs, one that runs again. Pinned partitions are not taken back: rounds went on without them.
func (s *State) takeBack(j *job, p *phase, t *task, w *worker, pr Progress) *attempt {
	if t.manifest != nil || p.state != running || p.spec.Type == mr.RoundsPhase {
		return nil
	}
	k := slices.IndexFunc(t.trouble.gone(), func(l lostAttempt) bool {
		return l.try == try{pr.Attempt.Number, pr.Epoch} && l.worker == w.id
	})
	if k < 0 {
		return nil
	}
	if !s.fits(j, w, p) { // the room went to others meanwhile
		t.trouble.lost[k].worker = ""
		return nil
	}
	t.trouble.lost = slices.Delete(t.trouble.lost, k, k+1)
	a := &attempt{j: j, p: p, index: pr.Attempt.Task.Index, number: pr.Attempt.Number, epoch: pr.Epoch, worker: w,
		memory: p.spec.Memory, started: s.now}
	s.put(t, a)
	s.move(j)
	return a
}
