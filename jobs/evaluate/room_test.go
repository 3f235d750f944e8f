package evaluate

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"reflect"
	"runtime"
	"slices"
	"testing"

	"github.com/vista-mr/vista-mr/jobs/train"
	"github.com/vista-mr/vista-mr/lr"
	"github.com/vista-mr/vista-mr/lr/metrics"
	"github.com/vista-mr/vista-mr/mr"
)

// many is a task that has the predictions of a world for so many rows.
type many struct {
	mr.Task
	w    *world
	rows int
}

func (m *many) Records(context.Context, string) iter.Seq2[mr.Record, error] {
	return func(yield func(mr.Record, error) bool) {
		var b []byte
		for i := range m.rows {
			class, set, group := i%m.w.classes, train.Folded, byte(i%m.w.folds)
			if i%5 == 0 {
				set, group = train.Test, lr.HeldOut
			}
			b = binary.LittleEndian.AppendUint32(append(b[:0], byte(set), group), uint32(class))
			for _, target := range m.w.phases[0].Targets {
				for s := range m.w.settings {
					b = m.w.answer(b, i, class, m.w.skill(target, s, set))
				}
			}
			if !yield(mr.Record{Key: fmt.Append(nil, i), Value: b}, nil) {
				return
			}
		}
	}
}

// Of all targets one is held at a time: the next takes the room of the one before it, and nothing of what is kept of that.
func TestTheNextTargetTakesTheRoom(t *testing.T) {
	for name, c := range map[string]struct {
		metric string
		more   int // lists of probabilities that the next target needs, of 4
	}{
		"classes are compared":       {metrics.Accuracy, 0},
		"probabilities are compared": {metrics.AUC, 1},
	} {
		t.Run(name, func(t *testing.T) {
			const rows, classes = 2000, 50
			w := newWorld(classes)
			p := &Params{Trained: w.phases[:1], Settings: w.settings, Folds: w.folds, Metric: c.metric}
			g := &gathered{p: p, t: &many{w: w, rows: rows}, classes: classes, train: make([]int64, classes)}
			gather := func(g *gathered, target int) []*column {
				columns, err := g.gather(t.Context(), &p.Trained[0], target)
				if err != nil {
					t.Fatal(err)
				}
				return columns
			}
			if err := g.count(t.Context()); err != nil {
				t.Fatal(err)
			}
			first := gather(g, 0)
			kept := first[1].sets[train.Test]
			if c.metric != metrics.AUC {
				kept.Prob = nil
			}
			was := slices.Clone(kept.Prob)
			g.release(first, &kept)
			reserved := allocated(func() {
				for range p.Settings {
					for set := range g.labels {
						g.reserve(set)
					}
				}
			})
			if most := int64(c.more*rows/5*classes*8 + rows*classes*8/4); reserved > most {
				t.Errorf("%d bytes are reserved for the next target, want %d at most", reserved, most)
			}
			g.free = [3][][]float64{}
			g.release(gather(g, 0), &kept)
			second := gather(g, 1)
			other := &gathered{p: p, t: g.t, classes: classes, train: make([]int64, classes)}
			if err := other.count(t.Context()); err != nil {
				t.Fatal(err)
			}
			if want := gather(other, 1); !reflect.DeepEqual(second, want) {
				t.Error("the second target has other answers if there was one before it")
			}
			if !slices.Equal(kept.Prob, was) {
				t.Error("what is kept of the first target has changed")
			}
			folded := &second[0].sets[train.Folded]
			g.only(folded, 0)
			if again := allocated(func() { g.only(folded, 1) }); again > rows*classes*8/8 {
				t.Errorf("the next fold takes %d bytes more", again)
			}
			if got, want := g.only(folded, 1), other.only(folded, 1); len(want.Label) == 0 || !reflect.DeepEqual(got, want) {
				t.Error("the second fold has other answers if there was one before it")
			}
		})
	}
}

func allocated(f func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}
