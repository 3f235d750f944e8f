package onnx

import "slices"

// rerootBatch lets nodes that read the size of the batch, or integers made of it, take it from the tensor
// computed just before them instead of from far below. Exporters compute it once, at the image; read at the
// top of the network, it would tie the image to the top, so that nothing between is a cut. Integers that
// follow the batch are told by their values for two and three images: each is a*N + b.
func (m *Model) rerootBatch(input string, dims []int64) {
	g := m.Graph
	two, three, _ := m.inferTwice(input, dims)
	shapes := batched(two, three)
	ed := g.Edit()
	roots := map[string]string{} // of integers made of one tensor's shape: that tensor
	near := ""                   // the batched tensor computed last
	var nodes []*Node
	changed := false
	for _, n := range g.Nodes {
		out := n
		for k, name := range n.Inputs {
			a, b := follows(two[name], three[name])
			if a == nil || near == "" || roots[name] == "" || slices.Contains(n.Inputs, roots[name]) || roots[name] == near || counted(n, two, three) {
				continue
			}
			made, last := fromBatch(ed, near, name, two[name], a, b)
			nodes = append(nodes, made...)
			if out == n {
				c := *n
				c.Inputs = slices.Clone(n.Inputs)
				out = &c
			}
			out.Inputs[k] = last
			changed = true
		}
		nodes = append(nodes, out)
		root := ""
		if n.OpType == "Shape" && len(n.Inputs) == 1 {
			root = n.Inputs[0]
		} else {
			for _, i := range n.Inputs {
				if r := roots[i]; r != "" {
					root = r
				}
			}
		}
		for _, o := range n.Outputs {
			if x := two[o]; o != "" && x != nil && x.Vals != nil {
				roots[o] = root
			}
			if s, ok := shapes[o]; ok && isFloat(s.Elem) {
				near = o
			}
		}
	}
	if changed {
		g.Nodes = nodes
		m.prune()
	}
}

// follows returns the factors and offsets of integers that grow with the batch, or nil.
func follows(two, three *Info) (a, b []int64) {
	if two == nil || three == nil || two.Vals == nil || len(two.Vals) != len(three.Vals) || !slices.Equal(two.Dims, three.Dims) || slices.Equal(two.Vals, three.Vals) {
		return nil, nil
	}
	if two.Elem != Int64 && two.Elem != Int32 || len(two.Vals) > maxRank {
		return nil, nil
	}
	for i, v := range two.Vals {
		a = append(a, three.Vals[i]-v)
		b = append(b, v-2*a[i])
	}
	return a, b
}

// counted says whether a node goes on computing with integers that follow the batch one by one.
func counted(n *Node, two, three map[string]*Info) bool {
	if len(n.Outputs) == 0 {
		return false
	}
	x, y := two[n.Outputs[0]], three[n.Outputs[0]]
	return x != nil && y != nil && x.Vals != nil && len(x.Vals) == len(y.Vals)
}

// fromBatch returns nodes that make a*N + b of the first dimension N of a tensor, with the dimensions and
// the type of the integers that they stand for.
func fromBatch(ed *Editor, tensor, name string, like *Info, a, b []int64) (nodes []*Node, last string) {
	add := func(op, suffix string, inputs []string, attrs ...*Attr) {
		out := ed.Name(name + "/near/" + suffix)
		nodes = append(nodes, NewNode(op, out, inputs, []string{out}, attrs...))
		last = out
	}
	constant := func(suffix string, v ...int64) string { return ed.Const(Ints(name+"/near/"+suffix, v...)) }
	add("Shape", "shape", []string{tensor})
	add("Slice", "batch", []string{last, constant("0", 0), constant("1", 1)})
	add("Mul", "times", []string{last, constant("factor", a...)})
	add("Add", "plus", []string{last, constant("offset", b...)})
	if len(like.Dims) != 1 {
		to := &Tensor{Name: name + "/near/dims", Dims: []int64{int64(len(like.Dims))}, Type: Int64, Raw: pack(like.Dims, 8)}
		add("Reshape", "shaped", []string{last, ed.Const(to)})
	}
	if like.Elem != Int64 {
		add("Cast", "cast", []string{last}, IntAttr("to", int64(like.Elem)))
	}
	return nodes, last
}
