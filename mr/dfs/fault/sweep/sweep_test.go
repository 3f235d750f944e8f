package sweep

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/fault"
	"github.com/vista-mr/vista-mr/mr/dfs/local"
	"github.com/vista-mr/vista-mr/mr/errs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// publish writes two parts and then claims a marker: a commit in small.
func publish(t *testing.T, fs dfs.FS) error {
	for _, p := range []dfs.Path{"job/part-0", "job/part-1"} {
		if err := dfs.WriteFile(t.Context(), fs, p, []byte("0123456789")); err != nil && !errs.Is(err, errs.Exist) {
			return errs.E("publish", errs.Unknown, "job", err)
		}
	}
	if err := fs.Claim(t.Context(), "job/done"); err != nil && !errs.Is(err, errs.Exist) {
		return errs.E("publish", errs.Unknown, "job", err)
	}
	return nil
}

func published(t *testing.T, fs dfs.FS) bool {
	t.Helper()
	if _, err := fs.Stat(t.Context(), "job/done"); errs.Is(err, errs.NotExist) {
		return false
	}
	for _, p := range []dfs.Path{"job/part-0", "job/part-1"} {
		if b, err := dfs.ReadFile(t.Context(), fs, p, 100); err != nil || string(b) != "0123456789" {
			t.Errorf("the marker is there, but %s is %q, %v", p, b, err)
		}
	}
	return true
}

// checkPublished is what a Check looks like: done, or an error and either nothing or, after a
// lost reply, all of it; and running the work again on what is left succeeds.
func checkPublished(t *testing.T, r Result) {
	done := published(t, r.Store)
	if r.Err == nil && !done {
		t.Error("no error, but nothing is published")
	}
	if r.Err != nil && done && r.Rule.Do != fault.Lose {
		t.Errorf("published in spite of %v", r.Err)
	}
	if err := publish(t, r.Store); err != nil || !published(t, r.Store) {
		t.Errorf("again: %v", err)
	}
}

func TestSweepReachesEveryOperation(t *testing.T) {
	type key struct {
		mode fault.Action
		call fault.Call
	}
	hit := map[key]int{}
	Run(t, Scenario{Run: publish, Check: func(t *testing.T, r Result) {
		checkPublished(t, r)
		if !r.Clean() {
			hit[key{r.Rule.Do, r.Hit}]++
		}
	}})
	want := map[key]int{}
	for _, p := range []dfs.Path{"job/part-0", "job/part-1"} {
		for _, op := range []fault.Op{fault.Create, fault.Write, fault.Commit} {
			for _, mode := range []fault.Action{fault.Fail, fault.Down, fault.Full} {
				want[key{mode, fault.Call{Op: op, Path: p}}] = 1
			}
		}
		want[key{fault.Lose, fault.Call{Op: fault.Commit, Path: p}}] = 1
	}
	for _, mode := range modes {
		want[key{mode, fault.Call{Op: fault.Claim, Path: "job/done"}}] = 1
	}
	if d := cmp.Diff(want, hit); d != "" {
		t.Error(d)
	}
}

func TestSweepOverLocal(t *testing.T) {
	Run(t, Scenario{
		Store: func(t *testing.T) dfs.FS { return local.New(t.TempDir(), false) },
		Run:   publish, Check: checkPublished, Kind: errs.Unreachable, Path: "*/part-*",
		Modes: []fault.Action{fault.Fail, fault.Torn},
	})
}

// TestSweepFindsCarelessWork runs work that claims the marker although a part is missing.
func TestSweepFindsCarelessWork(t *testing.T) {
	found := 0
	Run(t, Scenario{
		Run: func(t *testing.T, fs dfs.FS) error {
			writeErr := dfs.WriteFile(t.Context(), fs, "job/part-0", []byte("0123456789"))
			return errors.Join(writeErr, fs.Claim(t.Context(), "job/done"))
		},
		Check: func(t *testing.T, r Result) {
			_, markerErr := r.Store.Stat(t.Context(), "job/done")
			_, partErr := r.Store.Stat(t.Context(), "job/part-0")
			if markerErr == nil && partErr != nil {
				found++
			}
		},
		Modes: []fault.Action{fault.Fail},
	})
	if found != 3 {
		t.Errorf("%d runs show the defect, want 3: create, write and commit fail", found)
	}
}

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		n, limit int
		want     []int
	}{
		{0, 0, nil}, {3, 0, []int{1, 2, 3}}, {3, 5, []int{1, 2, 3}}, {10, 1, []int{10}}, {10, 2, []int{1, 10}}, {10, 4, []int{1, 4, 7, 10}},
	} {
		if got := spread(c.n, c.limit); !slices.Equal(got, c.want) {
			t.Errorf("spread(%d, %d) = %v, want %v", c.n, c.limit, got, c.want)
		}
	}
	for n := range 50 {
		for limit := range 60 {
			got := spread(n, limit)
			if s := slices.Compact(slices.Clone(got)); len(s) != len(got) || !slices.IsSorted(got) {
				t.Fatal(fmt.Sprint(n, limit, got))
			}
		}
	}
}
