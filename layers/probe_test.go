package layers

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/layers/onnx"
	"github.com/vista-mr/vista-mr/layers/reference"
)

// referenceRun runs programs on the slow oracle.
func referenceRun(t testing.TB) Run {
	return func(_ context.Context, p *Program, pixels []byte, n int) ([][]float32, error) {
		out, err := reference.Run(p.Model, map[string]reference.Tensor{p.Input.Name: {Dims: append([]int64{int64(n)}, p.Input.Shape...), Bytes: pixels}})
		if err != nil {
			return nil, err
		}
		var list [][]float32
		for _, o := range p.Outputs {
			list = append(list, out[o.Name].Floats)
		}
		return list, nil
	}
}

// user is a network of a user's: nodes in a chain of two convolutions, with what lies between them.
func user(t testing.TB, between ...*onnx.Node) *CNN {
	t.Helper()
	w := make([]float32, 4*4*3*3)
	for i := range w {
		w[i] = float32(i%7)/7 - 0.4
	}
	g := &onnx.Graph{Name: "user",
		Inputs:       []*onnx.ValueInfo{onnx.NewValue("x", onnx.Float32, onnx.BatchOf(3, 12, 12)...)},
		Outputs:      []*onnx.ValueInfo{{Name: "out", Type: onnx.Float32}},
		Initializers: []*onnx.Tensor{onnx.Floats("w", []int64{4, 3, 3, 3}, w[:108]...), onnx.Floats("v", []int64{4, 4, 3, 3}, w...), onnx.Ints("first", 0)},
	}
	g.Nodes = append(g.Nodes, onnx.NewNode("Conv", "first", []string{"x", "w"}, []string{"a"}, onnx.IntsAttr("pads", 1, 1, 1, 1)), onnx.NewNode("Relu", "act", []string{"a"}, []string{"b"}))
	g.Nodes = append(g.Nodes, between...)
	g.Nodes = append(g.Nodes, onnx.NewNode("Conv", "second", []string{"c", "v"}, []string{"d"}), onnx.NewNode("Relu", "last", []string{"d"}, []string{"e"}), onnx.NewNode("Flatten", "flat", []string{"e"}, []string{"out"}))
	m := &onnx.Model{IRVersion: 8, Opsets: []onnx.Opset{{Version: 13}}, Graph: g}
	c, err := Open(t.Context(), Source{Model: "user.onnx", Read: func(context.Context, string) ([]byte, error) { return m.Marshal(), nil }})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestProbe(t *testing.T) {
	mean := onnx.NewNode("ReduceMean", "batch mean", []string{"b"}, []string{"m"}, onnx.IntsAttr("axes", 0))
	for name, c := range map[string]struct {
		nodes []*onnx.Node
		node  string // "" if it is fine
	}{
		"plain":         {[]*onnx.Node{onnx.NewNode("Tanh", "t", []string{"b"}, []string{"c"})}, ""},
		"mean of batch": {[]*onnx.Node{mean, onnx.NewNode("Sub", "centre", []string{"b", "m"}, []string{"c"})}, "batch mean (ReduceMean)"},
		"softmax of batch": {[]*onnx.Node{onnx.NewNode("Softmax", "soft", []string{"b"}, []string{"s"}, onnx.IntAttr("axis", 0)),
			onnx.NewNode("Mul", "gate", []string{"b", "s"}, []string{"c"})}, "soft (Softmax)"},
		"mean of image": {[]*onnx.Node{onnx.NewNode("ReduceMean", "m", []string{"b"}, []string{"m"}, onnx.IntsAttr("axes", 1)), onnx.NewNode("Sub", "s", []string{"b", "m"}, []string{"c"})}, ""},
		"first image": {[]*onnx.Node{onnx.NewNode("Gather", "pick", []string{"b", "first"}, []string{"f"}, onnx.IntAttr("axis", 0)),
			onnx.NewNode("Add", "sum", []string{"b", "f"}, []string{"c"})}, "pick (Gather)"},
	} {
		t.Run(name, func(t *testing.T) {
			n := user(t, c.nodes...)
			p, err := n.Program(ProgramSpec{Pooled: n.Roster, Pool: PoolMax, Normalize: &Normalize{Scale: 1.0 / 255}})
			if err != nil {
				t.Fatal(err)
			}
			for _, brief := range []bool{false, true} {
				images := 0
				err = n.Probe(t.Context(), p, brief, func(ctx context.Context, p *Program, pixels []byte, k int) ([][]float32, error) {
					images += k
					return referenceRun(t)(ctx, p, pixels, k)
				})
				if c.node == "" {
					if err != nil || images != map[bool]int{false: ProbeImages, true: BriefImages}[brief] {
						t.Errorf("brief %t: %d images, %v", brief, images, err)
					}
					continue
				}
				var e *Error
				if !errors.As(err, &e) || e.ErrorID() != "E-BATCH" || e.Hint() == "" || !strings.Contains(e.Error(), "node "+c.node) {
					t.Errorf("brief %t: got %v, want node %s", brief, err, c.node)
				}
			}
		})
	}
}

// TestProbeChance runs a program that gives other numbers each time.
func TestProbeChance(t *testing.T) {
	n := user(t, onnx.NewNode("Tanh", "t", []string{"b"}, []string{"c"}))
	p, err := n.Program(ProgramSpec{Pooled: n.Roster, Pool: PoolMax})
	if err != nil {
		t.Fatal(err)
	}
	calls := float32(0)
	run := referenceRun(t)
	err = n.Probe(t.Context(), p, false, func(ctx context.Context, p *Program, pixels []byte, k int) ([][]float32, error) {
		out, err := run(ctx, p, pixels, k)
		for _, o := range out {
			for i := range o {
				o[i] += calls * o[i]
			}
		}
		calls++
		return out, err
	})
	var e *Error
	if !errors.As(err, &e) || e.ErrorID() != "E-BATCH" || !strings.Contains(e.Error(), "run again") {
		t.Error(err)
	}
}
