package run

import (
	"testing"

	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/machine"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// BenchmarkTwoNetworks compares two networks in one job, together and apart, with a job for each: processor time of the
// whole jobs but their planning. Each image passes the networks five times, so there are few: it takes a minute of processor time.
func BenchmarkTwoNetworks(b *testing.B) {
	x := newBench(b, "alexnet", 64)
	x.job.CNN = append(x.job.CNN, x.job.CNN[0])
	x.job.CNN[1].Model = "resnet50"
	var both, alone networks
	for i := range x.job.CNN {
		x.job.CNN[i].Layers.Last = 2
		n, err := openNetwork(b.Context(), x.job, i, nil, func(*network) error { return nil })
		if err != nil {
			b.Fatal(err)
		}
		both = append(both, n)
		one := *n
		one.name = ""
		alone = append(alone, &one)
	}
	p := plan.Plan{Inference: plan.Fused, Placement: plan.AfterJoin, Join: plan.Broadcast, Storage: plan.Snappy}
	cpu := func(ns networks, how plan.Networks) float64 {
		x.n, p.Networks = ns, how
		before := machine.CPU()
		x.run(p, true)
		return (machine.CPU() - before).Seconds()
	}
	cpu(both, plan.Together) // prepares the caches
	var together, apart, each float64
	for b.Loop() {
		together += cpu(both, plan.Together)
		apart += cpu(both, plan.Apart)
		each += cpu(alone[:1], plan.One) + cpu(alone[1:], plan.One)
	}
	b.ReportMetric(together/float64(b.N), "together-cpu-s")
	b.ReportMetric(apart/float64(b.N), "apart-cpu-s")
	b.ReportMetric(each/float64(b.N), "each-cpu-s")
}
