package onnx

import (
	"fmt"
	"slices"
)

// pieceRows is what the number of outputs of a piece is a multiple of: what kernels for products work on at once.
const pieceRows = 16

// SplitProducts replaces every fully connected layer (Gemm with constant weights, one row for each output) that has more
// than most bytes of weights by several that compute a part of its outputs each, and a Concat under the old name.
// Every output is the same sum as before, and weights are not copied. A runtime that brings weights into its own layout
// node by node then needs room for a piece, and not for a second copy of the largest layer. The graph must belong to
// the caller; nodes and initializers that change are replaced.
func (g *Graph) SplitProducts(most int) {
	constants, users := g.constants()
	ed := g.Edit()
	var nodes []*Node
	gone := map[string]bool{}
	for _, n := range g.Nodes {
		rows := g.piece(n, constants, users, most)
		if rows == 0 {
			nodes = append(nodes, n)
			continue
		}
		w, width := constants[n.Inputs[1]], constants[n.Inputs[1]].Dims[1]*4
		gone[w.Name] = true
		var parts []string
		for at := int64(0); at < w.Dims[0]; at += rows {
			end := min(at+rows, w.Dims[0])
			inputs := []string{n.Inputs[0], ed.Const(&Tensor{Name: fmt.Sprintf("%s/rows%d", w.Name, at), Dims: []int64{end - at, w.Dims[1]}, Type: Float32, Raw: w.Raw[at*width : end*width]})}
			if len(n.Inputs) == 3 {
				bias := constants[n.Inputs[2]]
				gone[bias.Name] = true
				inputs = append(inputs, ed.Const(&Tensor{Name: fmt.Sprintf("%s/rows%d", bias.Name, at), Dims: []int64{end - at}, Type: Float32, Raw: bias.Raw[4*at : 4*end]}))
			}
			out := ed.Name(fmt.Sprintf("%s/rows%d", n.Outputs[0], at))
			parts = append(parts, out)
			nodes = append(nodes, NewNode("Gemm", out, inputs, []string{out}, n.Attrs...))
		}
		nodes = append(nodes, NewNode("Concat", n.Name, parts, []string{n.Outputs[0]}, IntAttr("axis", 1)))
	}
	g.Nodes = nodes
	g.Initializers = slices.DeleteFunc(g.Initializers, func(t *Tensor) bool { return gone[t.Name] })
}

// LargestWeight is the number of bytes of the largest constant that the graph has after SplitProducts(most). It looks at
// dimensions only.
func (g *Graph) LargestWeight(most int) int64 {
	constants, users := g.constants()
	for _, n := range g.Nodes {
		if rows := g.piece(n, constants, users, most); rows > 0 {
			w := constants[n.Inputs[1]]
			constants[w.Name] = &Tensor{Type: Float32, Dims: []int64{rows, w.Dims[1]}}
		}
	}
	largest := int64(0)
	for _, t := range constants {
		largest = max(largest, t.size())
	}
	return largest
}

// size is the number of bytes of the tensor's elements, also of one that has none yet.
func (t *Tensor) size() int64 {
	if len(t.Raw) > 0 {
		return int64(len(t.Raw))
	}
	n, _ := elements(t.Dims) // a tensor that was read has possible dimensions
	return n * int64(t.Type.Size())
}

// constants finds the initializers by name, and how often each tensor is read.
func (g *Graph) constants() (byName map[string]*Tensor, users map[string]int) {
	byName, users = map[string]*Tensor{}, map[string]int{}
	for _, n := range g.Nodes {
		n.reads(func(name string) { users[name]++ })
	}
	for _, v := range g.Outputs {
		users[v.Name]++
	}
	for _, t := range g.Initializers {
		byName[t.Name] = t
	}
	return byName, users
}

// piece is how many outputs of a node one piece computes, or 0 if the node stays as it is.
func (g *Graph) piece(n *Node, constants map[string]*Tensor, users map[string]int, most int) int64 {
	if n.OpType != "Gemm" || !standard(n.Domain) || len(n.Outputs) != 1 || len(n.Inputs) < 2 || len(n.Inputs) > 3 {
		return 0
	}
	transposed := false
	for _, a := range n.Attrs {
		switch a.Name {
		case "transB":
			transposed = a.I != 0
		case "alpha", "beta":
		case "transA":
			if a.I != 0 {
				return 0
			}
		default: // of old operator sets, or not known
			return 0
		}
	}
	own := func(name string, dims ...int64) bool {
		t := constants[name]
		return t != nil && users[name] == 1 && t.Type == Float32 && t.External == nil && t.from == nil && slices.Equal(t.Dims, dims)
	}
	w := constants[n.Inputs[1]]
	if !transposed || w == nil || len(w.Dims) != 2 || !own(w.Name, w.Dims...) || w.size() <= int64(most) {
		return 0
	}
	if len(n.Inputs) == 3 && !own(n.Inputs[2], w.Dims[0]) {
		return 0
	}
	pieces := (w.size() + int64(most) - 1) / int64(most)
	rows := (w.Dims[0] + pieces - 1) / pieces
	rows = (rows + pieceRows - 1) / pieceRows * pieceRows
	if rows >= w.Dims[0] {
		return 0
	}
	return rows
}
