package wire

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/tracker"
)

// run is a job that runs, or is about to, and who watches it.
type run struct {
	digest  [sha256.Size]byte
	kill    context.CancelCauseFunc
	killed  bool          // somebody has killed it: nobody joins it any more; Runs.mu guards it
	begun   chan struct{} // closed when it is known whether it may run
	refused error         // why it may not
	ended   chan struct{}
	last    line
	observe func(tracker.Update) // may be nil

	mu       sync.Mutex
	restored []*line // what every watcher hears first
	watchers map[*watcher]bool
}

// watcher is a driver that watches a run.
type watcher struct {
	queue []*line       // that it has not taken yet; run.mu guards it
	ready chan struct{} // holds a token while there are some
}

func (w *watcher) put(lines ...*line) {
	if len(lines) == 0 {
		return
	}
	w.queue = append(w.queue, lines...)
	select {
	case w.ready <- struct{}{}:
	default:
	}
}

// restored is what a run has found of earlier ones.
type restored struct {
	Phases []mr.PhaseManifest `json:"phases,omitempty"`
	Tasks  []mr.Manifest      `json:"tasks,omitempty"`
}

// each tells of all of it.
func (r *restored) each(tell func(tracker.Update)) {
	for i := range r.Phases {
		tell(tracker.Update{Kind: tracker.PhaseRestored, Phase: r.Phases[i].Phase, Published: &r.Phases[i]})
	}
	for i := range r.Tasks {
		m := &r.Tasks[i]
		tell(tracker.Update{Kind: tracker.TaskRestored, Phase: m.Attempt.Task.Phase, Attempt: m.Attempt, Manifest: m})
	}
}

// restoredTasks are how many tasks one line says are restored. A line of a million would keep a driver waiting, on a slow network for
// longer than it takes silence.
const restoredTasks = 1000

func newWatcher() *watcher { return &watcher{ready: make(chan struct{}, 1)} }

func (r *run) enter(w *watcher) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w.put(r.restored...)
	r.watchers[w] = true
}

// mayRun waits until it is known whether the run may run, and if not, says why; then w does not watch it any more.
func (r *run) mayRun(ctx context.Context, w *watcher) error {
	var err error
	select {
	case <-r.begun:
		err = r.refused
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		r.leave(w)
	}
	return err
}

func (r *run) leave(w *watcher) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.watchers, w)
}

// take is what a watcher has to hear.
func (r *run) take(w *watcher) []*line {
	r.mu.Lock()
	defer r.mu.Unlock()
	lines := w.queue
	w.queue = nil
	return lines
}

// restore tells everybody who watches, now or later, what is there of earlier runs.
func (r *run) restore(done []mr.PhaseManifest, kept []mr.Manifest) {
	if r.observe != nil {
		(&restored{Phases: done, Tasks: kept}).each(r.observe)
	}
	var lines []*line
	for i := range done {
		lines = append(lines, &line{Restored: &restored{Phases: done[i : i+1]}})
	}
	for len(kept) > 0 {
		n := min(restoredTasks, len(kept))
		lines = append(lines, &line{Restored: &restored{Tasks: kept[:n]}})
		kept = kept[n:]
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.restored = lines
	for w := range r.watchers {
		w.put(lines...)
	}
}

// behind is how many lines a watcher may have to take when progress is told, too.
const behind = 1024

// tell tells everybody who watches. Whoever is too slow misses progress, which the next one tells better, and nothing else: what waits
// for a watcher are results, and the tracker's books hold those all the same.
func (r *run) tell(u tracker.Update) {
	if r.observe != nil {
		r.observe(u)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.watchers) == 0 {
		return
	}
	l := &line{Update: toWire(u)}
	for w := range r.watchers {
		if u.Kind != tracker.PhaseProgress || len(w.queue) < behind {
			w.put(l)
		}
	}
}

// end makes the last line. A run that its tracker's end has cut short has not ended.
func (r *run) end(spec *mr.JobSpec, phases map[mr.PhaseID]*mr.PhaseManifest, err error, closed bool) {
	r.last = line{Ended: true, Closed: err != nil && (closed || errors.Is(err, tracker.ErrClosed))}
	if err != nil {
		r.last.Error = errs.Of("run", err)
	}
	for _, p := range spec.Phases {
		if m := phases[p.ID]; m != nil {
			r.last.Phases = append(r.last.Phases, *m)
		}
	}
}
