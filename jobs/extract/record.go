package extract

import (
	"context"

	"github.com/vista-mr/vista-mr/jobs/images"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/avro"
)

// record is one record under way: its images are decoded, run in whatever batches they fall into, and put together
// again. Pooled vectors are combined value by value as Params.Multiple says; volumes lie one behind the other, so that
// a later phase pools each of them as it would have been pooled here.
type record struct {
	key, row []byte
	bad      []mr.BadRecord // images that cannot be used, while the row is not known
	images   int            // those that can be used, so far
	run      int            // those of them whose outputs are here
	closed   bool           // all its images have been seen

	sums    [][]float64 // by output, of pooled vectors: sums, or largest values
	volumes [][]float32 // by output, of volumes
}

// whole tells whether everything that belongs to the record is there.
func (r *record) whole() bool { return r.closed && r.images > 0 && r.run == r.images }

// add takes the outputs of one image.
func (r *record) add(o *outputs, out func(j int) []float32) {
	if r.sums == nil {
		r.sums, r.volumes = make([][]float64, len(o.ports)), make([][]float32, len(o.ports))
	}
	for j := range o.ports {
		v := out(j)
		switch {
		case isRaw(o.ports[j].Channel):
			r.volumes[j] = append(r.volumes[j], v...)
		case r.run == 0:
			r.sums[j] = make([]float64, len(v))
			for i, x := range v {
				r.sums[j][i] = float64(x)
			}
		case o.p.Multiple == images.Max:
			for i, x := range v {
				r.sums[j][i] = max(r.sums[j][i], float64(x))
			}
		default:
			for i, x := range v {
				r.sums[j][i] += float64(x)
			}
		}
	}
	r.run++
}

// output is what the record has for an output. The mean is taken in double precision and in the order of the images,
// so that it does not depend on batches.
func (r *record) output(o *outputs, j int) []float32 {
	if isRaw(o.ports[j].Channel) {
		return r.volumes[j]
	}
	n := 1.0
	if o.p.Multiple != images.Max {
		n = float64(r.run)
	}
	out := make([]float32, len(r.sums[j]))
	for i, x := range r.sums[j] {
		out[i] = float32(x / n)
	}
	return out
}

// write writes a record whose outputs are here.
func (w *work) write(ctx context.Context, r *record, out func(j int) []float32) error {
	if len(r.row) > 0 {
		w.countOnce("matched", 1)
	}
	return w.out.record(ctx, r, out)
}

// end says that a record has no more images.
func (w *work) end(ctx context.Context, r *record) error {
	r.closed = true
	switch {
	case r.images == 0:
		return w.out.failed(ctx, r, true)
	case r.whole():
		return w.write(ctx, r, func(j int) []float32 { return r.output(&w.out, j) })
	}
	return nil // its last images are in the batch
}

// ran takes the outputs of the images of a batch, which are the runners' first n.
func (w *work) ran(ctx context.Context, recs []*record) error {
	for i, r := range recs {
		if err := w.finite(i, r.key); err != nil {
			if !w.p.Aside {
				return err
			}
			if err := w.spoiled(ctx, r, err); err != nil {
				return err
			}
			continue
		}
		out := func(j int) []float32 { return w.output(i, j) }
		if r.closed && r.images == 1 {
			r.run = 1
			if err := w.write(ctx, r, out); err != nil {
				return err
			}
			continue
		}
		r.add(&w.out, out)
		if r.whole() {
			if err := w.write(ctx, r, func(j int) []float32 { return r.output(&w.out, j) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// NotFinite is the cause of images whose features are no numbers.
const NotFinite = "not-finite"

// spoiled takes an image out of its record whose features are no numbers, as one that cannot be read.
func (w *work) spoiled(ctx context.Context, r *record, why *NotFiniteError) error {
	bad := mr.BadRecord{Key: string(r.key), Stage: "extract", Cause: NotFinite, Error: why.Error()}
	if r.row != nil {
		if err := w.t.SetAside(ctx, bad); err != nil {
			return err
		}
	} else {
		r.bad = append(r.bad, bad)
	}
	r.images--
	if !r.closed || r.run < r.images {
		return nil
	}
	return w.end(ctx, r)
}

// record writes a record's outputs.
func (o *outputs) record(ctx context.Context, r *record, out func(j int) []float32) error {
	if o.base != nil {
		if err := o.base.Append(r.key, r.row); err != nil {
			return err
		}
	}
	for j, part := range o.parts {
		if part == nil {
			continue
		}
		if err := WriteVector(part, r.key, out(j)); err != nil {
			return err
		}
	}
	if len(o.emit) == 0 {
		if len(r.bad) > 0 {
			return o.failed(ctx, r, false)
		}
		return nil
	}
	var err error
	if o.buffer, err = AppendOutcome(o.buffer[:0], r.bad, false); err != nil {
		return err
	}
	for _, j := range o.emit {
		o.buffer = avro.AppendFloat32s(o.buffer, out(j))
	}
	return o.t.Emit(ctx, r.key, o.buffer)
}

// failed passes on that images of a record cannot be used: with none, that the record has no other.
func (o *outputs) failed(ctx context.Context, r *record, none bool) error {
	bad := r.bad
	if len(bad) == 0 {
		bad = []mr.BadRecord{{Key: string(r.key)}} // they have been set aside before: nobody reads more than the key
	}
	var err error
	if o.buffer, err = AppendOutcome(o.buffer[:0], bad, none); err != nil {
		return err
	}
	if len(o.emit) > 0 {
		return o.t.Emit(ctx, r.key, o.buffer)
	}
	part, err := o.t.Part(ctx, Failed, mr.PartOptions{})
	if err != nil {
		return err
	}
	return part.Append(r.key, o.buffer)
}
