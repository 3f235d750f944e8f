package layers

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vista-mr/vista-mr/layers/onnx"
)

// chain is a model of n nodes in a row behind a convolution.
func chain(n int, op string, attrs ...*onnx.Attr) *onnx.Model {
	g := &onnx.Graph{Inputs: []*onnx.ValueInfo{onnx.NewValue("x", onnx.Float32, onnx.BatchOf(3, 8, 8)...)},
		Initializers: []*onnx.Tensor{onnx.Floats("w", []int64{2, 3, 1, 1}, 1, 2, 3, 4, 5, 6)},
		Nodes:        []*onnx.Node{onnx.NewNode("Conv", "conv", []string{"x", "w"}, []string{"t0"})}}
	for i := range n {
		g.Nodes = append(g.Nodes, onnx.NewNode(op, "", []string{fmt.Sprintf("t%d", i)}, []string{fmt.Sprintf("t%d", i+1)}, attrs...))
	}
	g.Outputs = []*onnx.ValueInfo{{Name: fmt.Sprintf("t%d", n), Type: onnx.Float32}}
	return &onnx.Model{IRVersion: 8, Opsets: []onnx.Opset{{Version: 13}}, Graph: g}
}

// with adds nodes and constants to a chain whose last node reads what they make.
func with(nodes []*onnx.Node, consts ...*onnx.Tensor) *onnx.Model {
	m := chain(1, "Relu")
	m.Graph.Nodes = append(nodes, m.Graph.Nodes...)
	m.Graph.Initializers = append(m.Graph.Initializers, consts...)
	for _, n := range nodes {
		m.Graph.Outputs = append(m.Graph.Outputs, &onnx.ValueInfo{Name: n.Outputs[0]})
	}
	return m
}

func field(num int, data []byte) []byte {
	out := []byte{byte(num<<3 | 2)}
	n := len(data)
	for n >= 0x80 {
		out = append(out, byte(n)|0x80)
		n >>= 7
	}
	return append(append(out, byte(n)), data...)
}

// hostile are files that ask for more than they hold, by name. fine says that a file is odd but can be used.
func hostile() map[string]struct {
	data []byte
	fine bool
} {
	out := map[string]struct {
		data []byte
		fine bool
	}{}
	bad := func(name string, m *onnx.Model) {
		out[name] = struct {
			data []byte
			fine bool
		}{m.Marshal(), false}
	}
	good := func(name string, m *onnx.Model) {
		out[name] = struct {
			data []byte
			fine bool
		}{m.Marshal(), true}
	}
	raw := func(name string, b []byte) {
		out[name] = struct {
			data []byte
			fine bool
		}{b, false}
	}
	good("long chain", chain(9_999, "Relu"))
	good("long chain of aliases", chain(9_999, "Identity"))
	bad("endless chain", chain(10_000, "Relu"))
	middle := onnx.NewNode("Mul", "mul", nil, []string{"m"})
	for range 400_000 {
		middle.Inputs = append(middle.Inputs, "t0")
	}
	middle.Inputs = append(middle.Inputs, "k")
	good("one node reads a tensor often", func() *onnx.Model {
		m := chain(1, "Conv")
		m.Graph.Nodes[1].Inputs = []string{"m", "v"}
		m.Graph.Nodes = slices.Insert(m.Graph.Nodes, 1, middle)
		m.Graph.Initializers = append(m.Graph.Initializers, onnx.Floats("k", []int64{1, 2, 1, 1}, 1, 2), onnx.Floats("v", []int64{2, 2, 1, 1}, 1, 0, 0, 1))
		return m
	}())
	bad("cycle", func() *onnx.Model {
		m := chain(2, "Relu")
		m.Graph.Nodes[1].Inputs[0] = "t2"
		return m
	}())
	bad("undefined input", func() *onnx.Model {
		m := chain(2, "Relu")
		m.Graph.Nodes[1].Inputs[0] = "nowhere"
		return m
	}())
	bad("defined twice", func() *onnx.Model {
		m := chain(2, "Relu")
		m.Graph.Nodes[2].Outputs[0] = "t1"
		return m
	}())
	bad("weight twice", func() *onnx.Model {
		m := chain(2, "Relu")
		m.Graph.Initializers = append(m.Graph.Initializers, m.Graph.Initializers[0])
		return m
	}())
	bad("no input", func() *onnx.Model {
		m := chain(2, "Relu")
		m.Graph.Inputs = nil
		return m
	}())
	bad("no graph", &onnx.Model{IRVersion: 8})
	bad("huge image", func() *onnx.Model {
		m := chain(2, "Relu")
		m.Graph.Inputs[0].Shape = onnx.BatchOf(3, 1<<40, 1<<40)
		return m
	}())
	bad("large image", func() *onnx.Model {
		m := chain(2, "Relu")
		m.Graph.Inputs[0].Shape = onnx.BatchOf(3, 1<<15, 1<<15)
		return m
	}())
	huge := &onnx.Tensor{Name: "big", Dims: []int64{1 << 30, 1 << 30}, Type: onnx.Float32}
	bad("huge weight", with(nil, huge))
	bad("weight without data", with(nil, &onnx.Tensor{Name: "big", Dims: []int64{1 << 28}, Type: onnx.Float32}))
	bad("huge constant", with([]*onnx.Node{onnx.NewNode("ConstantOfShape", "fill", []string{"shape"}, []string{"made"})}, onnx.Ints("shape", 1<<20, 1<<19)))
	bad("tiled constant", with([]*onnx.Node{onnx.NewNode("Tile", "tile", []string{"one", "repeats"}, []string{"made"})}, onnx.Floats("one", []int64{1}, 1), onnx.Ints("repeats", 1<<35)))
	bad("huge reshape", with([]*onnx.Node{onnx.NewNode("Expand", "expand", []string{"x", "to"}, []string{"made"})}, onnx.Ints("to", 1<<20, 3, 8, 1<<13)))
	ones := make([]int64, 4096)
	for i := range ones {
		ones[i] = 1
	}
	concat := onnx.NewNode("Concat", "join", nil, []string{"made"}, onnx.IntAttr("axis", 0))
	for range 200_000 {
		concat.Inputs = append(concat.Inputs, "list")
	}
	bad("endless concatenation", with([]*onnx.Node{concat}, onnx.Ints("list", ones...)))
	ranks := []*onnx.Node{onnx.NewNode("Reshape", "r", []string{"one", "list"}, []string{"r0"})}
	bad("endless rank", with(ranks, onnx.Floats("one", []int64{1}, 1), onnx.Ints("list", ones...)))
	folds := []*onnx.Node{onnx.NewNode("Shape", "s", []string{"x"}, []string{"f"})}
	for i := range 9_000 {
		folds = append(folds, onnx.NewNode("Add", "", []string{"list", "list"}, []string{fmt.Sprintf("f%d", i)}))
	}
	bad("followed contents", with(folds, onnx.Ints("list", ones...)))
	names := chain(50, "Relu")
	for i, n := range names.Graph.Nodes[1:] {
		n.Name = strings.Repeat("n", 1<<20) + fmt.Sprint(i)
	}
	good("long names", names)

	deep := []byte{}
	for range 20_000 {
		deep = field(1, field(5, field(6, deep)))
		if len(deep) > 1<<20 {
			break
		}
	}
	raw("nested graphs", field(7, deep))
	raw("empty nodes", field(7, bytes.Repeat([]byte{0x0a, 0}, 40<<20)))
	raw("empty tensors", field(7, bytes.Repeat([]byte{0x2a, 0}, 40<<20)))
	raw("packed numbers", field(7, field(1, field(5, field(8, make([]byte, 200<<20))))))
	raw("zeros", make([]byte, 100<<20))
	raw("text", []byte("not a model at all, but a text that is somewhat longer"))
	raw("nothing", nil)

	// Functions: in a circle, each calling the next twice, one with long names called often.
	m := chain(1, "F0")
	m.Graph.Nodes[1].Domain = "local"
	call := func(op, from, to string) *onnx.Node {
		return &onnx.Node{OpType: op, Domain: "local", Inputs: []string{from}, Outputs: []string{to}}
	}
	for i := range 40 {
		next := fmt.Sprintf("F%d", (i+1)%40)
		m.Functions = append(m.Functions, &onnx.Function{Name: fmt.Sprintf("F%d", i), Domain: "local", Inputs: []string{"a"}, Outputs: []string{"c"},
			Nodes: []*onnx.Node{call(next, "a", "b"), call(next, "b", "c")}})
	}
	bad("functions in a circle", m)
	m = chain(5000, "F")
	long := onnx.NewNode("Sum", strings.Repeat("s", 1<<16), nil, []string{"c"})
	for i := range 200 {
		long.Inputs = append(long.Inputs, fmt.Sprintf("a%d", i))
	}
	for _, n := range m.Graph.Nodes[1:] {
		n.Domain = "local"
	}
	m.Functions = []*onnx.Function{{Name: "F", Domain: "local", Inputs: []string{"a0"}, Outputs: []string{"c"}, Nodes: []*onnx.Node{long}}}
	bad("a large function called often", m)

	// Conditions: each decided by the one before.
	m = chain(1, "Relu")
	m.Graph.Initializers = append(m.Graph.Initializers, &onnx.Tensor{Name: "c0", Type: onnx.Bool, Dims: []int64{}, Raw: []byte{1}})
	var ifs []*onnx.Node
	for i := range 2000 {
		branch := &onnx.Graph{Outputs: []*onnx.ValueInfo{{Name: "y"}}, Nodes: []*onnx.Node{onnx.NewNode("Identity", "", []string{fmt.Sprintf("c%d", i)}, []string{"y"})}}
		ifs = append(ifs, onnx.NewNode("If", fmt.Sprintf("if%d", i), []string{fmt.Sprintf("c%d", i)}, []string{fmt.Sprintf("c%d", i+1)},
			&onnx.Attr{Name: "then_branch", Type: onnx.AttrGraph, G: branch}, &onnx.Attr{Name: "else_branch", Type: onnx.AttrGraph, G: branch}))
	}
	m.Graph.Nodes = append(ifs, m.Graph.Nodes...)
	bad("conditions on conditions", m)
	return out
}

// TestHostile: a file that asks for much gets a plain error, or is used, in little time and memory.
func TestHostile(t *testing.T) {
	if testing.Short() {
		t.Skip("makes files of a hundred megabytes")
	}
	for name, c := range hostile() {
		t.Run(name, func(t *testing.T) {
			peak, stop := watchMemory()
			start := time.Now()
			err := openAll(t.Context(), c.data)
			took := time.Since(start)
			stop()
			var e interface {
				ErrorID() string
				Hint() string
			}
			switch {
			case err == nil && !c.fine:
				t.Error("it was accepted")
			case err != nil && (!errors.As(err, &e) || e.ErrorID() != "E-MODEL" || e.Hint() == ""):
				t.Errorf("%T %.300v", err, err)
			case err != nil && c.fine:
				t.Errorf("it was refused: %.300v", err)
			case err != nil && len(err.Error()) > 4096:
				t.Errorf("a message of %d bytes", len(err.Error()))
			}
			if took > 30*time.Second || *peak > 1<<30 {
				t.Errorf("it took %v and %d MiB", took, *peak>>20)
			}
		})
	}
}

// watchMemory notes the most memory in use, beyond what is in use now, until stop is called.
func watchMemory() (peak *int64, stop func()) {
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	peak = new(int64)
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			var now runtime.MemStats
			runtime.ReadMemStats(&now)
			*peak = max(*peak, int64(now.HeapAlloc)-int64(before.HeapAlloc))
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
	})
	return peak, func() {
		close(done)
		wg.Wait()
	}
}

// openAll opens a model and builds programs of all kinds from it.
func openAll(ctx context.Context, data []byte) error {
	zeros := make([]byte, 1<<16)
	c, err := Open(ctx, Source{Model: "m.onnx", Size: 32, Read: func(_ context.Context, uri string) ([]byte, error) {
		if uri == "m.onnx" {
			return data, nil
		}
		return zeros, nil
	}})
	if err != nil {
		return err
	}
	for _, name := range []string{"-1", "nothing of this name", "fc.weight"} {
		_, _ = c.Select(name) // only that it ends
	}
	last := c.Layers[max(0, len(c.Layers)-8):]
	spec := ProgramSpec{Pool: PoolMax, Normalize: &Normalize{Mean: []float32{1, 2, 3}}}
	if c.Input.Elem == onnx.Uint8 {
		spec.Normalize = nil
	}
	for i, l := range last {
		spec.Pooled = append(spec.Pooled, l.Name)
		spec.Raw = append(spec.Raw, l.Name)
		if i == 0 {
			continue
		}
		if _, err := c.Program(ProgramSpec{From: last[i-1].Name, Raw: []string{l.Name}, Pooled: []string{l.Name}, Pool: PoolAvg}); err != nil {
			return fmt.Errorf("from %q to %q: %w", last[i-1].Name, l.Name, err)
		}
	}
	p, err := c.Program(spec)
	if err != nil {
		return err
	}
	if _, err := onnx.Parse(p.Model.Marshal()); err != nil {
		return fmt.Errorf("the program cannot be read again: %w", err)
	}
	return nil
}

// FuzzOpen: no file makes opening a network or cutting it panic, and where it can be opened, it can be cut
// at every layer and the programs are models.
func FuzzOpen(f *testing.F) {
	f.Add(chain(3, "Relu").Marshal())
	for _, o := range odd() {
		f.Add(o.m.Marshal())
	}
	for _, name := range []string{"vgg11-script", "zoo-squeezenet", "resnet18-dynamo", "resnet18-qlinear", "caffe2-squeezenet", "mobilenet3-script-functions"} { // the fuzzer works best on small ones
		b, err := os.ReadFile("testdata/exporters/" + name + ".onnx.gz")
		if err != nil {
			f.Fatal(err)
		}
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			f.Fatal(err)
		}
		data, err := io.ReadAll(z)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		err := openAll(t.Context(), data)
		var e interface{ ErrorID() string }
		if err != nil && (!errors.As(err, &e) || e.ErrorID() != "E-MODEL" && e.ErrorID() != "E-LAYER") {
			t.Fatalf("%T %v", err, err)
		}
		if err != nil && strings.HasPrefix(err.Error(), "from ") {
			t.Fatal(err)
		}
	})
}
