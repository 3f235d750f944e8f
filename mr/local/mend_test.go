package local_test

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"testing"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/commit"
	"github.com/vista-mr/vista-mr/mr/dfs/fault"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/mrtest"
)

// TestDamagedFileIsWrittenAgain: every read of the first attempt's file has a wrong bit. The
// task that wrote it runs again, and the job ends well although no failure is allowed.
func TestDamagedFileIsWrittenAgain(t *testing.T) {
	write := mr.Kind{Name: "write", Map: func(json.RawMessage) (mr.Mapper, error) {
		return mr.MapperFunc(func(ctx context.Context, t mr.Task) error {
			out, err := t.Part(ctx, "x", mr.PartOptions{})
			if err != nil {
				return err
			}
			t.Count("written", 1)
			if err := t.Emit(ctx, []byte("k"), []byte("v")); t.Spec().Partitions > 0 && err != nil {
				return err
			}
			return out.Append([]byte(fmt.Sprint(t.Spec().Attempt.Task.Index)), make([]byte, 1000))
		}), nil
	}}
	read := mr.Kind{Name: "read",
		Map: func(json.RawMessage) (mr.Mapper, error) {
			return mr.EachRecord("in", func(_ context.Context, t mr.Task, r mr.Record) error { t.Count("read", 1); return nil }), nil
		},
		Reduce: func(json.RawMessage) (mr.Reducer, error) {
			return reduceFunc(func(_ context.Context, t mr.Task, _ []byte, values iter.Seq2[mr.Value, error]) error {
				for _, err := range values {
					if err != nil {
						return err
					}
					t.Count("read", 1)
				}
				return nil
			}), nil
		}}
	for _, mode := range []mr.Mode{mr.Same, mr.All, mr.Shuffled} {
		t.Run(string(mode), func(t *testing.T) {
			b := mr.PhaseSpec{ID: "b", Type: mr.MapPhase, Kind: "read", Tasks: 2, Inputs: []mr.Input{{Name: "in", Phase: "a", Channel: "x", Mode: mode}}}
			want, flip := int64(2), "d/a/00001-1-e1/x-*"
			switch mode {
			case mr.All:
				want = 4
			case mr.Shuffled:
				b.Type, b.Inputs[0].Channel, flip = mr.ReducePhase, "", "d/a/00001-1-e1/shuffle*"
			}
			c := mrtest.New(t, write, read)
			fs := fault.New(mem.New(), fault.Options{Rules: []fault.Rule{{Do: fault.Flip, Op: fault.Read, Path: flip}}})
			c.Store = fs
			a := mr.PhaseSpec{ID: "a", Type: mr.MapPhase, Kind: "write", Tasks: 2}
			if mode == mr.Shuffled {
				a.Partitions = 2
			}
			out, err := c.Run(t.Context(), &mr.JobSpec{ID: "d", MaxAttempts: 1, Phases: []mr.PhaseSpec{a, b}})
			if err != nil {
				t.Fatal(err)
			}
			if len(fs.Hits()) == 0 {
				t.Fatal("nothing was damaged")
			}
			if n := out["b"].Sum("read"); n != want {
				t.Errorf("%d records read, want %d", n, want)
			}
			var attempts []int
			for _, m := range out["a"].Tasks {
				attempts = append(attempts, m.Attempt.Number)
			}
			if !slices.Equal(attempts, []int{1, 2}) || out["a"].Sum("written") != 2 {
				t.Errorf("attempts %v of the first phase, %d written; want the second task's second", attempts, out["a"].Sum("written"))
			}
			// Whoever reads the output later does not meet the damage.
			m, err := (&commit.Publisher{FS: fs, Root: "d"}).Load(t.Context(), "a")
			if err != nil || m.Revision != 1 || m.Tasks[1].Attempt.Number != 2 {
				t.Fatalf("published: %+v, %v; want the first revision, of the second attempt", m, err)
			}
			if lines, err := c.Records(t.Context(), m, "x"); err != nil || len(lines) != 2 {
				t.Errorf("read later: %d records, %v", len(lines), err)
			}
		})
	}
}
