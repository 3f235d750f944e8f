// Package cputime tells how much processor time a process has taken, for benchmarks.
//
// Invariant: it never decreases. Where the system does not tell, it is 0. Its callers are benchmarks of packages tracker, wire and run;
// nothing else of mr needs it, and it knows no other package.
package cputime
