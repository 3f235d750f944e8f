package run

import (
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/attemptlog"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// TestLogsOutliveTheRun: what attempts have logged is in one file of the output, of this run and of no earlier one; without logs there
// is none.
func TestLogsOutliveTheRun(t *testing.T) {
	out := mem.New()
	p := &place{out: out, store: dfs.Sub(out, workFolder)}
	w := &Work{Ran: "job-1", Spec: mr.JobSpec{Phases: []mr.PhaseSpec{{ID: "table"}, {ID: "pool/3"}}}}
	join := func() (string, error) {
		t.Helper()
		if err := p.joinLogs(t.Context(), w, zap.NewNop()); err != nil {
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
