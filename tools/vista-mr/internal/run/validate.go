package run

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
)

// Check is one thing that Validate looked at and found in order.
type Check struct {
	Name   string `json:"name"`   // job, table, images, model, output, runtime
	Detail string `json:"detail"` // what was found
}

// checks are what Validate looks at, in this order. They are independent of each other, so that all
// problems are found at once.
var checks = []struct {
	name string
	run  func(context.Context, *conf.Job, *Options) (string, error)
}{
	{"table", checkTable},
	{"images", checkImages},
	{"model", checkModel},
	{"output", checkOutput},
	{"runtime", checkRuntime},
}

// Validate looks at everything that a job names without running anything. It returns what it found,
// or all problems at once; their exit class is invalid unless they say otherwise.
func Validate(ctx context.Context, j *conf.Job, o Options) ([]Check, error) {
	o.fill()
	if err := Supported(j); err != nil {
		return nil, err
	}
	found := []Check{{"job", fmt.Sprintf("%s, digest %.12s", j.Name, j.Digest())}}
	var problems []error
	for _, c := range checks {
		detail, err := c.run(ctx, j, &o)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			problems = append(problems, err)
			continue
		}
		found = append(found, Check{c.name, detail})
	}
	switch len(problems) {
	case 0:
		return found, nil
	case 1:
		return nil, exit.As(exit.Invalid, problems[0])
	}
	return nil, exit.As(exit.Invalid, &ProblemsError{problems})
}

// ProblemsError is several failures at once. Its id and hint are those of the first.
type ProblemsError struct{ Problems []error }

func (e *ProblemsError) Error() string {
	var lines []string
	for _, p := range e.Problems {
		line := p.Error()
		var hint interface{ Hint() string }
		if errors.As(p, &hint) && hint.Hint() != "" {
			line += "\n    " + hint.Hint()
		}
		lines = append(lines, line)
	}
	return strings.Join(append(lines, fmt.Sprintf("%d problems", len(lines))), "\n")
}

// Unwrap returns the problems.
func (e *ProblemsError) Unwrap() []error { return e.Problems }

// ErrorID is the stable name of the failure: that of the first problem.
func (e *ProblemsError) ErrorID() string {
	var id interface{ ErrorID() string }
	if errors.As(e.Problems[0], &id) {
		return id.ErrorID()
	}
	return "E-INPUT"
}

// Hint says what to do next.
func (e *ProblemsError) Hint() string { return "correct them, then run vista-mr validate again" }

// checkImages sees to it that the image folder holds at least one file.
func checkImages(ctx context.Context, j *conf.Job, _ *Options) (string, error) {
	dir := j.Images.URI.LocalPath()
	fail := func(cause, next string, err error) (string, error) {
		return "", &InputError{ID: "E-IMAGES", Key: "images.uri", Path: dir, Cause: cause, Err: err, Next: next}
	}
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fail("does not exist", "set images.uri to the folder of images"+nearHint(dir), nil)
	case err != nil:
		return fail("cannot be read", "check the permissions", err)
	case !info.IsDir():
		return fail("is not a folder", "set images.uri to the folder that holds the image files", nil)
	}
	some := errors.New("found")
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case !d.IsDir() && !strings.HasPrefix(d.Name(), ".") && !strings.HasPrefix(d.Name(), "_"):
			return some
		}
		return nil
	})
	switch {
	case errors.Is(err, some):
		return dir, nil
	case err != nil:
		return fail("cannot be read", "check the permissions", err)
	}
	return fail("holds no file", "set images.uri to the folder that holds the image files", nil)
}

// nearHint suggests the entry beside a missing path whose name is most like it.
func nearHint(path string) string {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return ""
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if near := conf.Nearest(filepath.Base(path), names); near != "" {
		return fmt.Sprintf("; did you mean %s?", filepath.Join(filepath.Dir(path), near))
	}
	return ""
}

// checkModel opens the network with its weights and finds the layers. Submit does not ask for it: it
// opens the network right afterwards, with the same errors.
func checkModel(ctx context.Context, j *conf.Job, o *Options) (string, error) {
	if o.opensModel {
		return j.CNN.Model, nil
	}
	n, err := openNetwork(ctx, j)
	if err != nil {
		return "", err
	}
	var names []string
	for _, l := range n.layers {
		names = append(names, l.Name)
	}
	detail := fmt.Sprintf("%s, weights %s, layers %s; %s", j.CNN.Model, j.CNN.Weights, strings.Join(names, " "), n.steps)
	return strings.Join(append([]string{detail}, n.notes...), ". "), nil
}

func checkOutput(_ context.Context, j *conf.Job, _ *Options) (string, error) {
	state, err := CheckOutput(j)
	if err != nil {
		return "", err
	}
	if state == OutputUnfinished {
		return j.Output.LocalPath() + ", an unfinished run of this job that will be taken up again", nil
	}
	return j.Output.LocalPath() + ", new", nil
}
