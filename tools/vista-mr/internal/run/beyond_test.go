package run

import (
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/progress"
)

// TestBeyondMemoryIsTakenUpAgain: a job that runs although it does not fit goes on after an interruption like any other. Its
// images count once, though two networks run over each.
func TestBeyondMemoryIsTakenUpAgain(t *testing.T) {
	alone(t)
	w := newWorld(t, true)
	j := two(t, w)
	j.Plan.Networks = "together"
	j.Limits.Memory, j.Limits.Refuse = 100<<20, false
	ctx, sink := stopAt(t, func(u progress.Update) bool { return u.Stage == "extract" && u.End })
	if _, err := Submit(ctx, j, Options{Progress: sink}); !errs.Is(err, errs.Canceled) {
		t.Fatalf("stopped: %v", err)
	}
	s, err := Submit(t.Context(), j, Options{Resume: true})
	if err != nil {
		t.Fatal(err)
	}
	if warned := strings.Join(s.Warnings, " "); !strings.Contains(warned, "limits.refuse is false") {
		t.Errorf("warnings %q", warned)
	}
	if got, most := s.Plan.Actual.Images, s.Counters.Images; got < s.Counters.Matched || got > most {
		t.Errorf("%d images ran, of %d, with %d rows", got, most, s.Counters.Matched)
	}
}

// TestExplainBeyondMemory: of a plan that runs although it does not fit, explain lists no threshold from a memory that there is not,
// and says with what a plan fits.
func TestExplainBeyondMemory(t *testing.T) {
	alone(t)
	w := newWorld(t, true)
	w.ownNetwork(t)
	w.job.Limits.Memory, w.job.Limits.Refuse = 100<<20, false
	w.job.Plan.Partitions = 2
	x, err := Explain(t.Context(), w.job, Options{})
	if err != nil {
		t.Fatal(err)
	}
	need := x.Regions.Need()
	if need <= x.Machine.Memory || x.Machine.Memory != 100<<20 {
		t.Fatalf("needs %d of %d bytes", need, x.Machine.Memory)
	}
	if text := string(x.Text()); len(x.Thresholds) > 0 || !strings.Contains(text, " more) a plan fits; until then") {
		t.Errorf("%+v\n%s", x.Thresholds, text)
	}
	if len(x.Rejected) == 0 {
		t.Error("no other plan is listed")
	}
	for _, r := range x.Rejected {
		if r.Fits || r.Need < need || !strings.Contains(r.Why, "needs ") || !strings.Contains(r.Why, "there are 100 MiB") {
			t.Errorf("%s: %+v", r.Plan, r)
		}
	}
	// What it says is so: a MiB less does not fit, and that much does.
	w.job.Limits.Refuse = true
	mibs := (need + 1<<20 - 1) >> 20
	for memory, fits := range map[int64]bool{mibs << 20: true, (mibs - 1) << 20: false} {
		w.job.Limits.Memory = conf.Bytes(memory)
		if _, err := Explain(t.Context(), w.job, Options{}); (err == nil) != fits {
			t.Errorf("in %d MiB: %v", memory>>20, err)
		}
	}
}
