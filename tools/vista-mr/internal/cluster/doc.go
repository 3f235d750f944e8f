// Package cluster is vista-mr on several machines: the tracker daemon, the worker daemon, and the client that the commands
// use to talk to a tracker.
//
// Words: here a job is what somebody has submitted, with an id of this tracker's; a run is what its drivers hand in, which package mr calls a job
// (mr.JobSpec, mr.JobID). A job has one run, or more if it was begun anew; one that has never got so far has none.
//
// Invariant: the tracker runs no code of a job. For each job it starts a driver, which is this same program: it checks, plans and
// publishes the job as it would on one machine, and has the job's phases run by the tracker's workers. A driver that dies is
// started again; one whose tracker dies ends, and the next tracker starts another. What a job has reached is in the job's own store.
//
// How a job goes:
//  1. A client posts the job file's text and its overrides. The tracker writes them into its state, and answers with the job's id.
//  2. When there is room, the tracker starts a driver. Its progress, its log and how it ended come from there.
//  3. The driver posts phases to package wire's Runs, and the tracker's workers run them.
//  4. How the job ended goes into the state; results are in the job's output.
//
// Layout of the state: epochs/NNNNNNNNNN, jobs/ID/job.json, jobs/ID/runs/NAME (what its driver has had run), jobs/ID/started.json (when
// it began for the first time), jobs/ID/killed (somebody has killed it), jobs/ID/ended-EPOCH.json, jobs/ID/adopted-EPOCH (a later tracker goes on with it).
//
// Callers: package cli. Who may call the tracker is decided in one place, guard.
package cluster
