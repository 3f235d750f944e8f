package local

import (
	"sync/atomic"

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
)

// Update is one thing that happened, for logs, progress lines and the event log. Only the
// fields that belong to its kind are set.
type Update struct {
	Kind        UpdateKind
	Phase       mr.PhaseID
	Attempt     mr.AttemptID
	Tasks       int               // of the phase
	Manifest    *mr.Manifest      // AttemptSucceeded
	Published   *mr.PhaseManifest // PhasePublished
	Done, Total int64             // PhaseProgress
	Round       int
	Seconds     float64
	Err         error
}

// meter holds an attempt's progress; it is set by the attempt and read by the loop.
type meter struct{ done, total atomic.Int64 }

func (m *meter) set(done, total int64) {
	m.done.Store(done)
	m.total.Store(total)
}

// observe tells the observer about an event before the state machine sees it.
func (r *runner) observe(ev sched.Event) {
	switch ev := ev.(type) {
	case sched.Succeeded:
		r.forget(ev.Manifest.Attempt)
		r.o.Observe(Update{Kind: AttemptSucceeded, Phase: ev.Manifest.Attempt.Task.Phase, Attempt: ev.Manifest.Attempt,
			Manifest: &ev.Manifest, Seconds: ev.Manifest.Seconds})
	case sched.Failed:
		r.forget(ev.Attempt)
		r.o.Observe(Update{Kind: AttemptFailed, Phase: ev.Attempt.Task.Phase, Attempt: ev.Attempt, Err: ev.Err})
	case sched.Published:
		r.o.Observe(Update{Kind: PhasePublished, Phase: ev.Phase, Published: r.published[ev.Phase]})
	}
}

// forget lets go of an attempt that has ended.
func (r *runner) forget(id mr.AttemptID) {
	if at := r.running[id]; at != nil {
		at.cancel()
		delete(r.running, id)
	}
}

// beat is the worker's sign of life, with the progress of its attempts.
func (r *runner) beat() sched.Event {
	beat := sched.Beat{Worker: worker}
	sums := map[mr.PhaseID]*Update{}
	for id, at := range r.running {
		done, total := at.meter.done.Load(), at.meter.total.Load()
		beat.Progress = append(beat.Progress, sched.Progress{Job: r.job.ID, Attempt: id, Epoch: r.o.Epoch, Done: done, Total: total})
		u := sums[id.Task.Phase]
		if u == nil {
			u = &Update{Kind: PhaseProgress, Phase: id.Task.Phase}
			sums[id.Task.Phase] = u
		}
		u.Done += done
		u.Total += total
	}
	for _, u := range sums {
		r.o.Observe(*u)
	}
	return beat
}
