// Package tracker drives jobs: it gives package sched's state machine real time, real workers and the real
// store.
//
// Words: a job here is a mr.JobSpec. The tracker daemon calls that a run, and a job what somebody has submitted to it, of which runs are made.
//
// Invariant: it decides nothing that the state machine decides. Every launch, retry, publication and failure
// is an action of the state machine, which this package carries out, reporting back what happened; and what a job
// has reached is durable (Publisher.Keep) before the state machine hears of it.
//
// How it works:
//  1. One goroutine owns the state machine and all books. Others hand it functions to call (post); the queue has
//     no bound, so nobody blocks, and what one goroutine posts is dealt with in its order.
//  2. Publishing, keeping and the loops of rounds phases run in goroutines of their own and post what came out.
//  3. Workers are Links: commands go in, reports come back. Package local's are in this process, package wire's far away.
//  4. Cancelling a job's context becomes a Kill event; Run returns when the job has ended and nothing of it is under way
//     here.
//
// Callers are package local (a tracker with one worker for one job) and the tracker daemon. It keeps nothing that a
// tracker after it would miss: that is in the store.
package tracker
