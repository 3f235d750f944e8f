// Package worker runs the attempts that a coordinator sends to one process, and tells it what became
// of them.
//
// Invariant: a worker decides nothing. It does what Commands say, in their order, and every attempt that it
// was told to launch ends with one Succeeded or Failed, unless it was told to give it up. What it runs
// is what its signs of life name, so that whoever listens can rely on them. An attempt that ends when its job's folder is gone
// leaves nothing in the store.
//
// How it works: Do takes a command and does not wait; each launch is a goroutine. Reports go out in the order
// in which things happened, through a function that must not block. Rounds over pinned partitions use as
// many goroutines as there are slots, and leave one sum.
//
// Callers: package local joins one with a tracker in the same process; the worker daemon joins one with a tracker far
// away (package wire). It knows neither the scheduler's state nor how reports travel.
package worker
