package evaluate

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/jobs/ingest"
	"github.com/vista-mr/vista-mr/jobs/results"
	"github.com/vista-mr/vista-mr/jobs/train"
	"github.com/vista-mr/vista-mr/lr"
	"github.com/vista-mr/vista-mr/lr/metrics"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/mrtest"
)

// world is the predictions of some phases.
type world struct {
	classes, folds int
	settings       []train.Setting
	phases         []Trained
	skill          func(target string, setting int, set train.Set) float64 // share of the probability that goes to the true class
	test           int                                                     // of 100 rows
	shift          string                                                  // a phase that has other keys than the others
}

func (w *world) predictions(phase string, targets []string) mr.Kind {
	return mr.Kind{Name: "p-" + phase, Map: func(json.RawMessage) (mr.Mapper, error) {
		return mr.MapperFunc(func(ctx context.Context, t mr.Task) error {
			part, err := t.Part(ctx, train.Predictions, mr.PartOptions{})
			if err != nil {
				return err
			}
			for i := range 100 {
				class := i % w.classes
				set, group := train.Train, byte(0)
				switch {
				case i < w.test:
					set, group = train.Test, lr.HeldOut
				case w.folds > 0:
					set, group = train.Folded, byte(i/w.classes%w.folds)
				}
				b := binary.LittleEndian.AppendUint32([]byte{byte(set), group}, uint32(class))
				for _, target := range targets {
					for s := range w.settings {
						b = w.answer(b, i, class, w.skill(target, s, set))
					}
				}
				key := fmt.Sprintf("k%02d", i)
				if w.shift == phase {
					key += "x"
				}
				if err := part.Append([]byte(key), b); err != nil {
					return err
				}
			}
			var v train.Value
			for _, target := range targets {
				for _, s := range w.settings {
					v.Models = append(v.Models, train.Trained{Target: target, Setting: s, Fold: -1, Model: &lr.Model{Classes: w.classes}})
				}
			}
			return t.SetValue(v)
		}), nil
	}}
}

func (w *world) answer(b []byte, row, class int, skill float64) []byte {
	rnd := rand.New(rand.NewPCG(uint64(row), math.Float64bits(skill)))
	prob := make([]float64, w.classes)
	sum := 0.0
	for k := range prob {
		prob[k] = rnd.Float64()
		if k == class {
			prob[k] += 2 * skill
		}
		sum += prob[k]
	}
	given := 0
	for k := range prob {
		prob[k] /= sum
		if prob[k] > prob[given] {
			given = k
		}
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(given))
	if w.classes == 2 {
		prob = []float64{prob[class], prob[1]}
	}
	for _, v := range prob {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
	}
	return b
}

func (w *world) run(t *testing.T, metric string) (*Report, error) {
	t.Helper()
	var names []string
	for c := range w.classes {
		names = append(names, fmt.Sprintf("class %d", c))
	}
	table := mr.Kind{Name: "table", Map: func(json.RawMessage) (mr.Mapper, error) {
		return mr.MapperFunc(func(_ context.Context, t mr.Task) error { return t.SetValue(ingest.Value{Classes: names}) }), nil
	}}
	kinds := []mr.Kind{table, Kind()}
	job := &mr.JobSpec{ID: "j", Phases: []mr.PhaseSpec{{ID: "table", Type: mr.MapPhase, Kind: "table", Tasks: 1}}}
	inputs := []mr.Input{{Name: train.TableInput, Phase: "table", Mode: mr.Values}}
	for _, tr := range w.phases {
		kinds = append(kinds, w.predictions(tr.Phase, tr.Targets))
		id := mr.PhaseID(tr.Phase)
		job.Phases = append(job.Phases, mr.PhaseSpec{ID: id, Type: mr.MapPhase, Kind: "p-" + tr.Phase, Tasks: 1})
		inputs = append(inputs, mr.Input{Name: tr.Phase, Phase: id, Channel: train.Predictions, Mode: mr.All}, mr.Input{Name: tr.Phase + ".models", Phase: id, Mode: mr.Values})
	}
	params, err := json.Marshal(Params{Trained: w.phases, Settings: w.settings, Folds: w.folds, Metric: metric})
	if err != nil {
		t.Fatal(err)
	}
	job.Phases = append(job.Phases, mr.PhaseSpec{ID: "evaluate", Type: mr.MapPhase, Kind: Name, Params: params, Tasks: 1, Inputs: inputs})
	out, err := mrtest.New(t, kinds...).Run(t.Context(), job)
	if err != nil {
		return nil, err
	}
	var r Report
	return &r, json.Unmarshal(out["evaluate"].Tasks[0].Value, &r)
}

func newWorld(classes int) *world {
	return &world{classes: classes, test: 60, settings: []train.Setting{{Reg: 1}, {Reg: 2}}, folds: 2,
		phases: []Trained{{Phase: "one", Targets: []string{train.Structured, "a"}}, {Phase: "two", Targets: []string{"b"}}},
		skill: func(target string, setting int, set train.Set) float64 {
			v := map[string]float64{train.Structured: 0.1, "a": 0.2, "b": 0.9}[target]
			if setting == 1 && set == train.Folded {
				return v + 0.05 // better on the folds
			}
			if setting == 1 {
				return v - 0.05 // and worse on what is held out, which must not count
			}
			return v
		}}
}

// AUC is there for any number of classes, and may decide.
func TestEveryMetricIsMeasured(t *testing.T) {
	for _, classes := range []int{2, 3, 5} {
		for _, metric := range []string{metrics.AUC, metrics.Accuracy, metrics.LogLoss} {
			r, err := newWorld(classes).run(t, metric)
			if err != nil {
				t.Fatalf("%d classes, %s: %v", classes, metric, err)
			}
			for _, x := range r.Targets {
				for _, name := range results.MetricNames() {
					if _, ok := x.Metrics[name]; !ok && (name != metrics.F1 || classes == 2) {
						t.Errorf("%d classes: target %q has no %s", classes, x.Name, name)
					}
				}
			}
			if r.Verdict.Best != "b" || r.Verdict.RunnerUp != "a" || !r.Verdict.Helps || r.Test != 60 || r.Train != 40 {
				t.Errorf("%d classes, %s: %+v, trained on %d, tested on %d", classes, metric, r.Verdict, r.Train, r.Test)
			}
			if m := r.Majority[metrics.AUC]; m.Value != 0.5 {
				t.Errorf("%d classes: the majority's AUC is %v", classes, m.Value)
			}
		}
	}
}

// Folds choose the setting, held-out rows judge; every setting and fold is in the table of metrics.
func TestFoldsChoose(t *testing.T) {
	w := newWorld(2)
	w.skill = func(target string, setting int, set train.Set) float64 {
		better := setting == 1
		if set != train.Folded {
			better = !better
		}
		if better {
			return 0.9
		}
		return 0
	}
	r, err := w.run(t, metrics.Accuracy)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, x := range r.Targets {
		if x.Setting.Reg != 2 || x.Model.Setting.Reg != 2 {
			t.Errorf("%q: chosen %+v, model %+v; the folds are for reg 2", x.Name, x.Setting, x.Model.Setting)
		}
	}
	for _, row := range r.Rows {
		if row.Layer != results.MajorityRow && row.Metric == metrics.AUC {
			seen[fmt.Sprintf("%s %s %v", row.Layer, row.Fold, row.Reg)]++
		}
	}
	if len(seen) != 3*2*3 {
		t.Errorf("AUC of %d combinations of target, setting and test or fold: %v", len(seen), seen)
	}
}

func TestRefusals(t *testing.T) {
	w := newWorld(2)
	w.test, w.folds = 0, 2
	w.settings = w.settings[:1]
	if r, err := w.run(t, metrics.Accuracy); err != nil || r.On != results.OnFolds {
		t.Errorf("nothing held out: %v", err)
	}
	for name, c := range map[string]struct {
		spoil  func(*world)
		metric string
		id     string
	}{
		"rows out of step":  {func(w *world) { w.shift = "two" }, metrics.Accuracy, "E-INTERNAL"},
		"an unknown metric": {func(*world) {}, "no-such-metric", "E-METRIC"},
	} {
		w := newWorld(3)
		c.spoil(w)
		_, err := w.run(t, c.metric)
		var e interface{ ErrorID() string }
		if !errors.As(err, &e) || e.ErrorID() != c.id {
			t.Errorf("%s: %v, want %s", name, err, c.id)
		}
	}
	if e := (&NoRowsError{On: results.OnFolds}); !strings.Contains(e.Error(), "folds") || e.Hint() == "" || e.ErrorID() != "E-NO-ROWS" {
		t.Errorf("%v", e)
	}
}
