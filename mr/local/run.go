package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/sched"
	"github.com/vista-mr/vista-mr/mr/task"
)

// Publisher makes phases visible in the store, and tasks durable before that; package commit has the real one.
type Publisher interface {
	Publish(ctx context.Context, m mr.PhaseManifest) error
	Keep(ctx context.Context, m mr.Manifest) error
	Forget(ctx context.Context, a mr.AttemptID, epoch int64) error
}

// Options is what a run needs. Observe and Log may be nil.
type Options struct {
	Env       *task.Env
	Publisher Publisher
	Epoch     int64
	Done      []mr.PhaseManifest // phases that an earlier run of the same job has published
	Committed []mr.Manifest      // tasks of others that it has kept
	Observe   func(Update)       // called from Run's goroutine: it must not block
	Memory    int64              // bytes that concurrent tasks may hold together; 0: not limited
	Beat      time.Duration      // how often progress is observed; 0: twice a second
	Backoff   time.Duration      // sched.Options.Backoff; 0: a second
	Log       *zap.Logger
}

// worker is the only worker there is.
const worker sched.WorkerID = "local"

// Run runs a job to its end and returns the manifests of its phases. The error is the job's:
// it has a kind, and with it come the manifests of the phases that were published before.
func Run(ctx context.Context, job *mr.JobSpec, o Options) (map[mr.PhaseID]*mr.PhaseManifest, error) {
	if err := job.Validate(); err != nil {
		return nil, errs.E("submit", errs.Invalid, "", err)
	}
	if o.Env.Slots < 1 {
		return nil, errs.E("submit", errs.Invalid, "", fmt.Errorf("%d slots: nothing could ever run", o.Env.Slots))
	}
	r := newRunner(ctx, job, o)
	err := r.loop(ctx)
	r.closeAll()
	if err != nil {
		return r.published, err
	}
	return r.published, nil
}

type runner struct {
	o      Options
	job    *mr.JobSpec
	phases map[mr.PhaseID]*mr.PhaseSpec
	start  time.Time
	log    *zap.Logger

	state  *sched.State
	events chan report
	work   sync.WaitGroup // the goroutines that end with an event
	base   context.Context
	stop   context.CancelFunc

	published map[mr.PhaseID]*mr.PhaseManifest
	running   map[mr.AttemptID]*attempt
	pinned    map[mr.PhaseID]map[int]*task.Pinned
	loops     map[mr.PhaseID]*loop
	done      bool
	err       error
}

// attempt is a launched attempt and how far it is.
type attempt struct {
	cancel context.CancelFunc
	meter  meter
}

func newRunner(ctx context.Context, job *mr.JobSpec, o Options) *runner {
	if o.Beat <= 0 {
		o.Beat = 500 * time.Millisecond
	}
	if o.Backoff <= 0 {
		o.Backoff = time.Second
	}
	if o.Observe == nil {
		o.Observe = func(Update) {}
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	r := &runner{
		o: o, job: job, start: time.Now(), log: o.Log.With(zap.String("job", string(job.ID))),
		phases: map[mr.PhaseID]*mr.PhaseSpec{}, events: make(chan report),
		published: map[mr.PhaseID]*mr.PhaseManifest{}, running: map[mr.AttemptID]*attempt{},
		pinned: map[mr.PhaseID]map[int]*task.Pinned{}, loops: map[mr.PhaseID]*loop{},
		state: sched.New(sched.Options{Epoch: o.Epoch, Backoff: sched.Tick(o.Backoff.Milliseconds())}),
	}
	for i := range job.Phases {
		r.phases[job.Phases[i].ID] = &job.Phases[i]
	}
	for i := range o.Done {
		r.published[o.Done[i].Phase] = &o.Done[i]
	}
	// Work gets a context of its own: when the caller's is cancelled, the state machine says
	// what is to be cancelled, and cleaning up must still be possible.
	r.base, r.stop = context.WithCancel(context.WithoutCancel(ctx))
	return r
}

// loop owns the state machine until the job is done and every goroutine has ended.
func (r *runner) loop(ctx context.Context) error {
	defer r.stop()
	r.step(sched.WorkerUp{Worker: worker, Slots: r.o.Env.Slots, Memory: r.o.Memory})
	r.step(sched.Submit{Job: *r.job, Done: r.o.Done, Committed: r.o.Committed})
	beat := time.NewTicker(r.o.Beat)
	defer beat.Stop()
	killed := ctx.Done()
	for !r.done {
		select {
		case rep := <-r.events:
			rep.note(r)
			r.step(rep.event)
		case <-beat.C:
			r.step(r.beat())
		case <-killed:
			killed = nil
			r.step(sched.Kill{Job: r.job.ID, Reason: context.Cause(ctx).Error()})
		}
	}
	ended := make(chan struct{})
	go func() { r.work.Wait(); close(ended) }()
	r.stop()
	for {
		select {
		case rep := <-r.events: // the job has ended; late answers change nothing, but what they hold must be closed
			rep.note(r)
		case <-ended:
			return r.err
		}
	}
}

// step feeds one event to the state machine and carries out what it answers.
func (r *runner) step(ev sched.Event) {
	r.observe(ev)
	for _, a := range r.state.Step(sched.Tick(time.Since(r.start).Milliseconds()), ev) {
		r.act(a)
	}
}

func (r *runner) act(a sched.Action) {
	switch a := a.(type) {
	case sched.Launch:
		r.launch(a.Spec)
	case sched.Cancel:
		if at := r.running[a.Attempt]; at != nil {
			at.cancel()
		}
	case sched.Publish:
		r.publish(a.Manifest)
	case sched.Gone: // the only worker there is lives as long as this process
	case sched.NextMessage:
		r.nextMessage(a)
	case sched.RunRound:
		r.runRound(a)
	case sched.AcceptSum:
		r.acceptSum(a)
	case sched.DropFiles:
		r.dropFiles(a)
	case sched.ClosePhase:
		r.closePhase(a.Phase)
	case sched.Discard:
		r.discard(a)
	case sched.Done:
		r.done = true
		if a.Err != nil {
			r.err = a.Err
		}
		r.o.Observe(Update{Kind: JobDone, Err: r.err})
	default:
		r.done, r.err = true, errs.E("run", errs.Internal, "", fmt.Errorf("unknown action %T", a))
	}
}

// report is what a goroutine ends with: the event for the state machine, and what it made,
// which note hands to the runner on the loop's goroutine. Either may be missing.
type report struct {
	event    sched.Event
	pinned   *task.Pinned
	unpinned *task.Pinned // has been closed
	manifest *mr.PhaseManifest
	round    *round
}

func (rep report) note(r *runner) {
	switch {
	case rep.pinned != nil:
		id := rep.pinned.Spec().Attempt.Task
		if r.pinned[id.Phase] == nil {
			r.pinned[id.Phase] = map[int]*task.Pinned{}
		}
		r.pinned[id.Phase][id.Index] = rep.pinned
	case rep.unpinned != nil:
		if id := rep.unpinned.Spec().Attempt.Task; r.pinned[id.Phase][id.Index] == rep.unpinned {
			delete(r.pinned[id.Phase], id.Index)
		}
	case rep.manifest != nil:
		// A revision may be overtaken by the next one.
		if now := r.published[rep.manifest.Phase]; now == nil || now.Revision < rep.manifest.Revision {
			r.published[rep.manifest.Phase] = rep.manifest
		}
	case rep.round != nil:
		r.noteRound(rep.round)
	}
}

// post runs f in a goroutine of its own and feeds its report to the loop.
func (r *runner) post(f func() report) {
	r.work.Add(1)
	go func() {
		defer r.work.Done()
		r.events <- f()
	}()
}

func (r *runner) launch(spec mr.TaskSpec) {
	ctx, cancel := context.WithCancel(r.base)
	at := &attempt{cancel: cancel}
	r.running[spec.Attempt] = at
	r.o.Observe(Update{Kind: AttemptStarted, Phase: spec.Attempt.Task.Phase, Attempt: spec.Attempt, Tasks: spec.Tasks})
	r.post(func() report {
		if spec.Type == mr.RoundsPhase {
			p, err := r.o.Env.Open(ctx, &spec, at.meter.set)
			if err != nil {
				return r.failed(spec.Attempt, err)
			}
			return report{event: sched.Opened{Worker: worker, Job: r.job.ID, Attempt: spec.Attempt, Epoch: spec.Epoch}, pinned: p}
		}
		m, err := r.o.Env.Run(ctx, &spec, at.meter.set)
		if err == nil {
			err = r.o.Publisher.Keep(ctx, *m)
		}
		if err != nil {
			return r.failed(spec.Attempt, err)
		}
		return report{event: sched.Succeeded{Worker: worker, Job: r.job.ID, Manifest: *m}}
	})
}

func (r *runner) failed(a mr.AttemptID, err error) report {
	return report{event: sched.Failed{Worker: worker, Job: r.job.ID, Attempt: a, Epoch: r.o.Epoch, Err: asErr("attempt", err)}}
}

// asErr is the error as a value with a kind, which is what the state machine takes.
func asErr(op string, err error) *errs.Error {
	var e *errs.Error
	if errors.As(err, &e) {
		return e
	}
	errors.As(errs.E(op, errs.KindOf(err), "", err), &e)
	return e
}

func (r *runner) publish(m mr.PhaseManifest) {
	r.post(func() report {
		if err := r.o.Publisher.Publish(r.base, m); err != nil {
			return report{event: sched.PublishFailed{Job: m.Job, Phase: m.Phase, Revision: m.Revision, Err: asErr("publish", err)}}
		}
		return report{event: sched.Published{Job: m.Job, Phase: m.Phase, Revision: m.Revision}, manifest: &m}
	})
}

// dropFiles removes files that no later phase reads. A file that cannot be removed costs room
// and nothing else.
func (r *runner) dropFiles(a sched.DropFiles) {
	r.inBackground("drop files of "+string(a.Phase), func(ctx context.Context) error {
		var all []error
		for _, f := range a.Files {
			all = append(all, r.o.Env.Store.Remove(ctx, f.Path))
		}
		return errors.Join(all...)
	})
}

func (r *runner) discard(a sched.Discard) {
	out := sched.OutFolder(a.Job, a.Attempt, a.Epoch)
	r.inBackground("discard "+a.Attempt.String(), func(ctx context.Context) error {
		if err := r.o.Publisher.Forget(ctx, a.Attempt, a.Epoch); err != nil {
			return err // whoever comes after would miss the files
		}
		return dfs.RemoveAll(ctx, r.o.Env.Store, out)
	})
}

// inBackground does what nobody waits for but Run's end. It works even while the job is being
// stopped, because cleaning up is what stopping is for.
func (r *runner) inBackground(what string, f func(ctx context.Context) error) {
	r.work.Add(1)
	go func() {
		defer r.work.Done()
		if err := f(context.WithoutCancel(r.base)); err != nil {
			r.log.Warn(what, zap.Error(err))
		}
	}()
}

func (r *runner) closePhase(id mr.PhaseID) {
	if l := r.loops[id]; l != nil {
		l.stop()
	}
	r.closePinned(id)
	delete(r.loops, id)
	if err := r.o.Env.Shared.CloseIdle(r.phases[id].KeepOpen...); err != nil {
		r.log.Warn("close shared resources", zap.String("phase", string(id)), zap.Error(err))
	}
	// The next phase is another kind of work with another shape of memory: what this one
	// used should not count against it.
	debug.FreeOSMemory()
}

func (r *runner) closePinned(id mr.PhaseID) {
	for _, p := range r.pinned[id] {
		if err := p.Close(); err != nil {
			r.log.Warn("close partition", zap.String("task", p.Spec().Attempt.Task.String()), zap.Error(err))
		}
	}
	delete(r.pinned, id)
}

func (r *runner) closeAll() {
	for id := range r.pinned {
		r.closePinned(id)
	}
	if err := r.o.Env.Shared.CloseIdle(); err != nil {
		r.log.Warn("close shared resources", zap.Error(err))
	}
}

// values are the small results of a published phase.
func values(m *mr.PhaseManifest) []json.RawMessage {
	if m == nil {
		return nil
	}
	out := make([]json.RawMessage, len(m.Tasks))
	for i := range m.Tasks {
		out[i] = m.Tasks[i].Value
	}
	return out
}
