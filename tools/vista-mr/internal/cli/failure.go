package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"syscall"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/results"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/run"
	"github.com/vista-mr/vista-mr/vistaopt/explain"
)

// stdoutError says that standard output could not be written.
func stdoutError(err error) error { return exit.As(exit.JobFailed, &outputError{err}) }

// outputError is a failure to write standard output.
type outputError struct{ err error }

func (e *outputError) Error() string { return fmt.Sprintf("standard output: %v", e.err) }
func (e *outputError) Unwrap() error { return e.err }

// ErrorID tells a full disk from the rest.
func (e *outputError) ErrorID() string {
	if errs.Is(e.err, errs.NoSpace) {
		return "E-NO-SPACE"
	}
	return "E-WRITE"
}

// Hint says what to do next.
func (e *outputError) Hint() string {
	return "check where standard output goes, and that there is room"
}

// failure is what is shown of an error; its JSON form is an interface for scripts.
type failure struct {
	ID       string           `json:"id"`
	Cause    string           `json:"cause"`
	Input    string           `json:"input,omitempty"`
	Next     string           `json:"next,omitempty"`
	ExitCode int              `json:"exitCode"`
	Problems []conf.Problem   `json:"problems,omitempty"` // of a job file
	Records  []mr.BadRecord   `json:"records,omitempty"`  // of E-BAD-RECORDS: the first hundred
	Causes   map[string]int64 `json:"causes,omitempty"`   // of E-BAD-RECORDS: how many of each
	Failures []failure        `json:"failures,omitempty"` // if there are several
}

// describe finds id, input and next step in an error's chain. They are found by their methods, so that
// no package needs to know this one.
func describe(err error) failure {
	f := failure{ID: "E-INTERNAL", Cause: err.Error(), ExitCode: exit.Code(err)}
	var id interface{ ErrorID() string }
	if errors.As(err, &id) {
		f.ID = id.ErrorID()
	} else if f.ExitCode == int(exit.Usage) {
		f.ID, f.Next = "E-USAGE", "vista-mr --help"
	} else {
		f.ID, f.Next = system(err)
	}
	var hint interface{ Hint() string }
	if errors.As(err, &hint) && hint.Hint() != "" {
		f.Next = hint.Hint()
	}
	if f.Next == "" {
		f.Next = byKind[errs.KindOf(err)]
	}
	var input interface{ Input() string }
	if errors.As(err, &input) {
		f.Input = input.Input()
	}
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) { // whoever met it knows less of it
		f.ID, f.Next = "E-TOO-MANY-FILES", "raise the limit of open files (ulimit -n), then run the same command again"
	}
	var job *conf.Error
	if errors.As(err, &job) {
		f.Problems = job.Problems
	}
	var bad *run.BadRecordsError
	if errors.As(err, &bad) {
		f.Records, f.Causes = bad.Listed(), bad.Causes
	}
	var told interface{ Failure() json.RawMessage }
	var all failure
	if errors.As(err, &told) && json.Unmarshal(told.Failure(), &all) == nil { // of a tracker's job: what its driver has said
		f.Problems, f.Records, f.Causes, f.Failures = all.Problems, all.Records, all.Causes, all.Failures
	}
	var several *run.ProblemsError
	if errors.As(err, &several) {
		for _, p := range several.Problems {
			one := describe(exit.As(exit.Class(f.ExitCode), p))
			f.Failures = append(f.Failures, one)
		}
	}
	if f.Next == "" && (f.ID == "E-INTERNAL" || f.ID == "E-UNKNOWN") {
		f.Next = "this is a defect of vista-mr; please report it with the command and the lines above"
	}
	return f
}

// system names errors of the operating system that reach the edge as they are.
func system(err error) (id, next string) {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "E-NO-SPACE", "free space on the disk, then run the same command again"
	case errors.Is(err, fs.ErrPermission):
		return "E-PERMISSION", "check the permissions of the file"
	}
	return "E-INTERNAL", ""
}

// byKind is what to do about failures whose makers gave no advice.
var byKind = map[errs.Kind]string{
	errs.NotExist:     "check the path",
	errs.Exist:        "choose another output, or remove what is there",
	errs.Invalid:      "correct the input that is named, then run the same command again",
	errs.Corrupt:      "run the same command again: what is damaged is made anew; if it stays, check the disk",
	errs.Transient:    "run the same command again; it goes on where it stopped",
	errs.Lost:         "run the same command again; it goes on where it stopped",
	errs.Preempted:    "run the same command again; it goes on where it stopped",
	errs.NoMemory:     "set limits.memory higher, or plan.batch and plan.cpu lower",
	errs.NoSpace:      "free space on the disk that holds the output (or $TMPDIR), then run the same command again",
	errs.Unauthorized: "check who may read and write the place that is named",
	errs.Canceled:     "run the same command again; it goes on where it stopped",
	errs.Unreachable:  "check that the store or tracker runs and can be reached, then run the same command again",
}

// summarized is an error of many lines whose last line says it all; of others the first one does.
type summarized interface{ Summarized() }

// headline splits what is shown of a cause: the lines in front, the line that stands behind the id,
// and those that explain it. Of failures that came together each is said once.
func headline(err error, cause string) (before []string, head string, after []string) {
	lines := strings.Split(strings.TrimRight(cause, "\n"), "\n")
	var s summarized
	if last := len(lines) - 1; errors.As(err, &s) {
		return lines[:last], lines[last], nil
	}
	for _, l := range lines[1:] {
		if !strings.Contains(lines[0], l) && !slices.Contains(after, l) {
			after = append(after, l)
		}
	}
	return nil, lines[0], after
}

// fail shows why a command failed: the id first, so that it can be looked up, the cause, the first
// input concerned, and what to do next.
func (a *app) fail(err error) {
	f := describe(err)
	refused := &refusedError{}
	errors.As(err, &refused)
	if a.json {
		enc := json.NewEncoder(a.Stderr)
		enc.SetEscapeHTML(false)
		// Standard error is the last resort; an error of its own has nowhere to go.
		_ = enc.Encode(struct {
			SchemaVersion int     `json:"schemaVersion"`
			Error         failure `json:"error"`
			*explain.Refusal
		}{1, f, refused.shown})
		return
	}
	bold, plain := "", ""
	if a.colour() {
		bold, plain = "\x1b[1;31m", "\x1b[0m"
	}
	var b strings.Builder
	before, head, after := headline(err, f.Cause)
	for _, l := range before {
		b.WriteString(printable(l) + "\n")
	}
	fmt.Fprintf(&b, "%serror%s  %s  %s\n", bold, plain, f.ID, printable(head))
	for _, l := range after {
		b.WriteString("       " + printable(l) + "\n")
	}
	if refused.shown != nil {
		b.Write(refused.shown.Text())
	}
	if f.Input != "" && !strings.Contains(f.Cause, f.Input) {
		fmt.Fprintf(&b, "input  %s\n", printable(f.Input))
	}
	if f.Next != "" {
		fmt.Fprintf(&b, "next   %s\n", printable(f.Next))
	}
	_, _ = io.WriteString(a.Stderr, b.String())
}

// printable is results.Visible but for tabs, which lines of a job file have.
func printable(s string) string {
	parts := strings.Split(s, "\t")
	for i, p := range parts {
		parts[i] = results.Visible(p)
	}
	return strings.Join(parts, "\t")
}

// printJSON writes one object with its schemaVersion first.
func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
