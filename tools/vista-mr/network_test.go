package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/vista-mr/vista-mr/layers/onnx"
)

// network writes a small CNN as an ONNX file: network KIND FILE. All kinds have a stem, two residual blocks
// and a classifier, for images of 32 x 32; each is odd in the way that its name says.
func network(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: network KIND FILE")
	}
	m := small()
	g := m.Graph
	path := ts.MkAbs(args[1])
	// before puts nodes between the stem, which then ends in s, and the first block, which reads "stem".
	before := func(nodes ...*onnx.Node) {
		i := slices.IndexFunc(g.Nodes, func(n *onnx.Node) bool { return n.Outputs[0] == "stem" })
		relu := *g.Nodes[i]
		relu.Outputs = []string{"s"}
		g.Nodes = slices.Concat(g.Nodes[:i], []*onnx.Node{&relu}, nodes, g.Nodes[i+1:])
	}
	image := func(elem onnx.Elem, nodes ...*onnx.Node) { // changes what the network reads as "pixels"
		g.Nodes = append(nodes, g.Nodes...)
		g.Inputs[0].Name, g.Inputs[0].Type = "pixels", elem
	}
	switch args[0] {
	case "plain":
	case "open":
		g.Inputs[0].Shape = []onnx.Dim{{Size: -1, Symbol: "N"}, {Size: 3}, {Size: -1, Symbol: "H"}, {Size: -1, Symbol: "W"}}
	case "fixed":
		g.Inputs[0].Shape[0] = onnx.Dim{Size: 1}
	case "bytes":
		image(onnx.Uint8, onnx.NewNode("Cast", "cast", []string{"pixels"}, []string{"x"}, onnx.IntAttr("to", int64(onnx.Float32))))
	case "half":
		image(onnx.Float16, onnx.NewNode("Cast", "cast", []string{"pixels"}, []string{"x"}, onnx.IntAttr("to", int64(onnx.Float32))))
	case "nhwc":
		image(onnx.Float32, onnx.NewNode("Transpose", "first", []string{"pixels"}, []string{"x"}, onnx.IntsAttr("perm", 0, 3, 1, 2)))
		g.Inputs[0].Shape = onnx.BatchOf(32, 32, 3)
	case "einsum": // an operator that only the runtime knows
		before(onnx.NewNode("Einsum", "mystery", []string{"s"}, []string{"stem"}, onnx.TextAttr("equation", "nchw->nchw")))
	case "batch-mean":
		before(onnx.NewNode("ReduceMean", "mean", []string{"s"}, []string{"m"}, onnx.IntsAttr("axes", 0)), onnx.NewNode("Sub", "centre", []string{"s", "m"}, []string{"stem"}))
	case "batch-one":
		g.Initializers = append(g.Initializers, onnx.Ints("to", 8, 16, 16), onnx.Ints("back", 1, 8, 16, 16))
		before(onnx.NewNode("Reshape", "squeeze", []string{"s", "to"}, []string{"m"}), onnx.NewNode("Reshape", "unsqueeze", []string{"m", "back"}, []string{"stem"}))
	case "random":
		before(onnx.NewNode("RandomNormalLike", "noise", []string{"s"}, []string{"m"}), onnx.NewNode("Add", "sum", []string{"s", "m"}, []string{"stem"}))
	case "training":
		ones := []string{"one", "zero", "zero", "one"}
		before(onnx.NewNode("BatchNormalization", "bn", append([]string{"s"}, ones...), []string{"stem", "mean", "var"}, onnx.IntAttr("training_mode", 1)))
		g.Initializers = append(g.Initializers, onnx.Floats("one", []int64{8}, 1, 1, 1, 1, 1, 1, 1, 1), onnx.Floats("zero", []int64{8}, 0, 0, 0, 0, 0, 0, 0, 0))
	case "custom":
		before(&onnx.Node{OpType: "Shuffle", Domain: "my.company", Name: "own", Inputs: []string{"s"}, Outputs: []string{"stem"}})
		m.Opsets = append(m.Opsets, onnx.Opset{Domain: "my.company", Version: 1})
	case "external", "outside", "escape", "link", "hard-link", "short-data":
		external(ts, m, path, args[0])
		return
	default:
		ts.Fatalf("no kind of network %q", args[0])
	}
	ts.Check(os.WriteFile(path, m.Marshal(), 0o666))
}

// external writes the model with its weights in a file beside it, or where they must not be.
func external(ts *testscript.TestScript, m *onnx.Model, path, kind string) {
	var graph, data bytes.Buffer
	name := strings.TrimSuffix(filepath.Base(path), ".onnx") + ".data"
	ts.Check(m.WriteExternal(&graph, &data, name, 64))
	beside := filepath.Join(filepath.Dir(path), name)
	elsewhere := filepath.Join(filepath.Dir(path), "elsewhere-"+name)
	replace := func(to string) { // of the same length, so that the file stays whole
		b := bytes.ReplaceAll(graph.Bytes(), []byte(name), []byte(to))
		graph.Reset()
		graph.Write(b)
	}
	switch kind {
	case "external":
		ts.Check(os.WriteFile(beside, data.Bytes(), 0o666))
	case "short-data":
		ts.Check(os.WriteFile(beside, data.Bytes()[:data.Len()/2], 0o666))
	case "outside":
		replace("../" + name[3:])
	case "escape":
		replace("/" + name[1:])
	case "link":
		ts.Check(os.WriteFile(elsewhere, data.Bytes(), 0o666))
		ts.Check(os.Symlink(elsewhere, beside))
	case "hard-link":
		ts.Check(os.WriteFile(elsewhere, data.Bytes(), 0o666))
		ts.Check(os.Link(elsewhere, beside))
	}
	ts.Check(os.WriteFile(path, graph.Bytes(), 0o666))
}

// small is the network, with seeded weights.
func small() *onnx.Model {
	r := rand.New(rand.NewPCG(3, 9))
	g := &onnx.Graph{Name: "small",
		Inputs:  []*onnx.ValueInfo{onnx.NewValue("x", onnx.Float32, onnx.BatchOf(3, 32, 32)...)},
		Outputs: []*onnx.ValueInfo{onnx.NewValue("logits", onnx.Float32, onnx.BatchOf(10)...)}}
	weights := func(name string, fan int64, dims ...int64) string {
		n := int64(1)
		for _, d := range dims {
			n *= d
		}
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(r.NormFloat64()) / float32(fan)
		}
		g.Initializers = append(g.Initializers, onnx.Floats(name, dims, v...))
		return name
	}
	add := func(n *onnx.Node) { g.Nodes = append(g.Nodes, n) }
	conv := func(in, out string, from, to, stride int64) {
		add(onnx.NewNode("Conv", "/"+out+"/Conv", []string{in, weights(out+".weight", 3, to, from, 3, 3)}, []string{out},
			onnx.IntsAttr("pads", 1, 1, 1, 1), onnx.IntsAttr("strides", stride, stride)))
	}
	conv("x", "conv1", 3, 8, 2)
	add(onnx.NewNode("Relu", "/relu/Relu", []string{"conv1"}, []string{"stem"}))
	in := "stem"
	for i := range 2 {
		p := fmt.Sprintf("layer1.%d", i)
		conv(in, p+".conv1", 8, 8, 1)
		add(onnx.NewNode("Relu", "/layer1/"+p+"/relu/Relu", []string{p + ".conv1"}, []string{p + ".mid"}))
		conv(p+".mid", p+".conv2", 8, 8, 1)
		add(onnx.NewNode("Add", "/layer1/"+p+"/Add", []string{p + ".conv2", in}, []string{p + ".sum"}))
		add(onnx.NewNode("Relu", "/layer1/"+p+"/relu_1/Relu", []string{p + ".sum"}, []string{p + ".out"}))
		in = p + ".out"
	}
	add(onnx.NewNode("GlobalAveragePool", "/pool", []string{in}, []string{"pooled"}))
	add(onnx.NewNode("Flatten", "/flat", []string{"pooled"}, []string{"flat"}))
	add(onnx.NewNode("Gemm", "/fc/Gemm", []string{"flat", weights("fc.weight", 3, 8, 10)}, []string{"logits"}))
	return &onnx.Model{IRVersion: 8, Opsets: []onnx.Opset{{Version: 13}}, Graph: g}
}
