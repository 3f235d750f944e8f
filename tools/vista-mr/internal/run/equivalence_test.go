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
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/linkedin/goavro/v2"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/evaluate"
	"github.com/vista-mr/vista-mr/jobs/extract"
	"github.com/vista-mr/vista-mr/layers"
	"github.com/vista-mr/vista-mr/layers/image"
	"github.com/vista-mr/vista-mr/layers/ort"
	"github.com/vista-mr/vista-mr/lr"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs/local"
	"github.com/vista-mr/vista-mr/mr/journal"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/host"
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

	columns  int    // of the table
	dirOfRun string // of the last run
	chain    []mr.PhaseSpec
	names    []string   // of its layers
	pub      *publisher // of the last run that was published
	view     image.Spec // what its pipeline takes
}

func newWorld(t *testing.T, required bool) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{columns: 5, dir: dir, table: filepath.Join(dir, "t.csv"), images: filepath.Join(dir, "images")}
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
	write("ragged.png", picture(rnd, "red", "png"))
	write("words.jpg", []byte("no image, and a bad row"))
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
	w.job.Table.URI, w.job.Table.Key, w.job.Table.Label = conf.URI(w.table), "name", "colour"
	w.job.Images = conf.Images{URI: conf.URI(w.images), Required: required}
	w.job.CNN[0].Model, w.job.CNN[0].Weights = "small", "random"
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

// network is the world's only network, or its networks.
func (w *world) network(t *testing.T) networks {
	t.Helper()
	if len(w.job.CNN) == 1 {
		return networks{builtNetwork(t, small, 7, &w.job.CNN[0], "", "imagenet", preprocessing)}
	}
	return networks{
		builtNetwork(t, small, 7, &w.job.CNN[0], "one", "imagenet", preprocessing),
		// Alone its pictures would be decoded at half their size, and the oracle looks at each network alone.
		builtNetwork(t, slim, 8, &w.job.CNN[1], "slim", "none", image.Spec{Resize: 20, CropH: 18, CropW: 18, Interpolation: "bicubic", NoScaledDecode: true}),
		builtNetwork(t, small, 9, &w.job.CNN[2], "other", "imagenet", preprocessing),
	}
}

func builtNetwork(t *testing.T, a layers.Arch, seed uint64, of *conf.CNN, name, preset string, pixels image.Spec) *network {
	t.Helper()
	cnn, err := layers.Build(t.Context(), a, layers.Source{Weights: "random", Seed: seed})
	if err != nil {
		t.Fatal(err)
	}
	ls, err := cnn.Select(a.Roster...)
	if err != nil {
		t.Fatal(err)
	}
	norm, err := layers.Preset(preset)
	if err != nil {
		t.Fatal(err)
	}
	n := &network{job: of, name: name, cnn: cnn, files: NewBundle(a.Name), layers: ls, pool: layers.PoolMax, normalize: norm, image: pixels}
	n.measureUp()
	return n
}

// names are those of all layers in the job.
func (ns networks) names() (out []string) {
	for _, n := range ns {
		for _, l := range n.layers {
			out = append(out, n.full(l.Name))
		}
	}
	return out
}

// expected is what the oracle says.
type expected struct {
	records map[string]truth
	count   map[string]int64
	labels  map[string]string // of good rows
	aside   map[string]bool   // keys of bad rows: of those that are not in labels, images are accounted for by the row
}

type truth struct {
	label, split string
	features     map[string][]float64
}

// rows reads the table for an oracle.
func (w *world) rows(t *testing.T) *expected {
	t.Helper()
	e := &expected{records: map[string]truth{}, count: map[string]int64{}, labels: map[string]string{}, aside: map[string]bool{}}
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
	labels := e.labels
	for _, l := range lines[1:] {
		e.count["rows"]++
		good := len(l) == w.columns
		if good {
			for _, i := range []int{1, 2, 4} {
				_, err := strconv.ParseFloat(l[i], 32)
				good = good && err == nil
			}
		}
		if _, dup := labels[l[0]]; dup || !good {
			e.count["bad"]++
			e.aside[l[0]] = true
			if good {
				e.count["bad.duplicate-key"]++
			}
			continue
		}
		labels[l[0]] = l[3]
	}
	return e
}

// truth is what a record of a good row has.
func (e *expected) truth(key string, v map[string][]float64) {
	sum := sha256.Sum256([]byte("7:" + key))
	split := "train"
	if float64(binary.BigEndian.Uint64(sum[:8]))/math.Pow(2, 64) < 0.3 {
		split = "test"
	}
	e.records[key] = truth{e.labels[key], split, v}
	e.count["matched"]++
}

// oracle does the whole work in one loop, on plain files and with the whole network, sharing nothing with
// the engine, the joins or the pooling in the graph.
func (w *world) oracle(t *testing.T, rt *ort.Runtime, n networks, required bool) *expected {
	t.Helper()
	e := w.rows(t)
	labels := e.labels
	files, err := os.ReadDir(w.images)
	if err != nil {
		t.Fatal(err)
	}
	run := w.whole(t, rt, n)
	seen := map[string]bool{}
	for _, file := range files {
		e.count["images"]++
		key := file.Name()[:strings.LastIndexByte(file.Name(), '.')]
		if seen[key] {
			e.count["bad"]++
			e.count["bad.duplicate-key"]++
			continue
		}
		seen[key] = true
		e.count["tried"]++
		data, err := os.ReadFile(filepath.Join(w.images, file.Name()))
		if err != nil {
			t.Fatal(err)
		}
		v := run(data)
		if v != nil {
			e.count["decodable"]++
		}
		_, ok := labels[key]
		switch {
		case !ok && e.aside[key]:
			e.count["left-out.aside"]++
			continue
		case !ok && required:
			e.count["bad"]++
			e.count["bad.no-row"]++
			continue
		case !ok:
			e.count["left-out.image"]++
			continue
		case v == nil:
			e.count["bad"]++
			e.count["bad.truncated"]++
			continue
		}
		e.truth(key, v)
	}
	e.count["tried.joined"] = e.count["matched"] + e.count["bad.truncated"]
	for key := range labels {
		switch {
		case seen[key]:
		case required:
			e.count["bad"]++
			e.count["bad.no-image"]++
		default:
			e.count["left-out.row"]++
		}
	}
	return e
}

// whole runs one image through the whole networks and pools by the contract's words. An image that one of them cannot
// take is none.
func (w *world) whole(t *testing.T, rt *ort.Runtime, ns networks) func(data []byte) map[string][]float64 {
	t.Helper()
	var all []func(data []byte) map[string][]float64
	for _, n := range ns {
		all = append(all, w.wholeOf(t, rt, n))
	}
	return func(data []byte) map[string][]float64 {
		out := map[string][]float64{}
		for _, run := range all {
			v := run(data)
			if v == nil {
				return nil
			}
			maps.Copy(out, v)
		}
		return out
	}
}

func (w *world) wholeOf(t *testing.T, rt *ort.Runtime, n *network) func(data []byte) map[string][]float64 {
	t.Helper()
	prog, err := n.cnn.Program(layers.ProgramSpec{Raw: n.cnn.Roster, Normalize: n.normalize})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(w.dir, n.name+"whole.onnx")
	if err := os.WriteFile(path, prog.Model.Marshal(), 0o666); err != nil {
		t.Fatal(err)
	}
	s, err := host.Open(t.Context(), rt, path, toModel(prog, n.name))
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.NewRunner(1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); s.Close() })
	p, err := image.NewPipeline(n.image, image.Go)
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
			out[n.full(o.Layer)] = poolByHand(r.Output(i), o.Shape)
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
					out = append(out, plan.Plan{Inference: i, Placement: pl, Join: j, Storage: s, CPU: 2, Partitions: 4, Batch: 3})
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
