package run

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/csv"
	"encoding/json"
	"fmt"
	stdimage "image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/linkedin/goavro/v2"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/evaluate"
	"github.com/vista-mr/vista-mr/jobs/extract"
	"github.com/vista-mr/vista-mr/layers"
	"github.com/vista-mr/vista-mr/layers/image"
	"github.com/vista-mr/vista-mr/layers/ort"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/journal"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/progress"
	"github.com/vista-mr/vista-mr/vistaopt"
	"github.com/vista-mr/vista-mr/vistaopt/compile"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// small is a network with everything that matters to a plan: volumes with odd and even sides, a
// residual block between cuts, and vectors.
var small = layers.Arch{Name: "small", H: 30, W: 30, C: 3, Roster: []string{"c1", "c2", "f1", "f2"}, Steps: []layers.Step{
	{Op: "conv", Path: "a", Out: 8, Kernel: 3, Stride: 2, Pad: 1},
	{Op: "relu", Path: "a_relu", Layer: "c1"}, // 8 x 15 x 15
	{Op: "maxpool", Path: "pool", Kernel: 3, Stride: 2, Pad: 1},
	{Op: "residual", Body: []layers.Step{
		{Op: "conv", Path: "b1", Out: 8, Kernel: 3, Pad: 1, NoBias: true}, {Op: "bn", Path: "b1_bn"}, {Op: "relu", Path: "b1_relu"},
		{Op: "conv", Path: "b2", Out: 8, Kernel: 3, Pad: 1, NoBias: true}, {Op: "bn", Path: "b2_bn"},
	}},
	{Op: "relu", Path: "b_relu", Layer: "c2"}, // 8 x 8 x 8
	{Op: "flatten"},
	{Op: "linear", Path: "f1", Out: 12},
	{Op: "relu", Path: "f1_relu", Layer: "f1"},
	{Op: "linear", Path: "f2", Out: 5, Layer: "f2"},
}}

// world is a data set with everything that can be wrong with a record.
type world struct {
	job    *conf.Job
	dir    string
	table  string
	images string

	dirOfRun string // of the last run
}

func newWorld(t *testing.T, required bool) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{dir: dir, table: filepath.Join(dir, "t.csv"), images: filepath.Join(dir, "images")}
	if err := os.Mkdir(w.images, 0o777); err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(11, 12))
	var rows bytes.Buffer
	rows.WriteString("name,x,y,colour,z\n")
	write := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(w.images, name), data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 60 {
		key := fmt.Sprintf("k%02d", (i*37)%60)
		label := []string{"red", "blue"}[rnd.IntN(2)]
		fmt.Fprintf(&rows, "%s,%.3f,%.3f,%s,%.3f\n", key, rnd.NormFloat64(), rnd.NormFloat64()*100, label, rnd.Float64())
		switch {
		case i == 5 || i == 6: // rows without image
		case i == 7:
			write(key+".jpg", picture(rnd, label, "jpg")[:300]) // truncated
		case i%2 == 0:
			write(key+".png", picture(rnd, label, "png"))
		default:
			write(key+".jpg", picture(rnd, label, "jpg"))
		}
	}
	rows.WriteString("k00,1,2,red,3\n")     // its key stood there before
	rows.WriteString("ragged,1,2,red\n")    // a field is missing
	rows.WriteString("words,1,two,red,3\n") // no number
	write("nobody1.png", picture(rnd, "red", "png"))
	write("nobody2.jpg", []byte("no image and no row"))
	write("k01.zzz.png", picture(rnd, "red", "png")) // key k01.zzz: no row either
	write("k02.bmp.jpg", picture(rnd, "red", "jpg"))
	write("k02.gif", picture(rnd, "red", "png")) // the second file with key k02
	if err := os.WriteFile(w.table, rows.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
	w.job = conf.Defaults()
	w.job.Name, w.job.Seed = "small", 7
	w.job.Table = conf.Table{URI: conf.URI(w.table), Key: "name", Label: "colour"}
	w.job.Images = conf.Images{URI: conf.URI(w.images), Required: required}
	w.job.CNN.Model, w.job.CNN.Weights = "small", "random"
	w.job.Downstream.Test, w.job.Downstream.Iterations = 0.3, 6
	w.job.Keep.Features = true
	return w
}

// picture is a patch of coloured noise whose colour tells the label.
func picture(rnd *rand.Rand, label, format string) []byte {
	m := stdimage.NewRGBA(stdimage.Rect(0, 0, 40+rnd.IntN(9), 36+rnd.IntN(9)))
	for y := range m.Rect.Dy() {
		for x := range m.Rect.Dx() {
			v := uint8(100 + 50*math.Sin(float64(x)/5) + 40*rnd.Float64())
			c := color.RGBA{v, v / 2, v / 3, 255}
			if label == "blue" {
				c = color.RGBA{v / 3, v / 2, v, 255}
			}
			m.SetRGBA(x, y, c)
		}
	}
	var b bytes.Buffer
	if format == "jpg" {
		_ = jpeg.Encode(&b, m, &jpeg.Options{Quality: 90})
	} else {
		_ = png.Encode(&b, m)
	}
	return b.Bytes()
}

var preprocessing = image.Spec{Resize: 32, CropH: 30, CropW: 30, Interpolation: "bilinear"}

func (w *world) network(t *testing.T) *network {
	t.Helper()
	cnn, err := layers.Build(t.Context(), small, layers.Source{Weights: "random", Seed: 7})
	if err != nil {
		t.Fatal(err)
	}
	ls, err := cnn.Select(small.Roster...)
	if err != nil {
		t.Fatal(err)
	}
	norm, err := layers.Preset("imagenet")
	if err != nil {
		t.Fatal(err)
	}
	return &network{cnn: cnn, layers: ls, pool: layers.PoolMax, normalize: norm, image: preprocessing}
}

// expected is what the oracle says.
type expected struct {
	records map[string]truth
	count   map[string]int64
}

type truth struct {
	label, split string
	features     map[string][]float64
}

// oracle does the whole work in one loop, on plain files and with the whole network, sharing nothing with
// the engine, the joins or the pooling in the graph.
func (w *world) oracle(t *testing.T, rt *ort.Runtime, n *network, required bool) *expected {
	t.Helper()
	e := &expected{records: map[string]truth{}, count: map[string]int64{}}
	f, err := os.Open(w.table)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in := csv.NewReader(f)
	in.FieldsPerRecord = -1
	lines, err := in.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{}
	for _, l := range lines[1:] {
		e.count["rows"]++
		good := len(l) == 5
		if good {
			for _, i := range []int{1, 2, 4} {
				_, err := strconv.ParseFloat(l[i], 32)
				good = good && err == nil
			}
		}
		if _, dup := labels[l[0]]; dup || !good {
			e.count["bad"]++
			continue
		}
		labels[l[0]] = l[3]
	}
	files, err := os.ReadDir(w.images)
	if err != nil {
		t.Fatal(err)
	}
	run := w.whole(t, rt, n)
	seen := map[string]bool{}
	for _, file := range files {
		e.count["images"]++
		key := file.Name()[:strings.LastIndexByte(file.Name(), '.')]
		label, ok := labels[key]
		switch {
		case seen[key]:
			e.count["bad"]++
			continue
		case !ok:
			seen[key] = true
			if required {
				e.count["bad"]++
			}
			continue
		}
		seen[key] = true
		data, err := os.ReadFile(filepath.Join(w.images, file.Name()))
		if err != nil {
			t.Fatal(err)
		}
		v := run(data)
		if v == nil {
			e.count["bad"]++
			continue
		}
		sum := sha256.Sum256([]byte("7:" + key))
		split := "train"
		if float64(binary.BigEndian.Uint64(sum[:8]))/math.Pow(2, 64) < 0.3 {
			split = "test"
		}
		e.records[key] = truth{label, split, v}
		e.count["matched"]++
	}
	for key := range labels {
		if !seen[key] && required {
			e.count["bad"]++
		}
	}
	return e
}

// whole runs one image through the whole network and pools by the contract's words.
func (w *world) whole(t *testing.T, rt *ort.Runtime, n *network) func(data []byte) map[string][]float64 {
	t.Helper()
	prog, err := n.cnn.Program(layers.ProgramSpec{Raw: small.Roster, Normalize: n.normalize})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(w.dir, "whole.onnx")
	if err := os.WriteFile(path, prog.Model.Marshal(), 0o666); err != nil {
		t.Fatal(err)
	}
	s, err := engine{rt}.Open(t.Context(), toModel(prog, path))
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.NewRunner(1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); s.Close() })
	p, err := image.NewPipeline(preprocessing, image.Go)
	if err != nil {
		t.Fatal(err)
	}
	return func(data []byte) map[string][]float64 {
		if _, err := p.Process(r.Input(), data); err != nil {
			return nil
		}
		if err := r.Run(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		out := map[string][]float64{}
		for i, o := range prog.Outputs {
			out[o.Layer] = poolByHand(r.Output(i), o.Shape)
		}
		return out
	}
}

func poolByHand(v []float32, shape []int64) []float64 {
	var out []float64
	if len(shape) != 3 {
		for _, x := range v {
			out = append(out, float64(x))
		}
		return out
	}
	c, h, w := int(shape[0]), int(shape[1]), int(shape[2])
	for k := range c {
		for i := range 2 {
			for j := range 2 {
				best := math.Inf(-1)
				for y := i * h / 2; y < (i*h+h+1)/2; y++ {
					for x := j * w / 2; x < (j*w+w+1)/2; x++ {
						best = max(best, float64(v[(k*h+y)*w+x]))
					}
				}
				out = append(out, best)
			}
		}
	}
	return out
}

// TestAllPlansGiveWhatTheOracleGives is the thesis of the system: how a workload is run changes its cost
// and nothing else.
func TestAllPlansGiveWhatTheOracleGives(t *testing.T) {
	rt := startORT(t)
	for _, required := range []bool{true, false} {
		w := newWorld(t, required)
		n := w.network(t)
		want := w.oracle(t, rt, n, required)
		if len(want.records) < 50 || want.count["bad"] == 0 {
			t.Fatalf("the oracle has %d records, counts %v", len(want.records), want.count)
		}
		var reference *evaluate.Report
		for _, p := range allPlans() {
			t.Run(fmt.Sprintf("required=%v/%s", required, strings.ReplaceAll(p.String(), " ", "_")), func(t *testing.T) {
				phases := w.run(t, rt, n, p)
				compareRecords(t, w, want, phases)
				compareCounts(t, want, phases)
				var r evaluate.Report
				if err := json.Unmarshal(phases[compile.EvaluatePhase].Tasks[0].Value, &r); err != nil {
					t.Fatal(err)
				}
				if reference == nil {
					reference = &r
				}
				compareReports(t, reference, &r)
			})
		}
	}
}

func allPlans() []plan.Plan {
	var out []plan.Plan
	for _, i := range plan.Inferences {
		for _, pl := range plan.Placements {
			for _, j := range plan.Joins {
				for _, s := range plan.Storages {
					out = append(out, plan.Plan{Inference: i, Placement: pl, Join: j, Storage: s, CPU: 2, Partitions: 4, Batch: 3})
				}
			}
		}
	}
	return out
}

// run runs the compiled plan in a folder of its own.
func (w *world) run(t *testing.T, rt *ort.Runtime, n *network, p plan.Plan) map[mr.PhaseID]*mr.PhaseManifest {
	t.Helper()
	d, err := readInput(t.Context(), w.job)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(w.dir, "run", strings.ReplaceAll(p.String(), " ", "_"))
	if err := os.MkdirAll(filepath.Join(dir, "tmp"), 0o777); err != nil {
		t.Fatal(err)
	}
	in := inputs(w.job, d, n, p)
	models, err := n.writePrograms(t.Context(), filepath.Join(w.dir, "models"), p, in)
	if err != nil {
		t.Fatal(err)
	}
	in.Model = func(s layers.ProgramSpec) (extract.Model, error) { return models[specKey(s)], nil }
	phases, err := compile.Compile(p, in)
	if err != nil {
		t.Fatal(err)
	}
	pr := &prepared{Plan: p, Spec: mr.JobSpec{ID: "job", Phases: phases}, Sort: 1 << 20,
		Regions: vistaopt.Regions{Base: 1 << 30, Cache: 64 << 10}} // a cache that overflows to disk
	ev := &watch{job: pr, sink: progress.Discard, events: &events{w: journal.NewWriter(io.Discard, time.Now)}}
	o := &Options{}
	o.fill()
	out, err := runPhases(context.WithoutCancel(t.Context()), pr, dir, rt, ev, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, ph := range phases {
		if out[ph.ID] == nil {
			t.Fatalf("phase %s was not published", ph.ID)
		}
	}
	w.dirOfRun = dir
	return out
}

// compareRecords reads the exported features with goavro and compares them with the oracle's.
func compareRecords(t *testing.T, w *world, want *expected, phases map[mr.PhaseID]*mr.PhaseManifest) {
	t.Helper()
	for _, layer := range small.Roster {
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
	for _, name := range []string{"rows", "images", "matched", "bad"} {
		n := int64(0)
		for _, p := range phases {
			n += p.Sum(name)
		}
		if n != want.count[name] {
			t.Errorf("%d %s, want %d", n, name, want.count[name])
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
	}
}
