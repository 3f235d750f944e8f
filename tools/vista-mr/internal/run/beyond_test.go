package run

import (
	"strings"
	"testing"

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
