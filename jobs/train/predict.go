package train

import (
	"context"
	"slices"

	"github.com/vista-mr/vista-mr/lr"
	"github.com/vista-mr/vista-mr/mr"
)

const (
	// predictRows is how many rows are answered for at a time at most. It is large enough that decoding a model for them costs
	// little beside multiplying with it.
	predictRows = lr.Chunk
	// predictBytes is what their answers may take, unless those of leastRows take more: fewer rows than a tile of lr cost
	// as much as a tile.
	predictBytes = 4 << 20
	leastRows    = 32
)

// predict answers for every row with each target and setting. Each has a whole model and one for each fold; a row is
// answered for by the one that was not trained on it where there is one. One model is held at a time, and the answers of a
// block of rows, however many rows a partition has.
func (p *partition) predict(ctx context.Context, t mr.Task, f *final) error {
	out, err := t.Part(ctx, Predictions, mr.PartOptions{})
	if err != nil {
		return err
	}
	w := p.pool.take()
	defer p.pool.give(w)
	answers := p.p.answers() * answerBytes(p.classes)
	step := min(max(predictBytes/max(answers, 1), leastRows), predictRows)
	b := &block{rows: make([][]byte, min(step, len(p.class))), prob: make([]float64, min(step, len(p.class))*p.classes)}
	for i := range b.rows {
		b.rows[i] = make([]byte, 0, headBytes+answers)
	}
	for lo := 0; lo < len(p.class); lo += step {
		if err := p.answerFor(ctx, w, *f, b, lo, min(lo+step, len(p.class))); err != nil {
			return err
		}
		for i, value := range b.rows[:min(step, len(p.class)-lo)] {
			if err := out.Append(p.keys[lo+i], value); err != nil {
				return err
			}
		}
	}
	return nil
}

// block is what is held of the rows that are answered for at a time.
type block struct {
	rows [][]byte  // predictions
	prob []float64 // of one model
}

// answerFor fills a block with the predictions of rows [lo, hi). The final message is the caller's copy: its models are gone
// through from the first.
func (p *partition) answerFor(ctx context.Context, w *workspace, f final, b *block, lo, hi int) error {
	for i := range hi - lo {
		b.rows[i] = appendPrediction(b.rows[i][:0], p.class[lo+i], p.set(lo+i), p.group[lo+i])
	}
	var r *lr.Rows
	var parts []int // that r has
	for i, m := range f.Models {
		if err := ctx.Err(); err != nil {
			return err
		}
		var err error
		if w.rows, err = f.next(m.Model, p.p.shape(p.models[i], p.classes), w.rows); err != nil {
			return err
		}
		if r == nil || !slices.Equal(parts, p.models[i].parts) { // models of one target come together
			parts = p.models[i].parts
			if r, err = p.view(w, parts, lo, hi); err != nil {
				return err
			}
		}
		lr.Predict(r, parts, m.Model, 0, r.N, b.prob[:r.N*p.classes], &w.scratch)
		for j := range r.N {
			if p.judges(lo+j, m.Fold) {
				b.rows[j] = appendAnswer(b.rows[j], b.prob[j*p.classes:(j+1)*p.classes], p.class[lo+j])
			}
		}
	}
	return nil
}

// judges tells whether the model of a fold (-1: the whole one) is the one that answers for a
// row: held-out rows are answered by the whole model, training rows by their fold's, or by the
// whole one where there are no folds.
func (p *partition) judges(i, fold int) bool {
	if p.test[i] || p.p.Folds == 0 {
		return fold == -1
	}
	return fold == int(p.group[i])
}

func (p *partition) set(i int) Set {
	switch {
	case p.test[i]:
		return Test
	case p.p.Folds > 0:
		return Folded
	}
	return Train
}
