// Package export writes trained models as files that others can use: JSON that tells what was
// learned, and ONNX that any runtime can run.
//
// Invariant: both hold the same numbers, and the same model gives the same bytes.
package export

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"reflect"

	"github.com/invopop/jsonschema"

	"github.com/vista-mr/vista-mr/layers/onnx"
	"github.com/vista-mr/vista-mr/lr"
)

// SchemaVersion is that of models/LAYER.json.
const SchemaVersion = 1

// Model is a trained model with what its inputs and outputs mean.
type Model struct {
	SchemaVersion int       `json:"schemaVersion"`
	Layer         string    `json:"layer"`      // "" for structured features alone
	Classes       []string  `json:"classes"`    // class i of the model is the i-th
	Structured    []string  `json:"structured"` // names of the first inputs, in order
	Dim           int       `json:"dim"`        // length of the layer's vector, the inputs behind them
	Pool          string    `json:"pool"`
	Network       string    `json:"network"`
	Model         *lr.Model `json:"model"`
}

// Schema is the JSON Schema (draft-07) of models/LAYER.json.
func Schema() ([]byte, error) {
	r := &jsonschema.Reflector{DoNotReference: true, ExpandedStruct: true}
	r.Namer = func(t reflect.Type) string { return t.String() } // lr.Model has the same name without its package
	s := r.Reflect(&Model{})
	s.Version, s.ID, s.Title = "http://json-schema.org/draft-07/schema#", "", "A trained model: models/LAYER.json"
	b, err := json.MarshalIndent(s, "", "  ")
	return append(b, '\n'), err
}

// JSON is the content of models/LAYER.json.
func JSON(m *Model) ([]byte, error) {
	m.SchemaVersion = SchemaVersion
	b, err := json.MarshalIndent(m, "", " ")
	return append(b, '\n'), err
}

// The ONNX model: input "features" float32 [N, structured ++ vector], outputs "probability"
// float32 [N, classes] and "label" string [N].
const (
	opset = 17
	ir    = 8
)

// ONNX is the content of models/LAYER.onnx: the columns' shift, a matrix product, and the link
// function, in operators that every runtime has.
func ONNX(m *Model) *onnx.Model {
	cols, classes := len(m.Structured)+m.Dim, len(m.Classes)
	g := &onnx.Graph{Name: "vista-mr model",
		Inputs:  []*onnx.ValueInfo{onnx.NewValue("features", onnx.Float32, onnx.Dim{Size: -1, Symbol: "N"}, onnx.Dim{Size: int64(cols)})},
		Outputs: []*onnx.ValueInfo{onnx.NewValue("probability", onnx.Float32, onnx.Dim{Size: -1, Symbol: "N"}, onnx.Dim{Size: int64(classes)}), onnx.NewValue("label", onnx.String, onnx.Dim{Size: -1, Symbol: "N"})},
	}
	weights, bias := scores(m.Model, cols)
	g.Initializers = []*onnx.Tensor{
		{Name: "weights", Type: onnx.Float32, Dims: []int64{int64(cols), int64(classes)}, Raw: floats(weights)},
		{Name: "offsets", Type: onnx.Float32, Dims: []int64{int64(classes)}, Raw: floats(bias)},
		{Name: "classes", Type: onnx.String, Dims: []int64{int64(classes)}, Strings: text(m.Classes)},
	}
	input := "features"
	if len(m.Model.Shift) > 0 { // columns far from zero would lose their digits in the product
		g.Initializers = append(g.Initializers, &onnx.Tensor{Name: "shift", Type: onnx.Float32, Dims: []int64{int64(cols)}, Raw: floats(m.Model.Shift)})
		g.Nodes = append(g.Nodes, onnx.NewNode("Sub", "shifted", []string{input, "shift"}, []string{"shifted"}))
		input = "shifted"
	}
	g.Nodes = append(g.Nodes,
		onnx.NewNode("Gemm", "scores", []string{input, "weights", "offsets"}, []string{"scores"}),
		onnx.NewNode("Softmax", "probability", []string{"scores"}, []string{"probability"}, onnx.IntAttr("axis", 1)),
		onnx.NewNode("ArgMax", "class", []string{"scores"}, []string{"class"}, onnx.IntAttr("axis", 1), onnx.IntAttr("keepdims", 0)),
		onnx.NewNode("Gather", "label", []string{"classes", "class"}, []string{"label"}, onnx.IntAttr("axis", 0)))
	return &onnx.Model{IRVersion: ir, Producer: "vista-mr", Opsets: []onnx.Opset{{Version: opset}}, Graph: g,
		Metadata: []onnx.Entry{{Key: "layer", Value: m.Layer}, {Key: "network", Value: m.Network}, {Key: "pool", Value: m.Pool}}}
}

// scores are weights [cols, classes] and offsets, for shifted columns, of a score for each class. With two
// classes the model has one score z, that of class 1; the softmax of (0, z) is its logistic
// function.
func scores(m *lr.Model, cols int) (weights, bias []float32) {
	weights, bias = make([]float32, cols*m.Classes), make([]float32, m.Classes)
	first := m.Classes - len(m.Weights) // 1 with two classes, else 0
	offsets := m.Offsets()
	for k, w := range m.Weights {
		for j, v := range w {
			weights[j*m.Classes+first+k] = v
		}
		bias[first+k] = float32(offsets[k])
	}
	return weights, bias
}

func floats(v []float32) []byte {
	b := make([]byte, 0, 4*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return b
}

func text(v []string) [][]byte {
	out := make([][]byte, len(v))
	for i, s := range v {
		out[i] = []byte(s)
	}
	return out
}
