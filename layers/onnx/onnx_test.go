package onnx

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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
	p, err := m.Prepare(8)
	if err != nil {
		t.Fatal(err)
	}
	a, err := p.Analyze(8)
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
			"a* c* d e* f*"},
		{"dropout", []string{"Conv x,w -> a", "Relu a -> b", "Dropout b -> c,mask", "Identity c -> d", "Conv d,v -> e"}, "a b=c=d* e*"},
		{"dead nodes", []string{"Conv x,w -> a", "Relu x -> dead", "Relu a -> b"}, "a b*"},
		{"swish", []string{"Conv x,w -> a", "Sigmoid a -> b", "Mul a,b -> c", "Conv c,v -> d"}, "a c* d*"},
		{"squeeze and excite", []string{"Conv x,w -> a", "GlobalAveragePool a -> b", "Conv1 b,k1 -> c", "Sigmoid c -> d", "Mul a,d -> e", "Conv e,v -> f"}, "a* e* f*"},
		{"pre-activation", []string{"Conv x,w -> a", "BatchNormalization a,s,s,s,s -> b", "Relu b -> c", "Conv c,v -> d", "Add d,a -> e",
			"BatchNormalization e,s,s,s,s -> f", "Relu f -> g", "Conv g,v -> h", "Add h,e -> i"}, "a e* i*"},
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
			p, err := m.Prepare(8)
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
	p, err := m.Prepare(8)
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
	if _, err := m.Prepare(8); err == nil {
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
	if _, err := m.Prepare(8); err == nil {
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
		p, err := m.Prepare(8)
		if err == nil {
			_, err = p.Analyze(8)
		}
		var e *Error
		if !errors.As(err, &e) || e.ErrorID() != "E-MODEL" || e.Hint() == "" || e.Node == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	two := net(15, kernels, "Conv x,w -> a")
	two.Graph.Inputs = append(two.Graph.Inputs, NewValue("y", Float32, Fixed(1)...))
	if _, err := two.Prepare(8); err == nil {
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

// TestRoundTrip checks that all that is read is written, unknown fields included.
func TestRoundTrip(t *testing.T) {
	m := net(13, kernels, "Conv x,w -> a", "If b -> c")
	n := m.Graph.Nodes[1]
	n.Inputs = []string{"a"}
	n.Doc, n.Domain, n.Overload, n.Metadata = "d", "dom", "over", []Entry{{"k", "v"}}
	n.Attrs = []*Attr{IntAttr("i", -3), FloatAttr("f", 1.5), TextAttr("s", "text"), IntsAttr("is", 1, -1), TensorAttr("t", Ints("q", 1, 2)),
		{Name: "fs", Type: AttrFloats, Floats: []float32{1, 2}}, {Name: "ss", Type: AttrStrings, Strings: [][]byte{[]byte("a"), {}}},
		{Name: "g", Type: AttrGraph, G: &Graph{Name: "inner", Outputs: []*ValueInfo{NewValue("a", Float32)}}}, {Name: "r", Ref: "outer", Type: AttrInt},
		{Name: "gs", Type: AttrGraphs, Graphs: []*Graph{{Name: "one"}, {Name: "two"}}}, {Name: "ts", Type: AttrTensors, Tensors: []*Tensor{Ints("z", 5)}}}
	m.Metadata = []Entry{{"a", "b"}}
	m.Functions = []*Function{{Name: "F", Domain: "d", Inputs: []string{"i"}, Outputs: []string{"o"}, AttrNames: []string{"x"}, Doc: "doc",
		AttrValues: []*Attr{IntAttr("y", 0)}, Opsets: []Opset{{Version: 3}}, Nodes: []*Node{NewNode("Relu", "", []string{"i"}, []string{"o"})}}}
	var e encoder
	e.text(99, "unknown to this reader")
	e.tag(100, wire64)
	e.cur = append(e.cur, 1, 2, 3, 4, 5, 6, 7, 8)
	for _, u := range []*[]byte{&m.unknown, &m.Graph.unknown, &n.unknown, &n.Attrs[0].unknown, &m.Graph.Initializers[0].unknown, &m.Functions[0].unknown, &m.Graph.Inputs[0].unknown} {
		*u = e.cur
	}
	m.Graph.Initializers = append(m.Graph.Initializers, &Tensor{Name: "str", Type: String, Dims: []int64{2}, Strings: [][]byte{[]byte("a"), []byte("b")}},
		&Tensor{Name: "ext", Type: Float32, Dims: []int64{2}, External: &External{Location: "f.bin", Offset: 8, Length: 8, Extra: []Entry{{"checksum", "0"}}}})
	first := m.Marshal()
	if int64(len(first)) != m.Size() {
		t.Errorf("Size %d, Marshal %d", m.Size(), len(first))
	}
	back, err := Parse(first)
	if err != nil {
		t.Fatal(err)
	}
	second := back.Marshal()
	if !bytes.Equal(first, second) {
		t.Errorf("%d bytes became %d", len(first), len(second))
	}
	if bytes.Count(second, []byte("unknown to this reader")) != 7 {
		t.Error("unknown fields are lost")
	}
	if &back.Graph.Initializers[1].Raw[0] == nil || cap(back.Graph.Initializers[1].Raw) != len(back.Graph.Initializers[1].Raw) {
		t.Error("weights are not slices of the input with their own bound")
	}
}

// TestTypedData checks that elements stored outside raw_data arrive as bytes.
func TestTypedData(t *testing.T) {
	for _, c := range []struct {
		elem Elem
		dims []int64
		fill func(e *encoder)
		want []byte
	}{
		{Float32, []int64{2}, func(e *encoder) { e.floats(4, []float32{1, 2}) }, FloatBytes(1, 2)},
		{Float32, []int64{2}, func(e *encoder) { e.float(4, 1); e.float(4, 2) }, FloatBytes(1, 2)},
		{Int64, []int64{2}, func(e *encoder) { e.ints(7, []int64{-1, 5}) }, pack([]int64{-1, 5}, 8)},
		{Int32, []int64{1}, func(e *encoder) { e.ints(5, []int64{-2}) }, []byte{0xfe, 0xff, 0xff, 0xff}},
		{Uint8, []int64{3}, func(e *encoder) { e.ints(5, []int64{1, 2, 255}) }, []byte{1, 2, 255}},
		{Float16, []int64{1}, func(e *encoder) { e.ints(5, []int64{0x3c00}) }, []byte{0, 0x3c}},
	} {
		var e encoder
		e.message(7, func(e *encoder) {
			e.message(5, func(e *encoder) {
				e.ints(1, c.dims)
				e.int(2, int64(c.elem))
				c.fill(e)
			})
		})
		e.flush()
		m, err := Parse(bytes.Join(e.segs, nil))
		if err != nil {
			t.Errorf("%s: %v", c.elem, err)
			continue
		}
		if got := m.Graph.Initializers[0].Raw; !bytes.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.elem, got, c.want)
		}
	}
}

func TestParseErrors(t *testing.T) {
	good := net(13, kernels, "Conv x,w -> a").Marshal()
	for i := range len(good) {
		if m, err := Parse(good[:i]); err == nil && m.Graph != nil && len(m.Graph.Initializers) == len(kernels) && len(m.Opsets) > 0 {
			t.Errorf("%d of %d bytes are a whole model", i, len(good))
		}
	}
	deep := []byte{}
	for range 1000 { // graphs in attributes of nodes of graphs
		var e encoder
		e.message(1, func(e *encoder) { e.message(5, func(e *encoder) { e.bytes(6, deep) }) })
		e.flush()
		deep = bytes.Join(e.segs, nil)
	}
	var e encoder
	e.bytes(7, deep)
	e.flush()
	if _, err := Parse(bytes.Join(e.segs, nil)); err == nil {
		t.Error("1000 nested graphs were accepted")
	}
	for name, bad := range map[string]*Tensor{
		"too short":    {Dims: []int64{2}, Type: Float32, Raw: make([]byte, 4)},
		"too long":     {Dims: []int64{2}, Type: Float32, Raw: make([]byte, 12)},
		"negative":     {Dims: []int64{-1}, Type: Float32},
		"overflow":     {Dims: []int64{1 << 40, 1 << 40}, Type: Float32},
		"unknown type": {Dims: []int64{1}, Type: 77, Raw: make([]byte, 4)},
	} {
		m := net(13, nil, "Relu x -> a")
		m.Graph.Initializers = []*Tensor{bad}
		if _, err := Parse(m.Marshal()); err == nil {
			t.Errorf("a tensor %s was accepted", name)
		}
	}
}

func TestExternalData(t *testing.T) {
	m := net(13, kernels, "Conv x,w -> a")
	for _, x := range m.Graph.Initializers {
		for i := range x.Raw {
			x.Raw[i] = byte(i)
		}
	}
	var model, data bytes.Buffer
	if err := m.WriteExternal(&model, &data, "w.bin", 64); err != nil {
		t.Fatal(err)
	}
	if m.HasExternal() {
		t.Error("WriteExternal changed its model")
	}
	dir := t.TempDir()
	write := func(name string, b []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("w.bin", data.Bytes())
	back, err := Parse(model.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if !back.HasExternal() {
		t.Fatal("nothing is external")
	}
	for _, x := range back.Graph.Initializers {
		if x.External != nil && x.External.Offset%externalAlign != 0 {
			t.Errorf("%s lies at %d", x.Name, x.External.Offset)
		}
	}
	if err := back.LoadExternal(DirReader(dir, 1<<30)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(back.Marshal(), m.Marshal()) {
		t.Error("the model changed on the way")
	}
	write("outside", data.Bytes())
	sub := filepath.Join(dir, "sub")
	if err := os.Mkdir(sub, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, make := range map[string]func() error{
		"sym":  func() error { return os.Symlink(filepath.Join(dir, "outside"), filepath.Join(sub, "sym")) },
		"hard": func() error { return os.Link(filepath.Join(dir, "outside"), filepath.Join(sub, "hard")) },
		"dir":  func() error { return os.Mkdir(filepath.Join(sub, "dir"), 0o700) },
	} {
		if err := make(); err != nil {
			t.Fatal(err)
		}
		if _, err := DirReader(sub, 1<<30)(name); err == nil {
			t.Errorf("%s was read", name)
		}
	}
	if _, err := DirReader(dir, 10)("w.bin"); err == nil {
		t.Error("a file larger than the bound was read")
	}
	for _, x := range []External{
		{Location: "../w.bin"}, {Location: "/etc/passwd"}, {Location: "a/w.bin"}, {Location: ""}, {Location: "."}, {Location: ".."}, {Location: `..\w.bin`},
		{Location: "c:w.bin"}, {Location: "http://host/w"}, {Location: "w.bin", Offset: 1 << 40}, {Location: "w.bin", Offset: int64(data.Len()) - 4},
		{Location: "w.bin", Length: 4}, {Location: "w.bin\x00"}, {Location: "*/_ORT_MEM_ADDR_/*"},
	} {
		bad := net(13, nil, "Relu x -> a")
		bad.Graph.Initializers = []*Tensor{{Name: "t", Dims: []int64{16}, Type: Float32, External: &x}}
		if err := bad.LoadExternal(func(string) ([]byte, error) { return data.Bytes(), nil }); err == nil {
			t.Errorf("%+v was read", x)
		}
	}
	for _, entry := range []Entry{{"offset", "-1"}, {"offset", "x"}, {"length", "99999999999999999999"}} {
		if err := (&Tensor{}).setExternal([]Entry{{"location", "w.bin"}, entry}); err == nil {
			t.Errorf("%v was accepted", entry)
		}
	}
}

// FuzzParse: no bytes make the reader, the writer or the analysis panic, and what was read once is
// written the same ever after.
func FuzzParse(f *testing.F) {
	f.Add(net(13, kernels, "Conv x,w -> a", "Relu a -> b", "Dropout b -> c,mask", "Flatten c -> d").Marshal())
	f.Add(net(13, kernels, "Shape x -> s0", "Slice s0,s0,s0 -> s1", "Conv x,w -> a", "Reshape a,s1 -> b").Marshal())
	f.Add(net(7, kernels, "Conv x,w -> a", "Split a -> b,c", "Concat b,c -> d", "Pad d -> e", "Resize e -> g", "Gemm g,fc -> h").Marshal())
	f.Add([]byte{})
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
		p, err := m.Prepare(8)
		if err != nil {
			return
		}
		a, err := p.Analyze(8)
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
