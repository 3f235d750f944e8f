package extract

import (
	"context"
	"fmt"
	"slices"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// outputs writes what a task yields: part files for each output, or one value for the shuffle
// with the outputs that travel, one behind the other.
type outputs struct {
	t      mr.Task
	p      *Params
	ports  []Port          // of all programs
	parts  []mr.PartWriter // by output; nil where the output goes to the shuffle
	emit   []int           // outputs that go to the shuffle, in order
	base   mr.PartWriter
	buffer []byte
}

func openOutputs(ctx context.Context, t mr.Task, p *Params) (outputs, error) {
	o := outputs{t: t, p: p, ports: p.outs()}
	o.parts = make([]mr.PartWriter, len(o.ports))
	for _, ch := range p.Emit {
		i := slices.IndexFunc(o.ports, func(port Port) bool { return port.Channel == ch })
		if i < 0 {
			return o, errs.E("extract", errs.Invalid, "", fmt.Errorf("no model has an output %q to emit", ch))
		}
		o.emit = append(o.emit, i)
	}
	var err error
	for i, port := range o.ports {
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
