package sched

import (
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// Tick is a moment in milliseconds since a start that the caller chose. It never goes back.
type Tick int64

// WorkerID names a process that runs attempts.
type WorkerID string

// Event is something that happened outside. Events that arrive late, twice, not at all or from
// workers already given up are legal and must do no harm.
//
// Attempts are named with their epoch: a coordinator that takes a job over numbers attempts on
// its own, and an answer to the one before must not be taken for one to it. What Running does
// not name of another epoch is discarded.
type Event interface{ event() }

// The events.
type (
	// WorkerUp announces a worker that runs Slots attempts at once in Memory bytes
	// (0: not limited). Host is its machine, for people, and Near how else Split.Hosts may name it; both may be empty. Whole is how many
	// bytes its machine or control group has, whatever of it the worker is to take, for people (0: not known). Keeps says that it has a cache
	// that can be written, for who plans jobs.
	// Announcing a known worker again says that it has another connection: what Running does not name
	// is lost, and rounds that are under way are asked for again. A process that starts anew is a
	// new worker with another id; one that was Gone names what still runs there, which is
	// then taken back or cancelled. An announcement belongs to the connection on which it is
	// made: it must not come after launches that it does not know of, and so neither twice
	// nor to another coordinator.
	WorkerUp struct {
		Worker  WorkerID
		Slots   int
		Memory  int64
		Whole   int64
		Keeps   bool
		Host    string
		Near    []string
		Running []Progress
		Jobs    []Holding // all jobs of which something is there, attempts or what they share
	}
	// WorkerDown says that a worker is gone; what ran there is lost.
	WorkerDown struct{ Worker WorkerID }
	// Beat is a sign of life with the progress of all attempts that run there. One that should
	// not run there is cancelled; one that should, and is not named for Options.Expire, is lost.
	Beat struct {
		Worker   WorkerID
		Progress []Progress
		Usage    Usage
	}
	// Alive says that a worker lives, of which little else may be heard: something large is under way from it, or to it. For as long as nothing
	// was heard of it, what runs there is neither missing nor hung nor stalled.
	Alive struct{ Worker WorkerID }
	// Submit starts a job, or goes on with one that an earlier coordinator left. Done lists
	// phases that are published: they are not run again. Committed lists results of tasks of
	// other phases, and Running the attempts that were launched and are not known to have
	// ended; both may be left out. (Package commit keeps the former, workers name the latter.) A task of Running is launched
	// again when its worker has not named it for Options.Expire. A coordinator that takes over
	// submits its jobs, or expects them, before it listens to workers: what is of no other job is cancelled.
	//
	// Epoch is the coordinator's, 0: Options.Epoch. A job that has ended is not run again in
	// the same epoch: its Done is said once more. (The last thousand ended jobs are known.)
	Submit struct {
		Job       mr.JobSpec
		Epoch     int64
		Done      []mr.PhaseManifest
		Committed []mr.Manifest
		Running   []Running
	}
	// Expect says that a job which an earlier coordinator had will be submitted. What workers name of it goes on, and keeps its room
	// there, until then or until Dismiss.
	Expect struct{ Job mr.JobID }
	// Dismiss says that an expected job will not be submitted after all: what workers run of it is cancelled.
	Dismiss struct{ Job mr.JobID }
	// Succeeded delivers a manifest. The first one of a task wins; later ones are discarded. Peak is what the worker's process has
	// held at most so far while the job was there, in bytes, 0 if that is not known; nothing is decided by it.
	Succeeded struct {
		Worker   WorkerID
		Job      mr.JobID
		Manifest mr.Manifest
		Peak     int64
	}
	// Closing says that an attempt has computed what it had to, and only makes its files durable: another one may have its slot. How it
	// ends is told as ever. It may be left out, and is for quick attempts.
	Closing struct {
		Worker  WorkerID
		Job     mr.JobID
		Attempt mr.AttemptID
		Epoch   int64
	}
	// Held says that an attempt has succeeded and that its result is being made durable: Succeeded or Failed follows, from whoever says
	// this, and not from the worker. Until then the attempt is neither lost nor hung nor slow, whatever becomes of its worker, and
	// another one may have its slot. Nothing becomes of it where no such attempt runs, nor in a rounds phase.
	Held struct {
		Job     mr.JobID
		Attempt mr.AttemptID
		Epoch   int64
	}
	// Failed delivers the error of an attempt. Its kind decides what happens next.
	Failed struct {
		Worker  WorkerID
		Job     mr.JobID
		Attempt mr.AttemptID
		Epoch   int64
		Err     *errs.Error
	}
	// Published confirms that the marker of a phase's revision stands.
	Published struct {
		Job      mr.JobID
		Phase    mr.PhaseID
		Revision int
	}
	// PublishFailed says that it could not be set.
	PublishFailed struct {
		Job      mr.JobID
		Phase    mr.PhaseID
		Revision int
		Err      *errs.Error
	}
	// Opened says that a rounds task has pinned its partition.
	Opened struct {
		Worker  WorkerID
		Job     mr.JobID
		Attempt mr.AttemptID
		Epoch   int64
	}
	// Message says that the loop has made the message of a round; Final means it goes to
	// Finish and the phase's tasks will end.
	Message struct {
		Job   mr.JobID
		Phase mr.PhaseID
		Round int
		Final bool
	}
	// RoundDone says that a worker has summed the named partitions for a round.
	RoundDone struct {
		Worker WorkerID
		Job    mr.JobID
		Phase  mr.PhaseID
		Epoch  int64 // of the RunRound
		Round  int
		Tasks  []int
	}
	// LoopFailed says that the loop gave up.
	LoopFailed struct {
		Job   mr.JobID
		Phase mr.PhaseID
		Err   *errs.Error
	}
	// Overtaken says that another coordinator has taken the job over: it ends here.
	Overtaken struct {
		Job mr.JobID
		Err *errs.Error
	}
	// Kill ends a job on request.
	Kill struct {
		Job    mr.JobID
		Reason string
	}
	// Time only lets time pass.
	Time struct{}
)

// Usage is what a worker's process holds, in bytes. Nothing is decided by it.
type Usage struct {
	Resident, Peak int64 // of its memory, now and at most so far
	Cached, Spilt  int64 // pinned partitions: in memory, and on its disk
	Budget         int64 // for those in memory
}

// Progress is how far an attempt is.
type Progress struct {
	Job         mr.JobID
	Attempt     mr.AttemptID
	Epoch       int64
	Done, Total int64
	Moves       int64 // grows with whatever the attempt does
	Pinned      bool  // a partition that is pinned: the same as Opened, which may have been lost
	Memory      int64 // bytes that the attempt may take
}

// Holding is a job of which a worker has something.
type Holding struct {
	Job    mr.JobID `json:"job"`
	Memory int64    `json:"memory,omitempty"` // bytes that it may take there, all attempts and what they share
}

// Running is an attempt that was launched.
type Running struct {
	Worker  WorkerID
	Attempt mr.AttemptID
	Epoch   int64
}

// Action is something that the caller must do. Actions of one step are to be carried out in
// their order; all of them may be carried out again after a restart.
type Action interface{ action() }

// The actions.
type (
	// Launch runs an attempt on a worker.
	Launch struct {
		Worker WorkerID
		Spec   mr.TaskSpec
	}
	// Cancel stops an attempt whose result is not wanted any more. No answer is expected. Reason says why it was given up
	// although nobody else has done its work; it is for people.
	Cancel struct {
		Worker  WorkerID
		Job     mr.JobID
		Attempt mr.AttemptID
		Epoch   int64
		Reason  string
	}
	// Gone says that a worker was silent for too long, and what ran there is taken for lost;
	// or that one that is not known gave a sign of life. If it lives, it must announce itself
	// (WorkerUp), with what it runs.
	Gone struct{ Worker WorkerID }
	// Publish makes a phase visible: write the manifest, claim the marker, then report
	// Published or PublishFailed with the manifest's revision. A revision above 0 outranks
	// what was published before: tasks ran again because files of theirs were damaged.
	Publish struct {
		Manifest mr.PhaseManifest
	}
	// NextMessage asks the loop of a phase for the message of a round, given the accepted
	// sums of the round before (none for round 0); the answer is Message or LoopFailed.
	NextMessage struct {
		Job   mr.JobID
		Phase mr.PhaseID
		Round int
	}
	// RunRound sends a round's message to a worker for the partitions it has pinned, all in
	// one go; the answer is RoundDone, or Failed for the attempt that failed.
	RunRound struct {
		Worker WorkerID
		Job    mr.JobID
		Phase  mr.PhaseID
		Epoch  int64
		Round  int
		Final  bool
		Tasks  []int
	}
	// AcceptSum says that the worker's sum for the round counts. A sum that is not accepted
	// must be thrown away: some partition in it was already counted.
	AcceptSum struct {
		Worker WorkerID
		Job    mr.JobID
		Phase  mr.PhaseID
		Round  int
		Tasks  []int
	}
	// DropFiles says that files of an earlier phase are not needed any more (PhaseSpec.Drop).
	DropFiles struct {
		Job   mr.JobID
		Phase mr.PhaseID
		Files []mr.PartFile
	}
	// ClosePhase tells every worker that a phase has ended: shared resources that are not
	// kept open, and pinned partitions, are let go.
	ClosePhase struct {
		Job   mr.JobID
		Phase mr.PhaseID
	}
	// Discard says that an attempt's files belong to nobody and may be removed. It may be said
	// more than once, and while the attempt still runs: its Cancel comes first.
	Discard struct {
		Job     mr.JobID
		Attempt mr.AttemptID
		Epoch   int64
	}
	// Done ends a job: Err is nil when every phase is published.
	Done struct {
		Job mr.JobID
		Err *errs.Error
	}
)

func (WorkerUp) event()      {}
func (WorkerDown) event()    {}
func (Beat) event()          {}
func (Submit) event()        {}
func (Alive) event()         {}
func (Expect) event()        {}
func (Dismiss) event()       {}
func (Succeeded) event()     {}
func (Closing) event()       {}
func (Held) event()          {}
func (Failed) event()        {}
func (Published) event()     {}
func (PublishFailed) event() {}
func (Opened) event()        {}
func (Message) event()       {}
func (RoundDone) event()     {}
func (LoopFailed) event()    {}
func (Overtaken) event()     {}
func (Kill) event()          {}
func (Time) event()          {}

func (Launch) action()      {}
func (Cancel) action()      {}
func (Publish) action()     {}
func (Gone) action()        {}
func (NextMessage) action() {}
func (RunRound) action()    {}
func (AcceptSum) action()   {}
func (DropFiles) action()   {}
func (ClosePhase) action()  {}
func (Discard) action()     {}
func (Done) action()        {}
