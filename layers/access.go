package layers

import "github.com/vista-mr/vista-mr/layers/onnx"

// float returns the name of a layer's values as float32 with channels first, adding what that takes behind
// the layer's tensor, once.
func (a *assembly) float(l Layer) string {
	if name := a.floats[l.Tensor]; name != "" {
		return name
	}
	x := l.access
	cur := x.Tensor
	step := func(suffix string) string { return a.ed.Name(l.Tensor + "/" + suffix) }
	if x.Elem != onnx.Float32 {
		out := step("float32")
		a.node("Cast", cur, out, onnx.IntAttr("to", int64(onnx.Float32)))
		cur = out
	}
	if x.Scale != nil {
		// By its definition and not as DequantizeLinear: the runtime would take that for one with the network's own,
		// and then compute in floats what the whole network computes in integers.
		binary := func(op, operand, suffix string) {
			out := step(suffix)
			a.m.Graph.Nodes = append(a.m.Graph.Nodes, onnx.NewNode(op, out, []string{cur, operand}, []string{out}))
			cur = out
		}
		scale, zero := x.Quantization()
		binary("Sub", a.ed.Const(onnx.Floats(l.Tensor+"/zero", nil, zero)), "shifted")
		binary("Mul", a.ed.Const(onnx.Floats(l.Tensor+"/scale", nil, scale)), "dequantized")
	}
	if x.Last {
		out := step("channels-first")
		a.node("Transpose", cur, out, onnx.IntsAttr("perm", 0, 3, 1, 2))
		cur = out
	}
	a.floats[l.Tensor] = cur
	return cur
}

// quantization adds the scale and the zero of a layer's integers to the graph and returns their names.
func (a *assembly) quantization(l Layer) []string {
	scalar := func(t *onnx.Tensor, name string) string {
		return a.ed.Const(&onnx.Tensor{Name: l.Tensor + "/" + name, Dims: []int64{}, Type: t.Type, Raw: t.Raw})
	}
	zero := l.access.Zero
	if zero == nil {
		zero = &onnx.Tensor{Type: onnx.Uint8, Raw: []byte{0}}
	}
	return []string{scalar(l.access.Scale, "scale"), scalar(zero, "zero")}
}

// from makes a layer's volume the input of the program: before its tensor comes what turns float32 with
// channels first into what the tensor holds. It returns the input's name.
func (a *assembly) from(l *Layer) string {
	x := l.access
	input := onnx.NewValue(x.Tensor, onnx.Float32, onnx.BatchOf(l.Shape...)...)
	a.m.Graph.Inputs = []*onnx.ValueInfo{input}
	a.floats[l.Tensor] = input.Name
	if x.Scale == nil && x.Elem == onnx.Float32 && !x.Last {
		return input.Name
	}
	input.Name = a.ed.Name(l.Tensor + "/volume")
	a.floats[l.Tensor] = input.Name
	var nodes []*onnx.Node
	cur := input.Name
	add := func(op, suffix string, last bool, inputs []string, attrs ...*onnx.Attr) {
		out := x.Tensor
		if !last {
			out = a.ed.Name(l.Tensor + "/" + suffix)
		}
		nodes = append(nodes, onnx.NewNode(op, a.ed.Name(l.Tensor+"/from/"+suffix), append([]string{cur}, inputs...), []string{out}, attrs...))
		cur = out
	}
	converts := x.Scale != nil || x.Elem != onnx.Float32
	if x.Last {
		add("Transpose", "channels-last", !converts, nil, onnx.IntsAttr("perm", 0, 2, 3, 1))
	}
	switch {
	case x.Scale != nil:
		add("QuantizeLinear", "quantized", true, a.quantization(*l))
	case converts:
		add("Cast", "cast", true, nil, onnx.IntAttr("to", int64(x.Elem)))
	}
	a.m.Graph.Nodes = append(nodes, a.m.Graph.Nodes...)
	return input.Name
}
