package vistaopt

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// several are networks of the catalogue as a job has them: layers have names that no other network has.
func several(t testing.TB, names ...string) (ns []Network, all Network) {
	t.Helper()
	for _, name := range names {
		n := roster(t, name)
		n.Name = fmt.Sprintf("%s%d", name, len(ns))
		for i := range n.Layers {
			n.Layers[i].Name = n.Name + "." + n.Layers[i].Name
		}
		ns = append(ns, n)
	}
	return ns, joined(ns)
}

// TestNetworksRunTogetherWhereTheyFit: with memory for all networks at once each image is decoded once; with less, one
// network follows the other; with still less nothing fits, and the refusal's number is true.
func TestNetworksRunTogetherWhereTheyFit(t *testing.T) {
	ns, all := several(t, "alexnet", "resnet50")
	s, tr := shape(all, 20_000, 130)
	at := func(mibs int64) (*Choice, error) {
		return Choose(plan.Plan{Inference: plan.Fused}, ns, s, tr, Machine{Cores: 2, Memory: mibs * mib})
	}
	var seen []string
	for mibs := int64(100); mibs < 4000; mibs += 5 {
		c, err := at(mibs)
		var no *InfeasibleError
		state := "refused"
		switch {
		case err == nil:
			state = string(c.Plan.Networks)
			if need := c.Regions.Need(); need > mibs*mib || c.Estimate.Memory > need {
				t.Fatalf("%d MiB: needs %d, estimate %d", mibs, need, c.Estimate.Memory)
			}
			if c.From["networks"] != "optimizer" {
				t.Errorf("networks are from %q", c.From["networks"])
			}
		case !errors.As(err, &no):
			t.Fatal(err)
		case no.Needed <= mibs*mib:
			t.Fatalf("refused with what it needs: %v", err)
		}
		if len(seen) == 0 || seen[len(seen)-1] != state {
			seen = append(seen, state)
		}
	}
	if want := []string{"refused", "apart", "together"}; !slices.Equal(seen, want) {
		t.Errorf("by memory: %v, want %v", seen, want)
	}
}

// Together costs the decoding of one pass; apart is charged for as many as there are networks.
func TestTogetherDecodesOnce(t *testing.T) {
	ns, all := several(t, "alexnet", "resnet50", "vgg16")
	s, tr := shape(all, 20_000, 130)
	p := plan.Plan{Inference: plan.Fused, Placement: plan.AfterJoin, Join: plan.Broadcast, Storage: plan.Snappy, CPU: 2, Partitions: 300, Batch: 4, Networks: plan.Together}
	one := estimateOf(p, ns, s, tr, Machine{})
	p.Networks = plan.Apart
	each := estimateOf(p, ns, s, tr, Machine{})
	r := DefaultRates()
	decode := float64(s.Images*s.ImageBytes) / r.Decode
	table := float64(s.Rows*s.RowBytes)/r.Unpack + 300*r.Task // that the other passes read, and their tasks
	if more := each.Compute - one.Compute; more < 2*decode*0.999 || more > 2*(decode+table)*1.001 {
		t.Errorf("apart takes %.0f core-seconds more, decoding takes %.0f", more, decode)
	}
	if more := one.Written - each.Written; more < 0 || more > 2*s.Images || one.Memory <= each.Memory {
		t.Errorf("together writes %d and takes %d, apart %d and %d", one.Written, one.Memory, each.Written, each.Memory)
	}
	var names []string
	for _, ph := range each.Phases {
		names = append(names, ph.Name)
	}
	if got := strings.Join(names, " "); got != "start table extract-alexnet0 unmatched extract-resnet501 extract-vgg162 train evaluate results" {
		t.Errorf("phases %s", got)
	}
}

// What was measured of networks changes how long they take, and not what kind of plan they get.
func TestSpeedsOfSeveral(t *testing.T) {
	ns, all := several(t, "alexnet", "resnet50")
	s, tr := shape(all, 20_000, 130)
	m := Machine{Cores: 2, Memory: 8 << 30}
	a, err := Choose(plan.Plan{}, ns, s, tr, m)
	if err != nil {
		t.Fatal(err)
	}
	ns[1].Speed = Speed{DefaultRates().MACs / 2, DefaultRates().Weights}
	b, err := Choose(plan.Plan{}, ns, s, tr, m)
	if err != nil {
		t.Fatal(err)
	}
	resnet := float64(s.Images*ns[1].Layers[len(ns[1].Layers)-1].MACs) / DefaultRates().MACs
	if more := b.Estimate.Compute - a.Estimate.Compute; a.Plan != b.Plan || more < 0.999*resnet || more > 1.001*resnet {
		t.Errorf("%s; with the second network at half the speed %s and %.0f core-seconds more, want %.0f", a.Plan, b.Plan, more, resnet)
	}
}

// A network alone is as it was before there could be others, and together asks for what only a fused plan can do.
func TestNetworksOfOneAndOfLazy(t *testing.T) {
	c, err := Choose(plan.Plan{Networks: plan.Together, Inference: plan.Lazy}, []Network{alexnet}, foods, plain, Machine{Cores: 2, Memory: 8 << 30})
	if err != nil || c.Plan.Networks != plan.One || c.From["networks"] != "" {
		t.Errorf("%v, %v", c, err)
	}
	ns, _ := several(t, "alexnet", "alexnet")
	if _, err := Choose(plan.Plan{Networks: plan.Together, Inference: plan.Lazy}, ns, foods, plain, Machine{Cores: 2, Memory: 8 << 30}); err == nil || !strings.Contains(err.Error(), "fused only") {
		t.Errorf("lazy together: %v", err)
	}
}

// TestOneOfTwoIsFresh: of networks that run together, those that have to be made ready count for themselves.
func TestOneOfTwoIsFresh(t *testing.T) {
	a, b := roster(t, "alexnet"), roster(t, "resnet50")
	a.Name, b.Name = "a", "b"
	s, tr := shape(a, 60, 10)
	p := plan.Plan{Inference: plan.Fused, Placement: plan.AfterJoin, Join: plan.Broadcast, Storage: plan.Snappy, CPU: 1, Partitions: 10, Batch: 6}
	for _, p.Networks = range []plan.Networks{plan.Together, plan.Apart} {
		ready := estimateOf(p, []Network{a, b}, s, tr, Machine{}).Seconds
		fresh := b
		fresh.Fresh = []plan.Inference{plan.Fused}
		got, want := estimateOf(p, []Network{a, fresh}, s, tr, Machine{}).Seconds-ready, float64(b.WeightBytes)/DefaultRates().Prepare
		if got < want*0.999 || got > want*1.001 {
			t.Errorf("%s: making one ready takes %.3f s, want %.3f", p.Networks, got, want)
		}
	}
}
