// Package vistaopt decides how a workload is run: it fills in the knobs of the plan that the
// user left open, divides the memory into regions, and refuses what cannot fit.
//
// Invariant: it is a pure function of the workload, its statistics and the machine. The same
// arguments give the same choice, and a choice whose regions add up to more than the limit is
// never returned.
//
// Memory (memory.go) says what a plan needs and hands out what is left: how much decoding, sorting, the runtime's arena,
// the partition cache and the models in training may hold. Cost (cost.go) says how long a plan takes and what it writes, at
// rates (rates.go) that were measured or guessed. The choice (choose.go) is the cheapest plan of those that fit.
//
// Package plan holds the plan value, package compile turns it into phases, package paper has the formulas of the Vista
// paper to compare with.
package vistaopt

import (
	"fmt"

	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// Network is what the choice needs to know about a CNN.
type Network struct {
	Name string
	// WeightBytes is the size of the weights of the prefix that is run.
	WeightBytes int64
	// LargestWeight is what the runtime packs of them at once.
	LargestWeight int64
	// ImageBytes is the memory that one image needs while it is in flight.
	ImageBytes int64
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
}

// Stats is what is known about the data.
type Stats struct {
	Rows       int64 // of the table that are good
	Aside      int64 // keys of which the table has no good row: they are broadcast without their rows
	RowBytes   int64 // of one row as it is broadcast
	Images     int64
	Matched    int64 // images that have a good row; 0: not known, all of them
	ImageBytes int64 // of one image file, on average
	PerRecord  int64 // images of one record, at most; 0 means 1
	UnitBytes  int64 // the largest thing that is unpacked to get at images in it; 0: there is none
}

// Machine is what a worker may use, how many there are, and how fast they are.
type Machine struct {
	Cores   int
	Memory  int64 // bytes: the least of the job's limit, the cgroup's and the machine's
	Workers int   // 0 means 1
	Rates   Rates // zero: the defaults
}

// Training is what the choice needs to know about the models.
type Training struct {
	Columns    []int // of the models of each target: structured features alone, then each layer's
	Settings   int   // hyper-parameters tried
	Iterations int   // of the optimizer
	Folds      int   // models for each setting beside the one on all rows
	Ranks      bool  // the deciding metric needs the probabilities of all classes (AUC)
}

// Choice is what was decided.
type Choice struct {
	Plan     plan.Plan
	From     map[string]string // knob -> "file" or "optimizer"
	Regions  Regions
	Room     Room
	Memory   int64 // that it was made for
	Estimate Estimate
	Rates    string     // where the speeds that it is made with come from
	Rejected []Rejected // the other plans that the job file allows, the best of each kind, cheapest first
}

// Rejected is a plan that was not chosen. CPU and Batch of it are the best that fit, or the least if none does.
type Rejected struct {
	Plan     plan.Plan `json:"plan"`
	Estimate Estimate  `json:"estimate"`
	// Fits is false for a plan that needs more memory than there is, or is ruled out by Why.
	Fits bool   `json:"fits"`
	Why  string `json:"why"` // in words, with the number that sank it
}

// InfeasibleError says that the plan does not fit.
type InfeasibleError struct {
	Plan              plan.Plan
	Regions           Regions
	Needed, Available int64
	Change            string
}

func (e *InfeasibleError) Error() string {
	return fmt.Sprintf("the plan does not fit: it needs %s, %s is available (%s: model %s, %d images in flight %s, decoding %s, table %s, training %s, base %s)",
		size(e.Needed), size(e.Available), e.Regions.largest(), size(e.Regions.Model), e.Plan.CPU*e.Plan.Batch, size(e.Regions.Inference),
		size(e.Regions.Decode), size(e.Regions.Table+e.Regions.Rows), size(e.Regions.Train), size(e.Regions.Base))
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
	return fmt.Sprintf("plan.inference %s keeps whole volumes: %s for a record with %d images, %s is the most", e.Plan.Inference, size(e.Volumes), e.PerRecord, size(maxRecord))
}

// ErrorID is stable.
func (e *RecordError) ErrorID() string { return "E-INFEASIBLE" }

// Hint says what to change.
func (e *RecordError) Hint() string {
	return "set plan.inference to fused or lazy, which keep pooled vectors"
}

// smaller names what would need less than the plan that was refused.
func smaller(e *InfeasibleError) string {
	switch {
	case e.Plan.Join == plan.Broadcast && e.Regions.Table > e.Needed-e.Available:
		return ", or set plan.join to shuffle"
	case e.Plan.Networks == plan.Together:
		return ", or leave plan.networks to the optimizer, which can run one network after the other"
	case e.Regions.largest() == "training":
		return ", or try fewer layers, folds or grid values"
	case e.Regions.largest() == "inference" && (e.Plan.CPU > 1 || e.Plan.Batch > 1):
		return ", or set plan.cpu and plan.batch to 1"
	default:
		return ", or choose a smaller network"
	}
}

// partitions depends on the data alone, never on the machine: the partitions are the unit in which sums are formed, so
// the same data give the same bits everywhere. There are 32 of them, so that no slot of a small cluster waits long for
// the last one, unless they would have less than a batch, for which a task costs too much, or more than 66 images, which
// are a few seconds of CNN work.
func partitions(s Stats) int {
	const spread, batch, perTask, most = 32, 6, 66, 4096
	up := func(n, of int64) int64 { return (n + of - 1) / of }
	per := min(up(max(up(s.Images, spread), 1), batch)*batch, perTask)
	return int(min(max(up(s.Images, per), 1), most))
}

// keepsVolumes tells whether a plan stores whole volumes.
func keepsVolumes(p plan.Plan) bool { return p.Inference == plan.Eager || p.Inference == plan.Staged }

func size(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	default:
		return fmt.Sprintf("%d MiB", (n+mib-1)/mib)
	}
}
