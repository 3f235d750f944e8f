package status

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/tracker"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// fake is a tracker's facts.
type fake struct {
	jobs    []Job
	detail  map[string]Detail
	workers []tracker.WorkerNow
	log     string
	logs    []AttemptLog
	tasks   []tracker.TaskNow
	killed  []string
	changes atomic.Uint64
}

func (f *fake) Tracker() Tracker { return Tracker{"v1", 7, noon.Add(-time.Hour)} }

func (f *fake) Jobs() []Job { return f.jobs }

func (f *fake) Workers() []tracker.WorkerNow { return f.workers }

func (f *fake) Totals() Totals { return Totals{3, 4, 5} }

func (f *fake) Changes() uint64 { return f.changes.Load() }

func (f *fake) Job(id string) (Detail, bool) {
	if d, ok := f.detail[id]; ok {
		return d, true
	}
	for _, j := range f.jobs {
		if j.ID == id {
			return Detail{Job: j}, true
		}
	}
	return Detail{}, false
}

func (f *fake) AttemptLogs(_ context.Context, _, target string) ([]AttemptLog, error) {
	if !strings.Contains(target, "/") {
		return nil, errs.E("logs", errs.Invalid, target, errors.New("write PHASE/TASK"))
	}
	return f.logs, nil
}

func (f *fake) Tasks(_ string, phase mr.PhaseID, state string, from, limit int) (out []tracker.TaskNow, counts map[string]int) {
	if f.tasks == nil {
		return nil, nil
	}
	counts = map[string]int{}
	for _, t := range f.tasks {
		counts[t.State]++
		if state == "" || state == t.State {
			out = append(out, t)
		}
	}
	from = min(from, len(out))
	return out[from:min(len(out), from+limit)], counts
}

type closing struct{ io.ReadSeeker }

func (closing) Close() error { return nil }

func (f *fake) Log(string) (io.ReadSeekCloser, error) {
	if f.log == "" {
		return nil, nil
	}
	return closing{strings.NewReader(f.log)}, nil
}

func (f *fake) Kill(id string) error {
	if _, ok := f.Job(id); !ok {
		return errs.E("kill", errs.NotExist, id, errors.New("the tracker knows no such job"))
	}
	f.killed = append(f.killed, id)
	return nil
}

func handle(f *fake, edit ...func(*Options)) http.Handler {
	o := Options{Source: f, MayChange: true, Now: func() time.Time { return noon }}
	for _, e := range edit {
		e(&o)
	}
	return New(o)
}

func get(t *testing.T, h http.Handler, path string) (*httptest.ResponseRecorder, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w, w.Body.String()
}

var (
	tags   = regexp.MustCompile(`(?s)<[^>]*>`)
	quoted = regexp.MustCompile(`"[^"<>]*"`) // values of attributes; escaped text has no quotes
	spaces = regexp.MustCompile(`\s+`)
)

// text is what a person reads on a page.
func text(page string) string {
	return html.UnescapeString(spaces.ReplaceAllString(tags.ReplaceAllString(page, " "), " "))
}

func wants(t *testing.T, got string, wants ...string) {
	t.Helper()
	for _, w := range wants {
		if !strings.Contains(got, w) {
			t.Errorf("%q is missing in\n%s", w, got)
		}
	}
}

func sample() *fake {
	running := Job{ID: "foods-a", Name: "foods", User: "ann", Output: "s3://key:secret@host/out", State: "running", Submitted: noon.Add(-3 * time.Minute), Started: noon.Add(-2 * time.Minute),
		Stages: []Stage{{Name: "plan", End: true}, {Name: "extract", Done: 1500, Total: 3000, Unit: "images"}}, Drivers: 2}
	done := Job{ID: "foods-b", State: "succeeded", Submitted: noon.Add(-time.Hour), Started: noon.Add(-time.Hour), Ended: noon.Add(-50 * time.Minute), Verdict: "conv5_3 is best."}
	failed := Job{ID: "foods-c", State: "failed", Submitted: noon.Add(-time.Hour), Started: noon.Add(-time.Hour), Ended: noon,
		Failure: &Failure{ID: "E-TABLE", Cause: "no column", Input: "data/t.csv", Next: "write another"}}
	return &fake{jobs: []Job{running, done, failed, {ID: "foods-d", State: "queued", Submitted: noon}},
		detail: map[string]Detail{"foods-a": {Job: running, Again: "vista-mr submit foods.yaml", Plan: "one pass",
			Phases: []Phase{
				{Run: "r", ID: "extract", State: "running", Tasks: 1200, Running: 2, Committed: 600, Failures: 3, Losses: 1, Seconds: &Spread{600, 0.05, 1.5, 60, 75, 900}, Records: &Spread{Count: 600, Sum: 3000}, Bytes: &Spread{Count: 600, Sum: 1 << 30}},
				{Run: "r", ID: "train", State: "waiting", Tasks: 4},
			},
			Running: []tracker.AttemptNow{
				{Attempt: mr.AttemptID{Task: mr.TaskID{Phase: "extract", Index: 7}, Number: 2}, Worker: "w1", Seconds: 3, Done: 5, Total: 8, Copy: true},
				{Attempt: mr.AttemptID{Task: mr.TaskID{Phase: "extract", Index: 8}, Number: 1}, Worker: "w2", Seconds: 90},
				{Attempt: mr.AttemptID{Task: mr.TaskID{Phase: "train", Index: 1}, Number: 1}, Worker: "w2", Pinned: true},
			},
			Counters: map[string]int64{"images": 1500},
			Failed: []FailedAttempt{{Attempt: mr.AttemptID{Task: mr.TaskID{Phase: "extract", Index: 9}, Number: 1}, Worker: "w1", At: noon.Add(-time.Minute), ID: "E-CORRUPT",
				Error: "shard 9 is damaged", Next: "copy it again"}}, FailedCount: 140}},
		workers: []tracker.WorkerNow{
			{ID: "w1", Host: "node1", Slots: 4, Used: 3, Memory: 8 << 30, Held: 2 << 30, Resident: 3 << 29, Peak: 3 << 30, Cached: 128 << 20, Budget: 512 << 20, Spilt: 64 << 20,
				Excluded: []tracker.ExcludedNow{{Job: "foods-a", Tasks: []mr.TaskID{{Phase: "extract", Index: 3}, {Phase: "extract", Index: 4}}, Why: "the disk is full", Until: noon.Add(3 * time.Minute)}}, Since: noon.Add(-time.Hour), Seen: noon.Add(-2 * time.Second)},
			{ID: "w2", Host: "node2", Held: 1 << 20, Seen: noon},
		}}
}

func TestJobs(t *testing.T) {
	h := handle(sample())
	_, page := get(t, h, "/")
	wants(t, text(page), "all 4", "running 1", "foods-a running extract 1,500 of 3,000 images", "2 min 00 s ago", "ann", "foods-b succeeded conv5_3 is best.",
		"10 min 00 s", "foods-c failed E-TABLE no column", "foods-d queued waits for its turn submitted", "showing all 4", "tracker epoch 7, up 1 h 00 min")
	wants(t, page, `href="./jobs/foods-a"`, `data-events="./api/v1/events"`)
	_, page = get(t, h, "/?state=failed")
	if wants(t, text(page), "foods-c", "showing all 1"); strings.Contains(page, "foods-a") {
		t.Error("the list of failed jobs has another one")
	}
	_, page = get(t, handle(&fake{}), "/")
	wants(t, text(page), "No job has been submitted yet", "vista-mr submit FILE")
}

func TestJob(t *testing.T) {
	h := handle(sample())
	_, page := get(t, h, "/jobs/foods-a")
	wants(t, text(page), "Running for 2 min 00 s", "2: the ones before died", "s3://…@host/out", "vista-mr submit foods.yaml", "extract 1,500 of 3,000 images 50 %",
		"extract running 600 of 1,200 2 598 3 1 1.5 s 1 min 00 s 1 min 15 s 3,000 1.0 GiB", "train waiting 0 of 4 0 4 0 0 – – – – –", "extract/00007/2 beside a straggler w1 5 of 8 3.0 s",
		"2 running; 1 more hold partitions between rounds", "extract/00009/1 w1 1 min 00 s ago E-CORRUPT shard 9 is damaged copy it again", "showing the last 1 of 140", "images 1,500", "one pass")
	if strings.Contains(page, "secret") {
		t.Error("a password is shown")
	}
	if strings.Index(page, "extract/00008/1") > strings.Index(page, "extract/00007/2") {
		t.Error("the attempt that runs longest is not the first")
	}
	wants(t, page, `action="../jobs/foods-a/kill"`, `data-events="../api/v1/events"`, `href="../jobs/foods-a/log"`)
	_, page = get(t, h, "/jobs/foods-b")
	if wants(t, text(page), "succeeded conv5_3 is best. Took 10 min 00 s"); strings.Contains(page, "/kill") || strings.Contains(page, "api/v1/events") {
		t.Error("a job that is over can be killed or changes")
	}
	_, page = get(t, h, "/jobs/foods-c")
	wants(t, text(page), "failed E-TABLE no column Input data/t.csv Next write another")
	if w, page := get(t, h, "/jobs/nobody"); w.Code != http.StatusNotFound {
		t.Errorf("an unknown job: %d", w.Code)
	} else {
		wants(t, text(page), `knows no job "nobody"`)
	}
}

func TestWorkers(t *testing.T) {
	_, page := get(t, handle(sample()), "/workers")
	wants(t, text(page), "Workers 2 · 1 draining", "Slots used 3 of 4", "w1 node1 busy 3 of 4 2.0 GiB of 8.0 GiB 1.5 GiB of 8.0 GiB, peak 3.0 GiB 128 MiB of 512 MiB, 64 MiB on disk 2.0 s ago 1 h 00 min", "w2 node2 draining 0 of 0 1.0 MiB, no budget – – 0 s ago", "w1 foods-a 3 min 00 s the disk is full extract/00003 , extract/00004", "showing all 2")
	wants(t, page, `href="./jobs/foods-a/logs/extract/00003"`)
	_, page = get(t, handle(&fake{}), "/workers")
	wants(t, text(page), "No worker is connected")
}

func TestLog(t *testing.T) {
	f := sample()
	h := handle(f)
	_, page := get(t, h, "/jobs/foods-a/log")
	wants(t, text(page), "Nothing has been logged")
	f.log = "first\n" + strings.Repeat("x\n", logShown/2) + "\x1b[31mlast\xff \u202egnp.exe\n"
	_, page = get(t, h, "/jobs/foods-a/log")
	wants(t, page, "␛[31mlast\uFFFD \uFFFDgnp.exe", "showing the last 256 KiB of 256 KiB")
	if strings.Contains(page, "first") || len(page) > logShown+10_000 {
		t.Errorf("the log is not cut: %d bytes", len(page))
	}
	wants(t, page, `href="../../api/v1/jobs/foods-a/log"`)
}

func TestAttemptLog(t *testing.T) {
	f := sample()
	h := handle(f)
	_, page := get(t, h, "/jobs/foods-a")
	wants(t, page, `href="../jobs/foods-a/logs/extract/00007/2"`, `href="../jobs/foods-a/logs/extract/00009/1"`)
	_, page = get(t, h, "/jobs/foods-a/logs/extract/00007/2")
	wants(t, text(page), "extract/00007/2", "Nothing is known of this attempt")
	f.logs = []AttemptLog{{Attempt: attempt("extract", 7), Text: []byte("gone\x1b[0m\n")}, {Attempt: mr.AttemptID{Task: mr.TaskID{Phase: "extract", Index: 7}, Number: 2}, Worker: "w1", Runs: true, Text: []byte("so far\n")}}
	_, page = get(t, h, "/jobs/foods-a/logs/extract/00007")
	wants(t, text(page), "2 attempts", "extract/00007/1 ended gone␛[0m", "extract/00007/2 running on w1 so far")
	wants(t, page, `href="../../../../api/v1/jobs/foods-a/logs/extract/00007"`, `data-events="../../../../api/v1/events"`)
	for path, code := range map[string]int{"/jobs/foods-a/logs/extract": 404, "/jobs/nobody/logs/extract/1": 404} {
		if w, _ := get(t, h, path); w.Code != code {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	f.jobs[0].State = "running"
	f.detail["foods-a"] = Detail{Job: f.jobs[0], Running: []tracker.AttemptNow{{Attempt: attempt("pool a/b?c%", 1)}}}
	_, page = get(t, h, "/jobs/foods-a")
	wants(t, page, `/logs/pool%20a/b%3Fc%25/00001/1"`)
}

func TestTasks(t *testing.T) {
	f := sample()
	h := handle(f)
	_, page := get(t, h, "/jobs/foods-a/tasks/extract")
	wants(t, text(page), "Single tasks are listed while the job runs", "time 50 ms 1.5 s 1 min 00 s 1 min 15 s")
	for i := range 100_000 {
		id := mr.TaskID{Phase: "extract", Index: i}
		n := tracker.TaskNow{Task: id, State: "waiting"}
		switch {
		case i < 60_000:
			n.State, n.Attempts, n.Seconds, n.Rows, n.Bytes = "committed", 1, 2.5, 1200, 3<<20
		case i < 60_002:
			n.State, n.Attempts, n.Worker, n.Done, n.Total, n.Failed = "running", 2, "w1", 5, 8, 1
			n.Attempt = &mr.AttemptID{Task: id, Number: 2}
		}
		f.tasks = append(f.tasks, n)
	}
	_, page = get(t, h, "/jobs/foods-a/tasks/extract?state=running")
	wants(t, text(page), "all 100,000 running 2 waiting 39,998 committed 60,000", "extract/60000 running 2 w1 5 of 8 0 s – – 1", "showing all 2")
	wants(t, page, `href="../../../jobs/foods-a/logs/extract/60000"`, `href="?state=committed"`)
	w, page := get(t, h, "/jobs/foods-a/tasks/extract?page=2")
	wants(t, text(page), "extract/00200 committed", "2.5 s 1,200 3.0 MiB 0", "showing 201 to 400 of 100,000")
	wants(t, page, `rel="next" href="?page=3"`, `rel="prev" href="?"`)
	if len(page) > 500_000 || w.Code != http.StatusOK {
		t.Errorf("%d, %d bytes", w.Code, len(page))
	}
	if w, _ := get(t, h, "/jobs/foods-a/tasks/nothing"); w.Code != http.StatusNotFound {
		t.Errorf("an unknown phase: %d", w.Code)
	}
}

// TestManyJobs: ten thousand of them, and of workers and attempts, stay within what a page shows.
func TestManyJobs(t *testing.T) {
	f := &fake{detail: map[string]Detail{}}
	for i := range 10_000 {
		f.jobs = append(f.jobs, Job{ID: fmt.Sprintf("job-%05d", i), State: states[i%len(states)], Submitted: noon, Verdict: strings.Repeat("v", 1000)})
		f.workers = append(f.workers, tracker.WorkerNow{Slots: 2, Used: 1})
	}
	big := Detail{Job: Job{ID: "big", State: "running"}, FailedCount: 100_000}
	for i := range 10_000 {
		at := mr.AttemptID{Task: mr.TaskID{Phase: "p", Index: i}, Number: 1}
		big.Phases = append(big.Phases, Phase{ID: "p"})
		big.Running = append(big.Running, tracker.AttemptNow{Attempt: at})
		big.Failed = append(big.Failed, FailedAttempt{Attempt: at, Error: "e"})
	}
	f.detail["big"] = big
	h := handle(f)
	for path, says := range map[string]string{
		"/": "showing 1 to 100 of 10,000", "/?page=100": "showing 9,901 to 10,000 of 10,000", "/?page=1000": "showing 9,901 to 10,000 of 10,000", "/?page=-3": "showing 1 to 100",
		"/?state=failed&page=2": "showing 101 to 200 of 2,000", "/workers": "showing 1 to 200 of 10,000", "/jobs/big": "showing the 200 that run longest of 10,000",
	} {
		start := time.Now()
		w, page := get(t, h, path)
		if w.Code != http.StatusOK || len(page) > 500_000 {
			t.Errorf("%s: %d, %d bytes", path, w.Code, len(page))
		}
		if took := time.Since(start); took > 10*time.Second { // 30 ms without the race detector
			t.Errorf("%s took %v", path, took)
		}
		wants(t, text(page), says)
	}
	_, page := get(t, h, "/jobs/big")
	wants(t, text(page), "showing the last 200 of 10,000 phases", "showing the last 100 of 100,000")
	_, page = get(t, h, "/?state=failed&page=2")
	wants(t, page, `rel="prev" href="./?state=failed"`, `rel="next" href="./?state=failed&amp;page=3"`)
}

func TestMetrics(t *testing.T) {
	w, page := get(t, handle(sample()), "/metrics")
	if !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain; version=0.0.4") {
		t.Error(w.Header())
	}
	wants(t, page, `vista_mr_jobs{state="running"} 1`, "vista_mr_workers 2", "vista_mr_workers_draining 1", "vista_mr_slots 4", "vista_mr_slots_used 3", "vista_mr_attempts_running 3",
		"vista_mr_tasks_committed_total 4", "vista_mr_attempts_failed_total 5", "vista_mr_tracker_epoch 7")
	line := regexp.MustCompile(`^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{state="[a-z]+"\})? [0-9.e+]+)$`)
	for l := range strings.Lines(page) {
		if !line.MatchString(strings.TrimSuffix(l, "\n")) {
			t.Errorf("no line of the format: %q", l)
		}
	}
}

// TestEvents: a page hears of a change, once, and there is an end to the pages that listen.
func TestEvents(t *testing.T) {
	f := sample()
	srv := httptest.NewServer(handle(f, func(o *Options) { o.Now = nil }))
	defer srv.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	listen := func() *http.Response {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+EventsPath, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := srv.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	first := listen()
	defer first.Body.Close()
	in := bufio.NewReader(first.Body)
	read := func() string {
		var b strings.Builder
		for {
			l, err := in.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if l == "\n" {
				return b.String()
			}
			b.WriteString(l)
		}
	}
	if got := read(); got != "retry: 3000\nid: 0\n" {
		t.Errorf("first %q", got)
	}
	f.changes.Add(5)
	if got := read(); got != "event: changed\nid: 5\ndata: 5\n" {
		t.Errorf("then %q", got)
	}
	for range maxStreams - 1 {
		defer listen().Body.Close()
	}
	if over := listen(); over.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("one more: %s", over.Status)
	} else {
		over.Body.Close()
	}
	cancel()
}

func TestFigures(t *testing.T) {
	for _, c := range [][2]string{
		{count(0), "0"}, {count(999), "999"}, {count(int64(41233)), "41,233"}, {count(-1234567), "-1,234,567"}, {size(1023), "1023 B"}, {size(10_200), "10 KiB"}, {size(1<<20 - 1), "1.0 MiB"}, {size(1 << 62), "4.0 EiB"}, {size(1536), "1.5 KiB"}, {size(24 << 30), "24 GiB"},
		{duration(0), "0 s"}, {duration(1500 * time.Microsecond), "1.5 ms"}, {duration(9 * time.Microsecond), "< 0.1 ms"}, {duration(9960 * time.Millisecond), "10 s"}, {duration(59700 * time.Millisecond), "1 min 00 s"},
		{duration(61 * time.Minute), "1 h 01 min"}, {duration(50 * time.Hour), "2 d 2 h"}, {share(2999, 3000), "99 %"}, {share(1, 0), ""}, {clip("ääää", 3), "ä … (cut)"},
		{masked("see hdfs://u:p@h/x and s3://b/k"), "see hdfs://…@h/x and s3://b/k"}, {root("/"), "./"}, {root("/jobs/a"), "../"}, {root("/jobs/a/log"), "../../"},
	} {
		if c[0] != c[1] {
			t.Errorf("%q, want %q", c[0], c[1])
		}
	}
}
