package run

import (
	"bytes"
	"testing"
	"time"

	"github.com/vista-mr/vista-mr/jobs/extract"
	"github.com/vista-mr/vista-mr/jobs/train"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/journal"
	"github.com/vista-mr/vista-mr/mr/tracker"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/progress"
	"github.com/vista-mr/vista-mr/vistaopt"
)

// slow is a watch over a job of two phases of the CNN and a training, of which each was expected to take 10 s for 100 images.
func slow(log *bytes.Buffer) *watch {
	splits := []mr.Split{{Records: 50}, {Records: 50}}
	w := &watch{sink: progress.Discard, events: &events{w: journal.NewWriter(log, time.Now)}, job: &prepared{}}
	w.job.Spec.Phases = []mr.PhaseSpec{{ID: "one", Kind: extract.Name, Splits: splits}, {ID: "two", Kind: extract.Name, Splits: splits}, {ID: "train", Kind: train.Name, Tasks: 2}}
	for _, p := range w.job.Spec.Phases {
		w.job.Expect.Phases = append(w.job.Expect.Phases, vistaopt.PhaseEstimate{Name: string(p.ID), Seconds: 10})
	}
	return w
}

// An estimate that is off by two is corrected once, in events and results, and what is left is worked out with what was
// measured; the phases of the CNN that follow are expected to be as slow, and others are not.
func TestEstimatesAreCorrected(t *testing.T) {
	var log bytes.Buffer
	w := slow(&log)
	begun := time.Unix(1000, 0)
	w.note(string(tracker.AttemptStarted), "one", begun)
	look := func(after time.Duration, done int64) float64 {
		u := progress.Update{Done: done, Total: 100, Unit: "images"}
		w.pace(&w.job.Spec.Phases[0], &u, begun.Add(after))
		return u.Left
	}
	for _, c := range []struct {
		after time.Duration
		done  int64
		left  float64
		count int
	}{
		{time.Second, 1, 9.9 + 10 + 10, 0},      // too early to tell
		{6 * time.Second, 40, 9 + 10 + 10, 0},   // 15 s instead of 10 are no matter, but the phase's own rest is known
		{16 * time.Second, 40, 24 + 40 + 10, 1}, // 40 s
		{20 * time.Second, 50, 20 + 40 + 10, 1}, // the same rate
		{64 * time.Second, 80, 16 + 80 + 10, 2}, // 80 s: twice as long again
	} {
		if left := look(c.after, c.done); left < c.left-0.01 || left > c.left+0.01 {
			t.Errorf("after %v with %d done, %v s are left, want %v", c.after, c.done, left, c.left)
		}
		if len(w.corrections) != c.count {
			t.Fatalf("after %v: %+v, want %d", c.after, w.corrections, c.count)
		}
	}
	if c := w.corrections[0]; c.Phase != "one" || c.Expected != 10 || c.Measured != 2.5 {
		t.Errorf("corrected: %+v", c)
	}
	var said []journal.Event
	if err := journal.Read(&log, func(e journal.Event) error { said = append(said, e); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(said) != 2 || said[0].Kind != corrected || said[0].Measured != 2.5 || said[0].Note == "" {
		t.Errorf("the log says %+v", said)
	}
}

// Training that takes far longer than expected says so, each time that it has taken twice as long as was thought.
func TestTrainingThatTakesLonger(t *testing.T) {
	var log bytes.Buffer
	w := slow(&log)
	spec := &w.job.Spec.Phases[2]
	spec.Type = mr.RoundsPhase
	begun := time.Unix(1000, 0)
	w.note(string(tracker.AttemptStarted), spec.ID, begun)
	for _, c := range []struct {
		after time.Duration
		left  float64
		count int
	}{
		{4 * time.Second, 6, 0},
		{19 * time.Second, 0, 0},
		{20 * time.Second, 20, 1},
		{30 * time.Second, 10, 1},
		{79 * time.Second, 0, 1},
		{80 * time.Second, 80, 2},
	} {
		w.phase(spec.ID).rounds = int(c.after / time.Second)
		u := progress.Update{Total: 2, Unit: "tasks"}
		w.pace(spec, &u, begun.Add(c.after))
		if u.Left < c.left-0.01 || u.Left > c.left+0.01 || len(w.corrections) != c.count {
			t.Errorf("after %v, %v s are left, want %v; corrected %d times, want %d", c.after, u.Left, c.left, len(w.corrections), c.count)
		}
	}
	if why := w.corrections[0].Why; why != "10 s were expected, and 20 rounds have taken 20 s" {
		t.Errorf("corrected because %s", why)
	}
}

// What an attempt has done is not told between its end and its commit: progress that goes back is no slower rate, and corrects
// nothing.
func TestProgressThatGoesBack(t *testing.T) {
	var log bytes.Buffer
	w := slow(&log)
	begun := time.Unix(1000, 0)
	w.note(string(tracker.AttemptStarted), "one", begun)
	for _, c := range []struct {
		after      time.Duration
		done, want int64
	}{{5 * time.Second, 50, 50}, {6 * time.Second, 12, 50}, {7 * time.Second, 60, 60}, {8 * time.Second, 20, 60}, {9 * time.Second, 90, 90}} {
		u := progress.Update{Done: c.done, Total: 100, Unit: "images"}
		if w.pace(&w.job.Spec.Phases[0], &u, begun.Add(c.after)); u.Done != c.want {
			t.Errorf("after %v with %d running: %d are done, want %d", c.after, c.done, u.Done, c.want)
		}
	}
	if len(w.corrections) != 0 {
		t.Errorf("corrected: %+v", w.corrections)
	}
}

// Less memory is said, too: a batch that an attempt has halved, and an attempt that was given up.
func TestHalvedBatchesAreSaid(t *testing.T) {
	var log bytes.Buffer
	w := slow(&log)
	id := mr.AttemptID{Task: mr.TaskID{Phase: "one", Index: 1}, Number: 1}
	w.update(tracker.Update{Kind: tracker.AttemptStarted, Phase: "one", Attempt: id})
	w.update(tracker.Update{Kind: tracker.AttemptFailed, Phase: "one", Attempt: id, Err: errs.E("memory", errs.NoMemory, "", errs.E("x", errs.Internal, "", nil))})
	w.update(tracker.Update{Kind: tracker.AttemptSucceeded, Phase: "one", Attempt: id, Manifest: &mr.Manifest{Attempt: id, Counters: map[string]int64{"batch.halved": 1}}})
	w.update(tracker.Update{Kind: tracker.AttemptFailed, Phase: "one", Attempt: id, Err: errs.E("read", errs.Corrupt, "", errs.E("x", errs.Internal, "", nil))})
	if len(w.corrections) != 2 {
		t.Errorf("%+v", w.corrections)
	}
}
