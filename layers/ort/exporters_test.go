package ort

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"github.com/vista-mr/vista-mr/layers"
	"github.com/vista-mr/vista-mr/layers/onnx"
)

var update = flag.Bool("update", false, "write golden files")

const corpus = "../testdata/exporters"

// exported is an entry of the corpus's index: see tools/goldens/exporters.py.
type exported struct {
	Name, Exporter     string
	MACs, Params       int64
	Quantized, Float16 bool
	Part               string
	Opset, Module      int64
	Gain               float64
	model              *onnx.Model
	dir                string
	graph, data        []byte
	outputs            map[string]bool // tensors of the file
	input              *onnx.ValueInfo
}

func exportedModels(t testing.TB) []*exported {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(corpus, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	var index struct{ Models []*exported }
	if err := json.Unmarshal(b, &index); err != nil {
		t.Fatal(err)
	}
	return index.Models
}

// load reads a graph of the corpus, gives it weights and writes these beside where programs are to lie.
func (e *exported) load(t testing.TB) {
	t.Helper()
	e.model = stripped(t, e.Name)
	weigh(t, e.model, e.Gain)
	e.outputs = map[string]bool{}
	for _, n := range e.model.Graph.Nodes {
		for _, o := range n.Outputs {
			e.outputs[o] = true
		}
	}
	e.input = e.model.Graph.DataInputs()[0]
	e.dir = t.TempDir()
	var graph, data bytes.Buffer
	if err := e.model.WriteExternal(&graph, &data, weightsFile, 1024); err != nil {
		t.Fatal(err)
	}
	e.graph, e.data = graph.Bytes(), data.Bytes()
	if err := os.WriteFile(filepath.Join(e.dir, weightsFile), e.data, 0o666); err != nil {
		t.Fatal(err)
	}
}

// tolerance of every comparison, in parts of a layer's largest value.
const tolerance = 3e-5

const weightsFile = "weights.bin"

// read is what the network is opened with: graph and weights in two files.
func (e *exported) read(_ context.Context, uri string) ([]byte, error) {
	if filepath.Base(uri) == weightsFile {
		return e.data, nil
	}
	return e.graph, nil
}

// write writes a program of the network. Its weights stay where they are.
func (e *exported) write(t testing.TB, m *onnx.Model) string {
	t.Helper()
	c := *m
	g := *m.Graph
	c.Graph = &g
	g.Initializers = slices.Clone(g.Initializers)
	base := uintptr(unsafe.Pointer(unsafe.SliceData(e.data)))
	for i, x := range g.Initializers {
		at := uintptr(unsafe.Pointer(unsafe.SliceData(x.Raw)))
		if len(x.Raw) < 1024 || at < base || at >= base+uintptr(len(e.data)) {
			continue
		}
		y := *x
		y.Raw = nil
		y.External = &onnx.External{Location: weightsFile, Offset: int64(at - base), Length: int64(len(x.Raw))}
		g.Initializers[i] = &y
	}
	f, err := os.CreateTemp(e.dir, "*.onnx")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.WriteTo(f); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// stripped reads a graph of the corpus as it is.
func stripped(t testing.TB, name string) *onnx.Model {
	t.Helper()
	f, err := os.Open(filepath.Join(corpus, name+".onnx.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	m, err := onnx.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// normal is a table of normal numbers that constants are filled from, each beginning elsewhere.
var normal = func() []float64 {
	r := rand.New(rand.NewPCG(5, 5))
	v := make([]float64, 1<<20+7)
	for i := range v {
		v[i] = r.NormFloat64()
	}
	return v
}()

// weigh gives stripped constants values of the mean, deviation and range that are noted with them. gain, if
// it is set, multiplies the deviation of kernels and matrices: it keeps a deep network from chaos, in which
// a rounding at the bottom is a number at the top.
func weigh(t testing.TB, m *onnx.Model, gain float64) {
	t.Helper()
	visit := func(x *onnx.Tensor) {
		if x.External == nil {
			return
		}
		note := map[string]float64{}
		for _, e := range x.External.Extra {
			v, err := strconv.ParseFloat(e.Value, 64)
			if err != nil {
				t.Fatal(err)
			}
			note[e.Key] = v
		}
		if gain > 0 && len(x.Dims) > 1 {
			note["std"] *= gain
		}
		h := fnv.New64a()
		h.Write([]byte(x.Name))
		at := int(h.Sum64() % uint64(len(normal)))
		mean, std, least, most := note["mean"], note["std"], note["min"], note["max"]
		next := func() float64 {
			v := mean + std*normal[at]
			if at++; at == len(normal) {
				at = 0
			}
			return min(max(v, least), most)
		}
		n := int64(1)
		for _, d := range x.Dims {
			n *= d
		}
		x.External = nil
		switch x.Type {
		case onnx.Float32:
			x.Raw = elems(n, func() float32 { return float32(next()) })
		case onnx.Float16:
			x.Raw = elems(n, func() uint16 { return half(next()) })
		case onnx.Int8:
			x.Raw = elems(n, func() int8 { return int8(math.Round(next())) })
		case onnx.Uint8:
			x.Raw = elems(n, func() uint8 { return uint8(math.Round(next())) })
		case onnx.Int32:
			x.Raw = elems(n, func() int32 { return int32(math.Round(next())) })
		default:
			t.Fatalf("a stripped constant of type %s", x.Type)
		}
	}
	nodes := func(list []*onnx.Node) {
		for _, n := range list {
			for _, a := range n.Attrs {
				if a.T != nil {
					visit(a.T)
				}
			}
		}
	}
	for _, x := range m.Graph.Initializers {
		visit(x)
	}
	nodes(m.Graph.Nodes)
	for _, f := range m.Functions {
		nodes(f.Nodes)
	}
}

// elems are the bytes of n elements, as machines with an ONNX Runtime library order them. There are half a thousand
// million in all, so they are stored whole: byte by byte it took minutes under the race detector.
func elems[T any](n int64, next func() T) []byte {
	v := make([]T, n)
	for i := range v {
		v[i] = next()
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), n*int64(unsafe.Sizeof(*new(T))))
}

// half returns v as a float16, cut off; small numbers become 0.
func half(v float64) uint16 {
	bits := math.Float32bits(float32(v))
	exp := int(bits>>23&0xff) - 127 + 15
	if exp <= 0 {
		return 0
	}
	return uint16(bits>>16&0x8000) | uint16(min(exp, 30))<<10 | uint16(bits>>13&0x3ff)
}

// TestExporters opens every graph of the corpus and compares: multiply-accumulates and parameters with what
// the framework counted; layers with the list of golden names; the whole network, as the file has it, with
// our program from the image to all layers; one image with three; and the network in stages, cut at every
// layer, with the network in one piece.
func TestExporters(t *testing.T) {
	r := start(t, Options{})
	models := exportedModels(t)
	name := filepath.Join(corpus, "layers.txt")
	golden, err := os.ReadFile(name)
	if err != nil && !*update {
		t.Fatal(err)
	}
	want := map[string]string{} // by model
	for part := range strings.SplitSeq(string(golden), "\n\n") {
		head, _, _ := strings.Cut(part, ":")
		want[head] = strings.TrimSpace(part)
	}
	var got []string
	exporters := map[string]bool{}
	for _, e := range models {
		exporters[e.Exporter] = true
		t.Run(e.Name, func(t *testing.T) {
			found := e.check(t, r)
			got = append(got, found)
			if found != want[e.Name] && !*update {
				t.Errorf("layers.txt: got\n%s\nwant\n%s", found, want[e.Name])
			}
		})
	}
	if len(models) < 40 || len(exporters) < 6 {
		t.Errorf("%d models of %d exporters", len(models), len(exporters))
	}
	if *update && len(got) == len(models) {
		if err := os.WriteFile(name, []byte(strings.Join(got, "\n\n")+"\n"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

// check makes all comparisons and returns the model's part of the golden list.
func (e *exported) check(t *testing.T, r *Runtime) string {
	e.load(t)
	golden := &strings.Builder{}
	c, err := layers.Open(t.Context(), layers.Source{Model: e.Name + ".onnx", Size: 64, Read: e.read})
	if err != nil {
		t.Fatal(err)
	}
	top := c.Layers[len(c.Layers)-1]
	if e.MACs > 0 && top.MACs != e.MACs || top.Params != e.Params {
		t.Errorf("%d MACs and %d parameters, want %d and %d", top.MACs, top.Params, e.MACs, e.Params)
	}
	fmt.Fprintf(golden, "%s: %s, %dx%dx%d %s %s, %d layers\n", e.Name, e.Exporter, c.Input.C, c.Input.H, c.Input.W, c.Input.Layout, c.Input.Elem, len(c.Layers))
	var all []string
	for _, l := range c.Layers {
		all = append(all, l.Name)
		fmt.Fprintf(golden, "\t%s\t%v\n", l.Name, l.Shape)
	}
	const batch = 3
	norm := &layers.Normalize{Mean: []float32{127.5}, Std: []float32{58}}
	pixels := picture(batch, c.Input.H, c.Input.W)
	fused, err := c.Program(layers.ProgramSpec{Raw: all, Pooled: all, Pool: layers.PoolMax, Normalize: norm})
	if err != nil {
		t.Fatal(err)
	}
	together := e.open(t, r, fused.Model, port(fused.Input), ports(fused)...)
	whole := together.run(t, batch, pixels, nil)
	// An image alone gives the same rows.
	const i = 1
	size := fused.Input.Len
	alone := together.run(t, 1, pixels[i*size:(i+1)*size], nil)
	for k, o := range fused.Outputs {
		near(t, o.Name+" of one image alone", alone[k], whole[k][i*o.Len:(i+1)*o.Len], tolerance)
	}
	// Stage by stage, each from what the one before has given.
	from, values, worst := "", []float32(nil), 0.0
	for i, l := range c.Layers {
		spec := layers.ProgramSpec{From: from, Raw: []string{l.Name}}
		if from == "" {
			spec.Normalize = norm
		}
		p, err := c.Program(spec)
		if err != nil {
			t.Fatal(err)
		}
		out := e.open(t, r, p.Model, port(p.Input), ports(p)...).run(t, batch, pixels, values)
		worst = max(worst, near(t, "stage to "+l.Name, out[0], whole[i], tolerance))
		from, values = l.Name, out[0]
	}
	t.Logf("stages off by %.2g at most", worst)
	e.whole(t, r, c, fused, pixels[:size], whole)
	return strings.TrimSpace(golden.String())
}

// whole runs the file as it is on the first image and compares layers that it has under their names, and
// its output.
func (e *exported) whole(t *testing.T, r *Runtime, c *layers.CNN, fused *layers.Program, pixels []byte, ours [][]float32) {
	t.Helper()
	m := *e.model
	g := *m.Graph
	m.Graph = &g
	x := planes(pixels, c.Input)
	in := Port{Name: e.input.Name, Shape: []int64{int64(c.Input.C), int64(c.Input.H), int64(c.Input.W)}}
	if c.Input.Layout == "NHWC" {
		in.Shape = []int64{in.Shape[1], in.Shape[2], in.Shape[0]}
	}
	if c.Input.Elem == onnx.Float16 {
		g.Nodes = append([]*onnx.Node{onnx.NewNode("Cast", "test/half", []string{"test/input"}, []string{in.Name}, onnx.IntAttr("to", int64(onnx.Float16)))}, g.Nodes...)
		g.Inputs = []*onnx.ValueInfo{onnx.NewValue("test/input", onnx.Float32, onnx.BatchOf(in.Shape...)...)}
		in.Name = "test/input"
	}
	var out []Port
	var want [][]float32
	g.Outputs = nil
	for i, l := range c.Layers {
		// A program gives what lies in the file as it is wanted under the tensor's own name.
		if !e.outputs[l.Tensor] || fused.Outputs[i].Name != l.Tensor || e.Quantized || e.Float16 {
			continue
		}
		out = append(out, Port{Name: l.Tensor, Shape: l.Shape})
		g.Outputs = append(g.Outputs, &onnx.ValueInfo{Name: l.Tensor, Type: onnx.Float32})
		want = append(want, ours[i][:l.Dim])
	}
	if e.Quantized || e.Float16 {
		// Asking for inner tensors would keep the runtime from computing in integers: the last layer is enough.
		l, i := c.Layers[len(c.Layers)-1], len(c.Layers)-1
		final := e.model.Graph.Outputs[0]
		if l.Tensor != final.Name && !slices.Contains(l.Aliases, final.Name) {
			t.Fatalf("the last layer %q is not the output %q", l.Tensor, final.Name)
		}
		name := final.Name
		if final.Type != onnx.Float32 {
			g.Nodes = append(slices.Clone(g.Nodes), onnx.NewNode("Cast", "test/float", []string{name}, []string{"test/output"}, onnx.IntAttr("to", int64(onnx.Float32))))
			name = "test/output"
		}
		g.Outputs = []*onnx.ValueInfo{{Name: name, Type: onnx.Float32}}
		out, want = []Port{{Name: name, Shape: l.Shape}}, [][]float32{ours[i][:l.Dim]}
	}
	if len(out) == 0 {
		t.Fatal("no layer can be compared")
	}
	m.Graph.Initializers = slices.Clone(g.Initializers)
	got := e.open(t, r, &m, in, out...).run(t, 1, nil, x)
	allowed := float64(tolerance)
	if e.Quantized {
		allowed = 1e-2 // one step of the last quantization, whose neighbours the runtime fuses in one way or another
	}
	for i, p := range out {
		near(t, "the file's "+p.Name, want[i], got[i], allowed)
	}
}

// planes is the preprocessing of the test, on one image: bytes minus 127.5, by 58, grey as PIL makes it.
func planes(pixels []byte, in layers.InputSpec) []float32 {
	out := make([]float32, in.C*in.H*in.W)
	for i := range in.H * in.W {
		p := pixels[3*i:]
		v := []float32{float32(p[0]), float32(p[1]), float32(p[2])}
		if in.C == 1 {
			v = []float32{0.299*v[0] + 0.587*v[1] + 0.114*v[2]}
		}
		for k, x := range v {
			at := k*in.H*in.W + i
			if in.Layout == "NHWC" {
				at = i*in.C + k
			}
			out[at] = (x - 127.5) / 58
		}
	}
	return out
}

func port(p layers.Port) Port {
	return Port{Name: p.Name, U8: p.Elem == onnx.Uint8, Shape: p.Shape}
}

func ports(p *layers.Program) []Port {
	var out []Port
	for _, o := range p.Outputs {
		out = append(out, port(o))
	}
	return out
}

// program is a program that is open for the rest of the test.
type program struct {
	s   *Session
	out int
}

func (e *exported) open(t testing.TB, r *Runtime, m *onnx.Model, in Port, out ...Port) program {
	t.Helper()
	s, err := r.Open(t.Context(), e.write(t, m), "", in, out)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return program{s, len(out)}
}

func (p program) run(t testing.TB, n int, pixels []byte, values []float32) [][]float32 {
	t.Helper()
	run, err := p.s.NewRunner(n)
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	copy(run.Input(), pixels)
	copy(run.InputF32(), values)
	if err := run.Run(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	got := make([][]float32, p.out)
	for i := range got {
		got[i] = slices.Clone(run.Output(i))
	}
	return got
}

// picture makes images of smooth noise.
func picture(n, h, w int) []byte {
	r := rand.New(rand.NewPCG(3, 3))
	b := make([]byte, n*h*w*3)
	for i := range b {
		b[i] = byte(r.Uint32())
		if i >= 3 && i%7 != 0 {
			b[i] = byte((int(b[i]) + 3*int(b[i-3])) / 4)
		}
	}
	return b
}

// near compares two outputs and returns how far they are apart, in parts of the largest value.
func near(t *testing.T, what string, got, want []float32, tolerance float64) float64 {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d values, want %d", what, len(got), len(want))
		return math.Inf(1)
	}
	var largest, worst float64
	for i := range want {
		largest = max(largest, math.Abs(float64(want[i])))
		d := math.Abs(float64(got[i]) - float64(want[i]))
		if math.IsNaN(d) {
			d = math.Inf(1)
		}
		worst = max(worst, d)
	}
	if worst > tolerance*largest || largest == 0 || math.IsInf(largest, 0) {
		t.Errorf("%s: off by %.3g of the largest value %.3g", what, worst/largest, largest)
	}
	return worst / largest
}
