package tracker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/sched"
	"github.com/vista-mr/vista-mr/mr/worker"
)

// simWorker does what a worker and its connection do: it runs attempts, tells how they ended until it hears that this is durable,
// and dials anew when its connection breaks or another tracker is there.
type simWorker struct {
	w     *world
	id    sched.WorkerID
	fs    dfs.FS
	tasks sync.WaitGroup

	mu      sync.Mutex
	conn    *simLink
	running map[string]*simAttempt
	untold  map[string]sched.Event // of attempts that have ended
	dead    bool
}

type simAttempt struct {
	spec   mr.TaskSpec
	cancel context.CancelFunc
}

// simLink is one connection.
type simLink struct {
	s  *simWorker
	to *generation
}

// worker is a process that runs workers one after the other: a crash makes another one of it.
func (w *world) worker() {
	for n := 0; ; n++ {
		s := &simWorker{w: w, id: sched.WorkerID(fmt.Sprintf("%p-%d", &n, n)), fs: w.client().faulty, running: map[string]*simAttempt{}, untold: map[string]sched.Event{}}
		if !s.live() {
			return
		}
	}
}

// live returns false when the world ends, true after a crash.
func (s *simWorker) live() (crashed bool) {
	defer s.tasks.Wait()
	defer s.die()
	beat := time.NewTicker(time.Second)
	defer beat.Stop()
	for {
		select {
		case <-s.w.stop:
			return false
		case <-beat.C:
		}
		s.w.mu.Lock()
		g := s.w.now
		s.w.mu.Unlock()
		if g == nil {
			continue
		}
		switch {
		case s.w.chance(0.01):
			s.w.mu.Lock()
			s.w.census.crashes++
			s.w.mu.Unlock()
			return true
		case !s.connected(g) || s.w.chance(0.03):
			s.dial(g)
		default:
			s.mu.Lock()
			g.tracker.Report(worker.Report{Event: sched.Beat{Worker: s.id, Progress: s.runs()}}, nil)
			s.mu.Unlock()
		}
	}
}

func (s *simWorker) connected(g *generation) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn != nil && s.conn.to == g
}

func (s *simWorker) die() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead = true
	for _, a := range s.running {
		a.cancel()
	}
	if s.conn != nil && s.w.dice(2) == 0 { // else it is noticed by its silence
		s.conn.to.tracker.Leave(s.conn, s.id)
	}
}

// dial opens another connection: what could not be told is told again.
func (s *simWorker) dial(g *generation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn = &simLink{s, g}
	g.tracker.Join(s.conn, sched.WorkerUp{Worker: s.id, Slots: 2, Running: s.named()})
	for _, k := range slices.Sorted(maps.Keys(s.untold)) {
		s.tell(k, s.untold[k])
	}
}

// runs are the attempts that run, which signs of life name. Called with s.mu held.
func (s *simWorker) runs() (out []sched.Progress) {
	for _, k := range slices.Sorted(maps.Keys(s.running)) {
		a := s.running[k]
		out = append(out, sched.Progress{Job: "j", Attempt: a.spec.Attempt, Epoch: a.spec.Epoch})
	}
	return out
}

// named are also those whose end was not told. Called with s.mu held.
func (s *simWorker) named() []sched.Progress {
	out := s.runs()
	for _, k := range slices.Sorted(maps.Keys(s.untold)) {
		switch ev := s.untold[k].(type) {
		case sched.Succeeded:
			out = append(out, sched.Progress{Job: "j", Attempt: ev.Manifest.Attempt, Epoch: ev.Manifest.Epoch})
		case sched.Failed:
			out = append(out, sched.Progress{Job: "j", Attempt: ev.Attempt, Epoch: ev.Epoch})
		}
	}
	return out
}

// Gone says that the tracker has given the worker up.
func (l *simLink) Gone() {
	l.s.w.work.Go(func() {
		l.s.mu.Lock()
		defer l.s.mu.Unlock()
		if l.s.conn == l {
			l.s.conn = nil
		}
	})
}

// Send takes a command, beside the tracker's goroutine.
func (l *simLink) Send(c worker.Command) {
	s := l.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != l || s.dead {
		return
	}
	switch c := c.(type) {
	case worker.Launch:
		k := fmt.Sprintf("%s-e%d", c.Spec.Attempt, c.Spec.Epoch)
		if s.running[k] != nil || s.untold[k] != nil {
			return
		}
		ctx, cancel := context.WithCancel(context.Background())
		s.running[k] = &simAttempt{c.Spec, cancel}
		s.w.mu.Lock()
		s.w.census.launches++
		s.w.mu.Unlock()
		s.tasks.Go(func() { s.run(ctx, k, c.Spec) })
	case worker.Cancel:
		k := fmt.Sprintf("%s-e%d", c.Attempt, c.Epoch)
		if a := s.running[k]; a != nil && s.w.dice(2) == 0 { // else it has just ended
			a.cancel()
			delete(s.running, k)
		}
	}
}

// run is an attempt: it reads what it must, writes a file, and says how it ended.
func (s *simWorker) run(ctx context.Context, k string, spec mr.TaskSpec) {
	took := time.Duration(50+s.w.dice(3000)) * time.Millisecond
	if s.w.chance(0.05) {
		took += 20 * time.Second
	}
	path := spec.Out.Join("x")
	write := func() error { return dfs.WriteFile(ctx, s.fs, path, []byte(k)) }
	var err error
	early := s.w.dice(2) == 0
	if early {
		err = write()
	}
	select {
	case <-time.After(took):
	case <-ctx.Done():
		return
	}
	for _, in := range spec.Inputs {
		for _, f := range in.Files {
			if _, err := s.w.store.Stat(ctx, f.Path); err != nil {
				s.w.violated("%s reads %s: %v", k, f.Path, err)
			}
		}
	}
	var ev sched.Event
	if !early {
		err = write()
	}
	if err == nil && s.w.chance(0.05) {
		err = errs.E("run", errs.Transient, "", errors.New("no luck"))
	}
	if err != nil {
		ev = sched.Failed{Worker: s.id, Job: spec.Job, Attempt: spec.Attempt, Epoch: spec.Epoch, Err: errs.Of("attempt", err)}
	} else {
		ev = sched.Succeeded{Worker: s.id, Job: spec.Job, Manifest: mr.Manifest{Attempt: spec.Attempt, Epoch: spec.Epoch, Counters: map[string]int64{"done": 1},
			Files: []mr.PartFile{{Channel: "x", Task: spec.Attempt.Task.Index, Path: path, Bytes: int64(len(k))}}}}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running[k] == nil || s.dead {
		return
	}
	delete(s.running, k)
	s.untold[k] = ev
	if s.conn != nil {
		s.tell(k, ev)
	}
}

// tell tells how an attempt ended: soon, late, twice or not at all. Called with s.mu held.
func (s *simWorker) tell(k string, ev sched.Event) {
	conn := s.conn
	times := 1
	switch {
	case s.w.chance(0.05):
		times = 0
	case s.w.chance(0.1):
		times = 2
	}
	s.w.mu.Lock()
	if times == 0 {
		s.w.census.lost++
	}
	if times == 2 {
		s.w.census.twice++
	}
	s.w.mu.Unlock()
	for range times {
		s.tasks.Go(func() {
			if s.w.chance(0.3) {
				s.w.pause(4 * time.Second)
			}
			conn.to.tracker.Report(worker.Report{Event: ev}, func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				delete(s.untold, k)
			})
		})
	}
}
