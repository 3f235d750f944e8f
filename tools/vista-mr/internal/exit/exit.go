// Package exit holds the meaning of vista-mr's exit codes and decides which one an error gets.
//
// Invariant: a code is decided here and nowhere else. Code that knows in which role an error is met
// wraps it with As; an error that nobody has wrapped is an internal one.
//
// Callers: package run, which knows whether inputs or execution failed, and package cli. Nothing in
// here ends the process.
package exit

import (
	"context"
	"errors"
	"strings"
	"syscall"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// Class is the role in which an error is met.
type Class int

// The classes, with the exit codes that scripts rely on.
const (
	Internal    Class = 1   // a defect of the program, or an error that nobody foresaw
	Usage       Class = 2   // a bad command, flag or --set
	Invalid     Class = 3   // job file, model, weights, table header, output folder or a missing local input
	Infeasible  Class = 4   // no plan fits
	JobFailed   Class = 5   // damage, a broken budget or repeated failures found while running
	Unreachable Class = 6   // a remote store or tracker does not answer or refuses
	Killed      Class = 7   // somebody killed the job
	TimedOut    Class = 124 // wait gave up
)

type classed struct {
	class Class
	err   error
}

func (c *classed) Error() string { return c.err.Error() }
func (c *classed) Unwrap() error { return c.err }

// As puts an error into a class. The innermost class wins: who was nearest to the cause knew best.
func As(c Class, err error) error {
	var inner *classed
	if err == nil || errors.As(err, &inner) {
		return err
	}
	return &classed{c, err}
}

// Interrupted is the cause of a context that a signal has cancelled.
type Interrupted struct {
	Signal syscall.Signal
	Next   string // what to do next; empty: the same command again
}

func (i Interrupted) Error() string {
	if i.Signal == syscall.SIGTERM {
		return "terminated by a signal"
	}
	return "interrupted"
}

// ErrorID is the stable name of the failure.
func (i Interrupted) ErrorID() string { return "E-INTERRUPTED" }

// Hint says what to do next.
func (i Interrupted) Hint() string {
	if i.Next != "" {
		return i.Next
	}
	return "the same command continues where this one stopped; results are complete only when _SUCCESS is there"
}

// Code returns the exit code of an error: 0 for nil.
func Code(err error) int {
	if err == nil {
		return 0
	}
	var i Interrupted
	if errors.As(err, &i) {
		return 128 + int(i.Signal)
	}
	var c *classed
	if errors.As(err, &c) {
		return int(c.class)
	}
	return int(Internal)
}

// Cause replaces an error that a signal has brought about by the signal itself: once the context is
// cancelled, what operations report is how they noticed, not what happened.
func Cause(ctx context.Context, err error) error {
	var i Interrupted
	if errors.As(err, &i) && i.Next != "" { // who was interrupted knew better what to do
		return i
	}
	if err != nil && errors.As(context.Cause(ctx), &i) {
		return i
	}
	return err
}

// Running puts an error that is met while a job runs into its class, which follows from its kind alone.
// What validation could have found has been found before, so an Invalid here is about the data.
func Running(err error) error {
	switch errs.KindOf(err) {
	case errs.Unreachable:
		return As(Unreachable, err)
	case errs.Unauthorized:
		if remote(err) {
			return As(Unreachable, err)
		}
	case errs.Infeasible:
		return As(Infeasible, err)
	case errs.Internal, errs.Unknown:
		return As(Internal, err)
	}
	return As(JobFailed, err)
}

// Store puts what a remote store has answered while inputs were looked at into its class: nil if err is no such
// thing. A store that does not answer, or refuses, is no fault of the job file.
func Store(err error) error {
	var e *errs.Error
	if !errors.As(err, &e) || !remote(err) {
		return nil
	}
	switch errs.KindOf(e) { // its own advice is better than what was put around it
	case errs.Unreachable, errs.Unauthorized, errs.Transient:
		return As(Unreachable, e)
	case errs.Invalid, errs.NoSpace:
		return As(Invalid, e)
	}
	return nil
}

// remote tells whether an error names a place of a remote store. On the machine's own disks a refusal is about a file.
func remote(err error) bool {
	for e := (*errs.Error)(nil); errors.As(err, &e); err = e.Err {
		if scheme, _, _ := strings.Cut(e.Path, "://"); dfs.HasScheme(e.Path) && !strings.EqualFold(scheme, "file") {
			return true
		}
	}
	return false
}
