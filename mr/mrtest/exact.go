package mrtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/cache"
	"github.com/vista-mr/vista-mr/mr/commit"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/fault"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/sched"
	"github.com/vista-mr/vista-mr/mr/task"
	"github.com/vista-mr/vista-mr/mr/tracker"
	"github.com/vista-mr/vista-mr/mr/worker"
)

// Exact is a counted proof that tasks are committed exactly once: a job of one phase on the real engine and a real store that
// misbehaves, of which every fourth task is attempted twice at the same time, while another process reads what can be seen.
// When half of it is done, another tracker takes over; the first one and its workers do not hear of it and go on.
type Exact struct {
	// Usual is how many tasks there are, if $VISTA_COMMITS does not say how many. Each has two files, if $VISTA_COMMIT_FILES
	// does not say how many.
	Usual int
	// Open opens another client of one and the same empty folder, as another process has it.
	Open func(t testing.TB) dfs.FS
}

// storeFaults happen to the tracker's and the workers' clients. Adapters hide many faults; these are those that they report.
const storeFaults = `lose commit p=0.01
	delay commit by=20ms p=0.05
	fail write p=0.004
	fail create p=0.004
	lose claim p=0.3
	delay claim by=50ms
	fail list p=0.03
	lose remove p=0.05
	fail open path=*/manifest-* p=0.2`

// exactJob is the job's id, which is its folder in the store.
const exactJob = "exact"

// Counts is what was seen. All but the first six must be 0.
type Counts struct {
	Commits, Attempts, Doubled, Faults, Looks int
	Seconds                                   float64
	Lost                                      int // tasks or files that readers miss
	Twice                                     int // records, or counted attempts, beyond one
	Early                                     int // results that were seen before an attempt had reported them
	Torn                                      int // files that were seen and not whole
	Mixed                                     int // records of one attempt in the files of another
	Again                                     int // tasks that ran again although they were committed before the other tracker took over
}

// exact is one run.
type exact struct {
	Exact
	t     testing.TB
	tasks int
	files int // of each task
	rules []fault.Rule
	job   *mr.JobSpec

	mu       sync.Mutex
	n        Counts
	seen     []string // what was wrong, the first few
	reported map[string]bool
	launched []dfs.Path // the latest last
	faults   []*fault.FS
}

func number(name string, or int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil && n > 0 {
		return n
	}
	return or
}

// Run runs it and fails the test if anything was not exact.
func (e Exact) Run(t testing.TB) Counts {
	t.Helper()
	tasks := number("VISTA_COMMITS", e.Usual)
	rules, err := fault.ParseRules(storeFaults)
	if err != nil {
		t.Fatal(err)
	}
	x := &exact{Exact: e, t: t, tasks: tasks, files: number("VISTA_COMMIT_FILES", 2), rules: rules, reported: map[string]bool{}, job: &mr.JobSpec{ID: exactJob, MaxAttempts: 30,
		Phases: []mr.PhaseSpec{{ID: "p", Type: mr.MapPhase, Kind: "write", Tasks: tasks}}}}
	start := time.Now()
	done, looking := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(looking)
		x.look(done)
	}()
	x.run()
	close(done)
	<-looking
	x.judge()
	x.n.Seconds = time.Since(start).Seconds()
	for _, f := range x.faults {
		x.n.Faults += len(f.Hits())
	}
	t.Logf("%+v", x.n)
	if n := x.n; n.Lost+n.Twice+n.Early+n.Torn+n.Mixed+n.Again > 0 {
		t.Errorf("not exact: %q", x.seen)
	}
	if n := x.n; n.Commits != tasks || 5*n.Doubled < tasks || n.Faults == 0 || n.Looks < 3 {
		t.Errorf("this proves nothing: %+v", n)
	}
	return x.n
}

// wrong counts something that must not be.
func (x *exact) wrong(count *int, format string, args ...any) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if *count++; len(x.seen) < 10 {
		x.seen = append(x.seen, fmt.Sprintf(format, args...))
	}
}

// store is a client that misbehaves.
func (x *exact) store() *fault.FS {
	x.mu.Lock()
	defer x.mu.Unlock()
	f := fault.New(x.Open(x.t), fault.Options{Rules: x.rules, Seed: uint64(len(x.faults))})
	x.faults = append(x.faults, f)
	return f
}

// write makes the files of a task; each has one record, which says who wrote it.
func (x *exact) write() mr.Kind {
	return mr.Kind{Name: "write", Map: func(json.RawMessage) (mr.Mapper, error) {
		return mr.MapperFunc(func(ctx context.Context, t mr.Task) error {
			t.Count("written", 1)
			id := t.Spec().Attempt
			for f := range x.files {
				out, err := t.Part(ctx, fmt.Sprint("f", f), mr.PartOptions{})
				if err != nil {
					return err
				}
				if err := out.Append(fmt.Append(nil, id.Task.Index), []byte(who(id, t.Spec().Epoch))); err != nil {
					return err
				}
			}
			return nil
		}), nil
	}}
}

func who(a mr.AttemptID, epoch int64) string { return fmt.Sprintf("%s-e%d", a, epoch) }

// doubling is a way to a worker that now and then says of an attempt that it is lost, when it has only begun.
type doubling struct {
	x  *exact
	w  *worker.Worker
	t  *tracker.Tracker
	id sched.WorkerID
}

func (d *doubling) Send(c worker.Command) {
	d.w.Do(c)
	l, ok := c.(worker.Launch)
	if !ok {
		return
	}
	twice := l.Spec.Attempt.Number == 1 && l.Spec.Attempt.Task.Index%4 == 1
	d.x.mu.Lock()
	d.x.n.Attempts++
	if twice {
		d.x.n.Doubled++
	}
	d.x.launched = append(d.x.launched, l.Spec.Out)
	d.x.mu.Unlock()
	if twice {
		d.t.Report(worker.Report{Event: sched.Failed{Worker: d.id, Job: l.Spec.Job, Attempt: l.Spec.Attempt, Epoch: l.Spec.Epoch,
			Err: &errs.Error{Op: "attempt", Kind: errs.Lost, Err: errors.New("the connection broke")}}}, nil)
	}
}

// engine is a tracker with its workers. The workers live on when the tracker is closed.
type engine struct {
	tracker *tracker.Tracker
	workers []*worker.Worker
}

func (x *exact) engine(name string) *engine {
	registry, err := mr.NewRegistry(x.write())
	if err != nil {
		x.t.Fatal(err)
	}
	e := &engine{tracker: tracker.New(tracker.Options{Registry: registry, Rules: sched.Options{Backoff: 5}, Beat: 10 * time.Millisecond})}
	for i := range 4 {
		id := sched.WorkerID(fmt.Sprint(name, i))
		env := &task.Env{Store: x.store(), Registry: registry, Shared: task.NewShared(), Cache: cache.New(0, x.t.TempDir()), Scratch: x.t.TempDir(), Slots: 2, SortMemory: 1 << 20}
		w := worker.New(worker.Options{ID: id, Slots: 2, Env: func(*mr.TaskSpec) (*task.Env, error) { return env, nil },
			Report: func(r worker.Report) {
				ev, ok := r.Event.(sched.Succeeded)
				if ok {
					x.mu.Lock()
					x.reported[who(ev.Manifest.Attempt, ev.Manifest.Epoch)] = true
					x.mu.Unlock()
				}
				e.tracker.Report(r, nil)
				if ok && ev.Manifest.Attempt.Task.Index%7 == 0 { // its answer was lost, so it is told again
					e.tracker.Report(r, nil)
				}
			}})
		e.workers = append(e.workers, w)
		e.tracker.Join(&doubling{x: x, w: w, t: e.tracker, id: id}, sched.WorkerUp{Worker: id, Slots: 2})
	}
	return e
}

// takeOver is what a new tracker does first; it tries again if the store lets it down.
func (x *exact) takeOver(fs dfs.FS) (*commit.Publisher, tracker.JobOptions) {
	pub := &commit.Publisher{FS: fs, Root: exactJob}
	for try := 0; ; try++ {
		epoch, done, kept, err := pub.TakeOver(x.t.Context(), x.job)
		if err == nil {
			return pub, tracker.JobOptions{Store: fs, Publisher: pub, Epoch: epoch, Done: done, Committed: kept}
		}
		if try == 50 || errs.KindOf(err) != errs.Transient {
			x.t.Errorf("take over: %v", err)
			return pub, tracker.JobOptions{Store: fs, Publisher: pub}
		}
	}
}

// run runs the job on two trackers, one after the other.
func (x *exact) run() {
	first := x.engine("first")
	half := make(chan struct{})
	committed := 0
	_, o := x.takeOver(x.store())
	o.Observe = func(u tracker.Update) {
		if u.Kind == tracker.AttemptSucceeded {
			if committed++; committed == x.tasks/2 {
				close(half)
			}
		}
	}
	ended := make(chan error, 1)
	go func() {
		_, err := first.tracker.Run(x.t.Context(), x.job, o)
		ended <- err
	}()
	select {
	case <-half:
	case err := <-ended:
		x.t.Errorf("the first tracker has ended early: %v", err)
		ended <- err
	}
	second := x.engine("second")
	_, o = x.takeOver(x.store())
	if len(o.Done) == 0 && len(o.Committed) < x.tasks/2 {
		x.wrong(&x.n.Lost, "of %d tasks that count %d were kept", x.tasks/2, len(o.Committed))
	}
	out, err := second.tracker.Run(x.t.Context(), x.job, o)
	if err != nil {
		x.t.Errorf("the job: %v", err)
	}
	second.tracker.Close()
	first.tracker.Close()
	if err := <-ended; !errors.Is(err, tracker.ErrClosed) && !errs.Is(err, errs.Lost) {
		x.t.Errorf("the first tracker, when another had taken over: %v", err)
	}
	for _, w := range append(first.workers, second.workers...) {
		w.Close()
	}
	if m := out["p"]; m != nil {
		for _, k := range o.Committed {
			if now := m.Tasks[k.Attempt.Task.Index]; now.Attempt != k.Attempt || now.Epoch != k.Epoch {
				x.wrong(&x.n.Again, "%s was committed, then %s", who(k.Attempt, k.Epoch), who(now.Attempt, now.Epoch))
			}
		}
	}
}
