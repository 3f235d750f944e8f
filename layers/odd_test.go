package layers

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/layers/onnx"
	"github.com/vista-mr/vista-mr/layers/reference"
)

// line writes a node as "Op in,in -> out,out".
func line(s string, attrs ...*onnx.Attr) *onnx.Node {
	head, out, _ := strings.Cut(s, " -> ")
	op, in, _ := strings.Cut(head, " ")
	outs := strings.Split(out, ",")
	n := onnx.NewNode(op, "node "+outs[0], nil, outs, attrs...)
	if in != "" {
		n.Inputs = strings.Split(in, ",")
	}
	return n
}

// odd are small models, each odd in the way that its name says, with the layers that they have.
func odd() map[string]struct {
	m    *onnx.Model
	want string
} {
	out := map[string]struct {
		m    *onnx.Model
		want string
	}{}
	weight := func(name string, dims ...int64) *onnx.Tensor {
		n := int64(1)
		for _, d := range dims {
			n *= d
		}
		v := make([]float32, n)
		for i := range v {
			v[i] = float32((i*7)%11)/11 - 0.4
		}
		return onnx.Floats(name, dims, v...)
	}
	bytes := func(name string, e onnx.Elem, dims []int64, v ...byte) *onnx.Tensor {
		return &onnx.Tensor{Name: name, Type: e, Dims: dims, Raw: v}
	}
	scalar := []int64{}
	add := func(name string, want string, nodes []*onnx.Node, consts ...*onnx.Tensor) *onnx.Model {
		last := nodes[len(nodes)-1].Outputs[0]
		m := &onnx.Model{IRVersion: 8, Opsets: []onnx.Opset{{Version: 13}, {Domain: "com.microsoft", Version: 1}}, Graph: &onnx.Graph{Name: name,
			Inputs: []*onnx.ValueInfo{onnx.NewValue("x", onnx.Float32, onnx.BatchOf(3, 8, 8)...)}, Outputs: []*onnx.ValueInfo{{Name: last, Type: onnx.Float32}},
			Nodes: nodes, Initializers: append([]*onnx.Tensor{weight("w", 4, 3, 3, 3), weight("v", 4, 4, 3, 3), weight("fc", 4, 5)}, consts...)}}
		out[name] = struct {
			m    *onnx.Model
			want string
		}{m, want}
		return m
	}
	add("plain", "b d", []*onnx.Node{line("Conv x,w -> a"), line("Relu a -> b"), line("Conv b,v -> c"), line("Relu c -> d"), line("Flatten d -> e")})

	// int8, as quantize_static writes it: a residual block, with one DequantizeLinear for each reader.
	quantized := []*onnx.Tensor{bytes("zp", onnx.Uint8, scalar, 12), onnx.Floats("s", scalar, 0.05), bytes("wq", onnx.Int8, []int64{4, 3, 3, 3}, make([]byte, 108)...),
		bytes("vq", onnx.Int8, []int64{4, 4, 3, 3}, make([]byte, 144)...), bytes("wz", onnx.Int8, scalar, 0), onnx.Floats("ws", scalar, 0.01)}
	pads := onnx.IntsAttr("pads", 1, 1, 1, 1)
	add("qdq", "b.d f.d", []*onnx.Node{line("QuantizeLinear x,s,zp -> x.q"), line("DequantizeLinear x.q,s,zp -> x.d"), line("DequantizeLinear wq,ws,wz -> w.d"), line("DequantizeLinear vq,ws,wz -> v.d"),
		line("Conv x.d,w.d -> a", pads), line("Relu a -> b"), line("QuantizeLinear b,s,zp -> b.q"), line("DequantizeLinear b.q,s,zp -> b.d"), line("DequantizeLinear b.q,s,zp -> b.e"),
		line("Conv b.d,v.d -> c", pads), line("QuantizeLinear c,s,zp -> c.q"), line("DequantizeLinear c.q,s,zp -> c.d"), line("Add c.d,b.e -> e"), line("Relu e -> f"),
		line("QuantizeLinear f,s,zp -> f.q"), line("DequantizeLinear f.q,s,zp -> f.d"), line("GlobalAveragePool f.d -> g")}, quantized...)
	add("qlinear", "b d", []*onnx.Node{line("QuantizeLinear x,s,zp -> x.q"), line("QLinearConv x.q,s,zp,wq,ws,wz,s,zp -> b", pads), line("MaxPool b -> c", onnx.IntsAttr("kernel_shape", 2, 2)),
		line("QLinearConv c,s,zp,vq,ws,wz,s,zp -> d"), line("QLinearGlobalAveragePool d,s,zp,s,zp -> e"), line("DequantizeLinear e,s,zp -> f")}, quantized...)

	m := add("channels last", "h1 d", []*onnx.Node{line("Transpose x -> y", onnx.IntsAttr("perm", 0, 3, 1, 2)), line("Conv y,w -> a"), line("Transpose a -> b", onnx.IntsAttr("perm", 0, 2, 3, 1)),
		line("Mul b,one -> h"), line("Relu h -> h1"), line("Transpose h1 -> c", onnx.IntsAttr("perm", 0, 3, 1, 2)), line("Conv c,v -> d"), line("Flatten d -> e")}, onnx.Floats("one", []int64{1}, 1))
	m.Graph.Inputs[0].Shape = onnx.BatchOf(8, 8, 3)
	m = add("float16", "b d", []*onnx.Node{line("Conv x,w -> a"), line("Relu a -> b"), line("Conv b,v -> c"), line("Relu c -> d"), line("Flatten d -> e")})
	m.Graph.Inputs[0].Type = onnx.Float16
	for _, t := range m.Graph.Initializers {
		t.Type, t.Raw = onnx.Float16, make([]byte, len(t.Raw)/2)
	}
	m = add("bytes, grey", "b", []*onnx.Node{line("Cast x -> y", onnx.IntAttr("to", int64(onnx.Float32))), line("Conv y,g -> a"), line("Relu a -> b"), line("Flatten b -> c")}, weight("g", 2, 1, 3, 3))
	m.Graph.Inputs[0].Type, m.Graph.Inputs[0].Shape = onnx.Uint8, onnx.BatchOf(1, 8, 8)

	// A condition on the shape, as an old exporter writes x.squeeze(), with an outer tensor passed through.
	then := &onnx.Graph{Outputs: []*onnx.ValueInfo{{Name: "y"}}, Nodes: []*onnx.Node{line("Relu a -> y")}}
	other := &onnx.Graph{Outputs: []*onnx.ValueInfo{{Name: "a"}}}
	two := onnx.Ints("two", 2)
	branch := func(name string, g *onnx.Graph) *onnx.Attr {
		return &onnx.Attr{Name: name, Type: onnx.AttrGraph, G: g}
	}
	add("branches", "d", []*onnx.Node{line("Conv x,w -> a"), line("Shape a -> s"), line("Gather s,two -> h", onnx.IntAttr("axis", 0)), line("Equal h,six -> yes"),
		line("If yes -> b", branch("then_branch", then), branch("else_branch", other)), line("Equal h,two -> no"), line("If no -> c", branch("then_branch", then), branch("else_branch", other)),
		line("Add b,c -> d"), line("Flatten d -> e")}, two, onnx.Ints("six", 6))
	m = add("functions", "b c", []*onnx.Node{line("Block x,w -> b"), line("Conv b,v -> c"), line("Flatten c -> d")})
	m.Graph.Nodes[0].Domain = "local"
	m.Functions = []*onnx.Function{{Name: "Block", Domain: "local", Inputs: []string{"i", "k"}, Outputs: []string{"o"},
		Nodes: []*onnx.Node{line("Conv i,k -> r"), {OpType: "Act", Domain: "local", Name: "act", Inputs: []string{"r"}, Outputs: []string{"o"}}}},
		{Name: "Act", Domain: "local", Inputs: []string{"i"}, Outputs: []string{"o"}, Nodes: []*onnx.Node{line("Relu i -> o")}}}
	m = add("fixed batch", "b d", []*onnx.Node{line("Conv x,w -> a"), line("Relu a -> b"), line("Resize b,,,to -> c"), line("Conv c,v -> d"), line("Reshape d,flat -> e")},
		onnx.Ints("to", 1, 4, 12, 12), onnx.Ints("flat", 1, 400))
	m.Graph.Inputs[0].Shape = onnx.Fixed(1, 3, 8, 8)
	m.IRVersion = 3
	for _, t := range m.Graph.Initializers {
		m.Graph.Inputs = append(m.Graph.Inputs, onnx.NewValue(t.Name, t.Type, onnx.Fixed(t.Dims...)...))
	}
	m = add("stated shape", "a c d", []*onnx.Node{line("Conv x,w -> a"), line("Mystery a -> b"), line("Relu b -> c"), line("Conv c,v -> d"), line("Flatten d -> e")})
	m.Graph.Nodes[1].Domain = "my.company"
	m.Graph.Values = []*onnx.ValueInfo{onnx.NewValue("b", onnx.Float32, onnx.BatchOf(4, 6, 6)...)}
	add("far batch", "b d", []*onnx.Node{line("Shape x -> s"), line("Gather s,zero -> n"), line("Conv x,w -> a"), line("Relu a -> b"), line("Conv b,v -> c"), line("Relu c -> d"),
		line("GlobalAveragePool d -> e"), line("Flatten e -> e1"), line("Range zero,n,one -> r"), line("Gather e1,r -> f", onnx.IntAttr("axis", 0))},
		&onnx.Tensor{Name: "zero", Type: onnx.Int64, Raw: make([]byte, 8)}, &onnx.Tensor{Name: "one", Type: onnx.Int64, Raw: []byte{1, 0, 0, 0, 0, 0, 0, 0}})
	add("dense", "b c3 t e3 f", []*onnx.Node{line("Conv x,w -> a", pads), line("Relu a -> b"), line("MaxPool b -> p", onnx.IntsAttr("kernel_shape", 1, 1)),
		line("Conv p,v -> b1", pads), line("Concat p,b1 -> c1", onnx.IntAttr("axis", 1)), line("Conv c1,v8 -> b2", pads), line("Concat c1,b2 -> c3", onnx.IntAttr("axis", 1)),
		line("BatchNormalization c3,n,n,n,n -> d"), line("Relu d -> d1"), line("Conv d1,v12 -> t", pads), line("MaxPool t -> p2", onnx.IntsAttr("kernel_shape", 2, 2)),
		line("Conv p2,v -> e1", pads), line("Concat p2,e1 -> e2", onnx.IntAttr("axis", 1)), line("Conv e2,v8 -> e0", pads), line("Concat e2,e0 -> e3", onnx.IntAttr("axis", 1)),
		line("BatchNormalization e3,n,n,n,n -> e4"), line("Relu e4 -> f"), line("GlobalAveragePool f -> g"), line("Flatten g -> h")},
		weight("v8", 4, 8, 3, 3), weight("v12", 4, 12, 3, 3), onnx.Floats("n", []int64{12}, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1))
	return out
}

// openOdd opens a model as a user's file.
func openOdd(t testing.TB, m *onnx.Model) *CNN {
	t.Helper()
	c, err := Open(t.Context(), Source{Model: "odd.onnx", Read: func(context.Context, string) ([]byte, error) { return m.Marshal(), nil }})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestOddModels(t *testing.T) {
	for name, o := range odd() {
		t.Run(name, func(t *testing.T) {
			c := openOdd(t, o.m)
			if got := strings.Join(c.Roster, " "); got != o.want {
				t.Errorf("layers %q, want %q", got, o.want)
			}
			if err := openAll(t.Context(), o.m.Marshal()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestQuantizedNames: the places of an int8 network have the names of all tensors around them, and the
// float tensor before the quantization is another place.
func TestQuantizedNames(t *testing.T) {
	c := openOdd(t, odd()["qdq"].m)
	for name, want := range map[string]string{"b.d": "b.d", "b.e": "b.d", "b.q": "b.d", "node b": "b.d", "b": "b", "f.q": "f.d"} {
		l, err := c.Select(name)
		if err != nil || l[0].Name != want {
			t.Errorf("%s: %v %v, want %s", name, l, err, want)
		}
	}
	p, err := c.Program(ProgramSpec{From: "b.d", Raw: []string{"f.d"}})
	if err != nil {
		t.Fatal(err)
	}
	ops := func(list []*onnx.Node) (out []string) {
		for _, n := range list {
			out = append(out, n.OpType)
		}
		return out
	}
	// What comes in is quantized again as it was, and what goes out is dequantized.
	got := ops(p.Model.Graph.Nodes)
	if got[0] != "QuantizeLinear" || got[len(got)-1] != "Mul" || !slices.Contains(got, "Add") {
		t.Errorf("a stage of %v", got)
	}
}

// TestChannelsLast computes a network that has its inner tensor channels last: what goes out and comes in
// is channels first.
func TestChannelsLast(t *testing.T) {
	c := openOdd(t, odd()["channels last"].m)
	if c.Input.Layout != "NHWC" || !slices.Equal(c.Layers[0].Shape, []int64{4, 6, 6}) {
		t.Fatalf("input %s, layer %v", c.Input, c.Layers[0])
	}
	img := picture(2, 8, 8, 4)
	one, err := c.Program(ProgramSpec{Raw: []string{"h1", "d"}})
	if err != nil {
		t.Fatal(err)
	}
	whole := run(t, one, img)
	h := whole[one.Outputs[0].Name]
	if !slices.Equal(h.Dims, []int64{2, 4, 6, 6}) {
		t.Errorf("the volume is %v", h.Dims)
	}
	// The definition: h1 is the rectified convolution of the image.
	plain := openOdd(t, odd()["plain"].m)
	direct, err := plain.Program(ProgramSpec{Raw: []string{"b"}})
	if err != nil {
		t.Fatal(err)
	}
	same(t, "channels first", h.Floats, run(t, direct, img)["b"].Floats)
	two, err := c.Program(ProgramSpec{From: "h1", Raw: []string{"d"}})
	if err != nil {
		t.Fatal(err)
	}
	out, err := reference.Run(two.Model, map[string]reference.Tensor{two.Input.Name: h})
	if err != nil {
		t.Fatal(err)
	}
	same(t, "staged", out[two.Outputs[0].Name].Floats, whole[one.Outputs[1].Name].Floats)
}

// TestGrey: a network for grey images gets the luma of the colours, normalised like them.
func TestGrey(t *testing.T) {
	m := odd()["bytes, grey"].m
	m.Graph.Inputs[0].Type = onnx.Float32
	c := openOdd(t, m)
	img := picture(1, 8, 8, 4)
	p, err := c.Program(ProgramSpec{Raw: []string{"b"}, Normalize: &Normalize{Scale: 1.0 / 255, Mean: []float32{0.1307}, Std: []float32{0.3081}}})
	if err != nil {
		t.Fatal(err)
	}
	got := run(t, p, img)["b"].Floats
	x := reference.Tensor{Dims: []int64{1, 1, 8, 8}}
	for i := range 64 {
		l := 0.299*float64(img.Bytes[3*i]) + 0.587*float64(img.Bytes[3*i+1]) + 0.114*float64(img.Bytes[3*i+2])
		x.Floats = append(x.Floats, float32((l/255-0.1307)/0.3081))
	}
	whole := *c.Model
	g := *c.Model.Graph
	whole.Graph = &g
	g.Outputs = []*onnx.ValueInfo{{Name: "b"}}
	want, err := reference.Run(&whole, map[string]reference.Tensor{"x": x})
	if err != nil {
		t.Fatal(err)
	}
	for i, w := range want["b"].Floats {
		if d := got[i] - w; d > 1e-4 || d < -1e-4 {
			t.Fatalf("element %d: %v, want %v", i, got[i], w)
		}
	}
}

// TestMeasured: an operator that is not known here is measured, in rounds, and what cannot be measured is
// named.
func TestMeasured(t *testing.T) {
	m := odd()["stated shape"].m
	m.Graph.Values = nil
	data := m.Marshal()
	src := Source{Model: "odd.onnx", Read: func(context.Context, string) ([]byte, error) { return data, nil }}
	c, err := Open(t.Context(), src)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Layers) != 1 || c.Layers[0].Name != "a" || len(c.Unknown) == 0 || !strings.Contains(c.Unknown[0], "node b (Mystery)") {
		t.Errorf("without a runtime: %v, unknown %v", c.Roster, c.Unknown)
	}
	asked := 0
	src.Measure = func(_ context.Context, _ *onnx.Model, batch int, tensors []string) (map[string]onnx.Info, error) {
		asked++
		if !slices.Equal(tensors, []string{"b"}) {
			t.Errorf("asked for %v", tensors)
		}
		return map[string]onnx.Info{"b": {Elem: onnx.Float32, Dims: []int64{int64(batch), 4, 6, 6}}}, nil
	}
	if c, err = Open(t.Context(), src); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(c.Roster, " "); got != "a c d" || asked != 2 || len(c.Unknown) > 0 {
		t.Errorf("measured: layers %q after %d runs, unknown %v", got, asked, c.Unknown)
	}
	src.Measure = func(_ context.Context, _ *onnx.Model, batch int, _ []string) (map[string]onnx.Info, error) {
		return map[string]onnx.Info{"b": {Elem: onnx.Float32, Dims: []int64{int64(batch * batch), 4, 6, 6}}}, nil
	}
	if _, err := Open(t.Context(), src); err == nil || !strings.Contains(err.Error(), `"b" changes with more than the batch`) {
		t.Errorf("a shape that cannot be told: %v", err)
	}
	// What would take any memory is not run to be measured.
	m.Graph.Nodes = append([]*onnx.Node{line("ConstantOfShape shape -> huge"), line("Add d,huge -> sum")}, m.Graph.Nodes...)
	m.Graph.Initializers = append(m.Graph.Initializers, onnx.Ints("shape", 1<<19, 1<<20))
	m.Graph.Outputs = append(m.Graph.Outputs, &onnx.ValueInfo{Name: "sum"})
	data = m.Marshal()
	src.Measure = func(context.Context, *onnx.Model, int, []string) (map[string]onnx.Info, error) {
		t.Error("it was run")
		return nil, nil
	}
	if _, err := Open(t.Context(), src); err == nil || !strings.Contains(err.Error(), "node huge (ConstantOfShape): makes") {
		t.Errorf("a huge constant: %v", err)
	}
}
