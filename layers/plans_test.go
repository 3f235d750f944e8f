package layers

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/vista-mr/vista-mr/layers/onnx"
	"github.com/vista-mr/vista-mr/layers/reference"
)

// tiny is a network with everything the catalogue's have, on h x w images.
func tiny(h, w int) Arch {
	block := func(path string, out, stride int, shortcut bool) []Step {
		s := Step{Op: "residual", Path: path, Body: []Step{
			{Op: "conv", Path: path + ".conv1", Out: out, Kernel: 3, Stride: stride, Pad: 1, NoBias: true},
			{Op: "bn", Path: path + ".bn1"},
			{Op: "relu", Path: path + ".relu"},
			{Op: "conv", Path: path + ".conv2", Out: out, Kernel: 3, Pad: 1, Groups: 2, NoBias: true},
			{Op: "bn", Path: path + ".bn2", Gain: 0.5},
		}}
		if shortcut {
			s.Shortcut = []Step{{Op: "conv", Path: path + ".downsample.0", Out: out, Kernel: 1, Stride: stride, NoBias: true}, {Op: "bn", Path: path + ".downsample.1"}}
		}
		return []Step{s, {Op: "relu", Path: path + ".relu", Layer: "block" + path[len(path)-1:]}}
	}
	return Arch{Name: "tiny", H: h, W: w, C: 3, Roster: []string{"block1", "block2", "fc1", "fc2"}, Steps: slices.Concat(
		[]Step{{Op: "conv", Path: "conv1", Out: 4, Kernel: 3, Stride: 2, Pad: 1}, {Op: "relu", Path: "relu", Layer: "conv1"}, {Op: "maxpool", Path: "maxpool", Kernel: 2, Stride: 1}},
		block("layer.1", 6, 2, true), block("layer.2", 6, 1, false),
		[]Step{{Op: "flatten"}, {Op: "linear", Path: "classifier.0", Out: 7}, {Op: "relu", Path: "classifier.1", Layer: "fc1"}, {Op: "linear", Path: "classifier.2", Out: 5, Layer: "fc2"}})}
}

func openTiny(t testing.TB, h, w int) *CNN {
	t.Helper()
	c, err := Build(context.Background(), tiny(h, w), Source{Weights: "random", Seed: 7})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func picture(n, h, w int, seed uint64) reference.Tensor {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n*h*w*3)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return reference.Tensor{Dims: []int64{int64(n), int64(h), int64(w), 3}, Bytes: b}
}

// whole computes every layer by the uncut network, with preprocessing by hand.
func whole(t *testing.T, c *CNN, img reference.Tensor, n *Normalize) map[string]reference.Tensor {
	t.Helper()
	m := *c.Model
	g := *m.Graph
	m.Graph = &g
	g.Outputs = nil
	for _, l := range c.cuts {
		g.Outputs = append(g.Outputs, onnx.NewValue(l.Tensor, onnx.Float32))
	}
	b, h, w := int(img.Dims[0]), int(img.Dims[1]), int(img.Dims[2])
	x := reference.Tensor{Dims: []int64{int64(b), 3, int64(h), int64(w)}, Floats: make([]float32, len(img.Bytes))}
	for i, v := range img.Bytes {
		px, ch := i/3, i%3
		f := float32(v)
		if n != nil && n.Channels == "BGR" {
			ch = 2 - ch
		}
		if n != nil {
			f = (f*n.Scale - n.Mean[ch]) / n.Std[ch]
		}
		x.Floats[(px/(h*w)*3+ch)*h*w+px%(h*w)] = f
	}
	out, err := reference.Run(&m, map[string]reference.Tensor{c.Input.Tensor: x})
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]reference.Tensor{}
	for _, l := range c.cuts {
		byName[l.Name] = out[l.Tensor]
	}
	return byName
}

// poolByHand follows the definition: cell i of 2 spans floor(i*n/2) to ceil((i+1)*n/2).
func poolByHand(x reference.Tensor, p Pool) []float32 {
	if len(x.Dims) < 4 || p == PoolNone {
		return x.Floats
	}
	h, w := int(x.Dims[2]), int(x.Dims[3])
	cells := func(n int) [][2]int {
		if p == PoolAvg || n == 1 {
			return [][2]int{{0, n}}
		}
		return [][2]int{{0, (n + 1) / 2}, {n / 2, n}}
	}
	var out []float32
	for c := range int(x.Dims[0] * x.Dims[1]) {
		for _, ys := range cells(h) {
			for _, xs := range cells(w) {
				best, sum := float32(-1e30), 0.0
				for y := ys[0]; y < ys[1]; y++ {
					for xx := xs[0]; xx < xs[1]; xx++ {
						v := x.Floats[(c*h+y)*w+xx]
						best, sum = max(best, v), sum+float64(v)
					}
				}
				if p == PoolAvg {
					best = float32(sum / float64(h*w))
				}
				out = append(out, best)
			}
		}
	}
	return out
}

func same(t *testing.T, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d values, want %d", what, len(got), len(want))
		return
	}
	var top, worst float64
	for i := range want {
		top = max(top, float64(want[i]), -float64(want[i]))
		worst = max(worst, float64(got[i]-want[i]), float64(want[i]-got[i]))
	}
	if !(worst <= 3e-5*top) || top == 0 {
		t.Errorf("%s: differs by %g of %g", what, worst, top)
	}
}

func run(t *testing.T, p *Program, in reference.Tensor) map[string]reference.Tensor {
	t.Helper()
	// What is run is what another program would read from the file.
	m, err := onnx.Parse(p.Model.Marshal())
	if err != nil {
		t.Fatal(err)
	}
	out, err := reference.Run(m, map[string]reference.Tensor{p.Input.Name: in})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestPlans runs every plan over every pooling, odd sides and sides of 1, and compares with the whole
// network.
func TestPlans(t *testing.T) {
	norms := map[string]*Normalize{"none": nil, "bgr": {Mean: []float32{10, 20, 30}, Std: []float32{2, 3, 4}, Scale: 0.5, Channels: "BGR"}}
	norms["imagenet"], _ = Preset("imagenet")
	for _, size := range [][2]int{{16, 16}, {13, 22}, {4, 21}, {5, 5}} {
		for _, batch := range []int{1, 3} {
			c := openTiny(t, size[0], size[1])
			img := picture(batch, size[0], size[1], 3)
			for which, norm := range norms {
				want := whole(t, c, img, norm)
				for _, pool := range []Pool{PoolNone, PoolAvg, PoolMax} {
					label := fmt.Sprintf("%v batch %d %s %s", size, batch, which, pool)
					plans(t, c, img, norm, pool, want, label)
				}
			}
		}
	}
}

func plans(t *testing.T, c *CNN, img reference.Tensor, norm *Normalize, pool Pool, want map[string]reference.Tensor, label string) {
	t.Helper()
	layers := slices.Concat([]string{"conv1"}, c.Roster)
	program := func(s ProgramSpec) *Program {
		s.Pool, s.Normalize = pool, norm
		p, err := c.Program(s)
		if err != nil {
			t.Fatalf("%s: %v", label, err)
		}
		return p
	}
	check := func(plan string, p *Program, out map[string]reference.Tensor) {
		t.Helper()
		for _, o := range p.Outputs {
			got := out[o.Name]
			ref := want[o.Layer].Floats
			if o.Kind == KindPooled {
				ref = poolByHand(want[o.Layer], pool)
				if len(got.Dims) != 2 {
					t.Errorf("%s %s %s: shape %v", label, plan, o.Layer, got.Dims)
				}
			}
			same(t, label+" "+plan+" "+o.Layer+" "+string(o.Kind), got.Floats, ref)
			if !slices.Equal(got.Dims[1:], o.Shape) || int64(len(got.Floats)) != img.Dims[0]*int64(o.Len) {
				t.Errorf("%s %s %s: shape %v, the port says %v and %d", label, plan, o.Layer, got.Dims, o.Shape, o.Len)
			}
		}
	}
	fused := program(ProgramSpec{Pooled: layers})
	check("fused", fused, run(t, fused, img))
	for _, l := range layers {
		lazy := program(ProgramSpec{Pooled: []string{l}})
		check("lazy", lazy, run(t, lazy, img))
	}
	eager := program(ProgramSpec{Raw: layers})
	volumes := run(t, eager, img)
	check("eager", eager, volumes)
	for i, l := range layers {
		only := program(ProgramSpec{From: l, Pooled: []string{l}})
		check("eager pool", only, run(t, only, volumes[eager.Outputs[i].Name]))
	}
	var stored reference.Tensor
	for i, l := range layers {
		s := ProgramSpec{Raw: []string{l}, Pooled: []string{l}}
		in := img
		if i > 0 {
			s.From, in = layers[i-1], stored
		}
		stage := program(s)
		out := run(t, stage, in)
		check("staged", stage, out)
		stored = out[stage.Output(l, KindRaw).Name]
	}
}
