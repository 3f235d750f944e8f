package task

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/cache"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
)

// TestCountersOfBudgetsAreNeverCutOff: however many names a task counts under, bad records and
// what budgets are about keep their own; the others are bounded, and so are the causes.
func TestCountersOfBudgetsAreNeverCutOff(t *testing.T) {
	k := mr.Kind{Name: "k", Map: func(json.RawMessage) (mr.Mapper, error) {
		return mr.MapperFunc(func(ctx context.Context, t mr.Task) error {
			for i := range 300 {
				t.Count(fmt.Sprint("c", i), 1)
			}
			for i := range 100 {
				if err := t.SetAside(ctx, mr.BadRecord{Cause: fmt.Sprint("cause ", i)}); err != nil {
					return err
				}
			}
			t.Count("rows", 1000)
			t.Count("one more", 5)
			t.Count("c0", 1)
			return nil
		}), nil
	}}
	r, err := mr.NewRegistry(k)
	if err != nil {
		t.Fatal(err)
	}
	e := &Env{Store: mem.New(), Mux: dfs.NewMux(nil), Registry: r, Shared: NewShared(), Cache: cache.New(0, t.TempDir()), Scratch: t.TempDir(), Slots: 1}
	m, err := e.Run(t.Context(), &mr.TaskSpec{Job: "j", Attempt: mr.AttemptID{Task: mr.TaskID{Phase: "p"}, Number: 1}, Type: mr.MapPhase, Kind: "k",
		Out: "j/o", Epoch: 3, Judged: []string{"bad", "rows"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int64{"bad": 100, "rows": 1000, "c0": 2, "c255": 1, "c256": 0, "one more": 0,
		"counters.overflow": 44 + 5, "bad.cause 63": 1, "bad.cause 64": 0, "bad.overflow": 36} {
		if got := m.Counters[name]; got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
	if n := len(m.Counters); n != 256+64+2+2 {
		t.Errorf("%d counters", n)
	}
	if m.Epoch != 3 {
		t.Errorf("epoch %d of the manifest, want the attempt's", m.Epoch)
	}
}
