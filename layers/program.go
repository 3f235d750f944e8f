package layers

import (
	"fmt"
	"slices"

	"github.com/vista-mr/vista-mr/layers/onnx"
)

// Preset returns a named preprocessing: "imagenet" (divide by 255, subtract the ImageNet mean, divide by
// its deviation), or "none" (nil: bytes as floats 0..255).
func Preset(name string) (*Normalize, error) {
	switch name {
	case "imagenet":
		return &Normalize{Mean: []float32{0.485, 0.456, 0.406}, Std: []float32{0.229, 0.224, 0.225}, Scale: 1.0 / 255, Channels: "RGB"}, nil
	case "none":
		return nil, nil
	}
	return nil, &Error{ID: "E-MODEL", Msg: fmt.Sprintf("there is no preprocessing %q", name), Do: "use imagenet or none"}
}

// imageName is the input of programs that begin with the image.
const imageName = "image"

// assembly is a program in the making.
type assembly struct {
	c      *CNN
	m      *onnx.Model
	ed     *onnx.Editor
	ports  []Port
	floats map[string]string // by a layer's tensor: where it is had in float32, channels first
}

// Program builds the graph that spec asks for: the nodes between From and the wanted layers and nothing
// else, preprocessing before them and pooling behind. Raw volumes are float32 with channels first,
// whatever the network computes with: a stage that begins with one turns it back into what lies there.
// Weights are shared with the network and with its other programs. The input is "image" or named after the
// From layer's tensor, outputs after theirs: see their ports. A layer without height and width gives the
// same numbers raw and pooled.
func (c *CNN) Program(spec ProgramSpec) (*Program, error) {
	switch spec.Pool {
	case PoolNone, PoolAvg, PoolMax:
	case "":
		if len(spec.Pooled) > 0 {
			return nil, &Error{ID: "E-LAYER", Msg: "no pooling is given", Do: "use none, avg-1x1 or max-2x2"}
		}
	default:
		return nil, &Error{ID: "E-LAYER", Msg: fmt.Sprintf("there is no pooling %q", spec.Pool), Do: "use none, avg-1x1 or max-2x2"}
	}
	if len(spec.Raw)+len(spec.Pooled) == 0 {
		return nil, &Error{ID: "E-LAYER", Msg: "a program without outputs", Do: "name at least one layer"}
	}
	raw, err := c.each(spec.Raw)
	if err != nil {
		return nil, err
	}
	pooled, err := c.each(spec.Pooled)
	if err != nil {
		return nil, err
	}
	var from *Layer
	if spec.From != "" {
		list, err := c.each([]string{spec.From})
		if err != nil {
			return nil, err
		}
		from = &list[0]
	}
	return c.assemble(from, raw, pooled, spec)
}

// assemble builds the program from a layer (nil: the image) to others.
func (c *CNN) assemble(from *Layer, raw, pooled []Layer, spec ProgramSpec) (*Program, error) {
	in := Port{Name: imageName, Kind: KindImage, Elem: onnx.Uint8, Shape: []int64{int64(c.Input.H), int64(c.Input.W), 3}, Len: c.Input.H * c.Input.W * 3}
	root := onnx.NewValue(c.Input.Tensor, c.Input.Elem, onnx.BatchOf(c.inputDims()...)...)
	if from != nil {
		in = Port{Name: from.Tensor, Layer: from.Name, Kind: KindRaw, Elem: onnx.Float32, Shape: from.Shape, Len: from.Dim}
		root = onnx.NewValue(from.access.Tensor, from.access.Elem)
	}
	var wanted []*onnx.ValueInfo
	seen := map[string]bool{root.Name: from != nil}
	for _, l := range slices.Concat(raw, pooled) {
		if t := l.access.Tensor; !seen[t] {
			seen[t] = true
			wanted = append(wanted, onnx.NewValue(t, l.access.Elem))
		}
	}
	m, err := c.Model.Extract([]*onnx.ValueInfo{root}, wanted)
	if err != nil {
		return nil, fmt.Errorf("cut %s between %q and the layers asked for: %w", c.Name, spec.From, err)
	}
	m.Graph.Name = c.Name
	m.Producer, m.ProducerVersion, m.Doc, m.Metadata = "vista-mr", "", "", nil
	m.Graph.Outputs = nil
	a := &assembly{c: c, m: m, floats: map[string]string{}}
	switch {
	case from != nil:
		a.ed = m.Graph.Edit()
		in.Name = a.from(from)
	default:
		if c.Input.Tensor == imageName {
			// The network's own name for its input is the one that programs use: the inner one makes way.
			ed := m.Graph.Edit()
			inner := ed.Name(imageName + "/float")
			m.Graph.Rename(imageName, inner)
			root.Name = inner
		}
		a.ed = m.Graph.Edit()
		if err := a.image(root.Name, spec.Normalize); err != nil {
			return nil, err
		}
	}
	for _, l := range raw {
		a.raw(l, in.Name)
	}
	for _, l := range pooled {
		a.pooled(l, spec.Pool)
	}
	if spec.Piece > 0 {
		m.Graph.SplitProducts(spec.Piece)
	}
	p := &Program{Model: m, Input: in, Outputs: a.ports}
	p.Digest = c.digests.Digest(m)
	return p, nil
}

// each resolves names one by one, keeping the order.
func (c *CNN) each(names []string) ([]Layer, error) {
	out := make([]Layer, len(names))
	x := c.index()
	for i, n := range names {
		l, why := x.resolve(n)
		if why != "" {
			return nil, &Error{ID: "E-LAYER", Msg: why, Do: "`vista-mr model inspect` lists the layers"}
		}
		out[i] = l
	}
	return out, nil
}

// inputDims returns the dimensions of the network's input without the batch.
func (c *CNN) inputDims() []int64 {
	h, w, ch := int64(c.Input.H), int64(c.Input.W), int64(c.Input.C)
	if c.Input.Layout == "NHWC" {
		return []int64{h, w, ch}
	}
	return []int64{ch, h, w}
}

// output declares an output of the graph.
func (a *assembly) output(name string, l Layer, kind Kind, shape []int64) {
	a.m.Graph.Outputs = append(a.m.Graph.Outputs, onnx.NewValue(name, onnx.Float32, onnx.BatchOf(shape...)...))
	p := Port{Name: name, Layer: l.Name, Kind: kind, Elem: onnx.Float32, Shape: shape, Len: 1}
	for _, d := range shape {
		p.Len *= int(d)
	}
	a.ports = append(a.ports, p)
}

func (a *assembly) node(op, input, output string, attrs ...*onnx.Attr) {
	a.m.Graph.Nodes = append(a.m.Graph.Nodes, onnx.NewNode(op, output, []string{input}, []string{output}, attrs...))
}

func (a *assembly) raw(l Layer, input string) {
	name := a.float(l)
	if name == input || slices.ContainsFunc(a.ports, func(p Port) bool { return p.Name == name }) {
		to := a.ed.Name(l.Tensor + "/raw")
		a.node("Identity", name, to)
		name = to
	}
	a.output(name, l, KindRaw, l.Shape)
}

// pooled appends the pooling of a layer. Two cells over a side n: windows of n - floor(n/2) at a distance
// of floor(n/2) are exactly the cells floor(i*n/2) to ceil((i+1)*n/2); see CONTRACT section 9.
func (a *assembly) pooled(l Layer, p Pool) {
	cur := a.float(l)
	name := a.ed.Name(l.Tensor + "/pooled")
	shape := []int64{int64(l.PooledDim(p))}
	if l.Volume() {
		switch p {
		case PoolAvg:
			mean := a.ed.Name(l.Tensor + "/mean")
			a.node("GlobalAveragePool", cur, mean)
			cur = mean
		case PoolMax:
			kernel, stride := make([]int64, 2), make([]int64, 2)
			for i, n := range l.Shape[1:] {
				stride[i] = max(n/2, 1)
				kernel[i] = max(n-n/2, 1)
			}
			cells := a.ed.Name(l.Tensor + "/cells")
			a.node("MaxPool", cur, cells, onnx.IntsAttr("kernel_shape", kernel...), onnx.IntsAttr("strides", stride...))
			cur = cells
		}
	}
	if len(l.Shape) == 1 {
		a.node("Identity", cur, name)
	} else {
		a.node("Flatten", cur, name, onnx.IntAttr("axis", 1))
	}
	a.output(name, l, KindPooled, shape)
}
