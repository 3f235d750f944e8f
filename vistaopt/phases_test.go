package vistaopt

import (
	"testing"

	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// TestModelsOfOnePhase: a plan that trains one layer after the other needs room for the models of one of them at a time, and for the text of
// those before, which the manifests hold.
func TestModelsOfOnePhase(t *testing.T) {
	n := top(roster(t, "resnet50"), 5)
	s, tr := shape(n, 2000, 130)
	tr.Settings, tr.Folds, tr.Classes = 10, 3, 20
	plans := layered(plan.Broadcast, plan.AfterJoin, 1, 1, s)
	j := newJob([]Network{n}, s, tr)
	for i := range j.t.Columns[1:] { // what each phase takes is within the most of all
		from := i + 1
		if i == 0 {
			from = 0
		}
		w := tr.weights(tr.Columns[from : i+2])
		w.columns = int64(tr.Columns[i+1])
		if a := j.apart; w.largest > a.largest || w.all > a.all || w.kept > a.kept || w.columns > a.columns {
			t.Errorf("layer %d has %+v, and a phase %+v at most", i, w, a)
		}
	}
	if a, w := j.apart, j.w; a.before+a.kept < w.kept || w.before != 0 {
		t.Errorf("%+v of one layer, %+v of all", a, w)
	}
	together := j.regions(plans[plan.Fused])
	for _, by := range []plan.Inference{plan.Lazy, plan.Staged, plan.Eager} {
		r := j.regions(plans[by])
		if r.largest() != inTraining || r.Train > together.Train*2/3 {
			t.Errorf("%s needs %d MiB for models (%s), fused %d", by, r.Train/mib, r.largest(), together.Train/mib)
		}
		// What is handed out is what training reckons with: one model at a time has room, with the classes that there are.
		room := j.spread(plans[by], r, r.Need())
		k, w := tr.scores(), j.trained(plans[by])
		if one := k * (w.largest*room.PerTraining + w.all*room.PerTrained + w.kept*room.PerKept); one > room.Models {
			t.Errorf("%s: a model takes %d, there are %d", by, one, room.Models)
		}
		for _, c := range room.Classes {
			if got := c.Fixed + c.PerClass*k; got > r.Need() {
				t.Errorf("%s: %s takes %d with %d classes, the plan needs %d", by, c.For, got, k, r.Need())
			}
		}
		m := Machine{Workers: 4, Tracker: Tracker{Memory: 1 << 30, Jobs: 1}}
		if a, b := j.inTracker(plans[by], m), j.inTracker(plans[plan.Fused], m); a.Fixed >= b.Fixed || a.PerClass >= b.PerClass {
			t.Errorf("%s takes %+v in the tracker, fused %+v", by, a, b)
		}
	}
	// Networks that run apart are no other case: a fused plan trains all of their layers at once, the others none together.
	ns := []Network{n, top(roster(t, "alexnet"), 2)}
	s, tr = shape(joined(ns), 2000, 130)
	j = newJob(ns, s, tr)
	p := plans[plan.Fused]
	if p.Networks = plan.Apart; j.trained(p) != j.w {
		t.Errorf("apart and fused: %+v", j.trained(p))
	}
	if p.Inference = plan.Lazy; j.trained(p) != j.apart || j.apart.all*3 > j.w.all {
		t.Errorf("apart and lazy: %+v of %+v", j.trained(p), j.w)
	}
}

// TestPeakOfOnePhase: what a plan that trains one layer after the other is expected to hold is the largest layer's.
func TestPeakOfOnePhase(t *testing.T) {
	all := top(roster(t, "resnet50"), 5)
	s, tr := shape(all, 2000, 130)
	tr.Classes = 100
	largest := tr
	for _, l := range all.Layers {
		if l.Pooled == all.largestPooled() {
			largest.Columns = []int{tr.Columns[0], tr.Columns[0] + int(l.Pooled/4)}
		}
	}
	for _, by := range []plan.Inference{plan.Staged, plan.Lazy, plan.Eager} {
		p := layered(plan.Broadcast, plan.AfterJoin, 2, 6, s)[by]
		got, alone := peak(p, []Network{all}, s, tr, 16<<30), peak(p, []Network{all}, s, largest, 16<<30)
		if got < alone-2*mib || got > alone+alone/10 { // the text of models before; structured columns alone are the first phase's
			t.Errorf("%s is expected to hold %d MiB, with the models of its largest layer alone %d", by, got/mib, alone/mib)
		}
	}
}
