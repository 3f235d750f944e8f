package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/local"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/tracker"
	"github.com/vista-mr/vista-mr/mr/wire"
)

// TestHostileRequests: what a client sends names no command, no flag of the driver and no file of the tracker's own.
func TestHostileRequests(t *testing.T) {
	url := serve(t, TrackerOptions{Program: "/nonexistent/vista-mr", Drivers: 1})
	post := func(path, body string) int {
		t.Helper()
		resp, err := http.Post(url+path, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer http.DefaultClient.CloseIdleConnections()
		if err := resp.Body.Close(); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode
	}
	for name, c := range map[string]struct {
		path, body string
		want       int
	}{
		"a name that leads out of its folder": {"/api/v1/jobs", `{"name":"../../etc/x","text":"a: b","output":"/o"}`, 400},
		"a name with a slash":                 {"/api/v1/jobs", `{"name":"a/b","text":"a: b","output":"/o"}`, 400},
		"an id of its own":                    {"/api/v1/jobs", `{"name":"a","text":"a: b","output":"/o","id":"../x"}`, 400},
		"a program":                           {"/api/v1/jobs", `{"name":"a","text":"a: b","program":"/bin/sh"}`, 400},
		"environment":                         {"/api/v1/jobs", `{"name":"a","text":"a: b","env":["LD_PRELOAD=/x.so"]}`, 400},
		"too much":                            {"/api/v1/jobs", `{"name":"a","text":"` + strings.Repeat("x", maxRequest) + `"}`, 400},
		"no job":                              {"/api/v1/jobs", `[]`, 400},
		"phases":                              {"/api/v1/run", `{"id":"a","store":"file:///","phases":[]}`, 403},
		"the end of nobody":                   {"/api/v1/jobs/..%2f..%2fetc/kill", `{}`, 404},
	} {
		if got := post(c.path, c.body); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
	for _, path := range []string{"/api/v1/jobs/..%2f..%2fpasswd/log", "/api/v1/jobs/../../../etc/passwd/log", "/static/../../guard.go", "/jobs/..%2fx"} {
		resp, err := http.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != 404 {
			t.Errorf("%s: %d", path, resp.StatusCode)
		}
	}
}

// TestHostileWords: what a request says is a driver's data, whatever it looks like.
func TestHostileWords(t *testing.T) {
	dir := t.TempDir()
	// The program writes its arguments, one a line, and its environment's names.
	program := filepath.Join(dir, "program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\nfor a in \"$@\"; do echo \"$a\" >>"+dir+"/args; done\nexit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	d := &drivers{program: program, url: "http://127.0.0.1:1", token: "t", scratch: dir}
	s := &submission{ID: "a-1", Request: Request{Name: "a", File: "-o", Text: "x", Sets: []string{"--ort-lib=/tmp/evil.so", "-h", "$(reboot)", "a=b; reboot"}}}
	if _, err := d.start(context.Background(), s, func(driverLine) {}); err == nil {
		t.Error("a program that says nothing has ended well")
	}
	got, err := os.ReadFile(filepath.Join(dir, "args"))
	if err != nil {
		t.Fatal(err)
	}
	var sets []string
	args := strings.Split(strings.TrimSpace(string(got)), "\n")
	for i := 6; i+1 < len(args); i += 2 {
		if args[i] != "--set" {
			t.Errorf("argument %d is %q", i, args[i])
		}
		sets = append(sets, args[i+1])
	}
	if !slices.Equal(sets, s.Sets) || args[0] != "submit" || args[1] != filepath.Join(dir, "jobs", "a-1", "job.yaml") {
		t.Errorf("the driver is started with %q", args)
	}
}

// TestHostilePhases: a driver that has gone mad can name no files outside of its job's store as that job's own.
func TestHostilePhases(t *testing.T) {
	registry, err := mr.NewRegistry(mr.Kind{Name: "k", Map: func(json.RawMessage) (mr.Mapper, error) { return nil, nil }})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	store := local.New(filepath.Join(dir, "store"), true)
	m := newJobs(t, mem.New(), &drive{}, 0)
	known := submitted(t, m, "a")
	tr := tracker.New(tracker.Options{Registry: registry})
	defer tr.Close()
	runs := &wire.Runs{Tracker: tr, Open: func(context.Context, string) (dfs.FS, error) { return store, nil }, Began: m.began}
	defer runs.Close()
	defer tr.Close()
	phase := `"phases":[{"id":"p","type":"map","kind":"k","tasks":1}]`
	for name, c := range map[string]struct{ job, body string }{
		"of a job that nobody has submitted": {"b-1", `{"id":"b",` + phase + `}`},
		"a run that leads out of the store":  {known, `{"id":"../../x",` + phase + `}`},
		"a run without a name":               {known, `{"id":"",` + phase + `}`},
		"no JSON":                            {known, `{`},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://tracker"+wire.RunPath, bytes.NewReader([]byte(c.body)))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Vista-Mr-Job", c.job)
		w := newRecorder()
		runs.ServeHTTP(w, r)
		if said := w.body.String(); w.code == http.StatusOK && !strings.Contains(said, `"kind":"invalid"`) || said == "" {
			t.Errorf("%s: %d %s", name, w.code, said)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range left {
		if e.Name() != "store" {
			t.Errorf("there is %s", e.Name())
		}
	}
}

// recorder takes an answer that is flushed line by line.
type recorder struct {
	code int
	body bytes.Buffer
	h    http.Header
}

func newRecorder() *recorder { return &recorder{code: http.StatusOK, h: http.Header{}} }

func (r *recorder) Header() http.Header         { return r.h }
func (r *recorder) Write(b []byte) (int, error) { return r.body.Write(b) }
func (r *recorder) WriteHeader(code int)        { r.code = code }
func (r *recorder) Flush()                      {}
