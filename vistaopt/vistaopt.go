// Package vistaopt decides how a workload is run: it fills in the knobs of the plan that the
// user left open, divides the memory into regions, and refuses what cannot fit.
//
// Invariant: it is a pure function of the workload, its statistics and the machine. The same
// arguments give the same choice, and a choice whose regions add up to more than the limit is
// never returned.
//
// Until the cost-based optimizer exists, open knobs get fixed defaults (fused, after-join,
// broadcast if the table is small enough, snappy); what is decided already is memory (memory.go): how
// many attempts run at once, how many images a CNN call takes, and how much decoding, sorting, the
// runtime's arena, the partition cache and the models in training may hold.
//
// Package plan holds the plan value, package compile turns it into phases.
package vistaopt

import (
	"cmp"
	"fmt"
	"slices"

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
}

// Stats is what is known about the data.
type Stats struct {
	Rows       int64 // of the table that are good
	Aside      int64 // keys of which the table has no good row: they are broadcast without their rows
	RowBytes   int64 // of one row as it is broadcast
	Images     int64
	ImageBytes int64 // of one image file, on average
	PerRecord  int64 // images of one record, at most; 0 means 1
	UnitBytes  int64 // the largest thing that is unpacked to get at images in it; 0: there is none
}

// Machine is what a worker may use.
type Machine struct {
	Cores  int
	Memory int64 // bytes: the least of the job's limit, the cgroup's and the machine's
}

// Training is what the choice needs to know about the models.
type Training struct {
	Columns  []int // of the models of each target: structured features alone, then each layer's
	Settings int   // hyper-parameters tried
	Folds    int   // models for each setting beside the one on all rows
	Ranks    bool  // the deciding metric needs the probabilities of all classes (AUC)
}

// Choice is what was decided.
type Choice struct {
	Plan    plan.Plan
	From    map[string]string // knob -> "file" or "default"
	Regions Regions
	Room    Room
	Memory  int64 // that it was made for
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

// maxBroadcast is the share of the memory that a broadcast table may take.
const maxBroadcast = 0.25

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

// Choose fills in the knobs that are zero in want.
func Choose(want plan.Plan, n Network, s Stats, t Training, m Machine) (*Choice, error) {
	c := &Choice{Plan: want, From: map[string]string{}, Memory: m.Memory}
	fill(c, "inference", &c.Plan.Inference, plan.Fused)
	fill(c, "placement", &c.Plan.Placement, plan.AfterJoin)
	fill(c, "storage", &c.Plan.Storage, plan.Snappy)
	fill(c, "partitions", &c.Plan.Partitions, partitions(s))
	if v := s.PerRecord * n.RawBytes; keepsVolumes(c.Plan) && s.PerRecord > 1 && v > maxRecord {
		return nil, &RecordError{Plan: c.Plan, PerRecord: s.PerRecord, Volumes: v}
	}
	note(c, "join", string(want.Join), "")
	note(c, "cpu", want.CPU, 0)
	note(c, "batch", want.Batch, 0)
	joins := []plan.Join{want.Join}
	if want.Join == "" {
		joins = []plan.Join{plan.Broadcast, plan.Shuffle}
		if table := s.Rows * s.RowBytes; float64(table) > maxBroadcast*float64(m.Memory) {
			joins = joins[1:]
		}
	}
	var least *InfeasibleError
	for _, slots := range candidates(want.CPU, want.Batch, m.Cores) {
		for _, join := range joins {
			c.Plan.CPU, c.Plan.Batch, c.Plan.Join = slots.cpu, slots.batch, join
			c.Regions = regions(c.Plan, n, s, t)
			if c.Regions.Need() <= m.Memory {
				c.Room = c.Regions.spread(c.Plan, s.Rows, t, m.Memory)
				return c, c.Plan.Validate()
			}
			if least == nil || c.Regions.Need() < least.Needed {
				least = &InfeasibleError{Plan: c.Plan, Regions: c.Regions, Needed: c.Regions.Need(), Available: m.Memory}
			}
		}
	}
	least.Change = fmt.Sprintf("set limits.memory to %s or more%s", size(least.Needed), smaller(least))
	return nil, least
}

// smaller names what would need less than the plan that was refused.
func smaller(e *InfeasibleError) string {
	switch {
	case e.Plan.Join == plan.Broadcast && e.Regions.Table > e.Needed-e.Available:
		return ", or set plan.join to shuffle"
	case e.Regions.largest() == "training":
		return ", or try fewer layers, folds or grid values"
	case e.Regions.largest() == "inference" && (e.Plan.CPU > 1 || e.Plan.Batch > 1):
		return ", or set plan.cpu and plan.batch to 1"
	default:
		return ", or choose a smaller network"
	}
}

func fill[T comparable](c *Choice, knob string, v *T, def T) {
	var open T
	if *v == open {
		*v, c.From[knob] = def, "default"
		return
	}
	c.From[knob] = "file"
}

func note[T comparable](c *Choice, knob string, want, open T) {
	c.From[knob] = "default"
	if want != open {
		c.From[knob] = "file"
	}
}

// slots is a number of attempts at once, and of images in a call of each.
type slots struct{ cpu, batch int }

// speed is what a call of so many images yields for each image, beside 6 of them: AlexNet, whose weights outweigh its
// images, gains 1.6 times from 1 to 6. Beyond, it gains 2 to 3 % for a third more memory in flight; convolutional
// networks gain nothing.
var speed = []struct {
	batch int
	gain  float64
}{{6, 1}, {4, 0.95}, {2, 0.82}, {1, 0.63}}

// candidates are what to try, the most images per second first; a wanted number is the only one.
func candidates(cpu, batch, cores int) []slots {
	type rated struct {
		slots
		rate float64
	}
	var all []rated
	for n := max(cores, 1); n >= 1; n-- {
		if cpu > 0 {
			n = cpu
		}
		for _, s := range speed {
			if batch > 0 {
				s.batch = batch
			}
			all = append(all, rated{slots{n, s.batch}, float64(n) * s.gain})
			if batch > 0 {
				break
			}
		}
		if cpu > 0 {
			break
		}
	}
	slices.SortStableFunc(all, func(a, b rated) int { return cmp.Compare(b.rate, a.rate) })
	out := make([]slots, len(all))
	for i, r := range all {
		out[i] = r.slots
	}
	return out
}

// partitions depends on the data alone, never on the machine: the partitions are the unit in
// which sums are formed, so the same data give the same bits everywhere. 64 images are a few
// seconds of CNN work: long enough that a task costs nothing, short enough that no slot waits
// long for the last one.
func partitions(s Stats) int {
	const perTask, most = 64, 4096
	return int(min(max((s.Images+perTask-1)/perTask, 1), most))
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
