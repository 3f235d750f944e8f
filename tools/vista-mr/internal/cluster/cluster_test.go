package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/cache"
	"github.com/vista-mr/vista-mr/mr/commit"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/fault"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/sched"
	"github.com/vista-mr/vista-mr/mr/task"
	"github.com/vista-mr/vista-mr/mr/tracker"
	"github.com/vista-mr/vista-mr/mr/worker"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/host"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestWhoMayCall(t *testing.T) {
	fine := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	for _, c := range []struct {
		name, token, method, path, host string
		header                          map[string]string
		want                            int
	}{
		{"this machine", "", "POST", "/api/v1/jobs", "127.0.0.1:7531", nil, 200},
		{"this machine by IPv6", "", "POST", "/api/v1/jobs", "[::1]:7531", nil, 200},
		{"a name that was made to point here", "", "GET", "/api/v1/jobs", "evil.example:7531", nil, 403},
		{"a name that looks like it", "", "GET", "/api/v1/jobs", "127.0.0.1.evil.example", nil, 403},
		{"a page of another origin", "", "POST", "/api/v1/jobs", "localhost:7531", map[string]string{"Origin": "http://evil.example"}, 403},
		{"a page of its own", "", "POST", "/api/v1/jobs/a/kill", "localhost:7531", map[string]string{"Origin": "http://localhost:7531"}, 200},
		{"no token", "secret", "GET", "/api/v1/jobs", "tracker:7531", nil, 401},
		{"a wrong token", "secret", "GET", "/api/v1/jobs", "tracker:7531", map[string]string{"Authorization": "Bearer secre"}, 401},
		{"the token", "secret", "POST", "/api/v1/jobs", "tracker:7531", map[string]string{"Authorization": "Bearer secret"}, 200},
		{"a cookie reads", "secret", "GET", "/api/v1/jobs", "tracker:7531", map[string]string{"Cookie": cookieName + "=" + readKey("secret")}, 200},
		{"a cookie changes nothing", "secret", "POST", "/api/v1/jobs/a/kill", "tracker:7531", map[string]string{"Cookie": cookieName + "=" + readKey("secret")}, 401},
		{"nor joins as a worker", "secret", "GET", "/api/v1/worker", "tracker:7531", map[string]string{"Cookie": cookieName + "=" + readKey("secret")}, 401},
		{"nor has any connection turned into another", "secret", "GET", "/api/v1/jobs", "tracker:7531", map[string]string{"Cookie": cookieName + "=" + readKey("secret"), "Connection": "Upgrade", "Upgrade": "websocket"}, 401},
		{"nor deletes", "secret", "DELETE", "/api/v1/run/a", "tracker:7531", map[string]string{"Cookie": cookieName + "=" + readKey("secret")}, 403},
		{"phases, with the users' token", "secret", "POST", "/api/v1/run", "tracker:7531", map[string]string{"Authorization": "Bearer secret"}, 403},
		{"phases, of this machine", "", "POST", "/api/v1/run", "localhost:7531", nil, 403},
		{"the end of phases", "", "DELETE", "/api/v1/run/a", "localhost:7531", map[string]string{"Authorization": "Bearer "}, 403},
		{"an empty token", "secret", "GET", "/api/v1/jobs", "tracker:7531", map[string]string{"Authorization": "Bearer "}, 401},
		{"phases of a driver", "", "POST", "/api/v1/run", "localhost:7531", map[string]string{"Authorization": "Bearer driver"}, 200},
		{"phases of a driver, with a token", "secret", "DELETE", "/api/v1/run/a", "tracker:7531", map[string]string{"Authorization": "Bearer driver"}, 200},
		{"workers need it, too", "secret", "GET", "/api/v1/worker", "tracker:7531", nil, 401},
		{"is it alive", "secret", "GET", "/healthz", "10.0.0.1:7531", nil, 200},
	} {
		r := httptest.NewRequest(c.method, "http://"+c.host+c.path, nil)
		for k, v := range c.header {
			r.Header.Set(k, v)
		}
		w := httptest.NewRecorder()
		guard(callers{token: c.token, drivers: "driver"}, fine, fine).ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%s: %d, want %d", c.name, w.Code, c.want)
		}
	}
}

func TestListeningNeedsAToken(t *testing.T) {
	for addr, fine := range map[string]bool{"127.0.0.1:1": true, "localhost:1": true, "[::1]:1": true, "0.0.0.0:1": false, ":1": false, "10.1.2.3:1": false, "nonsense": false} {
		if err := checkListen(addr, callers{}); (err == nil) != fine {
			t.Errorf("%s without a token: %v", addr, err)
		}
		if err := checkListen(addr, callers{token: "token"}); err != nil && addr != "nonsense" {
			t.Errorf("%s with a token: %v", addr, err)
		}
	}
}

// drive stands in for drivers: it is told how each one ends.
type drive struct {
	mu     sync.Mutex
	began  []string
	ends   map[string]func(ctx context.Context) (ending, error) // by the job's name
	active int
	most   int
}

func (d *drive) start(ctx context.Context, s *submission, _ func(driverLine)) (ending, error) {
	d.mu.Lock()
	d.began = append(d.began, s.Name)
	d.active++
	d.most = max(d.most, d.active)
	f := d.ends[s.Name]
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		d.active--
		d.mu.Unlock()
	}()
	return f(ctx)
}

func newJobs(t *testing.T, store dfs.FS, d *drive, most int) *jobs {
	base, stop := context.WithCancel(t.Context())
	m := &jobs{store: store, start: d.start, dismiss: func(mr.JobID) {}, log: zap.NewNop(), base: base, stop: stop, byID: map[string]*book{}, most: most}
	t.Cleanup(m.close)
	return m
}

func wait(t *testing.T, m *jobs, id string, want State) Job {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		j, ok := m.get(id)
		if ok && j.State == want {
			return j
		}
		if time.Now().After(end) {
			t.Fatalf("%s is %s, want %s", id, j.State, want)
		}
	}
}

func submitted(t *testing.T, m *jobs, name string) string {
	t.Helper()
	j, err := m.submit(t.Context(), Request{Name: name, Text: "x"})
	if err != nil {
		t.Fatal(err)
	}
	return j.ID
}

func well(context.Context) (ending, error) { return ending{verdict: "it helps"}, nil }

func TestJobsWaitForTheirTurn(t *testing.T) {
	go1 := make(chan struct{})
	held := func(ctx context.Context) (ending, error) { <-go1; return ending{}, nil }
	d := &drive{ends: map[string]func(context.Context) (ending, error){"a": held, "b": held, "c": held}}
	m := newJobs(t, mem.New(), d, 2)
	ids := []string{submitted(t, m, "a"), submitted(t, m, "b"), submitted(t, m, "c")}
	for both := false; !both; time.Sleep(time.Millisecond) {
		d.mu.Lock()
		both = d.active == 2
		d.mu.Unlock()
	}
	if j, _ := m.get(ids[2]); j.State != Queued {
		t.Errorf("the third of two is %s", j.State)
	}
	close(go1)
	for _, id := range ids {
		wait(t, m, id, Succeeded)
	}
	if d.most != 2 || len(m.list()) != 3 || m.list()[0].ID != ids[2] {
		t.Errorf("%d at once; listed %+v", d.most, m.list())
	}
}

// TestLimitsOfJobs: a user's jobs wait for each other where no more may run, and others go past them; a higher priority goes first.
func TestLimitsOfJobs(t *testing.T) {
	hold := make(chan struct{})
	held := func(ctx context.Context) (ending, error) { <-hold; return ending{}, nil }
	d := &drive{ends: map[string]func(context.Context) (ending, error){"a1": held, "a2": held, "a3": held, "b": held, "a4": held}}
	store := mem.New()
	m := newJobs(t, store, d, 3)
	m.limits = Limits{Jobs: map[string]int{"ann": 1}, Queued: 2}
	submit := func(name, user string, priority int) (Job, error) {
		return m.submit(t.Context(), Request{Name: name, Text: "x", User: user, Priority: priority})
	}
	var ids []string
	for _, name := range []string{"a1", "a2", "a3"} {
		j, err := submit(name, "ann", len(ids))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, j.ID)
	}
	_, err := submit("a4", "ann", 9)
	var id interface{ ErrorID() string }
	if !errors.As(err, &id) || id.ErrorID() != "E-QUOTA" {
		t.Errorf("a third that waits: %v", err)
	}
	b, err := submit("b", "bob", 0)
	if err != nil {
		t.Fatal(err)
	}
	wait(t, m, b.ID, Running)
	if j, _ := m.get(ids[1]); j.State != Queued || !strings.Contains(j.Waits, "ann") {
		t.Errorf("ann's second: %+v", j)
	}
	close(hold)
	for _, id := range ids {
		wait(t, m, id, Succeeded)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	began := slices.DeleteFunc(slices.Clone(d.began), func(n string) bool { return n == "b" })
	if !slices.Equal(began, []string{"a1", "a3", "a2"}) {
		t.Errorf("began %v", d.began)
	}
	n := newJobs(t, store, d, 0)
	if _, err := n.load(t.Context()); err != nil || len(n.order) != 4 {
		t.Errorf("a tracker after this one has %d jobs, %v", len(n.order), err)
	}
}

func TestHowJobsEnd(t *testing.T) {
	said := json.RawMessage(`{"id":"E-INFEASIBLE","cause":"it does not fit","next":"give it more","exitCode":4}`)
	d := &drive{ends: map[string]func(context.Context) (ending, error){
		"well": well,
		"says": func(context.Context) (ending, error) { return ending{code: 4, failure: said}, nil },
		"dies": func(context.Context) (ending, error) { return ending{code: -1}, errors.New("signal: killed") },
		"runs": func(ctx context.Context) (ending, error) { <-ctx.Done(); return ending{}, ctx.Err() },
	}}
	store := mem.New()
	m := newJobs(t, store, d, 4)
	good, says, dies, runs := submitted(t, m, "well"), submitted(t, m, "says"), submitted(t, m, "dies"), submitted(t, m, "runs")
	if j := wait(t, m, good, Succeeded); j.Verdict != "it helps" || j.Outcome() != nil {
		t.Errorf("%+v", j)
	}
	j := wait(t, m, says, Failed)
	var id interface{ ErrorID() string }
	if err := j.Outcome(); !errors.As(err, &id) || id.ErrorID() != "E-INFEASIBLE" || !strings.Contains(err.Error(), "does not fit") {
		t.Errorf("a driver that failed: %v", err)
	}
	if j := wait(t, m, dies, Failed); j.Drivers != maxDrivers || !strings.Contains(string(j.Failure), "E-DRIVER") {
		t.Errorf("a driver that dies: %+v", j)
	}
	wait(t, m, runs, Running)
	if _, err := m.end(runs, "on request"); err != nil {
		t.Fatal(err)
	}
	if j := wait(t, m, runs, Killed); j.ExitCode != 7 {
		t.Errorf("a killed job: %+v", j)
	}
	if _, err := m.end("nobody", ""); !errs.Is(err, errs.NotExist) {
		t.Errorf("killing nobody: %v", err)
	}

	// Another tracker knows how they ended, and runs none of them again.
	again := &drive{}
	n := newJobs(t, store, again, 4)
	if runs, err := n.load(t.Context()); err != nil || len(runs) != 0 {
		t.Fatal(runs, err)
	}
	for _, id := range []string{good, says, dies, runs} {
		a, _ := m.get(id)
		b, ok := n.get(id)
		if !ok || a.State != b.State || a.Verdict != b.Verdict || string(a.Failure) != string(b.Failure) || a.ExitCode != b.ExitCode {
			t.Errorf("%+v was %+v", b, a)
		}
	}
	n.mu.Lock()
	n.fill()
	n.mu.Unlock()
	if len(again.began) != 0 {
		t.Errorf("%v ran again", again.began)
	}
}

// TestFollowingHearsOfTheEndAtOnce: an answer that is put off comes as soon as the job is over.
func TestFollowingHearsOfTheEndAtOnce(t *testing.T) {
	hold := make(chan struct{})
	m := newJobs(t, mem.New(), &drive{ends: map[string]func(context.Context) (ending, error){"a": func(context.Context) (ending, error) { <-hold; return ending{}, nil }}}, 1)
	d := &daemon{jobs: m, tracker: tracker.New(tracker.Options{})}
	defer d.tracker.Close()
	id := submitted(t, m, "a")
	wait(t, m, id, Running)
	ask := func(query string) (out JobReply) {
		w := httptest.NewRecorder()
		d.routes(http.NotFoundHandler()).ServeHTTP(w, httptest.NewRequest("GET", "/api/v1/jobs/"+id+query, nil))
		if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
			t.Fatalf("%v in %s", err, w.Body)
		}
		return out
	}
	if j := ask("?wait=1ms").Job; j.State != Running {
		t.Errorf("after the wait: %+v", j)
	}
	answer := make(chan State)
	go func() { answer <- ask("?wait=20s").Job.State }()
	close(hold)
	select {
	case s := <-answer:
		if s != Succeeded {
			t.Errorf("when it is over it is %s", s)
		}
	case <-time.After(maxWait / 2):
		t.Error("no answer when it was over")
		<-answer
	}
}

func TestJobsOutliveTheirTracker(t *testing.T) {
	store := mem.New()
	d := &drive{ends: map[string]func(context.Context) (ending, error){
		"a": func(ctx context.Context) (ending, error) { <-ctx.Done(); return ending{}, ctx.Err() },
		"b": well,
	}}
	m := newJobs(t, store, d, 1)
	a, b := submitted(t, m, "a"), submitted(t, m, "b") // b waits
	wait(t, m, a, Running)
	if err := m.began(a, &mr.JobSpec{ID: "a-run"}); err != nil {
		t.Fatal(err)
	}
	m.close()

	second := &drive{ends: map[string]func(context.Context) (ending, error){"a": well, "b": well}}
	n := newJobs(t, store, second, 1)
	runs, err := n.load(t.Context())
	if err != nil || !slices.Equal(runs, []mr.JobID{"a-run"}) {
		t.Fatalf("expected are %v, %v", runs, err)
	}
	n.mu.Lock()
	n.fill()
	n.mu.Unlock()
	wait(t, n, a, Succeeded)
	wait(t, n, b, Succeeded)
	if !slices.Equal(second.began, []string{"a", "b"}) {
		t.Errorf("began %v, want the order in which they came", second.began)
	}
}

// TestBegunJobsComeFirst: workers hold something of jobs that a tracker before has begun, so that these go on before others of any
// priority; what is held of one that has to wait for its turn is given up.
func TestBegunJobsComeFirst(t *testing.T) {
	store := mem.New()
	hold := func(ctx context.Context) (ending, error) { <-ctx.Done(); return ending{}, ctx.Err() }
	m := newJobs(t, store, &drive{ends: map[string]func(context.Context) (ending, error){"a": hold, "b": hold}}, 2)
	for _, name := range []string{"a", "b"} {
		id := submitted(t, m, name)
		wait(t, m, id, Running)
		if err := m.began(id, &mr.JobSpec{ID: mr.JobID(name + "-run")}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := m.submit(t.Context(), Request{Name: "urgent", Text: "x", Priority: 5}); err != nil {
		t.Fatal(err)
	}
	m.close()

	started := make(chan struct{})
	first := func(ctx context.Context) (ending, error) { close(started); return hold(ctx) }
	second := &drive{ends: map[string]func(context.Context) (ending, error){"a": first, "b": hold, "urgent": hold}}
	n := newJobs(t, store, second, 1)
	if runs, err := n.load(t.Context()); err != nil || len(runs) != 2 {
		t.Fatalf("expected are %v, %v", runs, err)
	}
	n.mu.Lock()
	n.fill()
	n.mu.Unlock()
	if got := n.postponed(); !slices.Equal(got, []mr.JobID{"b-run"}) {
		t.Errorf("%v has to wait for its turn, want b-run", got)
	}
	select {
	case <-started:
	case <-time.After(10 * time.Second):
	}
	n.close()
	if len(second.began) != 1 || second.began[0] != "a" {
		t.Errorf("began %v, want what was begun before", second.began)
	}
}

func TestBadSubmissions(t *testing.T) {
	m := newJobs(t, mem.New(), &drive{}, 1)
	for _, r := range []Request{{}, {Name: "a"}, {Name: "../a", Text: "x"}, {Name: strings.Repeat("a", 100), Text: "x"}} {
		if _, err := m.submit(t.Context(), r); !errs.Is(err, errs.Invalid) {
			t.Errorf("%+v: %v", r, err)
		}
	}
}

// TestMemoryIsGuarded: a worker that holds too much gives attempts up, one after the other, until it holds less.
func TestMemoryIsGuarded(t *testing.T) {
	waits := mr.Kind{Name: "waits", Map: func(json.RawMessage) (mr.Mapper, error) {
		return mr.MapperFunc(func(ctx context.Context, _ mr.Task) error { <-ctx.Done(); return ctx.Err() }), nil
	}}
	registry, err := mr.NewRegistry(waits)
	if err != nil {
		t.Fatal(err)
	}
	env := &task.Env{Store: mem.New(), Mux: dfs.NewMux(nil), Registry: registry, Shared: task.NewShared(), Cache: cache.New(0, t.TempDir()), Scratch: t.TempDir(), Slots: 2}
	failed := make(chan sched.Failed, 10)
	w := worker.New(worker.Options{ID: "w", Slots: 2, Env: func(*mr.TaskSpec) (*task.Env, error) { return env, nil }, Report: func(r worker.Report) {
		if f, ok := r.Event.(sched.Failed); ok {
			failed <- f
		}
	}})
	defer w.Close()
	for i := range 2 {
		w.Do(worker.Launch{Spec: mr.TaskSpec{Job: "a", Attempt: mr.AttemptID{Task: mr.TaskID{Phase: "p", Index: i}, Number: 1}, Type: mr.MapPhase, Kind: "waits"}})
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		host.Guard(ctx, w.Shed, 1000, func() int64 { return int64(len(w.Running())) * 480 }, zap.NewNop()) // 960 of 1000 is too much
	}()
	f := <-failed
	if f.Attempt.Task.Index != 1 || !errs.Is(f.Err, errs.NoMemory) {
		t.Errorf("given up is %+v", f)
	}
	time.Sleep(500 * time.Millisecond)
	if n := len(w.Running()); n != 1 || len(failed) != 0 {
		t.Errorf("%d attempts are left", n)
	}
	cancel()
	<-done
}

// What has run of a job is in the state before its driver is told so: else the next tracker would not wait for it.
func TestBegunIsWrittenDown(t *testing.T) {
	store := fault.New(mem.New(), fault.Options{Rules: []fault.Rule{{Op: fault.Claim, Path: "*/runs/*", Nth: 1}}})
	held, drives := make(chan struct{}), make(chan struct{})
	var again []bool
	m := newJobs(t, store, &drive{}, 1)
	m.start = func(ctx context.Context, s *submission, _ func(driverLine)) (ending, error) {
		again = append(again, s.again)
		if len(again) == 1 {
			close(drives)
			<-held
			return ending{}, errors.New("killed")
		}
		return ending{}, nil
	}
	id := submitted(t, m, "a")
	<-drives
	if err := m.began(id, &mr.JobSpec{ID: "run"}); !errs.Is(err, errs.Transient) {
		t.Errorf("the store fails: %v", err)
	}
	if err := m.began(id, &mr.JobSpec{ID: "run"}); err != nil {
		t.Fatal(err)
	}
	next := &jobs{store: store, log: zap.NewNop(), byID: map[string]*book{}}
	if runs, err := next.load(t.Context()); err != nil || len(runs) != 1 || runs[0] != "run" {
		t.Errorf("the next tracker knows %v, %v", runs, err)
	}
	close(held)
	wait(t, m, id, Succeeded)
	if !slices.Equal(again, []bool{false, true}) {
		t.Errorf("drivers are told that one was before them: %v", again)
	}
}

// A tracker that was stopped, and does not know yet that another one has its state, neither ends that one's jobs nor takes new
// ones.
func TestAnOutdatedTrackerTellsNothing(t *testing.T) {
	store := mem.New()
	pub := &commit.Publisher{FS: store}
	newTracker := func(d *drive) *jobs {
		m := newJobs(t, store, d, 1)
		var err error
		if m.epoch, err = pub.ClaimEpoch(t.Context()); err != nil {
			t.Fatal(err)
		}
		m.current = func(ctx context.Context) error { return pub.Current(ctx, m.epoch) }
		if _, err := m.load(t.Context()); err != nil {
			t.Fatal(err)
		}
		return m
	}
	lost, over := make(chan struct{}), make(chan struct{})
	first := newTracker(&drive{ends: map[string]func(context.Context) (ending, error){"a": func(context.Context) (ending, error) {
		<-lost
		return ending{code: 5, failure: json.RawMessage(`{"id":"E-OUTPUT-TAKEN"}`)}, nil
	}}})
	id := submitted(t, first, "a")
	second := newTracker(&drive{ends: map[string]func(context.Context) (ending, error){"a": func(context.Context) (ending, error) { <-over; return ending{verdict: "it helps"}, nil }}})
	close(lost)
	first.work.Wait()
	if j, _ := first.get(id); j.State.Over() {
		t.Errorf("the first tracker tells %+v", j)
	}
	if _, err := first.submit(t.Context(), Request{Name: "b", Text: "x"}); !errs.Is(err, errs.Unreachable) {
		t.Errorf("the first tracker takes a job: %v", err)
	}
	// Also if it had looked just before.
	first.current = nil
	first.over(t.Context(), first.byID[id], ending{code: 5}, nil)
	if m := newTracker(&drive{}); m.byID[id] == nil || m.byID[id].State != Queued || len(m.byID) != 1 {
		t.Errorf("the third tracker finds %+v of %d", m.byID[id], len(m.byID))
	}
	close(over)
	second.mu.Lock()
	second.epoch, second.current = 4, nil // as the last one that has adopted it
	second.fill()
	second.mu.Unlock()
	wait(t, second, id, Succeeded)
	if m := newTracker(&drive{}); m.byID[id].State != Succeeded || m.byID[id].Verdict != "it helps" {
		t.Errorf("the fifth tracker finds %+v", m.byID[id])
	}
}
