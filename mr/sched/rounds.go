package sched

import "slices"

// loopState is where a rounds phase stands.
type loopState struct {
	open    []bool // partitions that are pinned
	counted []bool // partitions whose sum of this round was accepted
	pinned  int    // attempts that have pinned theirs
	left    int    // partitions not counted
	round   int
	stage   loopStage
	final   bool
}

type loopStage uint8

const (
	opening   loopStage = iota // not all partitions are pinned for the first time
	composing                  // the loop makes the next message
	summing                    // workers work on the round
)

func newLoop(n int) loopState {
	return loopState{open: make([]bool, n), counted: make([]bool, n), left: n}
}

// opening tells whether some attempt of the phase is pinning its partition.
func (p *phase) opening() bool { return p.running > p.loop.pinned }

func (s *State) opened(ev Opened) {
	j, p := s.phase(ev.Job, ev.Attempt.Task.Phase)
	if p == nil || p.state != running || p.loop.open == nil {
		return
	}
	_, a := p.find(ev.Attempt, ev.Epoch)
	if a == nil || a.opened {
		return
	}
	s.move(j)
	a.opened = true
	s.claim(j, a.worker, -1)
	l, i := &p.loop, ev.Attempt.Task.Index
	l.open[i] = true
	l.pinned++
	switch l.stage {
	case opening:
		if l.pinned == len(p.tasks) {
			l.stage = composing
			s.do(NextMessage{Job: j.spec.ID, Phase: p.spec.ID, Round: 0})
		}
	case summing:
		// Pinned again in the middle of a round: only what is missing is asked for.
		if !l.counted[i] {
			s.do(RunRound{Worker: a.worker.id, Job: j.spec.ID, Phase: p.spec.ID, Epoch: j.epoch, Round: l.round, Final: l.final, Tasks: []int{i}})
		}
	case composing: // it will get the next round with the others
	}
}

func (s *State) message(ev Message) {
	j, p := s.phase(ev.Job, ev.Phase)
	if p == nil || p.state != running || p.loop.open == nil {
		return
	}
	l := &p.loop
	if l.stage != composing || ev.Round != l.round {
		return
	}
	s.move(j)
	l.stage, l.final, l.left = summing, ev.Final, len(l.counted)
	clear(l.counted)
	by := make(map[*worker][]int, len(s.workers))
	for i := range p.tasks {
		if t := &p.tasks[i]; l.open[i] && len(t.attempts) > 0 {
			w := t.attempts[0].worker
			by[w] = append(by[w], i)
		}
	}
	for _, w := range s.workers {
		if tasks := by[w]; len(tasks) > 0 {
			s.do(RunRound{Worker: w.id, Job: j.spec.ID, Phase: p.spec.ID, Epoch: j.epoch, Round: l.round, Final: l.final, Tasks: tasks})
		}
	}
}

// askAgain asks a worker for what it has pinned and is not counted in the round that is under way.
func (s *State) askAgain(j *job, p *phase, w *worker) {
	l := &p.loop
	if p.state != running || l.stage != summing {
		return
	}
	var tasks []int
	for i := range p.tasks {
		if t := &p.tasks[i]; l.open[i] && !l.counted[i] && t.manifest == nil && len(t.attempts) > 0 && t.attempts[0].worker == w {
			tasks = append(tasks, i)
		}
	}
	if len(tasks) > 0 {
		s.do(RunRound{Worker: w.id, Job: j.spec.ID, Phase: p.spec.ID, Epoch: j.epoch, Round: l.round, Final: l.final, Tasks: tasks})
	}
}

func (s *State) roundDone(ev RoundDone) {
	j, p := s.phase(ev.Job, ev.Phase)
	if p == nil || p.state != running || p.loop.open == nil {
		return
	}
	l := &p.loop
	if l.stage != summing || l.final || ev.Epoch != j.epoch || ev.Round != l.round || len(ev.Tasks) == 0 {
		return
	}
	tasks := slices.Clone(ev.Tasks)
	slices.Sort(tasks)
	fresh := tasks[:0:0] // those not counted yet
	for k, i := range tasks {
		if i < 0 || i >= len(l.counted) || k > 0 && tasks[k-1] == i {
			return // not an answer to anything that was asked
		}
		if !l.counted[i] || s.o.rules.countTwice {
			fresh = append(fresh, i)
		}
	}
	if len(fresh) < len(tasks) {
		// One sum for several partitions is taken whole or not at all. This one is lost; what
		// was not counted before is asked for again, if the worker still has it.
		var again []int
		for _, i := range fresh {
			if t := &p.tasks[i]; l.open[i] && len(t.attempts) > 0 && t.attempts[0].worker.id == ev.Worker {
				again = append(again, i)
			}
		}
		if len(again) > 0 {
			s.do(RunRound{Worker: ev.Worker, Job: j.spec.ID, Phase: p.spec.ID, Epoch: j.epoch, Round: l.round, Tasks: again})
		}
		return
	}
	s.move(j)
	for _, i := range tasks {
		l.counted[i] = true
	}
	l.left -= len(tasks)
	s.do(AcceptSum{Worker: ev.Worker, Job: j.spec.ID, Phase: p.spec.ID, Round: ev.Round, Tasks: ev.Tasks})
	if l.left > 0 {
		return
	}
	l.round++
	l.stage = composing
	s.do(NextMessage{Job: j.spec.ID, Phase: p.spec.ID, Round: l.round})
}
