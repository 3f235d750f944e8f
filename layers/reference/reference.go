// Package reference runs small ONNX models in plain Go: slowly, with sums in float64, by the letter of the
// operator's definition. It is the oracle against which cutting, pooling and preprocessing are tested, and
// plans of whole jobs later; so it shares no code with the analysis and surgery in package onnx, only its
// types.
//
// Invariant: a model either gives the values that the operators' definitions prescribe or an error; an
// operator or attribute that is not implemented is never passed over.
//
// Callers: tests. Real inference is package ort's part.
package reference

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/vista-mr/vista-mr/layers/onnx"
)

// Tensor is a value: exactly one of Floats, Ints and Bytes is set, row-major.
type Tensor struct {
	Dims   []int64
	Floats []float32
	Ints   []int64
	Bytes  []byte
}

func (t Tensor) len() int {
	n := 1
	for _, d := range t.Dims {
		n *= int(d)
	}
	return n
}

// Run computes the outputs of the model. Inputs are given by name; nothing is checked but what the
// operators need.
func Run(model *onnx.Model, inputs map[string]Tensor) (map[string]Tensor, error) {
	env := map[string]Tensor{}
	for _, t := range model.Graph.Initializers {
		v, err := constant(t)
		if err != nil {
			return nil, err
		}
		env[t.Name] = v
	}
	for _, v := range model.Graph.Inputs {
		if x, ok := inputs[v.Name]; ok {
			env[v.Name] = x
		}
	}
	for _, n := range model.Graph.Nodes {
		in := make([]Tensor, len(n.Inputs))
		for i, name := range n.Inputs {
			if name == "" {
				continue
			}
			v, ok := env[name]
			if !ok {
				return nil, fmt.Errorf("reference: %s reads %q, which has no value", n.OpType, name)
			}
			in[i] = v
		}
		op := operators[n.OpType]
		if op == nil {
			return nil, fmt.Errorf("reference: operator %s is not implemented", n.OpType)
		}
		out, err := op(n, in)
		if err != nil {
			return nil, fmt.Errorf("reference: %s %s: %w", n.OpType, n.Name, err)
		}
		env[n.Outputs[0]] = out
	}
	out := map[string]Tensor{}
	for _, o := range model.Graph.Outputs {
		v, ok := env[o.Name]
		if !ok {
			return nil, fmt.Errorf("reference: output %q has no value", o.Name)
		}
		out[o.Name] = v
	}
	return out, nil
}

func constant(t *onnx.Tensor) (Tensor, error) {
	v := Tensor{Dims: t.Dims}
	switch t.Type {
	case onnx.Float32:
		for b := t.Raw; len(b) >= 4; b = b[4:] {
			v.Floats = append(v.Floats, math.Float32frombits(binary.LittleEndian.Uint32(b)))
		}
	case onnx.Int64:
		for b := t.Raw; len(b) >= 8; b = b[8:] {
			v.Ints = append(v.Ints, int64(binary.LittleEndian.Uint64(b)))
		}
	case onnx.Uint8:
		v.Bytes = t.Raw
	default:
		return v, fmt.Errorf("reference: constant %q has type %s", t.Name, t.Type)
	}
	return v, nil
}

type operator func(n *onnx.Node, in []Tensor) (Tensor, error)

var operators = map[string]operator{
	"Identity": first, "Dropout": first, "Constant": constantNode, "Cast": cast, "Shape": shape, "Reshape": reshape, "Flatten": flatten,
	"Unsqueeze": unsqueeze, "Transpose": transpose, "Gather": gather, "Concat": concat,
	"Add":  binaryOp(func(a, b float64) float64 { return a + b }),
	"Sub":  binaryOp(func(a, b float64) float64 { return a - b }),
	"Mul":  binaryOp(func(a, b float64) float64 { return a * b }),
	"Div":  binaryOp(func(a, b float64) float64 { return a / b }),
	"Relu": unary(func(x float64) float64 { return max(x, 0) }), "Sigmoid": unary(func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }),
	"Tanh": unary(math.Tanh), "Clip": clip, "Softmax": softmax,
	"Conv": conv, "MaxPool": pool(true), "AveragePool": pool(false), "GlobalAveragePool": globalPool(false), "GlobalMaxPool": globalPool(true),
	"BatchNormalization": batchNorm, "LRN": lrn, "Gemm": gemm, "MatMul": matmul, "ReduceMean": reduceMean,
}

func first(_ *onnx.Node, in []Tensor) (Tensor, error) { return in[0], nil }

func constantNode(n *onnx.Node, _ []Tensor) (Tensor, error) {
	a := n.Attr("value")
	if a == nil || a.T == nil {
		return Tensor{}, fmt.Errorf("no value")
	}
	return constant(a.T)
}

func cast(n *onnx.Node, in []Tensor) (Tensor, error) {
	x := in[0]
	out := Tensor{Dims: x.Dims}
	switch onnx.Elem(n.Int("to", 0)) {
	case onnx.Float32:
		for i := range x.len() {
			switch {
			case x.Bytes != nil:
				out.Floats = append(out.Floats, float32(x.Bytes[i]))
			case x.Ints != nil:
				out.Floats = append(out.Floats, float32(x.Ints[i]))
			default:
				out.Floats = append(out.Floats, x.Floats[i])
			}
		}
		return out, nil
	case onnx.Int64:
		if x.Ints != nil {
			return x, nil
		}
	}
	return out, fmt.Errorf("to type %d", n.Int("to", 0))
}

func shape(n *onnx.Node, in []Tensor) (Tensor, error) {
	if n.Attr("start") != nil || n.Attr("end") != nil {
		return Tensor{}, fmt.Errorf("of a part")
	}
	return Tensor{Dims: []int64{int64(len(in[0].Dims))}, Ints: in[0].Dims}, nil
}

func reshape(_ *onnx.Node, in []Tensor) (Tensor, error) {
	out := in[0]
	out.Dims = append([]int64(nil), in[1].Ints...)
	known, free := 1, -1
	for i, d := range out.Dims {
		switch d {
		case 0:
			out.Dims[i] = in[0].Dims[i]
		case -1:
			free = i
			continue
		}
		known *= int(out.Dims[i])
	}
	if free >= 0 {
		out.Dims[free] = int64(in[0].len() / known)
	}
	if out.len() != in[0].len() {
		return out, fmt.Errorf("%v to %v", in[0].Dims, in[1].Ints)
	}
	return out, nil
}

func flatten(n *onnx.Node, in []Tensor) (Tensor, error) {
	out := in[0]
	rows := 1
	for _, d := range in[0].Dims[:n.Int("axis", 1)] {
		rows *= int(d)
	}
	out.Dims = []int64{int64(rows), int64(in[0].len() / rows)}
	return out, nil
}

func unsqueeze(n *onnx.Node, in []Tensor) (Tensor, error) {
	axes := n.Ints("axes")
	if axes == nil && len(in) > 1 {
		axes = in[1].Ints
	}
	if len(axes) != 1 || axes[0] < 0 {
		return Tensor{}, fmt.Errorf("axes %v", axes)
	}
	out := in[0]
	a := axes[0]
	out.Dims = append(append(append([]int64{}, in[0].Dims[:a]...), 1), in[0].Dims[a:]...)
	return out, nil
}

// pick makes a tensor whose element i is element src(i) of x.
func pick(x Tensor, dims []int64, src func(i int) int) Tensor {
	out := Tensor{Dims: dims}
	for i := range out.len() {
		switch j := src(i); {
		case x.Floats != nil:
			out.Floats = append(out.Floats, x.Floats[j])
		case x.Ints != nil:
			out.Ints = append(out.Ints, x.Ints[j])
		default:
			out.Bytes = append(out.Bytes, x.Bytes[j])
		}
	}
	return out
}

// unravel writes the index i as coordinates.
func unravel(i int, dims []int64) []int {
	at := make([]int, len(dims))
	for k := len(dims) - 1; k >= 0; k-- {
		at[k] = i % int(dims[k])
		i /= int(dims[k])
	}
	return at
}

func ravel(at []int, dims []int64) int {
	i := 0
	for k, a := range at {
		i = i*int(dims[k]) + a
	}
	return i
}

func transpose(n *onnx.Node, in []Tensor) (Tensor, error) {
	perm := n.Ints("perm")
	x := in[0]
	if len(perm) != len(x.Dims) {
		return x, fmt.Errorf("permutation %v of %v", perm, x.Dims)
	}
	dims := make([]int64, len(perm))
	for i, p := range perm {
		dims[i] = x.Dims[p]
	}
	return pick(x, dims, func(i int) int {
		at := unravel(i, dims)
		from := make([]int, len(at))
		for k, p := range perm {
			from[p] = at[k]
		}
		return ravel(from, x.Dims)
	}), nil
}

func gather(n *onnx.Node, in []Tensor) (Tensor, error) {
	x, idx := in[0], in[1]
	axis := int(n.Int("axis", 0))
	dims := append(append(append([]int64{}, x.Dims[:axis]...), idx.Dims...), x.Dims[axis+1:]...)
	return pick(x, dims, func(i int) int {
		at := unravel(i, dims)
		k := ravel(at[axis:axis+len(idx.Dims)], idx.Dims)
		from := append(append(append([]int{}, at[:axis]...), int(idx.Ints[k])), at[axis+len(idx.Dims):]...)
		return ravel(from, x.Dims)
	}), nil
}

func concat(n *onnx.Node, in []Tensor) (Tensor, error) {
	axis := int(n.Int("axis", 0))
	if axis < 0 {
		axis += len(in[0].Dims)
	}
	out := Tensor{Dims: append([]int64(nil), in[0].Dims...)}
	outer := 1
	for _, d := range in[0].Dims[:axis] {
		outer *= int(d)
	}
	for _, x := range in[1:] {
		out.Dims[axis] += x.Dims[axis]
	}
	for o := range outer {
		for _, x := range in {
			w := x.len() / outer
			if x.Ints != nil {
				out.Ints = append(out.Ints, x.Ints[o*w:(o+1)*w]...)
			} else {
				out.Floats = append(out.Floats, x.Floats[o*w:(o+1)*w]...)
			}
		}
	}
	return out, nil
}

func unary(f func(float64) float64) operator {
	return func(_ *onnx.Node, in []Tensor) (Tensor, error) {
		out := Tensor{Dims: in[0].Dims, Floats: make([]float32, len(in[0].Floats))}
		for i, v := range in[0].Floats {
			out.Floats[i] = float32(f(float64(v)))
		}
		return out, nil
	}
}

func binaryOp(f func(a, b float64) float64) operator {
	return func(_ *onnx.Node, in []Tensor) (Tensor, error) {
		a, b := in[0], in[1]
		rank := max(len(a.Dims), len(b.Dims))
		dims := make([]int64, rank)
		side := func(x Tensor, k int) int64 {
			if k -= rank - len(x.Dims); k >= 0 {
				return x.Dims[k]
			}
			return 1
		}
		for k := range dims {
			dims[k] = max(side(a, k), side(b, k))
			for _, x := range in {
				if s := side(x, k); s != 1 && s != dims[k] {
					return Tensor{}, fmt.Errorf("%v and %v", a.Dims, b.Dims)
				}
			}
		}
		value := func(x Tensor, at []int) float64 {
			from := make([]int, len(x.Dims))
			for k := range from {
				if x.Dims[k] > 1 {
					from[k] = at[k+rank-len(x.Dims)]
				}
			}
			return float64(x.Floats[ravel(from, x.Dims)])
		}
		out := Tensor{Dims: dims}
		for i := range out.len() {
			at := unravel(i, dims)
			out.Floats = append(out.Floats, float32(f(value(a, at), value(b, at))))
		}
		return out, nil
	}
}
