package status

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/tracker"
)

// TestHostileText: whatever jobs, workers and logs are called, it is text.
func TestHostileText(t *testing.T) {
	const evil = `"'><script>alert(1)</script><img src=x onerror=alert(1)>{{.}}javascript:alert(1)`
	at := mr.AttemptID{Task: mr.TaskID{Phase: evil}, Number: 1}
	j := Job{ID: evil, Name: evil, User: evil, Output: evil, State: evil, Verdict: evil, Failure: &Failure{evil, evil, evil, evil, 1}, Stages: []Stage{{evil, 1, 2, evil, time.Minute, false}}, Submitted: noon}
	f := &fake{jobs: []Job{j, {ID: evil, State: "running", Stages: j.Stages}}, log: evil, logs: []AttemptLog{{Attempt: at, Worker: evil, Runs: true, Text: []byte(evil)}}, workers: []tracker.WorkerNow{{ID: evil, Host: evil}},
		detail: map[string]Detail{evil: {Job: j, Again: evil, Plan: evil, Phases: []Phase{{ID: evil, State: evil}}, Running: []tracker.AttemptNow{{Attempt: at, Worker: evil}},
			Counters: map[string]int64{evil: 1}, Failed: []FailedAttempt{{Attempt: at, Worker: evil, ID: evil, Error: evil, Next: evil}}, FailedCount: 1}}}
	h := handle(f, func(o *Options) { o.Login = func(*http.Request, string) *http.Cookie { return nil } })
	id := url.PathEscape(evil)
	for _, path := range []string{"/", "/?state=" + url.QueryEscape(evil), "/?page=" + url.QueryEscape(evil), "/jobs/" + id, "/jobs/" + id + "/log", "/jobs/" + id + "/logs/" + id + "/1", "/jobs/" + id + "/tasks/" + id, "/jobs/x" + id, "/workers", "/login?next=" + url.QueryEscape(evil), "/" + id} {
		_, page := get(t, h, path)
		if strings.Contains(page, "<script>") || strings.Contains(page, "<img") || strings.Contains(page, `href="javascript:`) {
			t.Errorf("%s lets markup through:\n%s", path, page)
		}
		for _, tag := range tags.FindAllString(quoted.ReplaceAllString(page, `""`), -1) {
			if regexp.MustCompile(`\son\w+=`).MatchString(tag) || strings.Contains(tag, " style=") || strings.HasPrefix(tag, "<style") {
				t.Errorf("%s has a script or style of its own: %s", path, tag)
			}
		}
	}
}

// TestEveryAnswerIsGuarded by the content-security policy, and asks no other host for anything.
func TestEveryAnswerIsGuarded(t *testing.T) {
	h := handle(sample())
	for _, path := range []string{"/", "/jobs/foods-a", "/jobs/foods-a/log", "/jobs/nobody", "/workers", "/login", "/metrics", "/nothing", "/static/page.css", "/static/page.js", "/static/icon.svg", "/static/"} {
		w, page := get(t, h, path)
		hd := w.Header()
		if hd.Get("Content-Security-Policy") != policy || hd.Get("X-Content-Type-Options") != "nosniff" || hd.Get("Cross-Origin-Opener-Policy") != "same-origin" {
			t.Errorf("%s: headers %v", path, hd)
		}
		if strings.Contains(page, "://") && path != "/static/icon.svg" && path != "/jobs/foods-a" {
			t.Errorf("%s names another host", path)
		}
		if regexp.MustCompile(`(href|src|action)="/`).MatchString(page) {
			t.Errorf("%s has a link that does not work below a prefix", path)
		}
	}
	for path, kind := range map[string]string{"/static/page.css": "text/css; charset=utf-8", "/static/page.js": "text/javascript; charset=utf-8", "/static/icon.svg": "image/svg+xml"} {
		if w, _ := get(t, h, path); w.Code != http.StatusOK || w.Header().Get("Content-Type") != kind {
			t.Errorf("%s: %d %s", path, w.Code, w.Header().Get("Content-Type"))
		}
	}
	if w, _ := get(t, h, "/static/"); w.Code != http.StatusNotFound {
		t.Errorf("the folder of style and script is listed: %d", w.Code)
	}
}

func post(h http.Handler, path string, form url.Values) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	h.ServeHTTP(w, r)
	return w
}

func TestKill(t *testing.T) {
	f := sample()
	if w := post(handle(f), "/jobs/foods-a/kill", nil); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "../foods-a" || len(f.killed) != 1 {
		t.Errorf("%d to %q, killed %v", w.Code, w.Header().Get("Location"), f.killed)
	}
	if w := post(handle(f), "/jobs/nobody/kill", nil); w.Code != http.StatusNotFound {
		t.Errorf("an unknown job: %d", w.Code)
	}
	f.detail["foods-e"] = Detail{Job: Job{ID: "foods-e", State: "running", Ending: true}}
	if _, page := get(t, handle(f), "/jobs/foods-e"); strings.Contains(page, "/kill") || !strings.Contains(page, "was told to end") {
		t.Error("a job that ends is offered to be killed")
	}
	only := handle(f, func(o *Options) { o.MayChange = false })
	if w := post(only, "/jobs/foods-a/kill", nil); w.Code != http.StatusForbidden || len(f.killed) != 1 {
		t.Errorf("whoever may look only kills: %d, %v", w.Code, f.killed)
	}
	if _, page := get(t, only, "/jobs/foods-a"); strings.Contains(page, "/kill") {
		t.Error("whoever may look only is offered to kill")
	}
	if w, _ := get(t, handle(f), "/jobs/foods-a/kill"); w.Code < 400 || len(f.killed) != 1 {
		t.Errorf("a link kills: %d", w.Code)
	}
}

func TestLogin(t *testing.T) {
	h := handle(sample(), func(o *Options) {
		o.Login = func(_ *http.Request, token string) *http.Cookie {
			if token != "right" {
				return nil
			}
			return &http.Cookie{Name: "c", Value: "v"}
		}
	})
	if _, page := get(t, h, "/"); strings.Contains(page, "Log in") { // who sees this page is logged in
		t.Errorf("the list of jobs offers to log in:\n%s", page)
	}
	_, page := get(t, h, "/login?next=jobs/foods-a/log")
	wants(t, page, `name="next" value="jobs/foods-a/log"`, `action="./login"`, `type="password"`)
	for next, to := range map[string]string{"": "./", "workers": "./workers", "jobs/a/log": "./jobs/a/log", "//evil.example": "./", "https://evil.example": "./", "jobs/../x": "./", "/": "./"} {
		w := post(h, "/login", url.Values{"token": {" right\n"}, "next": {next}})
		if w.Code != http.StatusSeeOther || w.Header().Get("Location") != to || !strings.HasPrefix(w.Header().Get("Set-Cookie"), "c=v") {
			t.Errorf("next %q: %d to %q with %q", next, w.Code, w.Header().Get("Location"), w.Header().Get("Set-Cookie"))
		}
	}
	w := post(h, "/login", url.Values{"token": {"wrong"}})
	if w.Code != http.StatusUnauthorized || w.Header().Get("Set-Cookie") != "" {
		t.Errorf("a wrong token: %d", w.Code)
	}
	wants(t, text(w.Body.String()), "That is not this tracker's token")
	r := httptest.NewRequest(http.MethodGet, "/jobs/foods-a", nil)
	r.Header.Set("Accept", "text/html,*/*")
	w = httptest.NewRecorder()
	if !Refused(w, r, h) || w.Code != http.StatusUnauthorized || strings.Contains(w.Body.String(), "epoch") {
		t.Errorf("a browser without a token gets %d\n%s", w.Code, w.Body)
	}
	wants(t, w.Body.String(), `action="../login"`, `value="jobs/foods-a"`)
	r.Header.Set("Accept", "application/json")
	if Refused(httptest.NewRecorder(), r, h) {
		t.Error("a program gets a form")
	}
}
