package vistaopt

import (
	"cmp"
	"math"

	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// Estimate is what a plan is expected to cost.
type Estimate struct {
	Phases  []PhaseEstimate `json:"phases"`  // in the order in which they run
	Seconds float64         `json:"seconds"` // of the clock, from the command to the results
	Compute float64         `json:"compute"` // core-seconds of all workers
	Written int64           `json:"written"` // bytes that phases write to the store, shuffled records included; not the programs and the results
	Memory  int64           `json:"memory"`  // bytes that a worker is expected to hold at its peak
}

// PhaseEstimate is one phase's part of it. Name is the phase's, as package compile gives it.
type PhaseEstimate struct {
	Name    string  `json:"name"`    // of the phase; start and results stand for what is done around the phases
	Tasks   int     `json:"tasks"`   // how many
	Seconds float64 `json:"seconds"` // of the clock
	Compute float64 `json:"compute"` // core-seconds
	Read    int64   `json:"read"`    // bytes
	Written int64   `json:"written"` // bytes
}

// HeaderBytes is what a file of records is expected to have beside them: its schema, its properties and the marks of its blocks.
const HeaderBytes = 180

// Phases that stand for what is done around the chain.
const (
	StartPhase   = "start"   // from the command to the first phase: the engine and the network are made ready
	ResultsPhase = "results" // behind the last phase: models and report are written
)

// estimator adds phases up as package compile chains them. It knows their order, but neither their parameters nor kinds.
type estimator struct {
	*costs
	p       plan.Plan
	n       Network // at hand
	bytes   []Layer // its layers as they are
	first   int     // its first layer among all
	workers int
	cores   float64 // of a worker, that its attempts can use; less than 1: that part of one
	cache   int64   // bytes of pinned partitions that a worker holds in memory; 0: all of them
	models  int64   // bytes that models in training may take, where cache is not 0
	driven  Driven  // what they may take in the tracker
	unnamed bool    // phases are told by their kinds
	out     Estimate
}

// name is a phase's, of a kind. In a search it would be most of the work.
func (e *estimator) name(kind, of string) string {
	if e.unnamed {
		return kind
	}
	return kind + of
}

// costs are a job's networks at a machine's rates. What does not depend on the plan is worked out once, because a search
// estimates hundreds of them.
type costs struct {
	*job
	r                Rates
	apart, own       []Network                // that run one after the other, in terms of the rates, and as they are
	together, joined []Network                // one that is all of them, likewise
	all              []Layer                  // of all of them
	winner           int64                    // weights up to the layer that wins, in bytes: the mean, because nobody knows which
	weights          int64                    // of all networks
	written          map[plan.Inference]int64 // bytes of all programs
	phases           []PhaseEstimate          // of the plan before, whose room the next one takes
}

func (j *job) at(r Rates) *costs {
	c := &costs{job: j, r: r.or(), written: map[plan.Inference]int64{}}
	for _, n := range j.ns {
		if len(n.Layers) == 0 { // nothing is known of them: one that is all
			n.Layers = []Layer{{Name: n.Name, Weights: n.WeightBytes, Raw: n.RawBytes, Pooled: n.PooledBytes}}
		}
		c.all = append(c.all, n.Layers...)
		c.apart, c.own = append(c.apart, n.at(c.r)), append(c.own, n)
		c.weights += n.WeightBytes
	}
	for _, n := range c.own {
		for _, l := range n.Layers {
			c.winner += l.Weights / int64(len(c.all))
		}
	}
	c.together, c.joined = []Network{joined(c.apart)}, []Network{joined(c.own)}
	return c
}

// estimateOf is the cost of a plan on so many workers of p.CPU slots each, of which as many compute at once as there are
// cores. A machine whose cores or memory are 0 has as many as the plan can use.
func estimateOf(p plan.Plan, ns []Network, s Stats, t Training, m Machine) Estimate {
	return newJob(m.holds(ns), s, t).at(m.Rates).whole(p, m)
}

// slots is how many of a plan's attempts compute at once in each worker.
func (m Machine) slots(p plan.Plan) float64 {
	if m.Cores > 0 {
		return float64(min(p.CPU, m.Cores))
	}
	return float64(p.CPU)
}

// whole is all of a plan's estimate, and nothing that is written over.
func (c *costs) whole(p plan.Plan, m Machine) Estimate {
	r := c.regions(p)
	e := &estimator{costs: c, p: p, workers: max(m.Workers, 1), cores: m.slots(p)}
	e.run(r, m)
	e.out.Memory = c.peak(p, r, m)
	return e.out
}

// sums are what a plan takes with so many cores of each worker, and what it writes, where its regions are r.
func (c *costs) sums(p plan.Plan, r Regions, cores float64, m Machine) Estimate {
	e := &estimator{costs: c, p: p, workers: max(m.Workers, 1), cores: cores, unnamed: true}
	e.out.Phases = c.phases[:0]
	e.run(r, m)
	c.phases, e.out.Phases = e.out.Phases, nil
	return e.out
}

// run adds all phases up.
func (e *estimator) run(r Regions, m Machine) {
	if m.Memory > 0 {
		e.cache, e.models, e.driven = r.cache(m.Memory), e.job.models(e.p, r, m.Memory), e.job.driven(e.p, m)
	}
	e.start()
	e.table()
	if e.p.Join == plan.Shuffle && e.p.Placement == plan.AfterJoin {
		e.joinImages()
	}
	e.chain()
	e.finish()
}

// phase adds a phase of even tasks, each of which writes so many files. compute is in core-seconds, bytes pass the store once. Of a phase that broadcasts, each
// worker reads the table before its first task ends.
func (e *estimator) phase(name string, tasks, files int, compute float64, read, written int64, broadcasts bool) {
	tasks = max(tasks, 1)
	written += int64(tasks*files) * HeaderBytes
	slots := e.slots(tasks)
	compute += float64(tasks) * (e.r.Task + float64(files)*e.r.File)
	waves := math.Ceil(float64(tasks) / slots)
	seconds := waves * compute / float64(tasks)
	used := min(tasks, e.workers)
	if broadcasts {
		bytes, _, unpack := e.stored(same(e.s.Rows * e.s.RowBytes))
		seconds, compute, read = seconds+unpack, compute+unpack*float64(used), read+bytes*int64(used)
	}
	store := float64(read)/(e.r.Read*float64(used)) + float64(written)/(e.r.Write*float64(used))
	e.add(PhaseEstimate{Name: name, Tasks: tasks, Seconds: max(seconds, store) + e.r.Phase, Compute: compute, Read: read, Written: written})
}

// slots is how many of so many tasks compute at once; a task alone has a core.
func (e *estimator) slots(tasks int) float64 {
	if tasks == 1 {
		return max(e.cores, 1) * float64(e.workers)
	}
	return e.cores * float64(e.workers)
}

func (e *estimator) add(p PhaseEstimate) {
	e.out.Phases = append(e.out.Phases, p)
	e.out.Seconds += p.Seconds
	e.out.Compute += p.Compute
	e.out.Written += p.Written
}

// start is what comes before the first phase: the networks' weights are read and digested, and written into programs, by the
// driver alone.
func (e *estimator) start() {
	s := e.r.Job + float64(e.weights+e.programs(e.p))/e.r.Load
	e.add(PhaseEstimate{Name: StartPhase, Tasks: 1, Seconds: s, Compute: s})
}

// programs is how many bytes all programs of a plan have.
func (c *costs) programs(p plan.Plan) int64 {
	sum, known := c.written[p.Inference]
	if !known {
		for i := range c.own {
			for _, b := range programs(p, &c.own[i]) {
				sum += b
			}
		}
		c.written[p.Inference] = sum
	}
	return sum
}

// partitions is how many the rows have: the splits of the images, or those of a shuffle.
func (e *estimator) partitions() int {
	if e.p.Join == plan.Shuffle {
		return e.p.Partitions
	}
	return e.splits()
}

// splits is how many the images have.
func (e *estimator) splits() int { return e.s.splits(e.p.Partitions) }

// tasks is how many a phase of the CNN has.
func (e *estimator) tasks() int {
	if e.p.Placement == plan.BeforeJoin {
		return e.splits()
	}
	return e.partitions()
}

// images is how many pass the CNN.
func (e *estimator) images() int64 {
	if e.p.Placement == plan.AfterJoin {
		return e.s.matched()
	}
	return e.s.Images
}

// amount is bytes of records: plain, as Snappy leaves them, and how many of the plain ones it makes smaller. It passes over
// others about as fast as they are copied.
type amount struct{ plain, packed, soft int64 }

func (a amount) times(n int64) amount { return amount{a.plain * n, a.packed * n, a.soft * n} }

// over is a part of it that so many images share.
func (a amount) over(images float64) amount {
	if images <= 1 {
		return a
	}
	part := func(n int64) int64 { return int64(float64(n) / images) }
	return amount{part(a.plain), part(a.packed), part(a.soft)}
}

func (a amount) and(b amount) amount {
	return amount{a.plain + b.plain, a.packed + b.packed, a.soft + b.soft}
}

// same is bytes that Snappy does not make smaller: rows of numbers, image files.
func same(plain int64) amount { return amount{plain, plain, 0} }

// leaving is bytes of which Snappy leaves a part.
func leaving(plain int64, part float64) amount {
	if part >= 1 {
		return same(plain)
	}
	return amount{plain, int64(float64(plain) * part), plain}
}

// vectors are those of layers for one record, and volumes those for one image.
func (e *estimator) vectors(ls ...Layer) (a amount) {
	for _, l := range ls {
		a = a.and(leaving(l.Pooled, e.s.mixed(cmp.Or(l.Dense, e.r.Ratio))))
	}
	return a
}

// imageVectors are an image's part of vectors: a record has one for each layer, however many images it has.
func (e *estimator) imageVectors(ls ...Layer) amount { return e.vectors(ls...).over(e.s.Average) }

func (e *estimator) volumes(ls ...Layer) (a amount) {
	for _, l := range ls {
		a = a.and(leaving(l.Raw, cmp.Or(l.RawDense, e.r.Ratio)))
	}
	return a
}

// stored is how many bytes are written, and what a core takes to write them and to read them.
func (e *estimator) stored(a amount) (bytes int64, write, read float64) {
	if e.p.Storage == plan.Raw {
		c := float64(a.plain) / e.r.Copy
		return a.plain, c, c
	}
	c := float64(a.plain-a.soft) / e.r.Copy
	return a.packed, c + float64(a.soft)/e.r.Pack, c + float64(a.soft)/e.r.Unpack
}

func (e *estimator) table() {
	plain := e.s.Rows * e.s.RowBytes
	bytes, write, _ := e.stored(same(plain))
	compute := float64(plain)/e.r.Parse + write
	if e.p.Join == plan.Shuffle {
		compute += float64(plain) / e.r.Sort
	}
	e.phase("table", 1, 1, compute, plain, bytes, false)
}

// shuffled adds the phase that sorts records of an amount an image by key with the table's, and writes those that have both, with their
// rows or without, in so many files a task.
func (e *estimator) shuffled(name string, files int, an amount, rows bool) {
	table, all := e.s.Rows*e.s.RowBytes, an.plain*e.s.Images
	bytes, write, _ := e.stored(an.times(e.s.matched()))
	if rows {
		bytes += e.s.met() * e.s.RowBytes
	}
	e.phase(name, e.partitions(), files, float64(all+table)/e.r.Sort/2+write, all+table, bytes, false)
}

func (e *estimator) joinImages() {
	plain := e.s.Images * e.s.ImageBytes
	e.phase("load", e.splits(), 1, float64(plain)/e.r.Sort/2+float64(plain)/e.r.Copy, plain, plain, false)
	e.shuffled("joined", 1, same(e.s.ImageBytes), true)
}

// infer adds the phase that computes layer to from layer from (-1: from the image), writing so much an image.
// sorts says that what it writes goes through a shuffle. The program is made ready first, by one core of each worker.
// files are those of a task: one for each output, and one for the rows.
func (e *estimator) infer(name string, from, to, files int, writes amount, sorts bool) {
	n := e.images()
	macs, weights := e.n.Layers[to].MACs, e.n.Layers[to].Weights
	var per float64
	var read int64
	if from >= 0 {
		macs, weights = macs-e.n.Layers[from].MACs, weights-e.n.Layers[from].Weights
		bytes, _, unpack := e.stored(e.volumes(e.n.Layers[from]))
		per, read = unpack, bytes
	} else {
		per, read = float64(e.s.ImageBytes)/e.r.Decode, e.s.ImageBytes
	}
	per += float64(macs) / e.r.MACs
	// Each partition's last batch may be smaller, and reads the weights all the same.
	parts, batch := int64(max(e.tasks(), 1)), int64(max(e.p.Batch, 1))
	perPart := (n + parts - 1) / parts
	calls := float64(parts*((perPart+batch-1)/batch)) * float64(weights) / e.r.Weights
	bytes, write, _ := e.stored(writes)
	if sorts {
		write += float64(writes.plain) / e.r.Sort / 2
		bytes, files = writes.packed, 1 // whatever the storage: what is sorted goes through Snappy
	}
	broadcasts := e.p.Join == plan.Broadcast && e.p.Placement == plan.AfterJoin && from < 0
	written := n * bytes
	if from < 0 && e.p.Placement == plan.AfterJoin { // matched rows are written beside the first layer
		written += e.baseBytes(to)
	}
	e.phase(name, e.tasks(), files, float64(n)*(per+write)+calls, n*read, written, broadcasts)
	// However fast the network runs, its bytes are made ready at one rate.
	ready := e.bytes[to].Weights
	if from >= 0 {
		ready -= e.bytes[from].Weights
	}
	e.ready(ready)
}

// baseBytes is what is written of matched rows beside their layers' vectors: once, by the first phase of inference.
func (e *estimator) baseBytes(to int) int64 {
	if e.p.Inference == plan.Lazy && to > 0 || e.first > 0 {
		return 0
	}
	return e.s.met() * e.s.RowBytes
}

// ready charges the phase before for making a program of so many bytes of weights ready on each worker.
func (e *estimator) ready(weights int64) {
	s := float64(weights)/e.r.Ready + float64(e.fresh(weights))/e.r.Prepare
	last := &e.out.Phases[len(e.out.Phases)-1]
	last.Seconds, last.Compute = last.Seconds+s, last.Compute+s*float64(e.workers)
	e.out.Seconds, e.out.Compute = e.out.Seconds+s, e.out.Compute+s*float64(e.workers)
}

// behind adds what stands behind a phase of the CNN: the join, of plan before-join, and behind the job's first phase the look for
// rows that no image was found for.
func (e *estimator) behind(name string, layer, files int, a amount) {
	if e.p.Placement == plan.BeforeJoin {
		e.joinOutputs(name, files, a, e.first+layer == 0)
	}
	if e.first+layer == 0 && e.p.Join == plan.Broadcast {
		e.phase("unmatched", 1, 0, 0, 0, 0, true)
	}
}

// joinOutputs adds the join behind the CNN: the first one writes the rows, too.
func (e *estimator) joinOutputs(name string, files int, a amount, rows bool) {
	if e.p.Join == plan.Shuffle {
		e.shuffled(e.name("join-", name), files, a, rows)
		return
	}
	n, kept := e.s.Images, e.s.matched()
	bytes, write, read := e.stored(a)
	written := kept * bytes
	if rows {
		written += e.s.met() * e.s.RowBytes
	}
	e.phase(e.name("join-", name), e.partitions(), files, float64(n)*read+float64(kept)*write, n*bytes, written, true)
}

// chain adds the phases that the plan's way of inference makes, for one network after the other.
func (e *estimator) chain() {
	ns, own := e.apart, e.own
	if e.p.Networks == plan.Together {
		ns, own = e.together, e.joined
	}
	for i, n := range ns {
		e.n, e.bytes = n, own[i].Layers
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
	files := len(e.n.Layers) + e.rowFiles(0) // of a task that computes all layers
	if e.p.Networks == plan.Apart {
		extract += "-" + e.n.Name
	}
	sorts := e.p.Placement == plan.BeforeJoin && e.p.Join == plan.Shuffle
	train := func(i int, l Layer) { e.train(e.name("train-", l.Name), e.first+i, e.first+i+1) }
	switch e.p.Inference {
	case plan.Fused:
		e.infer(extract, -1, last, files, e.imageVectors(e.n.Layers...), sorts)
		e.behind(extract, 0, files, e.imageVectors(e.n.Layers...))
	case plan.Eager:
		e.infer(extract, -1, last, files, e.volumes(e.n.Layers...), sorts)
		e.behind(extract, 0, files, e.volumes(e.n.Layers...))
		for i, l := range e.n.Layers {
			e.pool(e.name("pool-", l.Name), i)
			train(i, l)
		}
	case plan.Lazy:
		for i, l := range e.n.Layers {
			e.infer(e.name("extract-", l.Name), -1, i, 1+e.rowFiles(i), e.imageVectors(l), sorts)
			e.behind(e.name("extract-", l.Name), i, 1+e.rowFiles(i), e.imageVectors(l))
			train(i, l)
		}
	case plan.Staged:
		for i, l := range e.n.Layers {
			writes, files := e.imageVectors(l), 1+e.rowFiles(i)
			if i < last {
				writes, files = writes.and(e.volumes(l)), files+1
			}
			e.infer(e.name("stage-", l.Name), i-1, i, files, writes, false)
			if sorts {
				e.sortPooled(i)
			}
			e.behind(e.name("stage-", l.Name), i, 1+e.rowFiles(i), e.imageVectors(l))
			train(i, l)
		}
	}
}

// rowFiles counts the one file that a task of the job's first phase of inference writes beside its layers': the rows.
func (e *estimator) rowFiles(layer int) int {
	if e.first+layer == 0 {
		return 1
	}
	return 0
}

// sortPooled charges the phase before for sorting a layer's vectors: a staged plan's volumes stay where they are.
func (e *estimator) sortPooled(layer int) {
	more := float64(e.s.keyed(e.images())*e.n.Layers[layer].Pooled) / e.r.Sort / 2
	slots := min(e.slots(e.tasks()), float64(e.tasks()))
	last := &e.out.Phases[len(e.out.Phases)-1]
	last.Compute += more
	last.Seconds += more / slots
	e.out.Compute += more
	e.out.Seconds += more / slots
}

// pool adds the phase that pools a layer's stored volumes, which are joined by then.
func (e *estimator) pool(name string, layer int) {
	n, l := e.s.matched(), e.n.Layers[layer]
	in, _, unpack := e.stored(e.volumes(l))
	out, pack, _ := e.stored(e.imageVectors(l))
	e.phase(name, e.partitions(), 1, float64(n)*(unpack+pack+float64(l.Raw)/e.r.Copy), n*in, n*out, false)
}

// finish adds what ends a job: predictions are judged, results are written. The
// pipeline of the results has the weights up to the best layer once more; no plan writes more or less of them than another.
func (e *estimator) finish() {
	n := e.s.met()
	if e.t.Features {
		e.features()
	}
	judged := float64(n) * float64(len(e.t.Columns)*max(e.t.Settings, 1)) * judgeSeconds
	judged += float64(e.w.kept*(e.t.scores()-1)) * keptSeconds
	e.phase("evaluate", 1, 0, judged, 0, 0, false)
	e.phase(ResultsPhase, 1, 0, float64(e.winner)/e.r.Save, e.winner, 0, false)
}

// features adds the phase that writes the vectors for the user, a file for each layer and partition, each beside the rows, and with
// Snappy whatever the storage.
func (e *estimator) features() {
	n, a, files := e.s.met(), e.vectors(e.all...), int64(len(e.all))
	read, _, unpack := e.stored(a)
	pack := float64(a.plain-a.soft)/e.r.Copy + float64(a.soft)/e.r.Pack
	rows := files * e.s.RowBytes
	e.phase("features", e.partitions(), len(e.all), float64(n)*(unpack+pack+float64(rows)/e.r.Copy), n*(read+rows), n*a.packed, false)
}

// judgeSeconds is what a prediction takes while it is compared. scoreSeconds is what a weight of a score beyond the first takes in a round
// and partition, where Rates.Sum is what the first takes, and keptSeconds what it takes while models are read and written: 100 classes,
// ResNet50 with 5 layers, 300 records in 5 and 150 partitions trained in 10 and 67 core-seconds, and were compared in 1.4 to 1.8 s.
const judgeSeconds, scoreSeconds, keptSeconds = 0.5e-6, 9.3e-9, 0.5e-6
