// Package status is the tracker's page: what a person sees of jobs, their phases and attempts, and workers. The pages are
// made here, on the server, from what a Source says; everything that they show is also to be had at /api/v1.
//
// Invariants: a page asks no other host for anything and holds no script or style of its own, so that its content-security policy
// can forbid them; it works without script and under any prefix, because its links are relative; what it shows is bounded, and says
// where it is; and text of jobs, workers and logs is text, whatever it holds.
//
// Callers: the tracker daemon, which decides who may look and who may change.
package status
