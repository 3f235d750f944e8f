package layers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/vista-mr/vista-mr/layers/onnx"
	"github.com/vista-mr/vista-mr/layers/weights"
)

// Error is a mistake in what was asked of a network: its name, a layer, a program. Users meet it under
// its ID.
type Error struct {
	ID  string // E-LAYER, E-MODEL, E-WEIGHTS
	Msg string
	Do  string
}

// Error returns the message.
func (e *Error) Error() string { return e.Msg }

// ErrorID is the stable id under which users meet this error.
func (e *Error) ErrorID() string { return e.ID }

// Hint says what to do next.
func (e *Error) Hint() string { return e.Do }

// oldestOpset is the first operator set whose elementwise operators broadcast as those that are added
// around a network do, and the first that ONNX Runtime supports.
const oldestOpset = 7

// Open makes a network ready to be cut: builds or reads its graph, loads its weights and analyses it.
// Errors have an ErrorID: E-MODEL for the graph, E-WEIGHTS for the weights. Weights that Read returns are
// referred to, not copied.
func Open(ctx context.Context, src Source) (*CNN, error) {
	if a, ok := catalogue(src.Model); ok {
		return openArch(ctx, a, src)
	}
	if !strings.ContainsAny(src.Model, "./:\\") {
		return nil, unknown(src.Model)
	}
	return openONNX(ctx, src)
}

// Build makes a network from an architecture that need not be in the catalogue, with weights as Source
// says; its Model field is not used.
func Build(ctx context.Context, a Arch, src Source) (*CNN, error) { return openArch(ctx, a, src) }

func openArch(ctx context.Context, a Arch, src Source) (*CNN, error) {
	a, b, values, notes, err := parameters(ctx, a, src)
	if err != nil {
		return nil, err
	}
	for _, t := range b.model.Graph.Initializers {
		if v, ok := values[t.Name]; ok { // the others are the graph's own constants
			t.Raw = v
		}
	}
	c, err := networkOf(a, b)
	if err != nil {
		return nil, err
	}
	c.Notes = notes
	return c, nil
}

// Outline describes a network of the catalogue without its weights: it has layers and sizes, and neither values nor a
// digest.
func Outline(name string) (*CNN, error) {
	a, ok := catalogue(name)
	if !ok {
		return nil, unknown(name)
	}
	b, err := build(a)
	if err != nil {
		return nil, err
	}
	return networkOf(a, b)
}

func unknown(name string) error {
	return &Error{ID: "E-MODEL", Msg: fmt.Sprintf("there is no network %q", name), Do: "use one of " + strings.Join(names(), ", ") + ", or the path of an ONNX file"}
}

// networkOf finds out what there is to know of a graph with or without its weights.
func networkOf(a Arch, b *built) (*CNN, error) {
	c := &CNN{Name: a.Name, Roster: slices.Clone(a.Roster), Preprocess: a.Preprocess}
	if c.Preprocess == "" {
		c.Preprocess = "imagenet"
	}
	if err := c.analyze(b.model, b.names); err != nil {
		return nil, err
	}
	for _, name := range a.Roster {
		if !slices.ContainsFunc(c.Layers, func(l Layer) bool { return l.Name == name }) {
			return nil, fmt.Errorf("architecture %s: layer %s is no place where the network can be cut", a.Name, name)
		}
	}
	return c, nil
}

// parameters builds the graph of an architecture and gets its parameters, if the network fits. Those of a
// file decide on the classifier.
func parameters(ctx context.Context, a Arch, src Source) (Arch, *built, map[string][]byte, []string, error) {
	fail := func(err error) (Arch, *built, map[string][]byte, []string, error) { return a, nil, nil, nil, err }
	if src.Weights == "random" {
		b, err := build(a)
		if err == nil {
			err = fits(a, b, src)
		}
		if err != nil {
			return fail(err)
		}
		return a, b, weights.Random(b.params, src.Seed), nil, nil
	}
	file, only, err := readWeights(ctx, src)
	if err != nil {
		return fail(err)
	}
	a, b, named, notes, err := fit(a, file)
	if err != nil {
		return fail(explain(err))
	}
	if err := fits(a, b, src); err != nil {
		return fail(err)
	}
	if only { // an ONNX file has constants of its own beside the parameters
		own := map[string]bool{}
		for _, p := range b.params {
			own[named.Of(p.Name)] = true
		}
		maps.DeleteFunc(file.Tensors, func(name string, _ weights.Tensor) bool { return !own[name] })
	}
	values, err := weights.Match(file.Tensors, b.params, named)
	if err != nil {
		return fail(fmt.Errorf("%s: %w", src.Weights, explain(err)))
	}
	return a, b, values, notes, nil
}

// fits asks whoever wants to be asked whether to go on with a network.
func fits(a Arch, b *built, src Source) error {
	if src.Fits == nil {
		return nil
	}
	c, err := networkOf(a, b)
	if err != nil {
		return err
	}
	return src.Fits(c)
}

// readWeights reads the file of weights. only says that the file may hold other tensors beside them.
func readWeights(ctx context.Context, src Source) (file *weights.File, only bool, err error) {
	switch {
	case src.Weights == "":
		return nil, false, &Error{ID: "E-WEIGHTS", Msg: "no weights are given", Do: "set cnn.weights to a .safetensors, .pth or .onnx file, or to random"}
	case src.Read == nil:
		return nil, false, &Error{ID: "E-WEIGHTS", Msg: "there is nothing to read " + src.Weights + " with"}
	}
	data, err := src.Read(ctx, src.Weights)
	if err != nil {
		return nil, false, fmt.Errorf("weights %s: %w", src.Weights, err)
	}
	var m *onnx.Model
	known := weights.Known(data)
	if !known {
		m, err = onnx.Parse(data)
	}
	if known || err != nil && !strings.HasSuffix(strings.ToLower(src.Weights), ".onnx") {
		if file, err = weights.Read(data); err != nil {
			return nil, false, fmt.Errorf("%s: %w", src.Weights, err)
		}
		return file, false, nil
	}
	if err != nil {
		return nil, false, &Error{ID: "E-WEIGHTS", Msg: fmt.Sprintf("%s is no ONNX file: %v", src.Weights, err),
			Do: "give a .safetensors or .pth file, or an ONNX file that holds the parameters under torchvision's names"}
	}
	if err := loadExternal(ctx, m, src.Weights, src); err != nil {
		return nil, false, err
	}
	types := map[onnx.Elem]string{onnx.Float32: "F32", onnx.Float16: "F16", onnx.BFloat16: "BF16", onnx.Float64: "F64"}
	file = &weights.File{Format: "ONNX", Tensors: map[string]weights.Tensor{}}
	for _, t := range m.Graph.Initializers {
		file.Tensors[t.Name] = weights.Tensor{Type: types[t.Type], Dims: t.Dims, Data: t.Raw}
	}
	return file, true, nil
}

// explain says of an ONNX file without running statistics why it has none: exporters fold normalisations
// into convolutions.
func explain(err error) error {
	var e *weights.Error
	if errors.As(err, &e) && slices.ContainsFunc(e.Problems, func(p string) bool { return strings.HasSuffix(p, ".running_mean is missing") }) {
		e.Do = "an ONNX export folds normalisations into convolutions, and these parameters are gone: use it as cnn.model, which takes any ONNX file, or give a .safetensors file"
	}
	return err
}

func openONNX(ctx context.Context, src Source) (*CNN, error) {
	if src.Read == nil {
		return nil, &Error{ID: "E-MODEL", Msg: "there is nothing to read " + src.Model + " with"}
	}
	data, err := src.Read(ctx, src.Model)
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", src.Model, err)
	}
	m, err := onnx.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", src.Model, err)
	}
	if err := loadExternal(ctx, m, src.Model, src); err != nil {
		return nil, err
	}
	if v := m.OpsetVersion(); v < oldestOpset {
		return nil, &Error{ID: "E-MODEL", Msg: fmt.Sprintf("%s: operator set %d is older than %d", src.Model, v, oldestOpset), Do: "convert it with onnx.version_converter.convert_version(model, 13)"}
	}
	p, open, err := prepare(ctx, m, src)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", src.Model, err)
	}
	c := &CNN{Name: src.Model}
	if err := c.analyze(p, nil); err != nil {
		return nil, fmt.Errorf("%s: %w", src.Model, err)
	}
	c.Input.Open = open
	for _, l := range c.Layers {
		c.Roster = append(c.Roster, l.Name)
	}
	return c, nil
}

// prepare makes a user's model ready for analysis. Shapes behind operators that are not known here, or that
// contradict what is known, are measured where that is possible.
func prepare(ctx context.Context, m *onnx.Model, src Source) (p *onnx.Model, open bool, err error) {
	if open, err = m.OpenSize(); err != nil {
		return nil, false, err
	}
	o := onnx.Options{Size: int64(src.Size), Shapes: map[string]onnx.Shape{}}
	for range maxRounds {
		if p, err = m.Prepare(o); err != nil || src.Measure == nil {
			return p, open, err
		}
		missing, err := p.Unmeasured()
		if err != nil {
			return nil, false, err
		}
		missing = slices.DeleteFunc(missing, func(name string) bool { _, known := o.Shapes[name]; return known })
		if len(missing) == 0 {
			break
		}
		found, err := measure(ctx, p, missing[:min(len(missing), maxMeasured)], src.Measure)
		if err != nil {
			// Where shapes contradict each other, that is why it does not run, in plainer words.
			if _, fault := p.Analyze(); fault != nil && ctx.Err() == nil {
				err = fault
			}
			return nil, false, err
		}
		maps.Copy(o.Shapes, found)
	}
	return p, open, nil
}

// maxRounds bounds how often a model is run to measure shapes: once for all unknown operators, and again
// for what is then found behind them.
const maxRounds = 4

// maxMeasured bounds the tensors that are asked of one run.
const maxMeasured = 4096

// measure runs a model for batches of two and three: what grows with them is the batch.
func measure(ctx context.Context, p *onnx.Model, tensors []string, run Measure) (map[string]onnx.Shape, error) {
	two, err := run(ctx, p, 2, tensors)
	if err != nil {
		return nil, err
	}
	three, err := run(ctx, p, 3, tensors)
	if err != nil {
		return nil, err
	}
	out := map[string]onnx.Shape{}
	for name, a := range two {
		b := three[name]
		switch {
		case a.Elem == onnx.Undefined || a.Elem != b.Elem || len(a.Dims) != len(b.Dims):
		case slices.Equal(a.Dims, b.Dims):
			out[name] = onnx.Shape{Elem: a.Elem, Dims: a.Dims, Fixed: true}
		case a.Dims[0] == 2 && b.Dims[0] == 3 && slices.Equal(a.Dims[1:], b.Dims[1:]):
			out[name] = onnx.Shape{Elem: a.Elem, Dims: a.Dims[1:]}
		}
	}
	if len(out) == 0 {
		return nil, &Error{ID: "E-MODEL", Msg: fmt.Sprintf("the shape of tensor %q changes with more than the batch", tensors[0]), Do: "export the model with operators whose results have fixed shapes"}
	}
	return out, nil
}

// loadExternal reads a model's data files: they lie beside it, under plain names.
func loadExternal(ctx context.Context, m *onnx.Model, uri string, src Source) error {
	if !m.HasExternal() {
		return nil
	}
	dir := uri[:strings.LastIndexAny(uri, "/\\")+1]
	err := m.LoadExternal(func(name string) ([]byte, error) { return src.Read(ctx, dir+path.Base(name)) })
	if err != nil {
		return fmt.Errorf("%s: %w", uri, err)
	}
	return nil
}

// analyze fills in what is found out about the prepared model. known are catalogue names by tensor.
func (c *CNN) analyze(m *onnx.Model, known map[string]string) error {
	an, err := m.Analyze()
	if err != nil {
		return err
	}
	c.Model, c.shapes, c.Unknown = m, an.Shapes, an.Unknown
	c.digests = &onnx.Digester{}
	c.Digest = c.digests.Digest(m)
	if err := c.setInput(an.Image); err != nil {
		return err
	}
	for _, cut := range an.Cuts {
		l := Layer{Index: -1, Name: cut.Tensor, Tensor: cut.Tensor, Shape: cut.Shape.Dims, Dim: 1, MACs: cut.MACs, Params: cut.Params, Bytes: cut.Bytes,
			Peak: 4 * cut.Peak, access: cut.Access}
		for _, d := range l.Shape {
			l.Dim *= int(d)
		}
		if an.MACs > 0 {
			l.Share = float64(cut.MACs) / float64(an.MACs)
		}
		l.name(cut)
		for _, tensor := range append([]string{cut.Tensor}, cut.Aliases...) {
			if name := known[tensor]; name != "" {
				l.Name = name
			}
		}
		if cut.Candidate && (known == nil || l.Name != cut.Tensor) { // in networks of the catalogue, layers are what it names
			l.Index = len(c.Layers)
			c.Layers = append(c.Layers, l)
		}
		c.cuts = append(c.cuts, l)
	}
	if len(c.Layers) == 0 {
		msg, do := "it has no tensor that everything behind it depends on", "cut points must not lie inside branches: is it a chain of layers or blocks?"
		if len(an.Unknown) > 0 {
			msg = "no place to cut was found: what these nodes make of shapes is not known: " + strings.Join(an.Unknown, ", ")
			do = "export the model with standard operators, or make ONNX Runtime available, which then measures the shapes"
		}
		return &Error{ID: "E-MODEL", Msg: msg, Do: do}
	}
	return nil
}

// setInput takes over what the network reads, if it is an image.
func (c *CNN) setInput(img onnx.Image) error {
	d := img.Dims
	c.Input = InputSpec{C: int(d[0]), H: int(d[1]), W: int(d[2]), Tensor: img.Value.Name, Layout: img.Layout, Elem: img.Value.Type}
	if img.Layout == "NHWC" {
		c.Input.H, c.Input.W, c.Input.C = int(d[0]), int(d[1]), int(d[2])
	}
	switch c.Input.Elem {
	case onnx.Float32, onnx.Float16, onnx.Float64, onnx.Uint8:
	default:
		return &Error{ID: "E-MODEL", Msg: fmt.Sprintf("the input %q is of type %s", c.Input.Tensor, c.Input.Elem), Do: "export the network with a float32, float16, float64 or uint8 input"}
	}
	if c.Input.C != 3 && c.Input.C != 1 {
		return &Error{ID: "E-MODEL", Msg: fmt.Sprintf("the input %q has %d channels (%v, read as %s)", c.Input.Tensor, c.Input.C, d, img.Layout), Do: "a network for images with 3 channels, or 1 for grey ones, is needed"}
	}
	return nil
}

// name fills in the other names of a cut: its tensors behind aliases, its nodes, and their module path.
func (l *Layer) name(cut onnx.Cut) {
	l.Aliases = slices.Clone(cut.Aliases)
	add := func(name string) {
		if name != "" && name != cut.Tensor && !slices.Contains(l.Aliases, name) {
			l.Aliases = append(l.Aliases, name)
		}
	}
	for _, n := range cut.Nodes {
		add(n.Name)
	}
	for _, n := range cut.Nodes {
		if l.module == "" {
			l.module = modulePath(n)
			add(l.module)
		}
	}
}
