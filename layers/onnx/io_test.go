package onnx

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

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
		m, err := Parse(whole(&e))
		if err != nil {
			t.Errorf("%s: %v", c.elem, err)
			continue
		}
		if got := m.Graph.Initializers[0].Raw; !bytes.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.elem, got, c.want)
		}
	}
}

// whole is what an encoder would write.
func whole(e *encoder) []byte {
	var b bytes.Buffer
	_, _ = e.writeTo(&b)
	return b.Bytes()
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
		deep = whole(&e)
	}
	var e encoder
	e.bytes(7, deep)
	e.flush()
	if _, err := Parse(whole(&e)); err == nil {
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
	if err := back.LoadExternal(DirReader(dir, 1<<30, nil)); err != nil {
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
		if _, err := DirReader(sub, 1<<30, nil)(name); err == nil {
			t.Errorf("%s was read", name)
		}
	}
	if _, err := DirReader(dir, 10, nil)("w.bin"); err == nil {
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
