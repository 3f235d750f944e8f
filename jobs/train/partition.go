package train

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

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
	keys    [][]byte
	parts   []*cache.Floats // structured columns, then the layers'
	cols    []int
	classes int
	names   []string
	pool    *pool
}

// Open reads a partition.
func (r *rounds) Open(ctx context.Context, t mr.Task) (mr.Partition, error) {
	classes, err := inputClasses(t)
	if err != nil {
		return nil, err
	}
	p := &partition{p: r.p, models: r.p.models(), cols: r.p.columns(), classes: len(classes), names: classes}
	if p.pool, err = openPool(ctx, t); err != nil {
		return nil, err
	}
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
	p.keys, p.class, p.group, p.test = make([][]byte, 0, n), make([]int32, 0, n), make([]uint8, 0, n), make([]bool, 0, n)
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
		p.class, p.group, p.test = append(p.class, c), append(p.group, group), append(p.test, r.Test)
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
	w := p.pool.take()
	defer p.pool.give(w)
	switch msg[0] {
	case roundExtent:
		e := lr.NewExtent(p.cols, p.p.groups(), p.classes)
		err := p.each(ctx, w, p.allParts(), func(r *lr.Rows, parts []int) {
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
		err = p.each(ctx, w, p.allParts(), func(r *lr.Rows, parts []int) {
			for _, k := range parts {
				m.Add(r, k, scales)
			}
		})
		return p.answer(dst, roundMoments, m, err)
	case roundEval:
		return p.evaluate(ctx, w, msg, dst)
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
func (p *partition) each(ctx context.Context, w *workspace, groups [][]int, f func(r *lr.Rows, parts []int)) error {
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
			r, err := p.view(w, parts, lo, min(lo+step, len(p.class)))
			if err != nil {
				return err
			}
			f(r, parts)
		}
	}
	return nil
}

// view is rows [lo, hi) with the named parts.
func (p *partition) view(w *workspace, parts []int, lo, hi int) (*lr.Rows, error) {
	for len(w.views) < len(p.cols) {
		w.views = append(w.views, nil)
	}
	r := &lr.Rows{N: hi - lo, Class: p.class[lo:hi], Group: p.group[lo:hi], Parts: make([]lr.Matrix, len(p.cols))}
	for _, k := range parts {
		c := int64(p.cols[k])
		data, buf, err := p.parts[k].View(int64(lo)*c, int64(hi-lo)*c, w.views[k])
		w.views[k] = buf
		if err != nil {
			return nil, errs.E("train", errs.KindOf(err), "", err)
		}
		r.Parts[k] = lr.Matrix{Data: data, Cols: p.cols[k]}
	}
	return r, nil
}

// evaluate scans the parts of each target once for all of its models.
func (p *partition) evaluate(ctx context.Context, w *workspace, msg, dst []byte) ([]byte, error) {
	e, err := decodeEvaluation(msg)
	if err != nil {
		return nil, err
	}
	requests, groups, err := p.requests(w, e.points)
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		err := p.each(ctx, w, [][]int{g[0].Parts}, func(r *lr.Rows, _ []int) { lr.Scan(r, e.scales, g, &w.scratch) })
		if err != nil {
			return nil, err
		}
	}
	dst = append(dst, roundEval)
	for i := range requests {
		dst = appendPartial(dst, requests[i].Out)
	}
	return dst, nil
}

// requests decodes a message's points, in their order and by target.
func (p *partition) requests(w *workspace, points []byte) (all []lr.Request, groups [][]lr.Request, err error) {
	target := -1
	for i := 0; len(points) > 0; i++ {
		if len(points) < 4 {
			return nil, nil, damaged("a point is cut off")
		}
		k := binary.LittleEndian.Uint32(points)
		if uint64(k) >= uint64(len(p.models)) {
			return nil, nil, damaged(fmt.Sprintf("model %d of %d", k, len(p.models)))
		}
		m := p.models[k]
		s := p.p.shape(m, p.classes)
		if len(points) < s.bytes() {
			return nil, nil, damaged("a point is cut off")
		}
		pt := w.point(i, p.p, p.classes, s)
		points = points[4:]
		for j := range pt.B {
			pt.B[j] = math.Float64frombits(binary.LittleEndian.Uint64(points[8*j:]))
		}
		if points, err = readWeights(pt.W, points[8*s.scores:]); err != nil {
			return nil, nil, err
		}
		q := lr.Request{Parts: m.parts, Fold: m.Fold, Point: pt, Out: w.sum(i, s)}
		all = append(all, q)
		if m.Target != target {
			target = m.Target
			groups = append(groups, nil)
		}
		groups[len(groups)-1] = append(groups[len(groups)-1], q)
	}
	return all, groups, nil
}

// Finish writes the predictions; the first task hands on the models.
func (p *partition) Finish(ctx context.Context, t mr.Task, msg []byte) error {
	f, err := decodeFinal(msg)
	if err != nil {
		return err
	}
	if len(f.Models) != len(p.models) {
		return damaged(fmt.Sprintf("%d models, want %d", len(f.Models), len(p.models)))
	}
	if t.Spec().Attempt.Task.Index == 0 {
		if err := p.handOn(t, *f); err != nil {
			return err
		}
	}
	return p.predict(ctx, t, f)
}

// handOn sets the models that were trained on all training rows as the phase's value: those of the folds have done
// their part once their rows are predicted.
func (p *partition) handOn(t mr.Task, f final) error {
	whole := Value{Train: f.Train}
	for i, m := range f.Models {
		model := *m.Model
		if _, err := f.next(&model, p.p.shape(p.models[i], p.classes), nil); err != nil {
			return err
		}
		if m.Model = &model; m.Fold < 0 {
			whole.Models = append(whole.Models, m)
		}
	}
	return t.SetValue(whole)
}
