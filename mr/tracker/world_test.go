package tracker

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/commit"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/fault"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/sched"
)

var (
	worldsFlag = flag.Int("worlds", 60, "how many worlds to run")
	seedFlag   = flag.Uint64("seed", 0, "run only the world of this seed")
)

// TestWorlds runs seeded worlds around real trackers and a real Publisher, in virtual time: stores that fail, are slow and lose
// replies; results that are lost, late or told twice; workers that crash; trackers that are killed at any moment, or that live on
// when the next one has taken over. (The worlds of package sched do the same to the state machine alone, and know of no store.)
func TestWorlds(t *testing.T) {
	if *seedFlag != 0 {
		if err := runWorld(t, *seedFlag, mutation{}); err != nil {
			t.Errorf("seed %d: %v", *seedFlag, err)
		}
		return
	}
	var all census
	for seed := range uint64(*worldsFlag) {
		if err := runWorld(t, seed+1, mutation{}, &all); err != nil {
			t.Errorf("seed %d: %v", seed+1, err)
		}
	}
	t.Logf("%+v", all)
	if n := *worldsFlag; all.faults < n || all.killed < n/5 || all.overtaken < n/5 || all.crashes < n/5 || all.lost < n/5 || all.twice < n/5 {
		t.Error("the worlds are too easy to prove anything")
	}
}

// mutation breaks a rule of the protocol: some world must notice, or the worlds prove nothing.
type mutation struct {
	ackFirst  bool // a result is counted and acknowledged before it is durable
	skipEpoch bool // nobody looks whether another coordinator has taken over
}

// TestWorldsNotice breaks one rule at a time.
func TestWorldsNotice(t *testing.T) {
	for name, m := range map[string]mutation{
		"acknowledge before the journal": {ackFirst: true},
		"skip the epoch check":           {skipEpoch: true},
	} {
		err, seed := error(nil), uint64(0)
		for err == nil && seed < 400 {
			seed++
			err = runWorld(t, seed, m)
		}
		if err == nil {
			t.Errorf("%s: no world noticed", name)
		}
		t.Logf("%s: noticed by seed %d: %v", name, seed, err)
	}
}

// census counts what worlds went through.
type census struct{ faults, killed, overtaken, crashes, lost, twice, launches, kept int }

// world is a store, workers, and one tracker after the other.
type world struct {
	t      *testing.T
	m      mutation
	store  *mem.FS
	spec   *mr.JobSpec
	stop   chan struct{} // ends the workers
	work   sync.WaitGroup
	calm   time.Time // from here on nothing goes wrong any more
	closed []func()  // trackers

	mu      sync.Mutex
	rnd     *rand.Rand
	now     *generation // to which workers connect
	all     []*generation
	counted map[mr.TaskID]string
	files   []*fault.FS
	census  census
	wrong   error
}

// generation is a tracker and its clients of the store.
type generation struct {
	tracker *Tracker
	pub     *commit.Publisher
	fs      *switchedFS
	out     map[mr.PhaseID]*mr.PhaseManifest
	err     error
	ended   chan struct{}
	// overtaken says that another tracker has taken over; w.mu guards it.
	overtaken bool
	keeping   map[mr.AttemptID]int // calls of Keep that have not returned; w.mu guards it
}

func (w *world) chance(p float64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Before(w.calm) && w.rnd.Float64() < p
}

// dice is a number below n.
func (w *world) dice(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rnd.IntN(n)
}

func (w *world) pause(most time.Duration) { time.Sleep(time.Duration(1 + w.dice(int(most)))) }

func (w *world) violated(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.wrong == nil {
		w.wrong = fmt.Errorf(format, args...)
	}
}

// rules are what the store does to a tracker or worker.
const rules = `lose commit p=0.04
	lose claim p=0.1
	lose remove p=0.05
	fail commit p=0.04
	fail create p=0.02
	fail list p=0.02
	delay commit by=300ms p=0.2
	delay commit by=3s p=0.03
	delay commit by=9s p=0.02
	delay claim by=700ms p=0.2
	delay remove by=400ms p=0.2
	delay list by=100ms p=0.2`

// switchedFS is a client of the store that can be cut off, as a process is that is killed: what it has not done then is not done.
type switchedFS struct {
	dfs.FS
	faulty dfs.FS // itself, with faults
	mu     sync.Mutex
	dead   bool
}

var errDead = errs.E("store", errs.Unreachable, "", errors.New("the process is dead"))

func (s *switchedFS) gone() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.dead }
func (s *switchedFS) kill()      { s.mu.Lock(); s.dead = true; s.mu.Unlock() }

func (s *switchedFS) Claim(ctx context.Context, p dfs.Path) error {
	if s.gone() {
		return errDead
	}
	return s.FS.Claim(ctx, p)
}

func (s *switchedFS) Remove(ctx context.Context, p dfs.Path) error {
	if s.gone() {
		return errDead
	}
	return s.FS.Remove(ctx, p)
}

func (s *switchedFS) Create(ctx context.Context, p dfs.Path) (dfs.Writer, error) {
	w, err := s.FS.Create(ctx, p)
	return &switchedWriter{w, s}, err
}

type switchedWriter struct {
	dfs.Writer
	s *switchedFS
}

func (w *switchedWriter) Commit(ctx context.Context) error {
	if w.s.gone() {
		return errors.Join(errDead, w.Writer.Abort())
	}
	return w.Writer.Commit(ctx)
}

// client is a new client of the store.
func (w *world) client() *switchedFS {
	all, err := fault.ParseRules(rules)
	if err != nil {
		w.t.Fatal(err)
	}
	if time.Now().After(w.calm) {
		all = nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	s := &switchedFS{FS: w.store}
	f := fault.New(s, fault.Options{Rules: all, Seed: w.rnd.Uint64(), Sleep: func(ctx context.Context, d time.Duration) error {
		if time.Now().After(w.calm) {
			return nil
		}
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}})
	w.files = append(w.files, f)
	s.faulty = f
	return s
}

// hidden is a store in which nobody sees epochs.
type hidden struct{ dfs.FS }

func (h hidden) List(ctx context.Context, dir dfs.Path) iter.Seq2[dfs.Info, error] {
	if strings.HasSuffix(string(dir), "epochs") {
		return func(func(dfs.Info, error) bool) {}
	}
	return h.FS.List(ctx, dir)
}

// broken is a publisher that breaks rules.
type broken struct {
	*commit.Publisher
	w *world
	g *generation
}

// Publish must not succeed for a tracker that another one had overtaken before.
func (b *broken) Publish(ctx context.Context, m mr.PhaseManifest) error {
	b.w.mu.Lock()
	late := b.g.overtaken
	b.w.mu.Unlock()
	err := b.Publisher.Publish(ctx, m)
	if late && err == nil {
		b.w.violated("epoch %d has published %s although another tracker had taken over", m.Epoch, m.Phase)
	}
	return err
}

func (b *broken) Keep(ctx context.Context, m mr.Manifest) error {
	b.keeps(m.Attempt, 1)
	defer b.keeps(m.Attempt, -1)
	if b.w.m.ackFirst {
		b.w.work.Go(func() {
			b.w.pause(500 * time.Millisecond)
			_ = b.Publisher.Keep(ctx, m) // it was acknowledged long ago
		})
		return nil
	}
	return b.Publisher.Keep(ctx, m)
}

func (b *broken) keeps(a mr.AttemptID, n int) {
	b.w.mu.Lock()
	defer b.w.mu.Unlock()
	b.g.keeping[a] += n
	if n > 0 {
		b.w.census.kept++
	}
}

func (b *broken) Current(ctx context.Context, epoch int64) error {
	if b.w.m.skipEpoch {
		return nil
	}
	return b.Publisher.Current(ctx, epoch)
}

// runWorld plays a world to its end and says what was violated.
func runWorld(t *testing.T, seed uint64, m mutation, add ...*census) (err error) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, m: m, store: mem.New(), stop: make(chan struct{}), rnd: rand.New(rand.NewPCG(seed, 3)), counted: map[mr.TaskID]string{},
			calm: time.Now().Add(5 * time.Minute)}
		w.spec = &mr.JobSpec{ID: "j", MaxAttempts: 1000, Phases: []mr.PhaseSpec{
			{ID: "a", Type: mr.MapPhase, Kind: "k", Tasks: 2 + w.rnd.IntN(5)},
			{ID: "b", Type: mr.MapPhase, Kind: "k", Tasks: 1 + w.rnd.IntN(4), Inputs: []mr.Input{{Name: "in", Phase: "a", Channel: "x", Mode: mr.All}}},
		}}
		w.play()
		w.judge()
		err = w.wrong
		for _, c := range add {
			for _, f := range w.files {
				w.census.faults += len(f.Hits())
			}
			c.faults, c.killed, c.overtaken = c.faults+w.census.faults, c.killed+w.census.killed, c.overtaken+w.census.overtaken
			c.crashes, c.lost, c.twice, c.launches = c.crashes+w.census.crashes, c.lost+w.census.lost, c.twice+w.census.twice, c.launches+w.census.launches
			c.kept += w.census.kept
		}
	})
	return err
}

// play starts one tracker after the other until one has ended the job.
func (w *world) play() {
	for range 2 + w.dice(3) {
		w.work.Go(w.worker)
	}
	defer func() {
		close(w.stop)
		for _, f := range w.closed {
			f()
		}
		w.work.Wait()
	}()
	end := time.Now().Add(time.Hour)
	for {
		g := w.begin()
		w.mu.Lock()
		w.now, w.all = g, append(w.all, g)
		w.mu.Unlock()
		w.closed = append(w.closed, g.tracker.Close)
		var next <-chan time.Time
		if time.Now().Before(w.calm) {
			next = time.After(time.Duration(1+w.dice(20_000)) * time.Millisecond)
		}
		select {
		case <-g.ended:
			if g.err == nil {
				return
			}
			if !errs.Is(g.err, errs.Transient) && !errs.Is(g.err, errs.Unreachable) && !errs.Is(g.err, errs.Lost) {
				w.violated("a job failed: %v", g.err)
				return
			}
		case <-time.After(time.Until(end)):
			w.violated("not done after an hour: %+v", g.tracker.Jobs("j"))
			return
		case <-next:
			w.mu.Lock()
			if w.rnd.IntN(2) == 0 {
				w.census.overtaken++ // it lives on and does not know
			} else {
				w.census.killed++
				g.fs.kill()
			}
			w.mu.Unlock()
			if g.fs.gone() {
				g.tracker.Close()
				<-g.ended
			}
		}
	}
}

// begin takes the job over and goes on with it.
func (w *world) begin() *generation {
	g := &generation{fs: w.client(), ended: make(chan struct{}), keeping: map[mr.AttemptID]int{}}
	g.pub = &commit.Publisher{FS: g.fs.faulty, Root: "j"}
	var o JobOptions
	for {
		w.mu.Lock()
		w.now = nil
		before := maps.Clone(w.counted)
		w.mu.Unlock()
		epoch, done, kept, err := g.pub.TakeOver(context.Background(), w.spec)
		if err != nil {
			w.pause(time.Second)
			continue
		}
		w.mu.Lock()
		for _, old := range w.all {
			old.overtaken = true
		}
		w.mu.Unlock()
		w.survived(before, done, kept)
		o = JobOptions{Store: g.fs.faulty, Epoch: epoch, Done: done, Committed: kept}
		break
	}
	if w.m.skipEpoch {
		g.pub = &commit.Publisher{FS: hidden{g.fs.faulty}, Root: "j"}
	}
	o.Publisher = &broken{Publisher: g.pub, w: w, g: g}
	o.Observe = func(u Update) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if u.Kind == AttemptFailed && errs.Is(u.Err, errs.Lost) && g.keeping[u.Attempt] > 0 && w.wrong == nil {
			w.wrong = fmt.Errorf("%s is given up while its result is being kept: %w", u.Attempt, u.Err)
		}
		if u.Kind == AttemptSucceeded && w.now == g { // what an old tracker counts counts no more
			w.counted[u.Attempt.Task] = who(u.Manifest)
		}
	}
	registry, err := mr.NewRegistry()
	if err != nil {
		w.t.Fatal(err)
	}
	g.tracker = New(Options{Registry: registry, Rules: sched.Options{Epoch: o.Epoch, Expire: 5000, Hang: 9000, Backoff: 200, Speculate: true}, Beat: time.Second})
	if o.Epoch > 1 {
		g.tracker.Expect("j")
	}
	w.work.Go(func() {
		defer close(g.ended)
		w.pause(2 * time.Second) // workers come before the job, or after it
		g.out, g.err = g.tracker.Run(context.Background(), w.spec, o)
	})
	return g
}

func who(m *mr.Manifest) string { return fmt.Sprintf("%s-e%d", m.Attempt, m.Epoch) }

// survived checks that what was counted before another tracker took over is there for it.
func (w *world) survived(before map[mr.TaskID]string, done []mr.PhaseManifest, kept []mr.Manifest) {
	have := map[mr.TaskID]string{}
	for i := range kept {
		have[kept[i].Attempt.Task] = who(&kept[i])
	}
	published := map[mr.PhaseID]bool{}
	for i := range done {
		published[done[i].Phase] = true
		for k := range done[i].Tasks {
			have[done[i].Tasks[k].Attempt.Task] = who(&done[i].Tasks[k])
		}
	}
	for task, attempt := range before {
		// Of a phase that was published in vain, when it was looked for already, all runs again; and so does what stands on it.
		_, err := (&commit.Publisher{FS: w.store, Root: "j"}).Load(context.Background(), task.Phase)
		if have[task] == "" && err != nil && (task.Phase == "a" || published["a"]) {
			w.violated("%s was counted, and the next tracker knows nothing of it", attempt)
		}
	}
	for i := range kept {
		w.whole(&kept[i])
	}
}

// whole checks that the files of a result are there.
func (w *world) whole(m *mr.Manifest) {
	for _, f := range m.Files {
		data, err := dfs.ReadFile(context.Background(), w.store, f.Path, 1<<20)
		if err != nil || string(data) != who(m) {
			w.violated("%s counts, and its file holds %q, %v", who(m), data, err)
		}
	}
}

// judge looks at what is published in the end, and at what trackers have said of it.
func (w *world) judge() {
	if w.wrong != nil {
		return
	}
	pub := &commit.Publisher{FS: w.store, Root: "j"}
	for _, p := range w.spec.Phases {
		m, err := pub.Load(context.Background(), p.ID)
		if err != nil {
			w.violated("phase %s in the end: %v", p.ID, err)
			return
		}
		if n := m.Sum("done"); len(m.Tasks) != p.Tasks || n != int64(p.Tasks) {
			w.violated("phase %s has %d tasks and counts %d attempts, want %d", p.ID, len(m.Tasks), n, p.Tasks)
		}
		for i := range m.Tasks {
			w.whole(&m.Tasks[i])
		}
	}
}
