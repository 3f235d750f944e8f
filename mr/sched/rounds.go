package sched

// loopState is where a rounds phase stands.
type loopState struct {
	open    []bool // partitions that are pinned
	counted []bool // partitions whose sum of this round was accepted, or that have finished
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

func (s *State) opened(ev Opened) {
	j, p := s.phase(ev.Job, ev.Attempt.Task.Phase)
	if p == nil || p.state != running || p.loop.open == nil {
		return
	}
	_, a := p.find(ev.Attempt)
	if a == nil || a.opened {
		return
	}
	a.opened = true
	a.worker.used--
	l, i := &p.loop, ev.Attempt.Task.Index
	l.open[i] = true
	switch l.stage {
	case opening:
		for _, open := range l.open {
			if !open {
				return
			}
		}
		l.stage = composing
		s.do(NextMessage{Job: j.spec.ID, Phase: p.spec.ID, Round: 0})
	case summing:
		// Pinned again in the middle of a round: only what is missing is asked for.
		if !l.counted[i] {
			s.do(RunRound{Worker: a.worker.id, Job: j.spec.ID, Phase: p.spec.ID, Round: l.round, Final: l.final, Tasks: []int{i}})
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
	l.stage, l.final, l.left = summing, ev.Final, len(l.counted)
	clear(l.counted)
	for _, w := range s.workers {
		var tasks []int
		for i := range p.tasks {
			if t := &p.tasks[i]; l.open[i] && len(t.attempts) > 0 && t.attempts[0].worker == w {
				tasks = append(tasks, i)
			}
		}
		if len(tasks) > 0 {
			s.do(RunRound{Worker: w.id, Job: j.spec.ID, Phase: p.spec.ID, Round: l.round, Final: l.final, Tasks: tasks})
		}
	}
}

func (s *State) roundDone(ev RoundDone) {
	j, p := s.phase(ev.Job, ev.Phase)
	if p == nil || p.state != running || p.loop.open == nil {
		return
	}
	l := &p.loop
	if l.stage != summing || l.final || ev.Round != l.round || len(ev.Tasks) == 0 {
		return
	}
	for _, i := range ev.Tasks {
		if i < 0 || i >= len(l.counted) || l.counted[i] && !s.o.rules.countTwice {
			return // one sum for several partitions is taken whole or not at all
		}
	}
	for _, i := range ev.Tasks {
		l.counted[i] = true
	}
	l.left -= len(ev.Tasks)
	s.do(AcceptSum{Worker: ev.Worker, Job: j.spec.ID, Phase: p.spec.ID, Round: ev.Round, Tasks: ev.Tasks})
	if l.left > 0 {
		return
	}
	l.round++
	l.stage = composing
	s.do(NextMessage{Job: j.spec.ID, Phase: p.spec.ID, Round: l.round})
}
