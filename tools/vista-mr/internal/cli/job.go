package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/run"
)

// setFlag gives a command --set.
func setFlag(cmd *cobra.Command) *[]string {
	// An array, not a slice: a value may hold commas.
	return cmd.Flags().StringArray("set", nil, "override a job-file key: `path=value`, for example plan.inference=lazy; may be repeated")
}

// loadJob reads a job file, "-" meaning standard input, and applies overrides.
func (a *app) loadJob(name string, sets []string) (*conf.Job, error) {
	data, err := a.readInput(name)
	if err != nil {
		return nil, err
	}
	return a.parseJob(name, data, sets)
}

func (a *app) parseJob(name string, data []byte, sets []string) (*conf.Job, error) {
	job, err := conf.Load(name, data, sets)
	if err == nil {
		return job, nil
	}
	var e *conf.Error
	if errors.As(err, &e) && e.InSet() {
		return nil, exit.As(exit.Usage, err)
	}
	return nil, exit.As(exit.Invalid, err)
}

func (a *app) readInput(name string) ([]byte, error) {
	fail := func(err error) error {
		return exit.As(exit.Invalid, &run.InputError{ID: "E-NO-JOB-FILE", Key: "job file", Path: name, Cause: "cannot be read", Err: err, Next: noJob(name, err)})
	}
	if name == "-" {
		data, err := io.ReadAll(io.LimitReader(a.Stdin, 2<<20))
		if err != nil {
			return nil, fail(err)
		}
		return data, nil
	}
	f, _, err := run.OpenFile(name)
	if err != nil {
		return nil, fail(err)
	}
	defer f.Close()                                   // reading only
	data, err := io.ReadAll(io.LimitReader(f, 2<<20)) // conf refuses more than half of that
	if err != nil {
		return nil, fail(err)
	}
	return data, nil
}

// noJob says what to do about a job file that cannot be read.
func noJob(name string, err error) string {
	info, _ := os.Stat(name)
	switch {
	case errors.Is(err, run.ErrNotFile) && info != nil && !info.IsDir():
		return "give a job file, or - to have it read from standard input"
	case errors.Is(err, run.ErrNotFile):
		return "give a job file; vista-mr init FILE writes an example"
	case !errors.Is(err, fs.ErrNotExist):
		return "check the path, and who may read it"
	}
	if near := neighbour(name, ".yaml", ".yml"); near != "" {
		return fmt.Sprintf("did you mean %s?", near)
	}
	if _, err := os.Stat(filepath.Dir(name)); err != nil {
		return "check the path; vista-mr init FILE writes an example"
	}
	return "vista-mr init " + conf.Quote(name) + " writes an example"
}

// neighbour returns the file beside a missing one whose name is most like it.
func neighbour(name string, endings ...string) string {
	dir := filepath.Dir(name)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ""
	}
	var known []string
	for _, e := range entries {
		for _, ending := range endings {
			if strings.HasSuffix(e.Name(), ending) {
				known = append(known, e.Name())
			}
		}
	}
	if near := conf.Nearest(filepath.Base(name), known); near != "" {
		return filepath.Join(dir, near)
	}
	return ""
}
