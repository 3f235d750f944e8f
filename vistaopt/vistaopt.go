// Package vistaopt decides how a workload is run: it fills in the knobs of the plan that the
// user left open, divides the memory into regions, and refuses what cannot fit.
//
// Invariant: it is a pure function of the workload, its statistics and the machine. The same
// arguments give the same choice, and a choice whose regions add up to more than the limit is
// never returned.
//
// Until the cost-based optimizer exists, open knobs get fixed defaults (fused, after-join,
// broadcast if the table is small enough, snappy); what is decided already is memory: how many
// attempts run at once, how many images a CNN call takes, and how much the partition cache,
// the sort buffers and the runtime's arena may hold.
//
// Package plan holds the plan value, package compile turns it into phases.
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
	Rows       int64 // of the table, estimated
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

// Regions divides a worker's memory, in bytes.
type Regions struct {
	Base      int64 `json:"base"`      // the program itself, the runtime library, garbage not yet collected
	Model     int64 `json:"model"`     // weights
	Inference int64 `json:"inference"` // activations of all images in flight
	Buffers   int64 `json:"buffers"`   // files read ahead, decoded images, results of a batch
	Table     int64 `json:"table"`     // the broadcast table
	Sort      int64 `json:"sort"`      // sort and merge buffers of all attempts at once
	Cache     int64 `json:"cache"`     // pinned partitions while models are trained
}

// Need is the most that is held at once. Inference and training do not overlap: the model is
// let go before the partitions are pinned.
func (r Regions) Need() int64 {
	infer := r.Model + r.Inference + r.Buffers + r.Sort
	return r.Base + r.Table + max(infer, r.Cache)
}

// Choice is what was decided.
type Choice struct {
	Plan    plan.Plan
	From    map[string]string // knob -> "file" or "default"
	Regions Regions
	// SortMemory is the region of one attempt.
	SortMemory int64
}

// InfeasibleError says that the plan does not fit.
type InfeasibleError struct {
	Plan              plan.Plan
	Regions           Regions
	Needed, Available int64
	Change            string
}

func (e *InfeasibleError) Error() string {
	return fmt.Sprintf("the plan does not fit: it needs %s, %s is available (model %s, %d images in flight %s, table %s, base %s)",
		size(e.Needed), size(e.Available), size(e.Regions.Model), e.Plan.CPU*e.Plan.Batch, size(e.Regions.Inference), size(e.Regions.Table), size(e.Regions.Base))
}

// ErrorID is stable.
func (e *InfeasibleError) ErrorID() string { return "E-INFEASIBLE" }

// Hint says what to change.
func (e *InfeasibleError) Hint() string { return e.Change }

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

const mib = 1 << 20

// maxRecord is the most that one record's volumes may take: they travel as one value.
const maxRecord = 48 * mib

// What a process holds whatever it runs. Measured: see docs/memory.md.
const (
	baseBytes = 96 * mib
	// minSort is the least sort memory of an attempt that still makes runs worth merging.
	minSort = 8 * mib
	// minCache is the least room for pinned partitions; what does not fit is read from disk.
	minCache = 32 * mib
	// maxSort and maxCache bound what is taken when there is plenty: beyond, more memory buys
	// no time, because files in the page cache are read at memory speed.
	maxSort  = 64 * mib
	maxCache = 192 * mib
	// maxBatch is where larger batches stop paying on CPUs (research: AlexNet gains 1.65x up
	// to 8 and nothing beyond; convolutional networks are flat from 1).
	maxBatch = 8
	// maxBroadcast is the share of the memory that a broadcast table may take.
	maxBroadcast = 0.25
)

// Choose fills in the knobs that are zero in want.
func Choose(want plan.Plan, n Network, s Stats, m Machine) (*Choice, error) {
	c := &Choice{Plan: want, From: map[string]string{}}
	fill(c, "inference", &c.Plan.Inference, plan.Fused)
	fill(c, "placement", &c.Plan.Placement, plan.AfterJoin)
	fill(c, "storage", &c.Plan.Storage, plan.Snappy)
	join := plan.Broadcast
	if table := s.Rows * s.RowBytes; float64(table) > maxBroadcast*float64(m.Memory) {
		join = plan.Shuffle
	}
	fill(c, "join", &c.Plan.Join, join)
	fill(c, "partitions", &c.Plan.Partitions, partitions(s))
	if keepsVolumes(c.Plan) {
		if v := max(s.PerRecord, 1) * n.RawBytes; s.PerRecord > 1 && v > maxRecord {
			return nil, &RecordError{Plan: c.Plan, PerRecord: s.PerRecord, Volumes: v}
		}
	}
	cpus, batches := candidates(want.CPU, m.Cores), candidates(want.Batch, maxBatch)
	note(c, "cpu", want.CPU)
	note(c, "batch", want.Batch)
	var last *InfeasibleError
	// A smaller batch costs at most a few per cent, a core costs a core: batches give way first.
	for _, cpu := range cpus {
		for _, batch := range batches {
			c.Plan.CPU, c.Plan.Batch = cpu, batch
			c.Regions = regions(c.Plan, n, s)
			if c.Regions.Need() <= m.Memory {
				c.spread(m.Memory)
				return c, c.Plan.Validate()
			}
			last = &InfeasibleError{Plan: c.Plan, Regions: c.Regions, Needed: c.Regions.Need(), Available: m.Memory}
		}
	}
	last.Change = fmt.Sprintf("set limits.memory to %s or more%s", size(last.Needed), smaller(last))
	return nil, last
}

// smaller names what would need less than the plan that was refused.
func smaller(e *InfeasibleError) string {
	switch {
	case e.Plan.Join == plan.Broadcast && e.Regions.Table > e.Needed-e.Available:
		return ", or set plan.join to shuffle"
	case e.Plan.CPU > 1 || e.Plan.Batch > 1:
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

func note(c *Choice, knob string, want int) {
	c.From[knob] = "default"
	if want != 0 {
		c.From[knob] = "file"
	}
}

// candidates are the values of a knob to try, largest first: the wanted one alone if there is one.
func candidates(want, most int) []int {
	if want > 0 {
		return []int{want}
	}
	var out []int
	for n := max(most, 1); n >= 1; n /= 2 {
		out = append(out, n)
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

func regions(p plan.Plan, n Network, s Stats) Regions {
	inFlight := int64(p.CPU * p.Batch)
	out := n.PooledBytes
	record := int64(0) // what is held of a record until its last image
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
		Base:      baseBytes,
		Model:     n.WeightBytes,
		Inference: inFlight * n.ImageBytes,
		Buffers:   inFlight*(n.PixelBytes+2*out) + int64(p.CPU)*(8*mib+4*s.ImageBytes+record) + int64(p.CPU+1)*s.UnitBytes,
		Cache:     minCache,
	}
	if p.Join == plan.Broadcast {
		r.Table = s.Rows * (s.RowBytes + tableOverhead)
	} else {
		r.Sort = int64(p.CPU) * minSort
	}
	return r
}

// tableOverhead is what the index over a broadcast table takes for each row.
const tableOverhead = 96

// spread gives what is left to the regions that can use it.
func (c *Choice) spread(memory int64) {
	r := &c.Regions
	if c.Plan.Join == plan.Shuffle {
		left := memory - r.Need()
		per := min(minSort+max(left, 0)/int64(2*c.Plan.CPU), maxSort)
		r.Sort, c.SortMemory = per*int64(c.Plan.CPU), per
	} else {
		c.SortMemory = minSort
	}
	r.Cache = min(max(memory-r.Base-r.Table, minCache), maxCache)
}

func size(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	default:
		return fmt.Sprintf("%d MiB", (n+mib-1)/mib)
	}
}
