package ort

import (
	"fmt"
	"strings"
)

// Error is a failure of the runtime, of its library or of a program.
type Error struct {
	Op   string // what was being done
	ID   string // stable, "E-ORT..."
	Fix  string // what to do next
	Err  error
	full bool
}

// The ids under which users meet the runtime's failures.
const (
	idLibrary = "E-ORT-LIB"     // there is no library, or it cannot be loaded
	idVersion = "E-ORT-VERSION" // it is not a version that fits
	idModel   = "E-ORT-MODEL"   // it refuses a program
	idMemory  = "E-ORT-MEMORY"  // the memory limit was met
	idRun     = "E-ORT"         // anything else
)

// Error describes the failure.
func (e *Error) Error() string { return fmt.Sprintf("ONNX Runtime: %s: %v", e.Op, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ErrorID is the stable id of this kind of failure.
func (e *Error) ErrorID() string { return e.ID }

// Hint says what to do next.
func (e *Error) Hint() string { return e.Fix }

// OutOfMemory tells whether the memory limit was met: a smaller batch may work.
func (e *Error) OutOfMemory() bool { return e.full }

// fail makes an Error of what the runtime has answered. Its binding knows no kinds of failure, only texts, so that
// lack of memory is told by what the arena and the C++ library say of it.
func fail(op, id, fix string, err error) error {
	if err == nil {
		return nil
	}
	e := &Error{Op: op, ID: id, Fix: fix, Err: err}
	text := err.Error()
	for _, sign := range []string{"Failed to allocate memory", "BFCArena", "bad_alloc", "Available memory of"} {
		if strings.Contains(text, sign) {
			e.full, e.ID, e.Fix = true, idMemory, "run with a smaller batch (plan.batch) or more memory (limits.memory)"
		}
	}
	if strings.Contains(text, "bad_alloc") { // not the arena has said no, but the system
		e.Fix = "the system gives no more memory: raise its limit (ulimit -d or ulimit -v), or run with fewer images at a time (plan.cpu, plan.batch)"
	}
	return e
}
