package layers

import (
	"context"
	"slices"
	"testing"

	"github.com/vista-mr/vista-mr/layers/onnx"
)

// TestPieces runs fully connected layers in pieces: every output is the same sum, no weight is copied or lost, and the
// network that programs are cut from stays as it was.
func TestPieces(t *testing.T) {
	arch := tiny(13, 22)
	arch.Steps[len(arch.Steps)-3].Out = 50 // in pieces of 16, the last of 2
	c, err := Build(context.Background(), arch, Source{Weights: "random", Seed: 7})
	if err != nil {
		t.Fatal(err)
	}
	before := c.Model.Size()
	spec := ProgramSpec{Pooled: []string{"fc1", "fc2"}, Pool: PoolMax}
	plain, err := c.Program(spec)
	if err != nil {
		t.Fatal(err)
	}
	spec.Piece = 1024
	split, err := c.Program(spec)
	if err != nil {
		t.Fatal(err)
	}
	if c.Model.Size() != before {
		t.Error("the network itself has changed")
	}
	if plain.Digest == split.Digest {
		t.Error("two programs have one digest")
	}
	count := func(m *onnx.Model, op string) (n int) {
		for _, node := range m.Graph.Nodes {
			if node.OpType == op {
				n++
			}
		}
		return n
	}
	if a, b := count(plain.Model, "Gemm"), count(split.Model, "Gemm"); a != 2 || b != 5 {
		t.Errorf("%d and %d products, want 2 (two layers) and 5 (four pieces and a small layer)", a, b)
	}
	if a, b := plain.Model.WeightBytes(), split.Model.WeightBytes(); a != b {
		t.Errorf("%d bytes of weights, %d in pieces", a, b)
	}
	img := picture(3, 13, 22, 3)
	want, got := run(t, plain, img), run(t, split, img)
	for i, o := range plain.Outputs {
		if other := split.Outputs[i]; other.Name != o.Name || !slices.Equal(got[o.Name].Floats, want[o.Name].Floats) || len(got[o.Name].Floats) != 3*o.Len {
			t.Errorf("%s: other values in pieces", o.Layer)
		}
	}
}
