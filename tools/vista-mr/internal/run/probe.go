package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/layers"
	"github.com/vista-mr/vista-mr/layers/onnx"
	"github.com/vista-mr/vista-mr/layers/ort"
	"github.com/vista-mr/vista-mr/mr/dfs/local"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/host"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/machine"
)

// prober runs a user's network before a job does: to measure shapes behind operators that are not known
// here, and to see whether images of a batch leave each other alone. Networks of the roster are not probed.
type prober struct {
	dir    string // where programs are written
	memory int64  // what a run may take
	left   time.Duration
}

// probeTime is how long all probes of a network may take. Which are made is decided by their work and not by the clock,
// so that the same network is tried alike on every machine, as long as that does not take ten times the usual.
const probeTime = 20 * time.Second

// Most work, in multiply-accumulates, of an image in a probe, in a brief one, and of one node for all images of a batch,
// within which a run cannot be stopped. A core does 10^10 a second and more of them, 10^9 of the worst.
const (
	probeWork = 4e10
	briefWork = 1e11
	nodeWork  = 1e10
	slowWork  = 1e9 // in a second
)

// probeMemory is what the runtime may allocate for a probe beside twice the weights, at most and at least.
const (
	probeMemoryMost  = 1 << 30
	probeMemoryLeast = 256 << 20
)

// newProber returns nil where there is no runtime to probe with: that is for another check to say.
func newProber(j *conf.Job, dir string) *prober {
	if _, err := ort.FindLibrary(); err != nil {
		return nil
	}
	memory := machine.Memory()
	if j != nil && j.Limits.Memory > 0 {
		memory = min(memory, int64(j.Limits.Memory))
	}
	return &prober{dir: dir, memory: memory, left: probeTime}
}

// isFile says whether a model is an ONNX file of the user's.
func isFile(model string) bool { return strings.HasSuffix(model, ".onnx") }

// within runs fn with a runtime that is there for it alone. work is what fn is expected to do.
func (p *prober) within(ctx context.Context, weights int64, work float64, fn func(context.Context, *ort.Runtime) error) (err error) {
	limit := max(min(probeMemoryMost, p.memory/2), probeMemoryLeast) + 2*weights
	rt, err := ort.Init(ort.Options{CacheDir: cacheDir(), ArenaLimit: limit})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rt.Close()) }()
	start := time.Now()
	within, cancel := context.WithTimeout(ctx, p.left)
	defer cancel()
	err = fn(within, rt)
	p.left -= time.Since(start)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return &slowError{large: work > slowWork*probeTime.Seconds()}
	}
	return err
}

// slowError says that there was not enough time for a probe.
type slowError struct{ large bool } // the network is large enough to explain it

func (e *slowError) Error() string { return e.Unwrap().Error() }

// Unwrap returns the error that users meet.
func (*slowError) Unwrap() error {
	return &layers.Error{ID: "E-MODEL", Msg: fmt.Sprintf("trying the network on a few images took more than %v", probeTime),
		Do: "is there a loop in it, or an operator that takes far longer than a convolution? export a plain CNN, or try again when the machine has less to do"}
}

var _ layers.Measure = (*prober)(nil).measure

func (p *prober) measure(ctx context.Context, m *onnx.Model, batch int, tensors []string) (map[string]onnx.Info, error) {
	c := *m
	g := *m.Graph
	c.Graph = &g
	in := g.Inputs[0]
	dims := []int64{int64(batch)}
	for _, d := range in.Shape[1:] {
		dims = append(dims, d.Size)
	}
	g.Outputs = nil
	for _, name := range tensors {
		g.Outputs = append(g.Outputs, &onnx.ValueInfo{Name: name})
	}
	w := c.Work()
	if w.Total > probeWork || w.Heaviest*int64(batch) > nodeWork {
		return nil, &layers.Error{ID: "E-MODEL", Msg: fmt.Sprintf("the shape of tensor %q follows from a run only, and an image takes %.0f G multiply-accumulates: too many to try it", tensors[0], float64(w.Total)/1e9),
			Do: "export the model with standard operators, or with the shapes of its tensors (onnx.shape_inference.infer_shapes)"}
	}
	dir, err := os.MkdirTemp(p.dir, "measure-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir) // what is left is in the system's folder for such things
	if _, err := writeModel(ctx, local.New(dir, true), "", "measured", &c); err != nil {
		return nil, err
	}
	out := map[string]onnx.Info{}
	err = p.within(ctx, m.WeightBytes(), float64(w.Total)*float64(batch), func(ctx context.Context, rt *ort.Runtime) error {
		found, err := rt.Measure(ctx, filepath.Join(dir, string(modelFile("measured"))), ort.Dense{Name: in.Name, Elem: int32(in.Type), Dims: dims}, tensors)
		for _, d := range found {
			out[d.Name] = onnx.Info{Elem: onnx.Elem(d.Elem), Dims: d.Dims}
		}
		return err
	})
	return out, err
}

// probe tries the program that a job's layers need on a few images. Of a network that is too large to be tried whole
// or at all, it notes so.
func (p *prober) probe(ctx context.Context, n *network) error {
	spec := layers.ProgramSpec{Pool: n.pool, Normalize: n.normalize, Piece: layers.PieceBytes}
	for _, l := range n.layers {
		spec.Pooled = append(spec.Pooled, l.Name)
	}
	prog, err := n.cnn.Program(spec)
	if err != nil {
		return err
	}
	w := prog.Model.Work()
	images, batch := layers.ProbeImages, layers.ProbeBatch
	brief := w.Total > probeWork || w.Heaviest*int64(batch) > nodeWork
	if brief {
		images, batch = layers.BriefImages, layers.BriefBatch
	}
	if w.Total > briefWork || w.Heaviest*int64(batch) > nodeWork {
		n.notes = append(n.notes, untried(w.Total))
		return nil
	}
	last := n.layers[len(n.layers)-1]
	err = p.within(ctx, last.Bytes, float64(w.Total)*float64(images), func(ctx context.Context, rt *ort.Runtime) error {
		t := &trials{dir: p.dir, rt: rt, open: map[string]*ort.Session{}}
		err := n.cnn.Probe(ctx, prog, brief, t.run)
		return errors.Join(err, t.close())
	})
	var slow *slowError
	if errors.As(err, &slow) && slow.large {
		n.notes = append(n.notes, untried(w.Total))
		return nil
	}
	return err
}

func untried(work int64) string {
	return fmt.Sprintf("The network is too large to be tried beforehand (an image takes about %.0f G multiply-accumulates): nobody has checked that its features of an image do not depend on the others in a batch.", float64(work)/1e9)
}

// trials runs the programs of a probe, each in one session.
type trials struct {
	dir  string
	rt   *ort.Runtime
	open map[string]*ort.Session
}

func (t *trials) run(ctx context.Context, p *layers.Program, pixels []byte, n int) (_ [][]float32, err error) {
	s := t.open[p.Digest]
	if s == nil {
		if s, err = t.start(ctx, p); err != nil {
			return nil, err
		}
		t.open[p.Digest] = s
	}
	r, err := s.NewRunner(n)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	copy(r.Input(), pixels)
	if err := r.Run(ctx, n); err != nil {
		return nil, err
	}
	out := make([][]float32, len(p.Outputs))
	for i := range out {
		out[i] = append([]float32{}, r.Output(i)...)
	}
	return out, nil
}

func (t *trials) start(ctx context.Context, p *layers.Program) (*ort.Session, error) {
	if _, err := keepModel(ctx, local.New(t.dir, true), "", p); err != nil {
		return nil, err
	}
	return host.Open(ctx, t.rt, filepath.Join(t.dir, string(modelFile(p.Digest))), toModel(p, ""))
}

func (t *trials) close() error {
	var all []error
	for _, s := range t.open {
		all = append(all, s.Close())
	}
	return errors.Join(all...)
}

// tried opens a job's i-th network, if it fits, and tries it if it is the user's own, with what that needs in dir.
func tried(ctx context.Context, j *conf.Job, i int, dir string, fits func(*network) error) (*network, error) {
	if !isFile(j.CNN[i].Model) {
		return openNetwork(ctx, j, i, nil, fits)
	}
	p := newProber(j, dir)
	n, err := openNetwork(ctx, j, i, p, fits)
	if err != nil || p == nil {
		return n, err
	}
	return n, n.says(n.files.guard(func() error { return p.probe(ctx, n) }))
}

// scratch makes a folder to try a network in that nobody has an output for.
func scratch() (string, error) {
	dir, err := os.MkdirTemp("", "vista-mr-*")
	if err != nil {
		return "", exit.As(exit.Invalid, &InputError{ID: "E-TMPDIR", Key: "TMPDIR", Path: os.TempDir(), Cause: "no folder can be made in it", Err: err,
			Next: "set TMPDIR to a folder that you may write to"})
	}
	return dir, nil
}

// Inspect opens a network without weights of its own to look at: a name of the roster or an ONNX file.
// size is the height and width for images that a model leaves open.
func Inspect(ctx context.Context, model string, size int) (_ *layers.CNN, err error) {
	if !strings.ContainsAny(model, "./:\\") { // a name
		return layers.Outline(model)
	}
	files := NewBundle(model)
	src := layers.Source{Model: model, Read: files.Read, Size: size}
	if isFile(model) {
		dir, err := scratch()
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		if p := newProber(nil, dir); p != nil {
			src.Measure = p.measure
		}
	}
	var cnn *layers.CNN
	err = files.guard(func() (err error) {
		cnn, err = layers.Open(ctx, src)
		return err
	})
	return cnn, err
}
