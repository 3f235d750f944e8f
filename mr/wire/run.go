package wire

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/commit"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/sched"
	"github.com/vista-mr/vista-mr/mr/tracker"
)

// RunPath is where drivers have their jobs' phases run: POST a mr.JobSpec to RunPath, and read lines of JSON until the last;
// DELETE RunPath/ID kills it. A driver that lost its connection posts the same again and is joined to what runs.
const RunPath = "/api/v1/run"

// line is one line of an answer: something that happened, or, last, how it ended. An empty one is a sign of life.
type line struct {
	Update   *update            `json:"update,omitempty"`
	Restored *restored          `json:"restored,omitempty"`
	Ended    bool               `json:"ended,omitempty"`
	Closed   bool               `json:"closed,omitempty"` // it has not ended: its tracker has, and the next one goes on with it
	Phases   []mr.PhaseManifest `json:"phases,omitempty"`
	Error    *errs.Error        `json:"error,omitempty"`
}

// update is a tracker.Update as JSON.
type update struct {
	Kind      tracker.UpdateKind `json:"kind"`
	Phase     mr.PhaseID         `json:"phase,omitempty"`
	Attempt   *mr.AttemptID      `json:"attempt,omitempty"`
	Worker    sched.WorkerID     `json:"worker,omitempty"`
	Tasks     int                `json:"tasks,omitempty"`
	Manifest  *mr.Manifest       `json:"manifest,omitempty"`
	Published *mr.PhaseManifest  `json:"published,omitempty"`
	Done      int64              `json:"done,omitempty"`
	Total     int64              `json:"total,omitempty"`
	Round     int                `json:"round,omitempty"`
	Seconds   float64            `json:"seconds,omitempty"`
	Peak      int64              `json:"peak,omitempty"`
	Error     *errs.Error        `json:"error,omitempty"`
}

func toWire(u tracker.Update) *update {
	w := &update{Kind: u.Kind, Phase: u.Phase, Worker: u.Worker, Tasks: u.Tasks, Manifest: u.Manifest, Published: u.Published,
		Done: u.Done, Total: u.Total, Round: u.Round, Seconds: u.Seconds, Peak: u.Peak}
	if u.Attempt.Number > 0 {
		w.Attempt = &u.Attempt
	}
	if u.Err != nil {
		w.Error = errs.Of("job", u.Err)
	}
	return w
}

func (w *update) update() tracker.Update {
	u := tracker.Update{Kind: w.Kind, Phase: w.Phase, Worker: w.Worker, Tasks: w.Tasks, Manifest: w.Manifest, Published: w.Published,
		Done: w.Done, Total: w.Total, Round: w.Round, Seconds: w.Seconds, Peak: w.Peak}
	if w.Attempt != nil {
		u.Attempt = *w.Attempt
	}
	if w.Error != nil {
		u.Err = w.Error
	}
	return u
}

// Runs runs the jobs of drivers on a tracker. What a job has reached is in its own store: Runs keeps nothing.
type Runs struct {
	Tracker *tracker.Tracker
	Open    func(ctx context.Context, uri string) (dfs.FS, error) // opens a job's store
	// Began, if not nil, is told of everything before it runs, and whose it is (Remote.Job). It may set user and priority; an
	// error refuses it.
	Began func(job string, spec *mr.JobSpec) error
	// Observe, if not nil, is told what happens, too. It must not block.
	Observe func(job string, run mr.JobID, u tracker.Update)
	Log     *zap.Logger

	mu       sync.Mutex
	runs     map[mr.JobID]*run
	stopping bool
	work     sync.WaitGroup
}

// jobHeader says whose driver posts.
const jobHeader = "Vista-Mr-Job"

const maxSpec = 256 << 20

// ServeHTTP serves RunPath and what lies below it. Who may call is for a handler before it.
func (s *Runs) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch id := mr.JobID(strings.Trim(strings.TrimPrefix(r.URL.Path, RunPath), "/")); {
	case r.Method == http.MethodPost && id == "":
		s.post(w, r)
	case r.Method == http.MethodDelete && id != "":
		s.kill(id, errors.New("the driver asks for it"))
		w.WriteHeader(http.StatusNoContent)
	default:
		http.Error(w, "POST a job, or DELETE one by its id", http.StatusMethodNotAllowed)
	}
}

func (s *Runs) kill(id mr.JobID, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.runs[id]; r != nil && !s.stopping {
		r.killed = true
		r.kill(why)
	}
}

// Stop is called before drivers are told to end because their tracker does: their jobs are not to be killed, and what runs of them goes
// on, for the next tracker. Nothing new is begun from then on.
func (s *Runs) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopping = true
}

// Close waits for all runs to end. The tracker is closed before, so this kills none of them: it ends those that do not run yet and
// may be waiting for their store.
func (s *Runs) Close() {
	s.mu.Lock()
	s.stopping = true
	for _, r := range s.runs {
		r.kill(tracker.ErrClosed)
	}
	s.mu.Unlock()
	s.work.Wait()
}

func (s *Runs) post(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxSpec))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var spec mr.JobSpec
	if err := json.Unmarshal(body, &spec); err != nil {
		http.Error(w, "the job: "+err.Error(), http.StatusBadRequest)
		return
	}
	rn, me, err := s.join(r.Context(), r.Header.Get(jobHeader), &spec, sha256.Sum256(body))
	if err != nil {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(line{Ended: true, Error: errs.Of("run", err)}) // nobody is left to tell
		return
	}
	defer rn.leave(me)
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := json.NewEncoder(w)
	flush := http.NewResponseController(w)
	alive := time.NewTicker(time.Second)
	defer alive.Stop()
	for {
		var lines []*line
		ended := false
		select {
		case <-me.ready:
			lines = rn.take(me)
		case <-alive.C:
			lines = []*line{{}}
		case <-rn.ended:
			lines, ended = append(rn.take(me), &rn.last), true
		case <-r.Context().Done():
			return
		}
		for _, l := range lines {
			if out.Encode(l) != nil {
				return // a driver that is gone posts again
			}
		}
		if flush.Flush() != nil || ended {
			return
		}
	}
}

// join finds the run of a job, or begins it, and has the caller watch it. A run of the same id that is another job, as a driver that
// planned anew has it, is killed first; one that was killed is waited for, because it ends as killed.
func (s *Runs) join(ctx context.Context, job string, spec *mr.JobSpec, digest [sha256.Size]byte) (*run, *watcher, error) {
	for {
		s.mu.Lock()
		rn := s.runs[spec.ID]
		same := rn != nil && rn.digest == digest && !rn.killed
		if s.stopping && !same {
			s.mu.Unlock()
			return nil, nil, errs.E("run", errs.Unreachable, string(spec.ID), tracker.ErrClosed) // the driver asks the next one
		}
		if rn == nil {
			w := newWatcher()
			rn = s.begin(job, spec, digest, w)
			s.mu.Unlock()
			return rn, w, rn.mayRun(ctx, w)
		}
		if same {
			s.mu.Unlock()
			w := newWatcher()
			rn.enter(w)
			return rn, w, rn.mayRun(ctx, w)
		}
		rn.killed = true
		rn.kill(errors.New("its driver has planned it anew"))
		s.mu.Unlock()
		select {
		case <-rn.ended:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

// begin begins a run. It is called with s.mu held, and so waits for nothing: whether the run is refused is known later.
func (s *Runs) begin(job string, spec *mr.JobSpec, digest [sha256.Size]byte, first *watcher) *run {
	base, kill := context.WithCancelCause(context.Background())
	rn := &run{digest: digest, kill: kill, begun: make(chan struct{}), ended: make(chan struct{}), watchers: map[*watcher]bool{first: true}}
	if s.Observe != nil {
		rn.observe = func(u tracker.Update) { s.Observe(job, spec.ID, u) }
	}
	if s.runs == nil {
		s.runs = map[mr.JobID]*run{}
	}
	s.runs[spec.ID] = rn
	s.work.Go(func() {
		if s.Began != nil {
			rn.refused = s.Began(job, spec)
		}
		close(rn.begun)
		if rn.refused == nil {
			phases, err := s.run(base, spec, rn)
			rn.end(spec, phases, err, errors.Is(context.Cause(base), tracker.ErrClosed))
		}
		kill(nil)
		s.mu.Lock()
		delete(s.runs, spec.ID)
		s.mu.Unlock()
		close(rn.ended)
	})
	return rn
}

// run is what package local's callers do in their own process: it takes the job over from whoever had it before.
func (s *Runs) run(ctx context.Context, spec *mr.JobSpec, rn *run) (map[mr.PhaseID]*mr.PhaseManifest, error) {
	store, err := s.Open(ctx, spec.Store)
	if err != nil {
		return nil, err
	}
	pub := &commit.Publisher{FS: store, Root: dfs.Path(spec.ID), After: s.Tracker.Ended(spec.ID), Log: s.Log}
	epoch, done, kept, err := pub.TakeOver(ctx, spec)
	if err != nil {
		return nil, err
	}
	rn.restore(done, kept)
	return s.Tracker.Run(ctx, spec, tracker.JobOptions{Store: store, Publisher: pub, Epoch: epoch, Done: done, Committed: kept, Observe: rn.tell})
}

// Remote runs jobs on a tracker far away.
type Remote struct {
	URL   string
	Token string
	Job   string // whose driver this is
	HTTP  *http.Client
	// Patience is how long a tracker may be away before the driver gives up; 0: five minutes.
	Patience time.Duration
	Log      *zap.Logger
}

// Run has a job run and tells observe what happens, as package local does. A cancelled ctx kills the job. A tracker that is away
// for a while is waited for.
func (c *Remote) Run(ctx context.Context, spec *mr.JobSpec, observe func(tracker.Update)) (map[mr.PhaseID]*mr.PhaseManifest, error) {
	body, err := json.Marshal(spec)
	if err != nil {
		return nil, errs.E("run", errs.Internal, "", err)
	}
	patience := c.Patience
	if patience <= 0 {
		patience = 5 * time.Minute
	}
	heard := time.Now()
	for {
		last, err := c.follow(ctx, body, observe, &heard)
		if last != nil {
			return ending(last)
		}
		if ctx.Err() != nil {
			return nil, c.killed(ctx, spec.ID)
		}
		var refused *errs.Error
		if errors.As(err, &refused) && refused.Kind != errs.Unreachable && refused.Kind != errs.Transient {
			return nil, err
		}
		if time.Since(heard) > patience {
			return nil, errs.E("run", errs.Unreachable, c.URL, fmt.Errorf("the tracker has been away for %v: %w", patience, err))
		}
		if c.Log != nil {
			c.Log.Warn("the tracker is away; trying again", zap.Error(err))
		}
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

func ending(last *line) (map[mr.PhaseID]*mr.PhaseManifest, error) {
	out := map[mr.PhaseID]*mr.PhaseManifest{}
	for i := range last.Phases {
		out[last.Phases[i].Phase] = &last.Phases[i]
	}
	if last.Error != nil {
		return out, last.Error
	}
	return out, nil
}

// follow posts the job and reads until it ends (last), or the connection does.
func (c *Remote) follow(ctx context.Context, body []byte, observe func(tracker.Update), heard *time.Time) (last *line, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := time.AfterFunc(10*time.Second, func() { cancel(errSilent) })
	defer silent.Stop()
	resp, err := c.do(ctx, http.MethodPost, RunPath, body)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() // it has been read, or its rest is not wanted
	in := json.NewDecoder(resp.Body)
	if resp.StatusCode != http.StatusOK {
		l := &line{}
		if resp.StatusCode == http.StatusBadRequest && in.Decode(l) == nil && l.Error != nil {
			return nil, l.Error
		}
		kind := errs.Unreachable
		if resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden {
			kind = errs.Unauthorized
		}
		return nil, errs.E("run", kind, c.URL, fmt.Errorf("the tracker answers %s", resp.Status))
	}
	for {
		l := &line{}
		if err := in.Decode(l); err != nil {
			return nil, errs.E("run", errs.Unreachable, c.URL, err)
		}
		silent.Reset(10 * time.Second)
		*heard = time.Now()
		switch {
		case l.Closed:
			return nil, errs.E("run", errs.Unreachable, c.URL, errors.New("the tracker stops"))
		case l.Ended:
			return l, nil
		case l.Restored != nil:
			l.Restored.each(observe)
		case l.Update != nil:
			observe(l.Update.update())
		}
	}
}

func (c *Remote) do(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.URL, "/")+path, bytes.NewReader(body))
	if err != nil {
		return nil, errs.E("run", errs.Invalid, c.URL, err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(jobHeader, c.Job)
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	h := c.HTTP
	if h == nil {
		h = http.DefaultClient
	}
	resp, err := h.Do(req)
	if err != nil {
		return nil, errs.E("run", errs.Unreachable, c.URL, err)
	}
	return resp, nil
}

// killed tells the tracker that the job is to end.
func (c *Remote) killed(ctx context.Context, id mr.JobID) error {
	cause := context.Cause(ctx)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	resp, err := c.do(ctx, http.MethodDelete, RunPath+"/"+string(id), nil)
	if err == nil {
		err = resp.Body.Close()
	}
	return errors.Join(errs.E("run", errs.Canceled, string(id), cause), err)
}
