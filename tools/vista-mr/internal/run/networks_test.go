package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/images"
	"github.com/vista-mr/vista-mr/layers"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/progress"
	"github.com/vista-mr/vista-mr/vistaopt"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// TestPipelineOfEachLayersOwnNetwork: whichever layer of whichever network wins, the pipeline is cut from that network,
// takes what it takes of an image, and gives the job's own predictions.
func TestPipelineOfEachLayersOwnNetwork(t *testing.T) {
	rt := startRuntime(t)
	w := newWorld(t, false)
	w.job.Output = conf.URI(filepath.Join(w.dir, "out"))
	w.job.Limits.MaxBadFraction = 0.5
	w.job.CNN = append(w.job.CNN, w.job.CNN[0], w.job.CNN[0])
	w.job.CNN[1].Pool, w.job.CNN[2].Weights = "max-2x2", "" // as of a file with weights
	s, all := w.finish(t, rt, plan.Plan{Inference: plan.Fused, Placement: plan.AfterJoin, Join: plan.Broadcast, Storage: plan.Snappy, CPU: 2, Partitions: 4, Batch: 3, Networks: plan.Together})
	ns := w.network(t)
	var names []string
	for _, l := range s.Layers {
		names = append(names, l.Name)
		if l.CNN == "" || !strings.HasPrefix(l.Name, l.CNN+".") || l.Tensor == "" || l.Bytes == 0 {
			t.Errorf("layer %+v", l)
		}
		w.pub.report.Verdict.Best = l.Name
		if err := w.pub.pipeline(context.WithoutCancel(t.Context())); err != nil {
			t.Fatal(err)
		}
		v := *s
		v.Pipeline = w.pub.made
		w.look(ns, l.Name)
		if v.Pipeline.Layer != l.Name || v.Pipeline.Preprocess.Width != w.view.CropW || v.Pipeline.Preprocess.Interpolation != w.view.Interpolation {
			t.Errorf("%s: the pipeline is %+v", l.Name, v.Pipeline)
		}
		w.comparePipeline(t, filepath.Join(w.job.Output.LocalPath(), PipelineFile), &v, all[l.Name])
	}
	if !slices.Equal(names, ns.names()) || len(names) != 10 {
		t.Errorf("layers %v, want %v", names, ns.names())
	}
	if s.Job.Model != "one + slim + other" || len(s.Job.Networks) != 3 || s.Job.Networks[1].Name != "slim" || s.Plan.Networks != "together" {
		t.Errorf("the results say %q, %+v, networks %s", s.Job.Model, s.Job.Networks, s.Plan.Networks)
	}
	for _, n := range ns {
		if s.Digests["network."+n.name] != n.cnn.Digest {
			t.Errorf("digests %v", s.Digests)
		}
	}
	if notes := strings.Join(s.Warnings, " "); !strings.Contains(notes, "The weights of slim are random") || strings.Contains(notes, "of other are") {
		t.Errorf("notes: %s", notes)
	}
}

// two is the job of a network twice, in a world with the network's file.
func two(t *testing.T, w *world) *conf.Job {
	t.Helper()
	w.ownNetwork(t)
	second := w.job.CNN[0]
	second.Name, second.Layers.Last, second.Pool = "second", 1, "avg-1x1"
	w.job.CNN = append(w.job.CNN, second)
	return w.job
}

// TestSeveralNetworksAreTakenUpAgain: an interrupted run of several networks goes on with the plan that it had, and
// starts anew if one of the networks is another one now.
func TestSeveralNetworksAreTakenUpAgain(t *testing.T) {
	alone(t)
	for _, changed := range []bool{false, true} {
		w := newWorld(t, true)
		j := two(t, w)
		j.Plan.Networks = "apart"
		ctx, sink := stopAt(t, func(u progress.Update) bool { return u.Stage == "extract-small" && u.End })
		if _, err := Submit(ctx, j, Options{Progress: sink}); !errs.Is(err, errs.Canceled) {
			t.Fatalf("stopped: %v", err)
		}
		if changed {
			other := filepath.Join(w.dir, "net", "small.data")
			data, err := os.ReadFile(other)
			if err != nil {
				t.Fatal(err)
			}
			data[100] ^= 1
			save(t, other, data)
		}
		s, err := Submit(t.Context(), j, Options{Resume: true})
		if changed {
			var says interface{ ErrorID() string }
			if !errors.As(err, &says) || says.ErrorID() != "E-RESUME" || !strings.Contains(fmt.Sprint(err), "network") {
				t.Errorf("got %v", err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Layers) != 3 || s.Layers[2].Name != "second./f2/Gemm_output_0" || s.Layers[0].CNN != "small" || s.Counters.Other["decodes"] != 2*(s.Counters.Matched+1) {
			t.Errorf("%+v, counters %+v", s.Layers, s.Counters)
		}
		log, err := os.ReadFile(filepath.Join(j.Output.LocalPath(), EventsFile))
		if err != nil {
			t.Fatal(err)
		}
		if runs, phases, _ := phasesBegun(t, string(log)); runs != 2 || phases["extract-small"] != 1 || phases["extract-second"] == 0 {
			t.Errorf("%d runs, phases %v", runs, phases)
		}
	}
}

// Layers of two networks that would share a name, and whatever is wrong with one network, are said before anything runs.
func TestWrongNetworksAreRefused(t *testing.T) {
	alone(t)
	for name, c := range map[string]struct {
		change func(j *conf.Job)
		id     string
		want   string
	}{
		"no such layer": {func(j *conf.Job) { j.CNN[1].Layers = conf.Layers{Names: []string{"zz"}} }, "E-LAYER", "network second: "},
		"no file":       {func(j *conf.Job) { j.CNN[1].Model += ".gone.onnx" }, "E-MODEL", "cnn.1.model: "},
		"precision":     {func(j *conf.Job) { j.CNN[1].Precision = "int8" }, "E-UNSUPPORTED", "cnn.1.precision: int8"},
		"no room":       {func(j *conf.Job) { j.Limits.Memory = 100 << 20 }, "E-INFEASIBLE", "does not fit"},
		"one name":      {func(j *conf.Job) { j.CNN[1].Name, j.CNN[0].Name = "a.b", "a.b" }, "E-LAYER", "two layers would be called \"a.b."},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, true)
			j := w.listed(t)
			c.change(j)
			if _, err := Explain(t.Context(), j, Options{}); errorID(err) != c.id {
				t.Errorf("explained: %v", err)
			}
			_, err := Validate(t.Context(), j, Options{})
			if errorID(err) != c.id || !strings.Contains(fmt.Sprint(err), c.want) {
				t.Errorf("got %s %v", errorID(err), err)
			}
			var of *InputError
			if errors.As(err, &of) && exit.Code(err) != int(exit.Invalid) {
				t.Errorf("exit code %d", exit.Code(err))
			}
		})
	}
}

// TestProblemsOfAllNetworks: what is wrong with several networks is said at once, beside what else is wrong.
func TestProblemsOfAllNetworks(t *testing.T) {
	alone(t)
	w := newWorld(t, true)
	j := w.listed(t)
	j.CNN[0].Layers, j.CNN[1].Layers = conf.Layers{Names: []string{"yy"}}, conf.Layers{Names: []string{"zz"}}
	_, validated := Validate(t.Context(), j, Options{})
	_, explained := Explain(t.Context(), j, Options{})
	_, submitted := Submit(t.Context(), j, Options{})
	j.Output = conf.URI(filepath.Join(w.dir, "net"))
	_, beside := Validate(t.Context(), j, Options{})
	for name, c := range map[string]struct {
		err error
		n   int
	}{"validate": {validated, 2}, "explain": {explained, 2}, "submit": {submitted, 2}, "beside another": {beside, 3}} {
		var several *ProblemsError
		if !errors.As(c.err, &several) || len(several.Problems) != c.n || several.ErrorID() != "E-LAYER" || exit.Code(c.err) != int(exit.Invalid) {
			t.Errorf("%s: exit code %d: %v", name, exit.Code(c.err), c.err)
			continue
		}
		for i, want := range []string{`network small: .*small.onnx has no layer "yy"`, `network second: .*small.onnx has no layer "zz"`} {
			if got := several.Problems[i].Error(); !regexp.MustCompile(want).MatchString(got) {
				t.Errorf("%s: %s", name, got)
			}
		}
	}
}

// listed is the job of two networks as a job file's list gives it.
func (w *world) listed(t *testing.T) *conf.Job {
	t.Helper()
	two(t, w)
	text := fmt.Sprintf(`apiVersion: vista-mr/v1
name: listed
table: {uri: %s, key: name, label: colour}
images: {uri: %s}
cnn:
  - {model: %s, layers: 2, preprocess: %s}
  - {model: %s, layers: 1, preprocess: %s, name: second, pool: avg-1x1}
limits: {maxBadFraction: 1}
output: %s
`, w.table, w.images, w.job.CNN[0].Model, w.job.CNN[0].Preprocess.Name, w.job.CNN[0].Model, w.job.CNN[0].Preprocess.Name, filepath.Join(w.dir, "out"))
	j, err := conf.Load("listed.yaml", []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// TestExplainSeveralNetworks: an explanation names each network, and how they share the images is a knob of its own.
func TestExplainSeveralNetworks(t *testing.T) {
	alone(t)
	w := newWorld(t, true)
	j := w.listed(t)
	x, err := Explain(t.Context(), j, Options{})
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(string(x.Text())), " ") // sentences may go on in the next line
	for _, want := range []string{"networks together;", "network small (" + j.CNN[0].Model + "), layers small./f1_relu/Relu_output_0 small./f2/Gemm_output_0", "network second (" + j.CNN[0].Model + "), layers second./f2/Gemm_output_0 images of all networks: ", "snappy apart", "storage networks cpu"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	found, err := Validate(t.Context(), j, Options{})
	if err != nil {
		t.Fatal(err)
	}
	model := found[slices.IndexFunc(found, func(c Check) bool { return c.Name == "model" })].Detail
	shared := "; images of all networks: " + x.Networks[0].Preprocess
	if !strings.HasPrefix(model, "network small (") || !strings.Contains(model, "; network second (") || !strings.HasSuffix(model, shared) || strings.Count(model, x.Networks[0].Preprocess) != 1 {
		t.Errorf("validate says %q", model)
	}
	if x.Network != "small + second" || len(x.Networks) != 2 || x.Plan.Networks != plan.Together || x.Override != nil {
		t.Errorf("%q, %+v, %s, %+v", x.Network, x.Networks, x.Plan, x.Override)
	}
	j.Plan.Networks = "apart"
	if x, err = Explain(t.Context(), j, Options{}); err != nil {
		t.Fatal(err)
	}
	if x.Plan.Networks != plan.Apart || x.From["networks"] != "file" || x.Override == nil || !slices.Equal(x.Override.Knobs, []string{"plan.networks"}) || x.Override.Ratio < 1 || x.Override.Memory <= 0 || x.Override.Written <= 0 {
		t.Errorf("%s, %+v", x.Plan, x.Override)
	}
}

// slim is another one, for smaller images.
var slim = layers.Arch{Name: "slim", H: 18, W: 18, C: 3, Roster: []string{"c1", "f1"}, Steps: []layers.Step{
	{Op: "conv", Path: "a", Out: 5, Kernel: 3, Stride: 2, Pad: 1},
	{Op: "relu", Path: "a_relu", Layer: "c1"}, // 5 x 9 x 9
	{Op: "flatten"},
	{Op: "linear", Path: "f1", Out: 7, Layer: "f1"},
}}

// TestAllPlansOfSeveralNetworksGiveWhatTheOracleGives: three networks, two of which take the same of an image, each judged
// by itself; together or apart they give the same, and images are decoded once for all or once for each.
func TestAllPlansOfSeveralNetworksGiveWhatTheOracleGives(t *testing.T) {
	rt := startRuntime(t)
	w := newWorld(t, true)
	w.job.CNN = append(w.job.CNN, w.job.CNN[0], w.job.CNN[0])
	var plans []plan.Plan
	for i, p := range allPlans() {
		for k, n := range []plan.Networks{plan.Together, plan.Apart} {
			if p.Networks = n; p.Validate() == nil && (i+i/2+i/4+i/8+k)%2 == 0 { // each combination with one storage or the other
				plans = append(plans, p)
			}
		}
	}
	w.compare(t, rt, plans)
}

// compareEstimate sees to it that the phases whose cost is estimated are those that run.
func (w *world) compareEstimate(t *testing.T, n networks, p plan.Plan) {
	t.Helper()
	d, err := readInput(t.Context(), w.job, progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	c, err := vistaopt.Choose(p, n.sizes(), d.stats, training(w.job, d, n), vistaopt.Machine{Cores: 2, Memory: 8 << 30})
	if err != nil || c.Plan != p {
		t.Fatalf("%v was asked for: %v", p, err)
	}
	ran, estimated := map[string]bool{}, map[string]bool{}
	for _, ph := range w.chain {
		ran[string(ph.ID)] = true
	}
	for _, ph := range c.Estimate.Phases {
		if ph.Name != "start" && ph.Name != "results" {
			estimated[ph.Name] = true
		}
	}
	if d := cmp.Diff(ran, estimated); d != "" {
		t.Errorf("phases that ran and those estimated (-ran +estimated):\n%s", d)
	}
}

// TestAlbumsOfSeveralNetworks: vectors of several images of a record are combined for each network by itself.
func TestAlbumsOfSeveralNetworks(t *testing.T) {
	rt := startRuntime(t)
	w := newAlbum(t, false, images.Mean)
	w.job.CNN = append(w.job.CNN, w.job.CNN[0], w.job.CNN[0])
	n := w.network(t)
	want := w.oracleOfAlbums(t, rt, n, false, images.Mean)
	var plans []plan.Plan
	for _, p := range []plan.Plan{
		{Inference: plan.Fused, Placement: plan.AfterJoin, Join: plan.Broadcast, Networks: plan.Together},
		{Inference: plan.Fused, Placement: plan.BeforeJoin, Join: plan.Shuffle, Networks: plan.Together},
		{Inference: plan.Eager, Placement: plan.BeforeJoin, Join: plan.Shuffle, Networks: plan.Apart},
		{Inference: plan.Staged, Placement: plan.AfterJoin, Join: plan.Shuffle, Networks: plan.Apart},
	} {
		p.Storage, p.CPU, p.Partitions, p.Batch = plan.Snappy, 2, 5, 3
		plans = append(plans, p)
	}
	w.check(t, rt, n, want, plans)
}

// TestEachNetworkIsMeasured: a long job runs each of its networks for a second beforehand, those of one shape once, and
// plans with the speed of each; the next job remembers them.
func TestEachNetworkIsMeasured(t *testing.T) {
	alone(t)
	w := newWorld(t, false)
	w.job.CNN = append(w.job.CNN, w.job.CNN[0], w.job.CNN[0])
	ctx := t.Context()
	at, d, o := w.prepared(t)
	ns := w.network(t)
	m := vistaopt.Machine{Cores: 2, Memory: 4 << 30, Rates: ns.rates(o.ortVersion)}
	choice, _, err := choose(w.job, ns, d, nil, m)
	if err != nil {
		t.Fatal(err)
	}
	written, err := ns.writePrograms(ctx, at.store, choice.Plan, inputs(w.job, d, ns, choice))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range ns { // as prepare does
		if err := n.forget(); err != nil {
			t.Fatal(err)
		}
	}
	choice.Estimate.Seconds = 2 * worthwhile
	p, err := lay(ctx, w.job, d, ns, written, choice, m, &Claim{place: at}, o)
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(cacheDir(), "rates", "*"))
	if err != nil || len(files) != 2 {
		t.Errorf("%d networks were measured, %v; of the three two have one shape", len(files), err)
	}
	if p.Expect.Seconds >= choice.Estimate.Seconds || p.Plan.Networks != plan.Together {
		t.Errorf("planned anew it takes %.1f s, by %s", p.Expect.Seconds, p.Plan)
	}
	again := w.network(t)
	r := again.rates(o.ortVersion)
	if !r.Measured || again[0].size.Speed != again[2].size.Speed || again[0].size.Speed == again[1].size.Speed || strings.Count(r.Source, "measured on this machine") != 3 {
		t.Errorf("speeds %v, %v; %s", again[0].size.Speed, again[1].size.Speed, r.Source)
	}
	again[1].cnn.Name = "another"
	if r := again.rates(o.ortVersion); r.Measured || again[1].size.Speed != (vistaopt.Speed{}) || !strings.Contains(r.Source, "slim: the network by its multiply-accumulates") {
		t.Errorf("one of them was not measured: %v, %s", again[1].size.Speed, r.Source)
	}
}
