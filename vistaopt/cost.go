package vistaopt

import (
	"math"

	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// Estimate is what a plan is expected to cost.
type Estimate struct {
	Phases  []PhaseEstimate `json:"phases"`
	Seconds float64         `json:"seconds"` // of the clock, from the start of the first phase to the results
	Compute float64         `json:"compute"` // core-seconds of all workers
	Written int64           `json:"written"` // bytes that phases write to the store, shuffled records included
	Memory  int64           `json:"memory"`  // bytes of a worker at its peak
}

// PhaseEstimate is one phase's part of it. Name is the phase's, as package compile gives it.
type PhaseEstimate struct {
	Name    string  `json:"name"`
	Tasks   int     `json:"tasks"`
	Seconds float64 `json:"seconds"`
	Compute float64 `json:"compute"` // core-seconds
	Read    int64   `json:"read"`    // bytes
	Written int64   `json:"written"` // bytes
}

// Phases that stand for what is done around the chain.
const (
	startPhase   = "start"   // the engine and the network are made ready
	resultsPhase = "results" // models and report are written
)

// estimator adds phases up as package compile chains them. It knows their order, but neither their parameters nor kinds.
type estimator struct {
	p        plan.Plan
	ns       []Network // that run one after the other
	all      []Layer   // of all of them
	n        Network   // at hand
	first    int       // its first layer among all
	heaviest int64     // weights of the largest network, in bytes
	s        Stats
	t        Training
	r        Rates
	workers  int
	out      Estimate
}

// estimate is the cost of a plan of one network.
func estimate(p plan.Plan, n Network, s Stats, t Training, m Machine) Estimate {
	return estimateOf(p, []Network{n}, s, t, m)
}

// estimateOf is the cost of a plan on so many workers of p.CPU slots each.
func estimateOf(p plan.Plan, ns []Network, s Stats, t Training, m Machine) Estimate {
	e := &estimator{p: p, s: s, t: t, r: m.Rates.or(), workers: max(m.Workers, 1)}
	for _, n := range ns {
		if len(n.Layers) == 0 { // nothing is known of them: one that is all
			n.Layers = []Layer{{Name: n.Name, Weights: n.WeightBytes, Raw: n.RawBytes, Pooled: n.PooledBytes}}
		}
		e.all = append(e.all, n.Layers...)
		e.ns = append(e.ns, n.at(e.r))
		e.heaviest = max(e.heaviest, n.WeightBytes)
	}
	if p.Networks == plan.Together {
		e.ns = []Network{joined(e.ns)}
	}
	e.start()
	e.table()
	if p.Join == plan.Shuffle && p.Placement == plan.AfterJoin {
		e.joinImages()
	}
	e.chain()
	e.finish()
	e.out.Memory = regionsOf(p, ns, s, t).Need()
	return e.out
}

// phase adds a phase of even tasks. compute is in core-seconds, bytes pass the store once. Of a phase that broadcasts, each
// worker reads the table before its first task ends.
func (e *estimator) phase(name string, tasks int, compute float64, read, written int64, broadcasts bool) {
	slots := e.p.CPU * e.workers
	tasks = max(tasks, 1)
	compute += float64(tasks) * e.r.Task
	waves := math.Ceil(float64(tasks) / float64(slots))
	seconds := waves * compute / float64(tasks)
	used := min(tasks, e.workers)
	if broadcasts {
		bytes, _, unpack := e.stored(e.s.Rows * e.s.RowBytes)
		seconds, compute, read = seconds+unpack, compute+unpack*float64(used), read+bytes*int64(used)
	}
	store := float64(read)/(e.r.Read*float64(used)) + float64(written)/(e.r.Write*float64(used))
	e.add(PhaseEstimate{Name: name, Tasks: tasks, Seconds: max(seconds, store) + e.r.Phase, Compute: compute, Read: read, Written: written})
}

func (e *estimator) add(p PhaseEstimate) {
	e.out.Phases = append(e.out.Phases, p)
	e.out.Seconds += p.Seconds
	e.out.Compute += p.Compute
	e.out.Written += p.Written
}

// start is what comes before the first image: each program that the plan runs is made ready when its phase begins, by
// one core of each worker.
func (e *estimator) start() {
	weights := 0.0
	for _, n := range e.ns {
		weights += float64(n.WeightBytes)
	}
	switch e.p.Inference {
	case plan.Lazy:
		weights = 0
		for _, l := range e.all {
			weights += float64(l.Weights)
		}
	}
	s := e.r.Job + weights/e.r.Ready
	e.add(PhaseEstimate{Name: startPhase, Tasks: 1, Seconds: s, Compute: s * float64(e.workers)})
}

func (e *estimator) partitions() int { return e.p.Partitions }

// images is how many pass the CNN.
func (e *estimator) images() int64 {
	if e.p.Placement == plan.AfterJoin && e.s.Matched > 0 {
		return min(e.s.Matched, e.s.Images)
	}
	return e.s.Images
}

// stored is how many bytes are written of so many plain ones, and what a core takes to write them and to read them.
func (e *estimator) stored(plain int64) (bytes int64, write, read float64) {
	if e.p.Storage == plan.Raw {
		c := float64(plain) / e.r.Copy
		return plain, c, c
	}
	return int64(float64(plain) * e.r.Ratio), float64(plain) / e.r.Pack, float64(plain) / e.r.Unpack
}

func (e *estimator) table() {
	plain := e.s.Rows * e.s.RowBytes
	bytes, write, _ := e.stored(plain)
	compute := float64(plain)/e.r.Parse + write
	if e.p.Join == plan.Shuffle {
		compute += float64(plain) / e.r.Sort
	}
	e.phase("table", 1, compute, plain, bytes, false)
}

// shuffled adds the phase that sorts plain bytes of records by key with the table's, and joins them.
func (e *estimator) shuffled(name string, plain int64) {
	table := e.s.Rows * e.s.RowBytes
	bytes, write, _ := e.stored(plain)
	e.phase(name, e.partitions(), float64(plain+table)/e.r.Sort/2+write, plain+table, bytes, false)
}

func (e *estimator) joinImages() {
	plain := e.s.Images * e.s.ImageBytes
	e.phase("load", e.partitions(), float64(plain)/e.r.Sort/2+float64(plain)/e.r.Copy, plain, plain, false)
	e.shuffled("joined", plain)
}

// infer adds the phase that computes layer to from layer from (-1: from the image), writing so many bytes an image.
// sorts says that what it writes goes through a shuffle.
func (e *estimator) infer(name string, from, to int, writes int64, sorts bool) {
	n := e.images()
	macs, weights := e.n.Layers[to].MACs, e.n.Layers[to].Weights
	var per float64
	var read int64
	if from >= 0 {
		macs, weights = macs-e.n.Layers[from].MACs, weights-e.n.Layers[from].Weights
		bytes, _, unpack := e.stored(e.n.Layers[from].Raw)
		per, read = unpack, bytes
	} else {
		per, read = float64(e.s.ImageBytes)/e.r.Decode, e.s.ImageBytes
	}
	per += float64(macs)/e.r.MACs + float64(weights)/e.r.Weights/float64(e.p.Batch)
	bytes, write, _ := e.stored(writes)
	if sorts {
		write += float64(writes) / e.r.Sort / 2
	}
	broadcasts := e.p.Join == plan.Broadcast && e.p.Placement == plan.AfterJoin && from < 0
	e.phase(name, e.partitions(), float64(n)*(per+write), n*read, n*bytes, broadcasts)
}

// joinOutputs adds the join behind the CNN, of plan before-join.
func (e *estimator) joinOutputs(name string, plain int64) {
	if e.p.Placement != plan.BeforeJoin {
		return
	}
	n := e.s.Images
	if e.p.Join == plan.Shuffle {
		e.shuffled("join-"+name, n*plain)
		return
	}
	bytes, write, read := e.stored(plain)
	e.phase("join-"+name, e.partitions(), float64(n)*(write+read), n*bytes, n*bytes, true)
}

// train adds the rounds over layers [from, to) of all, with the structured columns alone in the first of them.
func (e *estimator) train(name string, from, to int) {
	n := e.trained()
	var columns, plain int64
	for i := from; i < to; i++ {
		columns += e.columns(i + 1)
		plain += e.all[i].Pooled
	}
	if from == 0 {
		columns += e.columns(0)
	}
	plain += 4 * e.columns(0)
	bytes, _, unpack := e.stored(plain)
	models := float64(max(e.t.Settings, 1) * (1 + e.t.Folds))
	rounds := float64(max(e.t.Iterations, 1)) * roundsPerIteration
	// A round reads every value twice: for the margins and for the gradient.
	work := rounds * 2 * float64(n) * float64(columns) * models / e.r.Train
	slots := float64(min(e.p.CPU*e.workers, e.partitions()))
	seconds := (float64(n)*unpack+work)/slots + rounds*e.r.Round + e.r.Phase
	e.add(PhaseEstimate{Name: name, Tasks: e.partitions(), Seconds: seconds, Compute: float64(n)*unpack + work, Read: n * bytes})
}

// columns is how many a target's models have; 0: those of the structured features alone.
func (e *estimator) columns(target int) int64 {
	if target >= len(e.t.Columns) {
		return 0
	}
	return int64(e.t.Columns[target])
}

// roundsPerIteration counts steps whose length is tried again, and the scans for moments and predictions.
const roundsPerIteration = 1.4

// trained is how many rows models are made from and judged by.
func (e *estimator) trained() int64 {
	n := min(e.s.Rows, e.s.Images)
	if e.s.Matched > 0 {
		n = min(n, e.s.Matched)
	}
	return n
}

// chain adds the phases that the plan's way of inference makes, for one network after the other.
func (e *estimator) chain() {
	for _, n := range e.ns {
		e.n = n
		e.network()
		e.first += len(n.Layers)
	}
	if e.p.Inference == plan.Fused {
		e.train("train", 0, len(e.all))
	}
}

// network adds those of the network at hand.
func (e *estimator) network() {
	last, extract := len(e.n.Layers)-1, "extract"
	if e.p.Networks == plan.Apart {
		extract += "-" + e.n.Name
	}
	sorts := e.p.Placement == plan.BeforeJoin && e.p.Join == plan.Shuffle
	train := func(i int, l Layer) { e.train("train-"+l.Name, e.first+i, e.first+i+1) }
	switch e.p.Inference {
	case plan.Fused:
		e.infer(extract, -1, last, e.n.PooledBytes, sorts)
		e.joinOutputs(extract, e.n.PooledBytes)
	case plan.Eager:
		e.infer(extract, -1, last, e.n.RawBytes, sorts)
		e.joinOutputs(extract, e.n.RawBytes)
		for i, l := range e.n.Layers {
			e.pool("pool-"+l.Name, i)
			train(i, l)
		}
	case plan.Lazy:
		for i, l := range e.n.Layers {
			e.infer("extract-"+l.Name, -1, i, l.Pooled, sorts)
			e.joinOutputs("extract-"+l.Name, l.Pooled)
			train(i, l)
		}
	case plan.Staged:
		for i, l := range e.n.Layers {
			writes := l.Pooled
			if i < last {
				writes += l.Raw
			}
			e.infer("stage-"+l.Name, i-1, i, writes, false)
			if sorts {
				e.sortPooled(i)
			}
			e.joinOutputs("stage-"+l.Name, l.Pooled)
			train(i, l)
		}
	}
}

// sortPooled charges the phase before for sorting a layer's vectors: a staged plan's volumes stay where they are.
func (e *estimator) sortPooled(layer int) {
	more := float64(e.images()*e.n.Layers[layer].Pooled) / e.r.Sort / 2
	slots := float64(min(e.p.CPU*e.workers, e.partitions()))
	last := &e.out.Phases[len(e.out.Phases)-1]
	last.Compute += more
	last.Seconds += more / slots
	e.out.Compute += more
	e.out.Seconds += more / slots
}

// pool adds the phase that pools a layer's stored volumes.
func (e *estimator) pool(name string, layer int) {
	n, l := e.images(), e.n.Layers[layer]
	in, _, unpack := e.stored(l.Raw)
	out, pack, _ := e.stored(l.Pooled)
	e.phase(name, e.partitions(), float64(n)*(unpack+pack+float64(l.Raw)/e.r.Copy), n*in, n*out, false)
}

// finish adds what ends a job: rows without an image are looked for, predictions are judged, results are written. The
// pipeline of the results has the weights once more.
func (e *estimator) finish() {
	n := e.trained()
	if e.p.Join == plan.Broadcast {
		e.phase("unmatched", 1, 0, 0, 0, true)
	}
	judged := float64(n) * float64(len(e.t.Columns)*max(e.t.Settings, 1)) * judgeSeconds
	e.phase("evaluate", 1, judged, 0, 0, false)
	// Of several networks nobody knows which one wins.
	e.phase(resultsPhase, 1, float64(e.heaviest)/e.r.Copy, e.heaviest, e.heaviest, false)
}

// judgeSeconds is what a prediction takes while it is compared.
const judgeSeconds = 0.5e-6
