package run

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/evaluate"
	"github.com/vista-mr/vista-mr/jobs/export"
	"github.com/vista-mr/vista-mr/jobs/extract"
	"github.com/vista-mr/vista-mr/jobs/features"
	"github.com/vista-mr/vista-mr/jobs/images"
	"github.com/vista-mr/vista-mr/jobs/results"
	"github.com/vista-mr/vista-mr/jobs/train"
	"github.com/vista-mr/vista-mr/lr/metrics"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/checksum"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/machine"
	"github.com/vista-mr/vista-mr/vistaopt"
	"github.com/vista-mr/vista-mr/vistaopt/compile"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// finished is what is known of a run beside its phases.
type finished struct {
	start   time.Time // of the command
	over    time.Time // when the last phase had ended
	end     time.Time // when all was written but what says so: set by publish
	watch   *watch
	ort     string
	version string
	at      *place
	claim   *Claim // nil: nobody else writes there
	work    *Work  // as the engine has left it
}

// seconds is what the job has taken, its earlier runs included.
func (f *finished) seconds() float64 { return f.watch.before + f.end.Sub(f.start).Seconds() }

// around is what this run has done before its first phase and behind its last one.
func (f *finished) around(e *vistaopt.Estimate) []results.Phase {
	first := f.watch.begun()
	if first.IsZero() { // an earlier run had done all of them
		first = f.over
	}
	var out []results.Phase
	for _, part := range []struct {
		name     string
		from, to time.Time
	}{{vistaopt.StartPhase, f.start, first}, {vistaopt.ResultsPhase, f.over, f.end}} {
		out = append(out, results.Phase{Name: part.name, Tasks: 1, Estimate: estimateOf(e, part.name), Actual: results.Cost{Seconds: part.to.Sub(part.from).Seconds()}})
	}
	return out
}

type phases = map[mr.PhaseID]*mr.PhaseManifest

// publisher writes a job's results into its output. Names are used once, so that what an
// interrupted publication has left is removed before it is written again.
type publisher struct {
	out, store dfs.FS
	j          *conf.Job
	p          *prepared
	phases     phases
	report     evaluate.Report
	claim      *Claim // nil: nobody else writes to the output
	made       *results.Pipeline

	mu      sync.Mutex
	digests map[string]string
}

// publish writes everything but the marker that says so.
func publish(ctx context.Context, j *conf.Job, p *prepared, ph phases, f *finished) (*results.Summary, error) {
	w := &publisher{out: f.at.out, store: f.at.store, claim: f.claim, j: j, p: p, phases: ph, digests: map[string]string{}}
	if err := json.Unmarshal(ph[compile.EvaluatePhase].Tasks[0].Value, &w.report); err != nil {
		return nil, errs.E("results", errs.Corrupt, "", err)
	}
	models, err := w.models()
	if err != nil {
		return nil, err
	}
	// A store far away answers each of many small files late: they are written side by side.
	g, within := errgroup.WithContext(ctx)
	g.SetLimit(writers)
	for _, write := range append([]func(context.Context) error{w.pipeline, w.metrics, w.features, w.quarantine}, models...) {
		g.Go(func() error { return write(within) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	f.end = time.Now()
	s := w.summary(f)
	b, err := results.Marshal(s)
	if err != nil {
		return nil, errs.E("results", errs.Internal, "", err)
	}
	if err := w.write(ctx, ResultsFile, b); err != nil {
		return nil, err
	}
	return s, nil
}

// writers is how many files of the output are written at once.
const writers = 8

// digest notes what was written.
func (w *publisher) digest(name dfs.Path, sum []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.digests[string(name)] = hex.EncodeToString(sum)
}

// write makes a file of the output, replacing what an interrupted publication left.
func (w *publisher) write(ctx context.Context, name dfs.Path, data []byte) error {
	sum := sha256.Sum256(data)
	w.digest(name, sum[:])
	return w.claim.replace(ctx, w.out, name, data, func() error { return dfs.WriteFile(ctx, w.out, name, data) })
}

// models makes the files of all models, and returns what writes each.
func (w *publisher) models() (writes []func(context.Context) error, err error) {
	for i := range w.report.Targets {
		t := &w.report.Targets[i]
		name := results.Folder(t.Name)
		if t.Name == train.Structured {
			name = results.Folder(results.StructuredRow)
		}
		m := w.model(t)
		b, err := export.JSON(m)
		if err != nil {
			return nil, errs.E("results", errs.Internal, name, err)
		}
		var graph bytes.Buffer
		if _, err := export.ONNX(m).WriteTo(&graph); err != nil {
			return nil, errs.E("results", errs.Internal, name, err)
		}
		dir := dfs.Path("models")
		writes = append(writes, func(ctx context.Context) error { return w.write(ctx, dir.Join(name+".json"), b) },
			func(ctx context.Context) error { return w.write(ctx, dir.Join(name+".onnx"), graph.Bytes()) })
	}
	return writes, nil
}

// model is what a target's files hold.
func (w *publisher) model(t *evaluate.Target) *export.Model {
	n, _ := w.of(t.Name)
	if n == nil { // of structured features alone
		n = &w.p.Networks[0]
	}
	return &export.Model{Layer: t.Name, Classes: w.report.Classes, Structured: w.p.Columns, Dim: w.p.Dims[t.Name],
		Pool: n.CNN.Pool, Network: n.CNN.ModelName(), Model: t.Model.Model}
}

// features copies the exported features to where the user looks for them.
func (w *publisher) features(ctx context.Context) error {
	m := w.phases[compile.FeaturesPhase]
	if m == nil {
		return nil
	}
	for _, t := range w.report.Targets {
		for i, f := range m.Files(features.Channel(t.Name)) {
			to := dfs.Path("features").Join(results.Folder(t.Name), fmt.Sprintf("part-%05d%s", i, path.Ext(string(f.Path))))
			if err := w.copy(ctx, f, to); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *publisher) quarantine(ctx context.Context) error {
	n := 0
	for _, p := range w.p.Spec.Phases {
		if w.phases[p.ID] == nil {
			continue
		}
		for _, f := range w.phases[p.ID].Files(mr.Quarantine) {
			if err := w.copy(ctx, f, dfs.Path("quarantine").Join(fmt.Sprintf("part-%05d.avro", n))); err != nil {
				return err
			}
			n++
		}
	}
	return nil
}

// copy copies a phase's file, if it is what the phase's manifest says.
func (w *publisher) copy(ctx context.Context, f mr.PartFile, to dfs.Path) error {
	return w.claim.replace(ctx, w.out, to, nil, func() error { return w.copyOnce(ctx, f, to) })
}

func (w *publisher) copyOnce(ctx context.Context, f mr.PartFile, to dfs.Path) error {
	in, err := w.store.Open(ctx, f.Path)
	if err != nil {
		return err
	}
	defer in.Close() // reading only
	out, err := w.out.Create(ctx, to)
	if err != nil {
		return err
	}
	sum := checksum.NewWriter(out)
	_, err = io.Copy(sum, io.NewSectionReader(in, 0, in.Size()))
	if err == nil && (sum.N() != f.Bytes || sum.Sum() != f.CRC) {
		err = errs.E("publish", errs.Corrupt, string(f.Path), fmt.Errorf("%d bytes with checksum %08x, want %d with %08x", sum.N(), sum.Sum(), f.Bytes, f.CRC))
	}
	if err == nil {
		err = out.Commit(ctx)
	}
	if err != nil {
		return errors.Join(err, out.Abort())
	}
	return nil
}

func (w *publisher) metrics(ctx context.Context) error {
	var b bytes.Buffer
	if err := results.WriteMetrics(&b, w.report.Rows); err != nil {
		return err
	}
	return w.write(ctx, "metrics.csv", b.Bytes())
}

func (w *publisher) summary(f *finished) *results.Summary {
	s := &results.Summary{
		Job: results.Job{Name: w.j.Name, Seed: w.j.Seed,
			Kind: w.j.Downstream.Kind, Test: w.j.Downstream.Test, Classes: w.report.Classes, Features: w.p.Columns, Output: string(w.j.Output)},
		Table: w.p.Table, Counters: w.counters(), Digests: maps.Clone(w.digests), Started: w.p.Started.UTC().Format("2006-01-02T15:04:05Z"), Seconds: f.seconds(),
		Versions: results.Versions{VistaMR: f.version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH, ORT: f.ort},
	}
	s.Pipeline = w.made
	s.Digests["job"], s.Digests["table"] = w.j.Digest(), w.p.Origin.tableDigest()
	w.networks(s)
	for i := range w.report.Targets {
		w.target(s, &w.report.Targets[i], f)
	}
	s.Baselines.Majority = results.Baseline{Metrics: values(w.report.Majority), Class: w.report.Common}
	w.verdict(s)
	w.plan(s, f)
	s.Versions.Decoder = decoders(s.Counters.Other)
	w.warnings(s)
	s.Verdict.Sentence = results.Sentence(s)
	return s
}

func values(m map[string]metrics.Value) results.Metrics {
	out := results.Metrics{}
	for name, v := range m {
		if !math.IsNaN(v.Value) && !math.IsInf(v.Value, 0) {
			out[name] = results.Metric{Value: v.Value, Low: v.Low, High: v.High}
		}
	}
	return out
}

func (w *publisher) target(s *results.Summary, t *evaluate.Target, f *finished) {
	m := t.Model.Model
	chosen := results.Chosen{Reg: t.Setting.Reg, ElasticNet: t.Setting.ElasticNet, Iterations: m.Report.Iterations,
		Converged: m.Report.Converged, Objective: m.Report.Objective, NonZero: m.NonZero()}
	if t.Name == train.Structured {
		s.Baselines.Structured = results.Baseline{Dim: len(w.p.Columns), Metrics: values(t.Metrics), Chosen: &chosen, Seconds: w.trainSeconds(f, t.Name)}
		return
	}
	l := results.Layer{Name: t.Name, Folder: results.Folder(t.Name), Dim: w.p.Dims[t.Name], Metrics: values(t.Metrics), Chosen: chosen, Seconds: w.trainSeconds(f, t.Name)}
	if n, _ := w.of(t.Name); n != nil {
		l.CNN = n.Name
		for _, c := range n.Layers {
			if compile.Full(n.Name, c.Name) == t.Name {
				l.Tensor = c.Tensor
				for _, d := range c.Shape {
					l.Shape = append(l.Shape, int(d))
				}
			}
		}
	}
	l.Bytes = w.stored(extract.Pooled(t.Name))
	s.Layers = append(s.Layers, l)
}

// stored is the size of a channel as the last phase that writes it leaves it: a join behind the inference writes the
// vectors again, without those that found no row.
func (w *publisher) stored(channel string) (bytes int64) {
	for _, p := range w.p.Spec.Phases {
		m := w.phases[p.ID]
		if m == nil {
			continue
		}
		if files := m.Files(channel); len(files) > 0 {
			bytes = 0
			for _, f := range files {
				bytes += f.Bytes
			}
		}
	}
	return bytes
}

// trainSeconds is the time of the phase that trained a target.
func (w *publisher) trainSeconds(f *finished, target string) float64 {
	for _, p := range w.p.Spec.Phases {
		if p.Kind != train.Name {
			continue
		}
		params, err := mr.Decode[train.Params](p.Params)
		if err != nil {
			continue
		}
		for _, t := range params.Targets() {
			if t == target {
				return f.watch.seconds(p.ID)
			}
		}
	}
	return 0
}

func (w *publisher) verdict(s *results.Summary) {
	v := w.report.Verdict
	s.Verdict = results.Verdict{BestLayer: v.Best, Tie: v.Tie, Metric: w.j.Downstream.Metric, Helps: v.Helps, On: w.report.On, RunnerUp: v.RunnerUp,
		OverStructured: &results.Metric{Value: v.OverStructured.Value, Low: v.OverStructured.Low, High: v.OverStructured.High}}
	if v.Margin != nil {
		s.Verdict.Margin = &results.Metric{Value: v.Margin.Value, Low: v.Margin.Low, High: v.Margin.High}
	}
}

func (w *publisher) counters() results.Counters {
	c := results.Counters{Train: w.report.Train, Test: w.report.Test, Causes: map[string]int64{}, Other: map[string]int64{}}
	for _, p := range w.p.Spec.Phases {
		if w.phases[p.ID] == nil {
			continue
		}
		for _, m := range w.phases[p.ID].Tasks {
			for name, n := range m.Counters {
				cause, isBad := strings.CutPrefix(name, "bad.")
				switch {
				case name == "rows":
					c.Rows += n
				case name == "images":
					c.Images += n
				case name == "matched":
					c.Matched += n
				case name == "bad":
					c.Bad += n
				case isBad:
					c.Causes[cause] += n
				case name == "left-out.row":
					c.LeftOut += n
				case name == "left-out.missing":
					c.Dropped += n
				case name == extract.Decodes && len(w.p.Networks) == 1: // says nothing that the rest does not
				default:
					c.Other[name] += n
				}
			}
		}
	}
	return c
}

// decoders names the JPEG decoders that ran, from the counters.
func decoders(other map[string]int64) string {
	var out []string
	for _, d := range []string{"go", "turbo"} {
		if other["decoder."+d] > 0 {
			out = append(out, d)
		}
	}
	return strings.Join(out, ", ")
}

func (w *publisher) plan(s *results.Summary, f *finished) {
	p := w.p.Plan
	s.Plan = results.Plan{Inference: string(p.Inference), Placement: string(p.Placement), Join: string(p.Join), Storage: string(p.Storage),
		CPU: p.CPU, Partitions: p.Partitions, Batch: p.Batch, Networks: string(p.Networks), From: w.p.From}
	for _, spec := range w.p.Spec.Phases {
		m := w.phases[spec.ID]
		if m == nil {
			continue
		}
		ph := results.Phase{Name: string(spec.ID), Tasks: len(m.Tasks)}
		if t := f.watch.phases[spec.ID]; t != nil {
			ph.Attempts = t.attempts
		}
		ph.Actual = results.Cost{Seconds: f.watch.seconds(spec.ID), CoreSeconds: f.watch.coreSeconds(spec.ID), Images: m.Sum("cnn.images")}
		if p.Networks == plan.Together { // each image runs through all networks
			ph.Actual.Images /= int64(len(w.p.Networks))
		}
		ph.Estimate = estimateOf(&w.p.Expect, ph.Name)
		for _, t := range m.Tasks {
			for _, file := range t.Files {
				ph.Actual.BytesWritten += file.Bytes
				ph.Actual.Records += file.Rows
			}
		}
		if ph.Actual.Seconds > 0 && ph.Actual.Images > 0 {
			ph.Actual.ImagesPerSecond = float64(ph.Actual.Images) / ph.Actual.Seconds
		}
		s.Plan.Actual.CoreSeconds += ph.Actual.CoreSeconds
		s.Plan.Actual.Images = max(s.Plan.Actual.Images, ph.Actual.Images) // other phases run the same ones, through other layers
		s.Plan.Actual.BytesWritten += ph.Actual.BytesWritten
		s.Plan.Phases = append(s.Plan.Phases, ph)
	}
	s.Plan.Actual.Seconds, s.Plan.Corrected = f.seconds(), f.watch.corrections
	s.Plan.Around = f.around(&w.p.Expect)
	if s.Plan.Actual.PeakMemory = f.work.Peak; !f.work.Elsewhere {
		_, s.Plan.Actual.PeakMemory = machine.Resident()
	}
	if m := f.work.Machine; m.Cores > 0 {
		s.Plan.Machines = &results.Machines{Workers: max(m.Workers, 1), Cores: m.Cores, Tracker: f.work.Elsewhere}
	}
	s.Plan.Estimate = &results.Cost{Seconds: w.p.Expect.Seconds, BytesWritten: w.p.Expect.Written, PeakMemory: w.p.Expect.Memory}
}

// estimateOf is what a phase was expected to cost; nil: nothing was.
func estimateOf(e *vistaopt.Estimate, phase string) *results.Cost {
	for _, p := range e.Phases {
		if p.Name == phase {
			return &results.Cost{Seconds: p.Seconds, CoreSeconds: p.Compute, BytesRead: p.Read, BytesWritten: p.Written}
		}
	}
	return nil
}

func (w *publisher) warnings(s *results.Summary) {
	if w.report.On == results.OnTrain {
		s.Warnings = append(s.Warnings, "downstream.test is 0 and there are no folds: the metrics are those of the training rows, which flatter every model.")
	}
	switch v := w.report.Verdict; {
	case v.Helps && v.Tie:
		s.Warnings = append(s.Warnings, fmt.Sprintf("%s uses %s, the best layer, though %s cannot be told from it.", w.made.File, v.Best, v.RunnerUp))
	case !v.Helps:
		s.Warnings = append(s.Warnings, fmt.Sprintf("%s uses %s, the best layer, though it is not shown to be better than structured features alone: the model of those is models/%s.onnx.",
			w.made.File, w.made.Layer, results.Folder(results.StructuredRow)))
	}
	if len(w.p.Skipped) > 0 {
		s.Warnings = append(s.Warnings, fmt.Sprintf("Columns that are not numbers, or only number the rows, were left out: %s.", strings.Join(w.p.Skipped, ", ")))
	}
	if n := s.Counters.Dropped; n > 0 {
		s.Warnings = append(s.Warnings, fmt.Sprintf("%s %s left out because a value is missing.", results.Count(n), plural(n, "row was", "rows were")))
	}
	if t := w.p.Table; t != nil && len(t.Filled) > 0 {
		s.Warnings = append(s.Warnings, "Missing values were filled with means over training rows: "+filled(t.Filled)+".")
	}
	if len(w.j.Downstream.Grid.Reg)+len(w.j.Downstream.Grid.ElasticNet) > 0 && w.j.Downstream.Folds < 2 {
		s.Warnings = append(s.Warnings, fmt.Sprintf("The grid was judged in %d folds, because downstream.folds names none.", defaultFolds))
	}
	s.Warnings = append(s.Warnings, w.p.Notes...)
	if n := s.Counters.Other["images.rotated"]; n > 0 && slices.ContainsFunc(w.j.CNN, ignoresEXIF) {
		s.Warnings = append(s.Warnings, fmt.Sprintf("%d %s an EXIF orientation, which the preprocessing ignores.", n, plural(n, "image has", "images have")))
	}
	if n := s.Counters.Other["images.several"]; n > 0 {
		s.Warnings = append(s.Warnings, fmt.Sprintf("%d %s more than one image: each image's vectors are pooled, then the record has the %s of them, value by value.", n, plural(n, "key has", "keys have"),
			map[string]string{images.Mean: "mean", images.Max: "largest"}[w.j.Images.Multiple]))
	}
	if n := s.Counters.Other["batch.halved"]; n > 0 {
		s.Warnings = append(s.Warnings, fmt.Sprintf("The batch was halved %d %s to stay within the memory limit.", n, plural(n, "time", "times")))
	}
	for _, n := range w.p.Networks {
		if n.CNN.Weights == "random" {
			whose := "The network's weights"
			if n.Name != "" {
				whose = "The weights of " + n.Name
			}
			s.Warnings = append(s.Warnings, whose+" are random: its layers carry colour and texture, but nothing learned.")
		}
	}
}

// filled lists the first columns that were filled.
func filled(columns []results.Filled) string {
	const most = 5
	var out []string
	for _, c := range columns[:min(len(columns), most)] {
		out = append(out, fmt.Sprintf("%s (%s)", c.Column, results.Count(c.Rows)))
	}
	if n := len(columns) - most; n > 0 {
		out = append(out, fmt.Sprintf("and %d more %s", n, plural(n, "column", "columns")))
	}
	return strings.Join(out, ", ")
}
