package onnx

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
)

// net is a small model for tests: nodes of one line each, "Op in,in -> out,out".
func net(opset int64, consts map[string][]int64, lines ...string) *Model {
	g := &Graph{Name: "test", Inputs: []*ValueInfo{NewValue("x", Float32, BatchOf(3, 8, 8)...)}}
	for _, line := range lines {
		head, out, _ := strings.Cut(line, " -> ")
		op, in, _ := strings.Cut(head, " ")
		n := NewNode(op, "", nil, strings.Split(out, ","))
		if in != "" {
			n.Inputs = strings.Split(in, ",")
		}
		n.Name = "node " + n.Outputs[0]
		if op == "Conv" {
			n.Attrs = []*Attr{IntsAttr("pads", 1, 1, 1, 1)}
		}
		g.Nodes = append(g.Nodes, n)
	}
	last := g.Nodes[len(g.Nodes)-1].Outputs[0]
	g.Outputs = []*ValueInfo{NewValue(last, Float32)}
	for name, dims := range consts {
		size, _ := elements(dims)
		g.Initializers = append(g.Initializers, &Tensor{Name: name, Dims: dims, Type: Float32, Raw: make([]byte, 4*size)})
	}
	slices.SortFunc(g.Initializers, func(a, b *Tensor) int { return strings.Compare(a.Name, b.Name) })
	return &Model{IRVersion: 8, Producer: "test", Opsets: []Opset{{Version: opset}}, Graph: g}
}

var kernels = map[string][]int64{"w": {4, 3, 3, 3}, "v": {4, 4, 3, 3}, "u": {4, 8, 3, 3}, "s": {4}, "fc": {256, 5}}

func analyze(t testing.TB, m *Model) *Analysis {
	t.Helper()
	// Through bytes, as users' models come.
	m, err := Parse(m.Marshal())
	if err != nil {
		t.Fatal(err)
	}
	p, err := m.Prepare(Options{Size: 8})
	if err != nil {
		t.Fatal(err)
	}
	a, err := p.Analyze()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// cuts writes cuts as "tensor" or "tensor*" for candidates, with aliases behind "=".
func cuts(a *Analysis) string {
	var out []string
	for _, c := range a.Cuts {
		s := c.Tensor
		if len(c.Aliases) > 0 {
			s += "=" + strings.Join(c.Aliases, "=")
		}
		if c.Candidate {
			s += "*"
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

func TestCuts(t *testing.T) {
	for _, c := range []struct {
		name  string
		lines []string
		want  string
	}{
		{"chain", []string{"Conv x,w -> a", "Relu a -> b", "MaxPool b -> c", "Flatten c -> d"}, "a b* c d"},
		{"residual", []string{"Conv x,w -> a", "Relu a -> b", "Conv b,v -> c", "BatchNormalization c,s,s,s,s -> d", "Add d,b -> e", "Relu e -> f"},
			"a b* e f*"},
		{"inception", []string{"Conv x,w -> a", "Relu a -> b", "Conv b,v -> c", "Conv b,v -> d", "Concat c,d -> e", "Conv e,u -> f"}, "a b* e* f*"},
		{"dense", []string{"Conv x,w -> a", "Conv a,v -> b", "Concat a,b -> c", "BatchNormalization c,s8,s8,s8,s8 -> d", "Relu d -> e", "Conv e,u -> f"},
			"a c* d e f*"},
		{"dropout", []string{"Conv x,w -> a", "Relu a -> b", "Dropout b -> c,mask", "Identity c -> d", "Conv d,v -> e"}, "a b=c=d* e*"},
		{"dead nodes", []string{"Conv x,w -> a", "Relu x -> dead", "Relu a -> b"}, "a b*"},
		{"swish", []string{"Conv x,w -> a", "Sigmoid a -> b", "Mul a,b -> c", "Conv c,v -> d"}, "a c* d*"},
		{"squeeze and excite", []string{"Conv x,w -> a", "GlobalAveragePool a -> b", "Conv1 b,k1 -> c", "Sigmoid c -> d", "Mul a,d -> e", "Conv e,v -> f"}, "a e* f*"},
		{"pre-activation", []string{"Conv x,w -> a", "BatchNormalization a,s,s,s,s -> b", "Relu b -> c", "Conv c,v -> d", "Add d,a -> e",
			"BatchNormalization e,s,s,s,s -> f", "Relu f -> g", "Conv g,v -> h", "Add h,e -> i"}, "a* e* i*"},
		{"constant branch", []string{"Conv x,w -> a", "Exp s -> q", "Mul a,one -> b", "Conv b,v -> c"}, "a b* c*"},
		{"out of order", []string{"Relu a -> b", "Conv x,w -> a", "Conv b,v -> c"}, "a b* c*"},
	} {
		t.Run(c.name, func(t *testing.T) {
			consts := map[string][]int64{"s8": {8}, "k1": {4, 4, 1, 1}, "one": {1}}
			for k, v := range kernels {
				consts[k] = v
			}
			m := net(13, consts, c.lines...)
			for _, n := range m.Graph.Nodes {
				switch n.OpType {
				case "Conv1":
					n.OpType, n.Attrs = "Conv", nil
				case "MaxPool":
					n.Attrs = []*Attr{IntsAttr("kernel_shape", 2, 2), IntsAttr("strides", 2, 2)}
				case "Concat":
					n.Attrs = []*Attr{IntAttr("axis", 1)}
				}
			}
			if c.name == "out of order" {
				m.Graph.Outputs[0].Name = "c"
			}
			a := analyze(t, m)
			if got := cuts(a); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			// The definition: without the tensor, the output no longer depends on the image.
			p, err := m.Prepare(Options{Size: 8})
			if err != nil {
				t.Fatal(err)
			}
			isCut := map[string]bool{}
			for _, c := range a.Cuts {
				isCut[c.Tensor] = true
				for _, x := range c.Aliases {
					isCut[x] = true
				}
			}
			for _, n := range p.Graph.Nodes {
				for _, o := range n.Outputs {
					if !reaches(p.Graph, "x", o, "") || !reaches(p.Graph, o, a.Output, "") {
						continue // a constant, or something the output does not need
					}
					if isCut[o] == reaches(p.Graph, "x", a.Output, o) {
						t.Errorf("%s: cut %v, but it does not separate accordingly", o, isCut[o])
					}
				}
			}
		})
	}
}

// reaches says whether to depends on from when without is taken out of the graph.
func reaches(g *Graph, from, to, without string) bool {
	have := map[string]bool{from: from != without}
	for _, n := range g.Nodes {
		hit := false
		n.reads(func(name string) { hit = hit || have[name] })
		for _, o := range n.Outputs {
			if hit && o != without {
				have[o] = true
			}
		}
	}
	return have[to]
}

// TestShapeArithmetic is x.view(x.size(0), -1) as old exporters write it, with the batch taken from the
// image, so that a naive sweep would find no cut at all.
func TestShapeArithmetic(t *testing.T) {
	m := net(13, kernels, "Shape x -> s0", "Constant -> zero", "Gather s0,zero -> n", "Constant -> axes", "Unsqueeze n,axes -> n1", "Constant -> rest",
		"Concat n1,rest -> target", "Conv x,w -> a", "Relu a -> b", "Reshape b,target -> c", "MatMul c,fc -> d")
	set := func(out string, t *Tensor) {
		for _, n := range m.Graph.Nodes {
			if n.Outputs[0] == out {
				n.Attrs = []*Attr{TensorAttr("value", t)}
			}
		}
	}
	set("zero", &Tensor{Type: Int64, Raw: make([]byte, 8)})
	set("axes", Ints("", 0))
	set("rest", Ints("", 256))
	for _, n := range m.Graph.Nodes {
		if n.OpType == "Concat" {
			n.Attrs = []*Attr{IntAttr("axis", 0)}
		}
	}
	if got, want := cuts(analyze(t, m)), "a b* c d*"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestBakedBatch is a model of 2018: weights among the inputs, batch 1 fixed, also in Reshape's target.
func TestBakedBatch(t *testing.T) {
	m := net(8, kernels, "Conv x,w -> a", "Relu a -> b", "Reshape b,shape -> c", "MatMul c,fc -> d")
	m.IRVersion = 3
	m.Graph.Inputs[0].Shape = Fixed(1, 3, 8, 8)
	m.Graph.Initializers = append(m.Graph.Initializers, Ints("shape", 1, 256))
	for _, x := range m.Graph.Initializers {
		m.Graph.Inputs = append(m.Graph.Inputs, NewValue(x.Name, x.Type, Fixed(x.Dims...)...))
	}
	if got, want := cuts(analyze(t, m)), "a b* c d*"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	p, err := m.Prepare(Options{Size: 8})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Graph.Inputs) != 1 || p.Graph.Inputs[0].Shape[0].Symbol == "" || p.IRVersion < 4 {
		t.Errorf("inputs %+v, IR %d", p.Graph.Inputs, p.IRVersion)
	}
	if m.Graph.Inputs[0].Shape[0].Size != 1 || m.Graph.Nodes[2].Inputs[1] != "shape" {
		t.Error("Prepare changed its argument")
	}
}

func TestFunctions(t *testing.T) {
	m := net(18, kernels, "Block x -> a", "Block2 a -> b")
	for i, n := range m.Graph.Nodes {
		n.OpType, n.Domain = "Block", "local"
		n.Attrs = []*Attr{IntsAttr("p", 1, 1, 1, 1)}
		m.Graph.Nodes[i] = n
	}
	// The second call's weights have another shape, so give both by input.
	m.Graph.Nodes[0].Inputs = []string{"x", "w"}
	m.Graph.Nodes[1].Inputs = []string{"a", "v"}
	m.Opsets = append(m.Opsets, Opset{Domain: "local", Version: 1})
	m.Functions = []*Function{{Name: "Block", Domain: "local", Inputs: []string{"in", "k"}, Outputs: []string{"out"}, AttrNames: []string{"p"},
		Opsets: []Opset{{Version: 18}}, Nodes: []*Node{
			NewNode("Conv", "conv", []string{"in", "k"}, []string{"mid"}, &Attr{Name: "pads", Ref: "p", Type: AttrInts}),
			NewNode("Relu", "relu", []string{"mid"}, []string{"out"}),
		}}}
	a := analyze(t, m)
	if got, want := cuts(a), "node a.1/mid a* node b.2/mid b*"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if a.MACs != 8*8*4*27+8*8*4*36 {
		t.Errorf("MACs %d", a.MACs)
	}
	m.Functions[0].Nodes = []*Node{{OpType: "Block", Domain: "local", Inputs: []string{"in", "k"}, Outputs: []string{"out"}}}
	if _, err := m.Prepare(Options{Size: 8}); err == nil {
		t.Error("a function that calls itself was accepted")
	}
	// Doubling 40 times must not be tried.
	m.Functions = nil
	for i := range 30 {
		next := fmt.Sprintf("F%d", i+1)
		m.Functions = append(m.Functions, &Function{Name: fmt.Sprintf("F%d", i), Domain: "local", Inputs: []string{"in"}, Outputs: []string{"out"}, Nodes: []*Node{
			{OpType: next, Domain: "local", Inputs: []string{"in"}, Outputs: []string{"mid"}}, {OpType: next, Domain: "local", Inputs: []string{"mid"}, Outputs: []string{"out"}}}})
	}
	m.Graph.Nodes[0].OpType = "F0"
	if _, err := m.Prepare(Options{Size: 8}); err == nil {
		t.Error("an exponential expansion was accepted")
	}
}

func TestRefused(t *testing.T) {
	for name, change := range map[string]func(n *Node){
		"training BatchNormalization": func(n *Node) {
			n.OpType, n.Inputs, n.Attrs = "BatchNormalization", []string{"a", "s", "s", "s", "s"}, []*Attr{IntAttr("training_mode", 1)}
		},
		"training Dropout": func(n *Node) { n.OpType, n.Inputs = "Dropout", []string{"a", "", "yes"} },
		"random":           func(n *Node) { n.OpType = "RandomNormalLike" },
		"loop":             func(n *Node) { n.OpType = "Loop" },
		"undefined input":  func(n *Node) { n.Inputs = []string{"nowhere"} },
		"cycle":            func(n *Node) { n.OpType, n.Inputs = "Add", []string{"a", "b"} },
		"defined twice":    func(n *Node) { n.Outputs = []string{"a"} },
		"wrong shapes":     func(n *Node) { n.OpType, n.Inputs = "Conv", []string{"a", "w"} },
	} {
		m := net(15, kernels, "Conv x,w -> a", "Relu a -> b")
		m.Graph.Initializers = append(m.Graph.Initializers, &Tensor{Name: "yes", Type: Bool, Raw: []byte{1}})
		change(m.Graph.Nodes[1])
		p, err := m.Prepare(Options{Size: 8})
		if err == nil {
			_, err = p.Analyze()
		}
		var e *Error
		if !errors.As(err, &e) || e.ErrorID() != "E-MODEL" || e.Hint() == "" || e.Node == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	two := net(15, kernels, "Conv x,w -> a")
	two.Graph.Inputs = append(two.Graph.Inputs, NewValue("y", Float32, Fixed(1)...))
	if _, err := two.Prepare(Options{Size: 8}); err == nil {
		t.Error("two inputs were accepted")
	}
}

func TestExtractErrors(t *testing.T) {
	m := net(13, kernels, "Conv x,w -> a", "Relu a -> b", "Conv b,v -> c")
	in := []*ValueInfo{NewValue("b", Float32)}
	for _, out := range []string{"b", "a", "nothing"} {
		if _, err := m.Extract(in, []*ValueInfo{NewValue(out, Float32)}); err == nil {
			t.Errorf("%s was extracted from b", out)
		}
	}
	got, err := m.Extract(in, []*ValueInfo{NewValue("c", Float32)})
	if err != nil || len(got.Graph.Nodes) != 1 || len(got.Graph.Initializers) != 1 {
		t.Errorf("%v %v", got, err)
	}
}

// FuzzParse: no bytes make the reader, the writer or the analysis panic, and what was read once is
// written the same ever after.
func FuzzParse(f *testing.F) {
	f.Add(net(13, kernels, "Conv x,w -> a", "Relu a -> b", "Dropout b -> c,mask", "Flatten c -> d").Marshal())
	f.Add(net(13, kernels, "Shape x -> s0", "Slice s0,s0,s0 -> s1", "Conv x,w -> a", "Reshape a,s1 -> b").Marshal())
	f.Add(net(7, kernels, "Conv x,w -> a", "Split a -> b,c", "Concat b,c -> d", "Pad d -> e", "Resize e -> g", "Gemm g,fc -> h").Marshal())
	f.Add([]byte{})
	// As exporters write them; small ones, with which the fuzzer gets on best.
	for _, name := range []string{"caffe2-alexnet", "grey-script", "resnet18-functions", "resnet18-qlinear", "resnet18-dynamo", "zoo-vgg11"} {
		file, err := os.Open("../testdata/exporters/" + name + ".onnx.gz")
		if err != nil {
			f.Fatal(err)
		}
		z, err := gzip.NewReader(file)
		if err != nil {
			f.Fatal(err)
		}
		data, err := io.ReadAll(z)
		if err := errors.Join(err, file.Close()); err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Parse(data)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("%T %v", err, err)
			}
			return
		}
		once := m.Marshal()
		again, err := Parse(once)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		if !bytes.Equal(again.Marshal(), once) {
			t.Fatal("writing is not stable")
		}
		p, err := m.Prepare(Options{Size: 8})
		if err != nil {
			return
		}
		a, err := p.Analyze()
		if err != nil {
			return
		}
		for _, c := range a.Cuts {
			in := []*ValueInfo{NewValue(c.Tensor, Float32)}
			if c.Tensor == a.Output || slices.Contains(c.Aliases, a.Output) {
				continue
			}
			if _, err := p.Extract(in, []*ValueInfo{NewValue(a.Output, Float32)}); err != nil {
				t.Fatalf("cut %s does not separate: %v", c.Tensor, err)
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	data := net(13, map[string][]int64{"w": {4, 3, 3, 3}, "big": {4096, 4096}}, "Conv x,w -> a").Marshal()
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(data); err != nil {
			b.Fatal(err)
		}
	}
}
