// Package local runs a job in this process: it drives package sched's state machine with real
// attempts, real rounds and the real store, on as many slots as it is given.
//
// Invariant: it decides nothing. Every launch, retry, publication and failure is an action of
// the state machine; this package carries it out and reports back what happened. A tracker
// drives the same machine over the network, so what holds here holds there.
//
// How it works:
//  1. One goroutine, Run's own, owns the state machine and takes events from one channel.
//  2. Each Launch, Publish, NextMessage and RunRound is a goroutine that sends events: RunRound one for each partition
//     that fails and one with the sum of the others, or in the last round one for each partition; the rest one. Run
//     receives until all of them have ended, so they never block for good.
//  3. Cancelling the context becomes a Kill event; Run then waits for every attempt to stop.
//
// Callers are the command line and tests. It keeps no state between runs; what a run leaves is
// in the store, and a later run is told what is already published.
package local
