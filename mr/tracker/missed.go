package tracker

import (
	"slices"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/sched"
	"github.com/vista-mr/vista-mr/mr/worker"
)

// That a job or a phase has ended is told once to each worker that may have something of it, and is lost with a connection; and a tracker
// that takes over does not know whom the one before has told. So a worker names the jobs of which it has something on each new connection,
// and what it has missed is said again.

// missed tells a worker on a new connection of jobs and phases that have ended.
func (t *Tracker) missed(up sched.WorkerUp) {
	for _, h := range up.Jobs {
		switch j := t.jobs[h.Job]; {
		case j != nil:
			t.resume(j, up.Worker)
		case t.early[h.Job] == nil:
			t.send(up.Worker, worker.CloseJob{Job: h.Job})
		}
	}
}

// resume notes that a worker has something of a job already, and tells it which phase has ended last: that closes what those before it
// have left open, too.
func (t *Tracker) resume(j *job, w sched.WorkerID) {
	j.workers[w] = true
	if j.closed != nil {
		t.send(w, *j.closed)
	}
}

// closeHeld tells all workers that have something of a job which does not come.
func (t *Tracker) closeHeld(id mr.JobID) {
	for w, b := range t.workers {
		if t.jobs[id] == nil && b.holds(id) {
			t.send(w, worker.CloseJob{Job: id})
		}
	}
}

func (j *job) closes(id mr.PhaseID) *worker.ClosePhase {
	return &worker.ClosePhase{Job: j.spec.ID, Phase: id, KeepOpen: j.phases[id].KeepOpen}
}

// holds tells whether a worker had something of a job when it connected.
func (b *workerBook) holds(id mr.JobID) bool {
	return slices.ContainsFunc(b.up.Jobs, func(h sched.Holding) bool { return h.Job == id })
}
