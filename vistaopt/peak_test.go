package vistaopt

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// TestPeaks: what was measured of whole jobs (docs/runtime.md; resident MiB) is what is expected, within 15 %.
func TestPeaks(t *testing.T) {
	for _, c := range []struct {
		model      string
		layers     int
		rows       int64
		inference  plan.Inference
		cpu, batch int
		measured   float64
	}{
		{"alexnet", 4, 90, plan.Fused, 1, 1, 295}, {"alexnet", 4, 90, plan.Fused, 1, 6, 308}, {"alexnet", 4, 90, plan.Fused, 2, 1, 300}, {"alexnet", 4, 90, plan.Fused, 2, 6, 322},
		{"alexnet", 4, 600, plan.Fused, 2, 6, 327}, {"alexnet", 4, 90, plan.Lazy, 2, 6, 325}, {"alexnet", 4, 90, plan.Staged, 2, 6, 270}, {"alexnet", 4, 90, plan.Eager, 2, 6, 332},
		{"resnet50", 5, 60, plan.Fused, 1, 1, 166}, {"resnet50", 5, 60, plan.Fused, 1, 6, 217}, {"resnet50", 5, 60, plan.Fused, 2, 1, 178}, {"resnet50", 5, 60, plan.Fused, 2, 6, 271},
		{"resnet50", 5, 300, plan.Fused, 2, 6, 289}, {"resnet50", 5, 60, plan.Lazy, 2, 6, 278}, {"resnet50", 5, 60, plan.Staged, 2, 6, 218}, {"resnet50", 5, 60, plan.Eager, 2, 6, 303},
		{"vgg16", 3, 25, plan.Fused, 1, 1, 623}, {"vgg16", 3, 25, plan.Fused, 1, 6, 725}, {"vgg16", 3, 25, plan.Fused, 2, 1, 651}, {"vgg16", 3, 25, plan.Fused, 2, 6, 854},
	} {
		n := top(roster(t, c.model), c.layers)
		s, tr := shape(n, c.rows, 130)
		p := plan.Plan{Inference: c.inference, Placement: plan.AfterJoin, Join: plan.Broadcast, Storage: plan.Snappy, CPU: c.cpu, Batch: c.batch, Partitions: partitions(s)}
		got := float64(peak(p, []Network{n}, s, tr, 24<<30)) / mib
		if math.Abs(got/c.measured-1) > 0.15 {
			t.Errorf("%s, %d layers, %d rows, %s: %.0f MiB are expected, %.0f were measured", c.model, c.layers, c.rows, p, got, c.measured)
		}
		// A plan is let run in what it needs, so it must not hold more.
		if need := float64(regions(p, n, s, tr).Need()) / mib; need < c.measured {
			t.Errorf("%s by %s needs %.0f MiB, and held %.0f", c.model, p, need, c.measured)
		}
	}
}

// TestFirstPeaks: where programs are made ready for the first time, what whole jobs held (resident MiB, 25 records, empty caches) is what is
// expected within 15 %.
func TestFirstPeaks(t *testing.T) {
	for _, c := range []struct {
		model      string
		layers     int
		cpu, batch int
		measured   float64
	}{
		{"alexnet", 4, 1, 1, 315}, {"alexnet", 4, 2, 6, 318}, {"resnet50", 5, 1, 1, 261}, {"resnet50", 5, 2, 6, 262}, {"vgg16", 3, 1, 1, 617}, {"vgg16", 3, 2, 6, 857},
	} {
		n := top(roster(t, c.model), c.layers)
		n.Fresh = []plan.Inference{plan.Fused}
		s, tr := shape(n, 25, 130)
		p := plan.Plan{Inference: plan.Fused, Placement: plan.AfterJoin, Join: plan.Broadcast, Storage: plan.Snappy, CPU: c.cpu, Batch: c.batch, Partitions: partitions(s)}
		if got := float64(peak(p, []Network{n}, s, tr, 24<<30)) / mib; math.Abs(got/c.measured-1) > 0.15 {
			t.Errorf("%s by %s: %.0f MiB are expected, %.0f were measured", c.model, p, got, c.measured)
		}
	}
}

// TestFreshChangesNoBits: whether programs are ready changes what a job is expected to take, and neither whether it fits nor what bits depend on.
func TestFreshChangesNoBits(t *testing.T) {
	n := roster(t, "resnet50")
	rapid.Check(t, func(t *rapid.T) {
		want, s, tr, m := drawn(t, n)
		fresh := n
		for _, by := range plan.Inferences {
			if rapid.Bool().Draw(t, string(by)) {
				fresh.Fresh = append(fresh.Fresh, by)
			}
		}
		a, errA := Choose(want, []Network{n}, s, tr, m)
		b, errB := Choose(want, []Network{fresh}, s, tr, m)
		if (errA == nil) != (errB == nil) {
			t.Fatalf("ready: %v, fresh: %v", errA, errB)
		}
		if errA == nil && (bitsOf(a.Plan) != bitsOf(b.Plan) || a.Plan == b.Plan && a.Estimate.Memory > b.Estimate.Memory) {
			t.Fatalf("ready: %s, %d bytes; fresh: %s, %d bytes", a.Plan, a.Estimate.Memory, b.Plan, b.Estimate.Memory)
		}
	})
}

// TestPeakStaysWithinWhatFits: no plan that fits is expected to hold more than there is.
func TestPeakStaysWithinWhatFits(t *testing.T) {
	n := roster(t, "resnet50")
	rapid.Check(t, func(t *rapid.T) {
		want, s, tr, m := drawn(t, n)
		c, err := Choose(want, []Network{n}, s, tr, m)
		if err != nil {
			t.Skip()
		}
		if c.Estimate.Memory > m.Memory {
			t.Fatalf("%s is expected to hold %d of %d", c.Plan, c.Estimate.Memory, m.Memory)
		}
	})
}

// TestWhatSnappyLeaves: rectified vectors of fully connected layers and volumes get smaller; pooled volumes and logits do not.
func TestWhatSnappyLeaves(t *testing.T) {
	for name, want := range map[string][]float64{
		"alexnet":  {packedDense, packedSparse, packedSparse, packedDense},
		"vgg16":    {packedSparse, packedSparse, packedDense},
		"resnet50": {packedDense, packedDense, packedDense, packedDense, packedDense},
	} {
		n := roster(t, name)
		for i, l := range n.Layers {
			if l.Dense != want[i] {
				t.Errorf("%s %s: %v, want %v", name, l.Name, l.Dense, want[i])
			}
		}
		if l := n.Layers[0]; l.Raw > l.Pooled && l.RawDense != packedVolume {
			t.Errorf("%s %s: %v of the volume", name, l.Name, l.RawDense)
		}
	}
}

// TestPeakWithLargePictures: what a sample took while it was decoded is expected of each slot, within the room for it, and changes nothing
// of what must be there.
func TestPeakWithLargePictures(t *testing.T) {
	n := top(roster(t, "resnet50"), 5)
	s, tr := shape(n, 300, 130)
	p := plan.Plan{Inference: plan.Fused, Placement: plan.AfterJoin, Join: plan.Broadcast, Storage: plan.Snappy, CPU: 2, Batch: 6, Partitions: partitions(s)}
	was, need := peak(p, []Network{n}, s, tr, 24<<30), regions(p, n, s, tr).Need()
	for decoding, more := range map[int64]int64{pipelineBytes: 0, 100 * mib: 2 * (100*mib - pipelineBytes), 2000 * mib: maxDecode} {
		s.Decoding = decoding
		if got := peak(p, []Network{n}, s, tr, 24<<30) - was; got != more {
			t.Errorf("%d MiB a picture make %d MiB more, want %d", decoding/mib, got/mib, more/mib)
		}
		if got := peak(p, []Network{n}, s, tr, need); got > need {
			t.Errorf("%d MiB a picture: %d MiB are expected of %d", decoding/mib, got/mib, need/mib)
		}
		if got := regions(p, n, s, tr).Need(); got != need {
			t.Errorf("%d MiB a picture: %d MiB are needed, and %d without a sample", decoding/mib, got/mib, need/mib)
		}
	}
}

// TestPeakOfSorting: an eager plan sorts volumes, the others vectors, and none more than it is given to sort in.
func TestPeakOfSorting(t *testing.T) {
	n := top(roster(t, "resnet50"), 5)
	s, tr := shape(n, 60, 130)
	plain := map[plan.Inference]int64{plan.Fused: n.PooledBytes, plan.Eager: n.RawBytes, plan.Lazy: n.largestPooled(), plan.Staged: n.largestPooled()}
	for by, p := range layered(plan.Shuffle, plan.BeforeJoin, 2, 6, s) {
		const plenty = 1 << 40
		p.Partitions = 10
		without := p
		without.Join = plan.Broadcast
		if got, want := n.inference(p, s, plenty)-n.inference(without, s, plenty), (s.Rows*s.RowBytes+60*plain[by])/10*2; got != want {
			t.Errorf("%s sorts in %d bytes, want %d", by, got, want)
		}
		if got := n.inference(p, s, 1000) - n.inference(without, s, 1000); got != 2000 {
			t.Errorf("%s sorts in %d bytes of 2000", by, got)
		}
	}
	s, tr = shape(n, 200_000, 130)
	p := layered(plan.Shuffle, plan.BeforeJoin, 2, 6, s)[plan.Eager]
	r := regions(p, n, s, tr)
	little, room := r.Need()+r.Sort/4, newJob([]Network{n}, s, tr).spread(p, r, r.Need()+r.Sort/4)
	if room.Sort >= maxSort {
		t.Fatalf("there are %d to sort in", room.Sort)
	}
	if much, got := peak(p, []Network{n}, s, tr, 16<<30), peak(p, []Network{n}, s, tr, little); much-got < 2*(maxSort-room.Sort) {
		t.Errorf("%d are expected where there is little to sort in, else %d", got, much)
	}
}

// TestModelsOfLayersBefore: what phases before have trained is there while the next layer is computed, whose room is less by that.
func TestModelsOfLayersBefore(t *testing.T) {
	n := roster(t, "resnet50")
	s, tr := shape(n, 2000, 130)
	tr.Classes, tr.Settings = 100, 10
	j := newJob([]Network{n}, s, tr)
	weights := int64(0)
	for _, c := range tr.Columns[:len(tr.Columns)-1] {
		weights += int64(c+1) * 10 * 100
	}
	for inference, want := range map[plan.Inference]int64{plan.Fused: 0, plan.Staged: weights * heldBytes, plan.Lazy: weights * heldBytes, plan.Eager: weights * heldBytes} {
		p := plan.Plan{Inference: inference, Placement: plan.AfterJoin, Join: plan.Broadcast, Storage: plan.Snappy, CPU: 2, Batch: 4, Partitions: 32, Networks: plan.One}
		r := j.regions(p)
		without := r
		without.Kept = 0
		memory := r.Need() + 64*mib
		if got := j.spread(p, without, memory).Decode - j.spread(p, r, memory).Decode; r.Kept != want || r.inference()-without.inference() != want || (got > 0) != (want > 0) {
			t.Errorf("%s: %d bytes are kept, want %d; decoding has %d less", inference, r.Kept, want, got)
		}
	}
}
