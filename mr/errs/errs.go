// Package errs is the engine's error value: what was being done, to what, and of which kind
// the failure is.
//
// Invariant: only the kind decides what happens next. Whether an attempt is retried, whether
// it counts against its task, and with which status the program exits never depends on an
// error's text. A kind survives wrapping and the wire.
//
// Every package below mr returns these; packages outside mr have error types of their own,
// which KindOf takes for Invalid when they carry an id (they speak of the user's input) and
// for Unknown otherwise.
package errs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
)

// Kind classifies a failure.
type Kind uint8

// The kinds.
const (
	Unknown      Kind = iota
	NotExist          // the thing is not there
	Exist             // it is there already
	Invalid           // the user's input or configuration is wrong: trying again cannot help
	Corrupt           // stored data are damaged
	Transient         // may work when tried again
	Lost              // the worker that ran it is gone
	Preempted         // the worker was told to stop
	NoMemory          // did not fit into the memory allowed
	NoSpace           // a disk or quota is full
	Canceled          // somebody asked for it to stop
	Budget            // too many bad records
	Unauthorized      // a store or tracker refused the identity
	Unreachable       // a store or tracker does not answer
	Infeasible        // no plan fits
	Internal          // a defect of this program
	kinds
)

var names = [kinds]string{"unknown", "not-exist", "exist", "invalid", "corrupt", "transient", "lost", "preempted",
	"no-memory", "no-space", "canceled", "budget", "unauthorized", "unreachable", "infeasible", "internal"}

// String is the kind's name.
func (k Kind) String() string {
	if k < kinds {
		return names[k]
	}
	return "unknown"
}

// MarshalText writes the kind's name.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads a kind's name; one that a newer program may have invented is Unknown.
func (k *Kind) UnmarshalText(b []byte) error {
	*k = Unknown
	for i, n := range names {
		if n == string(b) {
			*k = Kind(i)
		}
	}
	return nil
}

// Error is a failure of the engine. Err is never nil in a value made by E.
type Error struct {
	Op   string // what was being done, one or two words
	Kind Kind
	ID   string // "E-..." for failures that a user meets; may be empty
	Path string // file or URI concerned; may be empty
	Task string // attempt concerned; may be empty
	Fix  string // what to do next; may be empty
	Err  error
}

// E makes an Error. With kind Unknown the kind of err is taken over.
func E(op string, kind Kind, path string, err error) error {
	if kind == Unknown {
		kind = KindOf(err)
	}
	if err == nil {
		err = errors.New(kind.String())
	}
	return &Error{Op: op, Kind: kind, Path: path, Err: err}
}

// Of is the outermost Error of err's chain, or an Error made of err: a failure as a value that can be sent. err is not nil.
func Of(op string, err error) *Error {
	var e *Error
	if !errors.As(err, &e) {
		errors.As(E(op, Unknown, "", err), &e)
	}
	return e
}

// Error prints operations from the outside in. A path or task that the cause names too is
// printed once, by the cause.
func (e *Error) Error() string {
	cause := e.Err.Error()
	var b strings.Builder
	for _, part := range []string{e.Task, e.Op, e.Path} {
		if part == "" || part != e.Op && strings.Contains(cause, part) {
			continue
		}
		if b.Len() > 0 {
			b.WriteString(": ")
		}
		b.WriteString(part)
	}
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	b.WriteString(cause)
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ErrorID is the id of the innermost error that has one, or one made of the kind.
func (e *Error) ErrorID() string {
	if e.ID != "" {
		return e.ID
	}
	var inner interface{ ErrorID() string }
	if errors.As(e.Err, &inner) {
		return inner.ErrorID()
	}
	return "E-" + strings.ToUpper(e.Kind.String())
}

// Hint says what to do next, or "".
func (e *Error) Hint() string {
	if e.Fix != "" {
		return e.Fix
	}
	var inner interface{ Hint() string }
	if errors.As(e.Err, &inner) {
		return inner.Hint()
	}
	return ""
}

// KindOf is the kind of the outermost Error in err's chain that knows it; errors of the
// standard library that mean one of the kinds are recognised.
func KindOf(err error) Kind {
	var e *Error
	cause := err // without the Errors around it
	for ; errors.As(cause, &e); cause = e.Err {
		if e.Kind != Unknown {
			return e.Kind
		}
	}
	var id interface{ ErrorID() string }
	switch {
	case err == nil:
		return Unknown
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return Canceled
	case errors.Is(err, fs.ErrNotExist):
		return NotExist
	case errors.Is(err, fs.ErrExist):
		return Exist
	case errors.Is(err, fs.ErrPermission):
		return Unauthorized
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return NoSpace
	case errors.As(cause, &id):
		return Invalid
	}
	return Unknown
}

// Is tells whether err is of kind k.
func Is(err error, k Kind) bool { return err != nil && KindOf(err) == k }

// wire is an Error as JSON: the chain of Errors, from the outside in, each with the text of its
// cause. What a cause names (the path of a damaged file, an attempt) must survive, because
// others act on it.
type wire struct {
	Op    string `json:"op,omitempty"`
	Kind  Kind   `json:"kind"`
	ID    string `json:"id,omitempty"`
	Path  string `json:"path,omitempty"`
	Task  string `json:"task,omitempty"`
	Fix   string `json:"fix,omitempty"`
	Text  string `json:"text"`
	Cause *wire  `json:"cause,omitempty"` // the next Error of the chain
}

// maxDepth bounds the chains that are written and read.
const maxDepth = 32

func (e *Error) wire(depth int) *wire {
	w := &wire{Op: e.Op, Kind: KindOf(e), ID: e.ErrorID(), Path: e.Path, Task: e.Task, Fix: e.Hint(), Text: KindOf(e).String()}
	if e.Err == nil {
		return w
	}
	w.Text = e.Err.Error()
	var inner *Error
	if depth < maxDepth && errors.As(e.Err, &inner) {
		w.Cause = inner.wire(depth + 1)
	}
	return w
}

// MarshalJSON writes the error with the text of its cause, and the Errors below it.
func (e *Error) MarshalJSON() ([]byte, error) { return json.Marshal(e.wire(1)) }

// caused is a cause that came over the wire: its text, and the Error inside it.
type caused struct {
	text  string
	inner *Error
}

func (c *caused) Error() string { return c.text }
func (c *caused) Unwrap() error { return c.inner }

func (w *wire) error(depth int) *Error {
	e := &Error{Op: w.Op, Kind: w.Kind, ID: w.ID, Path: w.Path, Task: w.Task, Fix: w.Fix, Err: errors.New(w.Text)}
	if w.Cause == nil || depth >= maxDepth {
		return e
	}
	inner := w.Cause.error(depth + 1)
	if e.Err = inner; inner.Error() != w.Text {
		e.Err = &caused{w.Text, inner}
	}
	return e
}

// UnmarshalJSON reads what MarshalJSON wrote; causes that are no Errors come back as text.
func (e *Error) UnmarshalJSON(b []byte) error {
	var w wire
	if err := json.Unmarshal(b, &w); err != nil {
		return fmt.Errorf("error value: %w", err)
	}
	*e = *w.error(1)
	return nil
}
