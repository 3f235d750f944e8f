package run

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/journal"
	"github.com/vista-mr/vista-mr/mr/tracker"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/progress"
)

// Times of earlier runs are taken from their log: a run that was killed ends with its last event, and what it had
// begun goes on counting in the next one.
func TestReplay(t *testing.T) {
	var log bytes.Buffer
	clock := time.Unix(1000, 0)
	w := journal.NewWriter(&log, func() time.Time { return clock })
	at := func(second int64, e journal.Event) {
		clock = time.Unix(1000+second, 0)
		w.Append(e)
	}
	at(0, journal.Event{Schema: 1, Kind: started})
	at(1, journal.Event{Kind: "attempt-started", Phase: "table"})
	at(3, journal.Event{Kind: "phase-published", Phase: "table"})
	at(4, journal.Event{Kind: "attempt-started", Phase: "extract"})
	at(6, journal.Event{Kind: "attempt-succeeded", Phase: "extract"}) // and then it was killed
	at(60, journal.Event{Schema: 1, Kind: started})
	at(61, journal.Event{Kind: "attempt-started", Phase: "extract"})
	at(66, journal.Event{Kind: "phase-published", Phase: "extract"})
	at(67, journal.Event{Kind: "attempt-started", Phase: "train"})
	at(69, journal.Event{Kind: "job-done", Error: "interrupted"})

	got := &watch{}
	if err := got.replay(&log); err != nil {
		t.Fatal(err)
	}
	if got.before != 6+9 {
		t.Errorf("the earlier runs took %v s, want 15", got.before)
	}
	if a, b, c := got.seconds("table"), got.seconds("extract"), got.seconds("train"); a != 2 || b != 2+5 || c != 0 {
		t.Errorf("table %v s, extract %v s, train %v s; want 2, 7, and 0 of a phase that is not done", a, b, c)
	}
	if p := got.phases["train"]; p.spent != 2 || p.attempts != 1 || got.phases["extract"].attempts != 2 {
		t.Errorf("train: %+v, extract: %+v", p, got.phases["extract"])
	}
}

// A phase that was published just before its driver was killed is in the log of the next one, once.
func TestResumeLogsWhatWasNotSaid(t *testing.T) {
	var log bytes.Buffer
	w := &watch{events: &events{w: journal.NewWriter(&log, time.Now)}}
	w.note("attempt-started", "table", time.Now())
	w.note("phase-published", "table", time.Now())
	w.note("attempt-started", "extract", time.Now())
	w.resume([]mr.PhaseManifest{{Phase: "table"}, {Phase: "extract"}}, nil)
	var said []string
	if err := journal.Read(&log, func(e journal.Event) error { said = append(said, e.Kind+" "+e.Phase); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(said) != 1 || said[0] != "phase-published extract" {
		t.Errorf("the log says %q", said)
	}
	if p := w.phases["extract"]; !p.done || !p.since.IsZero() {
		t.Errorf("%+v", p)
	}
}

// A driver that takes the place of one that was killed is joined to what runs: the first that it hears may be of an attempt's
// end, or of a phase's.
func TestJoinedInTheMiddle(t *testing.T) {
	for _, u := range []tracker.Update{{Kind: tracker.AttemptSucceeded, Phase: "a", Manifest: &mr.Manifest{Bad: []mr.BadRecord{{Key: "k"}}}},
		{Kind: tracker.AttemptFailed, Phase: "a", Err: errors.New("no")}, {Kind: tracker.PhasePublished, Phase: "a"}, {Kind: tracker.PhaseProgress, Phase: "a"},
		{Kind: tracker.RoundDone, Phase: "a"}, {Kind: tracker.JobDone}} {
		var log bytes.Buffer
		w := &watch{job: &prepared{Spec: mr.JobSpec{Phases: []mr.PhaseSpec{{ID: "a", Kind: "k", Type: mr.MapPhase, Tasks: 2}}}}, sink: progress.Discard, events: &events{w: journal.NewWriter(&log, time.Now)}}
		w.resume(nil, nil)
		w.update(u)
		if logged := u.Kind != tracker.PhaseProgress && u.Kind != tracker.JobDone; logged != bytes.Contains(log.Bytes(), []byte(u.Kind)) {
			t.Errorf("%s: the log says %s", u.Kind, log.Bytes())
		}
	}
}

// A name of a file cannot add lines to the list of bad records.
func TestBadRecordsAreLines(t *testing.T) {
	e := &BadRecordsError{Err: errors.New("too many"), Causes: map[string]int64{"x": 1}, First: []mr.BadRecord{
		{Key: "a\nerror  E-FORGED  b\r\u2028\x1b[2J", Stage: "extract", Error: "open a\n\u202eb\xff: no"}}}
	want := "a\uFFFDerror  E-FORGED  b\uFFFD\uFFFD\uFFFD[2J: extract: open a\uFFFD\uFFFDb\uFFFD: no\ntoo many; so far: 1 x"
	if got := e.Error(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestAPublishedPhaseIsWhole: whoever takes the place of a process that was killed has not heard of all its tasks, and whoever looks
// afterwards has not seen the time pass.
func TestAPublishedPhaseIsWhole(t *testing.T) {
	var log bytes.Buffer
	clock := time.Unix(1000, 0)
	var last progress.Update
	w := &watch{events: &events{w: journal.NewWriter(&log, func() time.Time { return clock })}, sink: sinkFunc(func(u progress.Update) { last = u }),
		job: &prepared{Spec: mr.JobSpec{Phases: []mr.PhaseSpec{{ID: "train", Splits: make([]mr.Split, 40)}}}}}
	w.events.w.Append(journal.Event{Schema: 1, Kind: started})
	for i := range 28 {
		a := mr.AttemptID{Task: mr.TaskID{Phase: "train", Index: i}, Number: 1}
		w.update(tracker.Update{Kind: tracker.AttemptStarted, Phase: "train", Attempt: a, Tasks: 40})
		w.update(tracker.Update{Kind: tracker.AttemptSucceeded, Phase: "train", Attempt: a, Manifest: &mr.Manifest{Attempt: a}})
	}
	clock = clock.Add(7 * time.Second)
	w.update(tracker.Update{Kind: tracker.PhasePublished, Phase: "train"})
	if !last.End || last.Done != 40 || last.Total != 40 || last.Seconds <= 0 {
		t.Errorf("%+v", last)
	}
	dir := t.TempDir()
	for name, data := range map[string][]byte{MarkerFile: []byte(`{"name":"a"}`), EventsFile: log.Bytes(), SuccessFile: nil} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p, err := Look(t.Context(), dir)
	if err != nil || len(p.Phases) != 1 || p.Phases[0].Done != 40 || p.Seconds()["train"] != 7 {
		t.Fatalf("%+v, %v, %v", p, p.Seconds(), err)
	}
}
