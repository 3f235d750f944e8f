// Package evaluate is the map kind that judges the trained models: it gathers the predictions
// of all training phases, chooses hyper-parameters, measures, compares, and reaches a verdict.
//
// Invariant: all models are judged on the same rows. Held-out rows are used for the verdict and
// never for a choice of hyper-parameters, which folds of the training rows decide. Only where
// nothing is held out do folds, or the training rows themselves, judge; the report says so.
//
// It runs as one task: predictions are 26 bytes for each row and target. The phase's Value is
// the report, from which the results are written.
package evaluate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
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
	g, err := gather(ctx, t, p, len(classes))
	if err != nil {
		return err
	}
	report, err := g.judge(classes)
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
	target  string
	setting int
	sets    [3]metrics.Predictions // by train.Set
}

// gathered holds all predictions, row by row in the same order for all columns.
type gathered struct {
	p       *Params
	columns []*column
	groups  [3][]uint8 // by set: the rows' folds
	train   []int64    // training rows by class
}

func gather(ctx context.Context, t mr.Task, p *Params, classes int) (*gathered, error) {
	g := &gathered{p: p, train: make([]int64, classes)}
	walkers := make([]*walker, len(p.Trained))
	for i, tr := range p.Trained {
		w := &walker{phase: tr.Phase, first: len(g.columns)}
		for _, target := range tr.Targets {
			for s := range p.Settings {
				c := &column{target: target, setting: s}
				for k := range c.sets {
					c.sets[k].Classes = classes
				}
				g.columns = append(g.columns, c)
			}
		}
		w.count = len(g.columns) - w.first
		w.next, w.stop = iter.Pull2(t.Records(ctx, tr.Phase))
		defer w.stop()
		walkers[i] = w
	}
	for {
		ok, err := g.row(walkers, classes)
		if err != nil || !ok {
			return g, err
		}
	}
}

// walker walks one phase's predictions.
type walker struct {
	phase        string
	first, count int // its columns
	next         func() (mr.Record, error, bool)
	stop         func()
}

// row takes the next row of every phase; all phases must speak of the same one.
func (g *gathered) row(walkers []*walker, classes int) (bool, error) {
	var key []byte
	for i, w := range walkers {
		rec, err, ok := w.next()
		if err != nil {
			return false, err
		}
		if i == 0 && !ok {
			return false, nil
		}
		if !ok || i > 0 && !bytes.Equal(rec.Key, key) {
			return false, errs.E("evaluate", errs.Internal, "", fmt.Errorf("phase %s is not in step at key %q", w.phase, key))
		}
		key = append(key[:0], rec.Key...)
		p, err := train.DecodePrediction(rec.Value)
		if err != nil {
			return false, errs.E("evaluate", errs.Corrupt, "", err)
		}
		if p.Len() != w.count || int(p.Set) > 2 || p.Class < 0 || int(p.Class) >= classes {
			return false, errs.E("evaluate", errs.Corrupt, "", fmt.Errorf("prediction of %q has %d answers, want %d", key, p.Len(), w.count))
		}
		if i == 0 {
			g.groups[p.Set] = append(g.groups[p.Set], p.Group)
			if p.Set != train.Test {
				g.train[p.Class]++
			}
		}
		for k := range w.count {
			class, own, score := p.Answer(k)
			c := &g.columns[w.first+k].sets[p.Set]
			c.Label, c.Class = append(c.Label, p.Class), append(c.Class, class)
			if g.p.probabilities() {
				c.Own = append(c.Own, own)
			}
			if classes == 2 {
				c.Score = append(c.Score, score)
			}
		}
	}
	return true, nil
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

func (g *gathered) judge(classes []string) (*Report, error) {
	set, on := g.on()
	if len(g.groups[set]) == 0 {
		return nil, &NoRowsError{On: on}
	}
	r := &Report{On: on, Classes: classes, Test: int64(len(g.groups[train.Test]))}
	for _, n := range g.train {
		r.Train += n
	}
	var entries []metrics.Entry
	var structured *metrics.Predictions
	for at := 0; at < len(g.columns); at += len(g.p.Settings) {
		options := g.columns[at : at+len(g.p.Settings)]
		c := g.choose(options)
		m := metrics.Measure(&c.sets[set])
		r.Targets = append(r.Targets, Target{Name: c.target, Setting: g.p.Settings[c.setting], Metrics: m})
		if c.target == train.Structured {
			structured = &c.sets[set]
		} else {
			entries = append(entries, metrics.Entry{Layer: c.target, P: &c.sets[set], Value: m[g.p.Metric]})
		}
		for _, o := range options {
			r.Rows = append(r.Rows, g.rows(o, set, on)...)
		}
	}
	if structured == nil || len(entries) == 0 {
		return nil, errs.E("evaluate", errs.Internal, "", errors.New("no predictions of structured features alone, or of any layer"))
	}
	g.majority(r, entries[0].P, on)
	if _, ok := r.Targets[0].Metrics[g.p.Metric]; !ok {
		return nil, &MetricError{Metric: g.p.Metric, Classes: len(classes)}
	}
	r.Verdict = metrics.Decide(entries, structured, g.p.Metric)
	return r, nil
}

// MetricError says that the deciding metric is not defined for the data.
type MetricError struct {
	Metric  string
	Classes int
}

func (e *MetricError) Error() string {
	return fmt.Sprintf("metric %s is not defined for these rows (%d classes)", e.Metric, e.Classes)
}

// ErrorID is stable.
func (e *MetricError) ErrorID() string { return "E-METRIC" }

// Hint says what to do.
func (e *MetricError) Hint() string {
	return "set downstream.metric to accuracy, f1-macro or log-loss; f1 and auc need two classes, and rows of both"
}

func (g *gathered) majority(r *Report, rows *metrics.Predictions, on string) {
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
			r.Rows = append(r.Rows, results.Row{Layer: results.MajorityRow, Fold: on, Metric: name, Value: v.Value})
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
func (g *gathered) rows(c *column, set train.Set, on string) []results.Row {
	name := c.target
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
		add(strconv.Itoa(f), only(&c.sets[train.Folded], g.groups[train.Folded], uint8(f)))
	}
	return out
}

// only are the predictions of one fold's rows.
func only(p *metrics.Predictions, groups []uint8, fold uint8) *metrics.Predictions {
	out := &metrics.Predictions{Classes: p.Classes}
	for i, g := range groups {
		if g != fold {
			continue
		}
		out.Label, out.Class = append(out.Label, p.Label[i]), append(out.Class, p.Class[i])
		if p.Own != nil {
			out.Own = append(out.Own, p.Own[i])
		}
		if p.Score != nil {
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
