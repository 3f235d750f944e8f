package run

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/attemptlog"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/journal"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
)

// TestLogsOutliveTheRun: what attempts have logged is in one file of the output, of this run and of no earlier one; without logs there
// is none.
func TestLogsOutliveTheRun(t *testing.T) {
	out := mem.New()
	p := &place{out: out, store: dfs.Sub(out, workFolder)}
	w := &Work{Ran: "job-1", Spec: mr.JobSpec{Phases: []mr.PhaseSpec{{ID: "table"}, {ID: "pool/3"}}}}
	join := func() (string, error) {
		t.Helper()
		if err := p.joinLogs(t.Context(), nil, w, zap.NewNop()); err != nil {
			t.Fatal(err)
		}
		b, err := dfs.ReadFile(t.Context(), out, AttemptsFile, 1<<20)
		return string(b), err
	}
	if _, err := join(); !errs.Is(err, errs.NotExist) {
		t.Errorf("without logs: %v", err)
	}
	log := attemptlog.Path("job-1", mr.AttemptID{Task: mr.TaskID{Phase: "pool/3", Index: 7}, Number: 2}, 4)
	if err := dfs.WriteFile(t.Context(), p.store, log, []byte("it spoke\n")); err != nil {
		t.Fatal(err)
	}
	if got, err := join(); err != nil || got != "==> pool/3/00007/2 epoch 4 <==\nit spoke\n\n" {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := join(); err != nil || strings.Count(got, "it spoke") != 1 {
		t.Errorf("once more: %q, %v", got, err)
	}
	if err := p.store.Remove(t.Context(), log); err != nil {
		t.Fatal(err)
	}
	if _, err := join(); !errs.Is(err, errs.NotExist) {
		t.Errorf("an earlier run's is still there: %v", err)
	}
}

// TestTaskLogs: of an output, the logs of the task that is named are shown and no others.
func TestTaskLogs(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{MarkerFile: `{"name":"a"}`,
		AttemptsFile: "==> extract/00007/2 epoch 4 <==\nit spoke\n\n==> extract/00008/1 epoch 4 <==\nanother\n\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	logs, err := TaskLogs(t.Context(), dir, "extract/00007")
	if err != nil || len(logs) != 1 {
		t.Fatalf("%+v, %v", logs, err)
	}
	var b strings.Builder
	if err := logs[0].Write(&b); err != nil || b.String() != "==> extract/00007/2 (ended) <==\nit spoke\n" {
		t.Errorf("%q, %v", b.String(), err)
	}
	if _, err := TaskLogs(t.Context(), dir, "extract/00009"); !errs.Is(err, errs.NotExist) {
		t.Errorf("a task without logs: %v", err)
	}
	var events bytes.Buffer
	journal.NewWriter(&events, time.Now).Append(journal.Event{Schema: journal.SchemaVersion, Kind: "phase-started", Phase: "extract", Tasks: 10})
	if err := os.WriteFile(filepath.Join(dir, EventsFile), events.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	for target, want := range map[string]string{"extract/00007/9": "there are logs of 2", "extract/10": "its tasks are 0 to 9", "nophase/0": "there are extract", "extract/9": "no log of it"} {
		if _, err := TaskLogs(t.Context(), dir, target); !errs.Is(err, errs.NotExist) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want one that says %q", target, err, want)
		}
	}
	if _, err := TaskLogs(t.Context(), dir, "nonsense"); exit.Code(err) != 2 {
		t.Errorf("no task: %v", err)
	}
}
