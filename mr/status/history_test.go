package status

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/tracker"
)

func attempt(phase mr.PhaseID, i int) mr.AttemptID {
	return mr.AttemptID{Task: mr.TaskID{Phase: phase, Index: i}, Number: 1}
}

func TestHistory(t *testing.T) {
	h := &History{}
	h.Begin("r")
	tell := func(u tracker.Update) { h.Observe("r", u, noon) }
	tell(tracker.Update{Kind: tracker.TaskRestored, Phase: "p", Attempt: attempt("p", 0)})
	for i := 1; i < 10; i++ {
		tell(tracker.Update{Kind: tracker.AttemptStarted, Phase: "p", Attempt: attempt("p", i), Tasks: 10})
		tell(tracker.Update{Kind: tracker.AttemptSucceeded, Phase: "p", Attempt: attempt("p", i), Seconds: float64(i), Manifest: &mr.Manifest{Files: []mr.PartFile{{Rows: 4, Bytes: 60}, {Rows: 6, Bytes: 40}}}})
	}
	for i := range 150 {
		tell(tracker.Update{Kind: tracker.AttemptFailed, Phase: "q", Attempt: attempt("q", i), Worker: "w",
			Err: &errs.Error{Op: "read", Kind: errs.Corrupt, Fix: "copy it", Err: fmt.Errorf("%d %s", i, strings.Repeat("long ", 1000))}})
	}
	tell(tracker.Update{Kind: tracker.AttemptFailed, Phase: "q", Attempt: attempt("q", 150), Err: errs.E("run", errs.Lost, "", errors.New("gone"))})
	check := func(name string, h *History) {
		t.Helper()
		all := h.Phases(nil)
		if len(all) != 2 {
			t.Fatalf("%s: phases are %+v", name, all)
		}
		p, q := all[0], all[1]
		if p.Tasks != 10 || p.Committed != 10 || p.Restored != 1 || !p.Began.Equal(noon) || p.Seconds == nil || p.Seconds.Count != 9 || p.Seconds.Min != 1 || p.Seconds.Max != 9 || p.Seconds.Sum != 45 || math.Abs(p.Seconds.P95-9) > 0.3 || p.Records == nil || p.Records.Sum != 90 || p.Bytes.Max != 100 ||
			math.Abs(p.Seconds.Median-5) > 0.15 {
			t.Errorf("%s: p is %+v with %+v", name, p, p.Seconds)
		}
		if q.Failures != 150 || q.Losses != 1 {
			t.Errorf("%s: q is %+v", name, q)
		}
		failed, n := h.Failed()
		if n != 151 || len(failed) != KeptFailures || failed[0].ID != "E-LOST" || failed[1].Attempt != attempt("q", 149) || failed[1].Kind != "corrupt" || failed[1].Next != "copy it" ||
			len(failed[1].Error) > maxErrorText+20 {
			t.Errorf("%s: %d of %d, the last %+v", name, len(failed), n, failed[0])
		}
	}
	check("live", h)
	b, err := json.Marshal(h.Record())
	if err != nil {
		t.Fatal(err)
	}
	var r Record
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatal(err)
	}
	check("restored", Restore(r))

	// What the scheduler says of a live run goes before; phases that have not begun are there, too.
	now := h.Phases([]tracker.JobNow{{ID: "r", Phases: []tracker.PhaseNow{{ID: "p", State: "running", Tasks: 10, Running: 1, Committed: 9, Losses: 4}, {ID: "z", State: "waiting", Tasks: 3}}}})
	if len(now) != 2 || now[0].Losses != 4 || now[0].Waiting() != 0 || now[0].Seconds == nil || now[1].ID != "z" || now[1].Waiting() != 3 {
		t.Errorf("live: %+v", now)
	}

	// The same run anew restores what it has, and counts nothing twice.
	h.Begin("r")
	tell(tracker.Update{Kind: tracker.PhaseRestored, Phase: "p", Published: &mr.PhaseManifest{Tasks: make([]mr.Manifest, 10)}})
	if p := h.Phases(nil)[0]; p.Committed != 10 || p.Restored != 10 || p.State != "published" {
		t.Errorf("anew: %+v", p)
	}
	tell(tracker.Update{Kind: tracker.JobDone, Err: errors.New("x")})
	if all := h.Phases(nil); all[0].State != "published" || all[1].State != "ended" {
		t.Errorf("at the end: %+v", all)
	}
}

// TestSpread: the median of many is right to 3 %, and they cost no room.
func TestSpread(t *testing.T) {
	var s spread
	for i := range 100_000 {
		s.add(0.001 * math.Pow(1.0001, float64(i)))
	}
	s.add(math.NaN())
	s.add(-1)
	got := s.spread()
	if want := 0.001 * math.Pow(1.0001, 50_000); math.Abs(got.Median/want-1) > 0.03 || got.Min != 0 || got.Count != 100_001 {
		t.Errorf("%+v, want a median of %g", got, want)
	}
	if len(s.buckets) > 250 {
		t.Errorf("%d buckets", len(s.buckets))
	}
}

func BenchmarkObserve(b *testing.B) {
	h := &History{}
	u := tracker.Update{Kind: tracker.AttemptSucceeded, Phase: "p", Seconds: 1.5}
	now := time.Now()
	for b.Loop() {
		h.Observe("r", u, now)
	}
}
