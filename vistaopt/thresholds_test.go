package vistaopt

import (
	"testing"

	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// TestThresholdsAreTrue: at a threshold the choice is the one that it names, and just before it the one there is.
func TestThresholdsAreTrue(t *testing.T) {
	n := roster(t, "vgg16")
	s, tr := shape(n, 20_000, 200)
	m := Machine{Cores: 8, Memory: 1500 * mib}
	now, err := Choose(plan.Plan{}, []Network{n}, s, tr, m)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, th := range Thresholds(plan.Plan{}, []Network{n}, s, tr, m) {
		seen[th.Of]++
		at := func(v int64) (plan.Plan, bool) {
			m, s, want := m, s, plan.Plan{Partitions: now.Plan.Partitions}
			if th.Of == OfMemory {
				m.Memory = v
			} else {
				s.Rows, s.Images = v, v
			}
			c, err := Choose(want, []Network{n}, s, tr, m)
			if err != nil {
				return plan.Plan{}, true
			}
			return c.Plan, false
		}
		if p, refused := at(th.At); p != th.Plan || refused != th.Refused || p == now.Plan {
			t.Errorf("at %d of %s: %s, refused %v; the threshold says %s, %v", th.At, th.Of, p, refused, th.Plan, th.Refused)
		}
		before := th.At + (th.From-th.At)/50
		if p, refused := at(before); p != now.Plan || refused {
			t.Errorf("at %d of %s, before the threshold at %d: %s, refused %v", before, th.Of, th.At, p, refused)
		}
		if th.Of == OfMemory && th.At > th.From && th.Gain < 1 {
			t.Errorf("more memory gains %.2f", th.Gain)
		}
	}
	if seen[OfMemory] != 2 || seen[OfRows] != 1 { // fewer rows change nothing
		t.Errorf("thresholds found: %v", seen)
	}
}
