package cluster

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/commit"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/probe"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/sched"
	"github.com/vista-mr/vista-mr/mr/status"
	"github.com/vista-mr/vista-mr/mr/tracker"
	"github.com/vista-mr/vista-mr/mr/wire"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/machine"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/run"
	"github.com/vista-mr/vista-mr/vistaopt"
)

// TrackerOptions is what a tracker daemon needs.
type TrackerOptions struct {
	Listen   string // HOST:PORT
	Token    string
	TLS      Certificates   // with a Cert the tracker speaks TLS; whoever has a certificate of the CA needs no token
	State    dfs.FS         // where it keeps its jobs
	StateURI string         // its place, for messages
	Stores   *dfs.Mux       // of the jobs
	Registry *mr.Registry   // whose loops run here
	Program  string         // this program, for drivers
	Scratch  string         // a local folder
	Drivers  int            // at once
	Memory   int64          // bytes that it and its drivers may take; 0: not known
	Whole    int64          // bytes that its machine or control group has, for refusals; 0: not known
	Weights  map[string]int // of users, for their shares of the workers; those that are not named have 1
	Limits   Limits         // of users
	Timing   wire.Timing    // of workers
	Expire   time.Duration  // a worker that is silent for longer is gone; 0: 5 s
	// TaskTimeout is for how long an attempt may do nothing until it is given up; 0: five minutes.
	TaskTimeout time.Duration
	Version     string
	Ready       func(url string) // called when it listens
	Log         *zap.Logger
}

// daemon is a tracker that listens.
type daemon struct {
	o       TrackerOptions
	who     callers
	log     *zap.Logger
	started time.Time
	epoch   int64
	tracker *tracker.Tracker
	workers *wire.Server
	runs    *wire.Runs
	jobs    *jobs
}

// ServeTracker runs a tracker until ctx ends or another one takes its state over.
func ServeTracker(ctx context.Context, o TrackerOptions) (err error) {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Expire <= 0 {
		o.Expire = 5 * time.Second
	}
	if o.TaskTimeout <= 0 {
		o.TaskTimeout = 5 * time.Minute
	}
	who, err := newCallers(o.Token, o.TLS.CA != "")
	if err != nil {
		return exit.As(exit.Internal, err)
	}
	if err := checkListen(o.Listen, who); err != nil {
		return exit.As(exit.Usage, err)
	}
	if err := o.TLS.Check(); err != nil {
		return CertificateError(err)
	}
	if o.TLS.CA != "" && o.TLS.Cert == "" {
		return exit.As(exit.Usage, errors.New("certificates of clients need a tracker that has one: --cert and --key"))
	}
	defer machine.SpareHeap(machine.Tracker)()
	if n := o.memory().Heap(); n > 0 {
		machine.LimitHeap(n)
		defer machine.LimitHeap(math.MaxInt64)
	}
	l, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return exit.As(exit.Invalid, &errs.Error{Op: "--listen " + o.Listen, Kind: errs.Invalid, ID: "E-LISTEN", Err: err,
			Fix: "choose another --listen HOST:PORT: an address of this machine, and a port that nobody listens on"})
	}
	defer l.Close() // closed by the server before
	d := &daemon{o: o, who: who, log: o.Log, started: time.Now()}
	if err := probe.Exclusive(ctx, o.State, ""); err != nil {
		return o.stateError(err)
	}
	pub := &commit.Publisher{FS: o.State}
	if d.epoch, err = pub.ClaimEpoch(ctx); err != nil {
		return o.stateError(err)
	}
	for _, dir := range own {
		if err := dfs.Sweep(ctx, o.State, dir); err != nil { // what it leaves costs room and nothing else
			o.Log.Warn("what trackers before this one have left unfinished cannot be removed", zap.Error(err))
		}
	}
	scheme := "http://"
	if o.TLS.Cert != "" {
		scheme = "https://"
		l = tls.NewListener(l, o.TLS.serverTLS(o.Log))
	}
	at := scheme + l.Addr().String()
	d.tracker = tracker.New(tracker.Options{Registry: o.Registry, Log: o.Log, Rules: sched.Options{
		Expire: ticks(o.Expire), Stall: ticks(2 * o.TaskTimeout), Hang: ticks(o.TaskTimeout), Exclude: ticks(5 * time.Minute), Speculate: true, Backoff: ticks(time.Second), Weights: o.Weights, Limits: o.Limits.Slots}})
	defer d.tracker.Close()
	base, stop := context.WithCancel(context.Background())
	starts := &drivers{program: o.Program, url: scheme + fromHere(l.Addr()), token: who.drivers, ca: o.TLS.Cert, scratch: o.Scratch, log: o.Log}
	d.jobs = &jobs{store: o.State, stateURI: o.StateURI, start: starts.start, putAway: starts.over, dismiss: d.endRun, log: o.Log, base: base, stop: stop, byID: map[string]*book{}, most: max(1, o.Drivers), limits: o.Limits,
		epoch: d.epoch, current: func(ctx context.Context) error { return pub.Current(ctx, d.epoch) }}
	starts.sweep()
	expected, err := d.jobs.load(ctx)
	if err != nil {
		stop()
		return o.stateError(err)
	}
	d.tracker.Expect(expected...)
	d.workers = &wire.Server{Tracker: d.tracker, Timing: o.Timing, Log: o.Log}
	d.runs = &wire.Runs{Tracker: d.tracker, Open: o.Stores.Folder, Began: d.began, Observe: d.jobs.observe, Log: o.Log}
	pages := d.pages()
	srv := &http.Server{Handler: guard(who, pages, d.routes(pages)), ReadHeaderTimeout: 10 * time.Second, ErrorLog: zap.NewStdLog(o.Log)}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	o.Log.Info("tracker listens", zap.String("url", at), zap.Int64("epoch", d.epoch), zap.Int("jobs", len(d.jobs.order)))
	if o.Ready != nil {
		o.Ready(at)
	}
	d.jobs.mu.Lock()
	d.jobs.fill()
	d.jobs.mu.Unlock()
	for _, run := range d.jobs.postponed() {
		d.tracker.Dismiss(run)
	}
	err = d.guardEpoch(ctx, pub, served)
	// Drivers end first: what they have under way, the next tracker goes on with.
	d.runs.Stop()
	d.jobs.close()
	d.workers.Close()
	d.tracker.Close()
	d.runs.Close()
	return errors.Join(err, srv.Close())
}

// memory is the tracker's as plans know it.
func (o *TrackerOptions) memory() vistaopt.Tracker {
	return vistaopt.Tracker{Memory: o.Memory, Jobs: max(o.Drivers, 1)}
}

// own are the folders of a state that trackers write to. Beside them may lie what others are just writing: outputs, or, where the state is a whole
// bucket, files of any program.
var own = []dfs.Path{"epochs", "jobs"}

// fromHere is the address at which this machine's programs reach a tracker: one that listens on all addresses has none of its own.
func fromHere(a net.Addr) string {
	if t, ok := a.(*net.TCPAddr); ok && t.IP.IsUnspecified() { // IPv6 sockets take IPv4, too
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(t.Port))
	}
	return a.String()
}

// stateError says that a tracker cannot use its state, when it starts. What the store itself has said of that keeps its id and advice.
func (o *TrackerOptions) stateError(err error) error {
	e := &errs.Error{Op: "--state " + o.StateURI, Kind: errs.KindOf(err), Err: err}
	switch e.Kind {
	case errs.Unreachable, errs.Transient:
		return exit.As(exit.Unreachable, e)
	case errs.Unauthorized:
		if exit.Code(exit.Running(err)) == int(exit.Unreachable) { // a remote store has refused
			return exit.As(exit.Unreachable, e)
		}
	case errs.Canceled:
		return exit.Running(err)
	case errs.NoSpace:
		return exit.As(exit.Invalid, e)
	case errs.Invalid:
		if e.Hint() != "" {
			return exit.As(exit.Invalid, e)
		}
	}
	e.ID, e.Fix = "E-STATE", "choose another --state: a folder that this user can write"
	return exit.As(exit.Invalid, e)
}

// CertificateError says that a certificate cannot be used.
func CertificateError(err error) error {
	return exit.As(exit.Invalid, &errs.Error{Op: "certificate", Kind: errs.Invalid, ID: "E-CERTIFICATE", Err: err,
		Fix: "check --cert, --key and the file of authorities: PEM, and readable"})
}

// began notes what a job's driver has run, and ends what drivers before it have begun under another name: this one has started the job anew,
// and nobody will ask for the other.
func (d *daemon) began(job string, spec *mr.JobSpec) error {
	if err := d.jobs.began(job, spec); err != nil {
		return err
	}
	for _, run := range d.jobs.runsOf(job) {
		if run != spec.ID {
			d.tracker.Kill(run, "its driver has started the job anew")
			d.tracker.Dismiss(run)
		}
	}
	return nil
}

// endRun ends what a job's drivers have begun and nobody will ask for any more: as a driver would that can, so that one of a later job
// that wants the same waits until it has ended, and is not joined to it.
func (d *daemon) endRun(run mr.JobID) {
	d.runs.ServeHTTP(unheard{}, &http.Request{Method: http.MethodDelete, URL: &url.URL{Path: wire.RunPath + "/" + string(run)}})
	d.tracker.Dismiss(run)
}

// unheard takes an answer that nobody waits for.
type unheard struct{}

func (unheard) Header() http.Header         { return http.Header{} }
func (unheard) WriteHeader(int)             {}
func (unheard) Write(b []byte) (int, error) { return len(b), nil }

func ticks(d time.Duration) sched.Tick { return sched.Tick(d.Milliseconds()) }

// guardEpoch waits for the end, and looks whether another tracker has taken over.
func (d *daemon) guardEpoch(ctx context.Context, pub *commit.Publisher, served <-chan error) error {
	look := time.NewTicker(2 * time.Second)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-served:
			return exit.As(exit.Internal, err)
		case <-look.C:
			epoch, err := pub.Epoch(ctx)
			if err != nil && ctx.Err() == nil {
				d.log.Warn("the tracker's state cannot be read", zap.Error(err))
			}
			if err == nil && epoch > d.epoch {
				return exit.As(exit.Invalid, &errs.Error{Op: "track", Kind: errs.Lost, ID: "E-OTHER-TRACKER",
					Err: fmt.Errorf("another tracker has taken this one's state over (epoch %d after %d)", epoch, d.epoch), Fix: "use the other one, or give this one a state of its own (--state)"})
			}
		}
	}
}

func (d *daemon) routes(pages http.Handler) http.Handler {
	m := http.NewServeMux()
	m.Handle(wire.WorkerPath, d.workers)
	m.Handle(wire.RunPath, d.runs)
	m.Handle(wire.RunPath+"/", d.runs)
	m.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	m.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	m.HandleFunc("GET /api/v1/tracker", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, Info{SchemaVersion: 1, Version: d.o.Version, Epoch: d.epoch, Started: d.started.UTC(), Memory: d.o.Memory, Whole: d.o.Whole, Jobs: d.o.memory().Jobs})
	})
	m.HandleFunc("GET /api/v1/jobs", func(w http.ResponseWriter, _ *http.Request) { reply(w, JobList{1, d.jobs.list()}) })
	m.HandleFunc("POST /api/v1/jobs", d.submit)
	m.HandleFunc("GET /api/v1/jobs/{id}", func(w http.ResponseWriter, r *http.Request) {
		d.awaitAsked(r)
		j, past, ok := d.jobs.look(r.PathValue("id"))
		if !ok {
			refuse(w, noJob("status", r.PathValue("id")))
			return
		}
		out := JobReply{SchemaVersion: 1, Job: j, Now: d.tracker.Jobs(d.jobs.runsOf(j.ID)...)}
		out.Phases = past.Phases(out.Now)
		out.Failed, out.FailedCount = past.Failed()
		reply(w, out)
	})
	m.HandleFunc("POST /api/v1/jobs/{id}/kill", func(w http.ResponseWriter, r *http.Request) {
		before, err := d.jobs.end(r.PathValue("id"), onRequest)
		if err != nil {
			refuse(w, err)
			return
		}
		d.awaitAsked(r)
		j, _ := d.jobs.get(r.PathValue("id"))
		reply(w, KillReply{SchemaVersion: 1, Job: j.ID, Before: before, After: j.State})
	})
	m.HandleFunc("GET /api/v1/jobs/{id}/log", d.driverLog)
	m.HandleFunc("GET /api/v1/jobs/{id}/tasks/{phase...}", d.tasks)
	m.HandleFunc("GET /api/v1/jobs/{id}/logs/{target...}", d.attemptLogs)
	m.HandleFunc("GET /api/v1/workers", func(w http.ResponseWriter, _ *http.Request) { reply(w, WorkerList{1, d.workersNow()}) })
	m.Handle("GET "+status.EventsPath, pages)
	m.Handle("/", pages)
	return m
}

// maxWait bounds how long an answer may be put off: a request with ?wait=DURATION for a job is answered when the job is over, or after that.
const maxWait = 20 * time.Second

// awaitAsked waits for the end of a job as long as the request asks for.
func (d *daemon) awaitAsked(r *http.Request) {
	if wait, err := time.ParseDuration(r.FormValue("wait")); err == nil && wait > 0 {
		ctx, cancel := context.WithTimeout(r.Context(), min(wait, maxWait))
		defer cancel()
		d.jobs.await(ctx, r.PathValue("id"))
	}
}

// Info is what a tracker says of itself.
type Info struct {
	SchemaVersion int       `json:"schemaVersion"`
	Version       string    `json:"version"`
	Epoch         int64     `json:"epoch"`
	Started       time.Time `json:"started"`
	Memory        int64     `json:"memory,omitempty"` // bytes that it and its jobs' drivers may take; 0: not known
	Whole         int64     `json:"whole,omitempty"`  // bytes that its machine or control group has; 0: not known
	Jobs          int       `json:"jobs"`             // that run at once at most
}

// JobList is the answer to GET /api/v1/jobs, the newest first.
type JobList struct {
	SchemaVersion int   `json:"schemaVersion"`
	Jobs          []Job `json:"jobs"`
}

// JobReply is the answer to GET /api/v1/jobs/ID.
type JobReply struct {
	SchemaVersion int              `json:"schemaVersion"`
	Job           Job              `json:"job"`
	Now           []tracker.JobNow `json:"now,omitempty"` // what its driver has running
	status.Record                  // its phases, those that are over too, and its last failed attempts
}

// KillReply is the answer to POST /api/v1/jobs/ID/kill: where the job was before, and where it is when the answer is given. A job that is still
// running then has been told to end.
type KillReply struct {
	SchemaVersion int    `json:"schemaVersion"`
	Job           string `json:"job"`
	Before        State  `json:"before"`
	After         State  `json:"after"`
}

// LogsReply is the answer to GET /api/v1/jobs/ID/logs/PHASE/TASK[/ATTEMPT] to whoever accepts JSON.
type LogsReply struct {
	SchemaVersion int              `json:"schemaVersion"`
	Attempts      []run.AttemptLog `json:"attempts"`
}

// WorkerList is the answer to GET /api/v1/workers.
type WorkerList struct {
	SchemaVersion int                 `json:"schemaVersion"`
	Workers       []tracker.WorkerNow `json:"workers"`
}

const maxRequest = 4 << 20

func (d *daemon) submit(w http.ResponseWriter, r *http.Request) {
	var q Request
	in := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))
	in.DisallowUnknownFields()
	if err := in.Decode(&q); err != nil {
		refuse(w, errs.E("submit", errs.Invalid, "", err))
		return
	}
	q.User = d.who.user(r, q.User)
	j, err := d.jobs.submit(r.Context(), q)
	if err != nil {
		refuse(w, err)
		return
	}
	w.WriteHeader(http.StatusCreated)
	reply(w, JobReply{SchemaVersion: 1, Job: j})
}

// driverLog sends a job's log from a byte on.
func (d *daemon) driverLog(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	if _, ok := d.jobs.get(id); !ok {
		refuse(w, noJob("logs", id))
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	f, err := os.Open(logName(d.o.Scratch, id))
	if errors.Is(err, os.ErrNotExist) {
		return // nothing was logged here
	}
	if err != nil {
		refuse(w, errs.E("logs", errs.Unknown, id, err))
		return
	}
	defer f.Close() // reading only
	info, err := f.Stat()
	if err != nil {
		refuse(w, errs.E("logs", errs.Unknown, id, err))
		return
	}
	http.ServeContent(w, r, "", info.ModTime(), f)
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // whoever asked has gone
}

// refuse answers with an error as JSON; the client shows it as its own.
func refuse(w http.ResponseWriter, err error) {
	code := http.StatusInternalServerError
	switch errs.KindOf(err) {
	case errs.NotExist:
		code = http.StatusNotFound
	case errs.Invalid:
		code = http.StatusBadRequest
	case errs.Exist:
		code = http.StatusConflict
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": errs.Of("tracker", err)}) // whoever asked has gone
}
