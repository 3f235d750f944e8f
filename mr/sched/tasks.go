package sched

import (
	"encoding/json"
	"fmt"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// schedule launches ready tasks while there are slots: jobs in the order in which they came,
// phases and tasks in theirs.
func (s *State) schedule() {
	for _, j := range s.jobs {
		for _, p := range j.phases {
			for p.state == running && len(p.ready) > 0 {
				w := s.place(p)
				if w == nil {
					break
				}
				i := p.ready[0]
				p.ready = p.ready[1:]
				s.launch(j, p, i, w)
			}
		}
	}
}

// place finds the worker with the largest share of free slots that has room for a task; of
// equals, the one that came first.
func (s *State) place(p *phase) *worker {
	var best *worker
	for _, w := range s.workers {
		if w.used >= w.slots && !s.o.rules.ignoreSlots {
			continue
		}
		if w.memory > 0 && w.held+p.spec.Memory > w.memory && w.held > 0 {
			// A task alone on its worker always runs: what does not fit there fits nowhere.
			continue
		}
		if best == nil || (w.slots-w.used)*best.slots > (best.slots-best.used)*w.slots {
			best = w
		}
	}
	return best
}

func (s *State) launch(j *job, p *phase, i int, w *worker) {
	t := &p.tasks[i]
	t.number++
	id := mr.AttemptID{Task: mr.TaskID{Phase: p.spec.ID, Index: i}, Number: t.number}
	a := &attempt{id: id, worker: w, memory: p.spec.Memory}
	t.attempts = append(t.attempts, a)
	w.running[runKey{j.spec.ID, id}] = a
	w.used++
	w.held += a.memory
	spec := mr.TaskSpec{
		Job: j.spec.ID, Attempt: id, Epoch: s.o.Epoch, Type: p.spec.Type, Kind: p.spec.Kind, Params: p.spec.Params,
		Out: OutFolder(j.spec.ID, id, s.o.Epoch), Inputs: resolve(j, p, i),
		Tasks: len(p.tasks), Partitions: p.spec.Partitions, Memory: p.spec.Memory, Halvings: t.halvings,
	}
	if len(p.spec.Splits) > 0 {
		spec.Split = &p.spec.Splits[i]
	}
	s.do(Launch{Worker: w.id, Spec: spec})
}

// resolve finds the files that task i of a phase reads.
func resolve(j *job, p *phase, i int) []mr.TaskInput {
	var out []mr.TaskInput
	for _, in := range p.spec.Inputs {
		ti := mr.TaskInput{Input: in}
		from := &j.byID[in.Phase].manifest
		switch in.Mode {
		case mr.All:
			ti.Files = from.Files(in.Channel)
		case mr.Same:
			if i < len(from.Tasks) {
				for _, f := range from.Tasks[i].Files {
					if f.Channel == in.Channel && len(f.Segments) == 0 {
						ti.Files = append(ti.Files, f)
					}
				}
			}
		case mr.Shuffled:
			for _, f := range from.Files("") {
				for _, seg := range f.Segments {
					if seg.Partition == i {
						g := f
						g.Segments = []mr.Segment{seg}
						ti.Files = append(ti.Files, g)
					}
				}
			}
		case mr.Values:
			ti.Values = make([]json.RawMessage, len(from.Tasks))
			for k := range from.Tasks {
				ti.Values[k] = from.Tasks[k].Value
			}
		}
		out = append(out, ti)
	}
	return out
}

// release takes an attempt off its worker and task.
func (s *State) release(j *job, t *task, a *attempt) {
	for i, v := range t.attempts {
		if v == a {
			t.attempts = append(t.attempts[:i:i], t.attempts[i+1:]...)
		}
	}
	key := runKey{j.spec.ID, a.id}
	if a.worker.running[key] != a {
		return
	}
	delete(a.worker.running, key)
	if !a.opened {
		a.worker.used--
	}
	a.worker.held -= a.memory
}

// find finds a running attempt of a task that exists.
func (p *phase) find(id mr.AttemptID) (*task, *attempt) {
	if id.Task.Index < 0 || id.Task.Index >= len(p.tasks) {
		return nil, nil
	}
	t := &p.tasks[id.Task.Index]
	for _, a := range t.attempts {
		if a.id == id {
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
	if t == nil {
		return
	}
	if a != nil {
		s.release(j, t, a)
	}
	if p.state != running && !s.o.rules.commitTwice || t.manifest != nil && !s.o.rules.commitTwice {
		if t.manifest == nil || t.manifest.Attempt != id { // not a second report of the winner
			if s.o.rules.loserCounts {
				j.add(ev.Manifest.Counters)
			}
			s.do(Discard{Job: ev.Job, Attempt: id})
		}
		return
	}
	if a == nil && t.manifest == nil {
		// It was given up (its worker was taken for lost) but has finished all the same. Its
		// files are whole and its name is its own, so nothing speaks against taking it; the
		// attempt that was launched in its place loses.
		s.unqueue(p, id.Task.Index)
	}
	m := ev.Manifest
	t.manifest = &m
	p.committed++
	j.add(m.Counters)
	for _, other := range append([]*attempt(nil), t.attempts...) {
		s.do(Cancel{Worker: other.worker.id, Job: ev.Job, Attempt: other.id})
		s.do(Discard{Job: ev.Job, Attempt: other.id})
		s.release(j, t, other)
	}
	if s.overBudget(j) {
		return
	}
	if p.committed == len(p.tasks) && p.state == running {
		p.state = publishing
		p.manifest.Tasks = make([]mr.Manifest, len(p.tasks))
		for i := range p.tasks {
			p.manifest.Tasks[i] = *p.tasks[i].manifest
		}
		s.do(Publish{Manifest: p.manifest})
	}
}

// unqueue takes a task out of those to be launched.
func (s *State) unqueue(p *phase, index int) {
	for i, v := range p.ready {
		if v == index {
			p.ready = append(p.ready[:i:i], p.ready[i+1:]...)
			return
		}
	}
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

func (s *State) failed(ev Failed) {
	j, p := s.phase(ev.Job, ev.Attempt.Task.Phase)
	if p == nil {
		return
	}
	t, a := p.find(ev.Attempt)
	if a == nil {
		return
	}
	s.release(j, t, a)
	s.do(Discard{Job: ev.Job, Attempt: ev.Attempt})
	if t.manifest != nil || p.state != running {
		return
	}
	if p.spec.Type == mr.RoundsPhase {
		p.loop.open[ev.Attempt.Task.Index] = false
	}
	if end := t.judge(ev.Err, j.maxAttempts()); end != nil {
		end.Task = ev.Attempt.String()
		s.end(j, end)
		return
	}
	if len(t.attempts) == 0 {
		p.ready = append([]int{ev.Attempt.Task.Index}, p.ready...)
	}
}

func (j *job) maxAttempts() int {
	if j.spec.MaxAttempts > 0 {
		return j.spec.MaxAttempts
	}
	return defaultAttempts
}

// judge counts a failure and returns the job's error if the task is not to be tried again.
func (t *task) judge(err *errs.Error, most int) *errs.Error {
	if err == nil {
		err = failure(errs.Unknown, "", fmt.Errorf("no reason was given"))
	}
	end := *err
	switch errs.KindOf(err) {
	case errs.Invalid, errs.Budget, errs.NoSpace, errs.Infeasible, errs.Unauthorized:
		return &end
	case errs.NoMemory:
		t.halvings++
		fallthrough
	case errs.Lost, errs.Preempted, errs.Canceled:
		if t.system++; t.system >= systemAttempts {
			end.Err = fmt.Errorf("given up after %d losses: %w", t.system, err.Err)
			return &end
		}
		return nil
	}
	t.failures++
	text := err.Err.Error()
	switch {
	case text == t.lastErr:
		end.Err = fmt.Errorf("the same error twice: %w", err.Err)
		return &end
	case t.failures >= most:
		end.Err = fmt.Errorf("failed %d times (limit %d): %w", t.failures, most, err.Err)
		return &end
	}
	t.lastErr = text
	return nil
}

func (s *State) published(ev Published) {
	j, p := s.phase(ev.Job, ev.Phase)
	if p == nil || p.state != publishing {
		return
	}
	p.state = published
	s.do(ClosePhase{Job: ev.Job, Phase: ev.Phase})
	for _, d := range p.spec.Drop {
		var files []mr.PartFile
		for _, t := range j.byID[d.Phase].manifest.Tasks {
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
