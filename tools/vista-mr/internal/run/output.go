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
	"time"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
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

func newMarker(j *conf.Job) marker { return marker{SchemaVersion: 1, Name: j.Name, Digest: j.Digest()} }

// OutputState is what place.check finds.
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

// check looks at a job's output. Anything but a new folder or this job's own unfinished
// run is refused: results must never be mixed, and nobody's files be overwritten. Nor may it be, by whatever links, a
// place that the job reads from, nor one that another process of this machine is writing to. Exit class: invalid, or
// unreachable for a store that does not answer.
func (p *place) check(ctx context.Context, j *conf.Job) (OutputState, error) {
	if p.dir == "" {
		return lookAtStore(ctx, j, p)
	}
	state, err := lookAtOutput(j)
	if err != nil || state != OutputUnfinished {
		return state, err
	}
	f, err := lockOutput(p.dir)
	if err != nil {
		return 0, err
	}
	return state, f.Close()
}

// lookAtOutput is check without the lock, which whoever asks may have.
func lookAtOutput(j *conf.Job) (OutputState, error) {
	dir := j.Output.LocalPath()
	if err := apart(j); err != nil {
		return 0, exit.As(exit.Invalid, err)
	}
	refuse := func(cause string, err error) (OutputState, error) { return 0, refusedOutput(dir, cause, err) }
	if file := inWay(dir); file == dir {
		return 0, blockedOutput(dir, "is not a folder")
	} else if file != "" {
		return 0, blockedOutput(dir, fmt.Sprintf("cannot be made: %s is a file", file))
	}
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		above := existing(dir)
		if _, err := os.Stat(above); err != nil {
			if above == dir {
				return refuse("is a link to a place that does not exist", nil)
			}
			return 0, unwritable("output", dir, fmt.Sprintf("cannot be made in %s: it is a link to a place that does not exist", above), nil)
		}
		if err := writable(above); err != nil {
			return 0, unwritable("output", dir, "cannot be made in "+above, err)
		}
		return OutputNew, nil
	case err != nil:
		return refuse("cannot be read", err)
	}
	// A claim that was cut short leaves its temporary file, which belongs to nobody.
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return strings.HasPrefix(e.Name(), MarkerFile+".") })
	if err := writable(dir); err != nil {
		return 0, unwritable("output", dir, "cannot be written", err)
	}
	if len(entries) == 0 {
		return OutputNew, nil
	}
	data, err := ReadFile(filepath.Join(dir, MarkerFile), maxConfig)
	if errors.Is(err, fs.ErrNotExist) {
		return refuse(fmt.Sprintf("holds files that are not this job's (%s)", entries[0].Name()), nil)
	}
	if err != nil {
		return refuse("cannot be read", err)
	}
	if err := whose(data, j, dir); err != nil {
		return 0, err
	}
	if _, err := os.Lstat(filepath.Join(dir, SuccessFile)); err == nil {
		return 0, finishedOutput(dir)
	}
	return OutputUnfinished, nil
}

// inWay is the file that a folder has for itself or above it, so that it cannot be made; "": none.
func inWay(dir string) string {
	for {
		if info, err := os.Stat(dir); err == nil {
			if info.IsDir() {
				return ""
			}
			return dir
		}
		if dir == filepath.Dir(dir) {
			return ""
		}
		dir = filepath.Dir(dir)
	}
}

// existing is the folder itself or the nearest one above it that is there, be it a link to nowhere.
func existing(dir string) string {
	for {
		if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}

// apart refuses an output that is, holds or lies in something that the job reads, where links lead there: the job file
// is refused when it says so itself.
func apart(j *conf.Job) error {
	out := resolved(j.Output.LocalPath())
	in := func(a, b string) bool { return a == b || strings.HasPrefix(a, strings.TrimSuffix(b, "/")+"/") }
	type input struct{ key, path string }
	inputs := []input{{"table.uri", j.Table.URI.LocalPath()}, {"images.uri", j.Images.URI.LocalPath()}}
	for i := range j.CNN {
		c := &j.CNN[i]
		inputs = append(inputs, input{c.Key("weights"), conf.URI(c.Weights).LocalPath()}, input{c.Key("model"), conf.URI(c.Model).LocalPath()})
	}
	for _, input := range inputs {
		if input.path == "" || input.key == "images.uri" && j.Images.Column != "" { // that is only what paths are relative to
			continue
		}
		src := resolved(input.path)
		if _, err := os.Lstat(src); err != nil { // a pattern, or nothing: then that is the problem
			continue
		}
		cause := ""
		switch {
		case out == src:
			cause = "is the same place as"
		case in(out, src):
			cause = "lies inside"
		case in(src, out):
			cause = "holds"
		default:
			continue
		}
		return &InputError{ID: "E-OUTPUT", Key: "output", Path: j.Output.LocalPath(), Cause: fmt.Sprintf("%s %s: it is %s, and %s is %s", cause, input.key, out, input.key, src),
			Next: "choose a folder of its own (--set output=...)"}
	}
	return nil
}

// resolved is a path without links and dots, as far as it exists.
func resolved(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	above := existing(abs)
	real, err := filepath.EvalSymlinks(above)
	if err != nil {
		return abs
	}
	return filepath.Join(real, strings.TrimPrefix(abs, above))
}

// claim makes the output this job's own, after check, until the claim is closed or the
// process ends. Of several of this machine that try at the same time one gets a folder and the others an error.
func (p *place) claim(ctx context.Context, j *conf.Job) (*Claim, error) {
	if p.dir == "" {
		return claimStore(ctx, j, p)
	}
	state, err := lookAtOutput(j)
	if err != nil {
		return nil, err
	}
	dir := p.dir
	c := &Claim{State: state, place: p}
	if state == OutputNew {
		for d := dir; d != existing(d); d = filepath.Dir(d) {
			c.made = append(c.made, d)
		}
		err := writeMarker(dir, j)
		if errors.Is(err, fs.ErrExist) { // somebody was first
			c.State = OutputUnfinished
		} else if errs.Is(err, errs.NoSpace) {
			return nil, exit.As(exit.JobFailed, inOutput(p, err))
		} else if err != nil {
			return nil, unwritable("output", dir, "cannot be written", err)
		}
	}
	f, err := lockOutput(dir)
	if err != nil {
		return nil, err
	}
	// Somebody else may have been first since the folder was looked at, and may even be done by now.
	if _, err := lookAtOutput(j); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	c.lock = f
	return c, nil
}

// lockOutput takes the lock of an output that has its marker, which one process has at a time. Whoever only looks (Look) has it
// for a moment, too.
func lockOutput(dir string) (f *os.File, err error) {
	for range 5 {
		if f, err = lockNow(dir); !busy(err) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	return f, err
}

func lockNow(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, MarkerFile), os.O_RDWR, 0)
	if err != nil {
		return nil, unwritable("output", dir, "cannot be written", err)
	}
	if err := lockFile(f); err != nil || !there(f) {
		return nil, errors.Join(exit.As(exit.Invalid, &InputError{ID: busyID, Key: "output", Path: dir, Cause: "another process is writing to it",
			Next: "wait for it to end, or choose another folder (--set output=...)"}), f.Close())
	}
	return f, nil
}

// busyID is the id of an output that another process writes to.
const busyID = "E-OUTPUT-BUSY"

// busy tells whether that is the failure.
func busy(err error) bool {
	var e *InputError
	return errors.As(err, &e) && e.ID == busyID
}

// unwritable refuses a place to write to: the key output of a job file, or an argument.
func unwritable(key, path, cause string, err error) error {
	next := "choose a folder that you may write to"
	if key == "output" {
		next += " (--set output=...)"
	}
	return exit.As(exit.Invalid, &InputError{ID: "E-OUTPUT", Key: key, Path: path, Cause: cause, Err: err, Next: next})
}

// there tells whether an open file is still the one of its name: whoever undoes a claim removes it.
func there(f *os.File) bool {
	a, err := f.Stat()
	b, berr := os.Stat(f.Name())
	return err == nil && berr == nil && os.SameFile(a, b)
}

// writeMarker makes the folder and says in it whose it is. The marker appears whole or not at all: it is
// written aside and linked into place, which, other than a rename, fails when somebody was first.
func writeMarker(dir string, j *conf.Job) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	b, err := json.Marshal(newMarker(j))
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
func (p *place) markFinished(ctx context.Context) error {
	return dfs.WriteFile(ctx, p.out, SuccessFile, nil)
}

// finished tells whether that marker is known to be there.
func (p *place) finished(ctx context.Context) bool {
	_, err := p.out.Stat(ctx, SuccessFile)
	return err == nil
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

// tidy is Tidy for any place. In a store elsewhere, a process that is still at it does not mind the help.
func (p *place) tidy(ctx context.Context) {
	if p.dir != "" {
		Tidy(p.dir)
		return
	}
	for _, name := range []dfs.Path{SuccessFile, MarkerFile} {
		if _, err := p.out.Stat(ctx, name); err != nil {
			return
		}
	}
	_ = p.leave(ctx) // the next command tries again
}

// OutputError says in which output folder a run has met a failure of the disk, whose own words only name files inside.
type OutputError struct {
	Dir string
	Err error
}

func (e *OutputError) Error() string { return fmt.Sprintf("output %s: %v", e.Dir, e.Err) }

// Unwrap returns the failure.
func (e *OutputError) Unwrap() error { return e.Err }

// ErrorID is that of the failure, or made of its kind.
func (e *OutputError) ErrorID() string {
	var id interface{ ErrorID() string }
	if errors.As(e.Err, &id) {
		return id.ErrorID()
	}
	return "E-" + strings.ToUpper(errs.KindOf(e.Err).String())
}

// Input is the folder.
func (e *OutputError) Input() string { return e.Dir }

// Hint says what to do next.
func (e *OutputError) Hint() string {
	switch kind := errs.KindOf(e.Err); {
	case kind == errs.NoSpace && dfs.HasScheme(e.Dir):
		return fmt.Sprintf("make room in the store of %s, or raise its quota, then run the same command again: what is finished is kept; or choose another place (--set output=...)", e.Dir)
	case kind == errs.NoSpace:
		return fmt.Sprintf("make room on the disk of %s (df -h %s), then run the same command again: what is finished is kept; or choose another disk (--set output=...)", e.Dir, conf.Quote(e.Dir))
	case kind == errs.Unauthorized:
		return fmt.Sprintf("check who may read and write the files in %s, then run the same command again", e.Dir)
	}
	what := "disk"
	if dfs.HasScheme(e.Dir) {
		what = "store"
	}
	return "run the same command again: it makes anew what is damaged or not there; if that does not help, check the " + what
}

// inOutput says where a failure of the disk was met: nothing is written anywhere else, and names of input are whole.
func inOutput(p *place, err error) error {
	switch errs.KindOf(err) {
	case errs.NoSpace:
	case errs.Unauthorized, errs.Corrupt, errs.Transient, errs.NotExist:
		if !p.inside(err) {
			return err
		}
	default:
		return err
	}
	var says interface{ Hint() string }
	if errors.As(err, &says) && says.Hint() != "" {
		return err
	}
	if p.dir == "" {
		return &OutputError{Dir: p.name, Err: err}
	}
	dir, aerr := filepath.Abs(p.dir)
	if aerr != nil {
		dir = p.dir
	}
	return &OutputError{Dir: dir, Err: err}
}

func within(name, folder string) bool {
	return name == folder || strings.HasPrefix(name, strings.TrimSuffix(folder, "/")+"/")
}

// inside tells whether an error names a file by its place in the output. Stores elsewhere name files by URIs as well.
func (p *place) inside(err error) (is bool) {
	for e := (*errs.Error)(nil); errors.As(err, &e); err = e.Err {
		switch {
		case dfs.HasScheme(e.Path):
			return p.dir == "" && (within(e.Path, p.name) || within(e.Path, dfs.Name(p.out, "")))
		case e.Path != "" && !filepath.IsAbs(e.Path):
			is = true
		}
	}
	return is
}
