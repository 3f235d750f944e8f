package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/local"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
)

// Names of files in a job's output.
const (
	MarkerFile  = "_job.json"    // says whose output this is; written first
	SuccessFile = "_SUCCESS"     // written last; without it the output is not complete
	ResultsFile = "results.json" // package results
)

// marker is the content of MarkerFile.
type marker struct {
	SchemaVersion int    `json:"schemaVersion"`
	Name          string `json:"name"`
	Digest        string `json:"digest"` // conf.Job.Digest
}

// OutputState is what CheckOutput finds.
type OutputState int

// The states of an output folder that a job may write to.
const (
	OutputNew        OutputState = iota // absent or empty
	OutputUnfinished                    // this job's own unfinished run
)

// InputError is something wrong with a file or folder that the job file names.
type InputError struct {
	ID    string // stable, "E-..."
	Key   string // key of the job file
	Path  string
	Cause string
	Next  string
	Err   error // may be nil
}

func (e *InputError) Error() string {
	s := fmt.Sprintf("%s: %s: %s", e.Key, e.Path, e.Cause)
	if e.Err != nil {
		s += ": " + reason(e.Err)
	}
	return s
}

// reason drops the operation and path that the operating system's errors repeat.
func reason(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

// Unwrap returns the operating system's error.
func (e *InputError) Unwrap() error { return e.Err }

// ErrorID is the stable name of the failure.
func (e *InputError) ErrorID() string { return e.ID }

// Hint says what to do next.
func (e *InputError) Hint() string { return e.Next }

// Input is the path concerned.
func (e *InputError) Input() string { return e.Path }

// CheckOutput looks at a job's output folder. Anything but a new folder or this job's own unfinished
// run is refused: results must never be mixed, and nobody's files be overwritten. Exit class: invalid.
func CheckOutput(j *conf.Job) (OutputState, error) {
	dir := j.Output.LocalPath()
	refuse := func(cause string, err error) (OutputState, error) {
		return 0, exit.As(exit.Invalid, &InputError{ID: "E-OUTPUT", Key: "output", Path: dir, Cause: cause, Err: err,
			Next: "choose another folder (--set output=...), or remove this one if nobody needs it"})
	}
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return OutputNew, nil
	case err != nil:
		if info, statErr := os.Stat(dir); statErr == nil && !info.IsDir() {
			return refuse("is not a folder", nil)
		}
		return refuse("cannot be read", err)
	}
	// A claim that was cut short leaves its temporary file, which belongs to nobody.
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return strings.HasPrefix(e.Name(), MarkerFile+".") })
	if len(entries) == 0 {
		return OutputNew, nil
	}
	data, err := os.ReadFile(filepath.Join(dir, MarkerFile))
	if errors.Is(err, fs.ErrNotExist) {
		return refuse(fmt.Sprintf("holds files that are not this job's (%s)", entries[0].Name()), nil)
	}
	if err != nil {
		return refuse("cannot be read", err)
	}
	var m marker
	if err := json.Unmarshal(data, &m); err != nil {
		return refuse(MarkerFile+" is damaged", err)
	}
	if m.Digest != j.Digest() {
		return refuse(fmt.Sprintf("belongs to the job %q or to other settings of this one", m.Name), nil)
	}
	if _, err := os.Lstat(filepath.Join(dir, SuccessFile)); err == nil {
		return 0, exit.As(exit.Invalid, &InputError{ID: "E-OUTPUT", Key: "output", Path: dir, Cause: "holds the finished results of this job",
			Next: "vista-mr results " + dir + " shows them; to run it again choose another folder (--set output=...)"})
	}
	return OutputUnfinished, nil
}

// Claim is the right to write to an output folder, which one process has at a time.
type Claim struct {
	State OutputState
	lock  *os.File
}

// Close gives the right up; what was written stays, for the next run of the job to go on from.
func (c *Claim) Close() error { return c.lock.Close() }

// ClaimOutput makes the output folder this job's own, after CheckOutput, until the claim is closed or the
// process ends. Of several that try at the same time one gets it and the others an error.
func ClaimOutput(j *conf.Job) (*Claim, error) {
	state, err := CheckOutput(j)
	if err != nil {
		return nil, err
	}
	dir := j.Output.LocalPath()
	fail := func(err error) (*Claim, error) {
		return nil, exit.As(exit.Invalid, &InputError{ID: "E-OUTPUT", Key: "output", Path: dir, Cause: "cannot be written", Err: err,
			Next: "choose a folder that you may write to (--set output=...)"})
	}
	if state == OutputNew {
		if err := writeMarker(dir, j); err != nil && !errors.Is(err, fs.ErrExist) {
			return fail(err)
		}
	}
	f, err := os.OpenFile(filepath.Join(dir, MarkerFile), os.O_RDWR, 0)
	if err != nil {
		return fail(err)
	}
	if err := lockFile(f); err != nil {
		return nil, errors.Join(exit.As(exit.Invalid, &InputError{ID: "E-OUTPUT-BUSY", Key: "output", Path: dir, Cause: "another process is writing to it",
			Next: "wait for it to end, or choose another folder (--set output=...)"}), f.Close())
	}
	// Somebody else may have been first since the folder was looked at, and may even be done by now.
	if _, err := CheckOutput(j); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Claim{State: state, lock: f}, nil
}

// writeMarker makes the folder and says in it whose it is. The marker appears whole or not at all: it is
// written aside and linked into place, which, other than a rename, fails when somebody was first.
func writeMarker(dir string, j *conf.Job) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	b, err := json.Marshal(marker{SchemaVersion: 1, Name: j.Name, Digest: j.Digest()})
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, MarkerFile+".*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(append(b, '\n'))
	if err = errors.Join(err, tmp.Chmod(0o644), tmp.Sync(), tmp.Close()); err == nil {
		err = os.Link(tmp.Name(), filepath.Join(dir, MarkerFile))
	}
	return errors.Join(err, os.Remove(tmp.Name()))
}

// markFinished writes the marker without which nothing in the output counts. Nothing is written behind it.
func markFinished(ctx context.Context, j *conf.Job) error {
	return dfs.WriteFile(ctx, local.New(j.Output.LocalPath(), true), SuccessFile, nil)
}

// Tidy removes what a finished run was made from where the process was stopped before it could do so itself. It does
// nothing to a folder that is anything else.
func Tidy(dir string) {
	for _, name := range []string{SuccessFile, workFolder} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			return
		}
	}
	f, err := os.OpenFile(filepath.Join(dir, MarkerFile), os.O_RDWR, 0)
	if err != nil {
		return
	}
	if lockFile(f) == nil { // else the process is still there, and at it
		_ = os.RemoveAll(filepath.Join(dir, workFolder)) // the next command tries again
	}
	_ = f.Close() // nothing was written
}
