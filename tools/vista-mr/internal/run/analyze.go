package run

import (
	"bytes"
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/results"
	"github.com/vista-mr/vista-mr/mr/journal"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
	"github.com/vista-mr/vista-mr/vistaopt/explain"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// analyze adds what a finished run has measured, whose output is given. A run that did other work is refused, because its times
// say nothing of these estimates, and so is one whose figures no run can have measured; what else differs is noted. tracker says
// that the plan is made for the workers of one.
func analyze(ctx context.Context, j *conf.Job, x *explain.Explanation, d *data, output string, tracker bool) error {
	_, s, err := Results(ctx, output)
	if err != nil {
		return err
	}
	if why := senseless(&s.Plan); why != "" {
		return noResults("E-RESULTS", conf.URI(output).LocalPath(), ResultsFile+" makes no sense: "+why, "give the output of another run, or run the job again", nil)
	}
	if other := otherWork(j, x, d, s); len(other) > 0 {
		return exit.As(exit.Invalid, &InputError{ID: "E-OTHER-RUN", Key: "analyze", Path: output, Cause: "has done other work than the job file asks for: " + strings.Join(other, "; "),
			Next: "name a run of this job, or explain the job file of that run"})
	}
	p := s.Plan
	a := &explain.Actual{Seconds: p.Actual.Seconds, Between: p.Actual.Seconds, Memory: p.Actual.PeakMemory, Written: p.Actual.BytesWritten, Phases: map[string]float64{}, Bytes: map[string]int64{},
		Plan: planOf(&p), Machines: otherMachines(p.Machines, x, tracker)}
	for _, ph := range slices.Concat(p.Phases, p.Around) {
		a.Phases[ph.Name], a.Bytes[ph.Name] = ph.Actual.Seconds, ph.Actual.BytesWritten
		a.Between -= ph.Actual.Seconds
	}
	a.Interrupted = interruptions(ctx, output)
	if a.Differs, err = otherJob(ctx, j, d, s); err != nil {
		return invalid(err)
	}
	x.Actual = a
	return nil
}

// interruptions is how many times a finished run was interrupted and taken up again, as its event log says: each process that has worked
// on it begins there. 0 where that is not known, as it was not to the run itself, whose times are then of its last process alone.
func interruptions(ctx context.Context, output string) int {
	at, err := openPlace(ctx, conf.URI(output))
	if err != nil {
		return 0
	}
	b, err := readEvents(ctx, at)
	if err != nil {
		return 0
	}
	begun := 0
	err = journal.Read(bytes.NewReader(b), func(e journal.Event) error {
		if e.Kind == started {
			begun++
		}
		return nil
	})
	if err != nil {
		return 0
	}
	return max(begun-1, 0)
}

// differences collects what is not the same there, in a run, and here, in a job file.
type differences []string

func (ds *differences) add(what string, there, here any) {
	if there != here {
		*ds = append(*ds, fmt.Sprintf("%s %v there, %v here", what, there, here))
	}
}

// otherWork names what of a run's work is not what a job file asks for, as far as it takes time: networks, layers, rows, columns
// and images.
func otherWork(j *conf.Job, x *explain.Explanation, d *data, s *results.Summary) []string {
	var out differences
	there := s.Job.Networks
	if len(there) == 0 {
		there = []results.Network{{Model: s.Job.Model, Pool: s.Job.Pool, Preprocess: s.Job.Preprocess}}
	}
	var here []results.Network
	for i := range j.CNN {
		c := &j.CNN[i]
		n := results.Network{Model: c.ModelName(), Pool: c.Pool, Preprocess: x.Preprocess}
		if len(j.CNN) > 1 {
			n.Name, n.Preprocess = c.Called(), x.Networks[i].Preprocess
		}
		here = append(here, n)
	}
	if len(there) != len(here) {
		out.add("networks", len(there), len(here))
	} else {
		for i, n := range here {
			of := ""
			if n.Name != "" {
				of = n.Name + ": "
			}
			out.add(of+"name", there[i].Name, n.Name)
			out.add(of+"model", path.Base(there[i].Model), n.Model)
			out.add(of+"pool", there[i].Pool, n.Pool)
			out.add(of+"preprocess", there[i].Preprocess, n.Preprocess)
		}
	}
	var layers []string
	for _, l := range s.Layers {
		layers = append(layers, l.Name)
	}
	out.add("layers", strings.Join(layers, " "), strings.Join(x.Layers, " "))
	out.add("rows", s.Counters.Rows, d.table.Encoding.Rows)
	columns := d.table.Encoding.Names()
	if out.add("columns", len(s.Job.Features), len(columns)); len(s.Job.Features) == len(columns) && !slices.Equal(s.Job.Features, columns) {
		out.add("columns", strings.Join(s.Job.Features, " "), strings.Join(columns, " "))
	}
	out.add("images", s.Counters.Images, d.images.Images)
	return out
}

// otherJob names what else differs between a run's job and a job file, its plan excepted: that of the run is shown. A tracker was
// sent the job file with paths that begin at the root.
func otherJob(ctx context.Context, j *conf.Job, d *data, s *results.Summary) ([]string, error) {
	table, err := d.digests(ctx)
	if err != nil {
		return nil, err
	}
	rooted, _, err := Rooted(j)
	if err != nil {
		return nil, err
	}
	out := otherKeys(j, s)
	if sent := otherKeys(rooted, s); len(sent) < len(out) {
		out = sent
	}
	if (&origin{Table: table}).tableDigest() != s.Digests["table"] {
		out = slices.Insert(out, 0, "the table's content")
	}
	return out, nil
}

// otherKeys names the keys of a job file that were others in a run, as far as its results tell.
func otherKeys(j *conf.Job, s *results.Summary) (out differences) {
	was := *j
	was.CNN = slices.Clone(j.CNN)
	was.Name, was.Seed, was.Downstream.Kind, was.Downstream.Test = s.Job.Name, s.Job.Seed, s.Job.Kind, s.Job.Test
	out.add("name", was.Name, j.Name)
	out.add("seed", was.Seed, j.Seed)
	out.add("downstream.kind", was.Downstream.Kind, j.Downstream.Kind)
	out.add("downstream.test", was.Downstream.Test, j.Downstream.Test)
	for i := range was.CNN {
		w := s.Job.Weights
		if len(s.Job.Networks) > 0 {
			w = s.Job.Networks[i].Weights
		}
		was.CNN[i].Weights = w
		out.add(j.CNN[i].Key("weights"), w, j.CNN[i].Weights)
	}
	was.Plan = knobs(&s.Plan)
	if was.Digest() != s.Digests["job"] {
		out = append(out, "keys of the job file that results do not record, as those of downstream")
	}
	return out
}

// knobs are those of a run's plan that its user had set.
func knobs(p *results.Plan) conf.Plan {
	set := planOf(p)
	for _, knob := range plan.Knobs {
		if from := p.From[knob]; from != "file" && from != "set" {
			set = set.Without(knob)
		}
	}
	return conf.Plan{Inference: string(set.Inference), Placement: string(set.Placement), Join: string(set.Join), Storage: string(set.Storage), Networks: string(set.Networks),
		CPU: set.CPU, Partitions: set.Partitions, Batch: set.Batch}
}

// planOf is the plan that results say has run.
func planOf(p *results.Plan) plan.Plan {
	return plan.Plan{Inference: plan.Inference(p.Inference), Placement: plan.Placement(p.Placement), Join: plan.Join(p.Join), Storage: plan.Storage(p.Storage),
		CPU: p.CPU, Partitions: p.Partitions, Batch: p.Batch, Networks: plan.Networks(p.Networks)}
}

// longest is more seconds than any run takes: 30 years.
const longest = 1e9

// senseless names the first key of a run's plan whose value no run can have left; "": there is none. Results are a file, which
// anybody may have edited.
func senseless(p *results.Plan) string {
	if err := planOf(p).Validate(); err != nil {
		return "plan." + strings.TrimPrefix(err.Error(), "plan: ")
	}
	if p.Actual.Seconds == 0 {
		return "plan.actual.seconds is missing"
	}
	if why := senselessCost("plan.actual", &p.Actual); why != "" {
		return why
	}
	if len(p.Phases) == 0 {
		return "plan.phases is empty"
	}
	seen := map[string]bool{}
	for _, part := range []struct {
		key    string
		phases []results.Phase
	}{{"plan.phases", p.Phases}, {"plan.around", p.Around}} {
		for i := range part.phases {
			ph, key := &part.phases[i], fmt.Sprintf("%s[%d]", part.key, i)
			if ph.Name == "" || seen[ph.Name] {
				return fmt.Sprintf("%s.name %q is empty or used before", key, ph.Name)
			}
			seen[ph.Name] = true
			if why := senselessCost(key+".actual", &ph.Actual); why != "" {
				return why
			}
		}
	}
	if m := p.Machines; m != nil && (m.Workers < 1 || m.Cores < 1) {
		return fmt.Sprintf("plan.machines: %d workers of %d cores", m.Workers, m.Cores)
	}
	return ""
}

// senselessCost is senseless of what was measured, as far as it is shown. What is not known is 0.
func senselessCost(key string, c *results.Cost) string {
	switch {
	case c.Seconds < 0 || c.Seconds > longest:
		return fmt.Sprintf("%s.seconds is %g", key, c.Seconds)
	case c.BytesWritten < 0:
		return fmt.Sprintf("%s.bytesWritten is %d", key, c.BytesWritten)
	case c.PeakMemory < 0:
		return fmt.Sprintf("%s.peakMemory is %d", key, c.PeakMemory)
	}
	return ""
}

// otherMachines says what a run had, where that is not what the plan is made for; "": it is, or nobody knows.
func otherMachines(m *results.Machines, x *explain.Explanation, tracker bool) string {
	if m == nil || m.Workers == x.Machine.Workers && m.Cores == x.Machine.Cores && m.Tracker == tracker {
		return ""
	}
	words := func(workers, cores int, tracker bool) string {
		of := results.Several(int64(cores), "core")
		if tracker {
			return results.Several(int64(workers), "worker") + " of " + of
		}
		return "one process of " + of
	}
	return words(m.Workers, m.Cores, m.Tracker) + " there, " + words(x.Machine.Workers, x.Machine.Cores, tracker) + " here"
}
