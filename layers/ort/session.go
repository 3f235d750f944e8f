package ort

import (
	"context"
	"errors"
	"fmt"
	"math"
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

// check refuses shapes that no buffer can have.
func (p *Port) check() error {
	n := int64(1)
	for _, d := range p.Shape {
		if d < 1 || n > math.MaxInt32/d {
			return fmt.Errorf("port %q: no tensor has the shape %v", p.Name, p.Shape)
		}
		n *= d
	}
	return nil
}

// core is a session of the library. Handles and runners hold on to it.
type core struct {
	s        *ort.DynamicAdvancedSession
	key      string // "" if it is not shared
	refs     int    // guarded by mu
	prepared bool
	cacheErr error
}

// Session is a program that is ready to run, for any number of goroutines.
type Session struct {
	rt     *Runtime
	c      *core
	in     Port
	out    []Port
	closed bool       // guarded by mu
	spare  []*buffers // of runners that were closed; guarded by mu
}

// Open makes the program in an ONNX file ready. The digest names the program's content, weights included: in the
// cache, and among the sessions of the process. Without one the session is not shared and nothing is cached.
// The file, and external data beside it, must stay while the session is open.
func (r *Runtime) Open(ctx context.Context, path, digest string, in Port, out []Port) (*Session, error) {
	if len(out) == 0 {
		return nil, fail("open "+filepath.Base(path), idModel, "", errors.New("no outputs are asked for"))
	}
	for _, p := range append([]Port{in}, out...) {
		if err := p.check(); err != nil {
			return nil, fail("open "+filepath.Base(path), idModel, "", err)
		}
	}
	if err := r.enter(ctx); err != nil {
		return nil, err
	}
	defer r.leave()
	key := ""
	if digest != "" {
		key = fmt.Sprintf("%q %v %v", digest, in, out)
		mu.Lock()
		c := r.sessions[key]
		if c != nil {
			c.refs++
		}
		mu.Unlock()
		if c != nil {
			return &Session{rt: r, c: c, in: in, out: out}, nil
		}
	}
	c, err := r.make(ctx, path, digest, in, out)
	if err != nil {
		return nil, err
	}
	c.key, c.refs = key, 1
	mu.Lock()
	r.open++
	if key != "" {
		r.sessions[key] = c
	}
	mu.Unlock()
	return &Session{rt: r, c: c, in: in, out: out}, nil
}

// make starts a session, from the cache if there is one. A cache that cannot be used costs time and memory, nothing else.
func (r *Runtime) make(ctx context.Context, path, digest string, in Port, out []Port) (*core, error) {
	defer trim()
	c := &core{}
	if r.o.CacheDir != "" && digest != "" {
		var model string
		if model, c.cacheErr = r.prepared(ctx, path, digest, in, out); c.cacheErr == nil {
			if c.s, c.cacheErr = r.session(model, true, in, out, nil); c.cacheErr == nil {
				c.prepared = true
				return c, nil
			}
			// Its bytes are what was written and yet they are refused: it is written anew the next time.
			c.cacheErr = errors.Join(c.cacheErr, os.RemoveAll(filepath.Dir(model)))
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		trim()
	}
	var err error
	if c.s, err = r.session(path, false, in, out, nil); err != nil {
		return nil, fail("open "+path, idModel, "check the model: `vista-mr model inspect` says what is in it", err)
	}
	return c, nil
}

// session starts a session of the library. save, if it is set, adds what makes it write a prepared model.
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
		// On a CPU without instructions for int8, sums of products of 8 bits overflow otherwise: measured, outputs of a
		// quantized ResNet18 were off by a third. It changes nothing where there are such instructions, or for floats.
		{"session.x64quantprecision", "1"},
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
		// Planning all activations as one block, which is what a memory pattern is, takes a third more memory for
		// ResNet50 and no less time: docs/runtime.md.
		func() error { return o.SetMemPattern(false) },
		func() error { return o.SetLogSeverityLevel(ort.LoggingLevelFatal) },
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

// Prepared tells whether the session runs from the cache and, where a cache was wished for and could not be used, why.
func (s *Session) Prepared() (bool, error) { return s.c.prepared, s.c.cacheErr }

// Close lets go of the session. Runners made from it may still run; the last one to be closed frees the weights.
func (s *Session) Close() error {
	mu.Lock()
	was := s.closed
	s.closed, s.spare = true, nil
	mu.Unlock()
	if was {
		return nil
	}
	return s.rt.release(s.c)
}

// hold takes a reference for a runner.
func (s *Session) hold() error {
	mu.Lock()
	defer mu.Unlock()
	if s.closed {
		return fail("buffers", idRun, "", errors.New("the session is closed"))
	}
	s.c.refs++
	return nil
}

// release gives a reference back, and the weights with the last one.
func (r *Runtime) release(c *core) error {
	mu.Lock()
	defer mu.Unlock()
	if c.refs--; c.refs > 0 {
		return nil
	}
	r.open--
	if c.key != "" {
		delete(r.sessions, c.key)
	}
	err := fail("close", idRun, "", c.s.Destroy())
	if r.open == 0 && r.o.ArenaLimit > 0 {
		err = errors.Join(err, fail("give memory back", idRun, "", renewArena(r.o.ArenaLimit)))
	}
	trim()
	return err
}
