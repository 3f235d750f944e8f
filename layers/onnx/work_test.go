package onnx

import "testing"

// TestWork: products count by their multiplications, also those that an equation names; pools by their windows.
func TestWork(t *testing.T) {
	const n = 8 * 64 * 64 // elements of x
	for name, c := range map[string]struct {
		node *Node
		want int64
	}{
		"conv":   {NewNode("Conv", "", []string{"x", "w"}, []string{"y"}, IntsAttr("pads", 1, 1, 1, 1)), 32 * 8 * 9 * 64 * 64},
		"relu":   {NewNode("Relu", "", []string{"x"}, []string{"y"}), element * n},
		"pool":   {NewNode("MaxPool", "", []string{"x"}, []string{"y"}, IntsAttr("kernel_shape", 9, 9), IntsAttr("pads", 4, 4, 4, 4)), 81 * n},
		"powers": {NewNode("LpPool", "", []string{"x"}, []string{"y"}, IntsAttr("kernel_shape", 9, 9), IntsAttr("pads", 4, 4, 4, 4)), element * 81 * n},
		"global": {NewNode("GlobalAveragePool", "", []string{"x"}, []string{"y"}), element * n},
		"norm":   {NewNode("LRN", "", []string{"x"}, []string{"y"}, IntAttr("size", 55)), 55 * n},
		// One sum over h for each n, c, w and v.
		"einsum": {NewNode("Einsum", "", []string{"x", "x"}, []string{"y"}, &Attr{Name: "equation", Type: AttrString, S: []byte("nchw, nchv -> ncwv")}), n * 64},
		"vague":  {NewNode("Einsum", "", []string{"x", "x"}, []string{"y"}, &Attr{Name: "equation", Type: AttrString, S: []byte("...hw,...hv->...wv")}), 2 * n * n},
		"absurd": {NewNode("MaxPool", "", []string{"x"}, []string{"y"}, IntsAttr("kernel_shape", 1<<40, 1<<40)), element * n},
	} {
		g := &Graph{Inputs: []*ValueInfo{NewValue("x", Float32, BatchOf(8, 64, 64)...)}, Outputs: []*ValueInfo{{Name: "y"}}, Nodes: []*Node{c.node},
			Initializers: []*Tensor{{Name: "w", Type: Float32, Dims: []int64{32, 8, 3, 3}, Raw: make([]byte, 4*32*8*9)}}}
		w := (&Model{IRVersion: 8, Opsets: []Opset{{Version: 13}}, Graph: g}).Work()
		if w.Total != c.want || w.Heaviest != c.want {
			t.Errorf("%s: got %+v, want %d", name, w, c.want)
		}
	}
}
