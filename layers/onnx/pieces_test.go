package onnx

import "testing"

// TestSplitProductsLeavesAlone has layers that cannot run in pieces of a file's own bytes, or must not.
func TestSplitProductsLeavesAlone(t *testing.T) {
	gemm := func(inputs []string, attrs ...*Attr) *Node {
		return NewNode("Gemm", "fc", inputs, []string{"y"}, attrs...)
	}
	transB := IntAttr("transB", 1)
	plain := []string{"x", "w", "b"}
	for name, c := range map[string]struct {
		node *Node
		more []*Node
		edit func(g *Graph)
		want int // nodes
	}{
		"one that can":         {gemm(plain, transB), nil, nil, 5},
		"without a bias":       {gemm(plain[:2], transB), nil, nil, 5},
		"one column an output": {gemm(plain), nil, nil, 1},
		"input transposed":     {gemm(plain, transB, IntAttr("transA", 1)), nil, nil, 1},
		"broadcast of opset 6": {gemm(plain, transB, IntAttr("broadcast", 1)), nil, nil, 1},
		"weights used twice":   {gemm(plain, transB), []*Node{NewNode("Identity", "i", []string{"w"}, []string{"z"})}, nil, 2},
		"weights that go out":  {gemm(plain, transB), nil, func(g *Graph) { g.Outputs = append(g.Outputs, NewValue("w", Float32)) }, 1},
		"weights of another type": {gemm(plain, transB), nil, func(g *Graph) {
			g.Initializers[0].Type, g.Initializers[0].Raw = Float16, g.Initializers[0].Raw[:64*8*2]
		}, 1},
		"weights elsewhere": {gemm(plain, transB), nil, func(g *Graph) {
			g.Initializers[0].Raw, g.Initializers[0].External = nil, &External{Location: "w"}
		}, 1},
		"one bias for all": {gemm(plain, transB), nil, func(g *Graph) { g.Initializers[1] = Floats("b", []int64{1}, 3) }, 1},
	} {
		g := &Graph{Nodes: append([]*Node{c.node}, c.more...), Inputs: []*ValueInfo{NewValue("x", Float32, BatchOf(8)...)}, Outputs: []*ValueInfo{NewValue("y", Float32)},
			Initializers: []*Tensor{Floats("w", []int64{64, 8}, make([]float32, 64*8)...), Floats("b", []int64{64}, make([]float32, 64)...)}}
		if c.edit != nil {
			c.edit(g)
		}
		g.SplitProducts(16 * 8 * 4)
		if len(g.Nodes) != c.want {
			t.Errorf("%s: %d nodes, want %d", name, len(g.Nodes), c.want)
		}
	}
}
