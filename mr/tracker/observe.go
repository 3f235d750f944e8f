package tracker

import (
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/sched"
)

// UpdateKind says what an Update tells.
type UpdateKind string

// The kinds of update.
const (
	AttemptStarted   UpdateKind = "attempt-started"
	AttemptSucceeded UpdateKind = "attempt-succeeded"
	AttemptFailed    UpdateKind = "attempt-failed"
	PhasePublished   UpdateKind = "phase-published"
	PhaseProgress    UpdateKind = "phase-progress" // Done and Total are of running attempts
	RoundDone        UpdateKind = "round-done"
	JobDone          UpdateKind = "job-done"
	// What an earlier run of the job has left, said before anything else.
	PhaseRestored UpdateKind = "phase-restored" // Published
	TaskRestored  UpdateKind = "task-restored"  // Manifest
)

// Update is one thing that happened to a job, for logs, progress lines and the event log. Only the
// fields that belong to its kind are set.
type Update struct {
	Kind        UpdateKind
	Phase       mr.PhaseID
	Attempt     mr.AttemptID
	Worker      sched.WorkerID
	Tasks       int               // of the phase
	Manifest    *mr.Manifest      // AttemptSucceeded
	Published   *mr.PhaseManifest // PhasePublished
	Done, Total int64             // PhaseProgress
	Round       int
	Seconds     float64
	Peak        int64 // AttemptSucceeded: bytes that its worker's process has held at most so far while the job was there; 0: not known
	Err         error
}

// counts tells whether an event is a result that the state machine is about to count. One that is told again, or that came too
// late, is not.
func (t *Tracker) counts(ev sched.Event) bool {
	e, ok := ev.(sched.Succeeded)
	return ok && t.state.Wants(e.Job, e.Manifest.Attempt, e.Manifest.Epoch)
}

// observe tells a job's observer about an event; a result only if it counts.
func (t *Tracker) observe(ev sched.Event, counts bool) {
	switch ev := ev.(type) {
	case sched.Succeeded:
		j := t.jobs[ev.Job]
		if j == nil || !counts {
			return
		}
		j.o.Observe(Update{Kind: AttemptSucceeded, Phase: ev.Manifest.Attempt.Task.Phase, Attempt: ev.Manifest.Attempt, Worker: ev.Worker,
			Manifest: &ev.Manifest, Seconds: ev.Manifest.Seconds, Peak: ev.Peak})
	case sched.Failed:
		if j := t.jobs[ev.Job]; j != nil {
			j.o.Observe(Update{Kind: AttemptFailed, Phase: ev.Attempt.Task.Phase, Attempt: ev.Attempt, Worker: ev.Worker, Err: ev.Err})
		}
	case sched.Published:
		if j := t.jobs[ev.Job]; j != nil {
			j.o.Observe(Update{Kind: PhasePublished, Phase: ev.Phase, Published: j.published[ev.Phase]})
		}
	}
}

// showProgress tells a job's observer how far what runs is, over all workers.
func (t *Tracker) showProgress(j *job) {
	sums := map[mr.PhaseID]*Update{}
	for _, b := range t.workers {
		for _, p := range b.progress {
			if p.Job != j.spec.ID || p.Pinned {
				continue
			}
			u := sums[p.Attempt.Task.Phase]
			if u == nil {
				u = &Update{Kind: PhaseProgress, Phase: p.Attempt.Task.Phase}
				sums[p.Attempt.Task.Phase] = u
			}
			u.Done += p.Done
			u.Total += p.Total
		}
	}
	for _, u := range sums {
		j.o.Observe(*u)
	}
}
