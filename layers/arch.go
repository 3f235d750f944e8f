package layers

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vista-mr/vista-mr/layers/onnx"
	"github.com/vista-mr/vista-mr/layers/weights"
)

// Arch describes an architecture in a few lines. Paths are PyTorch module paths: parameters get the names
// that a state_dict has (path + ".weight", ...), nodes and tensors those that torch.onnx.export gives.
type Arch struct {
	Name    string
	H, W, C int
	Steps   []Step
	Roster  []string // the feature layers that users know, bottom to top: names given by Step.Layer
	// Preprocess is the preset that it was trained with; "" means imagenet.
	Preprocess string
}

// Step is one module, or a residual block of modules.
type Step struct {
	Op     string // conv, bn, relu, relu6, maxpool, avgpool, flatten, dropout, linear, residual
	Path   string
	Out    int // conv, linear: output channels; avgpool: side of the output
	Kernel int // conv, maxpool
	Stride int // conv, maxpool; 0 means 1
	Pad    int
	Same   bool // conv: TensorFlow's SAME padding instead of Pad: outputs ceil(side/Stride), the odd pixel below and right
	Groups int  // conv; 0 means 1
	NoBias bool
	Eps    float32 // bn; 0 means 1e-5
	Gain   float32 // bn: gamma of random weights; 0 means 1
	// Body and Shortcut of a residual block; an empty shortcut is the identity. Their sum is not rectified:
	// a relu step follows.
	Body, Shortcut []Step
	Layer          string // the catalogue's name of the tensor behind this step
}

// built is a graph without weights' values, with what is needed to give them.
type built struct {
	model  *onnx.Model
	params []weights.Param
	names  map[string]string // tensor -> catalogue name
}

// opset is the operator set that graphs are written in: old enough for any runtime, new enough that
// BatchNormalization has no spatial attribute.
const opset = 13

// builder walks over the steps.
type builder struct {
	b       *built
	g       *onnx.Graph
	cur     string  // tensor
	c, h, w int     // its shape; h = 0 after flatten
	linear  bool    // the tensor is not rectified: the image, or the end of a linear bottleneck
	v       float32 // variance expected with random weights, before rectification
	uses    map[string]int
	err     error
}

// build makes the graph of an architecture. Initializers are there by name and shape, without data.
func build(a Arch) (*built, error) {
	b := &built{names: map[string]string{}, model: &onnx.Model{IRVersion: 8, Producer: "vista-mr", Opsets: []onnx.Opset{{Version: opset}},
		Graph: &onnx.Graph{Name: a.Name, Inputs: []*onnx.ValueInfo{onnx.NewValue("input", onnx.Float32, onnx.BatchOf(int64(a.C), int64(a.H), int64(a.W))...)}}}}
	w := &builder{b: b, g: b.model.Graph, cur: "input", c: a.C, h: a.H, w: a.W, linear: true, v: 1, uses: map[string]int{}}
	w.steps(a.Steps)
	if w.err != nil {
		return nil, fmt.Errorf("architecture %s: %w", a.Name, w.err)
	}
	out := onnx.NewValue(w.cur, onnx.Float32, onnx.BatchOf(int64(w.c))...)
	if w.h > 0 {
		out.Shape = onnx.BatchOf(int64(w.c), int64(w.h), int64(w.w))
	}
	b.model.Graph.Outputs = []*onnx.ValueInfo{out}
	return b, nil
}

func (w *builder) steps(list []Step) {
	for _, s := range list {
		if w.err != nil {
			return
		}
		w.step(s)
		if s.Layer != "" {
			w.b.names[w.cur] = s.Layer
		}
	}
}

func (w *builder) fail(s Step, format string, a ...any) {
	if w.err == nil {
		w.err = fmt.Errorf("%s %s: %s", s.Op, s.Path, fmt.Sprintf(format, a...))
	}
}

// scope writes a module path as the exporter writes it into node names: every module once, indices of
// sequences with the name of the sequence. A module that is called again gets _1, _2, ...
func (w *builder) scope(path string) string {
	n := w.uses[path]
	w.uses[path]++
	if n > 0 {
		path = fmt.Sprintf("%s_%d", path, n)
	}
	var sb strings.Builder
	parts := strings.Split(path, ".")
	for i := 0; i < len(parts); i++ {
		sb.WriteString("/" + parts[i])
		if i+1 < len(parts) && parts[i+1] != "" && parts[i+1][0] >= '0' && parts[i+1][0] <= '9' {
			sb.WriteString("/" + parts[i] + "." + parts[i+1])
			i++
		}
	}
	return sb.String()
}

// node adds a node of one output.
func (w *builder) node(op, scope string, inputs []string, attrs ...*onnx.Attr) string {
	name := scope + "/" + op
	out := name + "_output_0"
	w.g.Nodes = append(w.g.Nodes, onnx.NewNode(op, name, inputs, []string{out}, attrs...))
	return out
}

func (w *builder) param(name string, kind weights.Kind, level float32, dims ...int64) string {
	w.b.params = append(w.b.params, weights.Param{Name: name, Dims: dims, Kind: kind, Level: level, First: w.linear && kind == weights.Weight})
	w.g.Initializers = append(w.g.Initializers, &onnx.Tensor{Name: name, Dims: dims, Type: onnx.Float32})
	return name
}

// scalar is a constant of the graph, which is no parameter.
func (w *builder) scalar(name string, v float32) string {
	if !slices.ContainsFunc(w.g.Initializers, func(t *onnx.Tensor) bool { return t.Name == name }) {
		w.g.Initializers = append(w.g.Initializers, onnx.Floats(name, nil, v))
	}
	return name
}

func (w *builder) step(s Step) {
	stride, groups := int64(max(s.Stride, 1)), max(s.Groups, 1)
	k, p := int64(s.Kernel), int64(s.Pad)
	side := func(n int) int { return (n+2*s.Pad-s.Kernel)/int(stride) + 1 }
	pads := []int64{p, p, p, p}
	if s.Same && w.h > 0 && s.Kernel > 0 {
		side = func(n int) int { return (n + int(stride) - 1) / int(stride) }
		for axis, n := range []int{w.h, w.w} {
			all := max(int64(side(n)-1)*stride+k-int64(n), 0)
			pads[axis], pads[axis+2] = all/2, all-all/2
		}
	}
	window := []*onnx.Attr{onnx.IntsAttr("kernel_shape", k, k), onnx.IntsAttr("pads", pads...), onnx.IntsAttr("strides", stride, stride)}
	if !s.Same && (s.Op == "conv" || s.Op == "maxpool") && (w.h == 0 || s.Kernel < 1 || s.Pad < 0 || w.h+2*s.Pad < s.Kernel || w.w+2*s.Pad < s.Kernel) {
		w.fail(s, "kernel %d with padding %d over %dx%d", s.Kernel, s.Pad, w.h, w.w)
		return
	}
	if s.Same && (s.Op != "conv" || w.h == 0 || s.Kernel < 1) {
		w.fail(s, "only convolutions of volumes take SAME padding")
		return
	}
	switch s.Op {
	case "conv":
		if s.Out < 1 || w.c%groups != 0 || s.Out%groups != 0 {
			w.fail(s, "%d to %d channels in %d groups", w.c, s.Out, groups)
			return
		}
		in := []string{w.cur, w.param(s.Path+".weight", weights.Weight, 0, int64(s.Out), int64(w.c/groups), k, k)}
		if !s.NoBias {
			in = append(in, w.param(s.Path+".bias", weights.Bias, 0, int64(s.Out)))
		}
		attrs := append([]*onnx.Attr{onnx.IntsAttr("dilations", 1, 1), onnx.IntAttr("group", int64(groups))}, window...)
		w.cur = w.node("Conv", w.scope(s.Path), in, attrs...)
		w.c, w.h, w.w, w.linear = s.Out, side(w.h), side(w.w), true
	case "bn":
		c := int64(w.c)
		gain := s.Gain
		if gain == 0 {
			gain = 1
		}
		in := []string{w.cur, w.param(s.Path+".weight", weights.Gamma, gain, c), w.param(s.Path+".bias", weights.Beta, gain, c),
			w.param(s.Path+".running_mean", weights.Mean, w.v, c), w.param(s.Path+".running_var", weights.Variance, w.v, c)}
		eps := s.Eps
		if eps == 0 {
			eps = 1e-5
		}
		w.cur = w.node("BatchNormalization", w.scope(s.Path), in, onnx.FloatAttr("epsilon", eps))
		w.v = gain * gain
	case "relu":
		w.cur = w.node("Relu", w.scope(s.Path), []string{w.cur})
		w.linear = false
	case "relu6":
		w.cur = w.node("Clip", w.scope(s.Path), []string{w.cur, w.scalar("zero", 0), w.scalar("six", 6)})
		w.linear = false
	case "dropout": // nothing, at inference
	case "maxpool":
		w.cur = w.node("MaxPool", w.scope(s.Path), []string{w.cur}, window...)
		w.h, w.w = side(w.h), side(w.w)
	case "avgpool":
		w.avgpool(s)
	case "flatten":
		w.cur = w.node("Flatten", w.scope(s.Path), []string{w.cur}, onnx.IntAttr("axis", 1))
		w.c, w.h, w.w = w.c*max(w.h, 1)*max(w.w, 1), 0, 0
	case "linear":
		if w.h != 0 || s.Out < 1 {
			w.fail(s, "needs a vector and a size")
			return
		}
		in := []string{w.cur, w.param(s.Path+".weight", weights.Weight, 0, int64(s.Out), int64(w.c)), w.param(s.Path+".bias", weights.Bias, 0, int64(s.Out))}
		w.cur = w.node("Gemm", w.scope(s.Path), in, onnx.IntAttr("transB", 1))
		w.c, w.linear = s.Out, true
	case "residual":
		w.residual(s)
	default:
		w.fail(s, "there is no such step")
	}
}

// avgpool is PyTorch's adaptive average pool to Out x Out: nothing when the side is right already, a
// global pool for 1, else windows if they come out even.
func (w *builder) avgpool(s Step) {
	switch {
	case w.h == 0 || s.Out < 1:
		w.fail(s, "needs a volume")
	case s.Out == w.h && s.Out == w.w:
	case s.Out == 1:
		w.cur = w.node("GlobalAveragePool", w.scope(s.Path), []string{w.cur})
		w.h, w.w = 1, 1
	case w.h%s.Out == 0 && w.w%s.Out == 0:
		kh, kw := int64(w.h/s.Out), int64(w.w/s.Out)
		w.cur = w.node("AveragePool", w.scope(s.Path), []string{w.cur}, onnx.IntsAttr("kernel_shape", kh, kw), onnx.IntsAttr("strides", kh, kw))
		w.h, w.w = s.Out, s.Out
	default:
		w.fail(s, "%dx%d cannot be pooled evenly to %dx%d", w.h, w.w, s.Out, s.Out)
	}
}

func (w *builder) residual(s Step) {
	in, c, h, wd, v, lin := w.cur, w.c, w.h, w.w, w.v, w.linear
	w.steps(s.Body)
	body, bc, bh, bw, bv := w.cur, w.c, w.h, w.w, w.v
	w.cur, w.c, w.h, w.w, w.v, w.linear = in, c, h, wd, v, lin
	w.steps(s.Shortcut)
	if w.err == nil && (w.c != bc || w.h != bh || w.w != bw) {
		w.fail(s, "the body ends in %dx%dx%d, the shortcut in %dx%dx%d", bc, bh, bw, w.c, w.h, w.w)
		return
	}
	if len(s.Shortcut) == 0 && !w.linear {
		w.v *= carried
	}
	w.v += bv
	w.linear = true
	w.cur = w.node("Add", w.scope(s.Path), []string{body, w.cur})
}

// carried is the part of the variance before a rectification that comes over an identity shortcut.
const carried = 0.7
