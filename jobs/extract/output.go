package extract

import (
	"context"
	"fmt"
	"slices"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/avro"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// outputs writes what a task yields: part files for each output, or one value for the shuffle
// with the outputs that travel, one behind the other.
type outputs struct {
	t      mr.Task
	p      *Params
	parts  []mr.PartWriter // by output; nil where the output goes to the shuffle
	emit   []int           // outputs that go to the shuffle, in order
	base   mr.PartWriter
	buffer []byte
}

func openOutputs(ctx context.Context, t mr.Task, p *Params) (outputs, error) {
	o := outputs{t: t, p: p, parts: make([]mr.PartWriter, len(p.Model.Out))}
	for _, ch := range p.Emit {
		i := slices.IndexFunc(p.Model.Out, func(port Port) bool { return port.Channel == ch })
		if i < 0 {
			return o, errs.E("extract", errs.Invalid, "", fmt.Errorf("the model has no output %q to emit", ch))
		}
		o.emit = append(o.emit, i)
	}
	var err error
	for i, port := range p.Model.Out {
		if slices.Contains(o.emit, i) {
			continue
		}
		if o.parts[i], err = t.Part(ctx, port.Channel, mr.PartOptions{Raw: p.Store}); err != nil {
			return o, err
		}
	}
	if p.Base {
		o.base, err = t.Part(ctx, Base, mr.PartOptions{Raw: p.Store})
	}
	return o, err
}

// record writes record i of the runner's outputs.
func (o *outputs) record(ctx context.Context, r Runner, i int, rec pendingRecord) error {
	if o.base != nil {
		if err := o.base.Append(rec.key, rec.row); err != nil {
			return err
		}
	}
	for j, part := range o.parts {
		if part == nil {
			continue
		}
		n := o.p.Model.Out[j].Len()
		if err := WriteVector(part, rec.key, r.Output(j)[i*n:(i+1)*n]); err != nil {
			return err
		}
	}
	if len(o.emit) == 0 {
		return nil
	}
	o.buffer = append(o.buffer[:0], Usable)
	for _, j := range o.emit {
		n := o.p.Model.Out[j].Len()
		o.buffer = avro.AppendFloat32s(o.buffer, r.Output(j)[i*n:(i+1)*n])
	}
	return o.t.Emit(ctx, rec.key, o.buffer)
}

// The first byte of a value that travels through the shuffle to a join.
const (
	Usable   byte = 1 // vectors or image bytes follow
	Unusable byte = 0 // a mr.BadRecord as JSON follows
)

// failed passes on that an image cannot be used.
func (o *outputs) failed(ctx context.Context, key, story []byte) error {
	if len(o.emit) > 0 {
		o.buffer = append(append(o.buffer[:0], Unusable), story...)
		return o.t.Emit(ctx, key, o.buffer)
	}
	part, err := o.t.Part(ctx, Failed, mr.PartOptions{})
	if err != nil {
		return err
	}
	return part.Append(key, story)
}
