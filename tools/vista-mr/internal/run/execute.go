package run

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/evaluate"
	"github.com/vista-mr/vista-mr/jobs/extract"
	"github.com/vista-mr/vista-mr/jobs/features"
	"github.com/vista-mr/vista-mr/jobs/ingest"
	"github.com/vista-mr/vista-mr/jobs/results"
	"github.com/vista-mr/vista-mr/jobs/train"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/machine"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/progress"
	"github.com/vista-mr/vista-mr/vistaopt"
	"github.com/vista-mr/vista-mr/vistaopt/compile"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// prepared is a job that is ready to run.
type prepared struct {
	kept
	Spec    mr.JobSpec
	Regions vistaopt.Regions
	Room    vistaopt.Room
	Expect  vistaopt.Estimate
	Memory  int64 // that the plan was made for
	Beyond  int64 // bytes that there are, where the plan needs more; else 0
	lesson  *lesson
	written []*written     // what is going to be known of the networks' features
	Dims    map[string]int // of the layers' vectors
	Columns []string       // that models take, encoded
	Rows    int64          // of the table, good or not
	Table   *results.Table
	Skipped []string
	Notes   []string // on the networks
	Resumed bool     // phases of an earlier run count

	Networks []laid // in the job file's order
}

// kept is what a run leaves in its folder for the one that takes it up again. It says from what the published phases
// were made, and which knobs must stay as they are for them to be of use; all else is decided anew.
type kept struct {
	Run     string            `json:"run"` // tells it from the job's other runs
	Origin  *origin           `json:"origin"`
	Plan    plan.Plan         `json:"plan"`
	From    map[string]string `json:"from"`
	Started time.Time         `json:"started"`
}

const keptFile = "job.json"

// execute runs a job that is ready. start is when the command began.
func execute(ctx context.Context, j *conf.Job, c *Claim, p *prepared, start time.Time, o *Options) (_ *results.Summary, err error) {
	// Nothing refers to the network's weights any more. A run that is taken up allocates too little for the collector to
	// notice before the end of the CNN's phases.
	debug.FreeOSMemory()
	at := c.place
	w := &watch{job: p, sink: o.Progress}
	if err := w.open(ctx, c, time.Now); err != nil {
		return nil, exit.Running(c.taken(ctx, err))
	}
	defer func() {
		if cerr := w.events.Close(); err == nil || !errs.Is(cerr, errs.Lost) { // that another run has taken over is said once
			err = errors.Join(err, cerr)
		}
	}()
	w.events.begin(j, p)
	if _, here := o.Engine.(*inProcess); here {
		w.cpu = machine.CPU
	}

	var s *results.Summary
	work := p.work(j, at.scratch, w)
	phases, err := o.Engine.Run(ctx, work)
	over := time.Now()
	if err == nil {
		err = c.Check(ctx)
	}
	if err != nil {
		err = inTable(j, p.Columns, w.withBad(err))
	} else {
		s, err = publish(ctx, j, p, phases, &finished{start: start, over: over, watch: w, ort: o.ortVersion, version: o.Version, at: at, claim: c, work: work})
	}
	if err == nil {
		p.learn(start, phases, w, o.Log)
		err = at.joinLogs(ctx, c, work, o.Log)
	}
	err = c.taken(ctx, err)
	w.events.end(err) // before the marker, behind which nothing is written
	if err == nil {
		err = errors.Join(w.events.Sync(), c.Check(ctx))
	}
	if err == nil {
		err = c.end(ctx)
	}
	if err == nil {
		if err = at.markFinished(ctx); err != nil && at.finished(ctx) {
			err = nil // what was lost was the store's answer, or a later run has written it for this one
		}
	}
	err = c.taken(ctx, err)
	if err != nil {
		return nil, exit.Running(err)
	}
	if err := at.leave(ctx); err != nil {
		o.Log.Warn("what the finished run was made from cannot be removed; it is not needed", zap.Error(err))
	}
	return s, nil
}

// notReady puts an error of the preparation into its class: most are about what the user gave,
// but a disk can be full before anything runs.
func notReady(err error) error {
	switch errs.KindOf(err) {
	case errs.NoSpace, errs.Canceled, errs.Transient, errs.Unreachable, errs.Unauthorized, errs.Lost:
		return exit.Running(err)
	}
	return exit.As(exit.Invalid, err)
}

// prepare plans the job and compiles it. What an interrupted run has published is kept if it was made from the same
// inputs and the plan that it was made by fits; else the run starts anew, and says so.
func prepare(ctx context.Context, j *conf.Job, c *Claim, f *findings, o *Options) (*prepared, error) {
	d, at := f.data(), c.place
	models, err := at.programs()
	if err != nil {
		return nil, err
	}
	old := readKept(ctx, at)
	planned, err := old.planned(ctx, d)
	if err != nil {
		return nil, err
	}
	var choice *vistaopt.Choice
	var follows bool
	m, err := o.Engine.Machine(ctx)
	if err != nil {
		return nil, err
	}
	rates, chosen := onceSpeeds(ctx, d, sampleRoom(j, m), o), onceChosen(j, d, planned)
	written, inference := programs{}, plan.Inference("")
	ns, err := openNetworks(ctx, j, models, func(ns networks) (err error) {
		if m.Rates, err = rates(ns); err == nil {
			choice, follows, err = chosen(ns, m)
		}
		return err
	}, func(ns networks, i int) error {
		// One network's weights at a time: from here on the runtime reads them from files.
		if inference == "" {
			inference = choice.Plan.Inference
		}
		err := ns[i].writePrograms(ctx, at.store, choice.Plan, inputs(j, d, ns, choice), i, written)
		return errors.Join(err, ns[i].forget())
	})
	if err != nil {
		return nil, err
	}
	if choice.Plan.Inference != inference {
		return nil, errs.E("plan", errs.Internal, "", fmt.Errorf("a %s plan was chosen before all networks were open, and a %s one after", inference, choice.Plan.Inference))
	}
	noteReady(inputs(j, d, ns, choice), ns, choice.Plan, written, at.store, o)
	p, err := lay(ctx, j, d, ns, written, choice, m, c, o)
	if err != nil {
		return nil, err
	}
	warnOfCaches(o, m)
	locate(ctx, d, &p.Spec, o.Log)
	notes := idle(j, p.Plan, m)
	for _, note := range notes {
		o.Log.Warn(note)
	}
	p.Notes = slices.Concat(notes, f.remarks, p.Notes)
	for _, w := range warnings(j, d, ns, choice, follows, m) {
		o.Log.Warn(w)
	}
	if p.Beyond > 0 {
		note := beyond(p.Regions.Need(), p.Beyond)
		o.Log.Warn(note)
		p.Notes = append(p.Notes, note)
	}
	if there := m.Tracker.Memory; there > 0 && choice.Tracker > there {
		note := beyondTracker(choice.Tracker, there)
		o.Log.Warn(note)
		p.Notes = append(p.Notes, note)
	}
	anew := "" // why what there is does not count
	if old == nil {
		if _, err := at.store.Stat(ctx, keptFile); err == nil {
			anew = "what the interrupted run has left cannot be understood, as that of another build"
		}
	} else if changed := old.Origin.changes(p.Origin); len(changed) > 0 {
		anew, follows = sentence(changed), false
	} else if !follows {
		anew = "the plan of the interrupted run does not fit into the memory that there is now"
	}
	if anew != "" && o.Resume {
		return nil, noResume(at, anew)
	}
	if anew != "" {
		o.Log.Warn(anew + ": it starts anew")
	}
	if p.Resumed = old != nil && follows; p.Resumed {
		p.Run, p.Started = old.Run, old.Started
		p.lesson = nil // images and times are of both runs' tasks, the processor time of this one alone
	} else {
		p.Run = newRun()
		err = startAnew(ctx, c, p)
	}
	p.Spec.ID = jobID(j, p.Run)
	if err == nil {
		err = at.begin()
	}
	if err != nil {
		return nil, err
	}
	o.Progress.Update(progress.Update{Stage: "plan", End: true})
	return p, nil
}

// noResume says why a run is not taken up that was to be taken up and nothing else.
func noResume(at *place, why string) error {
	return exit.As(exit.Invalid, &InputError{ID: "E-RESUME", Key: "output", Path: at.name, Cause: "is not taken up again: " + why,
		Next: "submit without --resume starts anew"})
}

// lay lays a plan out whose programs are files in the run's folder: its phases.
func lay(ctx context.Context, j *conf.Job, d *data, ns networks, written programs, choice *vistaopt.Choice, m vistaopt.Machine, c *Claim, o *Options) (_ *prepared, err error) {
	at := c.place
	whole := make([]extract.Model, len(ns))
	for i, in := 0, inputs(j, d, ns, choice); i < len(ns); i++ {
		if whole[i], err = written.find(in.Whole(i)); err != nil {
			return nil, err
		}
	}
	begin := time.Now()
	if choice, err = calibrated(ctx, j, d, ns, choice, m, whole, at, o); err != nil {
		return nil, err
	}
	tried := time.Since(begin)
	fromSet(j, choice.From)
	p := &prepared{kept: kept{Plan: choice.Plan, From: choice.From, Started: time.Now()}, Regions: choice.Regions, Room: choice.Room, Expect: choice.Estimate, Memory: choice.Memory, Beyond: choice.Beyond,
		Dims: map[string]int{}, Columns: d.table.Encoding.Names(), Rows: d.table.Encoding.Rows, Table: d.table.summary(), Skipped: d.table.schema.Skipped}
	for i, n := range ns {
		p.Networks = append(p.Networks, n.lay(whole[i]))
		p.Notes = append(p.Notes, n.notes...)
		if d.stats.PerRecord <= 1 { // else volumes of several images are one value
			p.written = append(p.written, n.writes())
		}
		for _, l := range n.layers {
			p.Dims[n.full(l.Name)] = l.PooledDim(n.pool)
		}
	}
	in := inputs(j, d, ns, choice) // the room may be another one now
	if in.Splits, err = d.images.Write(ctx, at.store, c.index(), choice.Plan.Partitions); err != nil {
		return nil, err
	}
	if p.Origin, err = newOrigin(ctx, d, ns, written, o.ortVersion); err != nil {
		return nil, err
	}
	in.Model = written.find
	phases, err := compile.Compile(choice.Plan, in)
	if err != nil {
		return nil, err
	}
	// How long each of several networks ran is not told apart.
	if _, here := o.Engine.(*inProcess); here && len(ns) == 1 {
		p.lesson = &lesson{calibrationKey(ns[0], o.ortVersion), ns[0].size, choice.Speeds, tried}
	}
	p.Spec = mr.JobSpec{Name: j.Name, Phases: phases, Budgets: budgets(j), Store: at.storeURI, Settings: mr.Settings{SortMemory: p.Room.Sort, Cache: p.Room.Cache}}
	return p, nil
}

// choose plans the job; as the interrupted run did, if that is still possible. Processors and batches are the machine's
// matter and chosen anew in any case.
func choose(j *conf.Job, ns networks, d *data, old *kept, m vistaopt.Machine) (c *vistaopt.Choice, follows bool, err error) {
	m = limited(j, m)
	if old != nil {
		if c, err = chooseAgain(j, ns, d, old.Plan, old.From, m); err == nil {
			return c, true, nil
		}
	}
	c, err = optimized(wanted(j), ns.sizes(), d.stats, training(j, d, ns), m)
	if !j.Limits.Refuse && tooLarge(err) { // nothing fits: what the interrupted run did is as good as anything
		if old != nil {
			c, err = beyondMemory(m, func(m vistaopt.Machine) (*vistaopt.Choice, error) {
				return chooseAgain(j, ns, d, old.Plan, old.From, m)
			})
			if err == nil {
				return c, true, nil
			}
		}
		c, err = beyondMemory(m, func(m vistaopt.Machine) (*vistaopt.Choice, error) {
			return optimized(wanted(j), ns.sizes(), d.stats, training(j, d, ns), m)
		})
	}
	if err == nil {
		err = needs(j, c).Fit(len(d.table.Classes))
	}
	return c, false, exit.As(exit.Infeasible, err)
}

// limited is a machine of which a job takes no more than it says.
func limited(j *conf.Job, m vistaopt.Machine) vistaopt.Machine {
	if limit := int64(j.Limits.Memory); limit > 0 && limit < m.Memory {
		m.Memory, m.Least = limit, ""
	}
	return m
}

// chooseAgain makes the choice of a plan anew but for processors and batches. It fails if the plan does not fit.
func chooseAgain(j *conf.Job, ns networks, d *data, was plan.Plan, from map[string]string, m vistaopt.Machine) (*vistaopt.Choice, error) {
	was.CPU, was.Batch = j.Plan.CPU, j.Plan.Batch
	c, err := optimized(was, ns.sizes(), d.stats, training(j, d, ns), m)
	if err == nil {
		err = needs(j, c).Fit(len(d.table.Classes))
	}
	if err != nil {
		return nil, err
	}
	for knob := range c.From {
		if knob != "cpu" && knob != "batch" {
			c.From[knob] = from[knob]
		}
	}
	return c, nil
}

// needs is what a job asks of its classes; without a choice, what does not depend on it. A choice counts the classes that were
// found: what is asked of the memory is for a table that has others by the time when it is read for the job. With limits.refuse false
// nothing is.
func needs(j *conf.Job, c *vistaopt.Choice) ingest.Needs {
	n := ingest.Needs{Metric: j.Downstream.Metric, Kind: j.Downstream.Kind}
	if c == nil || !j.Limits.Refuse {
		return n
	}
	for _, k := range c.Room.Classes {
		n.Memory = append(n.Memory, ingest.Memory{For: k.For, Available: cmp.Or(k.Of, c.Memory), Fixed: k.Fixed, PerClass: k.PerClass})
	}
	return n
}

// readKept returns what an interrupted run has left; nil without one, or if it cannot be understood, as that of an
// older build.
func readKept(ctx context.Context, at *place) *kept {
	b, err := dfs.ReadFile(ctx, at.store, keptFile, maxKept)
	var k kept
	if err != nil || json.Unmarshal(b, &k) != nil || k.Origin == nil || k.Plan.Validate() != nil {
		return nil
	}
	return &k
}

// maxKept bounds keptFile: a table may have many files.
const maxKept = 256 << 20

// modelsFolder holds programs by their digests, which are good for any run.
const modelsFolder = "models"

// startAnew removes what another run has left, its log as well, and notes from what this one is made. What says that
// a run can be taken up goes first and comes last. The epochs of claims stay: a run that was thought to be gone must not outrank
// the ones after it. What it writes from now on is in a folder of its own, which nobody reads and which goes when the job is done.
func startAnew(ctx context.Context, c *Claim, p *prepared) error {
	at := c.place
	b, err := json.Marshal(&p.kept)
	if err != nil {
		return err
	}
	old, logs := c.old, c.logs
	if c.lock != nil {
		logs = []dfs.Path{EventsFile, AttemptsFile}
		if old, err = at.files(ctx); err != nil {
			return err
		}
	}
	// Another run may have taken over, and what it writes must stay.
	if err := c.Check(ctx); err != nil {
		return err
	}
	err = at.store.Remove(ctx, keptFile)
	for _, name := range logs {
		err = errors.Join(err, at.out.Remove(ctx, name))
	}
	if err == nil {
		err = at.remove(ctx, old, func(f dfs.Path) bool {
			return f == keptFile || f == c.index() || f.Under(modelsFolder) || // those of the new run are there already
				f.Under(runsFolder)
		})
	}
	if err != nil {
		return err
	}
	return c.replace(ctx, at.store, keptFile, nil, func() error { return dfs.WriteFile(ctx, at.store, keptFile, b) })
}

const scratchFolder = "tmp"

// budgets bound the bad records by the table's rows. They may be other ones when a run is taken
// up again: raising the budget is how a job that broke it goes on.
func budgets(j *conf.Job) []mr.Budget {
	return []mr.Budget{{Counter: "bad", Of: "rows", Phase: compile.TablePhase, Fraction: j.Limits.MaxBadFraction}}
}

// wanted is the plan as far as the job file fixes it.
func wanted(j *conf.Job) plan.Plan {
	return plan.Plan{Inference: plan.Inference(j.Plan.Inference), Placement: plan.Placement(j.Plan.Placement), Join: plan.Join(j.Plan.Join),
		Storage: plan.Storage(j.Plan.Storage), CPU: j.Plan.CPU, Partitions: j.Plan.Partitions, Batch: j.Plan.Batch,
		Networks: plan.Networks(j.Plan.Networks)}
}

// defaultFolds judge a grid when the job file names no number: hyper-parameters must not be
// chosen on held-out rows.
const defaultFolds = 3

// training is what the models are, of as many classes as the table was found to have.
func training(j *conf.Job, d *data, ns networks) vistaopt.Training {
	settings, folds := grid(&j.Downstream)
	t := vistaopt.Training{Settings: len(settings), Folds: folds, Iterations: j.Downstream.Iterations, Ranks: j.Downstream.Metric == results.AUC, Classes: len(d.table.Classes),
		Features: j.Keep.Features, Columns: []int{d.table.Encoding.Width()}}
	for _, n := range ns {
		for _, l := range n.layers {
			t.Columns = append(t.Columns, d.table.Encoding.Width()+l.PooledDim(n.pool))
		}
	}
	return t
}

func inputs(j *conf.Job, d *data, ns networks, c *vistaopt.Choice) *compile.Inputs {
	ds := &j.Downstream
	settings, folds := grid(ds)
	in := &compile.Inputs{
		Table: d.tables, Ingest: ingest.Params{Schema: *d.table.schema, Encoding: d.table.Encoding, MaxCategories: j.Table.MaxCategories, Seed: uint64(j.Seed), Test: ds.Test, Needs: needs(j, c)},
		Multiple: j.Images.Multiple, Required: j.Images.Required, Decoder: os.Getenv(decoderVariable), Decode: c.Room.Decode, MaxFile: c.Room.File,
		Features: j.Keep.Features,
		Train: train.Params{Features: d.table.Encoding.Width(), Kind: ds.Kind, Settings: settings, Iterations: ds.Iterations, Tol: ds.Tol,
			Standardize: ds.Standardize, Folds: folds, Table: compile.TablePhase,
			Room:   train.Room{Bytes: c.Room.Models, Training: c.Room.PerTraining, Trained: c.Room.PerTrained, Kept: c.Room.PerKept},
			Driven: train.Room{Bytes: c.Room.Driven.Bytes, Training: c.Room.Driven.PerTraining, Trained: c.Room.Driven.PerTrained, Kept: c.Room.Driven.PerKept}},
		Evaluate: evaluate.Params{Settings: settings, Folds: folds, Metric: ds.Metric, Kind: ds.Kind},
	}
	if in.Features {
		in.Keep = features.Params{Format: j.Features.Format}
	}
	for _, n := range ns {
		of := compile.Network{Name: n.name, Image: n.image, Pool: n.pool, Normalize: n.normalize}
		if in.Features {
			of.Meta = n.origin()
		}
		for _, l := range n.layers {
			of.Layers = append(of.Layers, compile.Layer{Name: l.Name, Raw: l.Dim, Pooled: l.PooledDim(n.pool)})
		}
		in.Networks = append(in.Networks, of)
	}
	return in
}

// grid is every combination of hyper-parameters, and the folds that judge them.
func grid(d *conf.Downstream) (settings []train.Setting, folds int) {
	regs, nets := d.Grid.Reg, d.Grid.ElasticNet
	if len(regs) == 0 {
		regs = []float64{d.Reg}
	}
	if len(nets) == 0 {
		nets = []float64{d.ElasticNet}
	}
	for _, r := range regs {
		for _, e := range nets {
			settings = append(settings, train.Setting{Reg: r, ElasticNet: e})
		}
	}
	if len(settings) > 1 && d.Folds < 2 {
		return settings, defaultFolds
	}
	return settings, d.Folds
}
