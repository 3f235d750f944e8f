// Package local runs a job in this process: a tracker and one worker joined without a network, on the real
// store, on as many slots as it is given.
//
// Invariant: it decides nothing and does nothing of its own. What holds here for attempts, rounds and publications
// holds on a cluster, because the same tracker and the same worker do it there.
//
// Callers are the command line and tests. It keeps no state between runs; what a run leaves is
// in the store, and a later run is told what is already published.
package local
