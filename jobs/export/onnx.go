package export

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"

	"github.com/vista-mr/vista-mr/jobs/results"
	"github.com/vista-mr/vista-mr/layers/onnx"
	"github.com/vista-mr/vista-mr/lr"
)

// Names of inputs and outputs.
const (
	FeaturesInput   = "features"   // of a model alone: float32 [N, structured ++ vector]
	ImageInput      = "image"      // of a pipeline: uint8 [N, H, W, 3]
	StructuredInput = "structured" // of a pipeline: float32 [N, structured]
	Label           = "label"      // string [N]: the class given
	Probability     = "probability"
	Score           = "score"
)

// Outputs are the names of the two outputs of a kind of model, both of its ONNX file alone and of the
// pipeline: the first has a float32 column for each class, and the class with the largest is the second.
// A support vector classifier has no probabilities but scores, -z and z.
func Outputs(kind string) [2]string {
	if kind == lr.LinearSVC {
		return [2]string{Score, Label}
	}
	return [2]string{Probability, Label}
}

// Versions of a model alone. A pipeline has those of its network.
const (
	opset = 17
	ir    = 8
)

// ONNX is the content of models/LAYER.onnx: the columns' shift, a matrix product, an addition, and the link
// function, in operators that every runtime has.
func ONNX(m *Model) *onnx.Model {
	g := &onnx.Graph{Name: "vista-mr model",
		Inputs: []*onnx.ValueInfo{onnx.NewValue(FeaturesInput, onnx.Float32, onnx.Dim{Size: -1, Symbol: "N"}, onnx.Dim{Size: int64(len(m.Structured) + m.Dim)})}}
	m.head(g, FeaturesInput, "", onnx.Dim{Size: -1, Symbol: "N"})
	return &onnx.Model{IRVersion: ir, Producer: "vista-mr", Opsets: []onnx.Opset{{Version: opset}}, Graph: g, Metadata: m.metadata()}
}

func (m *Model) metadata() []onnx.Entry {
	return []onnx.Entry{{Key: "layer", Value: m.Layer}, {Key: "network", Value: m.Network}, {Key: "pool", Value: m.Pool}}
}

// head appends the model to a graph: from the tensor in, [N, structured ++ vector], to the outputs. Its
// tensors have names that begin with prefix, but for the outputs. The operators mean the same in every
// operator set from 7 on.
func (m *Model) head(g *onnx.Graph, in, prefix string, batch onnx.Dim) {
	cols, classes := int64(len(m.Structured)+m.Dim), int64(len(m.Classes))
	ed := g.Edit()
	weights, bias := scores(m.Model, int(cols))
	w := ed.Const(&onnx.Tensor{Name: prefix + "weights", Type: onnx.Float32, Dims: []int64{cols, classes}, Raw: floats(weights)})
	b := ed.Const(&onnx.Tensor{Name: prefix + "offsets", Type: onnx.Float32, Dims: []int64{classes}, Raw: floats(bias)})
	names := ed.Const(&onnx.Tensor{Name: prefix + "classes", Type: onnx.String, Dims: []int64{classes}, Strings: text(m.Classes)})
	if len(m.Model.Shift) > 0 { // columns far from zero would lose their digits in the product
		shift := ed.Const(&onnx.Tensor{Name: prefix + "shift", Type: onnx.Float32, Dims: []int64{cols}, Raw: floats(m.Model.Shift)})
		shifted := ed.Name(prefix + "shifted")
		g.Nodes = append(g.Nodes, onnx.NewNode("Sub", prefix+"shifted", []string{in, shift}, []string{shifted}))
		in = shifted
	}
	out := Outputs(m.Model.Kind)
	z, class := out[0], ed.Name(prefix+"class")
	if out[0] == Probability {
		z = ed.Name(prefix + "scores")
	}
	g.Nodes = append(g.Nodes, onnx.NewNode("Gemm", prefix+"scores", []string{in, w, b}, []string{z}))
	if out[0] == Probability {
		g.Nodes = append(g.Nodes, onnx.NewNode("Softmax", prefix+Probability, []string{z}, []string{Probability}, onnx.IntAttr("axis", 1)))
	}
	g.Nodes = append(g.Nodes,
		onnx.NewNode("ArgMax", prefix+"class", []string{z}, []string{class}, onnx.IntAttr("axis", 1), onnx.IntAttr("keepdims", 0)),
		onnx.NewNode("Gather", prefix+Label, []string{names, class}, []string{Label}, onnx.IntAttr("axis", 0)))
	g.Outputs = []*onnx.ValueInfo{onnx.NewValue(out[0], onnx.Float32, batch, onnx.Dim{Size: classes}), onnx.NewValue(Label, onnx.String, batch)}
}

// Pipeline is the content of models/best-pipeline.onnx: a program of the network from the image to the
// layer's vector, which is one of its outputs, and the model behind both sides of the record. The
// program's weights are shared, in files or not; it is not changed. The recipe says how a picture becomes
// the program's input, and goes into the file's metadata.
func Pipeline(program *onnx.Model, vector string, m *Model, recipe *results.Preprocess) (*onnx.Model, error) {
	var want *onnx.ValueInfo
	for _, o := range program.Graph.Outputs {
		if o.Name == vector {
			want = o
		}
	}
	if want == nil || len(program.Graph.Inputs) != 1 || program.Graph.Inputs[0].Name != ImageInput {
		return nil, fmt.Errorf("the program does not lead from %q to %q", ImageInput, vector)
	}
	image := program.Graph.Inputs[0]
	p, err := program.Extract([]*onnx.ValueInfo{image}, []*onnx.ValueInfo{want})
	if err != nil {
		return nil, err
	}
	g, batch := p.Graph, image.Shape[0]
	taken := append([]string{StructuredInput, Label}, Probability, Score)
	for _, name := range taken {
		if renamed := g.Free(name); name == vector {
			vector = renamed
		}
	}
	g.Name = "vista-mr pipeline"
	ed := g.Edit()
	in := ed.Name("model/" + FeaturesInput)
	g.Inputs = []*onnx.ValueInfo{image, onnx.NewValue(StructuredInput, onnx.Float32, batch, onnx.Dim{Size: int64(len(m.Structured))})}
	g.Nodes = append(g.Nodes, onnx.NewNode("Concat", in, []string{StructuredInput, vector}, []string{in}, onnx.IntAttr("axis", 1)))
	m.head(g, in, "model/", batch)
	how, err := json.Marshal(recipe)
	if err != nil {
		return nil, err
	}
	columns, err := json.Marshal(m.Structured)
	if err != nil {
		return nil, err
	}
	classes, err := json.Marshal(m.Classes)
	if err != nil {
		return nil, err
	}
	p.Metadata = append(m.metadata(), onnx.Entry{Key: "classes", Value: string(classes)}, onnx.Entry{Key: "preprocess", Value: string(how)}, onnx.Entry{Key: StructuredInput, Value: string(columns)})
	return p, nil
}

// scores are weights [cols, classes] and offsets, for shifted columns, of a score for each class. With two classes the
// model has one score z, that of class 1. The softmax of (0, z) is its logistic function; a support
// vector classifier has -z and z.
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
	if m.Kind == lr.LinearSVC {
		for j := range cols {
			weights[j*m.Classes] = -weights[j*m.Classes+1]
		}
		bias[0] = -bias[1]
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
