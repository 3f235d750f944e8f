package run

import (
	"context"
	"errors"
	"slices"

	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/evaluate"
	"github.com/vista-mr/vista-mr/jobs/train"
	"github.com/vista-mr/vista-mr/layers/ort"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/commit"
	"github.com/vista-mr/vista-mr/mr/dfs"
	mrlocal "github.com/vista-mr/vista-mr/mr/local"
	"github.com/vista-mr/vista-mr/mr/tracker"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/host"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/machine"
	"github.com/vista-mr/vista-mr/vistaopt"
)

// Engine runs the phases of jobs: in this process, or on a cluster.
type Engine interface {
	// Machine is what a worker may use, which a plan is made for.
	Machine(ctx context.Context) (vistaopt.Machine, error)
	// Run runs a job's phases to their end and returns their manifests. It begins with claiming an epoch of the job, and
	// goes on from what an earlier run has published and kept (package commit), of which it tells w.Resumed before
	// anything runs. A cancelled ctx ends the run; what is finished stays for the next one.
	Run(ctx context.Context, w *Work) (map[mr.PhaseID]*mr.PhaseManifest, error)
}

// Work is a compiled job: the specification, which is all that the phases themselves need, what the plan gives to a
// worker, and who wants to know what happens.
type Work struct {
	Spec    mr.JobSpec    // with the store of its folder, below which it has a folder of its own named by its id, and the settings
	Slots   int           // attempts that a worker runs at once
	Room    vistaopt.Room // of a worker's memory
	Arena   int64         // what ONNX Runtime may allocate in a worker; 0: any
	Memory  int64         // that the plan was made for, in bytes of a worker
	Scratch string        // local folder of this process, which is removed when the job ends
	Plan    string        // the plan that runs, for people
	Ran     mr.JobID      // set by the engine: the folder below the store that the phases ran in

	// Elsewhere is set by an engine whose attempts run in other processes, of which one held at most Peak bytes while it ran some; 0: not known.
	Elsewhere bool
	Peak      int64
	Machine   vistaopt.Machine // set by the engine: what it had at the end; no cores: not known

	Resumed func(done []mr.PhaseManifest, kept []mr.Manifest) // is called once
	Observe func(tracker.Update)                              // must not block
}

// work is what the engine is given.
func (p *prepared) work(j *conf.Job, scratch string, w *watch) *Work {
	return &Work{Spec: p.Spec, Slots: p.Plan.CPU, Room: p.Room, Arena: arenaLimit(j, p.Room, p.Regions, p.Memory), Memory: p.Memory, Scratch: scratch, Plan: p.Plan.String(), Resumed: w.resume, Observe: w.update}
}

// arenaLimit makes a stated memory limit a promise: a batch that the estimate was too low for
// fails and is halved, instead of taking what it was not given. Without one, half of what no plan needs may be taken: an
// arena with a limit grows by what is asked for, and the runtime's own by powers of two, which took VGG16 a sixth more memory.
func arenaLimit(j *conf.Job, room vistaopt.Room, r vistaopt.Regions, memory int64) int64 {
	if j.Limits.Memory == 0 {
		return max(room.Arena, (memory-r.Need())/2)
	}
	return room.Arena
}

// phase finds a phase of the job.
func (w *Work) phase(id mr.PhaseID) *mr.PhaseSpec {
	i := slices.IndexFunc(w.Spec.Phases, func(p mr.PhaseSpec) bool { return p.ID == id })
	return &w.Spec.Phases[i]
}

// inProcess runs a job here, on local cores.
type inProcess struct {
	stores *dfs.Mux
	lib    string // ONNX Runtime
	log    *zap.Logger
}

var _ Engine = (*inProcess)(nil)

// Machine is this one.
func (*inProcess) Machine(context.Context) (vistaopt.Machine, error) {
	memory, own := machine.Least()
	m := vistaopt.Machine{Cores: machine.Cores(), Memory: memory, Whole: memory, Least: vistaopt.ThisMachine, Unmapped: !Keeps()}
	switch {
	case own.Limit > 0:
		m.Least, m.Ulimit = vistaopt.ThisProcess, own
	case memory < machine.Total():
		m.Least = vistaopt.ControlGroup
	}
	return m, nil
}

// Run starts the runtime and runs the job.
func (e *inProcess) Run(ctx context.Context, w *Work) (_ map[mr.PhaseID]*mr.PhaseManifest, err error) {
	rt, err := ort.Init(ort.Options{Library: e.lib, CacheDir: cacheDir(), ArenaLimit: w.Arena})
	if err != nil {
		return nil, exit.As(exit.Invalid, err)
	}
	defer func() { err = errors.Join(err, rt.Close()) }()
	return e.run(ctx, rt, w)
}

func (e *inProcess) run(ctx context.Context, rt *ort.Runtime, w *Work) (map[mr.PhaseID]*mr.PhaseManifest, error) {
	h := &host.Host{Stores: e.stores, ORT: rt, Blobs: programCache(w.Scratch), Scratch: w.Scratch, Slots: w.Slots, Log: e.log}
	env, err := h.Env(ctx, &mr.TaskSpec{Job: w.Spec.ID, Store: w.Spec.Store, Settings: w.Spec.Settings})
	if err != nil {
		return nil, err
	}
	w.Ran = w.Spec.ID
	if w.Machine, err = e.Machine(ctx); err != nil {
		return nil, err
	}
	pub := &commit.Publisher{FS: env.Store, Root: dfs.Path(w.Spec.ID), Log: e.log}
	epoch, done, kept, err := pub.TakeOver(ctx, &w.Spec)
	if err != nil {
		return nil, err
	}
	w.Resumed(done, kept)
	begun := map[mr.PhaseID]bool{}
	watch := func(ctx context.Context, shed func(error) bool) { host.Guard(ctx, shed, w.Memory, machine.Held, e.log) }
	observe := func(u tracker.Update) {
		if u.Kind == tracker.AttemptStarted && !begun[u.Phase] {
			begun[u.Phase] = true
			limitHeap(w, u.Phase)
		}
		w.Observe(u)
	}
	return mrlocal.Run(ctx, &w.Spec, mrlocal.Options{Env: env, Publisher: pub, Epoch: epoch, Done: done, Committed: kept, Observe: observe, Guard: watch, Log: e.log})
}

// Heap is a phase's share of the memory for its kind of work, in bytes: beside the CNN little, without it nearly all; 0: no limit.
func (w *Work) Heap(p *mr.PhaseSpec) int64 {
	if w.Room.Heap == 0 {
		return 0
	}
	switch p.Kind {
	case train.Name, evaluate.Name:
		return w.Room.Trainer
	}
	return w.Room.Heap
}

func limitHeap(w *Work, id mr.PhaseID) {
	if n := w.Heap(w.phase(id)); n > 0 {
		machine.LimitHeap(n)
	}
}
