package vistaopt

import (
	"fmt"

	"github.com/vista-mr/vista-mr/vistaopt/bytesize"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// Tracker is the process that training is driven in where attempts run in others: it has the optimizer's memory of the models
// in training, and each worker's sum of a round. Zero: training is driven where attempts run.
type Tracker struct {
	Memory int64 // bytes that it may take, for all jobs; 0: not known
	Jobs   int   // that run at once at most; 0 means 1
	Whole  int64 // bytes that its machine or control group has, for refusals; 0: not known
}

const (
	// A tracker keeps a quarter back, within bounds: for its program, books of jobs, tasks and workers and its page, and for
	// the drivers of jobs beside it, each of which holds a network's weights while it plans.
	trackerQuarter         = 4
	minTracker, maxTracker = 128 * mib, 2048 * mib
	trackerSum             = 24       // what each worker adds for a weight in training: its sum as it comes, and as it waits to be added
	trackerBooks           = 64 * mib // of what is kept back, what is on Go's heap
)

// Own is what a tracker keeps back, for itself and for drivers.
func (t Tracker) Own() int64 { return min(max(t.Memory/trackerQuarter, minTracker), maxTracker) }

// Driver is what each driver has of that, beside training: all jobs may be at the same point at once.
func (t Tracker) Driver() int64 { return t.Own() / int64(max(t.Jobs, 1)) }

// Share is what the training of one job may take of a tracker. All jobs that run at once have as much: none waits for another
// one's training, and together they stay within the memory whichever of them train, on no more workers than they were planned for (senders).
func (t Tracker) Share() int64 { return max(t.Memory-t.Own(), 0) / int64(max(t.Jobs, 1)) }

// Heap is the limit of Go's heap in a tracker; 0: none.
func (t Tracker) Heap() int64 {
	if t.Memory <= 0 {
		return 0
	}
	return max(t.Memory-t.Own(), 0) + trackerBooks
}

// with is the least memory of a tracker in which a job has so large a share.
func (t Tracker) with(share int64) int64 {
	all := share * int64(max(t.Jobs, 1))
	return min(max(all+minTracker, (all*trackerQuarter+trackerQuarter-2)/(trackerQuarter-1)), all+maxTracker)
}

// Driven is what the models of a training phase may take in the tracker, and what each of their weights does, in bytes. Zero:
// training is driven in a worker, and Room.Models has all.
type Driven struct{ Bytes, PerTraining, PerTrained, PerKept int64 }

// senders is how many workers a tracker is planned for: a power of two. So a plan holds, and stays the same for a driver
// that is started again, when some workers come or go.
func senders(workers int) int {
	n := 1
	for n < workers {
		n *= 2
	}
	return n
}

// driven is the tracker's side of a plan's training on so many workers.
func (j *job) driven(p plan.Plan, m Machine) Driven {
	if m.Tracker.Memory <= 0 {
		return Driven{}
	}
	w, workers := j.trained(p), senders(m.Workers)
	return Driven{Bytes: max(m.Tracker.Share()-j.moments(w, workers)-j.t.scores()*w.held(), 1), PerTraining: trainingBytes + trackerSum*int64(workers), PerTrained: trainedBytes, PerKept: keptBytes}
}

// most is how many weights may be in training at once, of a phase with so many in all models and in those that are kept; at
// most so many as are given.
func (d Driven) most(given, all, kept int64) int64 {
	if d.Bytes == 0 {
		return given
	}
	return min(given, (d.Bytes-all*d.PerTrained-kept*d.PerKept)/d.PerTraining)
}

// inTracker is what a tracker holds by the number of classes while one model at a time is trained.
func (j *job) inTracker(p plan.Plan, m Machine) Classes {
	d, w := j.driven(p, m), j.trained(p)
	return Classes{For: "training one model at a time in the tracker", Fixed: j.moments(w, senders(m.Workers)), PerClass: w.largest*d.PerTraining + w.fixed(),
		Of: m.Tracker.Share()}
}

// fitsTracker is nil if the tracker has room for one model at a time of a plan.
func (j *job) fitsTracker(p plan.Plan, m Machine) *TrackerError {
	if m.Tracker.Memory <= 0 {
		return nil
	}
	k := j.inTracker(p, m)
	if need := k.Fixed + k.PerClass*j.t.scores(); need > k.Of {
		return &TrackerError{Share: need, Needed: m.Tracker.with(need), Tracker: m.Tracker, Classes: j.t.Classes}
	}
	return nil
}

// TrackerError says that not even one model at a time can be trained within a job's share of the tracker's memory.
type TrackerError struct {
	Share   int64 // bytes that training takes there
	Needed  int64 // bytes of a tracker in which a job has as much
	Tracker Tracker
	Classes int // of the label; 0: not known
}

func (e *TrackerError) Error() string {
	return fmt.Sprintf("the plan does not fit: training one model at a time needs %s in the tracker, %s is available there for a job (of %s, where %d jobs may run at once)",
		bytesize.AtLeast(e.Share), bytesize.AtMost(e.Tracker.Share()), bytesize.AtMost(e.Tracker.Memory), max(e.Tracker.Jobs, 1))
}

// ErrorID is that of every plan that does not fit.
func (e *TrackerError) ErrorID() string { return "E-INFEASIBLE" }

// Hint says what to change. A tracker can be given what its machine has, and no more.
func (e *TrackerError) Hint() string {
	return e.larger() + ", or try fewer layers" + map[bool]string{true: ", classes"}[e.Classes > 2] + ", folds or grid values"
}

func (e *TrackerError) larger() string {
	const dev = " (a dev-cluster gives its tracker what the workers' --memory leaves of the machine)"
	whole := e.Tracker.Whole
	few := e.jobs(e.Tracker.Memory)
	if whole <= 0 || e.Needed <= whole {
		if few > 0 {
			return fmt.Sprintf("start the tracker with --memory %s or more%s, or with --jobs %d", bytesize.Flag(e.Needed), dev, few)
		}
		return fmt.Sprintf("start the tracker with --memory %s or more%s", bytesize.Flag(e.Needed), dev)
	}
	other := fmt.Sprintf("run the tracker on a machine, or in a control group, with %s or more: its own has %s", bytesize.AtLeast(e.Needed), bytesize.AtMost(whole))
	if few > 0 {
		return fmt.Sprintf("start the tracker with --jobs %d, or %s", few, other)
	}
	if few = e.jobs(whole); few > 0 {
		return fmt.Sprintf("start the tracker with --memory %s or more%s and --jobs %d, or %s", bytesize.Flag(Tracker{Jobs: few}.with(e.Share)), dev, few, other)
	}
	return other
}

// jobs is how many jobs, at most and fewer than now, a tracker of so much memory may run at once for each to have what is needed; 0: not even one.
func (e *TrackerError) jobs(memory int64) int {
	for n := e.Tracker.Jobs - 1; n >= 1; n-- {
		if (Tracker{Memory: memory, Jobs: n}).Share() >= e.Share {
			return n
		}
	}
	return 0
}
