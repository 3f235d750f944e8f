package layers

import (
	"fmt"
	"slices"
	"strings"

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
	c     *CNN
	m     *onnx.Model
	ed    *onnx.Editor
	ports []Port
}

// Program builds the graph that spec asks for: the nodes between From and the wanted layers and nothing
// else, preprocessing before them and pooling behind. Weights are shared with the network and with its
// other programs. The input is "image" or the From layer's tensor; a raw output is the layer's tensor,
// unless that is the input, a pooled one the tensor's name with "/pooled". A layer without height and
// width gives the same numbers raw and pooled.
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
	in := Port{Name: imageName, Kind: KindImage, Elem: onnx.Uint8, Shape: []int64{int64(c.Input.H), int64(c.Input.W), 3}, Len: c.Input.H * c.Input.W * 3}
	root := onnx.NewValue(c.Input.Tensor, onnx.Float32, onnx.BatchOf(c.inputDims()...)...)
	if spec.From != "" {
		from, err := c.each([]string{spec.From})
		if err != nil {
			return nil, err
		}
		l := from[0]
		in = Port{Name: l.Tensor, Layer: l.Name, Kind: KindRaw, Elem: onnx.Float32, Shape: l.Shape, Len: l.Dim}
		root = onnx.NewValue(l.Tensor, onnx.Float32, onnx.BatchOf(l.Shape...)...)
	}
	var wanted []*onnx.ValueInfo
	seen := map[string]bool{in.Name: spec.From != ""}
	for _, l := range slices.Concat(raw, pooled) {
		if !seen[l.Tensor] {
			seen[l.Tensor] = true
			wanted = append(wanted, onnx.NewValue(l.Tensor, onnx.Float32, onnx.BatchOf(l.Shape...)...))
		}
	}
	m, err := c.Model.Extract([]*onnx.ValueInfo{root}, wanted)
	if err != nil {
		return nil, fmt.Errorf("cut %s between %q and the layers asked for: %w", c.Name, spec.From, err)
	}
	m.Graph.Name = c.Name
	m.Producer, m.ProducerVersion, m.Doc, m.Metadata = "vista-mr", "", "", nil
	m.Graph.Outputs = nil
	a := &assembly{c: c, m: m}
	if spec.From == "" {
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
	} else {
		a.ed = m.Graph.Edit()
	}
	for _, l := range raw {
		a.raw(l, in.Name)
	}
	for _, l := range pooled {
		a.pooled(l, spec.Pool)
	}
	p := &Program{Model: m, Input: in, Outputs: a.ports}
	p.Digest = c.digests.Digest(m)
	return p, nil
}

// each resolves names one by one, keeping the order.
func (c *CNN) each(names []string) ([]Layer, error) {
	out := make([]Layer, len(names))
	for i, n := range names {
		l, err := c.Select(n)
		if err != nil {
			return nil, err
		}
		out[i] = l[0]
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

// image puts the way from bytes N,H,W,3 to the network's input before the graph: the bytes are brought
// into the network's layout and order of channels, which is cheapest on bytes, converted, and normalised
// as x = byte * (Scale/Std) + (-Mean/Std).
func (a *assembly) image(target string, n *Normalize) error {
	g := a.m.Graph
	var nodes []*onnx.Node
	cur := imageName
	add := func(op, name string, inputs []string, attrs ...*onnx.Attr) {
		out := a.ed.Name("preprocess/" + name)
		nodes = append(nodes, onnx.NewNode(op, out, append([]string{cur}, inputs...), []string{out}, attrs...))
		cur = out
	}
	channelAxis := int64(3)
	if a.c.Input.Layout == "NCHW" {
		add("Transpose", "transposed", nil, onnx.IntsAttr("perm", 0, 3, 1, 2))
		channelAxis = 1
	}
	if n != nil {
		switch strings.ToUpper(n.Channels) {
		case "", "RGB":
		case "BGR":
			add("Gather", "reordered", []string{a.ed.Const(onnx.Ints("preprocess/order", 2, 1, 0))}, onnx.IntAttr("axis", channelAxis))
		default:
			return &Error{ID: "E-MODEL", Msg: fmt.Sprintf("channels %q", n.Channels), Do: "use RGB or BGR"}
		}
	}
	add("Cast", "float", nil, onnx.IntAttr("to", int64(onnx.Float32)))
	if n != nil {
		mul, sum, err := n.affine()
		if err != nil {
			return err
		}
		constant := func(name string, v []float32) string {
			return a.ed.Const(onnx.Floats("preprocess/"+name, []int64{3}, v...))
		}
		if a.c.Input.Layout == "NCHW" {
			// One pass over the pixels instead of the two that a product and a sum take; measured, it takes
			// three quarters of their time, conversion included.
			add("BatchNormalization", "normalized", []string{constant("scale", mul), constant("shift", sum),
				constant("zero", []float32{0, 0, 0}), constant("one", []float32{1, 1, 1})}, onnx.FloatAttr("epsilon", 0))
		} else {
			add("Mul", "scaled", []string{constant("scale", mul)})
			add("Add", "shifted", []string{constant("shift", sum)})
		}
	}
	nodes[len(nodes)-1].Outputs = []string{target}
	g.Nodes = append(nodes, g.Nodes...)
	g.Inputs = []*onnx.ValueInfo{onnx.NewValue(imageName, onnx.Uint8, onnx.BatchOf(int64(a.c.Input.H), int64(a.c.Input.W), 3)...)}
	return nil
}

// affine returns factor and offset of each channel.
func (n *Normalize) affine() (mul, sum []float32, err error) {
	pick := func(list []float32, i int, def float32) (float32, error) {
		switch len(list) {
		case 0:
			return def, nil
		case 1:
			return list[0], nil
		case 3:
			return list[i], nil
		}
		return 0, &Error{ID: "E-MODEL", Msg: fmt.Sprintf("mean or deviation with %d values", len(list)), Do: "give three values, or one for all channels"}
	}
	scale := float64(n.Scale)
	if n.Scale == 0 {
		scale = 1
	}
	for i := range 3 {
		mean, err := pick(n.Mean, i, 0)
		if err != nil {
			return nil, nil, err
		}
		std, err := pick(n.Std, i, 1)
		if err != nil {
			return nil, nil, err
		}
		if !(std > 0) {
			return nil, nil, &Error{ID: "E-MODEL", Msg: fmt.Sprintf("a deviation of %v", std), Do: "deviations must be positive"}
		}
		mul = append(mul, float32(scale/float64(std)))
		sum = append(sum, float32(-float64(mean)/float64(std)))
	}
	return mul, sum, nil
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
	name := l.Tensor
	if name == input || slices.ContainsFunc(a.ports, func(p Port) bool { return p.Name == name }) {
		name = a.ed.Name(l.Tensor + "/raw")
		a.node("Identity", l.Tensor, name)
	}
	a.output(name, l, KindRaw, l.Shape)
}

// pooled appends the pooling of a layer. Two cells over a side n: windows of n - floor(n/2) at a distance
// of floor(n/2) are exactly the cells floor(i*n/2) to ceil((i+1)*n/2); see CONTRACT section 9.
func (a *assembly) pooled(l Layer, p Pool) {
	name := a.ed.Name(l.Tensor + "/pooled")
	shape := []int64{int64(l.PooledDim(p))}
	cur := l.Tensor
	if l.Volume() {
		switch p {
		case PoolAvg:
			cur = a.ed.Name(l.Tensor + "/mean")
			a.node("GlobalAveragePool", l.Tensor, cur)
		case PoolMax:
			kernel, stride := make([]int64, 2), make([]int64, 2)
			for i, n := range l.Shape[1:] {
				stride[i] = max(n/2, 1)
				kernel[i] = max(n-n/2, 1)
			}
			cur = a.ed.Name(l.Tensor + "/cells")
			a.node("MaxPool", l.Tensor, cur, onnx.IntsAttr("kernel_shape", kernel...), onnx.IntsAttr("strides", stride...))
		}
	}
	if len(l.Shape) == 1 {
		a.node("Identity", cur, name)
	} else {
		a.node("Flatten", cur, name, onnx.IntAttr("axis", 1))
	}
	a.output(name, l, KindPooled, shape)
}
