package vistaopt

import (
	"fmt"

	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// Speed is how fast a core runs a network, where that was measured; zero: as fast as the machine's rates say.
type Speed struct {
	MACs, Weights float64 // as in Rates
}

// at is the network in terms of a machine's rates: what it does faster than they say counts as less work.
func (n Network) at(r Rates) Network {
	if n.Speed == (Speed{}) {
		return n
	}
	ls := make([]Layer, len(n.Layers))
	for i, l := range n.Layers {
		l.MACs = int64(float64(l.MACs) * r.MACs / n.Speed.MACs)
		l.Weights = int64(float64(l.Weights) * r.Weights / n.Speed.Weights)
		ls[i] = l
	}
	n.Layers = ls
	return n
}

// unmeasured are networks as fast as a machine's rates say, whatever has run on it.
func unmeasured(ns []Network) []Network {
	out := make([]Network, len(ns))
	for i, n := range ns {
		n.Speed, n.Fresh = Speed{}, nil
		out[i] = n
	}
	return out
}

// joined is what runs several networks over each image, as if it were one: the layers of each stand on those before it.
// Networks run one after the other in a slot, so that the activations of one at a time are there.
func joined(ns []Network) Network {
	if len(ns) == 1 {
		return ns[0]
	}
	var all Network
	for _, n := range ns {
		var below Layer
		if len(all.Layers) > 0 {
			below = all.Layers[len(all.Layers)-1]
		}
		for _, l := range n.Layers {
			l.MACs += below.MACs
			l.Weights += below.Weights
			all.Layers = append(all.Layers, l)
		}
		all.WeightBytes += n.WeightBytes
		all.ConvBytes += n.ConvBytes
		all.LargestWeight = max(all.LargestWeight, n.LargestWeight)
		all.Mapped = n.Mapped // of all or of none: it is a matter of the machine
		all.ImageBytes, all.ActiveBytes, all.Flight = max(all.ImageBytes, n.ImageBytes), max(all.ActiveBytes, n.ActiveBytes), max(all.Flight, n.flight())
		all.RawBytes += n.RawBytes
		all.PooledBytes += n.PooledBytes
		all.PixelBytes += n.PixelBytes
	}
	return all
}

// largestRaw is the size of an image's volumes of the network that has most of them: no plan keeps those of two.
func largestRaw(ns []Network) (n int64) {
	for i := range ns {
		n = max(n, ns[i].RawBytes)
	}
	return n
}

// regions is what a plan needs for all networks of a job.
func (j *job) regions(p plan.Plan) Regions {
	if p.Networks == plan.Together {
		r := j.network(p, &j.one)
		var ready int64 // of those that were made ready before
		r.Prepare = 0
		for i := range j.ns {
			one := j.network(p, &j.ns[i])
			r.Prepare = max(r.Prepare, ready+one.Prepare)
			ready += one.Model
		}
		return j.shared(p, r)
	}
	r := j.network(p, &j.ns[0])
	for i := range j.ns[1:] { // one after the other: the largest of each
		one := j.network(p, &j.ns[1+i])
		if one.Model+one.Inference-one.Mapped > r.Model+r.Inference-r.Mapped {
			r.Model, r.Inference, r.Mapped = one.Model, one.Inference, one.Mapped
		}
		r.Prepare, r.Buffers = max(r.Prepare, one.Prepare), max(r.Buffers, one.Buffers)
	}
	return j.shared(p, r)
}

// fresh is how many of the bytes of a program's weights are made ready for the first time: of networks that run together each is made
// ready for itself.
func (e *estimator) fresh(weights int64) (sum int64) {
	switch {
	case e.p.Networks == plan.Together:
		for i := range e.ns {
			if n := &e.ns[i]; n.fresh(e.p.Inference) {
				sum += n.WeightBytes
			}
		}
	case e.n.fresh(e.p.Inference):
		return weights
	}
	return sum
}

// sharings are the ways in which several networks may share the images in a plan.
func (q *search) sharings(inference plan.Inference) []plan.Networks {
	fused := inference == plan.Fused
	switch {
	case len(q.j.ns) == 1:
		return []plan.Networks{plan.One}
	case q.want.Networks == plan.Together && !fused:
		q.ruled = fmt.Errorf("plan.networks together goes with plan.inference fused only, not with %s", inference)
		return nil
	case q.want.Networks != plan.One:
		return []plan.Networks{q.want.Networks}
	case fused:
		return []plan.Networks{plan.Together, plan.Apart}
	}
	return []plan.Networks{plan.Apart}
}
