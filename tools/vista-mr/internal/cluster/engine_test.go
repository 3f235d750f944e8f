package cluster

import (
	"io"
	"net/http"
	"net/http/httptest"
	"runtime/debug"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/tracker"
	"github.com/vista-mr/vista-mr/mr/wire"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/run"
	"github.com/vista-mr/vista-mr/vistaopt"
)

// TestLeast: a plan is made for the least of the workers that take tasks, and who has the least memory is known. It counts on mapped weights
// only if all of them say that they have a cache.
func TestLeast(t *testing.T) {
	big, small := tracker.WorkerNow{ID: "big", Slots: 4, Memory: 8 << 30}, tracker.WorkerNow{ID: "small", Slots: 2, Memory: 10 << 20}
	unlimited, drains := tracker.WorkerNow{ID: "unlimited", Slots: 1}, tracker.WorkerNow{ID: "drains", Memory: 1}
	for name, c := range map[string]struct {
		workers []tracker.WorkerNow
		want    vistaopt.Machine
	}{
		"none":               {[]tracker.WorkerNow{drains}, vistaopt.Machine{}},
		"one":                {[]tracker.WorkerNow{small}, vistaopt.Machine{Unmapped: true, Workers: 1, Cores: 2, Memory: 10 << 20, Whole: 10 << 20, Least: "small"}},
		"one of several":     {[]tracker.WorkerNow{big, drains, small, big}, vistaopt.Machine{Unmapped: true, Workers: 3, Cores: 2, Memory: 10 << 20, Whole: 10 << 20, Least: "small"}},
		"the only limit":     {[]tracker.WorkerNow{unlimited, big}, vistaopt.Machine{Unmapped: true, Workers: 2, Cores: 1, Memory: 8 << 30, Whole: 8 << 30, Least: "big"}},
		"all have the same":  {[]tracker.WorkerNow{big, big}, vistaopt.Machine{Unmapped: true, Workers: 2, Cores: 4, Memory: 8 << 30, Whole: 8 << 30, Least: vistaopt.EachWorker}},
		"some can have more": {[]tracker.WorkerNow{{Slots: 1, Memory: 2, Whole: 3}, {ID: "b", Slots: 1, Memory: 1, Whole: 9}}, vistaopt.Machine{Unmapped: true, Workers: 2, Cores: 1, Memory: 1, Whole: 1, Most: 9, Least: "b"}},
		"the least of all":   {[]tracker.WorkerNow{{Slots: 1, Memory: 2, Whole: 8}, {Slots: 1, Memory: 2, Whole: 3}, {Slots: 1, Memory: 2, Whole: 4}}, vistaopt.Machine{Unmapped: true, Workers: 3, Cores: 1, Memory: 2, Whole: 2, Most: 3, Least: vistaopt.EachWorker}},
		"one does not say":   {[]tracker.WorkerNow{{Slots: 1, Memory: 2, Whole: 8}, {Slots: 1, Memory: 2}}, vistaopt.Machine{Unmapped: true, Workers: 2, Cores: 1, Memory: 2, Whole: 2, Least: vistaopt.EachWorker}},
		"nobody has a limit": {[]tracker.WorkerNow{unlimited}, vistaopt.Machine{Unmapped: true, Workers: 1, Cores: 1}},
		"all keep":           {[]tracker.WorkerNow{{Slots: 1, Keeps: true}, {Slots: 1, Keeps: true}, drains}, vistaopt.Machine{Workers: 2, Cores: 1}},
		"one keeps":          {[]tracker.WorkerNow{{Slots: 1, Keeps: true}, {Slots: 1}}, vistaopt.Machine{Unmapped: true, Workers: 2, Cores: 1}},
	} {
		if got := least(c.workers); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// TestMachineHasTheTracker: a plan is made for the tracker's memory and for as many jobs as it runs, too, because training is driven
// there.
func TestMachineHasTheTracker(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := `{"memory":2147483648,"jobs":3,"whole":4294967296}`
		if r.URL.Path == "/api/v1/workers" {
			answer = `{"workers":[{"id":"w","slots":2,"memory":1048576}]}`
		}
		_, _ = w.Write([]byte(answer)) // who does not get it fails the test
	}))
	defer server.Close()
	m, err := (&Engine{Client: Client{URL: server.URL}}).Machine(t.Context())
	if want := (vistaopt.Tracker{Memory: 2 << 30, Jobs: 3, Whole: 4 << 30}); err != nil || m.Tracker != want || m.Memory != 1<<20 {
		t.Errorf("%+v, %v", m, err)
	}
}

// TestTrackerTellsItsMemory: what a tracker was given bounds its heap, and whoever plans can ask for it.
func TestTrackerTellsItsMemory(t *testing.T) {
	url := serve(t, TrackerOptions{Memory: 1 << 30, Whole: 3 << 30, Drivers: 2})
	h := &http.Client{Transport: &http.Transport{}}
	defer h.CloseIdleConnections()
	i, err := (&Client{URL: url, HTTP: h}).Tracker(t.Context())
	if err != nil || i.Memory != 1<<30 || i.Whole != 3<<30 || i.Jobs != 2 {
		t.Errorf("%+v, %v", i, err)
	}
	if got, want := debug.SetMemoryLimit(-1), (vistaopt.Tracker{Memory: 1 << 30, Jobs: 2}).Heap(); got != want {
		t.Errorf("the heap may be %d, want %d", got, want)
	}
}

// TestPeakIsOfThisJob: what a worker has held before, for other jobs, is not the job's.
func TestPeakIsOfThisJob(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text := `{"workers":[{"id":"a","slots":2,"memory":1000,"peak":5000}]}`
		if r.URL.Path == wire.RunPath {
			text = `{"update":{"kind":"attempt-succeeded","peak":700}}
{"update":{"kind":"attempt-succeeded","peak":900}}
{"update":{"kind":"attempt-succeeded","peak":800}}
{"ended":true}`
		}
		_, _ = w.Write([]byte(text)) // who does not get it fails the test
	}))
	defer server.Close()
	e := &Engine{Client: Client{URL: server.URL}, Tell: ProgressLines{io.Discard}, Log: zap.NewNop()}
	w := &run.Work{Spec: mr.JobSpec{ID: "a"}, Resumed: func([]mr.PhaseManifest, []mr.Manifest) {}, Observe: func(tracker.Update) {}}
	if _, err := e.Run(t.Context(), w); err != nil || w.Peak != 900 || w.Machine.Memory != 1000 {
		t.Errorf("a peak of %d in %d, %v", w.Peak, w.Machine.Memory, err)
	}
}

// TestWhyADriverEnds: a job that was killed is told from one whose tracker ends.
func TestWhyADriverEnds(t *testing.T) {
	for answer, want := range map[string]string{
		`{"job":{"id":"a-1","state":"running","ending":true}}`: "the job was killed",
		`{"job":{"id":"a-1","state":"running"}}`:               "the tracker was told to end",
		"":                                                     "the tracker was told to end",
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(answer)) // who does not get it fails the test
		}))
		err := (&Client{URL: server.URL}).WhyEnded(t.Context(), "a-1")
		server.Close()
		if !errs.Is(err, errs.Canceled) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", answer, err)
		}
	}
}
