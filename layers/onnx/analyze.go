package onnx

import (
	"fmt"
	"slices"
)

// maxInput is how many values a network may take for one image.
const maxInput = 1 << 30

// Shape is the shape of a tensor that depends on the image: dimensions without the batch, which is the
// first one.
type Shape struct {
	Elem  Elem
	Dims  []int64
	Fixed bool // all dimensions are in Dims: it does not grow with the batch
}

// Cut is a tensor through which every path from the image to the output goes.
type Cut struct {
	Tensor    string   // the name to cut at: of an alias chain, the first in float32
	Aliases   []string // other tensors of the chain (behind Identity, Dropout, Cast or between quantization and its inverse)
	Nodes     []*Node  // its producer; for a place in an int8 network also what is quantized there
	Shape     Shape    // as seen through Access: float32, channels first
	Access    Access   //
	Candidate bool     // a layer in the sense of networks: see rank
	MACs      int64    // multiply-accumulates per image, up to and including the producer
	Params    int64    // trainable elements up to here
	Bytes     int64    // bytes of all constants up to here
	Peak      int64    // most elements of activations alive at once per image, up to here
}

// Access says how the values of a cut, in float32 and with channels first, lie in the graph.
type Access struct {
	Tensor      string  // where they lie
	Elem        Elem    // of that tensor
	Scale, Zero *Tensor // what it was quantized with; Scale nil: it is not quantized. Zero may be nil
	Last        bool    // its channels come last: N,H,W,C
}

// Analysis is what Analyze finds out about a model.
type Analysis struct {
	Image  Image
	Output string           // the output the cuts lead to: of several, the one that needs most nodes
	Shapes map[string]Shape // of tensors that grow with the batch in their first dimension
	Cuts   []Cut            // bottom to top
	MACs   int64            // of the whole network, per image
	Params int64
	Bytes  int64
	// Unknown names nodes whose effect on shapes is not known and that no shape in the file makes up for.
	Unknown []string
}

// Image is the input of a network.
type Image struct {
	Value  *ValueInfo
	Dims   []int64 // its dimensions without the batch
	Layout string  // "NCHW" or "NHWC"
	Open   bool    // the file leaves height or width open
}

// Analyze finds the cuts of a model with one image input. It expects what Prepare leaves: sorted nodes,
// symbolic batch, fixed height and width.
func (m *Model) Analyze() (*Analysis, error) {
	g := m.Graph
	img, err := imageInput(g, 0)
	if err != nil {
		return nil, err
	}
	if err := m.refuse(); err != nil {
		return nil, err
	}
	two, three, err := m.inferTwice(img.Value.Name, img.Dims)
	if err != nil {
		return nil, m.tied(err, img)
	}
	if err := bounded(g, two); err != nil {
		return nil, err
	}
	a := &Analysis{Image: img, Shapes: batched(two, three)}
	s := newSweep(m, a, two)
	a.Output = s.mainOutput()
	if a.Output == "" {
		return nil, &Error{Msg: fmt.Sprintf("no output depends on the input %q", img.Value.Name), Do: "export the network with its classifier or its features as output"}
	}
	s.run()
	return a, nil
}

// tied explains shapes that do not fit together for a batch of two, where they do for one image.
func (m *Model) tied(fault error, img Image) error {
	e, ok := fault.(*Error)
	if !ok {
		return fault
	}
	if _, err := m.inferAll(map[string][]int64{img.Value.Name: slices.Concat([]int64{1}, img.Dims)}); err != nil {
		return fault
	}
	return &Error{Node: e.Node, Msg: "works for a batch of one image only: with two, " + e.Msg,
		Do: "export the model with a dynamic batch (dynamic_axes or dynamic_shapes for dimension 0 of the input)"}
}

// imageInput returns the one data input with its dimensions and whether channels come first or last. Open
// heights and widths become size, open channels 3.
func imageInput(g *Graph, size int64) (img Image, err error) {
	ins := g.DataInputs()
	if len(ins) != 1 {
		names := make([]string, len(ins))
		for i, v := range ins[:min(len(ins), 8)] {
			names[i] = v.Name
		}
		return img, &Error{Msg: fmt.Sprintf("it has %d inputs %q, one image is expected", len(ins), names[:min(len(ins), 8)]), Do: "export the network with the image as its only input"}
	}
	in := ins[0]
	if !in.HasShape || len(in.Shape) != 4 {
		return img, &Error{Msg: fmt.Sprintf("input %q is no batch of images: it needs 4 dimensions", in.Name), Do: "export the network with an input N,C,H,W or N,H,W,C"}
	}
	img = Image{Value: in, Dims: make([]int64, 3), Layout: "NCHW"}
	for i, d := range in.Shape[1:] {
		img.Dims[i] = d.Size
	}
	channels := 0
	if g.channelsLast(in.Name, img.Dims) {
		channels, img.Layout = 2, "NHWC"
	}
	for i, d := range img.Dims {
		switch {
		case d > 0:
		case i == channels:
			img.Dims[i] = 3
		case size <= 0:
			return img, &Error{Msg: fmt.Sprintf("input %q leaves height and width of the images open", in.Name),
				Do: "say them with cnn.preprocess, for example {resize: 256, crop: 224}"}
		default:
			img.Dims[i], img.Open = size, true
		}
	}
	if n, ok := elements(img.Dims); !ok || n == 0 || n > maxInput {
		return img, &Error{Msg: fmt.Sprintf("input %q has the shape %v; an image may have 1 to %d values (2^30)", in.Name, img.Dims, maxInput)}
	}
	return img, nil
}

// OpenSize says whether the model leaves the height or width of its images open.
func (m *Model) OpenSize() (bool, error) {
	img, err := imageInput(m.Graph, 224)
	return img.Open, err
}

// channelsLast tells the layout of the input: by a dimension that is a number of channels where the other
// cannot be one, else by what reads it.
func (g *Graph) channelsLast(input string, dims []int64) bool {
	few := func(d int64) bool { return d == 1 || d == 3 || d == 4 }
	if few(dims[2]) != few(dims[0]) {
		return few(dims[2])
	}
	names := map[string]bool{input: true}
	for _, n := range g.Nodes {
		if len(n.Inputs) == 0 || !names[n.Inputs[0]] {
			continue
		}
		switch n.OpType {
		case "Transpose":
			return slices.Equal(n.Ints("perm"), []int64{0, 3, 1, 2})
		case "Cast", "Identity", "Sub", "Mul", "Div", "Add", "QuantizeLinear", "DequantizeLinear":
			for _, o := range n.Outputs[:min(len(n.Outputs), 1)] {
				names[o] = true
			}
		default:
			return false
		}
	}
	return false
}

// inferTwice infers shapes for two batch sizes.
func (m *Model) inferTwice(input string, dims []int64) (two, three map[string]*Info, err error) {
	two, err = m.inferAll(map[string][]int64{input: slices.Concat([]int64{2}, dims)})
	three, other := m.inferAll(map[string][]int64{input: slices.Concat([]int64{3}, dims)})
	if err == nil {
		err = other
	}
	return two, three, err
}

// batched returns the shapes of tensors whose first dimension is the batch and whose others do not
// depend on it.
func batched(two, three map[string]*Info) map[string]Shape {
	out := map[string]Shape{}
	for name, a := range two {
		b := three[name]
		if b == nil || len(a.Dims) == 0 || len(a.Dims) != len(b.Dims) || a.Dims[0] != 2 || b.Dims[0] != 3 || !slices.Equal(a.Dims[1:], b.Dims[1:]) {
			continue
		}
		out[name] = Shape{Elem: a.Elem, Dims: a.Dims[1:]}
	}
	return out
}
