package sched

import "github.com/vista-mr/vista-mr/mr"

// Snapshot is the Submit that makes another coordinator go on with a live job where this one
// stands; its Job.ID is empty if there is no such job. The caller sets the epoch. It costs a
// look at every task. A snapshot must not be older than the last Launch, Cancel or Discard that
// was carried out.
func (s *State) Snapshot(id mr.JobID) Submit {
	j := s.jobByID[id]
	if j == nil {
		return Submit{}
	}
	out := Submit{Job: j.spec}
	for _, p := range j.phases {
		if p.state == published {
			out.Done = append(out.Done, p.manifest)
			continue
		}
		for i := range p.tasks {
			t := &p.tasks[i]
			if t.manifest != nil {
				out.Committed = append(out.Committed, *t.manifest)
			}
			for _, a := range t.attempts {
				out.Running = append(out.Running, Running{a.worker.id, a.id(), a.epoch})
			}
			for _, l := range t.trouble.gone() {
				if l.worker != "" {
					out.Running = append(out.Running, Running{l.worker, mr.AttemptID{Task: mr.TaskID{Phase: p.spec.ID, Index: i}, Number: l.number}, l.epoch})
				}
			}
		}
	}
	return out
}

// Jobs are the live jobs in the order in which they came.
func (s *State) Jobs() []mr.JobID {
	out := make([]mr.JobID, len(s.jobs))
	for i, j := range s.jobs {
		out[i] = j.spec.ID
	}
	return out
}
