package layers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/layers/weights"
)

// TestStateDict compares parameters with the lists in testdata/state: names and shapes of torchvision's
// state_dict in its order, one a line, with num_batches_tracked.
func TestStateDict(t *testing.T) {
	for _, name := range names() {
		data, err := os.ReadFile("testdata/state/" + name + ".txt")
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for line := range strings.Lines(string(data)) {
			if line = strings.TrimSpace(line); !strings.Contains(line, "num_batches_tracked") {
				want = append(want, line)
			}
		}
		a, _ := catalogue(name)
		b, err := build(a)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range b.params {
			dims := strings.Trim(strings.ReplaceAll(fmt.Sprint(p.Dims), " ", ","), "[]")
			got = append(got, p.Name+" "+dims)
		}
		// A state_dict lists a block's shortcut behind its body, as the graph does.
		if !slices.Equal(got, want) {
			for i := range max(len(got), len(want)) {
				if i >= len(got) || i >= len(want) || got[i] != want[i] {
					t.Fatalf("%s: parameter %d of %d, want %d: got %q, want %q", name, i, len(got), len(want), at(got, i), at(want, i))
				}
			}
		}
	}
}

func at(list []string, i int) string {
	if i < len(list) {
		return list[i]
	}
	return ""
}

func TestRoster(t *testing.T) {
	want := map[string]struct {
		params, macs int64
		cuts         int
		layers       []string
		shapes       [][]int64
		shares       []float64 // research figures, per cent rounded down
		candidates   int
	}{
		"alexnet": {61100840, 714188480, 19, []string{"conv5", "fc6", "fc7", "fc8"}, [][]int64{{256, 13, 13}, {4096}, {4096}, {1000}}, []float64{0.91, 0.97, 0.99, 1}, 8},
		"vgg16":   {138357544, 15470264320, 37, []string{"fc6", "fc7", "fc8"}, [][]int64{{4096}, {4096}, {1000}}, []float64{0.99, 0.99, 1}, 16},
		"resnet50": {25557032, 4089184256, 39, []string{"conv4_6", "conv5_1", "conv5_2", "conv5_3", "fc6"},
			[][]int64{{1024, 14, 14}, {2048, 7, 7}, {2048, 7, 7}, {2048, 7, 7}, {1000}}, []float64{0.80, 0.89, 0.94, 0.99, 1}, 18},
		"efficientnet-lite0": {4652008, 385187552, 71, []string{"block5_3", "block6_1", "block6_2", "block6_3", "block6_4", "block7_1", "head", "fc"},
			[][]int64{{112, 14, 14}, {192, 7, 7}, {192, 7, 7}, {192, 7, 7}, {192, 7, 7}, {320, 7, 7}, {1280, 7, 7}, {1000}}, []float64{0.63, 0.68, 0.74, 0.80, 0.86, 0.94, 0.99, 1}, 19},
	}
	for _, e := range Roster() {
		w := want[e.Name]
		if e.Params != w.params || e.MACs != w.macs || !slices.Equal(e.Layers, w.layers) {
			t.Errorf("%s: %d parameters, %d MACs, layers %v", e.Name, e.Params, e.MACs, e.Layers)
		}
		c := skeleton(t, e.Name)
		if len(c.cuts) != w.cuts || len(c.Layers) != w.candidates {
			t.Errorf("%s: %d cuts, %d candidates, want %d and %d", e.Name, len(c.cuts), len(c.Layers), w.cuts, w.candidates)
		}
		last, err := c.Last(len(w.layers))
		if err != nil {
			t.Fatal(err)
		}
		for i, l := range last {
			if l.Name != w.layers[i] || !slices.Equal(l.Shape, w.shapes[i]) || float64(int(l.Share*100))/100 != w.shares[i] {
				t.Errorf("%s: layer %d is %s %v with share %.4f, want %s %v %.2f", e.Name, i, l.Name, l.Shape, l.Share, w.layers[i], w.shapes[i], w.shares[i])
			}
		}
		for _, l := range c.cuts {
			// Cuts of a ResNet are its stem, block ends (sum and activation) and head, nothing inside blocks.
			if inside := strings.Contains(l.Tensor, "layer"); inside && !strings.Contains(l.Tensor, "/Add_") && !strings.Contains(l.Tensor, "/relu_2/") {
				t.Errorf("%s: a cut inside a block: %s", e.Name, l.Tensor)
			}
		}
	}
}

// skeleton opens a network of the catalogue without weights' values.
func skeleton(t testing.TB, name string) *CNN {
	t.Helper()
	a, ok := catalogue(name)
	if !ok {
		t.Fatalf("no network %s", name)
	}
	b, err := build(a)
	if err != nil {
		t.Fatal(err)
	}
	c := &CNN{Name: name, Roster: a.Roster}
	if err := c.analyze(b.model, b.names); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPooledDim(t *testing.T) {
	c := skeleton(t, "resnet50")
	l, err := c.Select("conv5_3")
	if err != nil {
		t.Fatal(err)
	}
	for p, want := range map[Pool]int{PoolNone: 100352, PoolAvg: 2048, PoolMax: 8192} {
		if got := l[0].PooledDim(p); got != want {
			t.Errorf("conv5_3 %s: %d, want %d", p, got, want)
		}
	}
	if got := (Layer{Shape: []int64{5, 1, 9}, Dim: 45}).PooledDim(PoolMax); got != 10 {
		t.Errorf("5x1x9 max-2x2: %d, want 10", got)
	}
	if got := (Layer{Shape: []int64{4096}, Dim: 4096}).PooledDim(PoolAvg); got != 4096 {
		t.Errorf("a vector: %d", got)
	}
}

// TestNothingBehind checks that a program holds no node and no weight behind its last layer.
func TestNothingBehind(t *testing.T) {
	c := skeleton(t, "resnet50")
	norm, _ := Preset("imagenet")
	p, err := c.Program(ProgramSpec{Pooled: []string{"conv4_6"}, Pool: PoolMax, Normalize: norm})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range p.Model.Graph.Initializers {
		if strings.HasPrefix(x.Name, "layer4") || strings.HasPrefix(x.Name, "fc") {
			t.Errorf("conv4_6 needs no %s", x.Name)
		}
	}
	if p.Input.Name != "image" || p.Input.Len != 224*224*3 || p.Outputs[0].Len != 4096 {
		t.Errorf("ports %+v %+v", p.Input, p.Outputs)
	}
	stage, err := c.Program(ProgramSpec{From: "conv4_6", Raw: []string{"conv5_1"}, Pooled: []string{"conv5_1"}, Pool: PoolMax})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range stage.Model.Graph.Initializers {
		if !strings.HasPrefix(x.Name, "layer4.0.") {
			t.Errorf("conv5_1 from conv4_6 needs no %s", x.Name)
		}
	}
}

func TestSelect(t *testing.T) {
	c := skeleton(t, "resnet50")
	for in, want := range map[string]string{
		"/layer4/layer4.2/relu_2/Relu_output_0": "conv5_3", // tensor
		"/layer4/layer4.2/relu_2/Relu":          "conv5_3", // node
		"conv5_3":                               "conv5_3",
		"layer4.2.relu_2":                       "conv5_3", // module
		"layer4.2":                              "conv5_3",
		"layer4":                                "conv5_3",
		"layer3":                                "conv4_6",
		"fc":                                    "fc6",
		"-1":                                    "fc6",
		"-5":                                    "conv4_6",
		"/avgpool/GlobalAveragePool_output_0":   "/avgpool/GlobalAveragePool_output_0", // a cut, though no candidate
	} {
		got, err := c.Select(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if len(got) != 1 || got[0].Name != want {
			t.Errorf("%s: got %s, want %s", in, got[0].Name, want)
		}
	}
	got, err := c.Select("fc6", "conv4_6")
	if err != nil || got[0].Name != "conv4_6" || got[1].Name != "fc6" {
		t.Errorf("order: %v %v", got, err)
	}
	for in, want := range map[string]string{
		"conv5_4":                     "conv5_3",
		"-19":                         "count from -1",
		"3":                           "count from -1",
		"/layer4/layer4.2/conv2/Conv": "inside a branch",
		"":                            "no layer",
	} {
		_, err := c.Select(in)
		var e *Error
		if !errors.As(err, &e) || e.ErrorID() != "E-LAYER" || !strings.Contains(e.Error()+e.Hint(), want) {
			t.Errorf("%q: %v", in, err)
		}
	}
	for want, names := range map[string][]string{
		`layer "conv5_3" is named twice`:                                    {"conv5_3", "conv5_3"},
		`"layer4.2" is layer "conv5_3", which is named already`:             {"conv5_3", "layer4.2"},
		`layer "conv5_3" is named already as "layer4"`:                      {"layer4", "conv5_3"},
		`"layer4.2" is layer "conv5_3", which is named already as "layer4"`: {"layer4", "layer4.2"},
	} {
		if _, err := c.Select(names...); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", names, err, want)
		}
	}
	for _, n := range []int{0, -1, 19} {
		if _, err := c.Last(n); err == nil {
			t.Errorf("the last %d layers were accepted", n)
		}
	}
}

func TestProgramErrors(t *testing.T) {
	c := openTiny(t, 16, 16)
	for _, s := range []ProgramSpec{
		{},
		{Pooled: []string{"fc1"}},
		{Pooled: []string{"fc1"}, Pool: "max-3x3"},
		{Pooled: []string{"nothing"}, Pool: PoolMax},
		{From: "fc1", Pooled: []string{"block1"}, Pool: PoolMax},
		{Pooled: []string{"fc1"}, Pool: PoolMax, Normalize: &Normalize{Mean: []float32{1, 2}}},
		{Pooled: []string{"fc1"}, Pool: PoolMax, Normalize: &Normalize{Std: []float32{0}}},
		{Pooled: []string{"fc1"}, Pool: PoolMax, Normalize: &Normalize{Channels: "CMYK"}},
	} {
		if p, err := c.Program(s); err == nil {
			t.Errorf("%+v gave a program with outputs %v", s, p.Outputs)
		}
	}
}

func TestWeightsRoundTrip(t *testing.T) {
	a := tiny(16, 16)
	b, err := build(a)
	if err != nil {
		t.Fatal(err)
	}
	values := weights.Random(b.params, 7)
	tensors := map[string]weights.Tensor{"layer.1.bn1.num_batches_tracked": {Type: "I64", Data: make([]byte, 8)}}
	order := []string{"layer.1.bn1.num_batches_tracked"}
	for _, p := range b.params {
		tensors[p.Name] = weights.Tensor{Type: "F32", Dims: p.Dims, Data: values[p.Name]}
		order = append(order, p.Name)
	}
	var file bytes.Buffer
	if err := weights.Write(&file, order, tensors); err != nil {
		t.Fatal(err)
	}
	source := func(data []byte) Source {
		return Source{Weights: "w", Read: func(context.Context, string) ([]byte, error) { return data, nil }}
	}
	random := openTiny(t, 16, 16)
	loaded, err := Build(t.Context(), a, source(file.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if loaded.Digest != random.Digest {
		t.Error("the same weights from a file give another digest")
	}
	other, err := Build(t.Context(), a, Source{Weights: "random", Seed: 8})
	if err != nil || other.Digest == random.Digest {
		t.Errorf("another seed gives the same digest (%v)", err)
	}
	fromONNX, err := Build(t.Context(), a, source(random.Model.Marshal()))
	if err != nil || fromONNX.Digest != random.Digest {
		t.Errorf("weights from an ONNX file: %v", err)
	}
	delete(tensors, "conv1.bias")
	tensors["extra"] = weights.Tensor{Type: "F32", Dims: []int64{1}, Data: make([]byte, 4)}
	file.Reset()
	if err := weights.Write(&file, append(slices.DeleteFunc(order, func(s string) bool { return s == "conv1.bias" }), "extra"), tensors); err != nil {
		t.Fatal(err)
	}
	_, err = Build(t.Context(), a, source(file.Bytes()))
	var e *weights.Error
	if !errors.As(err, &e) || len(e.Problems) != 2 || e.ErrorID() != "E-WEIGHTS" {
		t.Errorf("missing and superfluous: %v", err)
	}
	for _, w := range []string{"", "w"} {
		if _, err := Build(t.Context(), a, Source{Weights: w}); err == nil {
			t.Errorf("weights %q without a reader were accepted", w)
		}
	}
	if _, err := Open(t.Context(), Source{Model: "resnet51", Weights: "random"}); err == nil {
		t.Error("resnet51 was opened")
	}
}

// TestReopen writes a network as an ONNX file, with and without external data, and opens it as a user's.
func TestReopen(t *testing.T) {
	c := openTiny(t, 13, 22)
	var model, data bytes.Buffer
	if err := c.Model.WriteExternal(&model, &data, "tiny.bin", 64); err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{"m/one.onnx": c.Model.Marshal(), "m/two.onnx": model.Bytes(), "m/tiny.bin": data.Bytes()}
	read := func(_ context.Context, uri string) ([]byte, error) {
		if b, ok := files[uri]; ok {
			return b, nil
		}
		return nil, os.ErrNotExist
	}
	img := picture(2, 13, 22, 5)
	want := whole(t, c, img, nil)
	for _, uri := range []string{"m/one.onnx", "m/two.onnx"} {
		d, err := Open(t.Context(), Source{Model: uri, Read: read})
		if err != nil {
			t.Fatal(err)
		}
		if len(d.cuts) != len(c.cuts) || len(d.Layers) != len(c.Layers) {
			t.Errorf("%s: %d cuts and %d layers, want %d and %d", uri, len(d.cuts), len(d.Layers), len(c.cuts), len(c.Layers))
		}
		l, err := d.Select("layer.2")
		if err != nil {
			t.Fatal(err)
		}
		p, err := d.Program(ProgramSpec{Raw: []string{l[0].Name}})
		if err != nil {
			t.Fatal(err)
		}
		same(t, uri, run(t, p, img)[l[0].Tensor].Floats, want["block2"].Floats)
	}
	if _, err := Open(t.Context(), Source{Model: "m/none.onnx", Read: read}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

func TestDigests(t *testing.T) {
	c, d := openTiny(t, 16, 16), openTiny(t, 16, 16)
	seen := map[string]bool{}
	for _, s := range []ProgramSpec{
		{Pooled: []string{"fc1"}, Pool: PoolMax}, {Pooled: []string{"block1"}, Pool: PoolMax}, {Pooled: []string{"block1"}, Pool: PoolAvg},
		{Raw: []string{"block1"}}, {From: "block1", Raw: []string{"block2"}}, {Pooled: []string{"fc1"}, Pool: PoolMax, Normalize: &Normalize{Scale: 2}},
	} {
		p, err := c.Program(s)
		if err != nil {
			t.Fatal(err)
		}
		q, err := d.Program(s)
		if err != nil {
			t.Fatal(err)
		}
		if p.Digest != q.Digest {
			t.Errorf("%+v: two digests", s)
		}
		if seen[p.Digest] {
			t.Errorf("%+v: the digest of another program", s)
		}
		seen[p.Digest] = true
	}
}

func TestBuildErrors(t *testing.T) {
	for _, steps := range [][]Step{
		{{Op: "conv", Path: "a", Out: 4, Kernel: 40}},
		{{Op: "conv", Path: "a", Out: 4, Kernel: 3, Groups: 2}},
		{{Op: "linear", Path: "a", Out: 4}},
		{{Op: "avgpool", Path: "a", Out: 5}},
		{{Op: "wish", Path: "a"}},
		{{Op: "residual", Path: "a", Body: []Step{{Op: "conv", Path: "b", Out: 4, Kernel: 3}}}},
	} {
		if _, err := Build(t.Context(), Arch{Name: "x", H: 16, W: 16, C: 3, Steps: steps}, Source{Weights: "random"}); err == nil {
			t.Errorf("%+v was built", steps)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, name := range names() {
		b.Run("model="+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c, err := Open(context.Background(), Source{Model: name, Weights: "random", Seed: 1})
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(c.Layers[len(c.Layers)-1].Bytes)
			}
		})
	}
}

func BenchmarkProgram(b *testing.B) {
	c, err := Open(context.Background(), Source{Model: "resnet50", Weights: "random", Seed: 1})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Program(ProgramSpec{Pooled: c.Roster, Pool: PoolMax}); err != nil {
			b.Fatal(err)
		}
	}
}
