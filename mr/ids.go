package mr

import (
	"fmt"
	"strconv"
	"strings"
)

// JobID names one run of a job, and its folder in the store. Whoever submits a job makes it: the command line from
// the job's name and digest, so that the same job finds what an interrupted run has left.
type JobID string

// PhaseID names a phase within its job, for instance "extract".
type PhaseID string

// TaskID names one task of a phase.
type TaskID struct {
	Phase PhaseID
	Index int
}

// String is PHASE/INDEX with five digits, for instance "extract/00007".
func (t TaskID) String() string { return string(t.append(nil)) }

// append is quicker than fmt: a tracker writes several ids for each attempt.
func (t TaskID) append(b []byte) []byte {
	if b == nil {
		b = make([]byte, 0, len(t.Phase)+16)
	}
	b = append(append(b, t.Phase...), '/')
	for k := 10_000; k > 1 && t.Index >= 0 && t.Index < k; k /= 10 {
		b = append(b, '0')
	}
	return strconv.AppendInt(b, int64(t.Index), 10)
}

// AttemptID names one try at a task; numbers start at 1 and are never used twice.
type AttemptID struct {
	Task   TaskID
	Number int
}

// String is PHASE/INDEX/NUMBER, for instance "extract/00007/2".
func (a AttemptID) String() string { return string(a.append()) }

func (a AttemptID) append() []byte {
	return strconv.AppendInt(append(a.Task.append(nil), '/'), int64(a.Number), 10)
}

// MarshalText makes a TaskID usable as a JSON string and map key.
func (t TaskID) MarshalText() ([]byte, error) { return t.append(nil), nil }

// UnmarshalText reads what MarshalText wrote.
func (t *TaskID) UnmarshalText(b []byte) error {
	phase, index, ok := cutLast(string(b))
	n, err := strconv.Atoi(index)
	if !ok || phase == "" || err != nil || n < 0 {
		return fmt.Errorf("task id %q is not PHASE/INDEX", b)
	}
	*t = TaskID{Phase: PhaseID(phase), Index: n}
	return nil
}

// MarshalText makes an AttemptID usable as a JSON string and map key.
func (a AttemptID) MarshalText() ([]byte, error) { return a.append(), nil }

// UnmarshalText reads what MarshalText wrote.
func (a *AttemptID) UnmarshalText(b []byte) error {
	task, number, ok := cutLast(string(b))
	n, err := strconv.Atoi(number)
	if !ok || err != nil || n < 1 {
		return fmt.Errorf("attempt id %q is not PHASE/INDEX/NUMBER", b)
	}
	a.Number = n
	return a.Task.UnmarshalText([]byte(task))
}

func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, '/')
	if i < 0 {
		return "", "", false
	}
	return s[:i], s[i+1:], true
}

// FileName makes an element of a path of any name: bytes outside [A-Za-z0-9._-] are written
// %XX. Phases and channels are named after layers, whose names may hold slashes.
func FileName(name string) string {
	var b strings.Builder
	for _, c := range []byte(name) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
