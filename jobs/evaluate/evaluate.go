// Package evaluate is the map kind that judges the trained models: it gathers the predictions
// of all training phases, chooses hyper-parameters, measures, compares, and reaches a verdict.
//
// Invariant: all models are judged on the same rows. Held-out rows are used for the verdict and
// never for a choice of hyper-parameters, which folds of the training rows decide. Only where
// nothing is held out do folds, or the training rows themselves, judge; the report says so.
//
// It runs as one task, which goes through the first predictions once for what is the same for all rows, then through all once
// for each target, and holds those of one target with all of its settings, and of every target the chosen ones on the judging
// rows. The phase's Value is the report, from which the results are written.
package evaluate

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/vista-mr/vista-mr/jobs/ingest"
	"github.com/vista-mr/vista-mr/jobs/results"
	"github.com/vista-mr/vista-mr/jobs/train"
	"github.com/vista-mr/vista-mr/lr"
	"github.com/vista-mr/vista-mr/lr/metrics"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// Name is the kind's name.
const Name = "evaluate"

// Trained is a training phase: its predictions are an input of its name, its values one of its
// name with ".models" behind it.
type Trained struct {
	Phase   string   `json:"phase"`
	Targets []string `json:"targets"` // in the order of its predictions
}

// Params says what is judged and how.
type Params struct {
	Trained  []Trained       `json:"trained"`
	Settings []train.Setting `json:"settings"`
	Folds    int             `json:"folds"`
	Metric   string          `json:"metric"`
	Kind     string          `json:"kind,omitempty"` // of the models, as in train.Params
}

// probabilities tells whether the models give any: without them there is no log-loss.
func (p *Params) probabilities() bool { return p.Kind != lr.LinearSVC }

// Target is what is known of one target: a layer, or structured features alone.
type Target struct {
	Name    string                   `json:"name"` // train.Structured for structured features alone
	Setting train.Setting            `json:"setting"`
	Metrics map[string]metrics.Value `json:"metrics"`
	Model   train.Trained            `json:"model"`
}

// Report is the phase's Value.
type Report struct {
	On       string                   `json:"on"` // results.OnTest, OnFolds or OnTrain
	Classes  []string                 `json:"classes"`
	Targets  []Target                 `json:"targets"`
	Majority map[string]metrics.Value `json:"majority"`
	Common   string                   `json:"common"` // the class that the majority baseline gives
	Verdict  metrics.Verdict          `json:"verdict"`
	Rows     []results.Row            `json:"rows"` // of metrics.csv
	Train    int64                    `json:"train"`
	Test     int64                    `json:"test"`
}

// NoRowsError says that nothing can be judged.
type NoRowsError struct{ On string }

func (e *NoRowsError) Error() string {
	return fmt.Sprintf("there are no rows to judge the models on (%s)", e.On)
}

// ErrorID is stable.
func (e *NoRowsError) ErrorID() string { return "E-NO-ROWS" }

// Hint says what to do.
func (e *NoRowsError) Hint() string {
	return "use more records, or another downstream.test or seed"
}

// Kind is what the registry holds.
func Kind() mr.Kind {
	return mr.Kind{Name: Name, Map: func(params json.RawMessage) (mr.Mapper, error) {
		p, err := mr.Decode[Params](params)
		return mr.MapperFunc(func(ctx context.Context, t mr.Task) error { return run(ctx, t, &p) }), err
	}}
}

func run(ctx context.Context, t mr.Task, p *Params) error {
	classes, err := classesOf(t)
	if err != nil {
		return err
	}
	g := &gathered{p: p, t: t, classes: len(classes), train: make([]int64, len(classes))}
	report, err := g.judge(ctx, classes)
	if err != nil {
		return err
	}
	if err := attachModels(t, p, report); err != nil {
		return err
	}
	return t.SetValue(report)
}

func input(t mr.Task, name string) *mr.TaskInput {
	for i := range t.Spec().Inputs {
		if t.Spec().Inputs[i].Name == name {
			return &t.Spec().Inputs[i]
		}
	}
	return nil
}

func classesOf(t mr.Task) ([]string, error) {
	in := input(t, train.TableInput)
	if in == nil || len(in.Values) != 1 {
		return nil, errs.E("evaluate", errs.Internal, "", errors.New("the task has no input with the table's value"))
	}
	var v ingest.Value
	if err := json.Unmarshal(in.Values[0], &v); err != nil {
		return nil, errs.E("evaluate", errs.Internal, "", err)
	}
	return v.Classes, nil
}

// column is what one target with one setting says of the rows of a set.
type column struct {
	setting int
	scores  bool                   // there are no probabilities
	sets    [3]metrics.Predictions // by train.Set
}

// gathered is what is known of the rows: the same for all targets.
type gathered struct {
	p       *Params
	t       mr.Task
	classes int
	labels  [3][]int32          // by set
	groups  [3][]uint8          // by set: the rows' folds
	train   []int64             // training rows by class
	rowsSum []byte              // digest of keys, sets, folds and classes
	free    [3][][]float64      // by set: room for probabilities of all classes that nobody needs any more
	fold    metrics.Predictions // of the rows of one fold
}

// count goes through the first phase's predictions for what is the same for all. It is a pass more, after which it is known how
// many rows a set has: lists that grow hold up to as much again while they do, and a quarter more afterwards.
func (g *gathered) count(ctx context.Context) (err error) {
	g.rowsSum, err = g.each(ctx, &g.p.Trained[0], func(p *train.Prediction) {
		g.labels[p.Set], g.groups[p.Set] = append(g.labels[p.Set], p.Class), append(g.groups[p.Set], p.Group)
		if p.Set != train.Test {
			g.train[p.Class]++
		}
	})
	return err
}

// each calls f with a phase's predictions, and returns the digest of their rows.
func (g *gathered) each(ctx context.Context, tr *Trained, f func(*train.Prediction)) ([]byte, error) {
	sum := sha256.New()
	for rec, err := range g.t.Records(ctx, tr.Phase) {
		if err != nil {
			return nil, err
		}
		p, err := train.DecodePrediction(rec.Value, g.classes)
		if err != nil {
			return nil, errs.E("evaluate", errs.Corrupt, "", err)
		}
		if want := len(tr.Targets) * len(g.p.Settings); p.Len() != want {
			return nil, errs.E("evaluate", errs.Corrupt, "", fmt.Errorf("prediction of %q has %d answers, want %d", rec.Key, p.Len(), want))
		}
		fmt.Fprintf(sum, "%q %d %d %d\n", rec.Key, p.Set, p.Group, p.Class)
		f(&p)
	}
	return sum.Sum(nil), nil
}

// gather goes through a phase's predictions and takes those of one target.
func (g *gathered) gather(ctx context.Context, tr *Trained, target int) ([]*column, error) {
	columns := make([]*column, len(g.p.Settings))
	for i := range columns {
		columns[i] = &column{setting: i, scores: !g.p.probabilities()}
		for k := range columns[i].sets {
			columns[i].sets[k] = g.reserve(k)
		}
	}
	digest, err := g.each(ctx, tr, func(p *train.Prediction) {
		for i, c := range columns {
			c.add(p, target*len(g.p.Settings)+i)
		}
	})
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(digest, g.rowsSum) {
		return nil, errs.E("evaluate", errs.Internal, "", fmt.Errorf("phase %s predicts other rows than the first", tr.Phase))
	}
	return columns, nil
}

// reserve is a set with room for the answers for its rows.
func (g *gathered) reserve(set int) metrics.Predictions {
	labels := g.labels[set]
	n := len(labels)
	p := metrics.Predictions{Classes: g.classes, Label: labels, Class: make([]int32, 0, n)}
	if g.p.probabilities() {
		p.Own = make([]float64, 0, n)
	}
	if g.classes <= 2 {
		p.Score = make([]float64, 0, n)
	} else if last := len(g.free[set]) - 1; last >= 0 {
		p.Prob, g.free[set] = g.free[set][last], g.free[set][:last]
	} else {
		p.Prob = make([]float64, 0, n*g.classes)
	}
	return p
}

// release takes back the probabilities of a target that was judged, but for those that are kept: they are most of what is
// held, and two targets' would be while garbage is not yet collected.
func (g *gathered) release(options []*column, kept *metrics.Predictions) {
	for _, c := range options {
		for k := range c.sets {
			if p := c.sets[k].Prob; cap(p) > 0 && (len(kept.Prob) == 0 || &p[:1][0] != &kept.Prob[0]) {
				g.free[k] = append(g.free[k], p[:0])
			}
			c.sets[k].Prob = nil
		}
	}
}

func (c *column) add(p *train.Prediction, answer int) {
	s := &c.sets[p.Set]
	to := &s.Score
	if s.Classes > 2 {
		to = &s.Prob
	}
	class, own, all := p.Answer(answer, *to)
	*to = all
	s.Class = append(s.Class, class)
	if !c.scores {
		s.Own = append(s.Own, own)
	}
}

// on is the set that judges.
func (g *gathered) on() (train.Set, string) {
	switch {
	case len(g.groups[train.Test]) > 0:
		return train.Test, results.OnTest
	case g.p.Folds > 1:
		return train.Folded, results.OnFolds
	}
	return train.Train, results.OnTrain
}

func (g *gathered) judge(ctx context.Context, classes []string) (*Report, error) {
	r := &Report{Classes: classes}
	var entries []metrics.Entry
	var structured *metrics.Predictions
	if len(g.p.Trained) > 0 {
		if err := g.count(ctx); err != nil {
			return nil, err
		}
	}
	for i := range g.p.Trained {
		tr := &g.p.Trained[i]
		for at, name := range tr.Targets {
			options, err := g.gather(ctx, tr, at)
			if err != nil {
				return nil, err
			}
			set, on := g.on()
			r.On = on
			if len(g.groups[set]) == 0 {
				return nil, &NoRowsError{On: on}
			}
			c := g.choose(options)
			m := metrics.Measure(&c.sets[set])
			if _, ok := m[g.p.Metric]; !ok {
				return nil, &ingest.MetricError{Metric: g.p.Metric, Classes: len(classes)}
			}
			r.Targets = append(r.Targets, Target{Name: name, Setting: g.p.Settings[c.setting], Metrics: m})
			for _, o := range options {
				r.Rows = append(r.Rows, g.rows(name, o, set, on)...)
			}
			kept := c.sets[set]
			if g.p.Metric != metrics.AUC {
				kept.Prob, kept.Score = nil, nil // the comparison does not need them
			}
			g.release(options, &kept)
			if name == train.Structured {
				structured = &kept
			} else {
				entries = append(entries, metrics.Entry{Layer: name, P: &kept, Value: m[g.p.Metric]})
			}
		}
	}
	if structured == nil || len(entries) == 0 {
		return nil, errs.E("evaluate", errs.Internal, "", errors.New("no predictions of structured features alone, or of any layer"))
	}
	r.Test = int64(len(g.groups[train.Test]))
	for _, n := range g.train {
		r.Train += n
	}
	g.free, g.fold = [3][][]float64{}, metrics.Predictions{} // the majority's take their place
	g.majority(r, entries[0].P)
	r.Verdict = metrics.Decide(entries, structured, g.p.Metric)
	return r, nil
}

func (g *gathered) majority(r *Report, rows *metrics.Predictions) {
	m := metrics.Majority(rows.Label, g.train)
	if !g.p.probabilities() {
		m.Own = nil // a log-loss that nothing else has tells nothing
	}
	r.Majority = metrics.Measure(m)
	best := 0
	for c, n := range g.train {
		if n > g.train[best] {
			best = c
		}
	}
	r.Common = r.Classes[best]
	for _, name := range results.MetricNames() {
		if v, ok := r.Majority[name]; ok {
			r.Rows = append(r.Rows, results.Row{Layer: results.MajorityRow, Fold: r.On, Metric: name, Value: v.Value})
		}
	}
}

// choose takes the setting that is best on the folds; the first of equals. With one setting
// there is nothing to choose.
func (g *gathered) choose(options []*column) *column {
	best := options[0]
	if len(options) == 1 {
		return best
	}
	value := func(c *column) float64 {
		v, _ := metrics.Of(&c.sets[train.Folded], g.p.Metric)
		return v
	}
	top := value(best)
	for _, c := range options[1:] {
		if v := value(c); v > top != metrics.Smaller(g.p.Metric) && v != top {
			best, top = c, v
		}
	}
	return best
}

// rows are a column's numbers for metrics.csv: on the judging rows, and fold by fold.
func (g *gathered) rows(name string, c *column, set train.Set, on string) []results.Row {
	if name == train.Structured {
		name = results.StructuredRow
	}
	s := g.p.Settings[c.setting]
	var out []results.Row
	add := func(fold string, p *metrics.Predictions) {
		m := metrics.Measure(p)
		for _, metric := range results.MetricNames() {
			if v, ok := m[metric]; ok {
				out = append(out, results.Row{Layer: name, Fold: fold, Reg: s.Reg, ElasticNet: s.ElasticNet, Metric: metric, Value: v.Value})
			}
		}
	}
	add(on, &c.sets[set])
	for f := range g.p.Folds {
		add(strconv.Itoa(f), g.only(&c.sets[train.Folded], uint8(f)))
	}
	return out
}

// only are the predictions of one fold's rows, until it is called again.
func (g *gathered) only(p *metrics.Predictions, fold uint8) *metrics.Predictions {
	out, groups := &g.fold, g.groups[train.Folded]
	n := 0
	for _, of := range groups {
		if of == fold {
			n++
		}
	}
	out.Classes, out.Label, out.Class = p.Classes, slices.Grow(out.Label[:0], n), slices.Grow(out.Class[:0], n)
	if p.Own != nil { // what no target has stays nil
		out.Own = slices.Grow(out.Own[:0], n)
	}
	if p.Classes > 2 {
		out.Prob = slices.Grow(out.Prob[:0], n*p.Classes)
	} else {
		out.Score = slices.Grow(out.Score[:0], n)
	}
	for i, of := range groups {
		if of != fold {
			continue
		}
		out.Label, out.Class = append(out.Label, p.Label[i]), append(out.Class, p.Class[i])
		if p.Own != nil {
			out.Own = append(out.Own, p.Own[i])
		}
		if p.Classes > 2 {
			out.Prob = append(out.Prob, p.Prob[i*p.Classes:(i+1)*p.Classes]...)
		} else {
			out.Score = append(out.Score, p.Score[i])
		}
	}
	return out
}

// attachModels finds each target's chosen model among the training phases' values.
func attachModels(t mr.Task, p *Params, r *Report) error {
	for _, tr := range p.Trained {
		in := input(t, tr.Phase+".models")
		if in == nil || len(in.Values) == 0 {
			return errs.E("evaluate", errs.Internal, "", fmt.Errorf("phase %s has no models", tr.Phase))
		}
		var v train.Value
		if err := json.Unmarshal(in.Values[0], &v); err != nil {
			return errs.E("evaluate", errs.Internal, "", err)
		}
		for _, m := range v.Models {
			for i := range r.Targets {
				if x := &r.Targets[i]; x.Name == m.Target && x.Setting == m.Setting {
					x.Model = m
				}
			}
		}
	}
	for _, x := range r.Targets {
		if x.Model.Model == nil {
			return errs.E("evaluate", errs.Internal, "", fmt.Errorf("target %q has no model", x.Name))
		}
	}
	return nil
}
