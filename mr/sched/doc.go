// Package sched decides which attempts run where. It is a deterministic state machine:
// State.Step takes one event at one tick and returns the actions to carry out. It reads no
// clock, starts no goroutine, draws no random number and touches no file; package tracker
// does that for it, in a process of its own or, by package local, in the job's.
//
// Invariants:
//   - of every task at most one attempt is ever committed, and only its counters are summed;
//   - a phase starts when every phase that it reads, or stands after, is published;
//   - a worker never runs more attempts than it has slots, nor more memory than it has, those of jobs that are still expected among them;
//   - in every round each partition is counted exactly once;
//   - files that a manifest names were never given up for removal before it was committed;
//   - a result that is being made durable is not given up, and its task is not run again meanwhile;
//   - an answer to an earlier coordinator is never taken for one to this one;
//   - every job ends with one Done.
//
// A task goes through these states; what it is in follows from its fields:
//
//	idle ──launch──> running ──Succeeded──> committed
//	  ^  ^              │                       │
//	  │  └──its time────┤ Failed, lost          │ a reader found its file damaged
//	  │   waits (later) │                       │
//	  └─────────────────┴───────────────────────┘
//
// and a phase through these:
//
//	waiting ──all before it are published──> running ──all tasks committed──> publishing ──Published──> published
//	                                            ^   <──a file of it is damaged──┘                          │
//	                                            └───────────a file of it is damaged: the next revision──────┘
//
// What becomes of a failure depends on its kind alone (package errs); retry.go has the rules.
// Losses, preemptions and memory failures are not the task's fault and do not use up its
// attempts, but are bounded, so that nothing goes on for ever. Wrong input or a broken budget
// end the job at once. The same error twice on one task ends it too: a third try would only
// cost time. A result that could not be kept is neither its task's fault nor its worker's. A damaged file of the engine's own makes the task that wrote it run again, and the
// reader is not charged. What may pass by itself is tried again after a pause that doubles.
//
// A worker that was silent is taken for gone, and what it ran for lost. It may come back: it
// names what it runs, and each attempt is taken back or cancelled. So does every worker when
// another coordinator has taken over, which goes on from what the job's store keeps (package
// commit's journal) and from what workers name. Until a job has come that it expects, what workers run of
// it keeps its room (expected.go). Attempts carry
// the epoch of the coordinator that launched them, because each numbers them on its own.
//
// A rounds phase goes: launch every task, which pins its partition and gives its slot back
// (Opened); NextMessage and Message make a round's message; RunRound goes once to every worker
// with the partitions it has; RoundDone is accepted unless one of its partitions was counted
// before; when all are counted, the next message is made. A final message makes the tasks
// write their outputs and succeed. The partitions of a lost worker are pinned again elsewhere,
// and only what was not yet counted is asked for again.
//
// Words that the code uses in a sense of its own:
//
//	again     tasks that were launched before and are ready to be launched anew
//	later     those of them that wait for their time
//	hung      running, but its worker has said for too long that it does nothing; it is given up
//	held      running, but it has succeeded, and its result is being made durable
//	closing   running, but it only makes its files durable
//	parted    closing or held, and its slot is free again; a worker has as many of these as slots, and keeps the slots of more
//	adrift    held, and its worker is gone
//	lost      given up without knowing how it ended; it may still succeed, or be taken back
//	charge    count a failure that is not the task's own; there may be systemAttempts of them
//	judge     count a failure that is, and decide whether the task is tried again
//	blame     hold a failure against its worker, which is excluded from the job for a while
//	          when there are too many, and pardoned when that while is over
//	refused   by a worker that had no disk space or access for the task
//	mend      run the task again that wrote a damaged file
//	trouble   what is kept about a task that something went wrong with
//	shake     take what a stalled job waits for for lost
//	starved   a rounds phase wants room, and nothing is under way that would make some
//	refuse    end a job that was starved for too long
//	guest     an attempt of an expected job: it has its room, and nothing is decided about it
//	stranger  an attempt that a worker runs and should not
//
// Cost: a step costs what its actions cost, and a look at every worker for each launch. No
// event looks at every task, except a round's message (which names them all), the end of a
// phase or job, and damage to a file.
package sched
