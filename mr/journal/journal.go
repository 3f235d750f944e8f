// Package journal is a job's event log: one JSON object a line, appended as things happen, from
// which the job's page can be shown again after the fact.
//
// Invariant: a line is whole or is the last one of its run. Writers append whole lines; readers
// pass over a last line without an end, and over one that is cut off where the next run begins:
// a crash has done that. They report any other damage, down to a single byte: each line begins
// with its length and checksum, so that one that was damaged is not taken for one that was cut off.
//
// The in-process runner writes it through a thin adapter; readers are status commands and
// pages. It holds no results and no counters that were not committed.
package journal

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/invopop/jsonschema"
)

// SchemaVersion is that of the events written. Since 2 every line has a check.
const SchemaVersion = 2

// Event is one line. Only the fields that belong to its kind are there.
type Event struct {
	Check    string           `json:"check,omitempty" jsonschema_description:"First on each line: number of bytes and CRC32C, both in hexadecimal, of the line without this field and its comma."`
	Schema   int              `json:"schemaVersion,omitempty" jsonschema_description:"On the first line of each run: version of the format."`
	Time     time.Time        `json:"time" jsonschema_description:"When it happened."`
	Kind     string           `json:"kind" jsonschema:"enum=job-started,enum=phase-started,enum=attempt-started,enum=attempt-succeeded,enum=attempt-failed,enum=round-done,enum=phase-published,enum=plan-corrected,enum=job-done" jsonschema_description:"What happened."`
	Job      string           `json:"job,omitempty" jsonschema_description:"Id of the job."`
	Phase    string           `json:"phase,omitempty" jsonschema_description:"Name of the phase."`
	Tasks    int              `json:"tasks,omitempty" jsonschema_description:"Number of tasks of the phase."`
	Attempt  string           `json:"attempt,omitempty" jsonschema_description:"PHASE/TASK/NUMBER of the attempt."`
	Round    int              `json:"round,omitempty" jsonschema_description:"Number of the round, from 0."`
	Seconds  float64          `json:"seconds,omitempty" jsonschema_description:"How long it took."`
	Counters map[string]int64 `json:"counters,omitempty" jsonschema_description:"Counters of a committed attempt."`
	Bytes    int64            `json:"bytes,omitempty" jsonschema_description:"Bytes that a committed attempt wrote."`
	Error    string           `json:"error,omitempty" jsonschema_description:"What went wrong."`
	Cause    string           `json:"cause,omitempty" jsonschema_description:"Kind of the error, which decides what happens next."`
	Plan     string           `json:"plan,omitempty" jsonschema_description:"The plan that runs, in one line."`
	Note     string           `json:"note,omitempty" jsonschema_description:"What was found out while the job ran, and what was decided."`
	Expected float64          `json:"expected,omitempty" jsonschema_description:"Rate that the plan was made with, in images or tasks a second."`
	Measured float64          `json:"measured,omitempty" jsonschema_description:"Rate that takes its place."`
	Resident int64            `json:"resident,omitempty" jsonschema_description:"Resident memory of the process in bytes."`
}

// Writer appends events. It may be used by several goroutines.
type Writer struct {
	mu  sync.Mutex
	w   io.Writer
	now func() time.Time
	err error
}

// NewWriter appends to w, whose Write must take whole lines at once (as files opened for
// appending do).
func NewWriter(w io.Writer, now func() time.Time) *Writer { return &Writer{w: w, now: now} }

// Append writes one event with the time of now. After an error it does nothing; Err has it.
func (w *Writer) Append(e Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return
	}
	e.Time = w.now().UTC()
	e.Check = ""
	body, err := json.Marshal(&e)
	if err == nil {
		_, err = w.w.Write(withCheck(body))
	}
	if err != nil {
		w.err = fmt.Errorf("event log: %w", err)
	}
}

// Err is the first error.
func (w *Writer) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// maxLine bounds what Read takes for a line.
const maxLine = 16 << 20

// Read calls f for each event. A torn last line, of the log or of a run that was gone on with,
// is not an error.
func Read(r io.Reader, f func(Event) error) error {
	in := bufio.NewReaderSize(r, 64<<10)
	var torn error   // the line before looks as if it had been cut off, which a run's last one may be
	checked := false // lines of this run have checks
	for n := 1; ; n++ {
		line, err := readLine(in)
		last := errors.Is(err, io.EOF)
		if err != nil && !last {
			return errors.Join(torn, fmt.Errorf("event log: line %d: %w", n, err))
		}
		if last && (len(line) == 0 || !checked && !bytes.HasPrefix(line, []byte(checkPrefix))) {
			return torn // what is left of the last line was never written whole
		}
		e, cut, err := parse(bytes.TrimSuffix(line, []byte("\n")), checked)
		if err != nil {
			err = fmt.Errorf("event log: line %d: %w", n, err)
		}
		switch {
		case torn != nil && (err != nil || e.Schema == 0):
			return torn
		case err != nil && !cut:
			return err
		case err != nil && last:
			return nil
		case err != nil:
			torn = err
			continue
		}
		torn = nil
		if e.Schema > 0 {
			checked = e.Schema > 1
		}
		if err := f(e); err != nil || last {
			return err
		}
	}
}

func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return line, err
		case len(line) > maxLine:
			return nil, fmt.Errorf("more than %d bytes", maxLine)
		}
	}
}

// EndsWhole tells whether a log ends with a whole line. A writer that goes on with one that
// does not must begin a new line first, and with it a run: its first event says the schema.
func EndsWhole(r io.ReaderAt, size int64) (bool, error) {
	if size == 0 {
		return true, nil
	}
	var last [1]byte
	if _, err := r.ReadAt(last[:], size-1); err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	return last[0] == '\n', nil
}

// Schema is the JSON Schema (draft-07) of an event.
func Schema() ([]byte, error) {
	r := &jsonschema.Reflector{DoNotReference: true, ExpandedStruct: true}
	s := r.Reflect(&Event{})
	s.Version = "http://json-schema.org/draft-07/schema#"
	s.ID = ""
	s.Title = "One line of events.jsonl"
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(bytes.TrimSpace(b), '\n'), nil
}
