package run

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	validator "github.com/santhosh-tekuri/jsonschema/v6"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/results"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/progress"
	"github.com/vista-mr/vista-mr/vistaopt"
	"github.com/vista-mr/vista-mr/vistaopt/explain"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// ran is a finished run of the job of one network of the user's own.
func ran(t *testing.T, sets func(j *conf.Job)) (*world, *conf.Job) {
	t.Helper()
	alone(t)
	w := newWorld(t, true)
	w.ownNetwork(t)
	w.job.Keep.Features = false
	sets(w.job)
	if _, err := Submit(t.Context(), w.job, Options{}); err != nil {
		t.Fatal(err)
	}
	return w, w.job
}

func analyzed(ctx context.Context, j conf.Job) (*explain.Explanation, error) {
	return Explain(ctx, &j, Options{Analyze: string(j.Output)})
}

// TestAnalyze: every part of the estimate has what was measured, the parts add up to the whole, and a run of the very job differs in
// nothing, whatever its plan.
func TestAnalyze(t *testing.T) {
	for name, sets := range map[string]func(j *conf.Job){
		"chosen":      func(j *conf.Job) { j.Plan.Networks = "apart" }, // which says nothing of one network
		"shuffle":     func(j *conf.Job) { j.Plan.Join, j.Plan.Placement, j.Plan.Partitions = "shuffle", "after-join", 3 },
		"before-join": func(j *conf.Job) { j.Plan.Placement, j.Plan.Inference, j.Plan.CPU = "before-join", "staged", 1 },
		"eager":       func(j *conf.Job) { j.Plan.Placement, j.Plan.Inference, j.Plan.Join = "before-join", "eager", "shuffle" },
		"features":    func(j *conf.Job) { j.Keep.Features = true },
		"networks": func(j *conf.Job) {
			j.CNN[0].Name = "first"
			j.CNN = append(j.CNN, j.CNN[0])
			j.CNN[1].Name, j.Plan.Inference = "second", "staged"
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, j := ran(t, sets)
			x, err := analyzed(t.Context(), *j)
			if err != nil {
				t.Fatal(err)
			}
			a := x.Actual
			sum := a.Between
			for phase, s := range a.Phases {
				if sum += s; s <= 0 {
					t.Errorf("%s took %v s", phase, s)
				}
			}
			if math.Abs(sum-a.Seconds) > 1e-6 || a.Seconds <= 0 {
				t.Errorf("parts add up to %v s of %v", sum, a.Seconds)
			}
			for _, p := range x.Estimate.Phases {
				if _, ok := a.Phases[p.Name]; !ok {
					t.Errorf("nothing was measured of %s: %v", p.Name, a.Phases)
				}
			}
			comparesWithItself(t, x, string(j.Output))
			if len(a.Phases) != len(x.Estimate.Phases) || a.Plan != x.Plan || len(a.Differs) > 0 || a.Interrupted != 0 {
				t.Errorf("measured %v of %s, which differs in %q; estimated %v of %s", a.Phases, a.Plan, a.Differs, x.Estimate.Phases, x.Plan)
			}
			satisfies(t, x)
			// It is compared with what it was planned by, whatever the job file would be planned by now, which is said.
			other := *j
			other.Plan = conf.Plan{Inference: "lazy"}
			if x, err = analyzed(t.Context(), other); err != nil || len(x.Actual.Differs) > 0 || x.Plan != a.Plan || x.Actual.Now.Plan.Inference != "lazy" ||
				!strings.Contains(strings.Join(strings.Fields(string(x.Text())), " "), "planned now the job would have another plan: lazy ") {
				t.Errorf("%v, %+v", err, x)
			}
			satisfies(t, x)
		})
	}
}

// comparesWithItself sees to it that what a run was expected to cost is what its results say, and not what is expected now.
func comparesWithItself(t *testing.T, x *explain.Explanation, output string) {
	t.Helper()
	_, s, err := Results(t.Context(), output)
	if err != nil {
		t.Fatal(err)
	}
	if e, was := &x.Estimate, s.Plan.Estimate; e.Seconds != was.Seconds || e.Memory != was.PeakMemory || e.Written != was.BytesWritten || len(x.Actual.Lacking) > 0 {
		t.Errorf("estimate %v s, %d and %d bytes, without %q; results have %+v", e.Seconds, e.Memory, e.Written, x.Actual.Lacking, was)
	}
	for i, ph := range slices.Concat(s.Plan.Around[:1], s.Plan.Phases, s.Plan.Around[1:]) {
		if e := x.Estimate.Phases[i]; e.Name != ph.Name || e.Tasks != ph.Tasks || e.Seconds != ph.Estimate.Seconds || e.Compute != ph.Estimate.CoreSeconds || e.Written != ph.Estimate.BytesWritten {
			t.Errorf("estimate %+v; results have %+v, %+v", e, ph, ph.Estimate)
		}
	}
}

// satisfies sees to it that an explanation of a real job satisfies the published schema.
func satisfies(t *testing.T, x *explain.Explanation) {
	t.Helper()
	doc, err := validator.UnmarshalJSON(bytes.NewReader(explain.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := validator.NewCompiler()
	if err := c.AddResource("x", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("x")
	if err != nil {
		t.Fatal(err)
	}
	data, err := x.JSON()
	if err != nil {
		t.Fatal(err)
	}
	inst, err := validator.UnmarshalJSON(bytes.NewReader(data))
	if err == nil {
		err = s.Validate(inst)
	}
	if err != nil {
		t.Error(err)
	}
}

// under is a path as a job file beside the data names it.
func under(t *testing.T, w *world, name string) conf.URI {
	t.Helper()
	rel, err := filepath.Rel(w.dir, name)
	if err != nil || strings.HasPrefix(rel, "..") {
		t.Fatalf("%s is not below %s: %v", name, w.dir, err)
	}
	return conf.URI(rel)
}

// TestAnalyzeOfAnotherJob: a run that did other work is refused, with what differs; what takes no other time is noted.
func TestAnalyzeOfAnotherJob(t *testing.T) {
	w, j := ran(t, func(*conf.Job) {})
	table, err := os.ReadFile(w.table)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(j *conf.Job)
		want   string // of the refusal, or of what differs
		exit   int
	}{
		"layers": {func(j *conf.Job) { j.CNN[0].Layers.Last = 1 }, "layers /f1_relu/Relu_output_0 /f2/Gemm_output_0 there, /f2/Gemm_output_0 here", 3},
		"pool":   {func(j *conf.Job) { j.CNN[0].Pool = "avg-1x1" }, "pool max-2x2 there, avg-1x1 here", 3},
		"network": {func(j *conf.Job) {
			j.CNN[0] = conf.DefaultCNN()
			j.CNN[0].Model, j.CNN[0].Weights = "alexnet", "random"
		}, "model small.onnx there, alexnet here", 3},
		"networks": {func(j *conf.Job) { j.CNN = append(j.CNN, j.CNN[0]); j.CNN[1].Name = "second" }, "networks 1 there, 2 here", 3},
		"preprocess": {func(j *conf.Job) {
			j.CNN[0].Preprocess = conf.Preprocess{Inline: &conf.PreprocessSettings{EXIF: "ignore", Channels: "BGR", Resize: 32, Interpolation: "bilinear", Crop: 30, Scale: 1, Mean: []float64{0, 0, 0}, Std: []float64{1, 1, 1}}}
		}, "preprocess ", 3},
		"rows":    {func(*conf.Job) { save(t, w.table, append(slices.Clone(table), "more,1,2,red,3\n"...)) }, "rows 63 there, 64 here", 3},
		"columns": {func(j *conf.Job) { j.Table.Features = []string{"x"} }, "columns 3 there, 1 here", 3},
		"images":  {func(*conf.Job) { save(t, w.images+"/late.png", []byte("late")) }, "images ", 3},
		"content": {func(*conf.Job) { save(t, w.table, bytes.Replace(table, []byte("ragged,1,2"), []byte("ragged,1,3"), 1)) }, "the table's content", 0},
		"name":    {func(j *conf.Job) { j.Name = "other" }, "name small there, other here", 0},
		"seed":    {func(j *conf.Job) { j.Seed = 3 }, "seed 7 there, 3 here", 0},
		"kind":    {func(j *conf.Job) { j.Downstream.Kind = "linear-svc" }, "downstream.kind logistic-regression there, linear-svc here", 0},
		"folds":   {func(j *conf.Job) { j.Downstream.Folds = 3 }, "keys of the job file that results do not record", 0},
		"memory":  {func(j *conf.Job) { j.Limits.Memory = 4 << 30 }, "", 0},
		"relative": {func(j *conf.Job) { // a tracker was sent paths that begin at the root
			t.Chdir(w.dir)
			j.Table.URI, j.Images.URI, j.CNN[0].Model = under(t, w, string(j.Table.URI)), under(t, w, string(j.Images.URI)), string(under(t, w, j.CNN[0].Model))
		}, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			save(t, w.table, table)
			t.Cleanup(func() { _ = os.Remove(w.images + "/late.png") }) // most have none
			other := *j
			other.CNN = slices.Clone(j.CNN)
			c.change(&other)
			x, err := analyzed(t.Context(), other)
			switch {
			case c.exit != 0:
				if errorID(err) != "E-OTHER-RUN" || exit.Code(err) != c.exit || !strings.Contains(fmt.Sprint(err), c.want) {
					t.Errorf("%v, exit code %d; want %q and %d", err, exit.Code(err), c.want, c.exit)
				}
			case err != nil:
				t.Error(err)
			case c.want == "" && len(x.Actual.Differs) > 0, c.want != "" && (len(x.Actual.Differs) != 1 || !strings.HasPrefix(x.Actual.Differs[0], c.want)):
				t.Errorf("differs in %q, want %q", x.Actual.Differs, c.want)
			}
		})
	}
}

// TestAroundOfARunTakenUp: what the last run has done around its phases is told, also where an earlier one had run all of them.
func TestAroundOfARunTakenUp(t *testing.T) {
	alone(t)
	w := newWorld(t, true)
	w.ownNetwork(t)
	ctx, sink := stopAt(t, func(u progress.Update) bool { return u.Stage == "evaluate" && u.End })
	if _, err := Submit(ctx, w.job, Options{Progress: sink}); !errs.Is(err, errs.Canceled) {
		t.Fatalf("stopped: %v", err)
	}
	s, err := Submit(t.Context(), w.job, Options{Resume: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Plan.Around) != 2 {
		t.Fatalf("around the phases: %+v", s.Plan.Around)
	}
	for i, name := range []string{"start", "results"} {
		if p := s.Plan.Around[i]; p.Name != name || p.Estimate == nil || p.Actual.Seconds <= 0 || p.Actual.Seconds > s.Seconds {
			t.Errorf("%s: %+v of %v s", name, p, s.Seconds)
		}
	}
	x, err := analyzed(t.Context(), *w.job)
	if err != nil || x.Actual.Interrupted != 1 {
		t.Fatalf("%v, %+v", err, x)
	}
	satisfies(t, x)
	// Without its log nobody knows.
	log := filepath.Join(w.job.Output.LocalPath(), EventsFile)
	if err := os.Remove(log); err != nil {
		t.Fatal(err)
	}
	if x, err := analyzed(t.Context(), *w.job); err != nil || x.Actual.Interrupted != 0 {
		t.Errorf("without a log: %v, %+v", err, x)
	}
}

// TestAnalyzeComparesWithTheRun: what the cache has learnt since a run, and figures that are not its own, do not change what its
// measurements are compared with; what its results do not say is what is expected now, which is said.
func TestAnalyzeComparesWithTheRun(t *testing.T) {
	_, j := ran(t, func(*conf.Job) {})
	file := OutputFile(j.Output, ResultsFile)
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	now, err := Explain(t.Context(), j, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change  func(p *results.Plan)
		lacking string
		says    string
		silent  string
	}{
		"as it ran": {func(p *results.Plan) {
			p.Estimate = &results.Cost{Seconds: now.Estimate.Seconds, PeakMemory: now.Estimate.Memory, BytesWritten: now.Estimate.Written}
		}, "", " (made before the run) For", "planned now"},
		"slower before": {func(p *results.Plan) {
			p.Estimate.Seconds, p.Phases[1].Estimate.Seconds = 1000, 900
		}, "", "planned now it would be expected to take ", "stands in"},
		"more memory before": {func(p *results.Plan) { p.Estimate.PeakMemory *= 2 }, "", "planned now it would be expected to take ", "stands in"},
		"no sums":            {func(p *results.Plan) { p.Estimate = nil }, "in all", "what is expected now stands in: in all", "(made before"},
		"no phase":           {func(p *results.Plan) { p.Phases[0].Estimate = nil }, "table", "what is expected now stands in: table", ""},
		"nothing around":     {func(p *results.Plan) { p.Around = nil }, "start results", "what is expected now stands in: start, results", ""},
		"no peak":            {func(p *results.Plan) { p.Actual.PeakMemory = 0 }, "", "Measured peak memory is not known, estimate ", "()"},
	} {
		s, err := results.Parse(good)
		if err != nil {
			t.Fatal(err)
		}
		c.change(&s.Plan)
		b, err := results.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		save(t, file, b)
		x, err := analyzed(t.Context(), *j)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		says := strings.Join(strings.Fields(string(x.Text())), " ")
		if strings.Join(x.Actual.Lacking, " ") != c.lacking || !strings.Contains(says, c.says) || c.silent != "" && strings.Contains(says, c.silent) {
			t.Errorf("%s: without %q, want %q; %q and not %q:\n%s", name, x.Actual.Lacking, c.lacking, c.says, c.silent, x.Text())
		}
		if c.lacking == "" {
			if x.Estimate.Seconds != s.Plan.Estimate.Seconds || x.Estimate.Memory != s.Plan.Estimate.PeakMemory || x.Estimate.Phases[2].Seconds != s.Plan.Phases[1].Estimate.Seconds {
				t.Errorf("%s: %+v, want %+v", name, x.Estimate, s.Plan.Estimate)
			}
		}
		if x.Actual.Now.Seconds != now.Estimate.Seconds || x.Actual.Now.Plan != now.Plan {
			t.Errorf("%s: now %+v, want %v of %s", name, x.Actual.Now, now.Estimate.Seconds, now.Plan)
		}
		satisfies(t, x)
	}
}

// TestChosenOnce: who is asked about the same networks again has the choice that there is, and about others a new one.
func TestChosenOnce(t *testing.T) {
	w := newWorld(t, true)
	d, err := readInput(t.Context(), w.job, progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	ns := w.network(t)
	chosen := onceChosen(w.job, d, nil)
	m := vistaopt.Machine{Cores: 2, Memory: 4 << 30}
	ask := func() *vistaopt.Choice {
		t.Helper()
		c, _, err := chosen(ns, m)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := ask()
	if ask() != first {
		t.Error("the same was chosen twice")
	}
	ns[0].size.WeightBytes += 1 << 30
	larger := ask()
	if larger == first || larger.Regions.Model <= first.Regions.Model {
		t.Errorf("of a larger network %+v", larger.Regions)
	}
	m.Memory = 8 << 30
	if ask() == larger {
		t.Error("more memory changes nothing")
	}
	m.Memory = 1 << 20
	if _, _, err := chosen(ns, m); exit.Code(err) != int(exit.Infeasible) {
		t.Errorf("where nothing fits: %v", err)
	}
}

// TestNetworksOfOneAreIgnored: that plan.networks says nothing of one network is said wherever the job is looked at, and it runs.
func TestNetworksOfOneAreIgnored(t *testing.T) {
	const says = "plan.networks is ignored: the job has one network."
	alone(t)
	w := newWorld(t, true)
	w.ownNetwork(t)
	w.job.Plan.Networks = "together"
	found, err := Validate(t.Context(), w.job, Options{})
	if err != nil || !strings.Contains(found[0].Detail, says) {
		t.Errorf("validate: %v, %v", found, err)
	}
	x, err := Explain(t.Context(), w.job, Options{})
	if err != nil || !strings.Contains(string(x.Text()), says) {
		t.Errorf("explain: %v", err)
	}
	core, logs := observer.New(zap.WarnLevel)
	s, err := Submit(t.Context(), w.job, Options{Log: zap.New(core)})
	if err != nil || !slices.Contains(s.Warnings, says) || logs.FilterMessage(says).Len() != 1 || s.Plan.Networks != "" {
		t.Errorf("submit: %v, %+v", err, logs.All())
	}
}

// TestMoreMemoryThanThereIs: a limit that is more than the machine has is said not to count, wherever knobs are that do not; one that is
// less, or none, is not.
func TestMoreMemoryThanThereIs(t *testing.T) {
	for name, c := range map[string]struct {
		limit conf.Bytes
		m     vistaopt.Machine
		want  string
	}{
		"none":          {0, vistaopt.Machine{Memory: 8 << 30}, ""},
		"as much":       {8 << 30, vistaopt.Machine{Memory: 8 << 30}, ""},
		"no limit":      {8 << 30, vistaopt.Machine{}, ""},
		"of a machine":  {100 << 30, vistaopt.Machine{Memory: 47 << 29, Least: vistaopt.ThisMachine}, "limits.memory is 23.5 GiB instead of 100.0 GiB: this machine has no more."},
		"of a group":    {2 << 30, vistaopt.Machine{Memory: 1 << 30, Least: vistaopt.ControlGroup}, "limits.memory is 1024 MiB instead of 2048 MiB: this control group has no more."},
		"of a process":  {2 << 30, vistaopt.Machine{Memory: 1 << 30, Least: vistaopt.ThisProcess}, "limits.memory is 1024 MiB instead of 2048 MiB: this process has no more."},
		"of workers":    {2 << 30, vistaopt.Machine{Memory: 1 << 30, Least: "w1"}, "limits.memory is 1024 MiB instead of 2048 MiB: a worker has no more."},
		"of a bit less": {1<<30 + 1<<12, vistaopt.Machine{Memory: 1 << 30}, "limits.memory is 1.000000 GiB instead of 1.000004 GiB: a worker has no more."},
	} {
		j := &conf.Job{CNN: make([]conf.CNN, 1)}
		j.Limits.Memory = c.limit
		if got := strings.Join(idle(j, plan.Plan{}, c.m), " "); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	_, j := ran(t, func(j *conf.Job) { j.Limits.Memory = 1 << 50 })
	const says = " instead of 1048576.0 GiB: this "
	if got := explained(t, j); !strings.Contains(got, says) {
		t.Errorf("explain: %s", got)
	}
	if _, s, err := Results(t.Context(), string(j.Output)); err != nil || !strings.Contains(strings.Join(s.Warnings, " "), says) {
		t.Errorf("results: %v, %q", err, s.Warnings)
	}
}
