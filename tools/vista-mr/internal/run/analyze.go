package run

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/results"
	"github.com/vista-mr/vista-mr/mr/journal"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
	"github.com/vista-mr/vista-mr/vistaopt"
	"github.com/vista-mr/vista-mr/vistaopt/explain"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// analyze adds what a finished run has measured, whose output is given, and puts the plan and the estimates that it was made with in place
// of those of now: they are what its figures are compared with. again makes the choice of its plan anew, for what its results have no
// estimate of. A run that did other work is refused, because its times say nothing of these estimates, and so is one whose figures no run
// can have measured; what else differs is noted. tracker says that the plan is made for the workers of one.
func analyze(ctx context.Context, j *conf.Job, x *explain.Explanation, d *data, output string, tracker bool, again func(plan.Plan) (*vistaopt.Choice, error)) error {
	_, s, err := Results(ctx, output)
	if err != nil {
		return err
	}
	p := &s.Plan
	refuse := func(why string) error {
		return noResults("E-RESULTS", conf.URI(output).LocalPath(), ResultsFile+" makes no sense: "+why, "give the output of another run, or run the job again", nil)
	}
	begun := begun(ctx, output)
	if why := senseless(s, begun == 1); why != "" {
		return refuse(why)
	}
	if other := otherWork(j, x, d, s); len(other) > 0 {
		return exit.As(exit.Invalid, &InputError{ID: "E-OTHER-RUN", Key: "analyze", Path: output, Cause: "has done other work than the job file asks for: " + strings.Join(other, "; "),
			Next: "name a run of this job, or explain the job file of that run"})
	}
	c, err := again(planOf(p))
	if err != nil {
		return err
	}
	if why := otherPhases(p, c.Estimate.Phases); why != "" {
		return refuse(why)
	}
	a := &explain.Actual{Seconds: p.Actual.Seconds, Between: p.Actual.Seconds, Memory: p.Actual.PeakMemory, Written: p.Actual.BytesWritten, Phases: map[string]float64{}, Bytes: map[string]int64{},
		Plan: planOf(p), Machines: otherMachines(p.Machines, x, tracker), Interrupted: max(begun-1, 0)}
	for _, ph := range slices.Concat(p.Phases, p.Around) {
		a.Phases[ph.Name], a.Bytes[ph.Name] = ph.Actual.Seconds, ph.Actual.BytesWritten
		a.Between -= ph.Actual.Seconds
	}
	if a.Differs, err = otherJob(ctx, j, d, s); err != nil {
		return invalid(err)
	}
	a.Now = explain.Now{Plan: x.Plan, Seconds: x.Estimate.Seconds, Memory: x.Estimate.Memory, Written: x.Estimate.Written}
	if x.Plan != a.Plan { // what is said of the other one is not of this
		x.Plan, x.Regions, x.Pinned, x.Rejected, x.Thresholds = a.Plan, c.Regions, c.Pinned, nil, nil
	}
	if x.From = maps.Clone(p.From); x.From == nil {
		x.From = map[string]string{}
	}
	x.Override = nil // it is by estimates of now
	x.Estimate, a.Lacking = estimated(p, &c.Estimate)
	x.Actual = a
	return nil
}

// estimated is what a run was expected to cost when it was planned, as its results say. Where they do not, what its plan is expected to
// cost now stands in, of which lacking has the names.
func estimated(p *results.Plan, now *vistaopt.Estimate) (e vistaopt.Estimate, lacking []string) {
	around := func(name string) results.Phase {
		if i := slices.IndexFunc(p.Around, func(ph results.Phase) bool { return ph.Name == name }); i >= 0 {
			return p.Around[i]
		}
		return results.Phase{Name: name}
	}
	for _, ph := range slices.Concat([]results.Phase{around(vistaopt.StartPhase)}, p.Phases, []results.Phase{around(vistaopt.ResultsPhase)}) {
		of := vistaopt.PhaseEstimate{Name: ph.Name}
		if i := slices.IndexFunc(now.Phases, func(e vistaopt.PhaseEstimate) bool { return e.Name == ph.Name }); i >= 0 {
			of = now.Phases[i]
		}
		if ph.Tasks > 0 {
			of.Tasks = ph.Tasks
		}
		switch was := ph.Estimate; {
		case was != nil:
			of.Seconds, of.Compute, of.Read, of.Written = was.Seconds, was.CoreSeconds, was.BytesRead, was.BytesWritten
		case of.Seconds == 0: // nobody has estimated it
			continue
		default:
			lacking = append(lacking, ph.Name)
		}
		e.Phases = append(e.Phases, of)
		e.Compute += of.Compute
	}
	if was := p.Estimate; was != nil && was.Seconds > 0 && was.PeakMemory > 0 {
		e.Seconds, e.Written, e.Memory = was.Seconds, was.BytesWritten, was.PeakMemory
	} else {
		e.Seconds, e.Written, e.Memory = now.Seconds, now.Written, now.Memory
		lacking = append(lacking, explain.InAll)
	}
	return e, lacking
}

// begun is how many processes have worked on a finished run, as its event log says: each begins there, all but the first to take the run
// up again. 0 where that is not known.
func begun(ctx context.Context, output string) int {
	at, err := openPlace(ctx, conf.URI(output))
	if err != nil {
		return 0
	}
	b, err := readEvents(ctx, at)
	if err != nil {
		return 0
	}
	n := 0
	err = journal.Read(bytes.NewReader(b), func(e journal.Event) error {
		if e.Kind == started {
			n++
		}
		return nil
	})
	if err != nil {
		return 0
	}
	return n
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
