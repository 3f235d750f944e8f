package ort

import (
	"context"
	"errors"
	"fmt"
	"slices"

	ort "github.com/yalue/onnxruntime_go"
)

// Runner runs batches through buffers of its own. It belongs to one goroutine.
type Runner struct {
	*buffers
	s      *Session
	n      int    // records of the last run
	pixels []byte // the input of a program that takes bytes: of the buffers, or somebody else's
	// Values for a batch of n records over the same buffers, made when they are first needed. The library keeps the
	// buffers' addresses: they live as long as the Runner, and Go moves nothing on its heap.
	batch  map[int]*values
	closed bool
}

// buffers hold inputs and outputs of up to max records.
type buffers struct {
	max  int
	u8   []byte
	f32  []float32
	outs [][]float32
}

type values struct {
	in  ort.Value
	out []ort.Value
}

// NewRunner returns buffers for up to n records.
func (s *Session) NewRunner(n int) (*Runner, error) { return s.NewRunnerOn(n, nil) }

// NewRunnerOn returns buffers for up to n records whose input are the given pixels: those of another program's Runner,
// which takes the same of an image and outlives this one. With nil it has its own.
func (s *Session) NewRunnerOn(n int, pixels []byte) (*Runner, error) {
	if n < 1 || n > 1<<16 {
		return nil, fail("buffers", idRun, "use a batch of 1 to 65536", fmt.Errorf("a batch of %d", n))
	}
	if pixels != nil && (!s.in.U8 || len(pixels) != n*s.in.Len()) {
		return nil, fail("buffers", idRun, "", fmt.Errorf("%d bytes of pixels for %d records of %d values (bytes: %t)", len(pixels), n, s.in.Len(), s.in.U8))
	}
	if err := s.hold(); err != nil {
		return nil, err
	}
	b := s.buffers(n, pixels == nil)
	if pixels == nil {
		pixels = b.u8
	}
	return &Runner{s: s, buffers: b, pixels: pixels, batch: map[int]*values{}}, nil
}

// buffers returns those of a Runner that was closed, or new ones: tasks follow each other on a slot, and the buffers of
// one that has ended would be garbage while the next fills its own. input says whether they have one.
func (s *Session) buffers(n int, input bool) *buffers {
	mu.Lock()
	defer mu.Unlock()
	if i := slices.IndexFunc(s.spare, func(b *buffers) bool { return b.max == n && (b.u8 != nil || b.f32 != nil) == input }); i >= 0 {
		b := s.spare[i]
		s.spare = slices.Delete(s.spare, i, i+1)
		return b
	}
	s.spare = nil // of other batches: nobody is going to ask for them
	b := &buffers{max: n}
	switch {
	case !input:
	case s.in.U8:
		b.u8 = make([]byte, n*s.in.Len())
	default:
		b.f32 = make([]float32, n*s.in.Len())
	}
	for i := range s.out {
		b.outs = append(b.outs, make([]float32, n*s.out[i].Len()))
	}
	return b
}

// Input is the buffer of pixels, for a program that takes bytes; nil for another.
func (r *Runner) Input() []byte { return r.pixels }

// InputF32 is the buffer of values, for a program that takes numbers; nil for another.
func (r *Runner) InputF32() []float32 { return r.f32 }

// Output is output i of the last Run: as many records as were run. It is valid until the next Run.
func (r *Runner) Output(i int) []float32 { return r.outs[i][:r.n*r.s.out[i].Len()] }

// Run runs the first n records. Cancelling the context ends the inference within one operator. After any error the
// Runner can run again.
func (r *Runner) Run(ctx context.Context, n int) (err error) {
	r.n = 0
	if r.closed || n < 1 || n > r.max {
		return fail("run", idRun, "", fmt.Errorf("a batch of %d in buffers for %d (closed: %t)", n, r.max, r.closed))
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	v, err := r.values(n)
	if err != nil {
		return fail("buffers", idRun, "", err)
	}
	err = r.s.rt.once(ctx, r.s.c.s, []ort.Value{v.in}, v.out)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fail(fmt.Sprintf("run %d records", n), idRun, "check the model: `vista-mr model inspect` says what is in it", err)
	}
	r.n = n
	return nil
}

// values wraps the first n records of the buffers.
func (r *Runner) values(n int) (*values, error) {
	if v := r.batch[n]; v != nil {
		return v, nil
	}
	v := &values{}
	var err error
	if r.s.in.U8 {
		v.in, err = tensor(shape(n, &r.s.in), r.pixels)
	} else {
		v.in, err = tensor(shape(n, &r.s.in), r.f32)
	}
	if err != nil {
		return nil, err
	}
	for i := range r.s.out {
		t, err := tensor(shape(n, &r.s.out[i]), r.outs[i])
		if err != nil {
			return nil, errors.Join(err, v.destroy())
		}
		v.out = append(v.out, t)
	}
	r.batch[n] = v
	return v, nil
}

func shape(n int, p *Port) ort.Shape { return append(ort.Shape{int64(n)}, p.Shape...) }

// tensor returns no typed nil, as ort.NewTensor would.
func tensor[T ort.TensorData](s ort.Shape, data []T) (ort.Value, error) {
	t, err := ort.NewTensor(s, data)
	if err != nil {
		return nil, err
	}
	return t, nil
}

func (v *values) destroy() error {
	all := []error{v.in.Destroy()}
	for _, o := range v.out {
		all = append(all, o.Destroy())
	}
	return errors.Join(all...)
}

// Close gives the buffers up.
func (r *Runner) Close() error {
	if r.closed {
		return nil
	}
	r.closed = true
	var all []error
	for _, v := range r.batch {
		all = append(all, v.destroy())
	}
	r.batch = nil
	mu.Lock()
	if !r.s.closed {
		r.s.spare = append(r.s.spare, r.buffers)
	}
	mu.Unlock()
	r.buffers, r.pixels = &buffers{}, nil
	return errors.Join(fail("close", idRun, "", errors.Join(all...)), r.s.rt.release(r.s.c))
}
