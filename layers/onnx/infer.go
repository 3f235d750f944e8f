package onnx

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// Info is what is known of a tensor without running the model: element type, sizes and, for small
// integer tensors (shapes, axes, indices), the elements.
type Info struct {
	Elem Elem
	Dims []int64
	Vals []int64 // row-major; nil when not known
}

// Len returns the number of elements.
func (i *Info) Len() int64 {
	n, _ := elements(i.Dims)
	return n
}

// What keeps a hostile graph from taking memory that no shape arithmetic needs.
const (
	maxVals   = 4096    // elements of one tensor whose contents are followed
	maxFollow = 4 << 20 // elements of all of them
	maxRank   = 32
)

// inferer walks a graph once, in topological order.
type inferer struct {
	opset  int64
	batch  int64
	consts map[string]*Tensor
	infos  map[string]*Info
	known  map[string]Shape // measured
	stated map[string]Shape // said by the file
	left   int              // elements that may still be followed
	node   *Node
}

// Infer works out the shapes of all tensors of the graph when its inputs have the given dimensions.
// Tensors behind an operator that is not known here are missing from the result, unless they are among
// the shapes that Prepare was told or has found in the file. Shapes that contradict each other are an
// error with the node's name. Nodes must be in topological order (see Sort).
func (m *Model) Infer(inputs map[string][]int64) (map[string]*Info, error) {
	infos, err := m.inferAll(inputs)
	if err != nil {
		return nil, err
	}
	return infos, nil
}

// inferAll is Infer that goes on behind a contradiction, which it returns too: the first one that no known
// shape makes up for.
func (m *Model) inferAll(inputs map[string][]int64) (map[string]*Info, error) {
	c := &inferer{opset: m.OpsetVersion(), consts: map[string]*Tensor{}, infos: map[string]*Info{}, known: m.known, stated: m.stated, left: maxFollow}
	g := m.Graph
	for _, t := range g.Initializers {
		c.constant(t.Name, t)
	}
	for _, v := range g.Inputs {
		if d, ok := inputs[v.Name]; ok {
			c.infos[v.Name] = &Info{Elem: v.Type, Dims: d}
			if len(d) > 0 {
				c.batch = d[0]
			}
		}
	}
	var first error
	for _, n := range g.Nodes {
		if err := c.visit(n); err != nil && first == nil {
			first = err
		}
	}
	return c.infos, first
}

func (c *inferer) constant(name string, t *Tensor) {
	if name == "" {
		return
	}
	c.consts[name] = t
	x := &Info{Elem: t.Type, Dims: t.Dims, Vals: t.ints()}
	c.follow(x)
	c.infos[name] = x
}

// follow forgets contents that there is no room for.
func (c *inferer) follow(x *Info) {
	if c.left -= len(x.Vals); c.left < 0 {
		x.Vals = nil
	}
}

// ints returns the elements of a small integer tensor, or nil.
func (t *Tensor) ints() []int64 {
	n, ok := elements(t.Dims)
	size := int64(t.Type.Size())
	if !ok || n > maxVals || t.External != nil || int64(len(t.Raw)) != n*size {
		return nil
	}
	if size == 1 && n > 64 { // weights, not shapes
		return nil
	}
	out := make([]int64, 0, n)
	for b := t.Raw; len(b) > 0; b = b[size:] {
		switch t.Type {
		case Int64, Uint64:
			out = append(out, int64(binary.LittleEndian.Uint64(b)))
		case Int32:
			out = append(out, int64(int32(binary.LittleEndian.Uint32(b))))
		case Uint32:
			out = append(out, int64(binary.LittleEndian.Uint32(b)))
		case Uint8, Bool:
			out = append(out, int64(b[0]))
		case Int8:
			out = append(out, int64(int8(b[0])))
		default:
			return nil
		}
	}
	return out
}

// floats returns the elements of a small float tensor as float64, or nil.
func (t *Tensor) floats() []float64 {
	if t == nil || t.External != nil || len(t.Raw) > 8*maxVals {
		return nil
	}
	var out []float64
	switch t.Type {
	case Float32:
		for b := t.Raw; len(b) >= 4; b = b[4:] {
			out = append(out, float64(math.Float32frombits(binary.LittleEndian.Uint32(b))))
		}
	case Float64:
		for b := t.Raw; len(b) >= 8; b = b[8:] {
			out = append(out, math.Float64frombits(binary.LittleEndian.Uint64(b)))
		}
	}
	return out
}

// errUnknown marks shapes that cannot be told; it is not a fault of the model.
var errUnknown = fmt.Errorf("not known")

func (c *inferer) fail(format string, a ...any) error {
	return &Error{Node: nodeName(c.node), Msg: fmt.Sprintf(format, a...)}
}

// nodeName names a node for people: its name, or its type and first output.
func nodeName(n *Node) string {
	if n.Name != "" {
		return clip(n.Name) + " (" + clip(n.OpType) + ")"
	}
	if len(n.Outputs) > 0 {
		return clip(n.OpType) + " -> " + clip(n.Outputs[0])
	}
	return clip(n.OpType)
}

// clip shortens a name to what a message has room for.
func clip(s string) string {
	if len(s) <= 200 {
		return s
	}
	return s[:200] + "..."
}

func (c *inferer) visit(n *Node) error {
	c.node = n
	rule := rules[n.OpType]
	if !standard(n.Domain) {
		rule = nil
	}
	err := errUnknown
	if rule != nil {
		var outs []*Info
		if outs, err = rule(c, n); err == nil {
			err = c.accept(n, outs)
		}
	}
	// What was measured is true even where a rule says that it cannot be; what the file says need not be.
	if c.told(n, c.known) {
		return nil
	}
	if err == errUnknown {
		c.told(n, c.stated)
		return nil
	}
	return err
}

// standard says whether the operators of a domain are known here.
func standard(domain string) bool {
	return domain == "" || domain == "ai.onnx" || domain == "com.microsoft"
}

// accept takes over what a rule has found.
func (c *inferer) accept(n *Node, outs []*Info) error {
	for i, o := range outs {
		if i >= len(n.Outputs) || n.Outputs[i] == "" || o == nil {
			continue
		}
		if _, ok := elements(o.Dims); !ok || len(o.Dims) > maxRank {
			return c.fail("output %d would have the impossible shape %v", i, o.Dims[:min(len(o.Dims), maxRank)])
		}
		c.follow(o)
		c.infos[n.Outputs[i]] = o
	}
	return nil
}

// told fills in shapes from a list for outputs that have none, and says whether all outputs have one now.
func (c *inferer) told(n *Node, list map[string]Shape) bool {
	all := true
	for _, o := range n.Outputs {
		if o == "" || c.infos[o] != nil {
			continue
		}
		s, ok := list[o]
		if !ok {
			all = false
			continue
		}
		dims := slices.Clone(s.Dims)
		if !s.Fixed {
			dims = slices.Concat([]int64{c.batch}, s.Dims)
		}
		c.infos[o] = &Info{Elem: s.Elem, Dims: dims}
	}
	return all
}

// in returns what is known of input i, or errUnknown.
func (c *inferer) in(i int) (*Info, error) {
	if i >= len(c.node.Inputs) || c.node.Inputs[i] == "" {
		return nil, errUnknown
	}
	if x := c.infos[c.node.Inputs[i]]; x != nil {
		return x, nil
	}
	return nil, errUnknown
}

// has says whether the optional input i is given.
func (c *inferer) has(i int) bool { return i < len(c.node.Inputs) && c.node.Inputs[i] != "" }

// list returns the integers of an attribute or, where newer operator sets moved it, of input i. given is
// false when the node has neither.
func (c *inferer) list(attr string, i int) (vals []int64, given bool, err error) {
	if v := c.node.Ints(attr); v != nil {
		return v, true, nil
	}
	if a := c.node.Attr(attr); a != nil && a.Type == AttrInts {
		return nil, true, nil
	}
	if i < 0 || !c.has(i) {
		return nil, false, nil
	}
	x, err := c.in(i)
	if err != nil {
		return nil, true, err
	}
	if x.Vals == nil && x.Len() > 0 {
		return nil, true, errUnknown
	}
	return x.Vals, true, nil
}

// axis brings an axis that may count from the end into 0..rank-1.
func (c *inferer) axis(a int64, rank int) (int, error) {
	if a < 0 {
		a += int64(rank)
	}
	if a < 0 || a >= int64(rank) {
		return 0, c.fail("axis %d of a tensor with %d dimensions", a, rank)
	}
	return int(a), nil
}

func one(elem Elem, dims []int64) []*Info { return []*Info{{Elem: elem, Dims: dims}} }

type rule func(c *inferer, n *Node) ([]*Info, error)

// rules holds what each operator does to shapes. Operators of com.microsoft with the same name as one
// here have the same rule; QLinear ones have their own.
var rules = makeRules()

func makeRules() map[string]rule {
	rules := map[string]rule{}
	register := func(r rule, ops ...string) {
		for _, op := range ops {
			rules[op] = r
		}
	}
	register(likeFirst, "Identity", "Dropout", "Relu", "LeakyRelu", "Elu", "Selu", "Celu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh",
		"Softplus", "Softsign", "Gelu", "FastGelu", "QuickGelu", "Mish", "Swish", "ThresholdedRelu", "Clip", "Neg", "Abs", "Sqrt", "Exp", "Log", "Floor", "Ceil", "Round",
		"Erf", "Reciprocal", "Sign", "Sin", "Cos", "Softmax", "LogSoftmax", "Hardmax", "LRN", "BatchNormalization",
		"InstanceNormalization", "LayerNormalization", "GroupNormalization", "RMSNormalization", "MeanVarianceNormalization", "LpNormalization",
		"CumSum", "BiasGelu", "QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax", "Not", "Shrink")
	register(inferCast, "Cast", "CastLike")
	register(inferQuantize, "QuantizeLinear")
	register(inferDequantize, "DequantizeLinear")
	register(inferBroadcast, "Add", "Sub", "Mul", "Div", "Pow", "Mod", "Max", "Min", "Sum", "Mean", "PRelu", "And", "Or", "Xor",
		"Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Where", "BitShift")
	register(inferQLinearBinary, "QLinearAdd", "QLinearMul")
	register(inferConv, "Conv", "FusedConv", "ConvInteger", "QLinearConv")
	register(inferConvTranspose, "ConvTranspose")
	register(inferPool, "MaxPool", "AveragePool", "LpPool", "QLinearAveragePool")
	register(inferGlobalPool, "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", "QLinearGlobalAveragePool")
	register(inferGemm, "Gemm", "FusedGemm", "QGemm")
	register(inferMatMul, "MatMul", "MatMulInteger", "QLinearMatMul", "FusedMatMul")
	register(inferConcat, "Concat")
	register(inferQLinearConcat, "QLinearConcat")
	register(inferFlatten, "Flatten")
	register(inferReshape, "Reshape")
	register(inferTranspose, "Transpose")
	register(inferReduce, "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSum",
		"ReduceLogSumExp", "ReduceSumSquare", "ArgMax", "ArgMin")
	register(inferSqueeze, "Squeeze")
	register(inferUnsqueeze, "Unsqueeze")
	register(inferSlice, "Slice")
	register(inferSplit, "Split")
	register(inferGather, "Gather")
	register(inferPad, "Pad")
	register(inferResize, "Resize", "Upsample")
	register(inferExpand, "Expand")
	register(inferTile, "Tile")
	register(inferShape, "Shape")
	register(inferSize, "Size")
	register(inferConstant, "Constant")
	register(inferConstantOfShape, "ConstantOfShape")
	register(inferRange, "Range")
	register(inferDepthToSpace, "DepthToSpace")
	register(inferSpaceToDepth, "SpaceToDepth")
	return rules
}
