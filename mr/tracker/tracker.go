package tracker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/sched"
	"github.com/vista-mr/vista-mr/mr/worker"
)

// Options are a tracker's rules. Log may be nil.
type Options struct {
	Registry *mr.Registry // kinds whose loops run here
	Rules    sched.Options
	Beat     time.Duration // how often time passes for the state machine and progress is observed; 0: twice a second
	Log      *zap.Logger
}

// Link is a way to a worker.
type Link interface {
	// Send hands over a command. It does not block, and keeps the order. What cannot be delivered is lost: the
	// worker is taken for gone, sooner or later.
	Send(worker.Command)
}

// Tracker drives jobs. Its methods may be called from any goroutine.
type Tracker struct {
	o     Options
	log   *zap.Logger
	start time.Time
	base  context.Context
	stop  context.CancelFunc
	mail  mailbox
	looks chan func()    // by those who only look: they do not wait for what is in the mailbox
	ended chan struct{}  // the loop's end
	work  sync.WaitGroup // goroutines that post

	// The loop's own.
	state   *sched.State
	jobs    map[mr.JobID]*job
	links   map[sched.WorkerID]Link
	workers map[sched.WorkerID]*workerBook
	early   map[mr.JobID][]held // reports on jobs that are expected
	asked   map[uint64]chan<- worker.LogText
	asks    uint64
}

// held is a report on an attempt of a job that is expected.
type held struct {
	worker  sched.WorkerID
	attempt sched.Progress
	report  func()
}

// workerBook is what is known of a worker for those who look.
type workerBook struct {
	up       sched.WorkerUp
	since    time.Time
	seen     time.Time
	usage    sched.Usage
	progress []sched.Progress
}

// New starts a tracker, which Close ends.
func New(o Options) *Tracker {
	if o.Beat <= 0 {
		o.Beat = 500 * time.Millisecond
	}
	t := &Tracker{o: o, log: o.Log, start: time.Now(), ended: make(chan struct{}), state: sched.New(o.Rules),
		jobs: map[mr.JobID]*job{}, links: map[sched.WorkerID]Link{}, workers: map[sched.WorkerID]*workerBook{}, early: map[mr.JobID][]held{}, asked: map[uint64]chan<- worker.LogText{}}
	if t.log == nil {
		t.log = zap.NewNop()
	}
	t.mail.ready, t.looks = make(chan struct{}, 1), make(chan func())
	t.base, t.stop = context.WithCancel(context.Background())
	go t.loop()
	return t
}

// ErrClosed is in the error of a job whose tracker was closed before the job had ended.
var ErrClosed = errors.New("the tracker was closed")

// Close ends the tracker. Jobs that still run end with ErrClosed (errs.Canceled), and are not killed: whoever takes over goes on
// with them.
func (t *Tracker) Close() {
	t.stop()
	<-t.ended
	t.work.Wait()
}

// post has the loop call f. After the loop's end nothing is called.
func (t *Tracker) post(f func()) { t.mail.put(f) }

// ask has the loop call f and waits for it; false: the tracker has ended and f may not have been called.
func (t *Tracker) ask(f func()) bool {
	done := make(chan struct{})
	t.post(func() {
		defer close(done)
		f()
	})
	select {
	case <-done:
		return true
	case <-t.ended:
		return false
	}
}

// look has the loop call f, which changes nothing, as soon as it can; false: the tracker has ended, and f was not called.
func (t *Tracker) look(f func()) bool {
	done := make(chan struct{})
	select {
	case t.looks <- func() {
		defer close(done)
		f()
	}:
		<-done
		return true
	case <-t.ended:
		return false
	}
}

func (t *Tracker) loop() {
	defer close(t.ended)
	beat := time.NewTicker(t.o.Beat)
	defer beat.Stop()
	for {
		select {
		case <-t.mail.ready:
			for _, f := range t.mail.take() {
				f()
				select {
				case f := <-t.looks:
					f()
				default:
				}
			}
		case f := <-t.looks:
			f()
		case <-beat.C:
			t.step(sched.Time{})
			for _, j := range t.jobs {
				t.showProgress(j)
			}
		case <-t.base.Done():
			for _, j := range t.jobs {
				j.finish(errs.E("track", errs.Canceled, "", ErrClosed))
			}
			return
		}
	}
}

// Expect says that jobs which an earlier tracker had will be run here: what workers still run of them is not cancelled and keeps its
// room, and what they report waits until then. It is called before workers join.
func (t *Tracker) Expect(jobs ...mr.JobID) {
	t.ask(func() {
		for _, id := range jobs {
			if t.jobs[id] == nil && t.early[id] == nil {
				t.early[id] = []held{}
				t.step(sched.Expect{Job: id})
			}
		}
	})
}

// Dismiss says that an expected job will not be run after all.
func (t *Tracker) Dismiss(id mr.JobID) {
	t.post(func() {
		all := t.early[id]
		delete(t.early, id)
		t.step(sched.Dismiss{Job: id})
		t.closeHeld(id)
		for _, h := range all {
			h.report()
		}
	})
}

// Kill ends a job that nobody will wait for any more, as its run's ctx would. One that does not run here is none.
func (t *Tracker) Kill(id mr.JobID, reason string) {
	t.post(func() { t.step(sched.Kill{Job: id, Reason: reason}) })
}

// Ended is the epoch in which a job has ended here; 0 for one that has not. It is run again in a higher one only.
func (t *Tracker) Ended(id mr.JobID) (epoch int64) {
	t.ask(func() { epoch = t.state.Ended(id) })
	return epoch
}

// Join takes a worker in, or back on another connection, with all that it runs. Its reports are dealt with from then on.
func (t *Tracker) Join(l Link, up sched.WorkerUp) {
	t.post(func() {
		now := time.Now()
		b := t.workers[up.Worker]
		if b == nil {
			b = &workerBook{since: now}
			t.workers[up.Worker] = b
		}
		b.up, b.seen, b.progress = up, now, up.Running
		anew := t.links[up.Worker] != l
		t.links[up.Worker] = l
		if anew {
			t.missed(up)
		}
		t.step(up)
	})
}

// Leave says that a worker has gone for good. A link that has been replaced by another one changes nothing.
func (t *Tracker) Leave(l Link, id sched.WorkerID) {
	t.post(func() {
		if t.links[id] == l {
			t.forget(id)
			t.step(sched.WorkerDown{Worker: id})
		}
	})
}

func (t *Tracker) forget(id sched.WorkerID) {
	delete(t.links, id)
	delete(t.workers, id)
}

// Alive says that something large is on its way from or to a worker, behind which signs of life or commands wait.
func (t *Tracker) Alive(l Link, id sched.WorkerID) {
	t.post(func() {
		if b := t.workers[id]; b != nil && t.links[id] == l {
			b.seen = time.Now()
			t.step(sched.Alive{Worker: id})
		}
	})
}

// Report takes what a worker reports, and calls durable, if it is not nil, when that need not be told again.
func (t *Tracker) Report(r worker.Report, durable func()) {
	if durable == nil {
		durable = func() {}
	}
	t.post(func() { t.report(r, durable) })
}

// report deals with a report. A result must be durable before the state machine may count it.
func (t *Tracker) report(r worker.Report, durable func()) {
	if r.Log != nil {
		t.answered(r.Log)
		return
	}
	switch ev := r.Event.(type) {
	case sched.Beat:
		if b := t.workers[ev.Worker]; b != nil {
			b.seen, b.progress, b.usage = time.Now(), ev.Progress, ev.Usage
		}
		t.step(ev)
	case sched.Succeeded:
		switch j := t.jobs[ev.Job]; {
		case j != nil:
			t.keepOnce(j, ev, durable)
		case t.early[ev.Job] != nil:
			t.hold(ev.Worker, sched.Progress{Job: ev.Job, Attempt: ev.Manifest.Attempt, Epoch: ev.Manifest.Epoch}, func() { t.report(r, durable) })
		default:
			durable() // the job has ended
		}
	case sched.Failed:
		if t.early[ev.Job] != nil {
			t.hold(ev.Worker, sched.Progress{Job: ev.Job, Attempt: ev.Attempt, Epoch: ev.Epoch}, func() { t.report(r, durable) })
			return
		}
		t.step(ev)
		durable()
	case sched.RoundDone:
		t.roundDone(ev, r.Sum)
	default:
		t.step(ev)
	}
}

func (t *Tracker) hold(w sched.WorkerID, p sched.Progress, report func()) {
	t.early[p.Job] = append(t.early[p.Job], held{w, p, report})
}

// keep makes a result durable and then has it counted.
func (t *Tracker) keep(j *job, ev sched.Succeeded, durable func()) {
	phase := j.phases[ev.Manifest.Attempt.Task.Phase]
	if phase == nil || phase.Type == mr.RoundsPhase {
		t.step(ev) // partitions stand on each other: they count together or not at all
		durable()
		return
	}
	j.do(t, func(ctx context.Context) func() {
		err := j.o.Publisher.Keep(ctx, ev.Manifest)
		return func() {
			if errs.Is(err, errs.Lost) { // the worker keeps the result for whoever has taken over
				if t.jobs[ev.Job] == j {
					t.step(sched.Overtaken{Job: ev.Job, Err: errs.Of("keep", err)})
				}
				return
			}
			if err != nil {
				t.step(sched.Failed{Worker: ev.Worker, Job: ev.Job, Attempt: ev.Manifest.Attempt, Epoch: ev.Manifest.Epoch, Err: errs.Of("keep", err)})
			} else {
				t.step(ev)
			}
			durable()
		}
	})
}

// step feeds one event to the state machine and carries out what it answers.
func (t *Tracker) step(ev sched.Event) {
	counts := t.counts(ev)
	actions := t.state.Step(sched.Tick(time.Since(t.start).Milliseconds()), ev)
	t.observe(ev, counts)
	for _, g := range t.state.GaveUp() {
		t.log.Warn("attempt given up", zap.String("job", string(g.Job)), zap.String("worker", string(g.Worker)), zap.Error(g.Err))
		if j := t.jobs[g.Job]; j != nil {
			j.o.Observe(Update{Kind: AttemptFailed, Phase: g.Attempt.Task.Phase, Attempt: g.Attempt, Worker: g.Worker, Err: g.Err})
		}
	}
	for _, a := range actions {
		t.act(a)
	}
}

func (t *Tracker) send(id sched.WorkerID, c worker.Command) {
	if l := t.links[id]; l != nil {
		l.Send(c)
	}
}

func (t *Tracker) act(a sched.Action) {
	switch a := a.(type) {
	case sched.Launch:
		if j := t.jobs[a.Spec.Job]; j != nil {
			j.launched(a)
			a.Spec.Store, a.Spec.Settings = j.spec.Store, j.spec.Settings
		}
		t.send(a.Worker, worker.Launch{Spec: a.Spec})
	case sched.Cancel:
		t.send(a.Worker, worker.Cancel{Job: a.Job, Attempt: a.Attempt, Epoch: a.Epoch, Reason: a.Reason})
	case sched.Gone:
		if l, ok := t.links[a.Worker].(interface{ Gone() }); ok {
			l.Gone()
		}
		t.forget(a.Worker)
	case sched.Done:
		t.jobDone(a)
	default:
		t.actOnJob(a)
	}
}

// actOnJob carries out what needs the job's own books. Of a job that another tracker had, or that has ended, there are none.
func (t *Tracker) actOnJob(a sched.Action) {
	on := func(id mr.JobID, act func(j *job)) {
		if j := t.jobs[id]; j != nil {
			act(j)
		}
	}
	switch a := a.(type) {
	case sched.Publish:
		on(a.Manifest.Job, func(j *job) { t.publish(j, a.Manifest) })
	case sched.NextMessage:
		on(a.Job, func(j *job) { t.nextMessage(j, a) })
	case sched.RunRound:
		on(a.Job, func(j *job) {
			if l := j.loops[a.Phase]; l != nil {
				t.send(a.Worker, worker.Round{Job: a.Job, Phase: a.Phase, Epoch: a.Epoch, Number: a.Round, Final: a.Final, Tasks: a.Tasks, Message: l.msg})
			}
		})
	case sched.AcceptSum:
		on(a.Job, func(j *job) { t.acceptSum(j, a) })
	case sched.DropFiles:
		on(a.Job, func(j *job) { t.dropFiles(j, a) })
	case sched.ClosePhase:
		on(a.Job, func(j *job) { t.closePhase(j, a.Phase) })
	case sched.Discard:
		on(a.Job, func(j *job) { t.discardOnce(j, a) })
	default:
		t.log.Error("an action that is not known", zap.String("action", fmt.Sprintf("%T", a)))
	}
}

// mailbox is a queue without a bound.
type mailbox struct {
	mu    sync.Mutex
	queue []func()
	ready chan struct{} // holds a token while the queue is not empty
}

func (m *mailbox) put(f func()) {
	m.mu.Lock()
	m.queue = append(m.queue, f)
	m.mu.Unlock()
	select {
	case m.ready <- struct{}{}:
	default:
	}
}

func (m *mailbox) take() []func() {
	m.mu.Lock()
	defer m.mu.Unlock()
	q := m.queue
	m.queue = nil
	return q
}
