package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/cluster"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/run"
)

// process returns a Process whose standard error is the buffer.
func process(stderr *bytes.Buffer) Process {
	return Process{Stdin: strings.NewReader(""), Stdout: &bytes.Buffer{}, Stderr: stderr, Env: func(string) string { return "" }, Exit: func(int) {}}
}

type hostile struct{}

func (hostile) Error() string   { return "column \"\x1b[2J\u202eevil\" of a.csv" }
func (hostile) ErrorID() string { return "E-HOSTILE" }
func (hostile) Hint() string    { return "remove \x07 it" }
func (hostile) Input() string   { return "b\r.jpg" }

func TestFailureIsSafeToPrint(t *testing.T) {
	var stderr bytes.Buffer
	a := &app{Process: process(&stderr)}
	a.fail(exit.As(exit.JobFailed, fmt.Errorf("stage: %w", hostile{})))
	for _, want := range []string{"error  E-HOSTILE  stage: column", "\ninput  b", "\nnext   remove"} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("no %q in\n%s", want, stderr.String())
		}
	}
	if strings.ContainsAny(stderr.String(), "\x1b\x07\r\u202e") {
		t.Errorf("control characters reach the terminal: %q", stderr.String())
	}
}

func TestDescribe(t *testing.T) {
	for _, c := range []struct {
		err  error
		id   string
		code int
	}{
		{errors.New("x"), "E-INTERNAL", 1},
		{fmt.Errorf("write: %w", syscall.ENOSPC), "E-NO-SPACE", 1},
		{exit.As(exit.JobFailed, &fs.PathError{Op: "open", Path: "x", Err: syscall.EACCES}), "E-PERMISSION", 5},
		{exit.As(exit.JobFailed, errs.E("open", errs.Transient, "x.csv", syscall.EMFILE)), "E-TOO-MANY-FILES", 5},
		{exit.As(exit.Invalid, &run.InputError{ID: "E-TABLE", Err: &fs.PathError{Op: "open", Path: "x", Err: syscall.ENFILE}}), "E-TOO-MANY-FILES", 3},
		{exit.As(exit.Usage, errors.New("x")), "E-USAGE", 2},
		{exit.Interrupted{Signal: syscall.SIGINT}, "E-INTERRUPTED", 130},
		{exit.As(exit.JobFailed, hostile{}), "E-HOSTILE", 5},
		{exit.As(exit.JobFailed, errs.E("read", errs.Corrupt, "x.avro", errors.New("damaged"))), "E-CORRUPT", 5},
		{exit.As(exit.Unreachable, errs.E("open", errs.Unauthorized, "x", errors.New("refused"))), "E-UNAUTHORIZED", 6},
		{exit.As(exit.Invalid, &run.ProblemsError{Problems: []error{hostile{}, errors.New("x")}}), "E-HOSTILE", 3},
	} {
		f := describe(c.err)
		if f.ID != c.id || f.ExitCode != c.code {
			t.Errorf("%v: %s, %d; want %s, %d", c.err, f.ID, f.ExitCode, c.id, c.code)
		}
		if f.Next == "" && c.id != "E-USAGE" {
			t.Errorf("%v: no next step", c.err)
		}
	}
}

// TestHeadline: what stands behind the id is what it is about, however many lines there are.
func TestHeadline(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{exit.As(exit.Invalid, errors.New("w.safetensors: 2 problems:\na is missing\nb is missing")),
			"error  E-INTERNAL  w.safetensors: 2 problems:\n       a is missing\n       b is missing\n"},
		{exit.As(exit.Invalid, &run.ProblemsError{Problems: []error{hostile{}, errors.New("x")}}),
			"x\nerror  E-HOSTILE  2 problems\n"},
		{errors.Join(errors.New("out: no space left"), errors.New("close: no room"), errors.New("out: no space left"), errors.New("close: no room")),
			"error  E-INTERNAL  out: no space left\n       close: no room\nnext"},
	} {
		var stderr bytes.Buffer
		a := &app{Process: process(&stderr)}
		a.fail(c.err)
		if !strings.Contains(stderr.String(), c.want) {
			t.Errorf("got\n%s\nwithout\n%s", stderr.String(), c.want)
		}
	}
}

func TestFailureJSON(t *testing.T) {
	var stderr bytes.Buffer
	a := &app{Process: process(&stderr), json: true}
	a.note("not shown")
	a.fail(exit.As(exit.Invalid, &run.ProblemsError{Problems: []error{hostile{}, errors.New("<x>")}}))
	var got struct {
		SchemaVersion int
		Error         failure
	}
	if err := json.Unmarshal(stderr.Bytes(), &got); err != nil {
		t.Fatalf("%v in %s", err, stderr.String())
	}
	if got.SchemaVersion != 1 || len(got.Error.Failures) != 2 || got.Error.Failures[1].Cause != "<x>" || got.Error.ExitCode != 3 {
		t.Errorf("got %+v", got)
	}
}

// What made a job fail is data, as much of it as people are shown.
func TestBadRecordsJSON(t *testing.T) {
	var stderr bytes.Buffer
	bad := &run.BadRecordsError{Err: errors.New("too many"), Causes: map[string]int64{"truncated": 200}}
	for i := range 200 {
		bad.First = append(bad.First, mr.BadRecord{Key: fmt.Sprint(i), Stage: "image", Cause: "truncated", Error: "a\n<b>.jpg: truncated"})
	}
	(&app{Process: process(&stderr), json: true}).fail(exit.As(exit.JobFailed, bad))
	var got struct{ Error failure }
	if err := json.Unmarshal(stderr.Bytes(), &got); err != nil {
		t.Fatalf("%v in %s", err, stderr.String())
	}
	// A tracker keeps it so, and whoever follows the job is told the same.
	var kept struct{ Error json.RawMessage }
	if err := json.Unmarshal(stderr.Bytes(), &kept); err != nil {
		t.Fatal(err)
	}
	over := cluster.Job{State: cluster.Failed, ExitCode: 5, Failure: kept.Error}.Outcome()
	if there := describe(over); !reflect.DeepEqual(there, got.Error) {
		t.Errorf("over a tracker:\n%+v\nwant\n%+v", there, got.Error)
	}
	if _, head, _ := headline(over, over.Error()); head != "too many; so far: 200 truncated" {
		t.Errorf("its headline is %q", head)
	}
	if e := got.Error; len(e.Records) != 100 || e.Records[99] != bad.First[99] || e.Causes["truncated"] != 200 || e.ID != "E-BAD-RECORDS" {
		t.Errorf("got %+v", e)
	}
}

func TestWantsJSON(t *testing.T) {
	for args, want := range map[string]bool{
		"submit f -o json": true, "submit f --output json": true, "submit -ojson f": true, "x --output=json": true, "x -o=json": true,
		"submit f -o text": false, "submit f": false, "submit -- -o json": false, "submit f -o": false, "submit json": false,
	} {
		if got := wantsJSON(strings.Fields(args)); got != want {
			t.Errorf("%q: %v, want %v", args, got, want)
		}
	}
}
