package run

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/results"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
	"github.com/vista-mr/vista-mr/vistaopt/explain"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// analyze adds what a finished run has measured, whose output is given. A run that did other work is refused, because its times
// say nothing of these estimates; what else differs is noted.
func analyze(ctx context.Context, j *conf.Job, x *explain.Explanation, d *data, output string) error {
	_, s, err := Results(ctx, output)
	if err != nil {
		return err
	}
	if other := otherWork(j, x, d, s); len(other) > 0 {
		return exit.As(exit.Invalid, &InputError{ID: "E-OTHER-RUN", Key: "analyze", Path: output, Cause: "has done other work than the job file asks for: " + strings.Join(other, "; "),
			Next: "name a run of this job, or explain the job file of that run"})
	}
	p := s.Plan
	a := &explain.Actual{Seconds: p.Actual.Seconds, Between: p.Actual.Seconds, Memory: p.Actual.PeakMemory, Written: p.Actual.BytesWritten, Phases: map[string]float64{}, Bytes: map[string]int64{},
		Plan: plan.Plan{Inference: plan.Inference(p.Inference), Placement: plan.Placement(p.Placement), Join: plan.Join(p.Join), Storage: plan.Storage(p.Storage), CPU: p.CPU, Partitions: p.Partitions, Batch: p.Batch, Networks: plan.Networks(p.Networks)}}
	for _, ph := range slices.Concat(p.Phases, p.Around) {
		a.Phases[ph.Name], a.Bytes[ph.Name] = ph.Actual.Seconds, ph.Actual.BytesWritten
		a.Between -= ph.Actual.Seconds
	}
	if a.Differs, err = otherJob(ctx, j, d, s); err != nil {
		return invalid(err)
	}
	x.Actual = a
	return nil
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

// otherJob names what else differs between a run's job and a job file, its plan excepted: that of the run is shown.
func otherJob(ctx context.Context, j *conf.Job, d *data, s *results.Summary) ([]string, error) {
	var out differences
	now := &origin{}
	for _, f := range d.tables {
		in, err := digestOf(ctx, f)
		if err != nil {
			return nil, err
		}
		now.Table = append(now.Table, in)
	}
	if now.tableDigest() != s.Digests["table"] {
		out = append(out, "the table's content")
	}
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
	return out, nil
}

// knobs are those of a run's plan that its user had set.
func knobs(p *results.Plan) (set conf.Plan) {
	for knob, from := range p.From {
		if from != "file" && from != "set" {
			continue
		}
		switch knob {
		case "inference":
			set.Inference = p.Inference
		case "placement":
			set.Placement = p.Placement
		case "join":
			set.Join = p.Join
		case "storage":
			set.Storage = p.Storage
		case "networks":
			set.Networks = p.Networks
		case "cpu":
			set.CPU = p.CPU
		case "partitions":
			set.Partitions = p.Partitions
		case "batch":
			set.Batch = p.Batch
		}
	}
	return set
}
