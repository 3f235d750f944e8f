package train

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/vista-mr/vista-mr/lr"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/cache"
)

// written is a task that takes predictions: it keeps those of some rows, and counts.
type written struct {
	mr.Task
	mr.PartWriter
	keep func(n int) bool
	n    int
	kept map[int][]byte
}

func (w *written) Part(context.Context, string, mr.PartOptions) (mr.PartWriter, error) { return w, nil }

func (w *written) Append(key, value []byte) error {
	if want := fmt.Sprint(w.n); string(key) != want {
		return fmt.Errorf("key %q, want %q", key, want)
	}
	if w.keep(w.n) {
		w.kept[w.n] = bytes.Clone(value)
	}
	w.n++
	return nil
}

// predicting is a partition of n rows, and models for it, that nobody trained.
func predicting(t *testing.T, p *Params, classes, n int, budget int64) (*partition, []byte) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(7, 7))
	part := &partition{p: p, models: p.models(), cols: p.columns(), classes: classes, pool: &pool{}}
	for i := range n {
		group, test := uint8(i%max(p.Folds, 1)), i%5 == 0
		if test {
			group = lr.HeldOut
		}
		part.keys = append(part.keys, fmt.Append(nil, i))
		part.class, part.group, part.test = append(part.class, int32(i%classes)), append(part.group, group), append(part.test, test)
	}
	store := cache.New(budget, t.TempDir())
	for _, c := range part.cols {
		f, err := store.NewFloats(int64(n * c))
		if err != nil {
			t.Fatal(err)
		}
		for range n {
			if err := f.Append(randoms(rnd, c)); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Seal(); err != nil {
			t.Fatal(err)
		}
		part.parts = append(part.parts, f)
	}
	t.Cleanup(func() { _ = part.Close() })
	v := Value{Train: 1}
	for _, m := range part.models {
		s := p.shape(m, classes)
		x := &lr.Model{Kind: p.Kind, Classes: classes, Intercepts: make([]float64, s.scores)}
		for range s.scores {
			x.Weights = append(x.Weights, randoms(rnd, s.cols))
		}
		v.Models = append(v.Models, Trained{Fold: m.Fold, Model: x})
	}
	msg, err := encodeFinal(v)
	if err != nil {
		t.Fatal(err)
	}
	return part, msg
}

func randoms(rnd *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(rnd.NormFloat64())
	}
	return v
}

// Rows are answered for in blocks, and each as if it were with all others, whether its vectors are in memory or on disk.
func TestBlocksGiveTheSameBytes(t *testing.T) {
	for name, c := range map[string]struct{ classes, rows, folds, settings int }{
		"two classes":              {2, 2*predictRows + 3, 3, 2},
		"no folds":                 {2, predictRows, 0, 2},
		"one row":                  {3, 1, 2, 2},
		"blocks of a few rows":     {40, 150, 0, 90}, // 90 settings of 3 targets with 324 bytes: 47 rows
		"blocks of the least rows": {100, 3*leastRows + 5, 0, 90},
	} {
		for _, budget := range []int64{64 << 20, 0} {
			t.Run(fmt.Sprintf("%s, %d bytes of cache", name, budget), func(t *testing.T) {
				p := params(c.folds)
				p.Settings = make([]Setting, c.settings)
				part, msg := predicting(t, &p, c.classes, c.rows, budget)
				f, err := decodeFinal(msg)
				if err != nil {
					t.Fatal(err)
				}
				got := &written{keep: func(int) bool { return true }, kept: map[int][]byte{}}
				if err := part.predict(t.Context(), got, f); err != nil {
					t.Fatal(err)
				}
				if got.n != c.rows {
					t.Fatalf("%d predictions of %d rows", got.n, c.rows)
				}
				if f, err = decodeFinal(msg); err != nil {
					t.Fatal(err)
				}
				for i, want := range atOnce(t, part, f) {
					if !bytes.Equal(got.kept[i], want) {
						t.Fatalf("row %d has other bytes", i)
					}
				}
			})
		}
	}
}

// atOnce predicts all rows of a partition together.
func atOnce(t *testing.T, p *partition, f *final) [][]byte {
	t.Helper()
	w, next := p.pool.take(), *f
	out := make([][]byte, len(p.class))
	for i := range out {
		out[i] = appendPrediction(nil, p.class[i], p.set(i), p.group[i])
	}
	prob := make([]float64, len(out)*p.classes)
	for i, m := range next.Models {
		if _, err := next.next(m.Model, p.p.shape(p.models[i], p.classes), nil); err != nil {
			t.Fatal(err)
		}
		r, err := p.view(w, p.models[i].parts, 0, len(out))
		if err != nil {
			t.Fatal(err)
		}
		lr.Predict(r, p.models[i].parts, m.Model, 0, r.N, prob, &w.scratch)
		for j := range out {
			if p.judges(j, m.Fold) {
				out[j] = appendAnswer(out[j], prob[j*p.classes:(j+1)*p.classes], p.class[j])
			}
		}
	}
	return out
}

// What predicting holds does not grow with the rows: those of a partition can be millions.
func TestPredictingHoldsABlock(t *testing.T) {
	allocated := func(rows int) int64 {
		p := params(2)
		p.Settings = make([]Setting, 10)
		part, msg := predicting(t, &p, 20, rows, 64<<20)
		f, err := decodeFinal(msg)
		if err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if err := part.predict(t.Context(), &written{keep: func(int) bool { return false }}, f); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		return int64(after.TotalAlloc - before.TotalAlloc)
	}
	const rows = 4 * predictRows
	few, many := allocated(predictRows), allocated(predictRows+rows)
	// For each row there are answers with 30 settings and targets, 164 bytes each. What is allocated for each model and block is little.
	if more := (many - few) / rows; more > 1000 {
		t.Errorf("%d bytes for %d rows, %d for %d: %d for each of them", few, predictRows, many, predictRows+rows, more)
	}
}
