package cluster

import (
	"context"
	"testing"

	"github.com/vista-mr/vista-mr/mr/dfs/mem"
)

// TestAKillThatComesTooLate does not take back that the job has succeeded; one of a job that waits is never too late.
func TestAKillThatComesTooLate(t *testing.T) {
	m := newJobs(t, mem.New(), &drive{ends: map[string]func(context.Context) (ending, error){
		"a": func(ctx context.Context) (ending, error) { <-ctx.Done(); return ending{verdict: "it helps"}, nil },
	}}, 1)
	a, b := submitted(t, m, "a"), submitted(t, m, "b")
	wait(t, m, a, Running)
	for _, id := range []string{b, a} {
		if err := m.end(id, "on request"); err != nil {
			t.Fatal(err)
		}
	}
	if j := wait(t, m, a, Succeeded); j.Verdict != "it helps" || j.ExitCode != 0 || j.Ending {
		t.Errorf("%+v", j)
	}
	if j := wait(t, m, b, Killed); j.ExitCode != 7 {
		t.Errorf("%+v", j)
	}
}
