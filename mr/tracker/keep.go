package tracker

import (
	"github.com/vista-mr/vista-mr/mr/sched"
)

// What is kept of a task must never be a result whose files are being removed: a tracker that comes after would count on it. So
// of one task one result at a time is made durable, and only one that would count; and an attempt is discarded after what is
// being kept of its task is known to be kept or not. A store that hangs keeps a result for as long: the state machine is told
// (sched.Held), so that it does not take the attempt for lost, of which its worker says nothing any more.

// keeping is a task of which a result is being made durable, and what waits for that.
type keeping struct{ waiting []func() }

// keepOnce makes a result durable and has it counted, unless it would not count.
func (t *Tracker) keepOnce(j *job, ev sched.Succeeded, durable func()) {
	id := ev.Manifest.Attempt.Task
	t.step(sched.Held{Job: ev.Job, Attempt: ev.Manifest.Attempt, Epoch: ev.Manifest.Epoch})
	if k := j.keeping[id]; k != nil {
		k.waiting = append(k.waiting, func() { t.keepOnce(j, ev, durable) })
		return
	}
	if !t.counts(ev) {
		t.step(ev) // said before, or too late: its files are nobody's
		durable()
		return
	}
	k := &keeping{}
	j.keeping[id] = k
	t.keep(j, ev, func() {
		durable()
		delete(j.keeping, id)
		for _, f := range k.waiting {
			f()
		}
	})
}

// discardOnce removes the files of an attempt, and first what is kept of it.
func (t *Tracker) discardOnce(j *job, a sched.Discard) {
	if k := j.keeping[a.Attempt.Task]; k != nil {
		k.waiting = append(k.waiting, func() {
			if t.jobs[a.Job] == j { // a job that has ended takes all of its files along
				t.discardOnce(j, a) // one that waited longer may be keeping another result by now
			}
		})
		return
	}
	t.discard(j, a)
}
