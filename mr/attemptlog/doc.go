// Package attemptlog is what one attempt of a task logs: a text of bounded size, and the name under which it goes into the
// job's store.
//
// Invariant: a log never holds more than its first and its last lines, whatever an attempt says; what is left out between them is
// counted. No two attempts, of whatever coordinator, have the same file.
//
// An attempt that ended well, soon, at its first try and without a word of its own leaves no file: what is to be said of it is in
// its manifest and in the job's event log, and a million such tasks would be a million files of three lines.
//
// Callers: package worker has a Log for each attempt and writes it when it has ended; package task writes into it; whoever
// shows logs uses Find. The package starts nothing and writes no file.
package attemptlog
