package vistaopt

import (
	"errors"
	"fmt"
	"testing"

	"github.com/vista-mr/vista-mr/vistaopt/bytesize"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// TestMoreMemoryNearTheEdge: where kinds of plans fit with few images in flight or not at all, more memory makes no job
// infeasible and none slower, and no plan that is listed is quicker than the chosen one by more than the number of cores, by
// which kinds are not compared, can make it.
func TestMoreMemoryNearTheEdge(t *testing.T) {
	for _, names := range [][]string{{"alexnet"}, {"vgg16"}, {"resnet50"}, {"alexnet", "resnet50"}, {"resnet50", "resnet50"}} {
		ns, all := several(t, names...)
		for _, columns := range []int{10, 1000, 10_000} {
			for _, cores := range []int{2, 8} {
				s, tr := shape(all, 6_000, columns)
				m := Machine{Cores: cores, Memory: 50 * mib, Workers: 1}
				_, err := Choose(plan.Plan{}, ns, s, tr, m)
				var no *InfeasibleError
				if !errors.As(err, &no) {
					t.Fatalf("%v in 50 MiB: %v", names, err)
				}
				m.Memory = no.Needed
				var before *Choice
				for step := 0; m.Memory < 1400*mib; step++ {
					at := fmt.Sprintf("%v, %d columns, %d cores, %d MiB", names, columns, cores, m.Memory/mib)
					c, err := Choose(plan.Plan{}, ns, s, tr, m)
					if err != nil {
						t.Fatalf("%s: %v", at, err)
					}
					if before != nil && c.Estimate.Seconds > before.Estimate.Seconds*(1+noise) {
						t.Errorf("%s: %s takes %.1f s, with less memory %s %.1f s", at, c.Plan, c.Estimate.Seconds, before.Plan, before.Estimate.Seconds)
					}
					for _, r := range c.Rejected {
						if r.Fits && c.Estimate.Seconds > 1.1*r.Estimate.Seconds {
							t.Errorf("%s: %s takes %.1f s, %s %.1f s", at, c.Plan, c.Estimate.Seconds, r.Plan, r.Estimate.Seconds)
						}
					}
					before = c
					if m.Memory += 5 * mib; step > 24 {
						m.Memory += 25 * mib
					}
				}
			}
		}
	}
}

// Slots beyond the cores add no speed, and the optimizer chooses none beyond the partitions.
func TestSlotsBeyondWhatThereIs(t *testing.T) {
	n := roster(t, "resnet50")
	s, tr := shape(n, 40, 10)
	m := Machine{Cores: 64, Memory: 64 << 30}
	c, err := Choose(plan.Plan{}, []Network{n}, s, tr, m)
	if err != nil || c.Plan.CPU != c.Plan.Partitions || c.Plan.Partitions >= 64 {
		t.Fatalf("on 64 cores %v, %v", c.Plan, err)
	}
	s, tr = shape(n, 20_000, 10)
	m.Cores = 2
	two, err := Choose(plan.Plan{}, []Network{n}, s, tr, m)
	if err != nil {
		t.Fatal(err)
	}
	ten, err := Choose(plan.Plan{CPU: 10}, []Network{n}, s, tr, m)
	if err != nil || ten.Plan.CPU != 10 || ten.Estimate.Seconds < two.Estimate.Seconds*0.999 {
		t.Errorf("ten slots on two cores take %.1f s, two %.1f s, %v", ten.Estimate.Seconds, two.Estimate.Seconds, err)
	}
}

// Rows without an image are not trained on and not compared: they take no memory there.
func TestRowsWithoutAnImage(t *testing.T) {
	n := roster(t, "alexnet")
	s, tr := shape(n, 3_000_000, 10)
	s.Images, s.Matched = 40, 40
	p := plan.Plan{Inference: plan.Fused, Placement: plan.AfterJoin, Join: plan.Shuffle, Storage: plan.Snappy, CPU: 1, Partitions: 7, Batch: 1}
	few := s
	few.Rows = 40
	if a, b := regions(p, n, s, tr).Evaluate, regions(p, n, few, tr).Evaluate; a != b {
		t.Errorf("predictions of 40 rows take %d, beside 3M rows without an image %d", b, a)
	}
	if a, b := pinned(p, []Network{n}, s, tr), pinned(p, []Network{n}, few, tr); a != b {
		t.Errorf("training pins %d of 40 rows, beside 3M rows without an image %d", b, a)
	}
	if _, err := Choose(plan.Plan{}, []Network{n}, s, tr, Machine{Cores: 2, Memory: 1000 * mib}); err != nil {
		t.Error(err) // it finishes in 513 MiB
	}
}

// What a network's speed was measured to be changes how long calls take, and not how long weights are made ready.
func TestSpeedAndReady(t *testing.T) {
	n := roster(t, "alexnet")
	s, tr := shape(n, 60, 10)
	p := plan.Plan{Inference: plan.Fused, Placement: plan.AfterJoin, Join: plan.Broadcast, Storage: plan.Snappy, CPU: 1, Partitions: 10, Batch: 6}
	at := func(weights float64) float64 {
		n.Speed = Speed{DefaultRates().MACs, weights}
		return estimate(p, n, s, tr, Machine{}).Seconds
	}
	weights := float64(n.Layers[len(n.Layers)-1].Weights)
	if got, want := at(5e9)-at(10e9), 10*weights*(1/5e9-1/10e9); got < want*0.999 || got > want*1.001 {
		t.Errorf("ten calls that read weights at half the speed take %.3f s more, want %.3f", got, want)
	}
}

// Partitions that do not fit into the cache are read in every round.
func TestSpilledCacheTakesTime(t *testing.T) {
	n := roster(t, "resnet50")
	s, tr := shape(n, 100_000, 10)
	p := plan.Plan{Inference: plan.Fused, Placement: plan.AfterJoin, Join: plan.Broadcast, Storage: plan.Snappy, CPU: 2, Partitions: 1500, Batch: 6}
	m := Machine{Memory: 8 << 30}
	all, some := estimate(p, n, s, tr, Machine{}), estimate(p, n, s, tr, m)
	over := pinned(p, []Network{n}, s, tr) - regions(p, n, s, tr).cache(m.Memory)
	want := float64(tr.Iterations) * roundsPerIteration * float64(over) / DefaultRates().Read
	if got := some.Seconds - all.Seconds; over <= 0 || got < want*0.999 || got > want*1.001 {
		t.Errorf("%d bytes on the disk take %.2f s, want %.2f", over, got, want)
	}
	if many := estimate(p, n, s, tr, Machine{Memory: m.Memory, Workers: 64}); many.Seconds != estimate(p, n, s, tr, Machine{Workers: 64}).Seconds {
		t.Error("what fits into the caches of many workers takes time to be read")
	}
}

// Each task of the first phase writes the rows beside its layers, and a staged plan's last one no volume: with one layer, plans
// are the same, and fused is the one that is taken.
func TestFilesOfPlans(t *testing.T) {
	n := top(roster(t, "alexnet"), 1)
	s, tr := shape(n, 60, 10)
	p := plan.Plan{Placement: plan.AfterJoin, Join: plan.Broadcast, Storage: plan.Snappy, CPU: 1, Partitions: 10, Batch: 6}
	var seconds []float64
	for _, p.Inference = range []plan.Inference{plan.Fused, plan.Lazy, plan.Staged} {
		seconds = append(seconds, estimate(p, n, s, tr, Machine{}).Seconds)
	}
	if seconds[0] != seconds[1] || seconds[0] != seconds[2] {
		t.Errorf("fused, lazy and staged plans of one layer take %v", seconds)
	}
	for _, rows := range []int64{4, 60, 4000} {
		s, tr := shape(n, rows, 10)
		c, err := Choose(plan.Plan{}, []Network{n}, s, tr, Machine{Cores: 2, Memory: 8 << 30})
		if err != nil || c.Plan.Inference != plan.Fused {
			t.Errorf("%d rows: %v, %v", rows, c.Plan, err)
		}
	}
}

// What is needed and what there is never look the same.
func TestRefusalRoundsApart(t *testing.T) {
	e := &InfeasibleError{Needed: 303*mib - 10, Available: 302*mib + 20}
	if got := e.Error(); bytesize.AtLeast(e.Needed) != "303 MiB" || bytesize.AtMost(e.Available) != "302 MiB" || bytesize.AtMost(12<<30-1) != "11.9 GiB" {
		t.Errorf("%s; %s", got, bytesize.AtMost(12<<30-1))
	}
}

// TestUnmapped: where workers hold weights in memory, a plan needs as much as of networks that say so, whatever these say.
func TestUnmapped(t *testing.T) {
	n := roster(t, "alexnet")
	s, tr := shape(n, 200, 20)
	need := func(mapped, unmapped bool) int64 {
		t.Helper()
		n := n
		n.Mapped = mapped
		c, err := Choose(plan.Plan{CPU: 1, Batch: 1}, []Network{n}, s, tr, Machine{Cores: 2, Memory: 8 << 30, Unmapped: unmapped})
		if err != nil {
			t.Fatal(err)
		}
		return c.Regions.Need()
	}
	if mapped, held, got := need(true, false), need(false, false), need(true, true); got != held || got <= mapped {
		t.Errorf("%d bytes, in memory %d, mapped %d", got, held, mapped)
	}
}
