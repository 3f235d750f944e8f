package layers

import (
	"fmt"
	"slices"
)

// catalogue returns the architecture of a network known by name: exactly torchvision's, with its
// parameter names; ResNet50 has the stride in the 3x3 convolution. EfficientNet-Lite0, which torchvision
// lacks, is that of the Python package efficientnet_lite_pytorch.
func catalogue(name string) (Arch, bool) {
	switch name {
	case "alexnet":
		return alexnet(), true
	case "vgg16":
		return vgg16(), true
	case "resnet50":
		return resnet50(), true
	case "efficientnet-lite0":
		return efficientNetLite0(), true
	}
	return Arch{}, false
}

// names of the catalogue.
func names() []string { return []string{"alexnet", "vgg16", "resnet50", "efficientnet-lite0"} }

func alexnet() Arch {
	f := func(i int) string { return fmt.Sprintf("features.%d", i) }
	c := func(i int) string { return fmt.Sprintf("classifier.%d", i) }
	return Arch{Name: "alexnet", H: 224, W: 224, C: 3, Roster: []string{"conv5", "fc6", "fc7", "fc8"}, Steps: []Step{
		{Op: "conv", Path: f(0), Out: 64, Kernel: 11, Stride: 4, Pad: 2},
		{Op: "relu", Path: f(1), Layer: "conv1"},
		{Op: "maxpool", Path: f(2), Kernel: 3, Stride: 2},
		{Op: "conv", Path: f(3), Out: 192, Kernel: 5, Pad: 2},
		{Op: "relu", Path: f(4), Layer: "conv2"},
		{Op: "maxpool", Path: f(5), Kernel: 3, Stride: 2},
		{Op: "conv", Path: f(6), Out: 384, Kernel: 3, Pad: 1},
		{Op: "relu", Path: f(7), Layer: "conv3"},
		{Op: "conv", Path: f(8), Out: 256, Kernel: 3, Pad: 1},
		{Op: "relu", Path: f(9), Layer: "conv4"},
		{Op: "conv", Path: f(10), Out: 256, Kernel: 3, Pad: 1},
		{Op: "relu", Path: f(11), Layer: "conv5"},
		{Op: "maxpool", Path: f(12), Kernel: 3, Stride: 2},
		{Op: "avgpool", Path: "avgpool", Out: 6},
		{Op: "flatten"},
		{Op: "dropout", Path: c(0)},
		{Op: "linear", Path: c(1), Out: 4096},
		{Op: "relu", Path: c(2), Layer: "fc6"},
		{Op: "dropout", Path: c(3)},
		{Op: "linear", Path: c(4), Out: 4096},
		{Op: "relu", Path: c(5), Layer: "fc7"},
		{Op: "linear", Path: c(6), Out: 1000, Layer: "fc8"},
	}}
}

func vgg16() Arch {
	a := Arch{Name: "vgg16", H: 224, W: 224, C: 3, Roster: []string{"fc6", "fc7", "fc8"}}
	index := 0
	feature := func(s Step) {
		s.Path = fmt.Sprintf("features.%d", index)
		index++
		a.Steps = append(a.Steps, s)
	}
	for block, convs := range [][]int{{64, 64}, {128, 128}, {256, 256, 256}, {512, 512, 512}, {512, 512, 512}} {
		for i, out := range convs {
			feature(Step{Op: "conv", Out: out, Kernel: 3, Pad: 1})
			feature(Step{Op: "relu", Layer: fmt.Sprintf("conv%d_%d", block+1, i+1)})
		}
		feature(Step{Op: "maxpool", Kernel: 2, Stride: 2})
	}
	a.Steps = append(a.Steps,
		Step{Op: "avgpool", Path: "avgpool", Out: 7},
		Step{Op: "flatten"},
		Step{Op: "linear", Path: "classifier.0", Out: 4096},
		Step{Op: "relu", Path: "classifier.1", Layer: "fc6"},
		Step{Op: "dropout", Path: "classifier.2"},
		Step{Op: "linear", Path: "classifier.3", Out: 4096},
		Step{Op: "relu", Path: "classifier.4", Layer: "fc7"},
		Step{Op: "dropout", Path: "classifier.5"},
		Step{Op: "linear", Path: "classifier.6", Out: 1000, Layer: "fc8"})
	return a
}

func resnet50() Arch {
	a := Arch{Name: "resnet50", H: 224, W: 224, C: 3, Roster: []string{"conv4_6", "conv5_1", "conv5_2", "conv5_3", "fc6"}, Steps: []Step{
		{Op: "conv", Path: "conv1", Out: 64, Kernel: 7, Stride: 2, Pad: 3, NoBias: true},
		{Op: "bn", Path: "bn1"},
		{Op: "relu", Path: "relu", Layer: "conv1"},
		{Op: "maxpool", Path: "maxpool", Kernel: 3, Stride: 2, Pad: 1},
	}}
	for stage, blocks := range []int{3, 4, 6, 3} {
		width := 64 << stage
		for i := range blocks {
			path := fmt.Sprintf("layer%d.%d", stage+1, i)
			stride := 1
			if i == 0 && stage > 0 {
				stride = 2
			}
			s := Step{Op: "residual", Path: path, Body: []Step{
				{Op: "conv", Path: path + ".conv1", Out: width, Kernel: 1, NoBias: true},
				{Op: "bn", Path: path + ".bn1"},
				{Op: "relu", Path: path + ".relu"},
				{Op: "conv", Path: path + ".conv2", Out: width, Kernel: 3, Stride: stride, Pad: 1, NoBias: true},
				{Op: "bn", Path: path + ".bn2"},
				{Op: "relu", Path: path + ".relu"},
				{Op: "conv", Path: path + ".conv3", Out: 4 * width, Kernel: 1, NoBias: true},
				{Op: "bn", Path: path + ".bn3", Gain: 0.25},
			}}
			if i == 0 {
				s.Shortcut = []Step{
					{Op: "conv", Path: path + ".downsample.0", Out: 4 * width, Kernel: 1, Stride: stride, NoBias: true},
					{Op: "bn", Path: path + ".downsample.1"},
				}
			}
			a.Steps = append(a.Steps, s, Step{Op: "relu", Path: path + ".relu", Layer: fmt.Sprintf("conv%d_%d", stage+2, i+1)})
		}
	}
	a.Steps = append(a.Steps, Step{Op: "avgpool", Path: "avgpool", Out: 1}, Step{Op: "flatten"}, Step{Op: "linear", Path: "fc", Out: 1000, Layer: "fc6"})
	return a
}

// efficientNetLite0 is a stem, 16 inverted bottlenecks in 7 stages, and a head (Tan and Le, "EfficientNet",
// table 1, without squeeze and excitation and with ReLU6). It is TensorFlow's network, ported: SAME padding
// and epsilon 1e-3. The bottlenecks' ends are linear. blockS_I is the I-th block of stage S.
func efficientNetLite0() Arch {
	bn := func(path string) Step { return Step{Op: "bn", Path: path, Eps: 1e-3} }
	conv := func(path string, out, kernel, stride, groups int) Step {
		return Step{Op: "conv", Path: path, Out: out, Kernel: kernel, Stride: stride, Same: true, Groups: groups, NoBias: true}
	}
	a := Arch{Name: "efficientnet-lite0", H: 224, W: 224, C: 3, Roster: []string{"block5_3", "block6_1", "block6_2", "block6_3", "block6_4", "block7_1", "head", "fc"},
		Preprocess: "efficientnet-lite", Steps: []Step{
			conv("_conv_stem", 32, 3, 2, 1), bn("_bn0"), {Op: "relu6", Path: "_swish", Layer: "stem"},
		}}
	in, index := 32, 0
	for stage, g := range []struct{ blocks, kernel, stride, expand, out int }{
		{1, 3, 1, 1, 16}, {2, 3, 2, 6, 24}, {2, 5, 2, 6, 40}, {3, 3, 2, 6, 80}, {3, 5, 1, 6, 112}, {4, 5, 2, 6, 192}, {1, 3, 1, 6, 320},
	} {
		for i := range g.blocks {
			path := fmt.Sprintf("_blocks.%d", index)
			index++
			stride, wide := 1, in*g.expand
			if i == 0 {
				stride = g.stride
			}
			var body []Step
			if g.expand > 1 {
				body = append(body, conv(path+"._expand_conv", wide, 1, 1, 1), bn(path+"._bn0"), Step{Op: "relu6", Path: path + "._swish"})
			}
			body = append(body, conv(path+"._depthwise_conv", wide, g.kernel, stride, wide), bn(path+"._bn1"), Step{Op: "relu6", Path: path + "._swish"},
				conv(path+"._project_conv", g.out, 1, 1, 1), bn(path+"._bn2"))
			if stride == 1 && in == g.out {
				body[len(body)-1].Gain = 0.5
				body = []Step{{Op: "residual", Path: path, Body: body}}
			}
			body[len(body)-1].Layer = fmt.Sprintf("block%d_%d", stage+1, i+1)
			a.Steps = append(a.Steps, body...)
			in = g.out
		}
	}
	a.Steps = append(a.Steps, conv("_conv_head", 1280, 1, 1, 1), bn("_bn1"), Step{Op: "relu6", Path: "_swish", Layer: "head"},
		Step{Op: "avgpool", Path: "_avg_pooling", Out: 1}, Step{Op: "flatten"}, Step{Op: "dropout", Path: "_dropout"}, Step{Op: "linear", Path: "_fc", Out: 1000, Layer: "fc"})
	return a
}

// Entry describes one network of the catalogue.
type Entry struct {
	Name    string
	H, W, C int
	Layers  []string // feature layers, bottom to top
	Params  int64
	MACs    int64 // multiply-accumulates per image
}

// Roster lists the catalogue. Nothing is loaded for it. It analyses the graphs anew at every call, which
// takes milliseconds.
func Roster() []Entry {
	var out []Entry
	for _, name := range names() {
		a, _ := catalogue(name)
		e := Entry{Name: name, H: a.H, W: a.W, C: a.C, Layers: slices.Clone(a.Roster)}
		// The catalogue's architectures are sound: tests build and analyse each of them.
		if b, err := build(a); err == nil {
			if an, err := b.model.Analyze(); err == nil {
				e.Params, e.MACs = an.Params, an.MACs
			}
		}
		out = append(out, e)
	}
	return out
}
