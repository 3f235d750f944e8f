package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/images"
	"github.com/vista-mr/vista-mr/jobs/results"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/machine"
	"github.com/vista-mr/vista-mr/vistaopt"
	"github.com/vista-mr/vista-mr/vistaopt/bytesize"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// Check is one thing that Validate looked at and found in order, or a warning about it.
type Check struct {
	Name   string `json:"name"`   // job, table, images, records, model, plan, output, runtime, decoder
	Detail string `json:"detail"` // what was found

	Warning bool `json:"warning,omitempty"` // it is not in order, and no reason to refuse the job
}

// checks are what Validate looks at, in this order. What one needs of those before it it does without if they have
// failed, so that all problems are found at once. One without a word to say has found nothing to look at.
var checks = []struct {
	name string
	run  func(context.Context, *conf.Job, *Options, *findings) (string, error)
}{
	{"table", checkTable},
	{"images", checkImages},
	{"records", checkRecords},
	{"model", checkModel},
	{"plan", checkPlan},
	{"output", checkOutput},
	{"runtime", checkRuntime},
	{"decoder", checkDecoder},
}

// findings are what checks have found that others build on.
type findings struct {
	table   *surveyed        // nil: not known
	images  *images.Index    // nil: not known
	matched int64            // images that have a row; 0: not known
	choice  *vistaopt.Choice // nil: not known
	remarks []string         // for the results
	warn    []string         // what images make likely
	place   *place           // nil: it cannot be opened
}

// data is the job's input as far as it is known.
func (f *findings) data() *data {
	d := together(f.table, f.images)
	d.stats.Matched = f.matched
	return d
}

// Validate looks at everything that a job names without running anything. It returns what it found,
// or all problems at once; their exit class is invalid unless they say otherwise.
func Validate(ctx context.Context, j *conf.Job, o Options) ([]Check, error) {
	defer machine.SpareHeap(machine.Sparing)() // of a million paths in a table it holds 200 MiB
	o.fill()
	found, _, err := validate(ctx, j, &o)
	return found, err
}

func validate(ctx context.Context, j *conf.Job, o *Options) ([]Check, *findings, error) {
	if err := Supported(j); err != nil {
		return nil, nil, err
	}
	if err := enoughAddresses(); err != nil {
		return nil, nil, err
	}
	found := []Check{{"job", strings.Join(append([]string{fmt.Sprintf("%s, digest %.12s", j.Name, j.Digest())}, ignored(j)...), "; "), false}}
	f := &findings{}
	var problems []error
	at, err := openPlace(ctx, j.Output)
	if err != nil {
		problems = append(problems, err)
	} else {
		f.place = at
	}
	for _, c := range checks {
		detail, err := c.run(ctx, j, o, f)
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		if err != nil {
			problems = append(problems, each(err)...)
			continue
		}
		if detail != "" {
			found = append(found, Check{c.name, detail, false})
		}
	}
	switch len(problems) {
	case 0:
		for _, w := range f.warn {
			found = append(found, Check{"images", w, true})
		}
		return found, f, nil
	case 1:
		return nil, nil, invalid(problems[0])
	}
	return nil, nil, exit.As(exit.Invalid, &ProblemsError{Problems: problems})
}

// ignored says which keys of a job say nothing for it.
func ignored(j *conf.Job) []string {
	if len(j.CNN) == 1 && j.Plan.Networks != "" {
		return []string{"plan.networks is ignored: the job has one network."}
	}
	return nil
}

// idle is what there is to say of a job file's keys that do not do what they say: those that are ignored, and those that are less in the
// plan, or on the machines that it is made for.
func idle(j *conf.Job, p plan.Plan, m vistaopt.Machine) []string {
	return slices.Concat(ignored(j), unused(j, p), unlimited(j, m))
}

// unlimited says that a job's limit is more memory than there is.
func unlimited(j *conf.Job, m vistaopt.Machine) []string {
	limit := int64(j.Limits.Memory)
	if limit <= m.Memory || m.Memory == 0 { // 0: workers that say no limit
		return nil
	}
	whose := "a worker"
	switch m.Least {
	case vistaopt.ThisMachine, vistaopt.ControlGroup, vistaopt.ThisProcess:
		whose = m.Least
	}
	there, asked := bytesize.AtMost(m.Memory), bytesize.AtMost(limit)
	if there == asked {
		there, asked = bytesize.Distinct(m.Memory, limit)
	}
	return []string{fmt.Sprintf("limits.memory is %s instead of %s: %s has no more.", there, asked, whose)}
}

// unused says which knobs of the job file are less in the plan, because there is no more to do.
func unused(j *conf.Job, p plan.Plan) (out []string) {
	for _, k := range []struct {
		knob    string
		asked   int
		planned int
		why     string
	}{
		{"partitions", j.Plan.Partitions, p.Partitions, "the images have no more records"},
		{"cpu", j.Plan.CPU, p.CPU, "there are no more partitions"},
		{"batch", j.Plan.Batch, p.Batch, "no partition has more images"},
	} {
		if k.planned < k.asked {
			out = append(out, fmt.Sprintf("plan.%s is %s instead of %s: %s.", k.knob, results.Count(int64(k.planned)), results.Count(int64(k.asked)), k.why))
		}
	}
	return out
}

// invalid puts an error about an input into its class: invalid, unless a remote store is to blame.
func invalid(err error) error {
	if exit.Code(exit.Running(err)) == int(exit.Unreachable) {
		return exit.As(exit.Unreachable, err)
	}
	return exit.As(exit.Invalid, err)
}

// ProblemsError is several failures at once. Its id and hint are those of the first.
type ProblemsError struct {
	Problems []error
	again    string // the command that looks again; "": validate
}

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
func (e *ProblemsError) Hint() string {
	again := e.again
	if again == "" {
		again = "vista-mr validate"
	}
	return "correct them, then run " + again + " again"
}

// problemsOf is the error of some problems, at least one.
func problemsOf(ctx context.Context, problems []error) error {
	if err := ctx.Err(); err != nil { // all of them are that
		return err
	}
	if len(problems) == 1 {
		return problems[0]
	}
	return &ProblemsError{Problems: problems}
}

// each are the problems that an error stands for.
func each(err error) []error {
	var several *ProblemsError
	if errors.As(err, &several) {
		return several.Problems
	}
	return []error{err}
}

// nearHint suggests the entry beside a missing path, or beside a folder that holds nothing, whose name is most like it.
func nearHint(path string) string {
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		return ""
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return ""
	}
	var names []string
	for _, e := range entries {
		if e.Name() != filepath.Base(path) { // it is there, and holds nothing
			names = append(names, e.Name())
		}
	}
	if near := conf.Nearest(filepath.Base(path), names); near != "" {
		return fmt.Sprintf("; did you mean %s?", filepath.Join(filepath.Dir(path), near))
	}
	return ""
}

// checkRecords sees to it that table and images fit together, and that there is something to learn.
func checkRecords(ctx context.Context, j *conf.Job, _ *Options, f *findings) (string, error) {
	switch {
	case f.table == nil:
		return "", nil
	case f.images == nil:
		f.remarks = labelRemarks(f.table.Classes, f.table.Encoding.Good)
		return strings.Join(f.remarks, " "), exit.Running(inTable(j, nil, needs(j, nil).Check(f.table.Classes)))
	}
	seen, err := foresee(ctx, j, together(f.table, f.images))
	if err != nil {
		return "", inTable(j, nil, err)
	}
	f.remarks = seen.remarks()
	if seen.records > 0 {
		f.matched = f.images.Images * seen.met / seen.records
	}
	f.table.Keys = nil // which may be as large as the table
	return strings.Join(append([]string{seen.describe()}, f.remarks...), "; "), nil
}

// checkModel opens the network with its weights, if they fit into the memory, and finds the layers. Submit does not ask
// for it: it opens the network right afterwards, with the same errors.
func checkModel(ctx context.Context, j *conf.Job, o *Options, f *findings) (string, error) {
	if o.opensModel {
		return "", nil
	}
	dir := ""
	if slices.ContainsFunc(j.CNN, func(c conf.CNN) bool { return isFile(c.Model) }) { // the roster's networks are not tried
		var err error
		if dir, err = scratch(); err != nil {
			return "", err
		}
		defer os.RemoveAll(dir) // what is left is in the system's folder for such things
	}
	m, err := o.Engine.Machine(ctx)
	if err != nil {
		return "", err
	}
	var old *kept
	if f.place != nil {
		old = readKept(ctx, f.place)
	}
	d := f.data()
	if old, err = old.planned(ctx, d); err != nil {
		return "", err
	}
	rates, chosen, follows := onceSpeeds(ctx, d, sampleRoom(j, m), o), onceChosen(j, d, old), false
	ns, err := openNetworks(ctx, j, dir, func(ns networks) (err error) {
		if m.Rates, err = rates(ns); err == nil {
			f.choice, follows, err = chosen(ns, m)
		}
		return err
	}, func(ns networks, i int) error { return ns[i].forget() })
	if err != nil {
		f.choice = nil
		return "", err
	}
	f.warn = warnings(j, d, ns, f.choice, follows, m)
	return ns.describe(), nil
}

// checkPlan says how the job would run. Where images were not counted or the table is not known, a job may need more
// than is said here.
func checkPlan(_ context.Context, _ *conf.Job, _ *Options, f *findings) (string, error) {
	if f.choice == nil || f.table == nil {
		return "", nil
	}
	p, about := f.choice.Plan, ""
	if f.images == nil {
		about = "at least "
	}
	join := string(p.Join) + " join"
	if p.Networks != plan.One {
		join += ", networks " + string(p.Networks)
	}
	return fmt.Sprintf("%s, %s, %s; %d at a time, batches of %d; needs %s%s of %s", p.Inference, p.Placement, join, p.CPU, p.Batch,
		about, bytesize.AtLeast(f.choice.Regions.Need()), bytesize.AtMost(f.choice.Memory)), nil
}

func checkOutput(ctx context.Context, j *conf.Job, _ *Options, f *findings) (string, error) {
	if f.place == nil {
		return "", nil
	}
	state, err := f.place.check(ctx, j)
	if err != nil {
		return "", err
	}
	if state == OutputUnfinished {
		return f.place.name + ", an unfinished run of this job that will be taken up again", nil
	}
	return f.place.name + ", new", nil
}
