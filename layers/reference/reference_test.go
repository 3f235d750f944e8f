package reference

import (
	"math"
	"slices"
	"testing"

	"github.com/vista-mr/vista-mr/layers/onnx"
)

// TestOperators checks operators against values worked out by hand.
func TestOperators(t *testing.T) {
	seq := func(dims ...int64) Tensor {
		x := Tensor{Dims: dims}
		for i := range x.len() {
			x.Floats = append(x.Floats, float32(i))
		}
		return x
	}
	vec := func(v ...float32) Tensor { return Tensor{Dims: []int64{int64(len(v))}, Floats: v} }
	for _, c := range []struct {
		name  string
		op    string
		attrs []*onnx.Attr
		in    []Tensor
		dims  []int64
		want  []float32
	}{
		{"conv", "Conv", nil, []Tensor{seq(1, 1, 3, 3), {Dims: []int64{1, 1, 2, 2}, Floats: []float32{1, 0, 0, 10}}, vec(100)}, []int64{1, 1, 2, 2}, []float32{140, 151, 173, 184}},
		{"conv pads", "Conv", []*onnx.Attr{onnx.IntsAttr("pads", 0, 1, 0, 0), onnx.IntsAttr("strides", 1, 2)}, []Tensor{seq(1, 1, 1, 3), {Dims: []int64{1, 1, 1, 2}, Floats: []float32{1, 10}}},
			[]int64{1, 1, 1, 2}, []float32{0, 21}},
		{"conv groups", "Conv", []*onnx.Attr{onnx.IntAttr("group", 2)}, []Tensor{seq(1, 2, 1, 2), {Dims: []int64{2, 1, 1, 1}, Floats: []float32{2, 3}}}, []int64{1, 2, 1, 2}, []float32{0, 2, 6, 9}},
		{"conv dilated", "Conv", []*onnx.Attr{onnx.IntsAttr("dilations", 1, 2)}, []Tensor{seq(1, 1, 1, 4), {Dims: []int64{1, 1, 1, 2}, Floats: []float32{1, 10}}}, []int64{1, 1, 1, 2}, []float32{20, 31}},
		{"max pool", "MaxPool", []*onnx.Attr{onnx.IntsAttr("kernel_shape", 2, 2), onnx.IntsAttr("strides", 1, 1)}, []Tensor{seq(1, 1, 3, 3)}, []int64{1, 1, 2, 2}, []float32{4, 5, 7, 8}},
		{"average pool", "AveragePool", []*onnx.Attr{onnx.IntsAttr("kernel_shape", 1, 2), onnx.IntsAttr("pads", 0, 1, 0, 0)}, []Tensor{seq(1, 1, 1, 3)}, []int64{1, 1, 1, 3}, []float32{0, 0.5, 1.5}},
		{"global", "GlobalAveragePool", nil, []Tensor{seq(1, 2, 2, 2)}, []int64{1, 2, 1, 1}, []float32{1.5, 5.5}},
		{"gemm", "Gemm", []*onnx.Attr{onnx.IntAttr("transB", 1), onnx.FloatAttr("alpha", 2)}, []Tensor{seq(1, 2), seq(3, 2), vec(1, 2, 3)}, []int64{1, 3}, []float32{3, 8, 13}},
		{"matmul", "MatMul", nil, []Tensor{seq(2, 2), seq(2, 2)}, []int64{2, 2}, []float32{2, 3, 6, 11}},
		{"batch norm", "BatchNormalization", []*onnx.Attr{onnx.FloatAttr("epsilon", 0)}, []Tensor{seq(1, 2, 1, 2), vec(1, 2), vec(0, 1), vec(0, 2), vec(1, 4)}, []int64{1, 2, 1, 2}, []float32{0, 1, 1, 2}},
		{"lrn", "LRN", []*onnx.Attr{onnx.IntAttr("size", 3), onnx.FloatAttr("alpha", 3), onnx.FloatAttr("beta", 1)}, []Tensor{{Dims: []int64{1, 3, 1, 1}, Floats: []float32{1, 2, 3}}},
			[]int64{1, 3, 1, 1}, []float32{1. / 6, 2. / 15, 3. / 14}},
		{"transpose", "Transpose", []*onnx.Attr{onnx.IntsAttr("perm", 1, 0)}, []Tensor{seq(2, 3)}, []int64{3, 2}, []float32{0, 3, 1, 4, 2, 5}},
		{"gather", "Gather", []*onnx.Attr{onnx.IntAttr("axis", 1)}, []Tensor{seq(2, 3), {Dims: []int64{2}, Ints: []int64{2, 0}}}, []int64{2, 2}, []float32{2, 0, 5, 3}},
		{"concat", "Concat", []*onnx.Attr{onnx.IntAttr("axis", 1)}, []Tensor{seq(2, 1), seq(2, 2)}, []int64{2, 3}, []float32{0, 0, 1, 1, 2, 3}},
		{"broadcast", "Add", nil, []Tensor{seq(2, 2), {Dims: []int64{2, 1}, Floats: []float32{10, 20}}}, []int64{2, 2}, []float32{10, 11, 22, 23}},
		{"softmax", "Softmax", nil, []Tensor{{Dims: []int64{1, 2}, Floats: []float32{0, float32(math.Log(3))}}}, []int64{1, 2}, []float32{0.25, 0.75}},
		{"flatten", "Flatten", nil, []Tensor{seq(2, 1, 2)}, []int64{2, 2}, []float32{0, 1, 2, 3}},
		{"cast", "Cast", []*onnx.Attr{onnx.IntAttr("to", 1)}, []Tensor{{Dims: []int64{2}, Bytes: []byte{0, 255}}}, []int64{2}, []float32{0, 255}},
	} {
		n := onnx.NewNode(c.op, "n", nil, []string{"y"}, c.attrs...)
		g := &onnx.Graph{Nodes: []*onnx.Node{n}, Outputs: []*onnx.ValueInfo{onnx.NewValue("y", onnx.Float32)}}
		in := map[string]Tensor{}
		for i, x := range c.in {
			name := string(rune('a' + i))
			n.Inputs = append(n.Inputs, name)
			g.Inputs = append(g.Inputs, onnx.NewValue(name, onnx.Float32))
			in[name] = x
		}
		out, err := Run(&onnx.Model{Graph: g}, in)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		y := out["y"]
		near := slices.EqualFunc(y.Floats, c.want, func(a, b float32) bool { return math.Abs(float64(a-b)) < 1e-6 })
		if !slices.Equal(y.Dims, c.dims) || !near {
			t.Errorf("%s: %v %v, want %v %v", c.name, y.Dims, y.Floats, c.dims, c.want)
		}
	}
	bad := &onnx.Model{Graph: &onnx.Graph{Nodes: []*onnx.Node{onnx.NewNode("Wish", "", nil, []string{"y"})}}}
	if _, err := Run(bad, nil); err == nil {
		t.Error("an unknown operator was passed over")
	}
}
