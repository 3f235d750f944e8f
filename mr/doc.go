// Package mr is the vocabulary of the MapReduce engine: jobs, phases, tasks, attempts,
// splits, part files, manifests, counters, and the few interfaces that job authors
// implement (Mapper, Reducer, Rounds, Loop).
//
// A job is a chain of phases. A map phase runs one task per split or per input partition;
// it writes part files to named channels, or key-value pairs to the shuffle. A reduce
// phase runs one task per shuffle partition. A rounds phase pins its partitions in memory
// and is asked, round after round, for one partial sum each. What a task runs is named by
// a kind and its parameters, which are data: never a closure, a command or a path outside
// the stores that the job names.
//
// Invariant: an attempt is data. A TaskSpec goes in, a Manifest comes out, and nothing else
// is shared but the store; so any launcher (the in-process runner, a worker daemon, a person
// at a shell) can run an attempt, and a failed one can be replayed. Both are plain JSON.
//
// The package holds no behaviour beyond validation and naming. Package sched decides which
// attempts run, package task runs one, package commit publishes a phase, package local
// drives them all in one process. It knows no CNN and no table.
package mr
