package extract

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/vista-mr/vista-mr/jobs/images"
	"github.com/vista-mr/vista-mr/layers/image"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/avro"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// work is one task at work.
type work struct {
	p       *Params
	t       mr.Task
	table   *Table
	runners runners
	decode  *image.Pipeline
	out     outputs

	batch   int       // images per call: Params.Batch, less after the memory limit was met
	pending []*record // of the images whose input is in the runners' buffers
	current *record   // whose images are being read
	total   int64
	done    int64
	times   struct{ decode, cnn time.Duration }
}

func run(ctx context.Context, t mr.Task, p *Params, e Engine) (err error) {
	if p.Batch < 1 {
		return errs.E("extract", errs.Invalid, "", fmt.Errorf("batch %d", p.Batch))
	}
	w := &work{p: p, t: t, batch: max(1, p.Batch>>t.Spec().Halvings)}
	if p.Table != "" {
		if w.table, err = OpenTable(ctx, t, p.Table); err != nil {
			return err
		}
	}
	defer func() { err = errors.Join(err, w.runners.close()) }()
	if err := w.openRunners(ctx, e); err != nil {
		return err
	}
	if p.Source != Volume {
		choice, err := Decoder(p.Decoder)
		if err != nil {
			return err
		}
		if w.decode, err = image.NewViews(p.Images, choice); err != nil {
			return err
		}
		defer w.decode.Close()
		if p.Decode > 0 {
			g, err := t.Shared(ctx, "decode", func(context.Context) (io.Closer, error) { return &gateOf{image.NewGate(p.Decode)}, nil })
			if err != nil {
				return err
			}
			w.decode.Share(g.(*gateOf).Gate)
		}
	}
	if w.out, err = openOutputs(ctx, t, p); err != nil {
		return err
	}
	return w.all(ctx)
}

// gateOf is the process's bound on what all its slots decode in.
type gateOf struct{ *image.Gate }

// Close does nothing: a gate holds nothing.
func (*gateOf) Close() error { return nil }

// Decoder reads the name of a JPEG decoder. Go is the default: it needs no library, so that the
// same job gives the same bits on every machine.
func Decoder(name string) (image.DecoderChoice, error) {
	switch name {
	case "", "go":
		return image.Go, nil
	case "turbo":
		return image.Turbo, nil
	case "auto":
		return image.Auto, nil
	}
	return 0, errs.E("extract", errs.Invalid, "", fmt.Errorf("decoder %q is none of go, turbo and auto", name))
}

func (w *work) all(ctx context.Context) error {
	if w.t.Spec().Split != nil {
		w.total = w.t.Spec().Split.Records
	} else {
		for _, in := range w.t.Spec().Inputs {
			if in.Name == w.p.Input {
				for _, f := range in.Files {
					w.total += f.Rows
				}
			}
		}
	}
	for it, err := range w.items(ctx) {
		if err != nil {
			return err
		}
		if err := w.take(ctx, &it); err != nil {
			return err
		}
	}
	if err := w.flush(ctx); err != nil {
		return err
	}
	w.count("time.decode.us", w.times.decode.Microseconds())
	w.count("time.cnn.us", w.times.cnn.Microseconds())
	return nil
}

// count counts what a phase that sees everything for the second time must not count again.
// Times are counted always: they are spent again.
func (w *work) count(name string, n int64) {
	if n != 0 {
		w.t.Count(name, n)
	}
}

func (w *work) countOnce(name string, n int64) {
	if !w.p.Repeat {
		w.count(name, n)
	}
}

// take decodes one image into the batch, and runs the batch when it is full.
func (w *work) take(ctx context.Context, it *item) error {
	if w.p.Source == Files || it.last {
		w.done++ // images of a split, records of an input
		w.t.Progress(w.done, w.total)
	}
	if w.p.Source == Files {
		w.countOnce("images", 1)
	}
	if it.aside {
		if w.p.Repeat {
			return nil
		}
		return w.t.SetAside(ctx, *it.bad)
	}
	if it.first {
		if w.p.Source == Files && !it.last {
			w.countOnce("images.several", 1)
		}
		w.current = &record{key: append([]byte(nil), it.key...), row: append([]byte(nil), it.row...)}
	}
	r := w.current
	if w.table != nil && it.row == nil {
		if it.last {
			return w.unmatched(ctx, it)
		}
		return nil
	}
	if err := w.use(ctx, r, it); err != nil {
		return err
	}
	if it.last {
		if err := w.end(ctx, r); err != nil {
			return err
		}
	}
	if len(w.pending) < w.batch {
		return nil
	}
	return w.flush(ctx)
}

// use decodes an image of a record, or notes why it cannot be used.
func (w *work) use(ctx context.Context, r *record, it *item) error {
	bad := it.bad
	if bad == nil {
		var err error
		if bad, err = w.fill(it); err != nil {
			return err
		}
	}
	switch {
	case bad == nil:
		r.images++
		w.pending = append(w.pending, r)
	case w.p.Repeat:
	case it.row != nil: // the row is known, so it is a bad record now; else the join decides
		return w.t.SetAside(ctx, *bad)
	default:
		r.bad = append(r.bad, *bad)
	}
	return nil
}

// fill puts an image or volume into the next row of the runners' buffers.
func (w *work) fill(it *item) (bad *mr.BadRecord, err error) {
	at := len(w.pending)
	if w.p.Source == Volume {
		n := w.p.Programs[0].Model.In.Len()
		avro.Float32s(w.runners.all[0].InputF32()[at*n:at*n], it.volume)
		return nil, nil
	}
	start := time.Now()
	info, err := w.decode.ProcessViews(w.runners.rows(at), it.image)
	w.times.decode += time.Since(start)
	w.count(Decodes, 1)
	var bi *image.BadImage
	if errors.As(err, &bi) {
		cause := bi.Reason
		if cause == image.ReasonTooLarge { // as a file that is
			cause = images.TooLarge
		}
		return badImage(it, cause, err), nil
	}
	if err != nil {
		return nil, err
	}
	w.countOnce("decoder."+info.Decoder, 1)
	if info.Orientation > 1 {
		w.countOnce("images.rotated", 1)
	}
	return nil, nil
}

func (w *work) unmatched(ctx context.Context, it *item) error {
	if w.p.Repeat {
		return nil
	}
	if w.table != nil && w.table.Aside(it.key) {
		w.t.Count("left-out.aside", 1)
		return nil
	}
	if !w.p.Required {
		w.t.Count("left-out.image", 1)
		return nil
	}
	return w.t.SetAside(ctx, mr.BadRecord{Key: string(it.key), Stage: "join", Cause: "no-row",
		Error: fmt.Sprintf("image %q has no row in the table", it.key)})
}

// flush runs what is pending, in pieces that the memory limit allows, and writes the outputs.
func (w *work) flush(ctx context.Context) error {
	for start := 0; start < len(w.pending); {
		n := min(w.batch, len(w.pending)-start)
		w.runners.moveToFront(start, n)
		begin := time.Now()
		err := w.runners.run(ctx, n)
		w.times.cnn += time.Since(begin)
		if outOfMemory(err) && n > 1 {
			// The limit holds for the rest of the task: trying the same size again would
			// fail again, at the price of most of an inference.
			w.batch = (n + 1) / 2
			w.t.Count("batch.halved", 1)
			continue
		}
		if err != nil {
			return w.runError(err, n)
		}
		w.count("cnn.images", int64(n*len(w.runners.all)))
		if err := w.ran(ctx, w.pending[start:start+n]); err != nil {
			return err
		}
		start += n
	}
	clear(w.pending)
	w.pending = w.pending[:0]
	return nil
}

func outOfMemory(err error) bool {
	var m interface{ OutOfMemory() bool }
	return errors.As(err, &m) && m.OutOfMemory()
}

func (w *work) runError(err error, n int) error {
	if outOfMemory(err) {
		e := errs.E("cnn", errs.NoMemory, "", fmt.Errorf("a batch of %d image does not fit: %w", n, err))
		return e
	}
	return err
}

// finite finds features of image i that are no numbers.
func (w *work) finite(i int, key []byte) *NotFiniteError {
	for j := range w.out.ports {
		for _, v := range w.output(i, j) {
			if v-v != 0 { // NaN and the infinities, and nothing else
				return &NotFiniteError{Key: string(key), Channel: w.out.ports[j].Channel, Value: v}
			}
		}
	}
	return nil
}

// NotFiniteError says that the network yields no numbers where the record cannot be set aside any more: other layers have it.
type NotFiniteError struct {
	Key, Channel string
	Value        float32
}

func (e *NotFiniteError) Error() string {
	return fmt.Sprintf("the network yields %v in %s for image %q", e.Value, e.Channel, e.Key)
}

// ErrorID is stable.
func (e *NotFiniteError) ErrorID() string { return "E-FEATURE-NOT-FINITE" }

// Hint says what to do.
func (e *NotFiniteError) Hint() string {
	return "check the weights and the preprocessing: `vista-mr model inspect` shows the layers; if it is only this image, --set plan.inference=fused sets it aside, of several networks with --set plan.networks=together"
}
