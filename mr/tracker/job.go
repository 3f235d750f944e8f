package tracker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/sched"
	"github.com/vista-mr/vista-mr/mr/worker"
)

// Publisher makes phases visible in the store, and tasks durable before that; package commit has the real one.
type Publisher interface {
	Publish(ctx context.Context, m mr.PhaseManifest) error
	Keep(ctx context.Context, m mr.Manifest) error
	// Forget takes back what Keep has kept, and fails with errs.Lost if another coordinator has taken over before it was done.
	Forget(ctx context.Context, a mr.AttemptID, epoch int64) error
	// Settle ends what it does in the background. It is called when the job has ended.
	Settle()
	// Current fails with errs.Lost if another coordinator than that of the epoch has taken over.
	Current(ctx context.Context, epoch int64) error
}

// JobOptions is what a job comes with. Observe may be nil.
type JobOptions struct {
	Store     dfs.FS // the job's folder
	Publisher Publisher
	Epoch     int64
	Done      []mr.PhaseManifest // phases that an earlier run of the same job has published
	Committed []mr.Manifest      // tasks of others that it has kept
	Observe   func(Update)       // called from the tracker's goroutine: it must not block
}

// job is the tracker's book of a job.
type job struct {
	o      JobOptions
	spec   *mr.JobSpec
	phases map[mr.PhaseID]*mr.PhaseSpec
	log    *zap.Logger
	base   context.Context // of what is done for it, beyond its killing
	stop   context.CancelFunc
	work   sync.WaitGroup
	ended  chan struct{}
	err    error

	published map[mr.PhaseID]*mr.PhaseManifest
	loops     map[mr.PhaseID]*loop
	workers   map[sched.WorkerID]bool // that may have something of it
	closed    *worker.ClosePhase      // of the phase that has ended last, unless it runs again; nil: none has
	keeping   map[mr.TaskID]*keeping
}

// Run runs a job to its end and returns the manifests of its phases. The error is the job's: it has a kind, and
// with it come the manifests of the phases that were published before. A cancelled ctx kills the job.
func (t *Tracker) Run(ctx context.Context, spec *mr.JobSpec, o JobOptions) (map[mr.PhaseID]*mr.PhaseManifest, error) {
	if err := spec.Validate(); err != nil {
		return nil, errs.E("submit", errs.Invalid, "", err)
	}
	j := newJob(t, spec, o)
	var err error
	if !t.ask(func() {
		if t.jobs[spec.ID] != nil {
			err = errs.E("submit", errs.Exist, string(spec.ID), errors.New("a job of this id runs here already"))
			return
		}
		t.jobs[spec.ID] = j
		t.submit(j)
	}) {
		return nil, errs.E("submit", errs.Canceled, "", ErrClosed)
	}
	if err != nil {
		return nil, err
	}
	select {
	case <-j.ended:
	case <-ctx.Done():
		t.post(func() { t.step(sched.Kill{Job: spec.ID, Reason: context.Cause(ctx).Error()}) })
		<-j.ended
	}
	j.stop()
	j.work.Wait()
	j.o.Publisher.Settle()
	for _, p := range spec.Phases {
		if j.err == nil && j.published[p.ID] == nil {
			// The state machine says once more how it ended: it was run in this epoch before.
			j.err = errs.E("submit", errs.Exist, string(spec.ID), fmt.Errorf("a job of this id has ended in epoch %d", o.Epoch))
		}
	}
	return j.published, j.err
}

// submit starts a job, or goes on with one of an earlier tracker's: what workers still run of it is taken back, and what they
// have reported meanwhile is dealt with.
func (t *Tracker) submit(j *job) {
	id := j.spec.ID
	held, expected := t.early[id]
	delete(t.early, id)
	lives := map[sched.WorkerID][]sched.Progress{} // what runs, or has ended and was not heard of yet
	if expected {
		for w, b := range t.workers { // what is of other expected jobs is still there
			lives[w] = slices.DeleteFunc(slices.Clone(b.progress), func(p sched.Progress) bool { return p.Job != id && t.early[p.Job] == nil })
		}
		for _, h := range held {
			lives[h.worker] = append(lives[h.worker], h.attempt)
		}
	}
	var running []sched.Running
	for w, all := range lives {
		for _, p := range all {
			if p.Job != id {
				continue
			}
			running = append(running, sched.Running{Worker: w, Attempt: p.Attempt, Epoch: p.Epoch})
		}
	}
	for w, b := range t.workers {
		if b.holds(id) {
			t.resume(j, w)
		}
	}
	t.step(sched.Submit{Job: *j.spec, Epoch: j.o.Epoch, Done: j.o.Done, Committed: j.o.Committed, Running: running})
	for w, all := range lives {
		t.step(sched.Beat{Worker: w, Progress: all})
	}
	for _, h := range held {
		h.report()
	}
}

func newJob(t *Tracker, spec *mr.JobSpec, o JobOptions) *job {
	if o.Observe == nil {
		o.Observe = func(Update) {}
	}
	j := &job{o: o, spec: spec, phases: map[mr.PhaseID]*mr.PhaseSpec{}, log: t.log.With(zap.String("job", string(spec.ID))), ended: make(chan struct{}),
		published: map[mr.PhaseID]*mr.PhaseManifest{}, loops: map[mr.PhaseID]*loop{}, workers: map[sched.WorkerID]bool{},
		keeping: map[mr.TaskID]*keeping{}}
	for i := range spec.Phases {
		j.phases[spec.Phases[i].ID] = &spec.Phases[i]
	}
	for i := range o.Done {
		j.published[o.Done[i].Phase] = &o.Done[i]
	}
	for i := range spec.Phases { // they were told when it ended, or were not
		if p := &spec.Phases[i]; j.published[p.ID] != nil {
			j.closed = j.closes(p.ID)
		}
	}
	j.base, j.stop = context.WithCancel(t.base)
	return j
}

// do runs f beside the loop, and then what it returns in the loop. A job's Run waits for f, not for that.
func (j *job) do(t *Tracker, f func(ctx context.Context) func()) {
	t.work.Add(1)
	j.work.Go(func() {
		defer t.work.Done()
		t.post(f(j.base))
	})
}

// inBackground does what nobody waits for but Run's end. It works even while the job is being stopped,
// because cleaning up is what stopping is for.
func (j *job) inBackground(t *Tracker, what string, f func(ctx context.Context) error) {
	t.work.Add(1)
	j.work.Go(func() {
		defer t.work.Done()
		if err := f(context.WithoutCancel(j.base)); err != nil {
			j.log.Warn(what, zap.Error(err))
		}
	})
}

func (j *job) launched(a sched.Launch) {
	j.workers[a.Worker] = true
	if j.closed != nil && j.closed.Phase == a.Spec.Attempt.Task.Phase {
		j.closed = nil // to mend it
	}
	j.o.Observe(Update{Kind: AttemptStarted, Phase: a.Spec.Attempt.Task.Phase, Attempt: a.Spec.Attempt, Worker: a.Worker, Tasks: a.Spec.Tasks})
}

func (t *Tracker) jobDone(a sched.Done) {
	j := t.jobs[a.Job]
	if j == nil {
		return
	}
	var err error
	if a.Err != nil {
		err = a.Err
	}
	for id := range j.workers {
		t.send(id, worker.CloseJob{Job: a.Job})
	}
	for _, l := range j.loops {
		l.stop()
	}
	delete(t.jobs, a.Job)
	j.o.Observe(Update{Kind: JobDone, Err: err})
	j.finish(err)
}

// finish lets Run go on.
func (j *job) finish(err error) {
	select {
	case <-j.ended:
	default:
		j.err = err
		close(j.ended)
	}
}

func (t *Tracker) publish(j *job, m mr.PhaseManifest) {
	j.do(t, func(ctx context.Context) func() {
		err := j.o.Publisher.Publish(ctx, m)
		return func() {
			if t.jobs[m.Job] != j {
				return // it has ended: whoever waits for it reads the books now, and another one may have its id
			}
			if err != nil {
				t.step(sched.PublishFailed{Job: m.Job, Phase: m.Phase, Revision: m.Revision, Err: errs.Of("publish", err)})
				return
			}
			// A revision may be overtaken by the next one.
			if now := j.published[m.Phase]; now == nil || now.Revision < m.Revision {
				j.published[m.Phase] = &m
			}
			t.step(sched.Published{Job: m.Job, Phase: m.Phase, Revision: m.Revision})
		}
	})
}

// dropFiles removes files that no later phase reads. A file that cannot be removed costs room
// and nothing else.
func (t *Tracker) dropFiles(j *job, a sched.DropFiles) {
	j.inBackground(t, "drop files of "+string(a.Phase), func(ctx context.Context) error {
		var all []error
		for _, f := range a.Files {
			all = append(all, j.o.Store.Remove(ctx, f.Path))
		}
		return errors.Join(all...)
	})
}

// discard removes the files of an attempt of this tracker's own. Those of an earlier one's stay until the job's folder goes: that
// tracker may still live, and may yet publish them in vain; who comes after both finds that, whole.
func (t *Tracker) discard(j *job, a sched.Discard) {
	if a.Epoch != j.o.Epoch {
		return
	}
	out := sched.OutFolder(a.Job, a.Attempt, a.Epoch)
	j.inBackground(t, "discard "+a.Attempt.String(), func(ctx context.Context) error {
		// Whoever has taken over may count what we do not: it takes back what still runs.
		if err := j.o.Publisher.Current(ctx, j.o.Epoch); err != nil {
			return err
		}
		// One who came meanwhile may have read what was kept before it was forgotten, and counts on the files: Forget has looked, last.
		if err := j.o.Publisher.Forget(ctx, a.Attempt, a.Epoch); err != nil {
			return err // whoever comes after, or has taken over, would miss the files
		}
		return dfs.RemoveAll(ctx, j.o.Store, out)
	})
}

func (t *Tracker) closePhase(j *job, id mr.PhaseID) {
	if l := j.loops[id]; l != nil {
		l.stop()
	}
	delete(j.loops, id)
	j.closed = j.closes(id)
	for w := range j.workers {
		t.send(w, *j.closed)
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
