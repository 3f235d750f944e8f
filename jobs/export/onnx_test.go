package export

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"

	"github.com/vista-mr/vista-mr/jobs/results"
	"github.com/vista-mr/vista-mr/layers/onnx"
	"github.com/vista-mr/vista-mr/lr"
)

func model(kind string, dim int, structured ...string) *Model {
	m := &Model{Layer: "conv/1", Classes: []string{"no", "yes"}, Structured: structured, Dim: dim, Pool: "none", Network: "net",
		Model: &lr.Model{Kind: kind, Classes: 2, Weights: [][]float32{make([]float32, dim+len(structured))}, Intercepts: []float64{0.5}, Report: lr.Report{History: []float64{1}}}}
	for j := range m.Model.Weights[0] {
		m.Model.Weights[0][j] = float32(j + 1)
	}
	return m
}

// program is a network whose tensors have the names that a pipeline keeps for itself.
func program() *onnx.Model {
	g := &onnx.Graph{
		Inputs: []*onnx.ValueInfo{onnx.NewValue("image", onnx.Uint8, onnx.BatchOf(1, 2, 3)...)},
		Outputs: []*onnx.ValueInfo{onnx.NewValue("score", onnx.Float32, onnx.BatchOf(6)...),
			onnx.NewValue("other", onnx.Float32, onnx.BatchOf(6)...)},
		Initializers: []*onnx.Tensor{onnx.Floats("structured", []int64{1}, 2), onnx.Floats("unused", []int64{1}, 2)},
		Nodes: []*onnx.Node{
			onnx.NewNode("Cast", "a", []string{"image"}, []string{"label"}, onnx.IntAttr("to", int64(onnx.Float32))),
			onnx.NewNode("Mul", "b", []string{"label", "structured"}, []string{"probability"}),
			onnx.NewNode("Flatten", "c", []string{"probability"}, []string{"score"}, onnx.IntAttr("axis", 1)),
			onnx.NewNode("Mul", "d", []string{"score", "unused"}, []string{"other"}),
		},
	}
	return &onnx.Model{IRVersion: 4, Opsets: []onnx.Opset{{Version: 9}}, Graph: g}
}

func names(values []*onnx.ValueInfo) []string {
	var out []string
	for _, v := range values {
		out = append(out, v.Name)
	}
	return out
}

func TestPipelineKeepsItsNames(t *testing.T) {
	recipe := &results.Preprocess{EXIF: "ignore", Height: 1, Width: 2, Channels: "RGB", Scale: 1}
	for _, c := range []struct {
		kind    string
		columns []string
		outputs []string
		shift   bool
	}{
		{lr.Logistic, []string{"a", "b"}, []string{"probability", "label"}, true},
		{lr.LinearSVC, nil, []string{"score", "label"}, false},
	} {
		prog := program()
		before := prog.Marshal()
		m := model(c.kind, 6, c.columns...)
		if c.shift {
			m.Model.Shift = []float32{2000, 0, 0, 0, 0, 0, 0, 0}
		}
		p, err := Pipeline(prog, "score", m, recipe)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(prog.Marshal(), before) {
			t.Error("the program was changed")
		}
		if got := names(p.Graph.Inputs); !slices.Equal(got, []string{"image", "structured"}) {
			t.Errorf("inputs %q", got)
		}
		if got := names(p.Graph.Outputs); !slices.Equal(got, c.outputs) {
			t.Errorf("%s: outputs %q, want %q", c.kind, got, c.outputs)
		}
		if got := p.Graph.Inputs[1].Shape[1].Size; got != int64(len(c.columns)) {
			t.Errorf("%d structured columns, want %d", got, len(c.columns))
		}
		if got := slices.ContainsFunc(p.Graph.Nodes, func(n *onnx.Node) bool { return n.OpType == "Sub" }); got != c.shift {
			t.Errorf("%s: shifted: %v, want %v", c.kind, got, c.shift)
		}
		if err := p.Graph.Sort(); err != nil { // every name is defined once and before it is read
			t.Error(err)
		}
		for _, x := range p.Graph.Initializers {
			if x.Name == "unused" {
				t.Error("what only another layer needs is in it")
			}
		}
		if !slices.ContainsFunc(p.Metadata, func(e onnx.Entry) bool { return e.Key == "classes" }) {
			t.Error("the order of the classes is not said")
		}
		for _, e := range p.Metadata {
			var back results.Preprocess
			if e.Key == "preprocess" && (json.Unmarshal([]byte(e.Value), &back) != nil || back.Width != 2) {
				t.Errorf("the recipe is %s", e.Value)
			}
			var classes []string
			if e.Key == "classes" && (json.Unmarshal([]byte(e.Value), &classes) != nil || !slices.Equal(classes, m.Classes)) {
				t.Errorf("the classes are %s", e.Value)
			}
		}
		again, err := Pipeline(program(), "score", m, recipe)
		if err != nil || !bytes.Equal(again.Marshal(), p.Marshal()) {
			t.Errorf("made again it differs: %v", err)
		}
	}
	if _, err := Pipeline(program(), "nowhere", model(lr.Logistic, 6), recipe); err == nil {
		t.Error("a vector that the program does not yield was accepted")
	}
}

func TestScoresOfASupportVectorClassifierAreOpposite(t *testing.T) {
	m := model(lr.LinearSVC, 2)
	w, b := scores(m.Model, 2)
	if !slices.Equal(w, []float32{-1, 1, -2, 2}) || !slices.Equal(b, []float32{-0.5, 0.5}) {
		t.Errorf("weights %v, intercepts %v", w, b)
	}
	m.Model.Kind = lr.Logistic
	w, b = scores(m.Model, 2)
	if !slices.Equal(w, []float32{0, 1, 0, 2}) || !slices.Equal(b, []float32{0, 0.5}) {
		t.Errorf("weights %v, intercepts %v", w, b)
	}
}
