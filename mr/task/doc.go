// Package task runs one attempt: a mr.TaskSpec goes in, a mr.Manifest comes out.
//
// Invariant: an attempt touches nothing in the store but new files below its own Out folder,
// and what it wrote there means nothing until somebody commits the manifest it returned. An
// attempt that fails or is cancelled leaves at most unreferenced files, never a partial result.
//
// The in-process runner (package local), worker daemons and replays at a desk all call Run
// (or Open, for the pinned partitions of a rounds phase) on an Env, which holds what a process
// offers to all of its attempts. The package decides nothing: which attempts run, and what
// becomes of their manifests, is package sched's business.
//
// How a part file is read: block by block, each byte once, and what is read is summed up. A
// packed block's own checksum is compared before a record of it is used; at the end the whole
// file's length, checksum and records are compared with the manifest. An attempt that was given
// damaged records therefore fails before it commits anything, and always with errs.Corrupt.
package task
