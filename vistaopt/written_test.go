package vistaopt

import (
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// A join writes what has a row and an image, and the rows once, a file for each layer and one for the rows. Raw bytes are plain ones, so they can be counted.
func TestJoinsWriteWhatMeets(t *testing.T) {
	n := roster(t, "resnet50")
	s, tr := shape(n, 200, 10)
	s.Images, s.Matched = 20_000, 200
	rows := 200 * s.RowBytes
	for name, c := range map[string]struct {
		plan   plan.Plan
		phases string
		files  int64 // of a task
		want   int64
	}{
		"match":       {plan.Plan{Inference: plan.Fused, Placement: plan.BeforeJoin, Join: plan.Broadcast}, "join-", 6, 200*n.PooledBytes + rows},
		"reduce":      {plan.Plan{Inference: plan.Fused, Placement: plan.BeforeJoin, Join: plan.Shuffle}, "join-", 6, 200*n.PooledBytes + rows},
		"images":      {plan.Plan{Inference: plan.Fused, Placement: plan.AfterJoin, Join: plan.Shuffle}, "joined", 1, 200*s.ImageBytes + rows},
		"lazy match":  {plan.Plan{Inference: plan.Lazy, Placement: plan.BeforeJoin, Join: plan.Broadcast}, "join-", 6, 200*n.PooledBytes + rows},
		"lazy reduce": {plan.Plan{Inference: plan.Lazy, Placement: plan.BeforeJoin, Join: plan.Shuffle}, "join-", 6, 200*n.PooledBytes + rows},
		"staged":      {plan.Plan{Inference: plan.Staged, Placement: plan.BeforeJoin, Join: plan.Broadcast}, "join-", 6, 200*n.PooledBytes + rows},
		"eager":       {plan.Plan{Inference: plan.Eager, Placement: plan.BeforeJoin, Join: plan.Shuffle}, "join-", 6, 200*n.RawBytes + rows},
		"pool":        {plan.Plan{Inference: plan.Eager, Placement: plan.BeforeJoin, Join: plan.Shuffle}, "pool-", 5, 200 * n.PooledBytes},
	} {
		p := c.plan
		p.Storage, p.CPU, p.Batch, p.Partitions = plan.Raw, 2, 6, 17
		if got := written(estimate(p, n, s, tr, Machine{}), c.phases) - 17*c.files*HeaderBytes; got != c.want {
			t.Errorf("%s: %d bytes beside headers, want %d", name, got, c.want)
		}
	}
}

// Of several images a record has one vector a layer, and one row, but a volume each.
func TestSeveralImagesLeaveOneVector(t *testing.T) {
	n := roster(t, "resnet50")
	s, tr := shape(n, 100, 10)
	s.Images, s.Average, s.PerRecord = 400, 4, 4
	vectors, rows := 100*n.PooledBytes, 100*s.RowBytes
	for name, c := range map[string]struct {
		plan   plan.Plan
		phases string
		files  int64 // of a task
		want   int64
	}{
		"fused":       {plan.Plan{Inference: plan.Fused, Placement: plan.AfterJoin, Join: plan.Broadcast}, "extract", 6, vectors + rows},
		"lazy":        {plan.Plan{Inference: plan.Lazy, Placement: plan.AfterJoin, Join: plan.Broadcast}, "extract-", 6, vectors + rows},
		"eager":       {plan.Plan{Inference: plan.Eager, Placement: plan.AfterJoin, Join: plan.Broadcast}, "extract", 6, 400*n.RawBytes + rows},
		"pool":        {plan.Plan{Inference: plan.Eager, Placement: plan.AfterJoin, Join: plan.Broadcast}, "pool-", 5, vectors},
		"before-join": {plan.Plan{Inference: plan.Fused, Placement: plan.BeforeJoin, Join: plan.Broadcast}, "join-", 6, vectors + rows},
	} {
		p := c.plan
		p.Storage, p.CPU, p.Batch, p.Partitions = plan.Raw, 2, 6, 17
		if got := written(estimate(p, n, s, tr, Machine{}), c.phases) - 17*c.files*HeaderBytes; got != c.want {
			t.Errorf("%s: %d bytes beside headers, want %d", name, got, c.want)
		}
	}
	// Of four images, one in sixteen values that a rectifier lets half of through is zero in all: 12 records of AlexNet left 0.93.
	if got := s.mixed(0.67); got < 0.93 || got > 0.97 || s.mixed(1) != 1 || (Stats{}).mixed(0.67) != 0.67 {
		t.Errorf("Snappy is expected to leave %v", got)
	}
	s.Rows = 1000 // of which 100 have images
	if got := s.met(); got != 100 {
		t.Errorf("%d rows have an image, want 100", got)
	}
}

// written is what phases whose names begin so write together.
func written(e Estimate, prefix string) (sum int64) {
	for _, p := range e.Phases {
		if strings.HasPrefix(p.Name, prefix) {
			sum += p.Written
		}
	}
	return sum
}

// Workers share what is pinned, and the expected peak is a worker's.
func TestPeakIsOneWorkers(t *testing.T) {
	n := roster(t, "resnet50")
	s, tr := shape(n, 3000, 10)
	p := plan.Plan{Inference: plan.Fused, Placement: plan.AfterJoin, Join: plan.Broadcast, Storage: plan.Snappy, CPU: 1, Batch: 1, Partitions: 46}
	alone := estimate(p, n, s, tr, Machine{Memory: 8 << 30}).Memory
	four := estimate(p, n, s, tr, Machine{Memory: 8 << 30, Workers: 4}).Memory
	rows := pinned(p, []Network{n}, s, tr)
	if less := alone - four; less < rows/4 {
		t.Errorf("a worker of four is expected to hold %d bytes less than one alone, where %d are pinned", less, rows)
	}
}

// No batch is tried that no partition has images for.
func TestOpenBatchesAreBounded(t *testing.T) {
	n := roster(t, "resnet50")
	s, tr := shape(n, 30, 10)
	c, err := Choose(plan.Plan{Partitions: 30}, []Network{n}, s, tr, Machine{Cores: 2, Memory: 8 << 30})
	if err != nil || c.Plan.Batch != 1 || c.From["batch"] != "optimizer" {
		t.Errorf("%v, %v, %v", c.Plan, c.From, err)
	}
}

// TestPredictionsAreWritten: each training phase writes an answer for each row, target and setting, folds or none.
func TestPredictionsAreWritten(t *testing.T) {
	n := top(roster(t, "alexnet"), 2)
	s, tr := shape(n, 2000, 130)
	for name, c := range map[string]struct {
		classes, settings, folds int
		fused, first, second     int64 // bytes of a row
	}{
		"classes are not known":    {0, 1, 0, 6 + 3*20, 6 + 2*20, 6 + 20},
		"two":                      {2, 1, 0, 6 + 3*20, 6 + 2*20, 6 + 20},
		"a hundred":                {100, 1, 0, 6 + 3*804, 6 + 2*804, 6 + 804},
		"of settings and of folds": {3, 4, 5, 6 + 12*28, 6 + 8*28, 6 + 4*28},
	} {
		tr.Classes, tr.Settings, tr.Folds = c.classes, c.settings, c.folds
		p := layered(plan.Broadcast, plan.AfterJoin, 2, 6, s)
		for _, of := range []struct {
			by     plan.Inference
			phases string
			want   int64
		}{{plan.Fused, "train", c.fused}, {plan.Lazy, "train-" + n.Layers[0].Name, c.first}, {plan.Lazy, "train-" + n.Layers[1].Name, c.second}} {
			if got := written(estimate(p[of.by], n, s, tr, Machine{}), of.phases) - int64(p[of.by].Partitions)*HeaderBytes; got != 2000*of.want {
				t.Errorf("%s, %s: %d bytes of predictions, want %d", name, of.phases, got, 2000*of.want)
			}
		}
	}
}

// TestStartIsTheDrivers: no worker computes before the first phase, so however many there are it takes as much.
func TestStartIsTheDrivers(t *testing.T) {
	n := roster(t, "alexnet")
	s, tr := shape(n, 2000, 130)
	p := layered(plan.Broadcast, plan.AfterJoin, 2, 6, s)[plan.Fused]
	for _, workers := range []int{1, 64} {
		if e := estimate(p, n, s, tr, Machine{Workers: workers}).Phases[0]; e.Name != StartPhase || e.Compute != e.Seconds {
			t.Errorf("%d workers: %+v", workers, e)
		}
	}
}
