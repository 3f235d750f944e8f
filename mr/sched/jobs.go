package sched

import (
	"fmt"
	"slices"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// maxEndings is how many ended jobs are remembered.
const maxEndings = 1000

// endings remembers how jobs ended, so that a Submit that comes twice does no harm and one that
// comes too late is answered.
type endings struct {
	byID  map[mr.JobID]ending
	order []mr.JobID // from the oldest on
}

type ending struct {
	epoch int64
	err   *errs.Error
}

func (e *endings) add(id mr.JobID, epoch int64, err *errs.Error) {
	if e.byID == nil {
		e.byID = map[mr.JobID]ending{}
	}
	if _, known := e.byID[id]; !known {
		e.order = append(e.order, id)
	}
	e.byID[id] = ending{epoch, err}
	if len(e.order) > maxEndings {
		delete(e.byID, e.order[0])
		e.order = slices.Delete(e.order, 0, 1)
	}
}

func (s *State) submit(ev Submit) {
	id, epoch := ev.Job.ID, ev.Epoch
	if epoch == 0 {
		epoch = s.o.Epoch
	}
	if s.jobByID[id] != nil {
		return
	}
	if e, ok := s.ended.byID[id]; ok && epoch <= e.epoch {
		s.do(Done{Job: id, Err: e.err})
		return
	}
	if err := ev.Job.Validate(); err != nil {
		e := failure(errs.Invalid, "", err)
		s.ended.add(id, epoch, e)
		s.do(Done{Job: id, Err: e})
		return
	}
	j := &job{spec: ev.Job, epoch: epoch, used: map[*worker]int{}, byID: map[mr.PhaseID]*phase{}, sums: map[string]int64{}}
	for i := range j.spec.Phases {
		spec := &j.spec.Phases[i]
		p := &phase{spec: spec, tasks: make([]task, spec.NumTasks())}
		p.manifest = mr.PhaseManifest{Job: id, Phase: spec.ID, Epoch: epoch}
		j.phases = append(j.phases, p)
		j.byID[spec.ID] = p
	}
	for _, b := range j.spec.Budgets {
		for _, c := range []string{b.Counter, b.Of} {
			if !slices.Contains(j.judged, c) {
				j.judged = append(j.judged, c)
			}
		}
	}
	s.jobs = append(s.jobs, j)
	s.jobByID[id] = j
	s.move(j)
	if s.o.Stall > 0 {
		j.stall = s.o.Stall
		for i := range j.spec.Phases { // what an attempt is granted is granted to its job
			j.stall = max(j.stall, 2*Tick(j.spec.Phases[i].Timeout))
		}
		s.stallAt = min(s.stallAt, s.now+j.stall)
	}
	s.restore(j, ev)
	if s.overBudget(j) {
		return
	}
	s.start(j)
}

func (j *job) add(counters map[string]int64, sign int64) {
	for k, v := range counters {
		j.sums[k] += sign * v
	}
}

// start makes ready every phase that may run, and ends the job when all are published.
func (s *State) start(j *job) {
	left := 0
	for _, p := range j.phases {
		if p.state != published {
			left++
		}
		if p.state != waiting || !s.mayStart(j, p) {
			continue
		}
		p.state = running
		p.findNear()
		if p.spec.Type == mr.RoundsPhase {
			p.loop, p.pins = newLoop(len(p.tasks)), map[*worker]int{}
		}
		s.complete(j, p) // its tasks may have been restored
	}
	if left == 0 {
		s.end(j, nil)
	}
}

func (s *State) mayStart(j *job, p *phase) bool {
	if s.o.rules.startEarly {
		return true
	}
	for _, in := range p.spec.Inputs {
		if j.byID[in.Phase].state != published {
			return false
		}
	}
	for _, id := range p.spec.After {
		if j.byID[id].state != published {
			return false
		}
	}
	return true
}

// end ends a job: what runs is cancelled and discarded, and so is what was lost; what is open is
// closed, and Done is said once.
func (s *State) end(j *job, err *errs.Error) {
	if i := slices.Index(s.jobs, j); i >= 0 {
		s.jobs = slices.Delete(s.jobs, i, i+1)
	}
	delete(s.jobByID, j.spec.ID)
	s.ended.add(j.spec.ID, j.epoch, err)
	for _, p := range j.phases {
		open := p.state == running || p.state == publishing
		for i := range p.tasks {
			t := &p.tasks[i]
			for _, a := range slices.Clone(t.attempts) {
				s.cancel(a)
				s.discard(j, a.p, a.index, a.try())
				s.release(t, a)
			}
			s.discardLost(j, p, i, try{})
		}
		if open {
			s.do(ClosePhase{Job: j.spec.ID, Phase: p.spec.ID})
		}
	}
	for _, w := range s.workers {
		delete(w.jobs, j)
	}
	s.do(Done{Job: j.spec.ID, Err: err})
}

// OutFolder is where an attempt of an epoch writes. No two attempts have the same.
func OutFolder(job mr.JobID, a mr.AttemptID, epoch int64) dfs.Path {
	return dfs.Path(fmt.Sprintf("%s/%s/%05d-%d-e%d", job, mr.FileName(string(a.Task.Phase)), a.Task.Index, a.Number, epoch))
}
