package vistaopt

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// simulated is a job and the machines that it is planned for.
type simulated struct {
	want plan.Plan
	ns   []Network
	s    Stats
	t    Training
	m    Machine
}

func (j *simulated) choose(m Machine) (*Choice, error) { return Choose(j.want, j.ns, j.s, j.t, m) }

func (j *simulated) String() string {
	var names []string
	for _, n := range j.ns {
		names = append(names, fmt.Sprintf("%s/%d", n.Name, len(n.Layers)))
	}
	return fmt.Sprintf("%v, %d rows of %d bytes, %d images (%d matched) of %d bytes, %d settings, %d folds, %d classes, %+v, asked for %+v",
		names, j.s.Rows, j.s.RowBytes, j.s.Images, j.s.Matched, j.s.ImageBytes, j.t.Settings, j.t.Folds, j.t.Classes, j.m, j.want)
}

// simulator draws jobs of any size: the n-th is the same in every run.
type simulator struct{ networks [][]Network }

func newSimulator(t testing.TB) *simulator {
	var s simulator
	for _, names := range [][]string{{"alexnet"}, {"vgg16"}, {"resnet50"}, {"alexnet", "resnet50"}, {"resnet50", "resnet50"}, {"alexnet", "vgg16", "resnet50"}} {
		ns, _ := several(t, names...)
		s.networks = append(s.networks, ns)
	}
	return &s
}

// job is the n-th job. Half of the jobs have memory near what they need, where few plans fit; of most of them all knobs are open.
func (x *simulator) job(n int) *simulated {
	r := rand.New(rand.NewPCG(127, uint64(n)))
	some := func(from, to float64) int64 { // as often small as large
		return int64(math.Round(from * math.Pow(to/from, r.Float64())))
	}
	j := &simulated{}
	for _, n := range x.networks[r.IntN(len(x.networks))] {
		j.ns = append(j.ns, top(n, 1+r.IntN(len(n.Layers))))
	}
	j.s, j.t = shape(joined(j.ns), some(4, 5e6), int(some(1, 10_000)))
	j.s.ImageBytes = some(2<<10, 4<<20)
	if r.IntN(2) == 0 {
		j.s.Images = some(4, 5e6)
		j.s.Matched = r.Int64N(min(j.s.Rows, j.s.Images)) + 1
	}
	j.t.Folds, j.t.Settings, j.t.Iterations = r.IntN(6), 1+r.IntN(5), int(some(1, 100))
	if more := rand.New(rand.NewPCG(130, uint64(n))); more.IntN(2) == 0 { // drawn apart: all else stays what it was
		j.t.Classes, j.t.Features = 2+int(math.Pow(500, more.Float64())), more.IntN(2) == 0
	}
	j.m = Machine{Cores: int(some(1, 32)), Workers: int(some(1, 64))}
	if r.IntN(2) == 0 { // measured
		j.m.Rates = DefaultRates()
		j.m.Rates.MACs *= 0.2 + 5*r.Float64()
		j.m.Rates.Weights *= 0.2 + 5*r.Float64()
		j.m.Rates.Decode *= 0.2 + 5*r.Float64()
		for i := range j.ns {
			j.ns[i].Speed = Speed{MACs: j.m.Rates.MACs * (0.3 + 2*r.Float64()), Weights: j.m.Rates.Weights * (0.3 + 2*r.Float64())}
		}
	}
	if r.IntN(5) == 0 {
		pick := func(n int) bool { return r.IntN(n) == 0 }
		if pick(3) {
			j.want.Inference = plan.Inferences[r.IntN(4)]
		}
		if pick(3) {
			j.want.Placement = plan.Placements[r.IntN(2)]
		}
		if pick(3) {
			j.want.Join = plan.Joins[r.IntN(2)]
		}
		if pick(3) {
			j.want.Storage = plan.Storages[r.IntN(2)]
		}
		if pick(4) {
			j.want.CPU = 1 + r.IntN(4)
		}
		if pick(4) {
			j.want.Batch = 1 + r.IntN(8)
		}
		if pick(4) {
			j.want.Partitions = 1 + r.IntN(500)
		}
	}
	j.m.Memory = some(150, 40_000) * mib
	if r.IntN(2) == 0 {
		small := j.m
		small.Memory = mib
		if no := (*InfeasibleError)(nil); refused(j, small, &no) {
			j.m.Memory = int64(float64(no.Needed) * (1 + 2*r.Float64()*r.Float64()))
		}
	}
	return j
}

// refused tells whether a job needs more memory than a machine has, and what it needs.
func refused(j *simulated, m Machine, no **InfeasibleError) bool {
	_, err := j.choose(m)
	return errors.As(err, no)
}
