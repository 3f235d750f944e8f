package vistaopt

import "github.com/vista-mr/vista-mr/vistaopt/plan"

const mib = 1 << 20

// What a process holds whatever it runs, and what its parts take. docs/runtime.md has the figures.
const (
	baseBytes = 62 * mib
	// heapBytes is what the program itself allocates beside what a phase needs, nativeBytes what the runtime holds when no
	// network is open.
	heapBytes, nativeBytes = 48 * mib, 48 * mib
	// rowBytes is what is held for each row beside the broadcast table: keys seen while the table is read and while
	// rows without image are looked for; keys, labels and folds while models are trained. keyedBytes is what it is of the last beside
	// the key, which takes up to an eighth more than its length: of a key of more than 50 bytes, that is more.
	rowBytes, keyedBytes = 96, 40
	// tableOverhead is what the index over a broadcast table takes for each row, however long its key.
	tableOverhead = 96
	// fileBytes is what a slot holds of files read ahead, and the largest file that is taken in any case.
	fileBytes, maxFile = 8 * mib, 64 * mib
	// pipelineBytes is what a slot's decoder keeps between pictures.
	pipelineBytes = 4 * mib
	// minDecode is the least room for decoding that takes ordinary photographs; maxDecode takes whatever is taken
	// anywhere, 48 Mi pixels at 15 bytes.
	minDecode, maxDecode = 48 * mib, 720 * mib
	// minSort is the least sort memory of an attempt that still makes runs worth merging, minCache the least room for
	// pinned partitions; what does not fit is read from disk. The largest ones bound what is taken when there is plenty:
	// beyond, more memory buys no time, because files in the page cache are read at memory speed.
	minSort, maxSort   = 8 * mib, 64 * mib
	minCache, maxCache = 32 * mib, 192 * mib
	// convCopies is how much more of the weights of convolutions is held while they are brought into the layout that they are
	// computed in. ResNet50, which is little else, could be made ready in 230 MiB and not in 215.
	convCopies = 0.7
	// droppable is the part of the mapped weights whose pages a large picture may take the place of: a quarter. They are
	// read again from the cache's file; AlexNet in 285 MiB, where nearly all were dropped, took 1.5 times as long.
	droppable = 4
	// arenaSlack is for what the runtime allocates beside activations.
	arenaSlack = 32 * mib

	// A weight in training: twenty vectors of the optimizer's memory, its states, steps and garbage, and the sums of
	// the coordinator; in each slot a point, a partial, a block's sum and two encoded sums.
	trainingBytes, trainingSlot = 400, 40
	// A weight that is trained: in the model, and in the message that hands it out. One of a model that is kept for
	// the results: as JSON in the manifest, twice, and decoded; while later phases train, once in the manifest, which whoever
	// drives the job has to its end: 11 to 15 bytes a weight, by its size.
	trainedBytes, keptBytes, heldBytes = 8, 48, 16
	// A column's statistics by fold: sums and squares, in the coordinator and in each slot, plain and encoded.
	momentBytes = 32
	// A prediction while it is judged: label, class, own probability; what measuring adds; probability of a class.
	judgedBytes, measureBytes, probabilityBytes = 16, 64, 8
)

// Regions is what a worker's memory is needed for, in bytes: the least with which a plan runs.
type Regions struct {
	Base      int64 `json:"base"`      // the program itself, the runtime library, garbage not yet collected
	Rows      int64 `json:"rows"`      // what is kept of every row
	Table     int64 `json:"table"`     // the broadcast table
	Prepare   int64 `json:"prepare"`   // the runtime, while it makes a model ready for the first time
	Mapped    int64 `json:"mapped"`    // of the weights, pages that the system may drop while a large picture is read and decoded
	Model     int64 `json:"model"`     // weights
	Inference int64 `json:"inference"` // activations of all images in flight
	Buffers   int64 `json:"buffers"`   // files read ahead, decoded images, results of a batch
	Decode    int64 `json:"decode"`    // pictures being decoded, of all slots together
	Sort      int64 `json:"sort"`      // sort and merge buffers of all attempts at once
	Kept      int64 `json:"kept"`      // models that the phases before have trained, while the next layer is computed
	Cache     int64 `json:"cache"`     // pinned partitions while models are trained
	Train     int64 `json:"train"`     // models in training, one at a time
	Evaluate  int64 `json:"evaluate"`  // predictions while they are compared
}

// always is what is held from the first phase to the last.
func (r Regions) always() int64 { return r.Base + r.Rows + r.Table }

// inference is what the CNN's phases hold beside that.
func (r Regions) inference() int64 {
	return r.Model + r.Inference + r.Buffers + r.Decode + r.Sort + r.Kept - r.Mapped
}

// Need is the most that is held at once. Making a model ready, inference, training and evaluation do not overlap: the
// model is let go before partitions are pinned, and those before predictions are read.
func (r Regions) Need() int64 {
	return r.always() + max(r.Prepare+r.Kept, r.inference(), r.Cache+r.Train, r.Evaluate)
}

// largest names the phase that decides Need.
func (r Regions) largest() string {
	switch r.Need() - r.always() {
	case r.inference():
		return inInference
	case r.Prepare + r.Kept:
		return inPrepare
	case r.Cache + r.Train:
		return inTraining
	}
	return inEvaluation
}

// What largest says.
const (
	inInference  = "inference"
	inPrepare    = "making the model ready"
	inTraining   = "training"
	inEvaluation = "evaluation"
)

// Room is how much of what is there may be taken by what depends on the data. In each phase all of it together, at its
// worst, stays within the memory that the choice was made for.
type Room struct {
	Sort    int64 // of one attempt
	File    int64 // the largest image file
	Decode  int64 // decoding, of all slots together
	Arena   int64 // the runtime's
	Cache   int64 // pinned partitions
	Models  int64 // all that a phase's models take
	Heap    int64 // what the program itself allocates in the CNN's phases, all but the runtime
	Trainer int64 // what it allocates while models are trained and compared
	Classes []Classes

	// What a model's weights take of Models, in bytes: in training, trained, and handed on.
	PerTraining, PerTrained, PerKept int64

	Driven Driven // what they may take in the tracker
}

// Alone is what a picture may take while it is decoded in a process of so much memory that holds its file and nothing of a job. Beside
// the largest file, no plan's Room.Decode is more by 4 MiB.
func Alone(memory, file int64) int64 { return min(max(memory-baseBytes-file, minDecode), maxDecode) }

// Classes is what a phase holds by the number of classes. A plan counts those that it knows of; who has read the table looks again.
type Classes struct {
	For             string
	Fixed, PerClass int64 // bytes: two classes need as much as one
	Of              int64 // bytes that there are for it; 0: those that the plan was made for
}

// job is what every plan of a workload deals with. What its models take is added up once.
type job struct {
	ns []Network
	s  Stats
	t  Training

	one      Network // all networks as one: joined
	w, apart weights // of a phase that trains all targets, and of phases that train one layer after the other
}

func newJob(ns []Network, s Stats, t Training) *job {
	return &job{ns: ns, s: s, t: t, one: joined(ns), w: t.weights(t.Columns), apart: t.apart()}
}

// trained are the weights of one training phase of a plan.
func (j *job) trained(p plan.Plan) weights {
	if layerwise(p) {
		return j.apart
	}
	return j.w
}

// network are the regions of one network that runs alone, beside which there is no other.
func (j *job) network(p plan.Plan, n *Network) Regions {
	s := j.s
	inFlight := int64(p.CPU * p.Batch)
	out := n.PooledBytes
	record := int64(0) // what is held of a record of several images until its last one
	if s.PerRecord > 1 {
		record = 2 * n.PooledBytes
	}
	if keepsVolumes(p) {
		out += n.RawBytes
		if s.PerRecord > 1 {
			record += s.PerRecord * n.RawBytes
		}
	}
	r := Regions{
		Model:     n.WeightBytes,
		Prepare:   n.WeightBytes + int64(convCopies*float64(n.ConvBytes)), // as they lie in the file, and packed
		Inference: inFlight * n.ImageBytes,
		Buffers:   inFlight*(n.PixelBytes+2*out) + int64(p.CPU)*(fileBytes+pipelineBytes+record) + int64(p.CPU+1)*s.UnitBytes,
	}
	if n.Mapped {
		may := max(n.WeightBytes-n.ConvBytes, 0) / droppable
		r.Mapped = min(may, minDecode+int64(p.CPU)*fileBytes)
		r.Prepare += max(2*n.LargestWeight-may, 0)
	} else {
		r.Prepare += 2 * n.LargestWeight
	}
	return r
}

// shared adds what does not depend on the networks.
func (j *job) shared(p plan.Plan, r Regions) Regions {
	s, t := j.s, j.t
	w := j.trained(p)
	r.Base, r.Rows = baseBytes, s.held()
	k := t.scores()
	r.Decode, r.Cache, r.Kept = minDecode, minCache, k*w.held()
	r.Train = j.moments(w, p.CPU) + k*(w.largest*perTraining(p.CPU)+w.fixed())
	r.Evaluate = s.trained()*(t.judged()+k*t.probabilities()) + k*j.w.kept*keptBytes
	if p.Join == plan.Broadcast {
		r.Table = s.Rows*s.RowBytes + (s.Rows+s.Aside)*tableOverhead
	} else {
		r.Sort = int64(p.CPU) * minSort
	}
	return r
}

// held is what is kept of every row. Of one that was set aside nothing is while models are trained.
func (s Stats) held() int64 {
	return s.Rows*max(rowBytes, keyedBytes+s.KeyBytes+s.KeyBytes/8) + s.Aside*rowBytes
}

func perTraining(slots int) int64 { return trainingBytes + trainingSlot*int64(slots) }

// weights of models with one score in a phase: those of the largest, of all, of all but the folds', and the last ones' of the phases
// before. With them the columns that statistics are made of.
type weights struct{ largest, all, kept, before, columns int64 }

// weights are those of a phase that trains targets of so many columns.
func (t Training) weights(targets []int) (w weights) {
	for _, c := range targets {
		n := int64(c) + 1
		w.largest = max(w.largest, n)
		w.kept += n * int64(t.Settings)
		w.all += n * int64(t.Settings) * int64(1+t.Folds)
		w.columns += int64(c)
	}
	return w
}

// apart is the most of each in phases that train one layer after the other, structured columns alone in the first of them.
func (t Training) apart() (most weights) {
	before := int64(0)
	for from, to := 0, 2; from < len(t.Columns); from, to = to, to+1 {
		w := t.weights(t.Columns[from:min(to, len(t.Columns))])
		most = weights{max(most.largest, w.largest), max(most.all, w.all), max(most.kept, w.kept), before, most.columns}
		before += w.kept
	}
	for _, c := range t.Columns {
		most.columns = max(most.columns, int64(c)) // a layer's have the structured ones among them
	}
	return most
}

// layerwise tells whether a plan trains in a phase for each layer.
func layerwise(p plan.Plan) bool { return p.Inference != plan.Fused }

// fixed is what they take for each score, whichever are in training.
func (w weights) fixed() int64 { return w.all*trainedBytes + w.kept*keptBytes + w.held() }

// held is what models of the phases before take of it.
func (w weights) held() int64 { return w.before * heldBytes }

// moments are the statistics of all columns of a phase, which are those of each of its layers once and the structured ones once.
func (j *job) moments(w weights, slots int) int64 {
	return w.columns * int64(max(j.t.Folds, 1)) * momentBytes * int64(1+slots)
}

// judged and, for each score, probabilities are what a row takes while targets are compared: one target with all settings, of
// each target the chosen one, and a copy of one fold's rows.
func (t Training) judged() int64 {
	return judgedBytes*int64(t.Settings+len(t.Columns)) + measureBytes
}

func (t Training) probabilities() int64 {
	n := t.Settings
	if t.Ranks {
		n += len(t.Columns)
	}
	bytes := probabilityBytes * int64(n)
	if folds := int64(t.Folds); folds > 0 {
		bytes += (probabilityBytes + folds - 1) / folds
	}
	return bytes
}

// cache is what pinned partitions may take of so much memory while models are trained: a quarter of what is free. The models
// cannot do with less than they need; partitions can.
func (r Regions) cache(memory int64) int64 {
	free := memory - r.always()
	return max(min(free/4, free-r.Train, maxCache), minCache)
}

// models is what is left for the models of a phase of so much memory while they are trained.
func (j *job) models(p plan.Plan, r Regions, memory int64) int64 {
	return memory - r.always() - r.cache(memory) - j.moments(j.trained(p), p.CPU) - r.Kept
}

// atOnce tells whether all models of a phase may be in training at once.
func (j *job) atOnce(p plan.Plan, r Regions, memory int64) bool {
	w := j.trained(p)
	return j.t.scores()*(w.all*(perTraining(p.CPU)+trainedBytes)+w.kept*keptBytes) <= j.models(p, r, memory)
}

// spread says what may be taken of the memory that a plan's regions leave. It raises no region: Need stays what is expected.
func (j *job) spread(p plan.Plan, r Regions, memory int64) Room {
	rows, t, w := j.s.trained(), j.t, j.trained(p)
	cpu := int64(p.CPU)
	room := Room{Sort: minSort, File: fileBytes, PerTraining: perTraining(p.CPU), PerTrained: trainedBytes, PerKept: keptBytes}
	left := memory - r.always() - r.inference()

	// Inference: the runtime a quarter more than is expected, then sorting, decoding, files.
	slack := min(r.Inference/4+arenaSlack, left)
	room.Arena = r.Model + r.Inference + slack
	left -= slack
	if p.Join == plan.Shuffle {
		more := min(left/2/cpu, maxSort-minSort)
		room.Sort += more
		left -= more * cpu
	}
	more := min(left/4/cpu, maxFile-fileBytes)
	room.File += more
	left -= more * cpu
	room.Decode = min(r.Decode+left, maxDecode)
	inference := r.Kept + r.Buffers + (room.File-fileBytes)*cpu + room.Decode + room.Sort*cpu

	// Making a model ready comes before anything is decoded: what it takes beyond that is there, because Need counts it.
	room.Arena = max(room.Arena, r.Prepare)

	room.Cache = r.cache(memory)
	room.Models = j.models(p, r, memory)
	room.Classes = []Classes{
		{For: "training one model at a time", Fixed: r.always() + room.Cache + j.moments(w, p.CPU), PerClass: w.largest*room.PerTraining + w.fixed()},
		{For: "comparing predictions", Fixed: r.always() + t.judged()*rows, PerClass: t.probabilities()*rows + j.w.kept*keptBytes},
	}
	room.Heap = heapBytes + r.Rows + r.Table + inference
	room.Trainer = memory - nativeBytes
	return room
}
