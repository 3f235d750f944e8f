package run

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/extract"
	"github.com/vista-mr/vista-mr/jobs/ingest"
	"github.com/vista-mr/vista-mr/jobs/row"
	"github.com/vista-mr/vista-mr/jobs/train"
	"github.com/vista-mr/vista-mr/layers/ort"
	"github.com/vista-mr/vista-mr/lr"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs/local"
	"github.com/vista-mr/vista-mr/mr/journal"
	"github.com/vista-mr/vista-mr/mr/mrtest"
	"github.com/vista-mr/vista-mr/tools/synth"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/host"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/progress"
	"github.com/vista-mr/vista-mr/vistaopt"
	"github.com/vista-mr/vista-mr/vistaopt/compile"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// bench is a job over generated data, to be run as a whole or in part.
type bench struct {
	b   *testing.B
	dir string
	job *conf.Job
	rt  *ort.Runtime
	n   networks
}

// newBench makes 500x375 JPEGs and opens a network of the catalogue with all its feature layers.
func newBench(b *testing.B, model string, records int) *bench {
	b.Helper()
	if _, err := ort.FindLibrary(); err != nil {
		b.Skipf("needs the ONNX Runtime library: %v", err)
	}
	x := &bench{b: b, dir: b.TempDir(), job: conf.Defaults()}
	data := filepath.Join(x.dir, "data")
	if _, err := synth.Generate(b.Context(), synth.Config{Shape: "foods", Records: records, Seed: 1, Out: data}, nil); err != nil {
		b.Fatal(err)
	}
	x.job.Name, x.job.CNN[0].Model, x.job.CNN[0].Weights = "bench", model, "random"
	x.job.Table.URI, x.job.Table.Key, x.job.Table.Label = conf.URI(filepath.Join(data, "table.csv")), "id", "label"
	x.job.Images.URI = conf.URI(filepath.Join(data, "images"))
	var err error
	if x.rt, err = ort.Init(ort.Options{CacheDir: filepath.Join(x.dir, "cache")}); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { x.rt.Close() })
	n, err := openNetwork(b.Context(), x.job, 0, nil, func(*network) error { return nil })
	if err != nil {
		b.Fatal(err)
	}
	x.n = networks{n}
	return x
}

// run runs a plan, only up to the CNN's phases if asked, and returns the seconds of the CNN's phases and
// of everything.
func (x *bench) run(p plan.Plan, whole bool) (cnn, all float64) {
	x.b.Helper()
	start := time.Now()
	dir := filepath.Join(x.dir, fmt.Sprint("run-", rand.Uint64()))
	if err := os.MkdirAll(filepath.Join(dir, "tmp"), 0o777); err != nil {
		x.b.Fatal(err)
	}
	defer os.RemoveAll(dir)
	d, err := readInput(x.b.Context(), x.job, progress.Discard)
	if err != nil {
		x.b.Fatal(err)
	}
	p.CPU, p.Partitions, p.Batch = 2, max(int(d.images.Images)/64, 2), 8
	in := inputs(x.job, d, x.n, &vistaopt.Choice{Plan: p})
	if in.Splits, err = d.images.Write(x.b.Context(), local.New(dir, false), imageIndex, p.Partitions); err != nil {
		x.b.Fatal(err)
	}
	shareModels(x.b, dir, filepath.Join(x.dir, "models"))
	models, err := x.n.writePrograms(x.b.Context(), local.New(dir, true), p, in)
	if err != nil {
		x.b.Fatal(err)
	}
	in.Model = models.find
	phases, err := compile.Compile(p, in)
	if err != nil {
		x.b.Fatal(err)
	}
	if !whole {
		phases = phases[:2] // table, extract
	}
	pr := &prepared{kept: kept{Plan: p}, Spec: mr.JobSpec{ID: "job", Phases: phases}, Room: vistaopt.Room{Sort: 8 << 20, Cache: 192 << 20}}
	w := &watch{job: pr, sink: progress.Discard, events: &events{w: journal.NewWriter(io.Discard, time.Now)}}
	if _, err := runPhases(context.WithoutCancel(x.b.Context()), pr, dir, x.rt, w); err != nil {
		x.b.Fatal(err)
	}
	for _, ph := range phases {
		if ph.Kind == extract.Name {
			cnn += w.seconds(ph.ID)
		}
	}
	return cnn, time.Since(start).Seconds()
}

// bare runs the fused program as fast as the runtime can: two goroutines, inputs in memory, nothing else.
func (x *bench) bare(images int) float64 {
	x.b.Helper()
	p := plan.Plan{Inference: plan.Fused}
	n := x.n[0]
	d := &compile.Inputs{Networks: []compile.Network{{Pool: n.pool, Normalize: n.normalize}}}
	for _, l := range n.layers {
		d.Networks[0].Layers = append(d.Networks[0].Layers, compile.Layer{Name: l.Name})
	}
	models, err := x.n.writePrograms(x.b.Context(), local.New(x.dir, true), p, d)
	if err != nil {
		x.b.Fatal(err)
	}
	m := models[programKey(d.Whole(0))]
	s, err := host.Open(x.b.Context(), x.rt, filepath.Join(x.dir, m.URI), m)
	if err != nil {
		x.b.Fatal(err)
	}
	defer s.Close()
	const slots, batch = 2, 8
	var left atomic.Int64
	left.Store(int64(images))
	runners := make([]extract.Runner, slots)
	for i := range runners {
		if runners[i], err = s.NewRunner(batch); err != nil {
			x.b.Fatal(err)
		}
		rnd := rand.New(rand.NewPCG(1, uint64(i)))
		for k := range runners[i].Input() {
			runners[i].Input()[k] = byte(rnd.Uint32())
		}
		if err := runners[i].Run(x.b.Context(), batch); err != nil { // warm
			x.b.Fatal(err)
		}
	}
	start := time.Now()
	var wg sync.WaitGroup
	for _, r := range runners {
		wg.Go(func() {
			for left.Add(-batch) > -batch {
				if err := r.Run(x.b.Context(), batch); err != nil {
					x.b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	seconds := time.Since(start).Seconds()
	for _, r := range runners {
		r.Close()
	}
	return seconds
}

// BenchmarkCNNPhase compares the CNN phase, from JPEG files on disk to committed part files, with the bare
// loop over the same program: 100 % would be that reading, decoding and writing cost nothing.
func BenchmarkCNNPhase(b *testing.B) {
	for _, c := range []struct {
		model   string
		records int
	}{{"resnet50", 512}, {"alexnet", 1024}} {
		b.Run(fmt.Sprintf("model=%s/records=%d", c.model, c.records), func(b *testing.B) {
			x := newBench(b, c.model, c.records)
			p := plan.Plan{Inference: plan.Fused, Placement: plan.AfterJoin, Join: plan.Broadcast, Storage: plan.Snappy}
			x.run(p, false) // prepares the model's cache
			var phase, bare float64
			for b.Loop() {
				bare += x.bare(c.records) / 2 // on both sides of the phase, against drift
				cnn, _ := x.run(p, false)
				bare += x.bare(c.records) / 2
				phase += cnn
			}
			b.ReportMetric(100*bare/phase, "%-of-bare")
			b.ReportMetric(float64(c.records*b.N)/phase, "images/s")
		})
	}
}

// BenchmarkFusedAgainstLazy compares the CNN time of one pass with that of one pass for each layer.
func BenchmarkFusedAgainstLazy(b *testing.B) {
	x := newBench(b, "resnet50", 256)
	p := plan.Plan{Inference: plan.Fused, Placement: plan.AfterJoin, Join: plan.Broadcast, Storage: plan.Snappy}
	l := p
	l.Inference = plan.Lazy
	x.run(p, false)
	var fused, lazy float64
	for b.Loop() {
		f, _ := x.run(p, true)
		z, _ := x.run(l, true)
		fused, lazy = fused+f, lazy+z
	}
	b.ReportMetric(lazy/fused, "x-less")
}

// BenchmarkWholeJob compares a whole job with its CNN phase alone.
func BenchmarkWholeJob(b *testing.B) {
	x := newBench(b, "resnet50", 2000)
	p := plan.Plan{Inference: plan.Fused, Placement: plan.AfterJoin, Join: plan.Broadcast, Storage: plan.Snappy}
	var cnn, all float64
	for b.Loop() {
		c, a := x.run(p, true)
		cnn, all = cnn+c, all+a
	}
	b.ReportMetric(all/cnn, "x-of-cnn")
}

// BenchmarkTrainThroughEngine trains 10 iterations of elastic-net logistic regression on 20,000 rows of
// 130 structured columns and a layer of 2,048, on two slots, from part files to predictions; rounds-s is
// the part of it that scans.
func BenchmarkTrainThroughEngine(b *testing.B) {
	const rows, features, dim, tasks = 20_000, 130, 2048, 16
	fill := mr.Kind{Name: "fill", Map: func(json.RawMessage) (mr.Mapper, error) {
		return mr.MapperFunc(func(ctx context.Context, t mr.Task) error { return fillRows(ctx, t, rows/tasks, features, dim) }), nil
	}}
	params := train.Params{Layers: []train.Layer{{Name: "l", Dim: dim}}, Features: features, Kind: lr.Logistic,
		Settings: []train.Setting{{Reg: 0.01, ElasticNet: 0.5}}, Iterations: 10, Tol: 1e-12, Standardize: true, Table: "fill"}
	raw, err := json.Marshal(params)
	if err != nil {
		b.Fatal(err)
	}
	job := func(i int) *mr.JobSpec {
		return &mr.JobSpec{ID: mr.JobID(fmt.Sprint("lr", i)), Phases: []mr.PhaseSpec{
			{ID: "fill", Type: mr.MapPhase, Kind: "fill", Tasks: tasks},
			{ID: "table", Type: mr.MapPhase, Kind: "classes", Tasks: 1},
			{ID: "train", Type: mr.RoundsPhase, Kind: train.Name, Params: raw, Tasks: tasks, Inputs: []mr.Input{
				{Name: train.TableInput, Phase: "table", Mode: mr.Values},
				{Name: train.BaseInput, Phase: "fill", Channel: "base", Mode: mr.Same},
				{Name: "l", Phase: "fill", Channel: "l", Mode: mr.Same}}},
		}}
	}
	classes := mr.Kind{Name: "classes", Map: func(json.RawMessage) (mr.Mapper, error) {
		return mr.MapperFunc(func(ctx context.Context, t mr.Task) error {
			return t.SetValue(ingest.Value{Classes: []string{"0", "1"}})
		}), nil
	}}
	c := mrtest.New(b, fill, classes, train.Kind())
	c.Cache = 256 << 20
	var phase, rounds float64
	for i := 0; b.Loop(); i++ {
		params.Table = "table"
		raw, _ = json.Marshal(params)
		times := map[mr.PhaseID]time.Time{}
		c.Observe = observeTimes(times, &rounds)
		if _, err := c.Run(b.Context(), job(i)); err != nil {
			b.Fatal(err)
		}
		phase += times["train"].Sub(times["table"]).Seconds()
	}
	b.ReportMetric(phase/float64(b.N), "phase-s")
	b.ReportMetric(rounds/float64(b.N), "rounds-s")
}

// fillRows writes rows whose label depends on both sides.
func fillRows(ctx context.Context, t mr.Task, n, features, dim int) error {
	base, err := t.Part(ctx, "base", mr.PartOptions{Raw: true})
	if err != nil {
		return err
	}
	vectors, err := t.Part(ctx, "l", mr.PartOptions{Raw: true})
	if err != nil {
		return err
	}
	rnd := rand.New(rand.NewPCG(uint64(t.Spec().Attempt.Task.Index), 9))
	x, v := make([]float32, features), make([]float32, dim)
	for i := range n {
		label := rnd.IntN(2)
		for j := range x {
			x[j] = float32(rnd.NormFloat64()) + 0.1*float32(label*(j%3))
		}
		for j := range v {
			v[j] = 0
			if rnd.IntN(4) == 0 {
				v[j] = rnd.Float32() + 0.1*float32(label*(j%5))
			}
		}
		key := binary.BigEndian.AppendUint32(nil, uint32(i))
		r := row.Row{Label: fmt.Sprint(label), X: x, U: rnd.Uint64(), Test: rnd.IntN(5) == 0}
		if err := base.Append(key, r.Append(nil)); err != nil {
			return err
		}
		if err := extract.WriteVector(vectors, key, v); err != nil {
			return err
		}
	}
	return nil
}
