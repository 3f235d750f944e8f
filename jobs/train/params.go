// Package train is the rounds kind that trains the downstream models of one or more layers, in
// shared scans over pinned partitions, and then predicts the rows that they are judged on.
//
// Invariant: a model sees, for every row, the table's feature columns in file order and then its
// layer's vector, and nothing of rows that it must not be trained on. The models' bits depend on
// the partitions' rows and not on how many processes held them or which answered first
// (package lr).
//
// The rounds: extent, moments, then evaluations until every model is trained, then the final
// message with the models. A round's message says what is asked for and carries all that the
// answer needs, so a partition that was reopened elsewhere can go on in the middle.
//
// Phases of package vistaopt/compile run it; package evaluate reads its predictions and models.
package train

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/vista-mr/vista-mr/jobs/ingest"
	"github.com/vista-mr/vista-mr/lr"
	"github.com/vista-mr/vista-mr/mr"
)

// Name is the kind's name.
const Name = "train"

// Inputs beside the layers', which have the layers' names.
const (
	TableInput = "table" // values of the table phase
	BaseInput  = "base"  // matched rows
)

// Predictions is the channel of predictions (see prediction.go).
const Predictions = "predictions"

// Structured is the name of the target that has no layer: structured features alone.
const Structured = ""

// Layer is a layer whose vectors are trained on.
type Layer struct {
	Name string `json:"name"`
	Dim  int    `json:"dim"`
}

// Setting is one combination of hyper-parameters.
type Setting struct {
	Reg        float64 `json:"reg"`
	ElasticNet float64 `json:"elasticNet"`
}

// Params says what is trained.
type Params struct {
	Layers      []Layer    `json:"layers"`
	Structured  bool       `json:"structured,omitempty"` // train on structured features alone as well
	Features    int        `json:"features"`             // structured columns
	Kind        string     `json:"kind"`
	Settings    []Setting  `json:"settings"` // at least one
	Iterations  int        `json:"iterations"`
	Tol         float64    `json:"tol"`
	Standardize bool       `json:"standardize"`
	Folds       int        `json:"folds"` // 0: none
	Table       mr.PhaseID `json:"table"` // the phase whose value tells the classes
	Room        Room       `json:"room"`
	Driven      Room       `json:"driven,omitzero"` // of the process that drives training, where that is another one
}

// Room bounds what models may take in a process, in bytes. Models are trained in waves that fit, and one at a time at
// least; fewer at a time take more scans and give the same bits.
type Room struct {
	Bytes    int64 `json:"bytes"`    // for everything below; 0: no bound
	Training int64 `json:"training"` // for each weight that is being trained
	Trained  int64 `json:"trained"`  // for each weight of all models
	Kept     int64 `json:"kept"`     // for each weight of the models that are handed on, which are those without folds
}

// wave is how many weights may be trained at a time; 0: any number.
func (r Room) wave(trained, kept int64) int64 {
	if r.Bytes == 0 {
		return 0
	}
	return max((r.Bytes-r.Trained*trained-r.Kept*kept)/max(r.Training, 1), 1)
}

// Scores is the number of weight vectors that models of so many classes have.
func Scores(classes int) int {
	if classes > 2 {
		return classes
	}
	return 1
}

// shape of a model's numbers.
func (p *Params) shape(m model, classes int) shape {
	s := shape{scores: Scores(classes)}
	cols := p.columns()
	for _, k := range m.parts {
		s.cols += cols[k]
	}
	return s
}

// Targets are the names of what is trained: Structured first if it is, then the layers.
func (p *Params) Targets() []string {
	var out []string
	if p.Structured {
		out = append(out, Structured)
	}
	for _, l := range p.Layers {
		out = append(out, l.Name)
	}
	return out
}

// model is one model to be trained: which target, setting and fold.
type model struct {
	Target  int // in Targets
	Setting int
	Fold    int // -1: on all training rows
	parts   []int
}

// models are all models in a fixed order: by target, setting, and fold, the whole one first.
func (p *Params) models() []model {
	var out []model
	for t, name := range p.Targets() {
		parts := []int{0}
		if name != Structured {
			at := t
			if p.Structured {
				at--
			}
			parts = append(parts, 1+at)
		}
		for s := range p.Settings {
			out = append(out, model{Target: t, Setting: s, Fold: -1, parts: parts})
			for f := range p.Folds {
				out = append(out, model{Target: t, Setting: s, Fold: f, parts: parts})
			}
		}
	}
	return out
}

// spec is the model as package lr takes it.
func (p *Params) spec(m model, classes int) lr.Spec {
	fold := m.Fold
	if fold < 0 {
		fold = -1
	}
	return lr.Spec{Params: lr.Params{Kind: p.Kind, Reg: p.Settings[m.Setting].Reg, ElasticNet: p.Settings[m.Setting].ElasticNet,
		Tol: p.Tol, Iterations: p.Iterations, Standardize: p.Standardize}, Parts: m.parts, Classes: classes, Fold: fold}
}

// answers is how many a row gets: one for each target and setting.
func (p *Params) answers() int { return len(p.Targets()) * len(p.Settings) }

// columns of each part.
func (p *Params) columns() []int {
	out := []int{p.Features}
	for _, l := range p.Layers {
		out = append(out, l.Dim)
	}
	return out
}

// groups is the number of groups of training rows.
func (p *Params) groups() int { return max(p.Folds, 1) }

// Trained is a model of the phase's Value, which the first task sets.
type Trained struct {
	Target  string    `json:"target"`
	Setting Setting   `json:"setting"`
	Fold    int       `json:"fold"` // -1: on all training rows
	Model   *lr.Model `json:"model"`
}

// Value is the small result of the phase's first task.
type Value struct {
	Models []Trained `json:"models"`
	Train  int64     `json:"train"` // rows trained on
}

// Kind is what the registry holds.
func Kind() mr.Kind {
	return mr.Kind{
		Name: Name,
		Rounds: func(params json.RawMessage) (mr.Rounds, error) {
			p, err := mr.Decode[Params](params)
			return &rounds{p: &p}, err
		},
		Merge: merge,
		Loop: func(_ context.Context, params json.RawMessage, read func(mr.PhaseID) []json.RawMessage) (mr.Loop, error) {
			p, err := mr.Decode[Params](params)
			if err != nil {
				return nil, err
			}
			classes, err := tableClasses(read(p.Table))
			if err != nil {
				return nil, err
			}
			return newLoop(&p, classes), nil
		},
	}
}

// tableClasses reads the classes from the table phase's values.
func tableClasses(values []json.RawMessage) ([]string, error) {
	if len(values) != 1 {
		return nil, fmt.Errorf("the table phase has %d values, want 1", len(values))
	}
	var v ingest.Value
	if err := json.Unmarshal(values[0], &v); err != nil {
		return nil, fmt.Errorf("value of the table phase: %w", err)
	}
	return v.Classes, nil
}
