package onnx

import (
	"encoding/binary"
	"math"
	"slices"
)

// quant is what a tensor was quantized with, the same for all of its elements.
type quant struct{ scale, zero *Tensor }

// carry notes how the node's first output lies in memory: quantized with what, channels first or last.
func (s *sweep) carry(n *Node) {
	out := n.Outputs[0]
	if q, ok := s.quantOf(n); ok {
		s.quants[out] = q
	}
	x := s.infos[out]
	if x == nil || len(x.Dims) != 4 {
		return
	}
	first := "" // the first input that depends on the image and has four dimensions
	for _, i := range n.Inputs {
		if x := s.infos[i]; i != "" && !s.constant[i] && x != nil && len(x.Dims) == 4 {
			first = i
			break
		}
	}
	if first == "" {
		return
	}
	switch n.OpType {
	case "Conv", "FusedConv", "ConvTranspose", "ConvInteger", "QLinearConv", "MaxPool", "AveragePool", "LpPool", "GlobalAveragePool",
		"GlobalMaxPool", "GlobalLpPool", "BatchNormalization", "InstanceNormalization", "GroupNormalization", "LRN", "DepthToSpace", "SpaceToDepth":
		// These are defined for channels first.
	case "Transpose":
		was := s.last[first]
		perm := n.Ints("perm")
		s.last[out] = !was && slices.Equal(perm, []int64{0, 2, 3, 1}) || was && !slices.Equal(perm, []int64{0, 3, 1, 2})
	case "Reshape", "Expand":
		s.last[out] = s.last[first] && slices.Equal(x.Dims, s.infos[first].Dims)
	default:
		s.last[out] = s.last[first]
	}
}

// quantOf tells what a node's first output is quantized with: its own settings, or its input's where it
// only moves elements.
func (s *sweep) quantOf(n *Node) (quant, bool) {
	at := -1
	switch n.OpType {
	case "QuantizeLinear":
		at = 1
	case "QLinearConv", "QLinearMatMul", "QLinearAdd", "QLinearMul":
		at = 6
	case "QGemm":
		at = 7
	case "QLinearConcat":
		at = 0
	case "QLinearAveragePool", "QLinearGlobalAveragePool", "QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax", "QLinearReduceMean":
		at = 3
	case "MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Identity", "Dropout", "Slice", "Split", "Gather", "DepthToSpace", "SpaceToDepth", "Expand":
		if len(n.Inputs) > 0 {
			q, ok := s.quants[n.Inputs[0]]
			return q, ok
		}
	case "Concat":
		for i, name := range n.Inputs {
			q, ok := s.quants[name]
			if first := s.quants[n.Inputs[0]]; !ok || i > 0 && q != first {
				return quant{}, false
			}
		}
		if len(n.Inputs) > 0 {
			return s.quants[n.Inputs[0]], true
		}
	}
	if at < 0 || at >= len(n.Inputs) {
		return quant{}, false
	}
	q := quant{scale: s.single(n.Inputs[at])}
	if at+1 < len(n.Inputs) && n.Inputs[at+1] != "" {
		if q.zero = s.single(n.Inputs[at+1]); q.zero == nil {
			return quant{}, false
		}
	}
	return q, q.scale != nil && q.scale.Type == Float32
}

// single returns a constant of one element, or nil.
func (s *sweep) single(name string) *Tensor {
	t := s.tensors[name]
	if t == nil || t.External != nil {
		return nil
	}
	if n, ok := elements(t.Dims); !ok || n != 1 || len(t.Raw) != t.Type.Size() {
		return nil
	}
	return t
}

// of says whether it quantizes to 8-bit integers of this type. Without a zero that is uint8.
func (q quant) of(e Elem) bool {
	if q.zero == nil {
		return e == Uint8
	}
	return q.zero.Type == e && (e == Uint8 || e == Int8)
}

// access says how the numbers of a tensor are had as float32 with channels first, and their shape then. ok
// is false where they cannot be: integers that stand for nothing, or a first dimension that is no batch.
func (s *sweep) access(tensor string) (a Access, shape Shape, ok bool) {
	shape, ok = s.a.Shapes[tensor]
	a = Access{Tensor: tensor, Elem: shape.Elem, Last: s.last[tensor] && len(shape.Dims) == 3}
	if !ok {
		return a, shape, false
	}
	if q, quantized := s.quants[tensor]; quantized && q.of(shape.Elem) {
		a.Scale, a.Zero = q.scale, q.zero
	} else if !isFloat(shape.Elem) {
		return a, shape, false
	}
	shape.Elem = Float32
	if a.Last {
		d := shape.Dims
		shape.Dims = []int64{d[2], d[0], d[1]}
	}
	return a, shape, true
}

// Quantization returns the numbers that the tensor is quantized with: a value is (integer - zero) * scale.
func (a Access) Quantization() (scale, zero float32) {
	scale = math.Float32frombits(binary.LittleEndian.Uint32(a.Scale.Raw))
	if a.Zero == nil {
		return scale, 0
	}
	if a.Zero.Type == Int8 {
		return scale, float32(int8(a.Zero.Raw[0]))
	}
	return scale, float32(a.Zero.Raw[0])
}
