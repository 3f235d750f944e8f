package vistaopt

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// TestMeasuredShares: what Snappy was found to leave counts in estimates in place of what a graph lets expect, of the choice as of all
// others, and changes no choice.
func TestMeasuredShares(t *testing.T) {
	n := roster(t, "alexnet")
	s, tr := shape(n, 600, 130)
	m := Machine{Cores: 2, Memory: 4 << 30}
	choice := func(n Network, storage plan.Storage) *Choice {
		t.Helper()
		c, err := Choose(plan.Plan{Storage: storage}, []Network{n}, s, tr, m)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	sparse := n
	sparse.Layers = slices.Clone(n.Layers)
	for i := range sparse.Layers {
		sparse.Layers[i].Left, sparse.Layers[i].RawLeft = 0.25, 0.5
	}
	extract := func(e Estimate) int64 {
		i := slices.IndexFunc(e.Phases, func(p PhaseEstimate) bool { return p.Name == "extract" })
		return e.Phases[i].Written
	}
	was := choice(n, plan.Snappy)
	same := choice(n, plan.Snappy)
	if same.Measured([]Network{n}, s, tr, m); !reflect.DeepEqual(same, was) {
		t.Error("a choice of which nothing was measured has changed")
	}
	if c := choice(sparse, plan.Snappy); !reflect.DeepEqual(c, was) {
		t.Error("another choice is made by what was measured")
	}
	same.Measured([]Network{sparse}, s, tr, m)
	if got, want := extract(same.Estimate)-s.Rows*s.RowBytes, s.Rows*n.PooledBytes/4; got < want*99/100 || got > want*101/100 {
		t.Errorf("%d bytes are written, want %d", got, want)
	}
	if same.Plan != was.Plan || same.Regions != was.Regions || len(same.Rejected) != len(was.Rejected) || n.Layers[0].Left != 0 || sparse.Layers[0].Dense == 0.25 {
		t.Errorf("by %s, not %s", same.Plan, was.Plan)
	}
	seconds := 0.0
	for _, r := range same.Rejected {
		if !r.Fits {
			break
		}
		if r.Estimate.Seconds < seconds {
			t.Errorf("%s of %.1f s stands behind one of %.1f s", r.Plan, r.Estimate.Seconds, seconds)
		}
		seconds = r.Estimate.Seconds
		if r.Plan.Inference == plan.Fused && r.Plan.Placement == plan.AfterJoin && r.Plan.Join == plan.Broadcast {
			t.Errorf("%s was asked for", r.Plan)
		}
		if r.Estimate.Seconds > same.Estimate.Seconds*1.02 && !strings.Contains(r.Why, "times as long") {
			t.Errorf("%s: %s", r.Plan, r.Why)
		}
	}
	if raw := choice(sparse, plan.Raw); extract(raw.Estimate) != extract(choice(n, plan.Raw).Estimate) {
		t.Error("raw files are smaller")
	}
}
