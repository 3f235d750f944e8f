package onnx

import (
	"strings"
	"testing"
)

// TestBounded: constants that nodes make, and what nodes do with constants alone, are bounded; weights are not.
func TestBounded(t *testing.T) {
	fill := NewNode("ConstantOfShape", "fill", []string{"shape"}, []string{"k"})
	conv := NewNode("Conv", "conv", []string{"x", "w"}, []string{"y"})
	weights := &Tensor{Name: "weights", Type: Int8, Dims: []int64{3000, 1000}, Raw: make([]byte, 3_000_000)}
	for name, c := range map[string]struct {
		want  string
		nodes []*Node
		shape []int64
	}{
		// Made anew from what is stored, as a quantized network does it.
		"stored":             {"", []*Node{NewNode("Cast", "cast", []string{"weights"}, []string{"f"}, IntAttr("to", 1)), NewNode("Transpose", "turn", []string{"f"}, []string{"t"})}, nil},
		"plain":              {"", []*Node{fill}, []int64{1024, 4096}},
		"large":              {"makes 4210688 elements of constants", []*Node{fill}, []int64{1028, 4096}},
		"many":               {"again (Neg): makes", []*Node{fill, NewNode("Neg", "again", []string{"k"}, []string{"n"})}, []int64{1024, 4000}},
		"product":            {"", []*Node{fill, NewNode("MatMul", "mm", []string{"k", "k"}, []string{"kk"})}, []int64{1000, 1000}},
		"large product":      {"mm (MatMul): multiplies", []*Node{fill, NewNode("MatMul", "mm", []string{"k", "k"}, []string{"kk"})}, []int64{1400, 1400}},
		"convolution":        {"cc (Conv): multiplies", []*Node{fill, NewNode("Conv", "cc", []string{"k", "k"}, []string{"kk"}, IntsAttr("pads", 250, 250, 250, 250))}, []int64{1, 1, 500, 500}},
		"pool":               {"p (AveragePool): multiplies", []*Node{fill, NewNode("AveragePool", "p", []string{"k"}, []string{"kk"}, IntsAttr("kernel_shape", 500, 500))}, []int64{1, 1, 1000, 1000}},
		"unknown operator":   {"e (Einsum): multiplies", []*Node{fill, NewNode("Einsum", "e", []string{"k", "k"}, []string{"kk"})}, []int64{300, 300}},
		"unknown, small":     {"", []*Node{fill, NewNode("Einsum", "e", []string{"k", "k"}, []string{"kk"})}, []int64{200, 200}},
		"product of unknown": {"mm (MatMul): multiplies", []*Node{fill, NewNode("Einsum", "e", []string{"k"}, []string{"kk"}), NewNode("MatMul", "mm", []string{"kk", "kk"}, []string{"m"})}, []int64{2, 2}},
	} {
		m := &Model{IRVersion: 8, Opsets: []Opset{{Version: 13}}, Graph: &Graph{Inputs: []*ValueInfo{NewValue("x", Float32, BatchOf(3, 8, 8)...)},
			Outputs: []*ValueInfo{{Name: "y", Type: Float32}}, Nodes: append(c.nodes, conv),
			Initializers: []*Tensor{Floats("w", []int64{1, 3, 1, 1}, 1, 2, 3), Ints("shape", c.shape...)}}}
		if name == "stored" {
			m.Graph.Initializers = append(m.Graph.Initializers, weights)
		}
		last := c.nodes[len(c.nodes)-1].Outputs[0] // nothing else would need it
		m.Graph.Outputs = append(m.Graph.Outputs, &ValueInfo{Name: last})
		p, err := m.Prepare(Options{})
		if err == nil {
			_, err = p.Analyze()
		}
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}
