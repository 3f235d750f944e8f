package compile

import (
	"slices"

	"github.com/vista-mr/vista-mr/jobs/evaluate"
	"github.com/vista-mr/vista-mr/jobs/extract"
	"github.com/vista-mr/vista-mr/jobs/features"
	"github.com/vista-mr/vista-mr/jobs/ingest"
	"github.com/vista-mr/vista-mr/jobs/join"
	"github.com/vista-mr/vista-mr/jobs/train"
	"github.com/vista-mr/vista-mr/layers/image"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// infer adds the phase that runs programs, from the images or from a layer's stored volumes,
// and the join behind it where the plan joins after the inference.
func (c *compiler) infer(name string, programs []Program, from string) {
	id := mr.PhaseID(name)
	phase := mr.PhaseSpec{ID: id, Type: mr.MapPhase, Kind: extract.Name}
	params := extract.Params{
		Decoder: c.in.Decoder, Decode: c.in.Decode, Batch: c.p.Batch,
		Store: c.uncompressed(), Required: c.in.Required, Repeat: c.inferred > 0, Multiple: c.in.Multiple,
		// What later phases would find for the same image is not known yet.
		Aside: c.inferred == 0 && c.passes() == 1,
	}
	var kinds []int
	params.Images, kinds = c.views()
	for _, p := range programs {
		model, err := c.in.Model(p)
		if err != nil && c.err == nil {
			c.err = err
		}
		params.Programs = append(params.Programs, extract.Program{Model: model, Image: kinds[p.Network]})
	}
	joinLater := c.p.Placement == plan.BeforeJoin && c.joins(programs)
	switch {
	case from != "":
		params.Source, params.Input = extract.Volume, "volume"
		phase.Inputs = []mr.Input{same("volume", c.raw[from])}
		phase.Tasks = c.tasksOf(c.raw[from].phase)
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
		params.Emit = c.columns(programs)
		phase.Partitions = c.p.Partitions
	}
	c.add(phase, params)
	c.note(id, programs)
	if params.Base {
		c.base = ref{id, extract.Base}
	}
	if joinLater {
		c.joinOutputs(id, programs, params.Repeat)
	}
	if c.inferred == 0 && c.p.Join == plan.Broadcast {
		c.unmatched()
	}
	c.inferred++
}

// views are all that the job's networks make of an image, each once, and which of them each network takes. Every phase
// that looks at images is told of all of them, so that an image is bad for all networks or for none.
func (c *compiler) views() (all []image.Spec, of []int) {
	for _, n := range c.in.Networks {
		n.Image.MaxBytes = c.in.MaxFile
		at := slices.Index(all, n.Image)
		if at < 0 {
			at = len(all)
			all = append(all, n.Image)
		}
		of = append(of, at)
	}
	return all, of
}

// joins tells whether the join stands behind these programs: it does once for each layer, behind whatever
// leaves the CNN for good. A staged plan's volumes stay on the images' side; an eager plan's
// volumes are joined once and pooled afterwards.
func (c *compiler) joins(programs []Program) bool {
	return c.p.Inference != plan.Eager || programs[0].Spec.From == ""
}

// columns are the channels of programs that go through the join.
func (c *compiler) columns(programs []Program) []string {
	var out []string
	for _, p := range programs {
		of, channel := p.Spec.Pooled, extract.Pooled
		if c.p.Inference == plan.Eager {
			of, channel = p.Spec.Raw, extract.Raw
		}
		for _, l := range of {
			out = append(out, channel(c.full(p, l)))
		}
	}
	return out
}

// full is the name in the job of a program's layer.
func (c *compiler) full(p Program, layer string) string {
	return Full(c.in.Networks[p.Network].Name, layer)
}

// note remembers where programs' outputs are.
func (c *compiler) note(id mr.PhaseID, programs []Program) {
	for _, p := range programs {
		for _, l := range p.Spec.Raw {
			l = c.full(p, l)
			c.raw[l] = ref{id, extract.Raw(l)}
		}
		for _, l := range p.Spec.Pooled {
			l = c.full(p, l)
			c.pooled[l] = ref{id, extract.Pooled(l)}
		}
	}
}

func (c *compiler) tasksOf(id mr.PhaseID) int {
	i := slices.IndexFunc(c.phases, func(p mr.PhaseSpec) bool { return p.ID == id })
	return c.phases[i].NumTasks()
}

// joinOutputs adds the join of programs' outputs with the table.
func (c *compiler) joinOutputs(id mr.PhaseID, programs []Program, repeat bool) {
	to := "join-" + id
	channels := c.columns(programs)
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
	for _, l := range c.layers {
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
	for _, l := range c.layers {
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
func (c *compiler) train(name string, ls []Layer) {
	params := c.in.Train
	params.Structured = len(c.trained) == 0
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
		for _, n := range c.in.Networks {
			for _, l := range n.named() {
				inputs = append(inputs, same(l.Name, c.pooled[l.Name]))
				params.Layers = append(params.Layers, features.Layer{Name: l.Name, Dim: l.Pooled, Meta: n.Meta})
			}
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
