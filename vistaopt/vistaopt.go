// Package vistaopt decides how a workload is run: it fills in the knobs of the plan that the
// user left open, divides the memory into regions, and refuses what cannot fit.
//
// Invariant: it is a pure function of the workload, its statistics and the machine. The same
// arguments give the same choice, and a choice whose regions add up to more than the limit is
// never returned.
//
// Memory (memory.go) says what a plan needs and hands out what is left: how much decoding, sorting, the runtime's arena,
// the partition cache and the models in training may hold. Cost (cost.go) says how long a plan takes and what it writes, at
// rates (rates.go) that were measured or guessed. The choice (choose.go) is the cheapest plan of those that fit
// and have the inference and the join that bits depend on; these are chosen on standard machines (standard.go).
//
// Package plan holds the plan value, package compile turns it into phases, package paper has the formulas of the Vista
// paper to compare with.
package vistaopt

import (
	"fmt"
	"math"
	"slices"

	"github.com/vista-mr/vista-mr/vistaopt/bytesize"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// Network is what the choice needs to know about a CNN.
type Network struct {
	Name string
	// WeightBytes is the size of the weights of the prefix that is run.
	WeightBytes int64
	// LargestWeight is what the runtime packs of them at once, ConvBytes what of them belongs to convolutions.
	LargestWeight, ConvBytes int64
	// Mapped says that weights are mapped from a file, whose pages the system may drop and read again.
	Mapped bool
	// Fresh are the ways of inference whose programs have to be made ready for the first time, as far as is known. Estimates
	// count it; whether a plan fits does not depend on it, because what is ready may be removed.
	Fresh []plan.Inference
	// ImageBytes is the memory that one image may need while it is in flight.
	ImageBytes int64
	// ActiveBytes is the largest set of activations of one image that are alive at once, Flight what an image in flight
	// was measured to take on this machine; 0: it was not measured.
	ActiveBytes, Flight int64
	// RawBytes and PooledBytes are the sizes, for one image, of all layers asked for: whole
	// volumes, and pooled vectors.
	RawBytes, PooledBytes int64
	// PixelBytes is the size of one decoded and cropped image.
	PixelBytes int64
	// Layers are those asked for, bottom to top, by the names that they have in the job.
	Layers []Layer
	Speed  Speed // of it, where several networks were measured
}

// Layer is one of the layers asked for.
type Layer struct {
	Name        string
	MACs        int64 // multiply-accumulates of an image from the pixels up to here
	Weights     int64 // bytes of the weights up to here
	Raw, Pooled int64 // bytes of an image's volume and pooled vector
	// Dense and RawDense are what Snappy leaves of a byte of the pooled vector and of the volume; 0: Rates.Ratio.
	Dense, RawDense float64
	// Left and RawLeft are the same as they were measured, for estimates (Choice.Measured); 0: not. No choice depends on them.
	Left, RawLeft float64
}

// Stats is what is known about the data.
type Stats struct {
	Rows       int64 // of the table that are good
	Aside      int64 // keys of which the table has no good row: they are broadcast without their rows
	RowBytes   int64 // of one row as it is broadcast
	KeyBytes   int64 // bytes of the key of a good row, on average; 0: not known, short
	Images     int64
	Matched    int64   // images that have a good row; 0: not known, all of them
	ImageBytes int64   // of one image file, on average
	PerRecord  int64   // images of one record, at most; 0 means 1
	Average    float64 // images of one record, on average; 0 means 1
	UnitBytes  int64   // the largest thing that is unpacked to get at images in it; 0: there is none
	// What a sample says of the pictures; 0: none was taken. It proves no bound: what must be there does not depend on it.
	Pixels   int64 // of one, on average
	Decoding int64 // the most that one took while it was decoded, in bytes
}

// trained is how many rows models are made from and judged by, at most: those that have an image, as far as is known.
func (s Stats) trained() int64 { return min(s.Rows, s.matched()) }

// met is how many rows are expected to have an image, where records may have several.
func (s Stats) met() int64 { return min(s.Rows, s.keyed(s.matched())) }

// keyed is how many records so many images are expected to be of.
func (s Stats) keyed(images int64) int64 {
	if s.Average <= 1 || images == 0 {
		return images
	}
	return min(max(int64(math.Round(float64(images)/s.Average)), 1), images)
}

// matched is how many images have a row, as far as is known.
func (s Stats) matched() int64 {
	if s.Matched > 0 {
		return min(s.Matched, s.Images)
	}
	return s.Images
}

// Machine is what a worker may use, how many there are, and how fast they are.
type Machine struct {
	Cores   int
	Memory  int64 // bytes: the least of the job's limit, the process's, the cgroup's and the machine's
	Workers int   // 0 means 1
	// Least is whose memory it is, for refusals: the name of the worker that has the least, EachWorker, ThisMachine, ControlGroup or
	// ThisProcess; "": the job's limit.
	Least  string
	Ulimit Ulimit // where Least is ThisProcess
	Whole  int64  // bytes that there are without the job's limit, for refusals; 0: not known
	Most   int64  // bytes that the workers that Least speaks of can be given: what the smallest of their machines or control groups has; 0: not known
	Rates  Rates  // zero: the defaults
	// Unmapped says that workers hold weights in memory, whatever a network says, because not all have a cache with files to map.
	Unmapped bool

	Tracker Tracker // that drives the workers
}

// holds are networks as the machine's workers have them.
func (m *Machine) holds(ns []Network) []Network {
	if !m.Unmapped {
		return ns
	}
	ns = slices.Clone(ns)
	for i := range ns {
		ns[i].Mapped = false
	}
	return ns
}

// What Machine.Least says beside names of workers, which hold no spaces.
const (
	EachWorker   = "each worker"        // all have the same
	ThisMachine  = "this machine"       // that runs the job in one process, as much as it has
	ControlGroup = "this control group" // that the process is in, or one above it
	ThisProcess  = "this process"       // which has a limit of its own
)

// Ulimit is a process's own limit. It can be compared, as machines are.
type Ulimit interface {
	// Raise says how a job gets so much memory under it, and what the limit is.
	Raise(memory int64) string
}

// Training is what the choice needs to know about the models.
type Training struct {
	Columns    []int // of the models of each target: structured features alone, then each layer's
	Settings   int   // hyper-parameters tried
	Iterations int   // of the optimizer
	Folds      int   // models for each setting beside the one on all rows
	Ranks      bool  // the deciding metric needs the probabilities of all classes (AUC)
	Classes    int   // of the label; 0: not known, two
	Features   bool  // the vectors of all layers are written for the user as well
}

// scores is how many vectors of weights each model has: one for two classes, else one for each.
func (t Training) scores() int64 {
	if t.Classes > 2 {
		return int64(t.Classes)
	}
	return 1
}

// Choice is what was decided.
type Choice struct {
	Plan     plan.Plan
	From     map[string]string // knob -> "file" or "optimizer"
	Regions  Regions
	Room     Room
	Pinned   Pinned
	Memory   int64 // that it was made for
	Tracker  int64 // bytes of the tracker that it was made for; 0: not known, or there is none
	Beyond   int64 // bytes that there are, where the plan needs more and runs all the same; else 0
	Estimate Estimate
	Rates    string     // where the speeds that it is made with come from
	Speeds   Rates      // those
	Rejected []Rejected // the other plans that the job file allows, the best of each kind, cheapest first
}

// Pinned is what a worker keeps of its rows while models are trained: the partitions in memory up to the cache's budget, what is
// more on the local disk, from where it is read back in every round.
type Pinned struct {
	Bytes int64 `json:"bytes"` // in all
	Disk  int64 `json:"disk"`  // of that, on the local disk
}

// Rejected is a plan that was not chosen. CPU and Batch of it are the best that fit, or the least if none does.
type Rejected struct {
	Plan     plan.Plan `json:"plan"`     // with the best number at a time and batch that fit, or the least if none does
	Estimate Estimate  `json:"estimate"` // what it would cost
	// Need is what it takes of a worker's memory, in bytes; absent where it was ruled out before that.
	Need int64 `json:"need,omitempty"`
	// Fits is false for a plan that needs more memory than there is, or is ruled out by Why.
	Fits bool   `json:"fits"`
	Why  string `json:"why"` // in words, with the number that sank it
}

// Refused is a plan that does not fit, the one of its kind that needs the least.
type Refused struct {
	Plan plan.Plan `json:"plan"`           // with the number at a time and batch that need the least
	Need int64     `json:"need,omitempty"` // bytes that a worker needs for it; absent where it is ruled out whatever it needs
	Why  string    `json:"why,omitempty"`  // it is ruled out, in words
}

// InfeasibleError says that no plan fits.
type InfeasibleError struct {
	Plan              plan.Plan // of those that the job allows the one that needs the least
	Regions           Regions
	Needed, Available int64
	Worker            string // Machine.Least
	Change            string
	Plans             []Refused // all kinds that the job allows, those that need the least first and those ruled out last
}

// Phase is what needs the most, in words.
func (e *InfeasibleError) Phase() string { return e.Regions.largest() }

// Whose says whose memory there is: limits.memory, this machine, this control group, this process, each worker, or worker and its name.
func (e *InfeasibleError) Whose() string {
	switch e.Worker {
	case "":
		return "limits.memory"
	case EachWorker, ThisMachine, ControlGroup, ThisProcess:
		return e.Worker
	}
	return "worker " + e.Worker
}

func (e *InfeasibleError) Error() string {
	on := " on " + e.Whose()
	switch e.Worker {
	case "":
		on = ""
	case ControlGroup:
		on = " in " + e.Whose()
	case ThisProcess:
		on = " to " + e.Whose()
	}
	phase := e.Phase()
	return fmt.Sprintf("the plan does not fit: it needs %s, %s is available%s (%s: %s); of those that the job allows %s needs the least",
		bytesize.AtLeast(e.Needed), bytesize.AtMost(e.Available), on, phase, added(e.Regions.parts(phase, e.Plan.CPU*e.Plan.Batch)), e.Plan)
}

// ErrorID is stable.
func (e *InfeasibleError) ErrorID() string { return "E-INFEASIBLE" }

// Hint says what to change.
func (e *InfeasibleError) Hint() string { return e.Change }

// maxRecord is the most that one record's volumes may take: they travel as one value.
const maxRecord = 48 * mib

// RecordError says that a record's volumes are too much for one value.
type RecordError struct {
	Plan               plan.Plan
	PerRecord, Volumes int64
}

func (e *RecordError) Error() string {
	return fmt.Sprintf("plan.inference %s keeps whole volumes: %s for a record with %d images, %s is the most", e.Plan.Inference, bytesize.AtLeast(e.Volumes), e.PerRecord, bytesize.AtLeast(maxRecord))
}

// ErrorID is stable.
func (e *RecordError) ErrorID() string { return "E-INFEASIBLE" }

// Hint says what to change.
func (e *RecordError) Hint() string {
	return "set plan.inference to fused or lazy, which keep pooled vectors"
}

// partitions depends on the data alone, never on the machine: the partitions are the unit in which sums are formed, so
// the same data give the same bits everywhere. Each has a 32nd of the images, so that no slot of a small cluster waits long for
// the last one, rounded up to whole batches, because a task costs too much for less than one, and at most 66, which are a few
// seconds of CNN work: one for each 6 of up to 192 images, 17 to 32 of up to 2,112, then one for each 66, and 4096 at most. Images
// that have no row count for nothing: what they take, where they take anything, is to be listed.
func partitions(s Stats) int {
	const spread, batch, perTask, most = 32, 6, 66, 4096
	up := func(n, of int64) int64 { return (n + of - 1) / of }
	n := s.matched()
	per := min(up(max(up(n, spread), 1), batch)*batch, perTask)
	return int(min(max(up(n, per), 1), most))
}

// keepsVolumes tells whether a plan stores whole volumes.
func keepsVolumes(p plan.Plan) bool { return p.Inference == plan.Eager || p.Inference == plan.Staged }
