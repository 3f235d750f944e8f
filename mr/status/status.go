package status

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"html/template"
	"io"
	"io/fs"
	"net/http"
	"regexp"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/tracker"
)

// Source is where the pages' facts come from. Its methods are called from any goroutine.
type Source interface {
	Tracker() Tracker
	Jobs() []Job // the newest first
	Job(id string) (Detail, bool)
	Workers() []tracker.WorkerNow
	Totals() Totals
	// Log opens what a job has logged; nil without an error: nothing.
	Log(id string) (io.ReadSeekCloser, error)
	// AttemptLogs are those of the attempts of a task, PHASE/TASK, or of one, PHASE/TASK/ATTEMPT.
	AttemptLogs(ctx context.Context, id, target string) ([]AttemptLog, error)
	// Tasks are tasks of a phase of a job that runs, of a state ("": any), at most limit from the from-th on, and how many are in each state; nil
	// counts: the phase is not running.
	Tasks(id string, phase mr.PhaseID, state string, from, limit int) ([]tracker.TaskNow, map[string]int)
	Kill(id string) error
	// Changes grows with whatever happens to a job.
	Changes() uint64
}

// Tracker is what a tracker says of itself.
type Tracker struct {
	Version string
	Epoch   int64
	Started time.Time
}

// Job is a job in the list.
type Job struct {
	ID, Name, User, Output    string
	State                     string // queued, running, succeeded, failed, killed
	Submitted, Started, Ended time.Time
	Stages                    []Stage // in the order in which they began
	Verdict                   string
	Failure                   *Failure
	Drivers                   int
	Ending                    bool // it was killed, and has not ended yet
}

// Stage is how far a stage of a job is; Total 0: not known.
type Stage struct {
	Name        string
	Done, Total int64
	Unit        string
	Left        time.Duration // until the job is done, at the rates that were measured; 0: not known
	End         bool
}

// Failure is why a job ended without a result.
type Failure struct {
	ID       string `json:"id"`
	Cause    string `json:"cause"`
	Input    string `json:"input"`
	Next     string `json:"next"`
	ExitCode int    `json:"exitCode"`
}

// Detail is a job with all that is known of it.
type Detail struct {
	Job
	Again       string // the command that runs it again; "": not known
	Plan        string // the plan that runs; "": not known
	Phases      []Phase
	Running     []tracker.AttemptNow
	Counters    map[string]int64
	Failed      []FailedAttempt // the newest first
	FailedCount int             // in all
}

// Totals are figures for /metrics.
type Totals struct {
	Running, Committed, Failed int64 // attempts: those that run, and since the tracker's start
}

// Options say how the pages are served.
type Options struct {
	Source Source
	// Login makes the cookie that lets a browser look, if the token is right; nil: no token is needed.
	Login func(r *http.Request, token string) *http.Cookie
	// MayChange tells whether whoever can look can also kill.
	MayChange bool
	Log       *zap.Logger
	Now       func() time.Time // nil: the clock
}

//go:embed templates static
var files embed.FS

// Static is the path below which nothing is about jobs: style and script.
const Static = "/static/"

// LoginPath is where a browser gives its token.
const LoginPath = "/login"

// EventsPath is where pages hear that something has changed.
const EventsPath = "/api/v1/events"

type handler struct {
	o     Options
	mux   *http.ServeMux
	pages map[string]*template.Template
	slots chan struct{} // of event streams
}

// New returns the pages as a handler of /, /jobs/, /workers, /login, /static/, /metrics and EventsPath. Who may call is for a handler
// before it, which lets LoginPath and Static through.
func New(o Options) http.Handler {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	h := &handler{o: o, mux: http.NewServeMux(), pages: map[string]*template.Template{}, slots: make(chan struct{}, maxStreams)}
	base := template.Must(template.New("").Funcs(functions).ParseFS(files, "templates/layout.html"))
	for _, name := range []string{"jobs", "job", "log", "attempt", "tasks", "workers", "login", "problem"} {
		h.pages[name] = template.Must(template.Must(base.Clone()).ParseFS(files, "templates/"+name+".html"))
	}
	static, err := fs.Sub(files, "static")
	if err != nil {
		panic(err) // it is embedded
	}
	h.mux.Handle("GET "+Static, http.StripPrefix(Static, noListing(http.FileServerFS(static))))
	h.mux.HandleFunc("GET /{$}", h.jobs)
	h.mux.HandleFunc("GET /jobs/{id}", h.job)
	h.mux.HandleFunc("GET /jobs/{id}/log", h.log)
	h.mux.HandleFunc("GET /jobs/{id}/logs/{target...}", h.attemptLog)
	h.mux.HandleFunc("GET /jobs/{id}/tasks/{phase...}", h.tasks)
	h.mux.HandleFunc("POST /jobs/{id}/kill", h.kill)
	h.mux.HandleFunc("GET /workers", h.workers)
	h.mux.HandleFunc("GET "+LoginPath, h.loginForm)
	h.mux.HandleFunc("POST "+LoginPath, h.login)
	h.mux.HandleFunc("GET /metrics", h.metrics)
	h.mux.HandleFunc("GET "+EventsPath, h.events)
	h.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		h.problem(w, r, http.StatusNotFound, "There is no such page.")
	})
	return h
}

// policy lets a page load what this server sends, and nothing else.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; " +
	"form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'"

// ServeHTTP serves a page.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	secure(w.Header())
	h.mux.ServeHTTP(w, r)
}

func secure(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	// Not no-referrer: with that, browsers hide the origin of our own forms, too.
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// noListing hides that there are folders.
func noListing(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "" || strings.HasSuffix(r.URL.Path, "/") {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Cache-Control", "no-cache")
		next.ServeHTTP(w, r)
	})
}

// page is what every template gets.
type page struct {
	Title   string
	Root    string // the way from this page to the first one, as "../"
	Here    string // the page's name
	Live    bool   // it is worth refreshing
	Refresh int    // seconds, for browsers without script; 0: never
	Tracker Tracker
	Now     time.Time
	Login   bool
	Data    any
}

// show sends a page. It is made before anything is sent, so that an error is not half a page.
func (h *handler) show(w http.ResponseWriter, r *http.Request, code int, name, title string, live bool, data any) {
	p := page{Title: title, Root: root(r.URL.Path), Here: name, Live: live, Tracker: h.o.Source.Tracker(), Now: h.o.Now(), Login: h.o.Login != nil, Data: data}
	if r.URL.Query().Get("refresh") == "10" {
		p.Refresh = 10
	}
	var b bytes.Buffer
	if err := h.pages[name].ExecuteTemplate(&b, "layout", p); err != nil {
		h.o.Log.Error("a page cannot be made", zap.String("page", name), zap.Error(err))
		http.Error(w, "this page cannot be made; the tracker's log says why", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code)
	_, _ = w.Write(b.Bytes()) // whoever asked has gone
}

// root is the relative way from a path to the first page, which need not be at the root of its host.
func root(path string) string {
	if n := strings.Count(path, "/") - 1; n > 0 {
		return strings.Repeat("../", n)
	}
	return "./"
}

func (h *handler) problem(w http.ResponseWriter, r *http.Request, code int, text string) {
	h.show(w, r, code, "problem", http.StatusText(code), false, struct {
		Code int
		Text string
	}{code, text})
}

// kill ends a job and goes back to its page. Where the form came from is looked at by whoever guards the pages.
func (h *handler) kill(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	if !h.o.MayChange {
		h.problem(w, r, http.StatusForbidden, "This page may look only. The command is: vista-mr kill "+id)
		return
	}
	if err := h.o.Source.Kill(id); err != nil {
		code := http.StatusInternalServerError
		if errs.Is(err, errs.NotExist) {
			code = http.StatusNotFound
		}
		h.problem(w, r, code, err.Error())
		return
	}
	goTo(w, "../"+id)
}

// goTo has the browser get a page next. The address stays relative: the tracker does not know what stands before it.
func goTo(w http.ResponseWriter, to string) {
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusSeeOther)
}

// login form data.
type loginData struct {
	Next  string
	Wrong bool
	Need  bool
}

// nextPage are the pages that a login may lead to.
var nextPage = regexp.MustCompile(`^(workers|jobs/[A-Za-z0-9][A-Za-z0-9._-]*(/log)?)?$`) // not attempts' logs: names of phases may hold anything

func (h *handler) loginForm(w http.ResponseWriter, r *http.Request) {
	h.showLogin(w, r, http.StatusOK, r.URL.Query().Get("next"), false)
}

func (h *handler) showLogin(w http.ResponseWriter, r *http.Request, code int, next string, wrong bool) {
	if !nextPage.MatchString(next) {
		next = ""
	}
	h.show(w, r, code, "login", "Log in", false, loginData{Next: next, Wrong: wrong, Need: h.o.Login != nil})
}

func (h *handler) login(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	next := r.PostFormValue("next")
	if h.o.Login == nil {
		goTo(w, "./")
		return
	}
	c := h.o.Login(r, strings.TrimSpace(r.PostFormValue("token")))
	if c == nil {
		h.showLogin(w, r, http.StatusUnauthorized, next, true)
		return
	}
	http.SetCookie(w, c)
	if !nextPage.MatchString(next) {
		next = ""
	}
	goTo(w, "./"+next)
}

// Refused is what a browser without a token gets: the form for it. Others get a line.
func Refused(w http.ResponseWriter, r *http.Request, pages http.Handler) bool {
	h, ok := pages.(*handler)
	if !ok || !strings.Contains(r.Header.Get("Accept"), "text/html") || r.Method != http.MethodGet {
		return false
	}
	secure(w.Header())
	h.showLogin(w, r, http.StatusUnauthorized, strings.TrimPrefix(r.URL.Path, "/"), false)
	return true
}

var errSeek = errors.New("a log that has no end")

// tail reads at most n bytes from the end of a log, from the start of a line, and says how long all of it is.
func tail(f io.ReadSeeker, n int64) (text string, size int64, err error) {
	if size, err = f.Seek(0, io.SeekEnd); err != nil {
		return "", 0, err
	}
	if size < 0 {
		return "", 0, errSeek
	}
	if _, err := f.Seek(max(0, size-n), io.SeekStart); err != nil {
		return "", 0, err
	}
	b, err := io.ReadAll(io.LimitReader(f, n))
	if err != nil {
		return "", 0, err
	}
	if size > n {
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			b = b[i+1:]
		}
	}
	return string(b), size, nil
}
