package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vista-mr/vista-mr/layers/ort"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/probe"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/machine"
	"github.com/vista-mr/vista-mr/vistaopt/bytesize"
)

// Checkup is what Doctor looks at and how long.
type Checkup struct {
	ORTLib string
	URIs   []string
	Probe  probe.Options
	// Tell hears of each finding as soon as it is there; uri is "" for those of the machine. Settings comes
	// before the first finding of a store.
	Tell     func(uri string, c probe.Check)
	Settings func(uri string, lines []string)
}

// Diagnosis is what Doctor has found.
type Diagnosis struct {
	Machine []probe.Check `json:"machine"`
	Stores  []Store       `json:"stores"`
}

// Store is what was found of one URI.
type Store struct {
	URI      string        `json:"uri"`
	Settings []string      `json:"settings,omitempty"` // where it is and who asks
	Checks   []probe.Check `json:"checks"`
}

// Doctor looks at the machine and at stores. The error says what is wrong, if something is, and has the exit
// class of the worst: a store that does not answer or refuses comes before what is set up wrongly.
func Doctor(ctx context.Context, o Checkup) (*Diagnosis, error) {
	d := &Diagnosis{Stores: []Store{}}
	var bad []error
	note := func(uri string, c probe.Check) {
		if c.State == probe.Failed {
			bad = append(bad, &CheckError{URI: uri, Check: c})
		}
		o.Tell(uri, c)
	}
	for _, k := range []struct {
		name string
		look func(Checkup) (string, error)
		next string
	}{
		{"runtime", lookRuntime, "make build, or name the library with --ort-lib"},
		{"memory", lookMemory, "use a machine with more memory, or a larger limit of its control group or process"},
		{"scratch", lookScratch, "set TMPDIR to a folder with room"},
		{"clock", lookClock, "set this machine's clock"},
	} {
		begun := time.Now()
		c := probe.Check{Name: k.name, State: probe.OK}
		var err error
		if c.Detail, err = k.look(o); err != nil {
			c.State, c.Detail, c.Err, c.Next = probe.Failed, err.Error(), err, k.next
			var hint interface{ Hint() string }
			if errors.As(err, &hint) && hint.Hint() != "" {
				c.Next = hint.Hint()
			}
		}
		c.Seconds = time.Since(begun).Seconds()
		d.Machine = append(d.Machine, c)
		note("", c)
	}
	for _, uri := range o.URIs {
		s, err := lookStore(ctx, uri, o, note)
		if err != nil {
			return nil, err
		}
		d.Stores = append(d.Stores, *s)
	}
	return d, verdict(bad)
}

// verdict is one error of all that failed.
func verdict(bad []error) error {
	if len(bad) == 0 {
		return nil
	}
	class := exit.Invalid
	for _, e := range bad {
		if k := errs.KindOf(e); k == errs.Unreachable || k == errs.Unauthorized || k == errs.Transient {
			class = exit.Unreachable
		}
	}
	if len(bad) == 1 {
		return exit.As(class, bad[0])
	}
	return exit.As(class, &ProblemsError{Problems: bad, again: "vista-mr doctor"})
}

// CheckError is a check of Doctor that has failed.
type CheckError struct {
	URI   string // "" for the machine
	Check probe.Check
}

func (e *CheckError) Error() string {
	s, _, _ := strings.Cut(e.Check.Detail, "\n")
	if !strings.HasPrefix(s, e.Check.Name+": ") {
		s = e.Check.Name + ": " + s
	}
	if e.URI != "" && !strings.Contains(s, e.URI) {
		s = e.URI + ": " + s
	}
	return s
}

// Unwrap returns the cause.
func (e *CheckError) Unwrap() error { return e.Check.Err }

// ErrorID is that of the cause, if it has one of its own.
func (e *CheckError) ErrorID() string {
	var id interface{ ErrorID() string }
	if errors.As(e.Check.Err, &id) {
		return id.ErrorID()
	}
	if e.URI != "" {
		return "E-STORE"
	}
	return "E-MACHINE"
}

// Hint says what to do next.
func (e *CheckError) Hint() string { return e.Check.Next }

func lookRuntime(o Checkup) (string, error) {
	if err := enoughAddresses(); err != nil {
		return "", err
	}
	path, version, err := ort.CheckLibrary(o.ORTLib)
	if err != nil {
		return "", err
	}
	return "ONNX Runtime " + version + ", " + path, nil
}

// What a job of the smallest network wants.
const (
	memoryLeast  = 512 << 20
	scratchLeast = 1 << 30
)

func lookMemory(Checkup) (string, error) {
	all := machine.Total()
	may, own := machine.Least()
	s := fmt.Sprintf("%s, %d cores", bytesize.Nearest(may), machine.Cores())
	switch {
	case own.Limit > 0:
		s += fmt.Sprintf("; a job can use no more under the process's own limit, %s", own)
	case all > may:
		s += fmt.Sprintf("; the control group's limit, the machine has %s", bytesize.Nearest(all))
	}
	if may < memoryLeast {
		return "", fmt.Errorf("%s: not enough for any network", s)
	}
	return s, nil
}

func lookScratch(Checkup) (string, error) {
	dir, err := os.MkdirTemp("", "vista-mr-doctor-")
	if err != nil {
		return "", fmt.Errorf("no folder can be made in %s: %w", os.TempDir(), err)
	}
	defer os.RemoveAll(dir) // empty, but for what the next line has failed to write
	if err := os.WriteFile(filepath.Join(dir, "x"), make([]byte, 1<<20), 0o600); err != nil {
		return "", err
	}
	free, known := machine.Free(dir)
	switch {
	case !known:
		return os.TempDir(), nil
	case free < scratchLeast:
		there, least := bytesize.Distinct(free, scratchLeast)
		return "", fmt.Errorf("%s has %s free, which is less than %s", os.TempDir(), there, least)
	}
	return fmt.Sprintf("%s, %s free", os.TempDir(), bytesize.Nearest(free)), nil
}

// built is a time before which no clock that is right can be.
var built = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func lookClock(Checkup) (string, error) {
	now := time.Now().UTC()
	if now.Before(built) {
		return "", fmt.Errorf("the clock says %s", now.Format(time.RFC3339))
	}
	return now.Format(time.RFC3339), nil
}

// lookStore probes one store.
func lookStore(ctx context.Context, uri string, o Checkup, note func(string, probe.Check)) (*Store, error) {
	s := &Store{URI: uri, Checks: []probe.Check{}}
	fs, dir, err := stores().Resolve(ctx, uri)
	if err != nil {
		c := probe.Check{Name: "open", State: probe.Failed, Detail: err.Error(), Err: err, Next: "correct the URI"}
		var hint interface{ Hint() string }
		if errors.As(err, &hint) && hint.Hint() != "" {
			c.Next = hint.Hint()
		}
		s.Checks = append(s.Checks, c)
		note(uri, c)
		return s, nil
	}
	told := false
	settings := func() {
		if d, ok := fs.(interface{ Settings() []string }); ok && !told {
			s.Settings = d.Settings()
			o.Settings(uri, s.Settings)
		}
		told = true
	}
	undo := newFolders(ctx, fs, dir)
	s.Checks, err = probe.Run(ctx, fs, dir, o.Probe, func(c probe.Check) {
		settings() // only now it is known whose credentials were found
		note(uri, c)
	})
	undo()
	return s, err
}

// newFolders returns a function that removes the folders that a probe has made on a local disk or HDFS, where they stay
// when their files are gone. Those that were there before, or are not empty, stay.
func newFolders(ctx context.Context, fs dfs.FS, dir dfs.Path) (undo func()) {
	if f, ok := fs.(folders); ok {
		return newFoldersOf(ctx, f, dir)
	}
	if fs.Caps().Name != "local" {
		return func() {}
	}
	name := dfs.Name(fs, dir)
	before := map[string]bool{}
	if all, err := os.ReadDir(name); err == nil {
		for _, e := range all {
			before[e.Name()] = true
		}
	}
	var missing []string // from the inside out
	for up := name; up != filepath.Dir(up); up = filepath.Dir(up) {
		if _, err := os.Lstat(up); err == nil {
			break
		}
		missing = append(missing, up)
	}
	return func() {
		if all, err := os.ReadDir(name); err == nil {
			for _, e := range all {
				if !before[e.Name()] && strings.HasPrefix(e.Name(), probe.Prefix) {
					removeEmpty(filepath.Join(name, e.Name()))
				}
			}
		}
		for _, m := range missing {
			_ = os.Remove(m) // it may hold what others have put there
		}
	}
}

// folders is a store where folders are something, and stay.
type folders interface {
	HasFolder(ctx context.Context, dir dfs.Path) (bool, error)
	RemoveEmpty(ctx context.Context, dir dfs.Path) error
}

// newFoldersOf is newFolders for a store: the folder itself and those above it. What a probe makes in it, the probe removes.
func newFoldersOf(ctx context.Context, f folders, dir dfs.Path) (undo func()) {
	var missing []dfs.Path // from the inside out
	for up := dir; up != ""; up = up.Dir() {
		if there, err := f.HasFolder(ctx, up); there || err != nil { // what is wrong the probe says
			break
		}
		missing = append(missing, up)
	}
	return func() {
		for _, m := range missing {
			if f.RemoveEmpty(context.WithoutCancel(ctx), m) != nil { // it may hold what others have put there
				return
			}
		}
	}
}

// removeEmpty removes a folder and those in it, as far as they hold no files.
func removeEmpty(dir string) {
	all, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range all {
		if e.IsDir() {
			removeEmpty(filepath.Join(dir, e.Name()))
		}
	}
	_ = os.Remove(dir) // what is not empty stays, and was told of
}
