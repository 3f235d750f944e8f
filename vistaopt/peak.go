package vistaopt

import (
	"slices"

	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// What a process is expected to hold, where regions say what it must be able to hold. Measured on jobs over 25 to 600
// records of the set foods (AlexNet 4 layers, ResNet50 5, VGG16 3; 1 and 2 slots, batches of 1 to 6, prepared networks in
// the cache): beside the weights, which are mapped and counted while they are used, a job held 59, 59 and 74 MiB, and 2.2
// to 2.6, 9.5 and 20 to 22 MiB for each image in flight, where live activations are 1.5, 9.2 and 24.5 MiB.
const (
	programBytes = 60 * mib
	// flightShare and flightBytes make of an image's largest set of live activations what it takes in all: its own part of
	// the runtime's scratch included.
	flightShare, flightBytes = 0.9, 1.2 * mib
	// readyCopies is how many times the weights of convolutions are held while a program is made ready for the first time: as they lie
	// in the file, and in the layout that they are computed in. From empty caches and with one image in flight AlexNet, ResNet50 and
	// VGG16, whose convolutions have 9, 90 and 56 of 233, 98 and 528 MiB, held 255, 202 and at most 557 MiB beside the program.
	readyCopies = 2.25
	// training is how much of what models in training may take they do, garbage included: jobs of AlexNet with 16 and 80 classes,
	// a grid and folds held 357 to 378 bytes for each weight, where room is made for 480.
	training = 0.77
	// garbage is what the heap holds beside what lives there: the collector lets it grow by a quarter (package machine).
	garbage = 1.25
)

// peak is the resident memory that a worker is expected to reach: the largest of the phases, each with what its parts
// really take. It is at most what the plan was given.
func (j *job) peak(p plan.Plan, r Regions, m Machine) int64 {
	t := j.t
	room := j.spread(p, r, max(m.Memory, r.Need()))
	var inference int64
	if p.Networks == plan.Together {
		inference = j.one.inference(p, j.s, room.Sort)
	} else { // one after the other
		for i := range j.ns {
			inference = max(inference, j.ns[i].inference(p, j.s, room.Sort))
		}
	}
	inference = max(inference, j.ready(p))
	// What a picture takes while it is decoded: a decoder's own buffers are in programBytes, and the room for all is bounded.
	inference += min(int64(p.CPU)*max(j.s.Decoding-pipelineBytes, 0), room.Decode)
	inference += r.Kept
	// Training reads what it pins; the models of all targets of a phase are in training together where memory allows.
	pinned := min(room.Cache, pinned(p, j.ns, j.s, t)/int64(max(m.Workers, 1)))
	w := j.trained(p)
	train := training*float64(min(j.moments(w, p.CPU)+t.scores()*w.all*room.PerTraining, room.Models)) + float64(r.Kept)
	always := programBytes + r.Rows + r.Table
	most := always + max(inference, int64(garbage*float64(pinned)+train), r.Evaluate)
	if m.Memory > 0 {
		most = min(most, max(m.Memory, r.Need()))
	}
	return most
}

// ready is what is expected to be held while programs are made ready for the first time; 0: they are.
func (j *job) ready(p plan.Plan) (most int64) {
	var before int64 // of networks that stay open
	for i := range j.ns {
		n := &j.ns[i]
		if n.fresh(p.Inference) {
			for _, b := range programs(p, n) {
				most = max(most, before+b+min(n.LargestWeight, b), before+int64(readyCopies*float64(min(n.ConvBytes, b))))
			}
		}
		if p.Networks == plan.Together {
			before += n.WeightBytes
		}
	}
	return most
}

// fresh tells whether a network's programs have to be made ready for the first time.
func (n *Network) fresh(by plan.Inference) bool { return slices.Contains(n.Fresh, by) }

// inference is what the CNN's phases of a network are expected to hold, with so much to sort in for each attempt.
func (n *Network) inference(p plan.Plan, s Stats, sort int64) int64 {
	var model int64
	for _, b := range programs(p, n) {
		model = max(model, b)
	}
	inFlight := int64(p.CPU) * min(int64(p.Batch), s.most(p))
	most := model + inFlight*n.flight()
	if keepsVolumes(p) { // computed, and written as whole records
		most += inFlight * 2 * volumes(p, *n)
	}
	if p.Join == plan.Shuffle {
		plain := s.Rows * s.RowBytes
		switch {
		case p.Placement == plan.AfterJoin:
			plain += s.Images * s.ImageBytes
		case p.Inference == plan.Eager: // volumes are joined, and pooled afterwards
			plain += s.Images * n.RawBytes
		case p.Inference == plan.Fused || len(n.Layers) == 0:
			plain += s.records() * n.PooledBytes
		default: // one layer after the other
			plain += s.records() * n.largestPooled()
		}
		most += min(int64(p.CPU)*sort, plain/int64(max(p.Partitions, 1))*int64(p.CPU))
	}
	return most
}

// flight is what an image in flight takes: as measured, or as its activations let expect.
func (n *Network) flight() int64 {
	if n.Flight > 0 {
		return n.Flight
	}
	return int64(flightShare*float64(n.ActiveBytes) + flightBytes)
}

// volumes are the bytes of whole volumes of an image that a program yields at most.
func volumes(p plan.Plan, n Network) (most int64) {
	if p.Inference != plan.Staged {
		return n.RawBytes
	}
	for _, l := range n.Layers {
		most = max(most, l.Raw)
	}
	return most
}

// programs are the bytes of weights of each program that a plan runs, of which one is open at a time.
func programs(p plan.Plan, n *Network) (out []int64) {
	if len(n.Layers) == 0 {
		return []int64{n.WeightBytes}
	}
	below := int64(0)
	for _, l := range n.Layers {
		switch p.Inference {
		case plan.Lazy:
			out = append(out, l.Weights)
		case plan.Staged:
			out = append(out, l.Weights-below)
			below = l.Weights
		}
	}
	if out == nil {
		out = []int64{n.WeightBytes}
	}
	return out
}

// pinned is what the partitions of one training phase hold, on all workers together: with plans that train one layer after the
// other, the largest layer's.
func pinned(p plan.Plan, ns []Network, s Stats, t Training) int64 {
	var vectors, largest int64
	for i := range ns {
		vectors, largest = vectors+ns[i].PooledBytes, max(largest, ns[i].largestPooled())
	}
	if layerwise(p) && largest > 0 {
		vectors = largest
	}
	return s.met() * (vectors + 4*t.structured())
}

// largestPooled are the bytes of the longest pooled vector of a layer.
func (n *Network) largestPooled() (most int64) {
	for _, l := range n.Layers {
		most = max(most, l.Pooled)
	}
	return most
}

// structured is how many columns models take beside a layer's.
func (t Training) structured() int64 {
	if len(t.Columns) == 0 {
		return 0
	}
	return int64(t.Columns[0])
}
