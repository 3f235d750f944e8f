package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
)

// Check is one thing that Validate looked at and found in order.
type Check struct {
	Name   string `json:"name"`   // job, table, images, model, output, runtime, decoder
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
	{"decoder", checkDecoder},
}

// Validate looks at everything that a job names without running anything. It returns what it found,
// or all problems at once; their exit class is invalid unless they say otherwise.
func Validate(ctx context.Context, j *conf.Job, o Options) ([]Check, error) {
	o.fill()
	return validate(ctx, j, &o)
}

func validate(ctx context.Context, j *conf.Job, o *Options) ([]Check, error) {
	if err := Supported(j); err != nil {
		return nil, err
	}
	found := []Check{{"job", fmt.Sprintf("%s, digest %.12s", j.Name, j.Digest())}}
	var problems []error
	for _, c := range checks {
		detail, err := c.run(ctx, j, o)
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

// Summarized says that the last line of Error is its summary.
func (e *ProblemsError) Summarized() {}

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
	dir, err := os.MkdirTemp("", "vista-mr-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir) // what is left is in the system's folder for such things
	n, err := tried(ctx, j, dir)
	if err != nil {
		return "", err
	}
	var names []string
	for _, l := range n.layers {
		names = append(names, l.Name)
	}
	detail := fmt.Sprintf("%s, weights %s, layers %s; %s", j.CNN.Model, j.CNN.Weights, strings.Join(names, " "), n.steps)
	if isFile(j.CNN.Model) {
		detail = fmt.Sprintf("%s, %s, layers %s; %s", j.CNN.Model, n.cnn.Input, strings.Join(names, " "), n.steps)
	}
	return strings.Join(append([]string{detail}, n.notes...), " "), nil
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
