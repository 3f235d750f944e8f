package compile

import (
	"slices"

	"github.com/vista-mr/vista-mr/jobs/evaluate"
	"github.com/vista-mr/vista-mr/jobs/extract"
	"github.com/vista-mr/vista-mr/jobs/features"
	"github.com/vista-mr/vista-mr/jobs/ingest"
	"github.com/vista-mr/vista-mr/jobs/join"
	"github.com/vista-mr/vista-mr/jobs/train"
	"github.com/vista-mr/vista-mr/layers"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// infer adds the phase that runs a program, from the images or from a layer's stored volumes,
// and the join behind it where the plan joins after the inference.
func (c *compiler) infer(name string, spec layers.ProgramSpec, from *Layer) {
	model, err := c.in.Model(spec)
	if err != nil && c.err == nil {
		c.err = err
	}
	id := mr.PhaseID(name)
	phase := mr.PhaseSpec{ID: id, Type: mr.MapPhase, Kind: extract.Name}
	params := extract.Params{
		Model: model, Image: c.in.Image, Decoder: c.in.Decoder, Decode: c.in.Decode, Batch: c.p.Batch,
		Store: c.uncompressed(), Required: c.in.Required, Repeat: c.inferred > 0, Multiple: c.in.Multiple,
		// What a lazy plan's later phases would find for the same image is not known yet.
		Aside: c.inferred == 0 && (c.p.Inference != plan.Lazy || len(c.in.Layers) == 1),
	}
	joinLater := c.p.Placement == plan.BeforeJoin && c.joins(spec)
	switch {
	case from != nil:
		params.Source, params.Input = extract.Volume, "volume"
		phase.Inputs = []mr.Input{same("volume", c.raw[from.Name])}
		phase.Tasks = c.tasksOf(c.raw[from.Name].phase)
	case c.images.phase != "":
		params.Source, params.Input = extract.Joined, "images"
		params.Base = c.inferred == 0
		phase.Inputs = []mr.Input{same("images", c.images)}
		phase.Tasks = c.p.Partitions
	default:
		params.Source = extract.Files
		phase.Splits = c.in.Splits
		if c.p.Placement == plan.AfterJoin {
			params.Table, params.Base = ingest.Rows, c.inferred == 0
			phase.Inputs = []mr.Input{broadcastRows()}
		}
	}
	if joinLater && c.p.Join == plan.Shuffle {
		params.Emit = c.columns(spec)
		phase.Partitions = c.p.Partitions
	}
	c.add(phase, params)
	c.note(id, spec)
	if params.Base {
		c.base = ref{id, extract.Base}
	}
	if joinLater {
		c.joinOutputs(id, spec, params.Repeat)
	}
	if c.inferred == 0 && c.p.Join == plan.Broadcast {
		c.unmatched()
	}
	c.inferred++
}

// joins tells whether the join stands behind this program: it does once, behind whatever
// leaves the CNN for good. A staged plan's volumes stay on the images' side; an eager plan's
// volumes are joined once and pooled afterwards.
func (c *compiler) joins(spec layers.ProgramSpec) bool {
	return c.p.Inference != plan.Eager || spec.From == ""
}

// columns are the channels of a program that go through the join.
func (c *compiler) columns(spec layers.ProgramSpec) []string {
	var out []string
	if c.p.Inference == plan.Eager {
		for _, l := range spec.Raw {
			out = append(out, extract.Raw(l))
		}
		return out
	}
	for _, l := range spec.Pooled {
		out = append(out, extract.Pooled(l))
	}
	return out
}

// note remembers where a program's outputs are.
func (c *compiler) note(id mr.PhaseID, spec layers.ProgramSpec) {
	for _, l := range spec.Raw {
		c.raw[l] = ref{id, extract.Raw(l)}
	}
	for _, l := range spec.Pooled {
		c.pooled[l] = ref{id, extract.Pooled(l)}
	}
}

func (c *compiler) tasksOf(id mr.PhaseID) int {
	i := slices.IndexFunc(c.phases, func(p mr.PhaseSpec) bool { return p.ID == id })
	return c.phases[i].NumTasks()
}

// joinOutputs adds the join of a program's outputs with the table.
func (c *compiler) joinOutputs(id mr.PhaseID, spec layers.ProgramSpec, repeat bool) {
	to := "join-" + id
	channels := c.columns(spec)
	if c.p.Join == plan.Shuffle {
		params := join.Params{Required: c.in.Required, Repeat: repeat, Store: c.uncompressed(), Base: !repeat,
			Volumes: c.p.Inference == plan.Eager}
		for _, ch := range channels {
			params.Columns = append(params.Columns, join.Column{Channel: ch, Len: c.length(ch)})
		}
		c.add(mr.PhaseSpec{ID: to, Type: mr.ReducePhase, Kind: join.JoinName, Tasks: c.p.Partitions,
			Inputs: shuffled(TablePhase, id)}, params)
	} else {
		params := join.MatchParams{Table: ingest.Rows, Channels: channels, Required: c.in.Required, Repeat: repeat,
			Store: c.uncompressed(), Base: !repeat}
		inputs := []mr.Input{broadcastRows()}
		for _, ch := range channels {
			inputs = append(inputs, same(ch, ref{id, ch}))
		}
		if !repeat {
			params.Failed = extract.Failed
			inputs = append(inputs, same(extract.Failed, ref{id, extract.Failed}))
		}
		c.add(mr.PhaseSpec{ID: to, Type: mr.MapPhase, Kind: join.MatchName, Tasks: c.tasksOf(id), Inputs: inputs}, params)
	}
	if !repeat {
		c.base = ref{to, extract.Base}
	}
	for _, l := range c.in.Layers {
		for _, ch := range channels {
			switch ch {
			case extract.Raw(l.Name):
				c.raw[l.Name] = ref{to, ch}
			case extract.Pooled(l.Name):
				c.pooled[l.Name] = ref{to, ch}
			}
		}
	}
}

func (c *compiler) length(channel string) int {
	for _, l := range c.in.Layers {
		switch channel {
		case extract.Raw(l.Name):
			return l.Raw
		case extract.Pooled(l.Name):
			return l.Pooled
		}
	}
	return 0
}

// train adds the rounds over the given layers' vectors; the first one trains the baseline on
// structured columns alone as well.
func (c *compiler) train(name string, ls []Layer, structured bool) {
	params := c.in.Train
	params.Structured = structured
	inputs := []mr.Input{
		{Name: train.TableInput, Phase: TablePhase, Mode: mr.Values},
		same(train.BaseInput, c.base),
	}
	for _, l := range ls {
		params.Layers = append(params.Layers, train.Layer{Name: l.Name, Dim: l.Pooled})
		inputs = append(inputs, same(l.Name, c.pooled[l.Name]))
	}
	id := mr.PhaseID(name)
	c.add(mr.PhaseSpec{ID: id, Type: mr.RoundsPhase, Kind: train.Name, Tasks: c.tasksOf(c.base.phase), Inputs: inputs}, params)
	c.trained = append(c.trained, id)
	c.targets[id] = params.Targets()
}

// unmatched accounts for rows to which a broadcast join found no image. It stands directly
// behind the first matched rows, so that a job whose images are missing fails before it trains.
func (c *compiler) unmatched() {
	inputs := []mr.Input{broadcastRows(), {Name: extract.Base, Phase: c.base.phase, Channel: extract.Base, Mode: mr.All},
		{Name: extract.Failed, Phase: c.base.phase, Channel: extract.Failed, Mode: mr.All}}
	c.add(mr.PhaseSpec{ID: "unmatched", Type: mr.MapPhase, Kind: join.UnmatchedName, Tasks: 1, Inputs: inputs},
		join.UnmatchedParams{Rows: ingest.Rows, Base: extract.Base, Failed: extract.Failed, Required: c.in.Required})
}

// finish exports features and evaluates.
func (c *compiler) finish() {
	if c.in.Features {
		inputs := []mr.Input{same(features.BaseInput, c.base)}
		params := c.in.Keep
		for _, l := range c.in.Layers {
			inputs = append(inputs, same(l.Name, c.pooled[l.Name]))
			params.Layers = append(params.Layers, features.Layer{Name: l.Name, Dim: l.Pooled})
		}
		c.add(mr.PhaseSpec{ID: featuresPhase, Type: mr.MapPhase, Kind: features.Name, Tasks: c.tasksOf(c.base.phase), Inputs: inputs}, params)
	}
	params := c.in.Evaluate
	inputs := []mr.Input{{Name: train.TableInput, Phase: TablePhase, Mode: mr.Values}}
	for _, id := range c.trained {
		params.Trained = append(params.Trained, evaluate.Trained{Phase: string(id), Targets: c.targets[id]})
		inputs = append(inputs,
			mr.Input{Name: string(id), Phase: id, Channel: train.Predictions, Mode: mr.All},
			mr.Input{Name: string(id) + ".models", Phase: id, Mode: mr.Values})
	}
	c.add(mr.PhaseSpec{ID: EvaluatePhase, Type: mr.MapPhase, Kind: evaluate.Name, Tasks: 1, Inputs: inputs}, params)
	c.phases[len(c.phases)-1].KeepOpen = nil
}
