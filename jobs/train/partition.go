package train

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/vista-mr/vista-mr/jobs/extract"
	"github.com/vista-mr/vista-mr/jobs/row"
	"github.com/vista-mr/vista-mr/lr"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/cache"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// rounds opens partitions.
type rounds struct{ p *Params }

// partition is one partition's rows: labels and structured columns in memory, each layer's
// vectors in the process's cache, which keeps them in memory or on disk.
type partition struct {
	p       *Params
	models  []model
	class   []int32
	group   []uint8
	test    []bool
	u       []uint64
	keys    [][]byte
	parts   []*cache.Floats // structured columns, then the layers'
	cols    []int
	classes int
	names   []string

	scratch lr.Scratch
	views   [][]float32 // buffers for parts that are on disk
	sums    []*lr.Partial
}

// Open reads a partition.
func (r *rounds) Open(ctx context.Context, t mr.Task) (mr.Partition, error) {
	classes, err := inputClasses(t)
	if err != nil {
		return nil, err
	}
	p := &partition{p: r.p, models: r.p.models(), cols: r.p.columns(), classes: len(classes), names: classes}
	p.views = make([][]float32, len(p.cols))
	if err := p.read(ctx, t); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func inputClasses(t mr.Task) ([]string, error) {
	for _, in := range t.Spec().Inputs {
		if in.Name == TableInput {
			return tableClasses(in.Values)
		}
	}
	return nil, errs.E("train", errs.Internal, "", errors.New("the task has no input with the table's values"))
}

func (p *partition) read(ctx context.Context, t mr.Task) error {
	index := map[string]int32{}
	for i, c := range p.names {
		index[c] = int32(i)
	}
	n := rowsOf(t, BaseInput)
	for _, c := range p.cols {
		f, err := t.Cache().NewFloats(n * int64(c))
		if err != nil {
			return errs.E("train", errs.KindOf(err), "", err)
		}
		p.parts = append(p.parts, f)
	}
	var r row.Row
	for rec, err := range t.Records(ctx, BaseInput) {
		if err != nil {
			return err
		}
		if err := r.Decode(rec.Value); err != nil {
			return errs.E("train", errs.Corrupt, "", err)
		}
		c, ok := index[r.Label]
		if !ok || len(r.X) != p.cols[0] {
			return errs.E("train", errs.Corrupt, "", fmt.Errorf("row %q has label %q and %d columns, want %d", rec.Key, r.Label, len(r.X), p.cols[0]))
		}
		group := uint8(r.Fold(p.p.Folds))
		if r.Test {
			group = lr.HeldOut
		}
		p.keys = append(p.keys, bytes.Clone(rec.Key))
		p.class, p.group, p.test, p.u = append(p.class, c), append(p.group, group), append(p.test, r.Test), append(p.u, r.U)
		if err := p.parts[0].Append(r.X); err != nil {
			return errs.E("train", errs.KindOf(err), "", err)
		}
	}
	for i, l := range p.p.Layers {
		if err := p.readLayer(ctx, t, l, p.parts[1+i]); err != nil {
			return err
		}
	}
	for _, f := range p.parts {
		if err := f.Seal(); err != nil {
			return errs.E("train", errs.KindOf(err), "", err)
		}
	}
	t.Progress(n, n)
	return nil
}

func (p *partition) readLayer(ctx context.Context, t mr.Task, l Layer, to *cache.Floats) error {
	var v []float32
	i := 0
	for rec, err := range t.Records(ctx, l.Name) {
		if err != nil {
			return err
		}
		if i >= len(p.keys) || !bytes.Equal(rec.Key, p.keys[i]) {
			return errs.E("train", errs.Internal, "", fmt.Errorf("layer %s is not in step with the rows at key %q", l.Name, rec.Key))
		}
		if v, err = extract.ReadVector(v, rec.Value); err != nil || len(v) != l.Dim {
			return errs.E("train", errs.Corrupt, "", fmt.Errorf("layer %s has %d values for %q, want %d", l.Name, len(v), rec.Key, l.Dim))
		}
		if err := to.Append(v); err != nil {
			return errs.E("train", errs.KindOf(err), "", err)
		}
		i++
	}
	if i != len(p.keys) {
		return errs.E("train", errs.Internal, "", fmt.Errorf("layer %s has %d records for %d rows", l.Name, i, len(p.keys)))
	}
	return nil
}

// rowsOf is the number of rows of an input, from the manifests.
func rowsOf(t mr.Task, input string) int64 {
	n := int64(0)
	for _, in := range t.Spec().Inputs {
		if in.Name == input {
			for _, f := range in.Files {
				n += f.Rows
			}
		}
	}
	return n
}

// Close gives the cache's memory back.
func (p *partition) Close() error {
	var all []error
	for _, f := range p.parts {
		all = append(all, f.Close())
	}
	p.parts = nil
	return errors.Join(all...)
}

// Round answers a message with the partition's sum.
func (p *partition) Round(ctx context.Context, _ int, msg, dst []byte) ([]byte, error) {
	if len(msg) == 0 {
		return nil, errs.E("train", errs.Internal, "", errors.New("an empty message"))
	}
	switch msg[0] {
	case roundExtent:
		e := lr.NewExtent(p.cols, p.p.groups(), p.classes)
		err := p.each(ctx, p.allParts(), func(r *lr.Rows, parts []int) {
			if parts[0] == 0 {
				e.Count(r)
			}
			for _, k := range parts {
				e.Widen(r, k)
			}
		})
		return p.answer(dst, roundExtent, e, err)
	case roundMoments:
		scales, err := decode[lr.Scales](msg)
		if err != nil {
			return nil, err
		}
		m := lr.NewMoments(p.cols, p.p.groups())
		err = p.each(ctx, p.allParts(), func(r *lr.Rows, parts []int) {
			for _, k := range parts {
				m.Add(r, k, scales)
			}
		})
		return p.answer(dst, roundMoments, m, err)
	case roundEval:
		return p.evaluate(ctx, msg, dst)
	}
	return nil, errs.E("train", errs.Internal, "", fmt.Errorf("message of kind %q", msg[0]))
}

func (p *partition) answer(dst []byte, kind byte, v any, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	b, err := encode(kind, v)
	return append(dst, b...), err
}

// allParts reads one part at a time: a statistic of a column needs no other.
func (p *partition) allParts() [][]int {
	var out [][]int
	for i := range p.cols {
		out = append(out, []int{i})
	}
	return out
}

// chunkBytes is about how much of a part that lies on disk is read at a time.
const chunkBytes = 8 << 20

// each calls f with the rows, chunk by chunk, for each group of parts: only those parts are
// filled in. Chunks are cut where no bit of the result depends on it (lr.Chunk).
func (p *partition) each(ctx context.Context, groups [][]int, f func(r *lr.Rows, parts []int)) error {
	for _, parts := range groups {
		width := 0
		for _, k := range parts {
			width += p.cols[k]
		}
		step := max(chunkBytes/(4*max(width, 1))/lr.Chunk, 1) * lr.Chunk
		for lo := 0; lo < len(p.class); lo += step {
			if err := ctx.Err(); err != nil {
				return err
			}
			r, err := p.view(parts, lo, min(lo+step, len(p.class)))
			if err != nil {
				return err
			}
			f(r, parts)
		}
	}
	return nil
}

// view is rows [lo, hi) with the named parts.
func (p *partition) view(parts []int, lo, hi int) (*lr.Rows, error) {
	r := &lr.Rows{N: hi - lo, Class: p.class[lo:hi], Group: p.group[lo:hi], Parts: make([]lr.Matrix, len(p.cols))}
	for _, k := range parts {
		c := int64(p.cols[k])
		data, buf, err := p.parts[k].View(int64(lo)*c, int64(hi-lo)*c, p.views[k])
		p.views[k] = buf
		if err != nil {
			return nil, errs.E("train", errs.KindOf(err), "", err)
		}
		r.Parts[k] = lr.Matrix{Data: data, Cols: p.cols[k]}
	}
	return r, nil
}

// evaluate scans the parts of each target once for all of its models.
func (p *partition) evaluate(ctx context.Context, msg, dst []byte) ([]byte, error) {
	e, err := decode[evaluation](msg)
	if err != nil {
		return nil, err
	}
	requests := make([]lr.Request, len(e.Points))
	byTarget := map[int][]int{} // requests of each target
	var order []int
	for len(p.sums) < len(e.Points) {
		p.sums = append(p.sums, nil)
	}
	for i := range e.Points {
		pt := &e.Points[i]
		if pt.Model < 0 || pt.Model >= len(p.models) {
			return nil, errs.E("train", errs.Internal, "", fmt.Errorf("model %d of %d", pt.Model, len(p.models)))
		}
		m := p.models[pt.Model]
		p.sums[i] = reuse(p.sums[i], len(pt.Point.W), len(pt.Point.W[0]))
		requests[i] = lr.Request{Parts: m.parts, Fold: m.Fold, Point: &pt.Point, Out: p.sums[i]}
		if byTarget[m.Target] == nil {
			order = append(order, m.Target)
		}
		byTarget[m.Target] = append(byTarget[m.Target], i)
	}
	for _, t := range order {
		group := make([]lr.Request, 0, len(byTarget[t]))
		for _, i := range byTarget[t] {
			group = append(group, requests[i])
		}
		err := p.each(ctx, [][]int{group[0].Parts}, func(r *lr.Rows, _ []int) { lr.Scan(r, e.Scales, group, &p.scratch) })
		if err != nil {
			return nil, err
		}
	}
	dst = append(dst, roundEval)
	for i := range requests {
		dst = appendPartial(dst, p.sums[i])
	}
	return dst, nil
}

// reuse empties a partial of the right size, or makes one.
func reuse(p *lr.Partial, scores, cols int) *lr.Partial {
	if p == nil || len(p.Grad) != scores || len(p.Grad[0]) != cols {
		return lr.NewPartial(scores, cols)
	}
	p.Reset()
	return p
}

// Finish writes the predictions; the first task hands on the models.
func (p *partition) Finish(ctx context.Context, t mr.Task, final []byte) error {
	if len(final) == 0 || final[0] != roundFinal {
		return errs.E("train", errs.Internal, "", errors.New("not a final message"))
	}
	var v Value
	if err := json.Unmarshal(final[1:], &v); err != nil {
		return errs.E("train", errs.Internal, "", err)
	}
	if t.Spec().Attempt.Task.Index == 0 {
		// The folds' models have done their part once their rows are predicted.
		whole := Value{Train: v.Train}
		for _, m := range v.Models {
			if m.Fold < 0 {
				whole.Models = append(whole.Models, m)
			}
		}
		if err := t.SetValue(whole); err != nil {
			return err
		}
	}
	return p.predict(ctx, t, v.Models)
}

// each target and setting has a whole model and one for each fold; a row is predicted by the
// one that was not trained on it where there is one.
func (p *partition) predict(ctx context.Context, t mr.Task, models []Trained) error {
	out, err := t.Part(ctx, Predictions, mr.PartOptions{})
	if err != nil {
		return err
	}
	answers := make([][]answer, len(p.class)) // by row: one for each target and setting
	per := 1 + p.p.Folds
	prob := make([]float64, 0)
	for at := 0; at < len(models); at += per {
		group := models[at : at+per]
		parts := p.models[at].parts
		lo := 0
		err := p.each(ctx, [][]int{parts}, func(r *lr.Rows, _ []int) {
			if need := r.N * p.classes; cap(prob) < need {
				prob = make([]float64, need)
			}
			prob = prob[:r.N*p.classes]
			for f, m := range group {
				lr.Predict(r, parts, m.Model, 0, r.N, prob, &p.scratch)
				for i := range r.N {
					if p.judges(lo+i, f-1) {
						answers[lo+i] = append(answers[lo+i], newAnswer(prob[i*p.classes:(i+1)*p.classes], p.class[lo+i]))
					}
				}
			}
			lo += r.N
		})
		if err != nil {
			return err
		}
	}
	var buf []byte
	for i, key := range p.keys {
		buf = appendPrediction(buf[:0], p.class[i], p.set(i), p.group[i], answers[i])
		if err := out.Append(key, buf); err != nil {
			return err
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
