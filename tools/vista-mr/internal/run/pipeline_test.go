package run

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	onnxruntime "github.com/yalue/onnxruntime_go"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/evaluate"
	"github.com/vista-mr/vista-mr/jobs/export"
	"github.com/vista-mr/vista-mr/jobs/images"
	"github.com/vista-mr/vista-mr/jobs/results"
	"github.com/vista-mr/vista-mr/jobs/train"
	"github.com/vista-mr/vista-mr/layers/image"
	"github.com/vista-mr/vista-mr/layers/onnx"
	"github.com/vista-mr/vista-mr/layers/ort"
	"github.com/vista-mr/vista-mr/lr"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs/local"
	"github.com/vista-mr/vista-mr/mr/journal"
	"github.com/vista-mr/vista-mr/mr/task"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/progress"
	"github.com/vista-mr/vista-mr/vistaopt"
	"github.com/vista-mr/vista-mr/vistaopt/compile"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// said is what the job itself said of a row.
type said struct {
	set   train.Set
	label int32 // the row's own class
	class int32 // the class given
	own   float64
	prob  []float64 // with two classes that of class 1, with more those of all
}

// finish runs a plan as Submit does, but with the test's network, and publishes it. It returns also what
// the job said of each row by target and key, which nobody sees any more once it is published.
func (w *world) finish(t *testing.T, rt *ort.Runtime, p plan.Plan) (*results.Summary, map[string]map[string]said) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	at, err := openPlace(ctx, w.job.Output)
	if err != nil {
		t.Fatal(err)
	}
	if err := at.begin(); err != nil {
		t.Fatal(err)
	}
	dir := at.work()
	d, err := readInput(ctx, w.job, progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	choice := &vistaopt.Choice{Plan: p, Room: vistaopt.Room{Sort: 1 << 20, Cache: 64 << 10}}
	ns := w.network(t)
	written, err := ns.writePrograms(ctx, at.store, p, inputs(w.job, d, ns, choice))
	if err != nil {
		t.Fatal(err)
	}
	pr, err := lay(ctx, w.job, d, ns, written, choice, vistaopt.Machine{}, &Claim{place: at}, &Options{})
	if err != nil {
		t.Fatal(err)
	}
	pr.Spec.ID = jobID(w.job, newRun()) // as prepare does
	ev := &watch{job: pr, sink: progress.Discard, events: &events{w: journal.NewWriter(io.Discard, time.Now)}}
	start := time.Now()
	phases, err := runPhases(ctx, pr, dir, rt, ev)
	if err != nil {
		t.Fatal(err)
	}
	var report evaluate.Report
	if err := json.Unmarshal(phases[compile.EvaluatePhase].Tasks[0].Value, &report); err != nil {
		t.Fatal(err)
	}
	classes := len(report.Classes)
	all := map[string]map[string]said{}
	for _, spec := range pr.Spec.Phases {
		if spec.Kind != train.Name {
			continue
		}
		params, err := mr.Decode[train.Params](spec.Params)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range phases[spec.ID].Files(train.Predictions) {
			for rec, err := range task.ReadPart(ctx, local.New(dir, true), f) {
				if err != nil {
					t.Fatal(err)
				}
				v, err := train.DecodePrediction(rec.Value, classes)
				if err != nil {
					t.Fatal(err)
				}
				for i, target := range params.Targets() {
					if all[target] == nil {
						all[target] = map[string]said{}
					}
					class, own, prob := v.Answer(i, nil)
					all[target][string(rec.Key)] = said{v.Set, v.Class, class, own, prob}
				}
			}
		}
	}
	s, err := publish(ctx, w.job, pr, phases, &finished{start: start, over: time.Now(), watch: ev, work: &Work{}, at: at})
	if err != nil {
		t.Fatal(err)
	}
	w.pub = &publisher{out: at.out, store: at.store, j: w.job, p: pr, phases: phases, report: report, digests: map[string]string{}}
	w.look(ns, s.Verdict.BestLayer)
	return s, all
}

// look takes pictures as the network of a layer does.
func (w *world) look(ns networks, layer string) {
	for _, n := range ns {
		if slices.Contains(networks{n}.names(), layer) {
			w.view = n.image
		}
	}
}

// numbers are the table's numbers by key, of the first of equal keys.
func (w *world) numbers(t *testing.T) map[string][]float32 {
	t.Helper()
	data, err := os.ReadFile(w.table)
	if err != nil {
		t.Fatal(err)
	}
	in := csv.NewReader(bytes.NewReader(data))
	in.FieldsPerRecord = -1
	lines, err := in.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]float32{}
	for _, l := range lines[1:] {
		if out[l[0]] != nil || len(l) != 5 {
			continue
		}
		var x []float32
		for _, i := range []int{1, 2, 4} {
			v, err := strconv.ParseFloat(l[i], 32)
			if err == nil {
				x = append(x, float32(v))
			}
		}
		if len(x) == 3 {
			out[l[0]] = x
		}
	}
	return out
}

// pixels decodes the image of a key as the job does.
func (w *world) pixels(t *testing.T, p *image.Pipeline, key string) []byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(w.images, key+".*"))
	files = slices.DeleteFunc(files, func(f string) bool { return strings.TrimSuffix(filepath.Base(f), filepath.Ext(f)) != key })
	if err != nil || len(files) == 0 {
		t.Fatalf("no image of %q: %v", key, err)
	}
	slices.Sort(files)
	data, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	dst := make([]byte, w.view.CropH*w.view.CropW*3)
	if _, err := p.Process(dst, data); err != nil {
		t.Fatal(err)
	}
	return dst
}

// predict runs a pipeline file as any other program would: with the runtime's defaults, all rows at once.
func (w *world) predict(t *testing.T, file string, outputs []string, pixels []byte, structured []float32, n, columns, classes int) (values []float32, labels []string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	s, err := onnxruntime.NewDynamicAdvancedSession(file, []string{"image", "structured"}, outputs, nil)
	must(err)
	defer s.Destroy()
	img, err := onnxruntime.NewTensor(onnxruntime.NewShape(int64(n), int64(w.view.CropH), int64(w.view.CropW), 3), pixels)
	must(err)
	defer img.Destroy()
	x, err := onnxruntime.NewTensor(onnxruntime.NewShape(int64(n), int64(columns)), structured)
	must(err)
	defer x.Destroy()
	out, err := onnxruntime.NewEmptyTensor[float32](onnxruntime.NewShape(int64(n), int64(classes)))
	must(err)
	defer out.Destroy()
	label, err := onnxruntime.NewStringTensor(onnxruntime.NewShape(int64(n)))
	must(err)
	defer label.Destroy()
	must(s.Run([]onnxruntime.Value{img, x}, []onnxruntime.Value{out, label}))
	labels, err = label.GetContents()
	must(err)
	return slices.Clone(out.GetData()), labels
}

// TestPipelineGivesTheJobsOwnPredictions: from picture and row to prediction in one file, with the
// numbers that the job itself judged its layers by.
func TestPipelineGivesTheJobsOwnPredictions(t *testing.T) {
	rt := startRuntime(t)
	for _, c := range []struct {
		name, kind string
		plan       plan.Plan
		classes    int
		multiple   string
		far        bool // columns far from zero, such as years and coordinates
	}{
		{"fused", lr.Logistic, plan.Plan{Inference: plan.Fused, Placement: plan.AfterJoin, Join: plan.Broadcast, Storage: plan.Snappy, CPU: 2, Partitions: 4, Batch: 3}, 2, images.First, false},
		{"staged", lr.Logistic, plan.Plan{Inference: plan.Staged, Placement: plan.BeforeJoin, Join: plan.Shuffle, Storage: plan.Raw, CPU: 2, Partitions: 3, Batch: 4}, 3, images.First, false},
		{"far", lr.Logistic, plan.Plan{Inference: plan.Fused, Placement: plan.AfterJoin, Join: plan.Broadcast, Storage: plan.Snappy, CPU: 2, Partitions: 4, Batch: 3}, 2, images.First, true},
		{"lazy", lr.LinearSVC, plan.Plan{Inference: plan.Lazy, Placement: plan.AfterJoin, Join: plan.Broadcast, Storage: plan.Snappy, CPU: 2, Partitions: 4, Batch: 3}, 2, images.Max, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, false)
			w.job.Output = conf.URI(filepath.Join(w.dir, "out"))
			w.job.Downstream.Kind, w.job.Limits.MaxBadFraction = c.kind, 0.5
			w.job.Images.Multiple = c.multiple
			if c.classes == 3 {
				w.relabel(t)
			}
			if c.far {
				w.farAway(t)
			}
			s, all := w.finish(t, rt, c.plan)
			if c.far {
				w.wantShift(t, s)
			}
			if s.Pipeline == nil || s.Pipeline.File != PipelineFile || s.Pipeline.Layer != s.Verdict.BestLayer || len(s.Job.Classes) != c.classes {
				t.Fatalf("results say %+v of classes %v", s.Pipeline, s.Job.Classes)
			}
			_, hasLoss := s.Layers[0].Metrics[results.LogLoss]
			_, majorityLoss := s.Baselines.Majority.Metrics[results.LogLoss]
			if want := c.kind == lr.Logistic; hasLoss != want || majorityLoss != want {
				t.Errorf("log-loss of the layers: %v, of the majority: %v, want %v", hasLoss, majorityLoss, want)
			}
			file := filepath.Join(w.job.Output.LocalPath(), PipelineFile)
			if c.multiple != images.First { // the file takes one image of a record, and says so
				if s.Pipeline.Multiple != c.multiple {
					t.Errorf("the results say %q of several images", s.Pipeline.Multiple)
				}
				delete(all[s.Verdict.BestLayer], "k02")
			} else if s.Pipeline.Multiple != "" {
				t.Errorf("the results say %q of several images", s.Pipeline.Multiple)
			}
			w.comparePipeline(t, file, s, all[s.Verdict.BestLayer])
			w.splitPipeline(t, file, s, all[s.Verdict.BestLayer])
		})
	}
}

// relabel makes a third class of every third record.
func (w *world) relabel(t *testing.T) {
	t.Helper()
	data, err := os.ReadFile(w.table)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(data), "\n")
	for i := range lines {
		if i%3 == 1 {
			lines[i] = strings.ReplaceAll(strings.ReplaceAll(lines[i], ",red,", ",green,"), ",blue,", ",green,")
		}
	}
	if err := os.WriteFile(w.table, []byte(strings.Join(lines, "\n")), 0o666); err != nil {
		t.Fatal(err)
	}
}

// farAway makes years of the first column of numbers and coordinates of the second, 12 km wide and a thousand away.
func (w *world) farAway(t *testing.T) {
	t.Helper()
	data, err := os.ReadFile(w.table)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	for i, l := range lines[1:] {
		cells := strings.Split(l, ",")
		x, errX := strconv.ParseFloat(cells[1], 64)
		y, errY := strconv.ParseFloat(cells[2], 64)
		if len(cells) != 5 || errX != nil || errY != nil {
			continue
		}
		cells[1], cells[2] = strconv.Itoa(2000+int(8*x)), strconv.FormatFloat(1e6+20*y, 'f', 1, 64)
		lines[i+1] = strings.Join(cells, ",")
	}
	save(t, w.table, []byte(strings.Join(lines, "\n")+"\n"))
}

// wantShift makes sure that the best layer's model subtracts something of these two columns and nothing of the third.
func (w *world) wantShift(t *testing.T, s *results.Summary) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(w.job.Output.LocalPath(), "models", s.Verdict.BestLayer+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var m export.Model
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	if shift := m.Model.Shift; len(shift) < 3 || math.Abs(float64(shift[0])-2000) > 50 || math.Abs(float64(shift[1])-1e6) > 2e4 || shift[2] != 0 {
		t.Errorf("columns are shifted by %v", shift[:min(3, len(shift))])
	}
}

func (w *world) comparePipeline(t *testing.T, file string, s *results.Summary, job map[string]said) {
	t.Helper()
	p, err := image.NewPipeline(w.view, image.Go)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	rows := w.numbers(t)
	var keys []string
	var pixels []byte
	var structured []float32
	tests := 0
	for key, v := range job {
		keys = append(keys, key)
		pixels, structured = append(pixels, w.pixels(t, p, key)...), append(structured, rows[key]...)
		if v.set == train.Test {
			tests++
		}
	}
	if tests < 10 || len(keys) < 50 {
		t.Fatalf("%d rows, %d of them held out", len(keys), tests)
	}
	k := len(s.Job.Classes)
	values, labels := w.predict(t, file, s.Pipeline.Outputs, pixels, structured, len(keys), len(s.Job.Features), k)
	for i, key := range keys {
		v, got := job[key], values[i*k:(i+1)*k]
		if labels[i] != s.Job.Classes[v.class] {
			t.Errorf("%s: label %q, the job says %q", key, labels[i], s.Job.Classes[v.class])
		}
		near := func(what string, got float32, want float64) {
			if d := math.Abs(float64(got) - want); d > 1e-5*max(1, math.Abs(want)) {
				t.Errorf("%s: %s %v, the job says %v", key, what, got, want)
			}
		}
		near("of its own class", got[v.label], v.own)
		if k == 2 {
			got = got[1:]
		}
		for c := range got {
			near("of class "+strconv.Itoa(c), got[c], v.prob[c])
		}
	}
}

// splitPipeline writes the pipeline as one that is too large for a file, over what an interrupted
// publication left, and compares it as well.
func (w *world) splitPipeline(t *testing.T, file string, s *results.Summary, job map[string]said) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	m, err := onnx.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	said := slices.ContainsFunc(m.Metadata, func(e onnx.Entry) bool { return e.Key == "images.multiple" && e.Value == s.Pipeline.Multiple })
	if said != (s.Pipeline.Multiple != "") {
		t.Errorf("the metadata is %v", m.Metadata)
	}
	a, err := m.Attach(nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	pub := &publisher{out: local.New(dir, true), digests: map[string]string{}, made: &results.Pipeline{}}
	for range 2 {
		if err := pub.writePipeline(t.Context(), a, a.Size()-1); err != nil {
			t.Fatal(err)
		}
	}
	if pub.made.Weights != "models/best-pipeline.weights" || len(pub.digests) != 2 {
		t.Errorf("weights %q, digests %v", pub.made.Weights, pub.digests)
	}
	w.comparePipeline(t, filepath.Join(dir, PipelineFile), s, job)
	if err := pub.writePipeline(t.Context(), a, a.Size()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "models", PipelineWeightsFile)); !os.IsNotExist(err) {
		t.Errorf("weights that nothing refers to are there: %v", err)
	}
	again, err := os.ReadFile(filepath.Join(dir, PipelineFile))
	if err != nil || !bytes.Equal(again, data) {
		t.Errorf("written again it differs: %v", err)
	}
}
