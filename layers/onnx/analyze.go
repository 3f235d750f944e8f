package onnx

import (
	"fmt"
	"slices"
)

// Shape is the shape of a tensor that depends on the image: dimensions without the batch, which is the
// first one.
type Shape struct {
	Elem Elem
	Dims []int64
}

// Cut is a tensor through which every path from the image to the output goes.
type Cut struct {
	Tensor    string   // the name to cut at: of an alias chain, the first in float32
	Aliases   []string // other tensors of the chain (behind Identity, Dropout or Cast)
	Node      *Node    // its producer
	Shape     Shape    //
	Candidate bool     // a layer in the sense of networks: see the rule at candidate
	MACs      int64    // multiply-accumulates per image, up to and including the producer
	Params    int64    // trainable elements up to here
	Bytes     int64    // bytes of all constants up to here
	Peak      int64    // most elements of activations alive at once per image, up to here
}

// Analysis is what Analyze finds out about a model.
type Analysis struct {
	Input  *ValueInfo       // the image
	Dims   []int64          // its dimensions without the batch
	Layout string           // "NCHW" or "NHWC"
	Output string           // the output the cuts lead to: of several, the one that needs most nodes
	Shapes map[string]Shape // of tensors that grow with the batch in their first dimension
	Cuts   []Cut            // bottom to top
	MACs   int64            // of the whole network, per image
	Params int64
	Bytes  int64
	// Unknown names operators whose effect on shapes is not known and that no shape in the file makes up for.
	Unknown []string
}

// Analyze finds the cuts of a model with one image input. It expects what Prepare leaves: sorted nodes,
// symbolic batch. size gives height and width for inputs that leave them open.
func (m *Model) Analyze(size int64) (*Analysis, error) {
	g := m.Graph
	in, dims, layout, err := imageInput(g, size)
	if err != nil {
		return nil, err
	}
	two, three, err := m.inferTwice(in.Name, dims)
	if err != nil {
		return nil, err
	}
	a := &Analysis{Input: in, Dims: dims, Layout: layout, Shapes: batched(two, three)}
	s := newSweep(m, a, two)
	if err := m.refuse(s.tensors); err != nil {
		return nil, err
	}
	a.Output = s.mainOutput()
	if a.Output == "" {
		return nil, &Error{Msg: fmt.Sprintf("no output depends on the input %q", in.Name), Do: "export the network with its classifier or its features as output"}
	}
	s.run()
	return a, nil
}

// imageInput returns the one data input, its dimensions without the batch, and whether channels come
// first or last. Open heights and widths become size, open channels 3.
func imageInput(g *Graph, size int64) (in *ValueInfo, dims []int64, layout string, err error) {
	ins := g.DataInputs()
	if len(ins) != 1 {
		names := make([]string, len(ins))
		for i, v := range ins {
			names[i] = v.Name
		}
		return nil, nil, "", &Error{Msg: fmt.Sprintf("it has %d inputs %q, one image is expected", len(ins), names), Do: "export the network with the image as its only input"}
	}
	in = ins[0]
	if !in.HasShape || len(in.Shape) != 4 {
		return nil, nil, "", &Error{Msg: fmt.Sprintf("input %q is no batch of images: it needs 4 dimensions", in.Name), Do: "export the network with an input N,C,H,W or N,H,W,C"}
	}
	dims = make([]int64, 3)
	for i, d := range in.Shape[1:] {
		dims[i] = d.Size
	}
	few := func(d int64) bool { return d == 1 || d == 3 || d == 4 }
	channels, layout := 0, "NCHW"
	if few(dims[2]) && !few(dims[0]) {
		channels, layout = 2, "NHWC"
	}
	for i := range dims {
		switch {
		case dims[i] > 0:
		case i == channels:
			dims[i] = 3
		default:
			dims[i] = size
		}
	}
	if n, ok := elements(dims); !ok || n == 0 || n > 1<<31 {
		return nil, nil, "", &Error{Msg: fmt.Sprintf("input %q has the shape %v", in.Name, dims)}
	}
	return in, dims, layout, nil
}

// inferTwice infers shapes for two batch sizes.
func (m *Model) inferTwice(input string, dims []int64) (two, three map[string]*Info, err error) {
	run := func(n int64) (map[string]*Info, error) {
		return m.Infer(map[string][]int64{input: slices.Concat([]int64{n}, dims)})
	}
	if two, err = run(2); err != nil {
		return nil, nil, err
	}
	three, err = run(3)
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

// sweep is the state of one pass over the nodes.
type sweep struct {
	m         *Model
	a         *Analysis
	infos     map[string]*Info // for batch 2
	constant  map[string]bool  // tensors that do not depend on the image
	tensors   map[string]*Tensor
	producer  map[string]*Node
	consumers map[string][]*Node
	buffers   map[string]bool // running statistics: constants, but no parameters
	useful    map[*Node]bool
}

func newSweep(m *Model, a *Analysis, infos map[string]*Info) *sweep {
	s := &sweep{m: m, a: a, infos: infos, constant: map[string]bool{}, tensors: map[string]*Tensor{}, producer: map[string]*Node{},
		consumers: map[string][]*Node{}, buffers: map[string]bool{}, useful: map[*Node]bool{}}
	for _, t := range m.Graph.Initializers {
		s.constant[t.Name] = true
		s.tensors[t.Name] = t
	}
	for _, n := range m.Graph.Nodes {
		depends := false
		n.reads(func(name string) { depends = depends || !s.constant[name] })
		if t := constantOf(n); t != nil && len(n.Outputs) > 0 {
			s.tensors[n.Outputs[0]] = t
		}
		for _, o := range n.Outputs {
			if o == "" {
				continue
			}
			s.producer[o] = n
			if !depends {
				s.constant[o] = true
			}
		}
		if n.OpType == "BatchNormalization" {
			for _, i := range n.Inputs[min(3, len(n.Inputs)):] {
				s.buffers[i] = true
			}
		}
	}
	return s
}

// mainOutput picks the output that the most nodes work for and marks these nodes as useful.
func (s *sweep) mainOutput() string {
	best := ""
	// The bound keeps a hostile list of outputs from costing outputs x nodes.
	for _, o := range s.m.Graph.Outputs[:min(len(s.m.Graph.Outputs), 64)] {
		if s.constant[o.Name] || s.producer[o.Name] == nil {
			continue
		}
		nodes := map[*Node]bool{}
		s.ancestors(o.Name, nodes)
		if best == "" || len(nodes) > len(s.useful) {
			best, s.useful = o.Name, nodes
		}
	}
	if best == "" {
		return ""
	}
	for _, n := range s.m.Graph.Nodes {
		if s.useful[n] {
			n.reads(func(name string) { s.consumers[name] = append(s.consumers[name], n) })
		}
	}
	return best
}

// ancestors adds to seen all nodes that the tensor depends on.
func (s *sweep) ancestors(tensor string, seen map[*Node]bool) {
	stack := []string{tensor}
	for len(stack) > 0 {
		t := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		n := s.producer[t]
		if n == nil || seen[n] {
			continue
		}
		seen[n] = true
		n.reads(func(name string) { stack = append(stack, name) })
	}
}

// run does the sweep described at the package comment, with costs summed up on the way: at a cut, what
// was visited is exactly what the cut depends on.
func (s *sweep) run() {
	left := map[string]int{s.a.Output: 1} // readers still to come; the output is read by the world
	for name, users := range s.consumers {
		left[name] += len(users)
	}
	live := map[string]bool{s.a.Input.Name: true}
	liveElems := s.perImage(s.a.Input.Name)
	seenConst := map[string]bool{}
	unknown := map[string]bool{}
	var peak int64
	for _, n := range s.m.Graph.Nodes {
		if !s.useful[n] {
			continue
		}
		if rules[n.OpType] == nil && !s.constant[n.Outputs[0]] && !unknown[n.OpType] {
			unknown[n.OpType] = true
			s.a.Unknown = append(s.a.Unknown, n.OpType)
		}
		fresh := ""
		for _, o := range n.Outputs {
			if o != "" && !s.constant[o] && left[o] > 0 {
				live[o] = true
				fresh = o
				liveElems += s.perImage(o)
			}
		}
		if fresh == "" {
			continue // constant: its cost is counted where it is first used
		}
		peak = max(peak, liveElems)
		n.reads(func(name string) {
			s.count(name, seenConst)
			if left[name]--; left[name] == 0 && live[name] {
				delete(live, name)
				liveElems -= s.perImage(name)
			}
		})
		s.a.MACs += s.macs(n)
		if len(live) == 1 && live[fresh] {
			s.cut(fresh, n, peak)
		}
	}
	s.rank()
}

// count adds the constants behind name to the totals, once each.
func (s *sweep) count(name string, seen map[string]bool) {
	if !s.constant[name] || seen[name] {
		return
	}
	seen[name] = true
	if t := s.tensors[name]; t != nil {
		s.a.Bytes += int64(len(t.Raw))
		switch t.Type {
		case Float32, Float16, BFloat16, Float64, Int8, Uint8:
			if !s.buffers[name] && len(t.Dims) > 0 { // scalars are settings, such as the bounds of a Clip
				n, _ := elements(t.Dims)
				s.a.Params += n
			}
		}
		return
	}
	if n := s.producer[name]; n != nil {
		if x := s.infos[name]; n.OpType == "ConstantOfShape" && x != nil && !s.buffers[name] && isFloat(x.Elem) {
			s.a.Params += x.Len() // weights that the file only states the shape of
			return
		}
		n.reads(func(in string) { s.count(in, seen) })
	}
}

// perImage returns the elements of a tensor per image; 0 when not known.
func (s *sweep) perImage(name string) int64 {
	n, _ := elements(s.a.Shapes[name].Dims)
	if _, ok := s.a.Shapes[name]; !ok {
		return 0
	}
	return n
}

// cut records a single-tensor cut. A tensor behind Identity, Dropout or a Cast between float types is
// the same place under another name.
func (s *sweep) cut(tensor string, n *Node, peak int64) {
	shape, ok := s.a.Shapes[tensor]
	c := Cut{Tensor: tensor, Node: n, Shape: shape, MACs: s.a.MACs, Params: s.a.Params, Bytes: s.a.Bytes, Peak: peak}
	if last := len(s.a.Cuts) - 1; last >= 0 && s.alias(n) {
		prev := &s.a.Cuts[last]
		if prev.Tensor == n.Inputs[0] || slices.Contains(prev.Aliases, n.Inputs[0]) {
			if prev.Shape.Elem != Float32 && shape.Elem == Float32 {
				// A float16 network: the place is named by its first float32 tensor.
				prev.Aliases = append(prev.Aliases, prev.Tensor)
				prev.Tensor, prev.Shape = tensor, shape
				return
			}
			prev.Aliases = append(prev.Aliases, tensor)
			return
		}
	}
	if ok {
		s.a.Cuts = append(s.a.Cuts, c)
	}
}

// alias says whether a node passes its input on unchanged.
func (s *sweep) alias(n *Node) bool {
	if len(n.Inputs) == 0 || len(n.Outputs) == 0 {
		return false
	}
	switch n.OpType {
	case "Identity", "Dropout":
		return true
	case "Cast":
		x, y := s.infos[n.Inputs[0]], s.infos[n.Outputs[0]]
		return x != nil && y != nil && isFloat(x.Elem) && isFloat(y.Elem)
	}
	return false
}

func isFloat(e Elem) bool { return e == Float32 || e == Float16 || e == BFloat16 || e == Float64 }

// producers are operators whose result counts as a layer; starts are those that begin the next one.
var (
	producers = opSet("Conv", "FusedConv", "ConvTranspose", "Gemm", "FusedGemm", "MatMul", "FusedMatMul", "Add", "Sum", "BatchNormalization", "InstanceNormalization",
		"LayerNormalization", "GroupNormalization", "Concat", "Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish",
		"Swish", "QuickGelu", "Tanh", "Softplus", "Softsign", "Gelu", "Mish", "ThresholdedRelu", "Mul", "Div", "Min")
	starts = opSet("Conv", "FusedConv", "ConvTranspose", "ConvInteger", "QLinearConv", "Gemm", "FusedGemm", "QGemm", "MatMul", "FusedMatMul", "MatMulInteger", "QLinearMatMul",
		"MaxPool", "AveragePool", "LpPool", "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", "ReduceMean", "ReduceMax", "ReduceSum", "Flatten", "Reshape", "Squeeze",
		"Transpose", "LRN", "Softmax", "LogSoftmax", "Concat", "Pad", "Resize", "Upsample", "Split", "Slice", "DepthToSpace", "SpaceToDepth", "QuantizeLinear")
	norms       = opSet("BatchNormalization", "InstanceNormalization", "LayerNormalization", "GroupNormalization")
	activations = opSet("Relu", "LeakyRelu", "PRelu", "Elu", "Gelu")
)

func opSet(ops ...string) map[string]bool {
	m := map[string]bool{}
	for _, o := range ops {
		m[o] = true
	}
	return m
}

// rank marks the candidates among the cuts. A cut is one if something has been multiplied before it, its
// producer computes or activates, and what reads it (aliases looked through) starts something new: a
// convolution, a product, a pool, a change of shape, the output. A block of a network with normalisation
// first ends in a sum or a concatenation that is read by a normalisation or an activation: that counts
// too when something else reads it as well (the next sum), and for a concatenation before a
// normalisation always.
func (s *sweep) rank() {
	for i := range s.a.Cuts {
		c := &s.a.Cuts[i]
		if c.MACs == 0 || !producers[c.Node.OpType] || c.Shape.Elem != Float32 {
			continue
		}
		names := append([]string{c.Tensor}, c.Aliases...)
		users := 0
		norm, active, start := false, false, false
		for _, name := range names {
			if name == s.a.Output {
				start = true
			}
			for _, u := range s.consumers[name] {
				if s.alias(u) {
					continue
				}
				users++
				start = start || starts[u.OpType]
				norm = norm || norms[u.OpType]
				active = active || activations[u.OpType]
			}
		}
		sum := c.Node.OpType == "Add" || c.Node.OpType == "Sum"
		concat := c.Node.OpType == "Concat"
		c.Candidate = start || concat && norm || (concat || sum) && users > 1 && (norm || active)
	}
}

// macs counts the multiply-accumulates of a node per image.
func (s *sweep) macs(n *Node) int64 {
	if len(n.Outputs) == 0 {
		return 0
	}
	out := s.infos[n.Outputs[0]]
	weight := func(i int) []int64 {
		if i < len(n.Inputs) {
			if x := s.infos[n.Inputs[i]]; x != nil {
				return x.Dims
			}
		}
		return nil
	}
	at := 1
	switch n.OpType {
	case "QLinearConv", "QLinearMatMul", "QGemm":
		at = 3
	}
	w := weight(at)
	if out == nil || len(w) < 2 {
		return 0
	}
	var each int64
	switch n.OpType {
	case "Conv", "FusedConv", "ConvInteger", "QLinearConv":
		each, _ = elements(w[1:])
	case "ConvTranspose":
		if in := weight(0); in != nil {
			x, _ := elements(in)
			each, _ = elements(w[1:])
			return mulSat(x, each) / 2
		}
	case "Gemm", "FusedGemm", "QGemm":
		each = w[0]
		if n.Int("transB", 0) != 0 {
			each = w[1]
		}
	case "MatMul", "MatMulInteger", "QLinearMatMul", "FusedMatMul":
		each = w[len(w)-2]
	}
	return mulSat(out.Len(), each) / 2 // shapes are those of a batch of two
}

// mulSat multiplies and stays at a large value instead of overflowing.
func mulSat(a, b int64) int64 {
	if a != 0 && b > maxElements*1024/a {
		return maxElements * 1024
	}
	return a * b
}
