package sched

// retry is a task that is to be launched again, if possible not where it failed last.
type retry struct {
	index int
	avoid WorkerID
	from  Tick // not before
	until Tick // avoid no longer
}

const (
	// avoidFor bounds how long a free worker stays idle because a task failed there.
	avoidFor = Tick(5000)
	// maxDoublings bounds how long a task waits.
	maxDoublings = 6
)

// pause is how long to wait after the n-th failure.
func (s *State) pause(n int) Tick {
	if n < 1 {
		return 0
	}
	return s.o.Backoff << min(n-1, maxDoublings)
}

// again has a task launched again when its time has come.
func (s *State) again(p *phase, r retry) {
	r.until = max(r.from, s.now) + avoidFor
	if r.from <= s.now {
		p.again = append(p.again, r)
		return
	}
	p.later = append(p.later, r)
	s.dueAt = min(s.dueAt, r.from)
}

// comeDue makes ready what has waited for its time.
func (s *State) comeDue() {
	if s.now < s.dueAt {
		return
	}
	s.dueAt = never
	for _, j := range s.jobs {
		for _, p := range j.phases {
			later := p.later[:0]
			for _, r := range p.later {
				if r.from <= s.now {
					p.again = append(p.again, r)
					continue
				}
				later = append(later, r)
				s.dueAt = min(s.dueAt, r.from)
			}
			p.later = later
			switch {
			case p.state != publishing || p.publishAt == 0:
			case p.publishAt <= s.now:
				p.publishAt = 0
				s.do(Publish{Manifest: p.manifest})
			default:
				s.dueAt = min(s.dueAt, p.publishAt)
			}
		}
	}
}
