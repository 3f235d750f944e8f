// Package plan is the value that says how a workload is run: the logical plan (where and how
// the CNN is run), the physical plan (join and storage) and the knobs of the system.
//
// Invariant: a Plan is complete and plain data. Two equal plans compile to the same phases,
// and Parse(p.String()) == p. Package vistaopt chooses one, package compile turns it into
// phases; nothing here estimates, prefers or runs anything.
package plan

import (
	"fmt"
	"strconv"
	"strings"
)

// Inference says how the layers' features come about.
type Inference string

// The inference plans. The first three are those of Nakandala and Kumar, "Vista" (SIGMOD
// 2020), section 4.2; fused is ours.
const (
	Lazy   Inference = "lazy"   // one full inference from the image for each layer
	Eager  Inference = "eager"  // one inference that keeps every layer's full output, pooled later
	Staged Inference = "staged" // layer i+1 is computed from layer i's stored output
	Fused  Inference = "fused"  // one inference that pools every layer and stores only that
)

// Placement says where the inference stands relative to the join.
type Placement string

// The placements.
const (
	BeforeJoin Placement = "before-join"
	AfterJoin  Placement = "after-join"
)

// Join says how the table meets the images.
type Join string

// The joins.
const (
	Broadcast Join = "broadcast" // map-side, on a table that every process holds
	Shuffle   Join = "shuffle"   // reduce-side, on sorted partitions
)

// Storage says how intermediate and cached partitions are kept.
type Storage string

// The storages.
const (
	Raw    Storage = "raw"
	Snappy Storage = "snappy"
)

// Networks says how several CNNs share the images.
type Networks string

// The ways. Of one network there is nothing to say.
const (
	One      Networks = ""
	Together Networks = "together" // each image is decoded once and runs through all of them: fused plans only
	Apart    Networks = "apart"    // one network after the other, each over all images
)

// Plan is one way to run a workload.
type Plan struct {
	Inference  Inference `json:"inference"`          // lazy, eager, staged or fused
	Placement  Placement `json:"placement"`          // before-join or after-join: where the CNN runs
	Join       Join      `json:"join"`               // broadcast or shuffle
	Storage    Storage   `json:"storage"`            // raw or snappy
	CPU        int       `json:"cpu"`                // attempts at once in each worker
	Partitions int       `json:"partitions"`         // of images, and of everything made from them
	Batch      int       `json:"batch"`              // images per call of the CNN
	Networks   Networks  `json:"networks,omitempty"` // together or apart; absent with one network
}

// Inferences, Placements, Joins and Storages are all values of each knob.
var (
	Inferences = []Inference{Lazy, Eager, Staged, Fused}
	Placements = []Placement{BeforeJoin, AfterJoin}
	Joins      = []Join{Broadcast, Shuffle}
	Storages   = []Storage{Raw, Snappy}
)

// String is the canonical text of a plan, one line.
func (p Plan) String() string {
	s := fmt.Sprintf("%s %s %s %s cpu=%d partitions=%d batch=%d",
		p.Inference, p.Placement, p.Join, p.Storage, p.CPU, p.Partitions, p.Batch)
	if p.Networks != One {
		s += " networks=" + string(p.Networks)
	}
	return s
}

// Parse reads what String wrote.
func Parse(s string) (Plan, error) {
	f := strings.Fields(s)
	if len(f) != 7 && len(f) != 8 {
		return Plan{}, fmt.Errorf("plan %q: %d words, want 7, or 8 with several networks", s, len(f))
	}
	p := Plan{Inference: Inference(f[0]), Placement: Placement(f[1]), Join: Join(f[2]), Storage: Storage(f[3])}
	for i, knob := range []struct {
		name string
		to   *int
	}{{"cpu", &p.CPU}, {"partitions", &p.Partitions}, {"batch", &p.Batch}} {
		v, ok := strings.CutPrefix(f[4+i], knob.name+"=")
		n, err := strconv.Atoi(v)
		if !ok || err != nil {
			return Plan{}, fmt.Errorf("plan %q: %q is not %s=NUMBER", s, f[4+i], knob.name)
		}
		*knob.to = n
	}
	if len(f) == 8 {
		v, ok := strings.CutPrefix(f[7], "networks=")
		if !ok || v == "" {
			return Plan{}, fmt.Errorf("plan %q: %q is not networks=together or networks=apart", s, f[7])
		}
		p.Networks = Networks(v)
	}
	return p, p.Validate()
}

// Validate reports a knob that has no legal value.
func (p Plan) Validate() error {
	switch {
	case !member(p.Inference, Inferences):
		return fmt.Errorf("plan: inference %q is none of %v", p.Inference, Inferences)
	case !member(p.Placement, Placements):
		return fmt.Errorf("plan: placement %q is none of %v", p.Placement, Placements)
	case !member(p.Join, Joins):
		return fmt.Errorf("plan: join %q is none of %v", p.Join, Joins)
	case !member(p.Storage, Storages):
		return fmt.Errorf("plan: storage %q is none of %v", p.Storage, Storages)
	case p.Networks != One && p.Networks != Together && p.Networks != Apart:
		return fmt.Errorf("plan: networks %q is neither %s nor %s", p.Networks, Together, Apart)
	case p.Networks == Together && p.Inference != Fused:
		return fmt.Errorf("plan: networks run together in a fused plan only, not in a %s one", p.Inference)
	case p.CPU < 1 || p.Partitions < 1 || p.Batch < 1:
		return fmt.Errorf("plan: cpu %d, partitions %d and batch %d must be at least 1", p.CPU, p.Partitions, p.Batch)
	}
	return nil
}

func member[T comparable](v T, all []T) bool {
	for _, a := range all {
		if a == v {
			return true
		}
	}
	return false
}

// Knobs are the names of all knobs, as in the job file's plan and in the order in which they are shown.
var Knobs = []string{"inference", "placement", "join", "storage", "networks", "cpu", "partitions", "batch"}

// Knob is the value of one of Knobs as text; "": it is open, or there is none of the name.
func (p Plan) Knob(name string) string {
	number := 0
	switch name {
	case "inference":
		return string(p.Inference)
	case "placement":
		return string(p.Placement)
	case "join":
		return string(p.Join)
	case "storage":
		return string(p.Storage)
	case "networks":
		return string(p.Networks)
	case "cpu":
		number = p.CPU
	case "partitions":
		number = p.Partitions
	case "batch":
		number = p.Batch
	}
	if number == 0 {
		return ""
	}
	return strconv.Itoa(number)
}

// Without is a plan with one of Knobs left open.
func (p Plan) Without(name string) Plan {
	switch name {
	case "inference":
		p.Inference = ""
	case "placement":
		p.Placement = ""
	case "join":
		p.Join = ""
	case "storage":
		p.Storage = ""
	case "networks":
		p.Networks = One
	case "cpu":
		p.CPU = 0
	case "partitions":
		p.Partitions = 0
	case "batch":
		p.Batch = 0
	}
	return p
}
