package onnx_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/vista-mr/vista-mr/layers/onnx"
	"github.com/vista-mr/vista-mr/layers/reference"
)

// TestShapesAgainstReference compares inferred shapes with those that the reference computes, over random
// windows: kernels, strides, dilations, pads, auto_pad, ceil_mode, groups.
func TestShapesAgainstReference(t *testing.T) {
	const seed = 11
	r := rand.New(rand.NewPCG(seed, 0))
	tried := 0
	for i := range 600 {
		h, w := int64(1+r.IntN(12)), int64(1+r.IntN(12))
		side := func(n int) int64 { return int64(1 + r.IntN(n)) }
		attrs := []*onnx.Attr{onnx.IntsAttr("strides", side(3), side(3)), onnx.IntsAttr("dilations", side(2), side(2))}
		kernel := []int64{side(4), side(4)}
		switch r.IntN(4) {
		case 0:
			attrs = append(attrs, onnx.TextAttr("auto_pad", []string{"SAME_UPPER", "SAME_LOWER", "VALID"}[r.IntN(3)]))
		default:
			pads := make([]int64, 4)
			for k := range pads {
				pads[k] = int64(r.IntN(int(kernel[k%2])))
			}
			attrs = append(attrs, onnx.IntsAttr("pads", pads...))
		}
		g := &onnx.Graph{Inputs: []*onnx.ValueInfo{onnx.NewValue("x", onnx.Float32)}, Outputs: []*onnx.ValueInfo{onnx.NewValue("y", onnx.Float32)}}
		var n *onnx.Node
		if r.IntN(2) == 0 {
			dims := []int64{4, 2, kernel[0], kernel[1]}
			g.Initializers = []*onnx.Tensor{onnx.Floats("k", dims, make([]float32, 8*kernel[0]*kernel[1])...)}
			n = onnx.NewNode("Conv", "n", []string{"x", "k"}, []string{"y"}, append(attrs, onnx.IntAttr("group", 2))...)
		} else {
			n = onnx.NewNode([]string{"MaxPool", "AveragePool"}[r.IntN(2)], "n", []string{"x"}, []string{"y"},
				append(attrs, onnx.IntsAttr("kernel_shape", kernel...), onnx.IntAttr("ceil_mode", int64(r.IntN(2))))...)
		}
		g.Nodes = []*onnx.Node{n}
		m := &onnx.Model{IRVersion: 8, Opsets: []onnx.Opset{{Version: 19}}, Graph: g}
		in := []int64{2, 4, h, w}
		infos, err := m.Infer(map[string][]int64{"x": in})
		if err != nil {
			continue // the window is larger than the input
		}
		tried++
		out, err := reference.Run(m, map[string]reference.Tensor{"x": {Dims: in, Floats: make([]float32, 8*h*w)}})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := infos["y"].Dims, out["y"].Dims; !slices.Equal(got, want) {
			t.Errorf("seed %d, case %d: %s of %v with kernel %v %s: inferred %v, computed %v", seed, i, n.OpType, in, kernel, describe(n), got, want)
		}
	}
	if tried < 300 {
		t.Errorf("only %d cases were valid", tried)
	}
}

func describe(n *onnx.Node) string {
	s := ""
	for _, a := range n.Attrs {
		s += fmt.Sprintf(" %s=%v%d%s", a.Name, a.Ints, a.I, a.S)
	}
	return s
}
