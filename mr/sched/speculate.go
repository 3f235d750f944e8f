package sched

import (
	"slices"
	"sort"

	"github.com/vista-mr/vista-mr/mr"
)

const (
	scanEvery = Tick(1000) // between looks for stragglers
	minGain   = Tick(5000) // a copy must be expected to end this much earlier
)

// durations keeps what the last committed attempts took; enough for a median.
type durations struct {
	last [63]Tick
	n    int
}

func (d *durations) add(t Tick) {
	d.last[d.n%len(d.last)] = t
	d.n++
}

func (d *durations) median() Tick {
	k := min(d.n, len(d.last))
	if k == 0 {
		return 0
	}
	s := slices.Clone(d.last[:k])
	slices.Sort(s)
	return s[k/2]
}

// speculate launches copies of stragglers on slots that nobody else wants: of map and reduce
// tasks, once half of their phase is committed and all of it is launched. A straggler's time
// left follows from its progress; without any, as much again as it has taken. A copy is
// worth it when that is more than one and a half times what committed attempts took, and at
// least five seconds more. Copies take at most a tenth of all slots, never a second one of a
// task, and never the same worker. A look costs O(running attempts) and is taken once a second.
func (s *State) speculate() {
	if !s.o.Speculate || s.now < s.scanAt || s.free <= 0 || s.busy == 0 {
		return
	}
	s.scanAt = s.now + scanEvery
	type straggler struct {
		a    *attempt
		gain Tick
		rank int
	}
	var found []straggler
	medians := map[*phase]Tick{}
	slots := 0
	for _, w := range s.workers {
		slots += w.slots
		for a := range w.running {
			p := a.p
			if a.held || p.spec.Type == mr.RoundsPhase || p.state != running || p.visible || p.committed*2 < len(p.tasks) ||
				len(p.tasks[a.index].attempts) > 1 || p.times.n == 0 || p.wants() || !s.mayStart(a.j, p) {
				continue
			}
			if _, ok := medians[p]; !ok {
				medians[p] = p.times.median()
			}
			usual, left := medians[p], s.now-a.started
			if a.done > 0 && a.total >= a.done {
				left = Tick(float64(left) * float64(a.total-a.done) / float64(a.done))
			}
			if 2*left > 3*usual && left-usual >= minGain {
				rank := slices.Index(s.jobs, a.j)*len(a.j.phases) + slices.Index(a.j.phases, p)
				found = append(found, straggler{a, left - usual, rank})
			}
		}
	}
	sort.Slice(found, func(i, k int) bool {
		a, b := found[i], found[k]
		switch {
		case a.gain != b.gain:
			return a.gain > b.gain
		case a.rank != b.rank:
			return a.rank < b.rank
		case a.a.index != b.a.index:
			return a.a.index < b.a.index
		}
		return a.a.j.spec.ID < b.a.j.spec.ID
	})
	for _, f := range found {
		if s.copies >= max(1, slots/10) || s.free <= 0 {
			return
		}
		if w := s.place(f.a.j, f.a.p, func(w *worker) bool { return w == f.a.worker }); w != nil {
			s.launch(f.a.j, f.a.p, f.a.index, w, true)
		}
	}
}
