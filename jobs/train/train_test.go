package train

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/jobs/extract"
	"github.com/vista-mr/vista-mr/jobs/ingest"
	"github.com/vista-mr/vista-mr/jobs/row"
	"github.com/vista-mr/vista-mr/lr"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/mrtest"
)

const (
	features = 3
	tasks    = 3
	perTask  = 40
)

var dims = []Layer{{Name: "a", Dim: 5}, {Name: "b", Dim: 2}}

// fill writes rows whose label depends on all columns.
func fill(classes int) mr.Kind {
	return mr.Kind{Name: "fill", Map: func(json.RawMessage) (mr.Mapper, error) {
		return mr.MapperFunc(func(ctx context.Context, t mr.Task) error {
			base, err := t.Part(ctx, "base", mr.PartOptions{})
			if err != nil {
				return err
			}
			index := t.Spec().Attempt.Task.Index
			rnd := rand.New(rand.NewPCG(uint64(index), 5))
			split := row.NewSplitter(3, 0.25)
			for i := range perTask {
				c := rnd.IntN(classes)
				r := row.Row{Label: fmt.Sprint(c)}
				for range features {
					r.X = append(r.X, float32(rnd.NormFloat64()+0.5*float64(c)))
				}
				key := fmt.Appendf(nil, "%d-%02d", index, i)
				r.Test, r.U = split.Split(key)
				if err := base.Append(key, r.Append(nil)); err != nil {
					return err
				}
				for _, l := range dims {
					part, err := t.Part(ctx, l.Name, mr.PartOptions{})
					if err != nil {
						return err
					}
					v := make([]float32, l.Dim)
					for j := range v {
						v[j] = float32(rnd.NormFloat64() + 0.3*float64(c*j))
					}
					if err := extract.WriteVector(part, key, v); err != nil {
						return err
					}
				}
			}
			return nil
		}), nil
	}}
}

func names(classes int) (out []string) {
	for c := range classes {
		out = append(out, fmt.Sprint(c))
	}
	return out
}

func params(folds int) Params {
	return Params{Layers: dims, Structured: true, Features: features, Kind: lr.Logistic, Iterations: 8, Tol: 1e-6, Standardize: true, Folds: folds,
		Settings: []Setting{{Reg: 0.01, ElasticNet: 0.5}, {Reg: 0.1}}, Table: "table"}
}

// result is what a training leaves.
type result struct {
	value       string
	predictions []string
}

func runTraining(t *testing.T, p Params, classes int, cache int64) result {
	t.Helper()
	table := mr.Kind{Name: "classes", Map: func(json.RawMessage) (mr.Mapper, error) {
		return mr.MapperFunc(func(_ context.Context, t mr.Task) error { return t.SetValue(ingest.Value{Classes: names(classes)}) }), nil
	}}
	raw, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	inputs := []mr.Input{{Name: TableInput, Phase: "table", Mode: mr.Values}, {Name: BaseInput, Phase: "fill", Channel: "base", Mode: mr.Same}}
	for _, l := range dims {
		inputs = append(inputs, mr.Input{Name: l.Name, Phase: "fill", Channel: l.Name, Mode: mr.Same})
	}
	c := mrtest.New(t, fill(classes), table, Kind())
	c.Cache = cache
	out, err := c.Run(t.Context(), &mr.JobSpec{ID: "j", Phases: []mr.PhaseSpec{
		{ID: "fill", Type: mr.MapPhase, Kind: "fill", Tasks: tasks},
		{ID: "table", Type: mr.MapPhase, Kind: "classes", Tasks: 1},
		{ID: "train", Type: mr.RoundsPhase, Kind: Name, Params: raw, Tasks: tasks, Inputs: inputs},
	}})
	if err != nil {
		t.Fatal(err)
	}
	lines, err := c.Records(t.Context(), out["train"], Predictions)
	if err != nil {
		t.Fatal(err)
	}
	return result{value: string(out["train"].Tasks[0].Value), predictions: lines}
}

// How many models are trained at a time, and where partitions lie, changes no bit.
func TestWavesGiveTheSameBits(t *testing.T) {
	for _, classes := range []int{2, 3} {
		p := params(2)
		want := runTraining(t, p, classes, 64<<20)
		var v Value
		if err := json.Unmarshal([]byte(want.value), &v); err != nil || len(v.Models) != 6 {
			t.Fatalf("%d models, %v; want 6 without those of folds", len(v.Models), err)
		}
		for _, room := range []Room{{Bytes: 1, Training: 1}, {Bytes: 40, Training: 1}} {
			p.Room, p.Driven = room, Room{}
			if room.Bytes > 1 {
				p.Room, p.Driven = Room{}, room
			}
			got := runTraining(t, p, classes, 100) // nothing fits into this cache
			if got.value != want.value || !slices.Equal(got.predictions, want.predictions) {
				t.Errorf("%d classes, room %+v: models or predictions are others", classes, room)
			}
		}
	}
}

// The probabilities of all classes are there, and add up to 1; the class given is the likeliest.
func TestPredictionsHoldEveryClass(t *testing.T) {
	for _, classes := range []int{2, 4} {
		p := params(0)
		got := runTraining(t, p, classes, 64<<20)
		if len(got.predictions) != tasks*perTask {
			t.Fatalf("%d predictions", len(got.predictions))
		}
		for _, line := range got.predictions {
			_, value, _ := cut(line)
			d, err := DecodePrediction([]byte(value), classes)
			if err != nil || d.Len() != 6 {
				t.Fatalf("%d answers, %v", d.Len(), err)
			}
			for i := range d.Len() {
				class, own, prob := d.Answer(i, nil)
				if classes == 2 {
					prob = []float64{1 - prob[0], prob[0]}
				}
				sum, top := 0.0, 0
				for k, v := range prob {
					sum += v
					if v > prob[top] {
						top = k
					}
				}
				if math.Abs(sum-1) > 1e-9 || math.Abs(own-prob[d.Class]) > 1e-9 || prob[class] < prob[top] {
					t.Fatalf("answer %d: class %d of %v, own %v of class %d", i, class, prob, own, d.Class)
				}
			}
		}
	}
}

func cut(line string) (key, value string, ok bool) {
	i := slices.Index([]byte(line), '=')
	return line[:i], line[i+1:], true
}

// At no time are more weights in training than there is room for, in the process that drives training as well, but for one model that
// is larger.
func TestWavesKeepWithinTheirRoom(t *testing.T) {
	little, much := Room{Bytes: 1300, Training: 10, Trained: 1, Kept: 1}, Room{Bytes: 1 << 30, Training: 10, Trained: 1, Kept: 1}
	for name, of := range map[string]struct{ room, driven Room }{
		"here":                      {room: little},
		"little in workers":         {room: little, driven: much},
		"little where it is driven": {room: much, driven: little},
		"only that is bounded":      {driven: little},
	} {
		t.Run(name, func(t *testing.T) { wavesKeepWithin(t, of.room, of.driven) })
	}
}

func wavesKeepWithin(t *testing.T, room, driven Room) {
	p := params(3)
	p.Room, p.Driven = room, driven
	l := newLoop(&p, names(2))
	if l.wave <= 0 || l.wave >= 200 {
		t.Fatalf("%d weights at a time of %d and %d bytes", l.wave, p.Room.Bytes, p.Driven.Bytes)
	}
	l.extent = lr.NewExtent(p.columns(), p.groups(), 2)
	for g := range l.extent.Groups {
		l.extent.Groups[g] = []int64{5, 5}
	}
	for part, cols := range p.columns() {
		for j := range cols {
			l.extent.Low[part][j], l.extent.High[part][j] = -1, 1
		}
	}
	l.scales, l.moments = l.extent.Scales(), lr.NewMoments(p.columns(), p.groups())
	if err := l.begin(); err != nil {
		t.Fatal(err)
	}
	defer l.close()
	var used int64
	for _, f := range l.active {
		used += l.shape(f.model).weights()
	}
	if len(l.active) == 0 || len(l.active) == len(l.models) || used > l.wave {
		t.Errorf("%d of %d models with %d weights are begun, %d weights have room", len(l.active), len(l.models), used, l.wave)
	}
}

// A fold that cannot be trained is found before any other model is.
func TestOneClassIsFoundFirst(t *testing.T) {
	p := params(2)
	p.Room = Room{Bytes: 1, Training: 1}
	l := newLoop(&p, names(2))
	e := lr.NewExtent(p.columns(), 2, 2)
	e.Groups = [][]int64{{4, 0}, {4, 4}} // without the second fold there is one class
	l.extent, l.scales, l.moments = e, e.Scales(), lr.NewMoments(p.columns(), 2)
	var one *lr.OneClassError
	if err := l.check(); !errors.As(err, &one) || one.Fold != 1 || one.Folds != 2 || !strings.HasPrefix(err.Error(), "without fold 1 of the folds 0 to 1, all 4 training rows") {
		t.Errorf("got %v", err)
	}
}

// A column that is too large is said to be one of a layer, where it is not one of the table.
func TestRangeNamesTheLayer(t *testing.T) {
	p := params(0)
	l := newLoop(&p, names(2))
	m := l.models[len(l.models)-1]
	for column, want := range map[int]string{features - 1: "", features: dims[len(dims)-1].Name} {
		var got *lr.RangeError
		if err := l.explain(m, &lr.RangeError{Column: column}); !errors.As(err, &got) || got.Layer != want || got.Input() != want {
			t.Errorf("column %d: %v, layer %q; want %q", column, err, got.Layer, want)
		}
	}
}

// Messages come over a network one day: whatever they hold, a partition answers with an error.
func FuzzMessages(f *testing.F) {
	p := params(0)
	part := &partition{p: &p, models: p.models(), cols: p.columns(), classes: 2, names: names(2), pool: &pool{}}
	e := lr.NewExtent(p.columns(), 1, 2)
	head, err := encodeScales(e.Scales())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(appendPoint(slices.Clone(head), 0, newPoint(&p, 2, p.shape(part.models[0], 2))))
	f.Add(binary.LittleEndian.AppendUint64([]byte{roundEval}, math.MaxUint64))
	f.Add([]byte{roundExtent})
	final, err := encodeFinal(Value{Train: 1, Models: []Trained{{Model: &lr.Model{Weights: [][]float32{{1}}, Intercepts: []float64{1}}}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(final)
	f.Fuzz(func(_ *testing.T, msg []byte) {
		_, _ = part.Round(context.Background(), 1, msg, nil)
		if d, err := decodeFinal(msg); err == nil {
			for i := range d.Models {
				if d.Models[i].Model != nil && i < len(part.models) {
					if _, err := d.next(d.Models[i].Model, p.shape(part.models[i], 2), nil); err != nil {
						break
					}
				}
			}
		}
	})
}
