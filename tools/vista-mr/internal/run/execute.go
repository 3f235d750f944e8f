package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs"
	"github.com/vista-mr/vista-mr/jobs/evaluate"
	"github.com/vista-mr/vista-mr/jobs/extract"
	"github.com/vista-mr/vista-mr/jobs/ingest"
	"github.com/vista-mr/vista-mr/jobs/results"
	"github.com/vista-mr/vista-mr/jobs/train"
	"github.com/vista-mr/vista-mr/layers"
	"github.com/vista-mr/vista-mr/layers/ort"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/cache"
	"github.com/vista-mr/vista-mr/mr/commit"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/local"
	"github.com/vista-mr/vista-mr/mr/errs"
	mrlocal "github.com/vista-mr/vista-mr/mr/local"
	"github.com/vista-mr/vista-mr/mr/task"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/machine"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/progress"
	"github.com/vista-mr/vista-mr/vistaopt"
	"github.com/vista-mr/vista-mr/vistaopt/compile"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// prepared is a job that is ready to run. It is kept in the run's folder, so that a run that
// is taken up again has the same phases, whatever has changed around it.
type prepared struct {
	Spec    mr.JobSpec        `json:"spec"`
	Plan    plan.Plan         `json:"plan"`
	From    map[string]string `json:"from"`
	Regions vistaopt.Regions  `json:"regions"`
	Sort    int64             `json:"sort"`
	Layers  []layers.Layer    `json:"layers"`
	Dims    map[string]int    `json:"dims"` // of the layers' vectors
	Columns []string          `json:"columns"`
	Skipped []string          `json:"skipped,omitempty"`
	Started time.Time         `json:"started"`
}

// execute runs the plan of a job that has been validated, in its claimed output.
func execute(ctx context.Context, j *conf.Job, o *Options) (_ *results.Summary, err error) {
	start := time.Now()
	dir := workDir(j)
	if err := os.MkdirAll(filepath.Join(dir, "tmp"), 0o777); err != nil {
		return nil, exit.Running(err)
	}
	p, err := prepare(ctx, j, dir, o)
	if err != nil {
		return nil, notReady(err)
	}
	w := &watch{job: p, sink: o.Progress}
	if w.events, err = openEvents(j, time.Now); err != nil {
		return nil, exit.Running(err)
	}
	defer func() { err = errors.Join(err, w.events.Close()) }()
	w.events.begin(j, p)

	rt, err := ort.Init(ort.Options{CacheDir: cacheDir(), ArenaLimit: arenaLimit(j, p)})
	if err != nil {
		return nil, exit.As(exit.Invalid, err)
	}
	defer func() { err = errors.Join(err, rt.Close()) }()
	phases, err := runPhases(ctx, p, dir, rt, w, o)
	w.events.end(err)
	if err != nil {
		return nil, exit.Running(w.withBad(err, w.manifests))
	}
	s, err := publish(ctx, j, p, phases, &finished{seconds: time.Since(start).Seconds(), watch: w, ort: rt.Version(), version: o.Version, dir: dir})
	if err != nil {
		return nil, exit.Running(err)
	}
	return s, nil
}

// arenaLimit makes a stated memory limit a promise: a batch that the estimate was too low for
// fails and is halved, instead of taking what it was not given. Weights that are not mapped from
// the cache come out of the same arena, and preparing them takes some more for a moment.
func arenaLimit(j *conf.Job, p *prepared) int64 {
	if j.Limits.Memory == 0 {
		return 0
	}
	return p.Regions.Inference*5/4 + p.Regions.Model*3/2 + 32<<20
}

// notReady puts an error of the preparation into its class: most are about what the user gave,
// but a disk can be full before anything runs.
func notReady(err error) error {
	switch errs.KindOf(err) {
	case errs.NoSpace, errs.Canceled, errs.Transient, errs.Unreachable, errs.Unauthorized:
		return exit.Running(err)
	}
	return exit.As(exit.Invalid, err)
}

// cacheDir is where the runtime keeps prepared models between runs: VISTA_MR_CACHE, or the
// user's cache folder; "" (no cache) where there is none.
func cacheDir() string {
	if dir := os.Getenv("VISTA_MR_CACHE"); dir != "" {
		return dir
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "vista-mr", "ort")
}

// prepare plans the job and compiles it, or takes up what an interrupted run has prepared.
func prepare(ctx context.Context, j *conf.Job, dir string, o *Options) (*prepared, error) {
	name := filepath.Join(dir, "job.json")
	if b, err := os.ReadFile(name); err == nil {
		var p prepared
		if err := json.Unmarshal(b, &p); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		p.Spec.Budgets = budgets(j)
		return &p, nil
	}
	o.Progress.Update(progress.Update{Stage: "plan"})
	d, err := readInput(ctx, j)
	if err != nil {
		return nil, err
	}
	models := filepath.Join(dir, "models")
	if err := os.MkdirAll(models, 0o777); err != nil {
		return nil, err
	}
	n, err := tried(ctx, j, models)
	if err != nil {
		return nil, err
	}
	memory := machine.Memory()
	if j.Limits.Memory > 0 {
		memory = min(memory, int64(j.Limits.Memory))
	}
	choice, err := vistaopt.Choose(wanted(j), n.sizes(), d.stats, vistaopt.Machine{Cores: machine.Cores(), Memory: memory})
	if err != nil {
		return nil, exit.As(exit.Infeasible, err)
	}
	p := &prepared{Plan: choice.Plan, From: choice.From, Regions: choice.Regions, Sort: choice.SortMemory, Layers: n.layers,
		Dims: map[string]int{}, Columns: d.schema.FeatureNames(), Skipped: d.schema.Skipped, Started: time.Now()}
	for _, l := range n.layers {
		p.Dims[l.Name] = l.PooledDim(n.pool)
	}
	in := inputs(j, d, n, choice.Plan)
	programs, err := n.writePrograms(ctx, models, choice.Plan, in)
	if err != nil {
		return nil, err
	}
	if err := n.forget(); err != nil {
		return nil, err
	}
	in.Model = func(s layers.ProgramSpec) (extract.Model, error) { return programs[specKey(s)], nil }
	phases, err := compile.Compile(choice.Plan, in)
	if err != nil {
		return nil, err
	}
	p.Spec = mr.JobSpec{ID: jobID(j), Name: j.Name, Phases: phases, Budgets: budgets(j)}
	b, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	o.Progress.Update(progress.Update{Stage: "plan", End: true})
	return p, dfs.WriteFile(ctx, local.New(dir, true), "job.json", b)
}

// budgets bound the bad records by the table's rows. They may be other ones when a run is taken
// up again: raising the budget is how a job that broke it goes on.
func budgets(j *conf.Job) []mr.Budget {
	return []mr.Budget{{Counter: "bad", Of: "rows", Phase: compile.TablePhase, Fraction: j.Limits.MaxBadFraction}}
}

// wanted is the plan as far as the job file fixes it.
func wanted(j *conf.Job) plan.Plan {
	return plan.Plan{Inference: plan.Inference(j.Plan.Inference), Placement: plan.Placement(j.Plan.Placement), Join: plan.Join(j.Plan.Join),
		Storage: plan.Storage(j.Plan.Storage), CPU: j.Plan.CPU, Partitions: j.Plan.Partitions, Batch: j.Plan.Batch}
}

// defaultFolds judge a grid when the job file names no number: hyper-parameters must not be
// chosen on held-out rows.
const defaultFolds = 3

func inputs(j *conf.Job, d *data, n *network, p plan.Plan) *compile.Inputs {
	ds := &j.Downstream
	settings := grid(ds)
	folds := ds.Folds
	if len(settings) > 1 && folds < 2 {
		folds = defaultFolds
	}
	splits, dups := d.splits(p.Partitions)
	in := &compile.Inputs{
		Table: d.tables, Ingest: ingest.Params{Schema: *d.schema, Seed: uint64(j.Seed), Test: ds.Test},
		Splits: splits, Duplicates: dups, Required: j.Images.Required, Image: n.image, Decoder: os.Getenv("VISTA_MR_JPEG"),
		Pool: n.pool, Normalize: n.normalize, Features: j.Keep.Features,
		Train: train.Params{Features: len(d.schema.Features), Kind: ds.Kind, Settings: settings, Iterations: ds.Iterations, Tol: ds.Tol,
			Standardize: ds.Standardize, Folds: folds, Table: compile.TablePhase},
		Evaluate: evaluate.Params{Settings: settings, Folds: folds, Metric: ds.Metric},
	}
	for _, l := range n.layers {
		in.Layers = append(in.Layers, compile.Layer{Name: l.Name, Raw: l.Dim, Pooled: l.PooledDim(n.pool)})
	}
	return in
}

// grid is every combination of hyper-parameters.
func grid(d *conf.Downstream) []train.Setting {
	regs, nets := d.Grid.Reg, d.Grid.ElasticNet
	if len(regs) == 0 {
		regs = []float64{d.Reg}
	}
	if len(nets) == 0 {
		nets = []float64{d.ElasticNet}
	}
	var out []train.Setting
	for _, r := range regs {
		for _, e := range nets {
			out = append(out, train.Setting{Reg: r, ElasticNet: e})
		}
	}
	return out
}

// runPhases runs the chain in this process.
func runPhases(ctx context.Context, p *prepared, dir string, rt *ort.Runtime, w *watch, o *Options) (map[mr.PhaseID]*mr.PhaseManifest, error) {
	registry, err := jobs.Registry(engine{rt})
	if err != nil {
		return nil, err
	}
	store := local.New(dir, true)
	pub := &commit.Publisher{FS: store, Root: dfs.Path(p.Spec.ID)}
	epoch, err := pub.ClaimEpoch(ctx)
	if err != nil {
		return nil, err
	}
	done, err := pub.LoadAll(ctx, &p.Spec)
	if err != nil {
		return nil, err
	}
	r := p.Regions
	machine.LimitHeap(r.Base/2 + r.Table + r.Buffers + r.Sort + r.Cache)
	scratch := filepath.Join(dir, "tmp")
	env := &task.Env{Store: store, Mux: stores(), Registry: registry, Shared: task.NewShared(), Cache: cache.New(r.Cache, scratch),
		Scratch: scratch, Slots: p.Plan.CPU, SortMemory: p.Sort, Log: o.Log}
	return mrlocal.Run(ctx, &p.Spec, mrlocal.Options{Env: env, Publisher: pub, Epoch: epoch, Done: done, Observe: w.update, Log: o.Log})
}
