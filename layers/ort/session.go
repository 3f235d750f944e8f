package ort

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	ort "github.com/yalue/onnxruntime_go"
)

// Port is an input or output of a program.
type Port struct {
	Name  string
	U8    bool    // uint8; otherwise float32
	Shape []int64 // without the batch
}

// Len is the number of elements for one record.
func (p *Port) Len() int {
	n := 1
	for _, d := range p.Shape {
		n *= int(d)
	}
	return n
}

// Session is a program that is ready to run, for any number of goroutines.
type Session struct {
	rt  *Runtime
	s   *ort.DynamicAdvancedSession
	in  Port
	out []Port
}

// Open makes the program in an ONNX file ready. The digest names its content in the cache.
func (r *Runtime) Open(ctx context.Context, path, digest string, in Port, out []Port) (*Session, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	prepared := false
	if r.o.CacheDir != "" && digest != "" {
		if p, err := r.prepare(path, digest, in, out); err == nil {
			path, prepared = p, true
		}
		// A cache that cannot be written costs time and memory, and nothing else.
	}
	s, err := r.session(path, prepared, in, out, nil)
	if err != nil && prepared {
		// The prepared model may be damaged: it is made anew from the program the next time.
		err = errors.Join(err, os.RemoveAll(filepath.Dir(path)))
	}
	if err != nil {
		return nil, wrap("open "+filepath.Base(path), err)
	}
	trim()
	mu.Lock()
	r.open++
	mu.Unlock()
	return &Session{rt: r, s: s, in: in, out: out}, nil
}

// session starts a session. save, if it is set, adds what makes it write a prepared model.
func (r *Runtime) session(path string, prepared bool, in Port, out []Port, save func(*ort.SessionOptions) error) (_ *ort.DynamicAdvancedSession, err error) {
	o, err := ort.NewSessionOptions()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, o.Destroy()) }()
	var level ort.GraphOptimizationLevel = ort.GraphOptimizationLevelEnableAll // its layout for convolutions is worth 1.28 times
	if prepared {
		level = ort.GraphOptimizationLevelDisableAll // it was optimized before it was saved
	}
	entries := [][2]string{
		{"session.set_denormal_as_zero", "1"},
		{"session.intra_op.allow_spinning", "0"},
		{"session.inter_op.allow_spinning", "0"},
	}
	if r.o.ArenaLimit > 0 {
		entries = append(entries, [2]string{"session.use_env_allocators", "1"})
	}
	steps := []func() error{
		func() error { return o.SetIntraOpNumThreads(1) },
		func() error { return o.SetInterOpNumThreads(1) },
		func() error { return o.SetGraphOptimizationLevel(level) },
		func() error { return o.SetLogSeverityLevel(ort.LoggingLevelError) },
	}
	for _, e := range entries {
		steps = append(steps, func() error { return o.AddSessionConfigEntry(e[0], e[1]) })
	}
	if save != nil {
		steps = append(steps, func() error { return save(o) })
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, err
		}
	}
	names := make([]string, len(out))
	for i, p := range out {
		names[i] = p.Name
	}
	return ort.NewDynamicAdvancedSession(path, []string{in.Name}, names, o)
}

const (
	preparedModel   = "model.onnx"
	preparedWeights = "weights.bin"
)

// prepare returns the path of the prepared model, writing it if it is not there. It appears
// under its name whole, by a rename of its folder within the cache; of two processes that
// write the same one, either wins.
func (r *Runtime) prepare(path, digest string, in Port, out []Port) (string, error) {
	dir := filepath.Join(r.o.CacheDir, fmt.Sprintf("%s-%s-%s", digest, ort.GetVersion(), cpuClass()))
	model := filepath.Join(dir, preparedModel)
	if _, err := os.Stat(model); err == nil {
		return model, nil
	}
	if err := os.MkdirAll(r.o.CacheDir, 0o777); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(r.o.CacheDir, ".new-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp) // after the rename there is nothing to remove
	s, err := r.session(path, false, in, out, func(o *ort.SessionOptions) error {
		for _, e := range [][2]string{
			{"session.save_external_prepacked_constant_initializers", "1"},
			{"session.optimized_model_external_initializers_file_name", preparedWeights},
			{"session.optimized_model_external_initializers_min_size_in_bytes", "1024"},
		} {
			if err := o.AddSessionConfigEntry(e[0], e[1]); err != nil {
				return err
			}
		}
		return o.SetOptimizedModelFilePath(filepath.Join(tmp, preparedModel))
	})
	if err != nil {
		return "", err
	}
	if err := s.Destroy(); err != nil {
		return "", err
	}
	trim()
	if err := os.Rename(tmp, dir); err != nil {
		if _, statErr := os.Stat(model); statErr == nil {
			return model, nil // somebody else was quicker
		}
		return "", err
	}
	return model, nil
}

// Close ends the session. All runners must have been closed.
func (s *Session) Close() error {
	mu.Lock()
	s.rt.open--
	mu.Unlock()
	err := wrap("close", s.s.Destroy())
	trim()
	return err
}

// Runner runs batches through buffers of its own. It belongs to one goroutine.
type Runner struct {
	s    *Session
	max  int
	u8   []byte
	f32  []float32
	outs [][]float32
	n    int // records of the last run
	// Values for a batch of n records over the same buffers, made when they are first needed.
	batch map[int]*values
}

type values struct {
	in  ort.Value
	out []ort.Value
}

// NewRunner returns buffers for up to n records.
func (s *Session) NewRunner(n int) (*Runner, error) {
	if n < 1 {
		return nil, wrap("buffers", fmt.Errorf("a batch of %d", n))
	}
	r := &Runner{s: s, max: n, batch: map[int]*values{}}
	if s.in.U8 {
		r.u8 = make([]byte, n*s.in.Len())
	} else {
		r.f32 = make([]float32, n*s.in.Len())
	}
	for i := range s.out {
		r.outs = append(r.outs, make([]float32, n*s.out[i].Len()))
	}
	return r, nil
}

// Input is the buffer of pixels, for a program that takes bytes.
func (r *Runner) Input() []byte { return r.u8 }

// InputF32 is the buffer of values, for a program that takes numbers.
func (r *Runner) InputF32() []float32 { return r.f32 }

// Output is output i of the last Run: as many records as were run.
func (r *Runner) Output(i int) []float32 { return r.outs[i][:r.n*r.s.out[i].Len()] }

func shape(n int, p *Port) ort.Shape { return append(ort.Shape{int64(n)}, p.Shape...) }

// valuesFor wraps the first n records of the buffers.
func (r *Runner) valuesFor(n int) (*values, error) {
	if v := r.batch[n]; v != nil {
		return v, nil
	}
	v := &values{}
	var err error
	if r.s.in.U8 {
		v.in, err = tensor(shape(n, &r.s.in), r.u8[:n*r.s.in.Len()])
	} else {
		v.in, err = tensor(shape(n, &r.s.in), r.f32[:n*r.s.in.Len()])
	}
	if err != nil {
		return nil, err
	}
	for i := range r.s.out {
		p := &r.s.out[i]
		t, err := tensor(shape(n, p), r.outs[i][:n*p.Len()])
		if err != nil {
			return nil, errors.Join(err, v.destroy())
		}
		v.out = append(v.out, t)
	}
	r.batch[n] = v
	return v, nil
}

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

// Run runs the first n records. Cancelling the context ends the inference.
func (r *Runner) Run(ctx context.Context, n int) (err error) {
	if n < 1 || n > r.max {
		return wrap("run", fmt.Errorf("a batch of %d in buffers for %d", n, r.max))
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	v, err := r.valuesFor(n)
	if err != nil {
		return wrap("buffers", err)
	}
	o, err := ort.NewRunOptions()
	if err != nil {
		return wrap("run", err)
	}
	defer func() { err = errors.Join(err, o.Destroy()) }()
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		_ = o.Terminate() // if it cannot be ended, it ends by itself
	})
	defer func() {
		if !stop() {
			<-ended // the options must outlive the call that terminates
		}
	}()
	err = r.s.s.RunWithOptions([]ort.Value{v.in}, v.out, o)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return wrap(fmt.Sprintf("run %d records", n), err)
	}
	r.n = n
	return nil
}

// Close gives the buffers up.
func (r *Runner) Close() error {
	var all []error
	for _, v := range r.batch {
		all = append(all, v.destroy())
	}
	r.batch = nil
	return wrap("close", errors.Join(all...))
}
