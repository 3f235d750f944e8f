package cluster

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/commit"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/sched"
	"github.com/vista-mr/vista-mr/mr/status"
	"github.com/vista-mr/vista-mr/mr/tracker"
	"github.com/vista-mr/vista-mr/mr/wire"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
)

// serveTracker serves all of a tracker but its drivers, which end at once.
func serveTracker(t *testing.T, token string) (*httptest.Server, *daemon) {
	t.Helper()
	registry, err := mr.NewRegistry()
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{who: callers{token: token}, o: TrackerOptions{Token: token, Scratch: t.TempDir(), Version: "v1"}, log: zap.NewNop(), epoch: 3, tracker: tracker.New(tracker.Options{Registry: registry})}
	t.Cleanup(d.tracker.Close)
	d.jobs = &jobs{store: mem.New(), byID: map[string]*book{}, base: t.Context(), stop: func() {}, log: d.log}
	d.jobs.dismiss = d.endRun
	d.workers = &wire.Server{Tracker: d.tracker}
	d.runs = &wire.Runs{Tracker: d.tracker}
	pages := d.pages()
	srv := httptest.NewServer(guard(callers{token: token}, pages, d.routes(pages)))
	t.Cleanup(srv.Close)
	return srv, d
}

// ask sends a request; headers are KEY, VALUE. Redirects are not followed.
func ask(t *testing.T, method, url string, headers ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

// TestGuardWithToken: nothing of jobs without the token, reading with a browser's cookie, changes with the token itself only.
func TestGuardWithToken(t *testing.T) {
	srv, d := serveTracker(t, "s3cret; token")
	j, err := d.jobs.submit(t.Context(), Request{Name: "a", Text: "x"})
	if err != nil {
		t.Fatal(err)
	}
	cookie := cookieName + "=" + readKey("s3cret; token")
	const bearer = "Bearer s3cret; token"
	reading := []string{"/", "/workers", "/metrics", "/jobs/" + j.ID, "/jobs/" + j.ID + "/log", "/api/v1/jobs", "/api/v1/jobs/" + j.ID, "/api/v1/jobs/" + j.ID + "/log", "/api/v1/workers", "/api/v1/tracker"}
	for _, path := range reading {
		for _, c := range []struct {
			name, value string
			code        int
		}{
			{"X-None", "", 401}, {"Authorization", "Bearer wrong", 401}, {"Cookie", cookieName + "=wrong", 401}, {"Cookie", cookieName + "=s3cret", 401},
			{"Authorization", bearer, 200}, {"Cookie", cookie, 200},
		} {
			if resp, body := ask(t, http.MethodGet, srv.URL+path, c.name, c.value); resp.StatusCode != c.code || c.code == 401 && strings.Contains(body, j.ID) {
				t.Errorf("GET %s with %s %q: %s", path, c.name, c.value, resp.Status)
			}
		}
		if resp, body := ask(t, http.MethodGet, srv.URL+path, "Accept", "text/html"); resp.StatusCode != 401 || !strings.Contains(body, `name="token"`) || resp.Header.Get("Content-Security-Policy") == "" {
			t.Errorf("a browser that GETs %s: %s", path, resp.Status)
		}
	}
	if resp, _ := ask(t, http.MethodGet, srv.URL+status.EventsPath); resp.StatusCode != 401 {
		t.Errorf("events: %s", resp.Status)
	}
	for _, path := range []string{"/healthz", "/readyz", "/login", "/static/page.css", "/static/page.js"} {
		if resp, _ := ask(t, http.MethodGet, srv.URL+path); resp.StatusCode != 200 {
			t.Errorf("GET %s: %s", path, resp.Status)
		}
	}
	for _, m := range []string{"POST /api/v1/jobs", "POST /api/v1/jobs/" + j.ID + "/kill", "POST /jobs/" + j.ID + "/kill", "POST /api/v1/run", "DELETE /api/v1/run/x", "PUT /static/page.css/x", "GET " + wire.WorkerPath} {
		method, path, _ := strings.Cut(m, " ")
		refused := 401
		if strings.HasPrefix(path, wire.RunPath) { // for drivers only
			refused = 403
		}
		if resp, _ := ask(t, method, srv.URL+path); resp.StatusCode != refused && !strings.HasPrefix(path, status.Static) {
			t.Errorf("%s without a token: %s", m, resp.Status)
		}
		if resp, _ := ask(t, method, srv.URL+path, "Cookie", cookie); resp.StatusCode != refused && !strings.HasPrefix(path, status.Static) {
			t.Errorf("%s with a cookie: %s", m, resp.Status)
		}
	}
	if got, _ := d.jobs.get(j.ID); got.State != Queued {
		t.Errorf("the job is %s", got.State)
	}
	if resp, said := ask(t, http.MethodPost, srv.URL+"/api/v1/jobs/"+j.ID+"/kill", "Authorization", bearer); resp.StatusCode != 200 || !strings.Contains(said, `"before":"queued","after":"killed"`) {
		t.Errorf("kill with the token: %s, %s", resp.Status, said)
	}
}

func TestLoginCookie(t *testing.T) {
	srv, _ := serveTracker(t, "s3cret; token")
	login := func(token string) *http.Response {
		client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		resp, err := client.PostForm(srv.URL+"/login", url.Values{"token": {token}, "next": {"workers"}})
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp
	}
	if resp := login("wrong"); resp.StatusCode != 401 || len(resp.Cookies()) != 0 {
		t.Errorf("a wrong token: %s, %v", resp.Status, resp.Cookies())
	}
	resp := login("s3cret; token")
	if resp.StatusCode != 303 || resp.Header.Get("Location") != "./workers" || len(resp.Cookies()) != 1 {
		t.Fatalf("the right one: %s, %v", resp.Status, resp.Header)
	}
	c := resp.Cookies()[0]
	if c.Name != cookieName || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || strings.Contains(c.Value, "s3cret") {
		t.Errorf("the cookie is %v", c)
	}
	if resp, _ := ask(t, http.MethodGet, srv.URL+"/workers", "Cookie", c.Name+"="+c.Value); resp.StatusCode != 200 {
		t.Errorf("with it: %s", resp.Status)
	}
}

// TestGuardAgainstOtherPages: what a page of another origin makes a browser ask for changes nothing, and no name but the
// machine's own is answered without a token.
func TestGuardAgainstOtherPages(t *testing.T) {
	srv, d := serveTracker(t, "")
	for _, path := range []string{"/jobs/%s/kill", "/api/v1/jobs/%s/kill"} {
		j, err := d.jobs.submit(t.Context(), Request{Name: "a", Text: "x"})
		if err != nil {
			t.Fatal(err)
		}
		path = srv.URL + fmt.Sprintf(path, j.ID)
		for _, h := range [][]string{{"Origin", "https://evil.example"}, {"Origin", "null"}, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site", "Origin", srv.URL}, {"Host", "evil.example"}} {
			if resp, _ := ask(t, http.MethodPost, path, h...); resp.StatusCode != 403 {
				t.Errorf("POST %s with %v: %s", path, h, resp.Status)
			}
		}
		if resp, _ := ask(t, http.MethodPost, srv.URL+"/login", "Origin", "https://evil.example"); resp.StatusCode != 403 {
			t.Errorf("a login from elsewhere: %s", resp.Status)
		}
		if resp, _ := ask(t, http.MethodGet, srv.URL+"/", "Host", "evil.example"); resp.StatusCode != 403 {
			t.Errorf("another name: %s", resp.Status)
		}
		if got, _ := d.jobs.get(j.ID); got.State != Queued {
			t.Fatalf("the job is %s", got.State)
		}
		if resp, _ := ask(t, http.MethodPost, path, "Origin", srv.URL, "Sec-Fetch-Site", "same-origin"); resp.StatusCode >= 400 {
			t.Errorf("POST %s by its own page: %s", path, resp.Status)
		}
		if got, _ := d.jobs.get(j.ID); got.State != Killed {
			t.Errorf("the job is %s", got.State)
		}
	}
}

// TestPageOfAJob: what the daemon knows reaches the page and the API.
func TestPageOfAJob(t *testing.T) {
	srv, d := serveTracker(t, "")
	j, err := d.jobs.submit(t.Context(), Request{Name: "a", Text: "x", File: "my job.yaml", Sets: []string{"output=o", "seed=1", "output=/data/o"}, Output: "/data/o", User: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.jobs.began(j.ID, &mr.JobSpec{ID: "run"}); err != nil {
		t.Fatal(err)
	}
	changes := d.jobs.changes.Load()
	at := mr.AttemptID{Task: mr.TaskID{Phase: "extract", Index: 4}, Number: 1}
	d.jobs.observe(j.ID, "run", tracker.Update{Kind: tracker.AttemptStarted, Phase: "extract", Attempt: at, Tasks: 9})
	d.jobs.observe(j.ID, "run", tracker.Update{Kind: tracker.AttemptFailed, Phase: "extract", Attempt: at, Worker: "w", Err: io.ErrUnexpectedEOF})
	if d.jobs.changes.Load() <= changes {
		t.Error("pages hear of no change")
	}
	d.tracker.Join(deaf{}, sched.WorkerUp{Worker: "w", Slots: 2, Host: "node"})
	for path, want := range map[string]string{
		"/jobs/" + j.ID: "vista-mr submit &#39;my job.yaml&#39; --set seed=1 --set output=/data/o", "/api/v1/jobs/" + j.ID: `"failedAttempts":[{"attempt":"extract/00004/1"`,
		"/workers": "node", "/metrics": "vista_mr_attempts_failed_total 1", "/": j.ID,
	} {
		if resp, body := ask(t, http.MethodGet, srv.URL+path); resp.StatusCode != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %s, without %q\n%s", path, resp.Status, want, body)
		}
	}
	// How it ended, and what became of its attempts, outlives the tracker.
	if _, err := d.jobs.end(j.ID, "on request"); err != nil {
		t.Fatal(err)
	}
	again := &jobs{store: d.jobs.store, byID: map[string]*book{}, base: t.Context(), log: d.log}
	if _, err := again.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, past, ok := again.look(j.ID)
	if !ok {
		t.Fatal("the job is lost")
	}
	if failed, n := past.Failed(); n != 1 || failed[0].Attempt != at || len(past.Phases(nil)) != 1 {
		t.Errorf("%d failed attempts: %+v", n, failed)
	}
}

// deaf is a worker that does nothing.
type deaf struct{ tracker.Link }

// TestAnewEndsTheRunBefore: a driver that starts its job anew has it run under another name; what a driver before it has begun ends, and
// the runs of other jobs go on.
func TestAnewEndsTheRunBefore(t *testing.T) {
	_, d := serveTracker(t, "")
	var jobs []string
	for _, output := range []string{"/data/a", "/data/b"} {
		j, err := d.jobs.submit(t.Context(), Request{Name: "a", Text: "x", Output: output})
		if err != nil {
			t.Fatal(err)
		}
		jobs = append(jobs, j.ID)
	}
	begin := func(job string, id mr.JobID) <-chan error {
		spec := &mr.JobSpec{ID: id, Phases: []mr.PhaseSpec{{ID: "p", Type: mr.MapPhase, Kind: "k", Tasks: 1}}}
		if err := d.began(job, spec); err != nil {
			t.Fatal(err)
		}
		ended, store := make(chan error, 1), mem.New()
		go func() {
			_, err := d.tracker.Run(t.Context(), spec, tracker.JobOptions{Store: store, Publisher: &commit.Publisher{FS: store}, Epoch: 1})
			ended <- err
		}()
		for len(d.tracker.Jobs(id)) == 0 {
			time.Sleep(time.Millisecond)
		}
		return ended
	}
	old, other, again := begin(jobs[0], "old"), begin(jobs[1], "other"), begin(jobs[0], "new")
	if err := <-old; !errs.Is(err, errs.Canceled) || !strings.Contains(err.Error(), "anew") {
		t.Errorf("the run before: %v", err)
	}
	if len(d.tracker.Jobs("new", "other")) != 2 {
		t.Error("another run has ended, too")
	}
	d.tracker.Close()
	for _, ended := range []<-chan error{other, again} {
		if err := <-ended; !errors.Is(err, tracker.ErrClosed) {
			t.Error(err)
		}
	}
}

// TestAWorkerThatIsRefused ends as one whose tracker refuses it, with what to do.
func TestAWorkerThatIsRefused(t *testing.T) {
	tracker := httptest.NewServer(guard(callers{token: "secret"}, http.NotFoundHandler(), http.NotFoundHandler()))
	defer tracker.Close()
	err := ServeWorker(t.Context(), WorkerOptions{Tracker: tracker.URL, Token: "guess", HTTP: tracker.Client(), Slots: 1, Scratch: t.TempDir()})
	if e := errs.Of("", err); exit.Code(err) != int(exit.Unreachable) || e.ErrorID() != "E-TRACKER" || !strings.Contains(e.Hint(), "--token-file") || !strings.Contains(err.Error(), tracker.URL) {
		t.Errorf("%v", err)
	}
}

// TestAJobThatNobodyKnows is said in the same words whatever is asked about it.
func TestAJobThatNobodyKnows(t *testing.T) {
	s, _ := serveTracker(t, "")
	c := &Client{URL: s.URL, HTTP: s.Client()}
	_, status := c.Job(t.Context(), "foods-1")
	_, log := c.Log(t.Context(), "foods-1", 0, io.Discard)
	_, follow := c.Follow(t.Context(), "foods-1", Following{See: func(JobReply) {}})
	_, kill := c.Kill(t.Context(), "foods-1")
	_, attempts := c.AttemptLogs(t.Context(), "foods-1", "extract/1")
	for what, err := range map[string]error{"status": status, "log": log, "follow": follow, "kill": kill, "attempts": attempts} {
		if err == nil {
			t.Errorf("%s: no error", what)
			continue
		}
		if e := errs.Of("", err); exit.Code(err) != int(exit.Invalid) || e.ErrorID() != "E-NO-JOB" || !strings.Contains(e.Hint(), "vista-mr jobs") || !strings.Contains(err.Error(), "foods-1") {
			t.Errorf("%s: %v", what, err)
		}
	}
}
