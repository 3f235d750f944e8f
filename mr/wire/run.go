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
	Update *update            `json:"update,omitempty"`
	Ended  bool               `json:"ended,omitempty"`
	Closed bool               `json:"closed,omitempty"` // it has not ended: its tracker has, and the next one goes on with it
	Phases []mr.PhaseManifest `json:"phases,omitempty"`
	Error  *errs.Error        `json:"error,omitempty"`
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
	Error     *errs.Error        `json:"error,omitempty"`
}

func toWire(u tracker.Update) *update {
	w := &update{Kind: u.Kind, Phase: u.Phase, Worker: u.Worker, Tasks: u.Tasks, Manifest: u.Manifest, Published: u.Published,
		Done: u.Done, Total: u.Total, Round: u.Round, Seconds: u.Seconds}
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
		Done: w.Done, Total: w.Total, Round: w.Round, Seconds: w.Seconds}
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

// run is a job that runs, and who watches it.
type run struct {
	digest  [sha256.Size]byte
	kill    context.CancelCauseFunc
	ended   chan struct{}
	last    line
	observe func(tracker.Update) // may be nil

	mu       sync.Mutex
	watchers map[chan *line]bool
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
		r.kill(why)
	}
}

// Stop is called before drivers are told to end because their tracker does: their jobs are not to be killed, and what runs of them goes
// on, for the next tracker.
func (s *Runs) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopping = true
}

// Close waits for all jobs to end; the tracker is closed before.
func (s *Runs) Close() { s.work.Wait() }

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
	lines := make(chan *line, 1024)
	rn, err := s.join(r.Context(), r.Header.Get(jobHeader), &spec, sha256.Sum256(body), lines)
	if err != nil {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(line{Ended: true, Error: errs.Of("run", err)}) // nobody is left to tell
		return
	}
	defer rn.leave(lines)
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := json.NewEncoder(w)
	flush := http.NewResponseController(w)
	alive := time.NewTicker(time.Second)
	defer alive.Stop()
	for {
		var l *line
		select {
		case l = <-lines:
		case <-alive.C:
			l = &line{}
		case <-rn.ended:
			for len(lines) > 0 {
				if out.Encode(<-lines) != nil {
					return
				}
			}
			l = &rn.last
		case <-r.Context().Done():
			return
		}
		if out.Encode(l) != nil || flush.Flush() != nil || l.Ended {
			return // a driver that is gone posts again
		}
	}
}

// join finds the run of a job, or starts it. A run of the same id that is another job, as a driver that planned anew
// has it, is killed first.
func (s *Runs) join(ctx context.Context, job string, spec *mr.JobSpec, digest [sha256.Size]byte, lines chan *line) (*run, error) {
	for {
		s.mu.Lock()
		rn := s.runs[spec.ID]
		if rn == nil {
			break
		}
		s.mu.Unlock()
		if rn.digest == digest {
			rn.enter(lines)
			return rn, nil
		}
		rn.kill(errors.New("its driver has planned it anew"))
		select {
		case <-rn.ended:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	defer s.mu.Unlock()
	if s.Began != nil {
		if err := s.Began(job, spec); err != nil {
			return nil, err
		}
	}
	if s.runs == nil {
		s.runs = map[mr.JobID]*run{}
	}
	rn := &run{digest: digest, ended: make(chan struct{}), watchers: map[chan *line]bool{}}
	if s.Observe != nil {
		rn.observe = func(u tracker.Update) { s.Observe(job, spec.ID, u) }
	}
	s.runs[spec.ID] = rn
	rn.enter(lines)
	var base context.Context
	base, rn.kill = context.WithCancelCause(context.Background())
	s.work.Go(func() {
		phases, err := s.run(base, spec, rn)
		rn.kill(nil)
		rn.last = line{Ended: true, Closed: errors.Is(err, tracker.ErrClosed)}
		if err != nil {
			rn.last.Error = errs.Of("run", err)
		}
		for _, p := range spec.Phases {
			if m := phases[p.ID]; m != nil {
				rn.last.Phases = append(rn.last.Phases, *m)
			}
		}
		s.mu.Lock()
		delete(s.runs, spec.ID)
		s.mu.Unlock()
		close(rn.ended)
	})
	return rn, nil
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
	for i := range done {
		rn.tell(tracker.Update{Kind: tracker.PhaseRestored, Phase: done[i].Phase, Published: &done[i]})
	}
	for i := range kept {
		rn.tell(tracker.Update{Kind: tracker.TaskRestored, Phase: kept[i].Attempt.Task.Phase, Attempt: kept[i].Attempt, Manifest: &kept[i]})
	}
	return s.Tracker.Run(ctx, spec, tracker.JobOptions{Store: store, Publisher: pub, Epoch: epoch, Done: done, Committed: kept, Observe: rn.tell})
}

func (r *run) enter(c chan *line) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watchers[c] = true
}

func (r *run) leave(c chan *line) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.watchers, c)
}

// tell tells everybody who watches. Whoever is too slow misses progress: how the job ends it will hear of all the same.
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
	for c := range r.watchers {
		select {
		case c <- l:
		default:
		}
	}
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
