package extract

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/vista-mr/vista-mr/mr/errs"
)

// Decodes counts images that were decoded, in every phase anew.
const Decodes = "decodes"

// runners are a task's programs, each with buffers for a batch. Programs that take the same of an image read one buffer.
type runners struct {
	all    []Runner
	ports  []Port   // each program's input
	first  []int    // by program: the first of its outputs among those of all
	pixels [][]byte // by Params.Images: the buffer; nil: no program takes it
	max    int      // images that a buffer takes
	row    [][]byte // what rows returns
}

// openRunners makes the programs ready, one after the other: each is opened once in the process.
func (w *work) openRunners(ctx context.Context, e Engine) error {
	r := &w.runners
	if n := len(w.p.Programs); n == 0 || w.p.Source == Volume && n > 1 {
		return errs.E("extract", errs.Invalid, "", fmt.Errorf("%d programs for source %s", n, w.p.Source))
	}
	r.max = w.batch
	r.pixels, r.row = make([][]byte, len(w.p.Images)), make([][]byte, len(w.p.Images))
	outs := 0
	for i := range w.p.Programs {
		p := &w.p.Programs[i]
		var pixels []byte
		if w.p.Source != Volume {
			if p.Image < 0 || p.Image >= len(r.pixels) {
				return errs.E("extract", errs.Invalid, "", fmt.Errorf("a program takes images of kind %d, of which there are %d", p.Image, len(r.pixels)))
			}
			pixels = r.pixels[p.Image]
		}
		s, err := w.t.Shared(ctx, "cnn/"+p.Model.Digest, func(ctx context.Context) (io.Closer, error) {
			return e.Open(ctx, p.Model)
		})
		if err != nil {
			return err
		}
		one, err := s.(Session).NewRunner(w.batch, pixels)
		if err != nil {
			return err
		}
		r.all, r.ports, r.first = append(r.all, one), append(r.ports, p.Model.In), append(r.first, outs)
		outs += len(p.Model.Out)
		if w.p.Source != Volume {
			r.pixels[p.Image] = one.Input()
		}
	}
	return nil
}

func (r *runners) close() error {
	var all []error
	for i := len(r.all) - 1; i >= 0; i-- { // who reads another's buffer goes first
		all = append(all, r.all[i].Close())
	}
	return errors.Join(all...)
}

// rows are where the image at a place of the batch goes, by kind; nil: nobody takes it.
func (r *runners) rows(at int) [][]byte {
	for i, b := range r.pixels {
		if b != nil {
			n := len(b) / r.max
			r.row[i] = b[at*n : (at+1)*n]
		}
	}
	return r.row
}

// run runs the first n images through all programs.
func (r *runners) run(ctx context.Context, n int) error {
	for _, one := range r.all {
		if err := one.Run(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// moveToFront brings inputs start..start+n to the front of the buffers. Later ones stay where they are, because start
// only grows.
func (r *runners) moveToFront(start, n int) {
	if start == 0 {
		return
	}
	if !r.ports[0].Bytes {
		k := r.ports[0].Len()
		copy(r.all[0].InputF32(), r.all[0].InputF32()[start*k:(start+n)*k])
	}
	for _, b := range r.pixels {
		if b != nil {
			k := len(b) / r.max
			copy(b, b[start*k:(start+n)*k])
		}
	}
}

// output is output j, of those of all programs, for image i of the batch.
func (w *work) output(i, j int) []float32 {
	r := &w.runners
	k := len(r.first) - 1
	for r.first[k] > j {
		k--
	}
	n := w.out.ports[j].Len()
	return r.all[k].Output(j - r.first[k])[i*n : (i+1)*n]
}
