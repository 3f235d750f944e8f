package run

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/linkedin/goavro/v2"

	"github.com/vista-mr/vista-mr/jobs/evaluate"
	"github.com/vista-mr/vista-mr/jobs/extract"
	"github.com/vista-mr/vista-mr/layers/ort"
	"github.com/vista-mr/vista-mr/lr"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs/local"
	"github.com/vista-mr/vista-mr/mr/journal"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/progress"
	"github.com/vista-mr/vista-mr/vistaopt"
	"github.com/vista-mr/vista-mr/vistaopt/compile"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// TestAllPlansGiveWhatTheOracleGives is the thesis of the system: how a workload is run changes its cost
// and nothing else. Plans with the same inference and join give the same bits, because the optimizer chooses everything else
// by the machines at hand.
func TestAllPlansGiveWhatTheOracleGives(t *testing.T) {
	rt := startRuntime(t)
	for _, required := range []bool{true, false} {
		w := newWorld(t, required)
		w.compare(t, rt, allPlans())
	}
}

// compare runs plans and compares what each gives with what the oracle does.
func (w *world) compare(t *testing.T, rt *ort.Runtime, plans []plan.Plan) {
	t.Helper()
	required := w.job.Images.Required
	n := w.network(t)
	want := w.oracle(t, rt, n, required)
	if len(want.records) < 50 || want.count["bad"] == 0 {
		t.Fatalf("the oracle has %d records, counts %v", len(want.records), want.count)
	}
	var reference *evaluate.Report
	var causes map[string]int64
	exact := map[string][]byte{} // reports by the knobs that may change bits
	for _, p := range plans {
		t.Run(fmt.Sprintf("required=%v/%s", required, strings.ReplaceAll(p.String(), " ", "_")), func(t *testing.T) {
			phases := w.run(t, rt, n, p)
			compareRecords(t, w, want, phases)
			compareCounts(t, want, phases)
			compareWork(t, n, p, want, phases)
			w.compareEstimate(t, n, p)
			if reference != nil {
				compareCauses(t, causes, phases)
			}
			causes = sums(phases, "bad.")
			w.compareFiles(t, p, phases)
			report := phases[compile.EvaluatePhase].Tasks[0].Value
			if bits := string(p.Inference) + " " + string(p.Join); exact[bits] == nil {
				exact[bits] = report
			} else if !bytes.Equal(exact[bits], report) {
				t.Errorf("models and metrics differ from those of another plan with %s, where only bytes and times may", bits)
			}
			var r evaluate.Report
			if err := json.Unmarshal(report, &r); err != nil {
				t.Fatal(err)
			}
			if reference == nil {
				reference = &r
			}
			compareReports(t, reference, &r)
		})
	}
	w.compareForesight(t, causes)
}

// startRuntime starts the runtime, or skips the test where there is none and none is required.
func startRuntime(t *testing.T) *ort.Runtime {
	t.Helper()
	if _, err := ort.FindLibrary(); err != nil && !strings.Contains(os.Getenv("VISTA_REQUIRE"), "ort") {
		t.Skipf("needs the ONNX Runtime library: %v", err)
	}
	rt, err := ort.Init(ort.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // after the oracle's session is closed
		if err := rt.Close(); err != nil {
			t.Error(err)
		}
	})
	return rt
}

func allPlans() []plan.Plan {
	var out []plan.Plan
	for _, i := range plan.Inferences {
		for _, pl := range plan.Placements {
			for _, j := range plan.Joins {
				for _, s := range plan.Storages {
					batch := 2 + len(out)%2 // plans that differ in their storage differ in this, too
					out = append(out, plan.Plan{Inference: i, Placement: pl, Join: j, Storage: s, CPU: 2, Partitions: 4, Batch: batch})
				}
			}
		}
	}
	return out
}

// run runs the compiled plan in a folder of its own.
func (w *world) run(t *testing.T, rt *ort.Runtime, n networks, p plan.Plan) map[mr.PhaseID]*mr.PhaseManifest {
	t.Helper()
	d, err := readInput(t.Context(), w.job, progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(w.dir, "run", strings.ReplaceAll(p.String(), " ", "_"))
	if err := os.MkdirAll(filepath.Join(dir, "tmp"), 0o777); err != nil {
		t.Fatal(err)
	}
	in := inputs(w.job, d, n, &vistaopt.Choice{Plan: p})
	if in.Splits, err = d.images.Write(t.Context(), local.New(dir, false), imageIndex, p.Partitions); err != nil {
		t.Fatal(err)
	}
	shareModels(t, dir, filepath.Join(w.dir, "models"))
	models, err := n.writePrograms(t.Context(), local.New(dir, true), p, in)
	if err != nil {
		t.Fatal(err)
	}
	in.Model = models.find
	phases, err := compile.Compile(p, in)
	if err != nil {
		t.Fatal(err)
	}
	pr := &prepared{kept: kept{Plan: p}, Spec: mr.JobSpec{ID: "job", Phases: phases},
		Room: vistaopt.Room{Sort: 1 << 20, Cache: 64 << 10}} // a cache that overflows to disk
	ev := &watch{job: pr, sink: progress.Discard, events: &events{w: journal.NewWriter(io.Discard, time.Now)}}
	out, err := runPhases(context.WithoutCancel(t.Context()), pr, dir, rt, ev)
	if err != nil {
		t.Fatal(err)
	}
	for _, ph := range phases {
		if out[ph.ID] == nil {
			t.Fatalf("phase %s was not published", ph.ID)
		}
	}
	w.dirOfRun, w.chain, w.names = dir, phases, n.names()
	return out
}

// compareRecords reads the exported features with goavro and compares them with the oracle's.
func compareRecords(t *testing.T, w *world, want *expected, phases map[mr.PhaseID]*mr.PhaseManifest) {
	t.Helper()
	for _, layer := range w.names {
		largest := 0.0
		for _, r := range want.records {
			for _, v := range r.features[layer] {
				largest = max(largest, math.Abs(v))
			}
		}
		got := map[string]bool{}
		for _, f := range phases[compile.FeaturesPhase].Files("features/" + layer) {
			data, err := os.ReadFile(filepath.Join(w.dirOfRun, string(f.Path)))
			if err != nil {
				t.Fatal(err)
			}
			in, err := goavro.NewOCFReader(bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}
			for in.Scan() {
				rec, err := in.Read()
				if err != nil {
					t.Fatal(err)
				}
				m := rec.(map[string]any)
				key := m["id"].(string)
				truth, ok := want.records[key]
				if !ok || got[key] {
					t.Fatalf("%s: record %q is too many", layer, key)
				}
				got[key] = true
				if m["label"] != truth.label || m["split"] != truth.split {
					t.Errorf("%s: %q has label %v and split %v, want %s and %s", layer, key, m["label"], m["split"], truth.label, truth.split)
				}
				v := m["features"].([]any)
				if len(v) != len(truth.features[layer]) {
					t.Fatalf("%s: %d features, want %d", layer, len(v), len(truth.features[layer]))
				}
				for i, x := range v {
					if d := math.Abs(float64(x.(float32)) - truth.features[layer][i]); d > 3e-5*largest {
						t.Fatalf("%s: feature %d of %q is %v, want %v", layer, i, key, x, truth.features[layer][i])
					}
				}
			}
		}
		if len(got) != len(want.records) {
			t.Errorf("%s: %d records, want %d", layer, len(got), len(want.records))
		}
	}
}

func compareCounts(t *testing.T, want *expected, phases map[mr.PhaseID]*mr.PhaseManifest) {
	t.Helper()
	for _, name := range []string{"rows", "images", "images.several", "matched", "bad", "bad.duplicate-key", "bad.no-row", "bad.no-image", "bad.truncated", "left-out.row", "left-out.image", "left-out.aside"} {
		n := int64(0)
		for _, p := range phases {
			n += p.Sum(name)
		}
		if n != want.count[name] {
			t.Errorf("%d %s, want %d", n, name, want.count[name])
		}
	}
}

// sums are the counters that begin with a prefix.
func sums(phases map[mr.PhaseID]*mr.PhaseManifest, prefix string) map[string]int64 {
	out := map[string]int64{}
	for _, p := range phases {
		for _, task := range p.Tasks {
			for name, n := range task.Counters {
				if strings.HasPrefix(name, prefix) {
					out[name] += n
				}
			}
		}
	}
	return out
}

func compareCauses(t *testing.T, want map[string]int64, phases map[mr.PhaseID]*mr.PhaseManifest) {
	t.Helper()
	if d := cmp.Diff(want, sums(phases, "bad.")); d != "" {
		t.Errorf("causes differ from the plan before (-want +got):\n%s", d)
	}
}

// compareWork counts the images that went through the CNN: once where the plan promises that, and once for each layer
// where it recomputes.
func compareWork(t *testing.T, n networks, p plan.Plan, want *expected, phases map[mr.PhaseID]*mr.PhaseManifest) {
	t.Helper()
	seen, joined, tried, k, all := want.count["decodable"], want.count["matched"], want.count["tried"], int64(len(n.names())), int64(len(n))
	if p.Placement == plan.AfterJoin {
		seen, tried = joined, want.count["tried.joined"]
	}
	images := map[plan.Inference]int64{plan.Fused: all * seen, plan.Lazy: k * seen, plan.Staged: k * seen, plan.Eager: all*seen + k*joined}[p.Inference]
	if got := sums(phases, "cnn.images")["cnn.images"]; got != images {
		t.Errorf("%d images went through the CNN's programs, want %d", got, images)
	}
	passes := all
	switch {
	case p.Networks == plan.Together:
		passes = 1
	case p.Inference == plan.Lazy:
		passes = k
	}
	if got := sums(phases, extract.Decodes)[extract.Decodes]; got != passes*tried {
		t.Errorf("%d images were decoded, want %d times %d", got, passes, tried)
	}
}

// compareFiles sees to it that what a phase drops is gone from the disk, that nothing large stays but what is kept,
// and that every layer's vectors are accounted for.
func (w *world) compareFiles(t *testing.T, p plan.Plan, phases map[mr.PhaseID]*mr.PhaseManifest) {
	t.Helper()
	for id, m := range phases {
		for _, task := range m.Tasks {
			for _, f := range task.Files {
				kept := f.Channel == mr.Quarantine || id == compile.TablePhase || id == compile.FeaturesPhase || slices.Contains([]string{"base", "failed", "predictions"}, f.Channel)
				_, err := os.Stat(filepath.Join(w.dirOfRun, string(f.Path)))
				if (err == nil) != kept {
					t.Errorf("%s of phase %s, channel %q: %v; it is to be kept: %v", f.Path, id, f.Channel, err, kept)
				}
			}
		}
	}
	pub := &publisher{phases: phases, p: &prepared{Spec: mr.JobSpec{Phases: w.chain}}}
	for _, l := range w.names {
		if pub.stored(extract.Pooled(l)) == 0 {
			t.Errorf("layer %s has no stored bytes", l)
		}
	}
}

func compareReports(t *testing.T, want, got *evaluate.Report) {
	t.Helper()
	if got.Train != want.Train || got.Test != want.Test || !slices.Equal(got.Classes, want.Classes) {
		t.Errorf("trained on %d, tested on %d of %v; want %d, %d of %v", got.Train, got.Test, got.Classes, want.Train, want.Test, want.Classes)
	}
	for i := range want.Targets {
		a, b := &want.Targets[i], &got.Targets[i]
		if a.Name != b.Name || math.Abs(a.Metrics["log-loss"].Value-b.Metrics["log-loss"].Value) > 1e-3 {
			t.Errorf("target %q has log-loss %v, target %q of the first plan %v", b.Name, b.Metrics["log-loss"].Value, a.Name, a.Metrics["log-loss"].Value)
		}
		compareModels(t, a.Name, a.Model.Model, b.Model.Model)
	}
}

func compareModels(t *testing.T, name string, want, got *lr.Model) {
	t.Helper()
	largest, apart := 0.0, 0.0
	for k, w := range want.Weights {
		if len(got.Weights) != len(want.Weights) || len(got.Weights[k]) != len(w) {
			t.Fatalf("target %q: %d scores of %d weights, want %d of %d", name, len(got.Weights), len(got.Weights[k]), len(want.Weights), len(w))
		}
		apart = max(apart, math.Abs(got.Intercepts[k]-want.Intercepts[k])/max(1, math.Abs(want.Intercepts[k])))
		for j, v := range w {
			largest = max(largest, math.Abs(float64(v)))
			apart = max(apart, math.Abs(float64(v-got.Weights[k][j])))
		}
	}
	if apart > 1e-3*max(largest, 1) {
		t.Errorf("target %q: weights up to %v are %v apart", name, largest, apart)
	}
}
