package sched

import (
	"slices"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// faultsToExclude is how many different tasks of a job must fail on a worker before the job
// avoids it.
const faultsToExclude = 3

// faults are what a job has against a worker.
type faults struct {
	tasks []mr.TaskID // different ones that failed there, at most faultsToExclude
	until Tick        // excluded until then; 0: it is not
	why   string      // the last failure there, for people
}

// blame holds a task's own failure against the worker too: who is at fault shows only when
// other tasks fail there and nowhere else. A full disk or a refused identity is a worker's own
// until others say the same: one such failure is enough.
func (s *State) blame(j *job, w *worker, id mr.TaskID, kind errs.Kind, why string) {
	if s.o.Exclude <= 0 {
		return
	}
	if j.faults == nil {
		j.faults = map[WorkerID]*faults{}
	}
	f := j.faults[w.id]
	if f == nil || f.until > 0 && f.until <= s.now {
		f = &faults{}
		j.faults[w.id] = f
	}
	if slices.Contains(f.tasks, id) || f.until > 0 {
		return
	}
	f.why = why
	if f.tasks = append(f.tasks, id); len(f.tasks) < faultsToExclude && !ofWorker(kind) {
		return
	}
	s.pardon(j)
	if j.banned+1 > len(s.workers)/3 {
		f.tasks = f.tasks[:min(len(f.tasks), faultsToExclude)-1] // the next failure may find more workers
		return
	}
	f.until = s.now + s.o.Exclude
	s.pardonAt = min(s.pardonAt, f.until)
	j.banned++
}

// pardonAll lets workers back whose time is over. Most steps have nothing to do.
func (s *State) pardonAll() {
	if s.now < s.pardonAt {
		return
	}
	s.pardonAt = never
	for _, j := range s.jobs {
		s.pardon(j)
		for _, f := range j.faults {
			if f.until > 0 {
				s.pardonAt = min(s.pardonAt, f.until)
			}
		}
	}
}

func (s *State) excluded(j *job, w *worker) bool {
	if j.banned == 0 {
		return false
	}
	f := j.faults[w.id]
	return f != nil && f.until > s.now
}

// pardon forgets workers whose time is over or that are gone, and, when more than a third of
// the workers is excluded because others have gone, those that have been for the longest.
func (s *State) pardon(j *job) {
	if j.banned == 0 {
		return
	}
	var left []*worker
	j.banned = 0
	for _, w := range s.workers {
		f := j.faults[w.id]
		if f == nil || f.until == 0 {
			continue
		}
		if f.until <= s.now {
			delete(j.faults, w.id)
			continue
		}
		left = append(left, w)
	}
	for id := range j.faults {
		if s.byID[id] == nil {
			delete(j.faults, id)
		}
	}
	slices.SortStableFunc(left, func(a, b *worker) int {
		return int(j.faults[b.id].until - j.faults[a.id].until)
	})
	for i, w := range left {
		if i < len(s.workers)/3 {
			j.banned++
		} else {
			delete(j.faults, w.id)
		}
	}
}
