package worker

import (
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/sched"
)

// Command is what a coordinator tells a worker. Commands that come twice, or speak of what is not there, do no harm.
type Command interface{ command() }

// The commands.
type (
	// Launch runs an attempt.
	Launch struct {
		Spec mr.TaskSpec `json:"spec"`
	}
	// Cancel stops an attempt and lets go of a partition that it has pinned. Nothing more is said of it. With a Reason it was
	// given up as if it had failed, and its log is kept.
	Cancel struct {
		Job     mr.JobID     `json:"job"`
		Attempt mr.AttemptID `json:"attempt"`
		Epoch   int64        `json:"epoch"`
		Reason  string       `json:"reason,omitempty"`
	}
	// ShowLog asks for the log of an attempt that runs, as it is now; the answer is a Report with a LogText, which bears the same
	// number.
	ShowLog struct {
		Number  uint64       `json:"number"`
		Job     mr.JobID     `json:"job"`
		Attempt mr.AttemptID `json:"attempt"`
		Epoch   int64        `json:"epoch"`
	}
	// Round asks for the sum of pinned partitions for a message; with Final, the partitions finish with it.
	Round struct {
		Job     mr.JobID   `json:"job"`
		Phase   mr.PhaseID `json:"phase"`
		Epoch   int64      `json:"epoch"`
		Number  int        `json:"number"`
		Final   bool       `json:"final,omitempty"`
		Tasks   []int      `json:"tasks"`
		Message []byte     `json:"-"`
	}
	// ClosePhase lets go of a phase's partitions and of shared resources that are not kept open.
	ClosePhase struct {
		Job      mr.JobID   `json:"job"`
		Phase    mr.PhaseID `json:"phase"`
		KeepOpen []string   `json:"keepOpen,omitempty"`
	}
	// CloseJob stops everything of a job.
	CloseJob struct {
		Job mr.JobID `json:"job"`
	}
)

func (Launch) command()     {}
func (Cancel) command()     {}
func (Round) command()      {}
func (ClosePhase) command() {}
func (CloseJob) command()   {}
func (ShowLog) command()    {}

// Report is what a worker tells: Succeeded, Failed, Opened, Closing, RoundDone, LoopFailed (a sum could not be
// merged) or Beat, and with RoundDone the sum; or, without an Event, a log that was asked for.
type Report struct {
	Event sched.Event
	Sum   []byte
	Log   *LogText
}

// LogText answers a ShowLog.
type LogText struct {
	Number uint64 `json:"number"`
	Runs   bool   `json:"runs"` // false: no such attempt runs here
	Text   []byte `json:"-"`
}
