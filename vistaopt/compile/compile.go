// Package compile turns a plan into the chain of map, reduce and rounds phases that carries
// it out.
//
// Invariant: it is a pure function. The same plan and inputs give the same phases, byte for
// byte, and every plan gives phases that write the same records: what differs is when a layer
// is computed, what is stored between phases, and where the table meets the images.
//
// It is the only part of vistaopt that sees packages jobs and mr. It estimates nothing and
// reads nothing: which programs of the CNN exist as files is told by Inputs.Model.
//
// The chains (T trains in rounds, J joins; broadcast joins need no phase of their own when
// they stand before the inference):
//
//	fused    table  extract            J?  T
//	lazy     table  (extract-L         J?  T-L) for each layer L
//	staged   table  (stage-L           J?  T-L) for each layer L, from the one below
//	eager    table  extract  J?  (pool-L   T-L) for each layer L
//
// With several networks N, fused plans run them together in one "extract", or apart in an "extract-N" for each of them
// before one T for all layers. The others do what stands above for one network after the other; "extract" of an eager
// plan is then "extract-N". Layers have names that no other network has.
//
// With a shuffle join after-join, "load" and "joined" come first and the inference reads the
// joined images. Behind the first matched rows of a broadcast join stands "unmatched"; at the end
// stand "features" (if kept) and "evaluate".
package compile

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/vista-mr/vista-mr/jobs/evaluate"
	"github.com/vista-mr/vista-mr/jobs/extract"
	"github.com/vista-mr/vista-mr/jobs/features"
	"github.com/vista-mr/vista-mr/jobs/ingest"
	"github.com/vista-mr/vista-mr/jobs/join"
	"github.com/vista-mr/vista-mr/jobs/train"
	"github.com/vista-mr/vista-mr/layers"
	"github.com/vista-mr/vista-mr/layers/image"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// Inputs is what a chain is made of beside its plan.
type Inputs struct {
	Table    []mr.FileRange // the table's files, in order
	Ingest   ingest.Params  // Part and Emit are set here
	Splits   []mr.Split     // of the images (package jobs/images)
	Multiple string         // images.multiple
	Required bool           // images.required
	Decoder  string
	Decode   int64 // bytes that a process may decode in; 0: any
	MaxFile  int64 // bytes of an image file at most; 0: any
	Networks []Network
	// Model finds the file of a program; it was built beforehand from Programs.
	Model    func(Program) (extract.Model, error)
	Train    train.Params    // Layers, Structured and Channel names are set here
	Evaluate evaluate.Params // likewise
	Features bool            // keep the features as files of their own
	Keep     features.Params // how: Layers is set here
}

// Network is one of the CNNs that are compared.
type Network struct {
	Name      string // "" of the only one: its layers are called as they are in it
	Image     image.Spec
	Pool      layers.Pool
	Normalize *layers.Normalize
	Layers    []Layer           // bottom to top
	Meta      map[string]string // that files of its features have
}

// Layer is one of the layers asked for.
type Layer struct {
	Name   string // in the network
	Raw    int    // values of the whole volume
	Pooled int    // values of the pooled vector
}

// Full is the name that a layer of a network has in the job; network is "" where there is only one.
func Full(network, layer string) string {
	if network == "" {
		return layer
	}
	return network + "." + layer
}

// Program is a program of one of the networks.
type Program struct {
	Network int // its place in Inputs.Networks
	Spec    layers.ProgramSpec
}

// layers are those of all networks by the names that they have in the job, which every phase but the CNN's knows them by.
func (in *Inputs) layers() []Layer {
	var out []Layer
	for i := range in.Networks {
		out = append(out, in.Networks[i].named()...)
	}
	return out
}

func (n *Network) named() []Layer {
	out := slices.Clone(n.Layers)
	for i := range out {
		out[i].Name = Full(n.Name, out[i].Name)
	}
	return out
}

// Channel of exported features.
const featuresPhase mr.PhaseID = "features"

// The phases that a caller reads the results from.
const (
	TablePhase    mr.PhaseID = "table"
	EvaluatePhase mr.PhaseID = "evaluate"
	FeaturesPhase            = featuresPhase
)

// Whole is the program from the image to the vector of every layer of a network, which a fused plan runs. Whatever the
// plan, it is what the pipeline of the results is cut from.
func (in *Inputs) Whole(network int) Program {
	n := &in.Networks[network]
	s := layers.ProgramSpec{Pool: n.Pool, Normalize: n.Normalize}
	for _, l := range n.Layers {
		s.Pooled = append(s.Pooled, l.Name)
	}
	return Program{network, s}
}

// Programs lists the programs of a network that a plan runs, in the order of their use.
func (in *Inputs) Programs(p plan.Plan, network int) []Program {
	n := &in.Networks[network]
	all := in.Whole(network).Spec.Pooled
	spec := func(from string, raw, pooled []string) Program {
		s := layers.ProgramSpec{From: from, Raw: raw, Pooled: pooled, Pool: n.Pool}
		if from == "" {
			s.Normalize = n.Normalize
		}
		return Program{network, s}
	}
	var out []Program
	switch p.Inference {
	case plan.Fused:
		out = append(out, in.Whole(network))
	case plan.Eager:
		out = append(out, spec("", all, nil))
		for _, l := range all {
			out = append(out, spec(l, nil, []string{l}))
		}
	case plan.Lazy:
		for _, l := range all {
			out = append(out, spec("", nil, []string{l}))
		}
	case plan.Staged:
		from := ""
		for i, l := range all {
			var raw []string
			if i+1 < len(all) {
				raw = []string{l}
			}
			out = append(out, spec(from, raw, []string{l}))
			from = l
		}
	}
	return out
}

// Compile makes the chain.
func Compile(p plan.Plan, in *Inputs) ([]mr.PhaseSpec, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	all := in.layers()
	if len(all) == 0 || len(in.Splits) == 0 || len(in.Table) == 0 {
		return nil, fmt.Errorf("compile: %d layers, %d splits and %d table files; none may be 0", len(all), len(in.Splits), len(in.Table))
	}
	if (len(in.Networks) > 1) != (p.Networks != plan.One) {
		return nil, fmt.Errorf("compile: %d networks, which the plan runs %q", len(in.Networks), p.Networks)
	}
	c := &compiler{layers: all, p: p, in: in, pooled: map[string]ref{}, raw: map[string]ref{}, targets: map[mr.PhaseID][]string{}}
	c.table()
	if p.Join == plan.Shuffle && p.Placement == plan.AfterJoin {
		c.joinImages()
	}
	switch {
	case p.Networks == plan.Together:
		var programs []Program
		for i := range in.Networks {
			programs = append(programs, in.Whole(i))
		}
		c.infer("extract", programs, "")
	default:
		for i := range in.Networks {
			c.network(i)
		}
	}
	if p.Inference == plan.Fused {
		c.train("train", all)
	}
	c.finish()
	c.drops()
	return c.phases, c.err
}

// network adds the phases of one network.
func (c *compiler) network(i int) {
	n := &c.in.Networks[i]
	programs, named := c.in.Programs(c.p, i), n.named()
	extract := "extract"
	if n.Name != "" {
		extract += "-" + n.Name
	}
	switch c.p.Inference {
	case plan.Fused:
		c.infer(extract, programs, "")
	case plan.Eager:
		c.infer(extract, programs[:1], "")
		for k, l := range named {
			c.infer("pool-"+l.Name, programs[k+1:k+2], l.Name)
			c.train("train-"+l.Name, named[k:k+1])
		}
	case plan.Lazy:
		for k, l := range named {
			c.infer("extract-"+l.Name, programs[k:k+1], "")
			c.train("train-"+l.Name, named[k:k+1])
		}
	case plan.Staged:
		below := ""
		for k, l := range named {
			c.infer("stage-"+l.Name, programs[k:k+1], below)
			c.train("train-"+l.Name, named[k:k+1])
			below = l.Name
		}
	}
}

// passes is how many of a plan's phases look at the images.
func (c *compiler) passes() int {
	switch {
	case c.p.Networks == plan.Together:
		return 1
	case c.p.Inference == plan.Lazy:
		return len(c.layers)
	}
	return len(c.in.Networks)
}

// ref is a channel of a phase.
type ref struct {
	phase   mr.PhaseID
	channel string
}

type compiler struct {
	p      plan.Plan
	in     *Inputs
	layers []Layer // of all networks
	phases []mr.PhaseSpec
	err    error

	images   ref            // joined images, where the join comes first
	base     ref            // matched rows
	pooled   map[string]ref // by layer
	raw      map[string]ref // by layer
	trained  []mr.PhaseID
	targets  map[mr.PhaseID][]string // what each of them trains
	inferred int                     // phases that run programs so far
}

func (c *compiler) add(p mr.PhaseSpec, params any) {
	b, err := json.Marshal(params)
	if err != nil && c.err == nil {
		c.err = fmt.Errorf("compile %s: %w", p.ID, err)
	}
	p.Params = b
	if n := len(c.phases); n > 0 && len(p.After) == 0 && p.ID != loadPhase {
		// One phase at a time: the plan's memory regions are those of one phase.
		p.After = []mr.PhaseID{c.phases[n-1].ID}
	}
	p.KeepOpen = []string{"table/"}
	c.phases = append(c.phases, p)
}

func (c *compiler) uncompressed() bool { return c.p.Storage == plan.Raw }

// partitions is the number of shuffle partitions, 0 where nothing is shuffled.
func (c *compiler) partitions() int {
	if c.p.Join == plan.Shuffle {
		return c.p.Partitions
	}
	return 0
}

const (
	loadPhase   mr.PhaseID = "load"
	joinedPhase mr.PhaseID = "joined"
)

func (c *compiler) table() {
	params := c.in.Ingest
	params.Emit = c.p.Join == plan.Shuffle
	params.Part = c.p.Join == plan.Broadcast
	params.Raw = c.uncompressed()
	c.add(mr.PhaseSpec{ID: TablePhase, Type: mr.MapPhase, Kind: ingest.Name,
		Splits: []mr.Split{{Files: c.in.Table}}, Partitions: c.partitions()}, params)
}

// joinImages joins before the inference, reduce-side: the images' bytes travel.
func (c *compiler) joinImages() {
	c.add(mr.PhaseSpec{ID: loadPhase, Type: mr.MapPhase, Kind: join.LoadName, Splits: c.in.Splits, Partitions: c.p.Partitions},
		join.LoadParams{MaxBytes: c.in.MaxFile})
	c.add(mr.PhaseSpec{ID: joinedPhase, Type: mr.ReducePhase, Kind: join.JoinName, Tasks: c.p.Partitions,
		Inputs: shuffled(TablePhase, loadPhase)},
		join.Params{Required: c.in.Required, Store: c.uncompressed(), Images: true})
	c.images = ref{joinedPhase, join.Joined}
}

func shuffled(phases ...mr.PhaseID) []mr.Input {
	var in []mr.Input
	for _, p := range phases {
		in = append(in, mr.Input{Name: string(p), Phase: p, Mode: mr.Shuffled})
	}
	return in
}

func same(name string, r ref) mr.Input {
	return mr.Input{Name: name, Phase: r.phase, Channel: r.channel, Mode: mr.Same}
}

// broadcastRows is the table's rows as every task reads them.
func broadcastRows() mr.Input {
	return mr.Input{Name: ingest.Rows, Phase: TablePhase, Channel: ingest.Rows, Mode: mr.All}
}
