package layers

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vista-mr/vista-mr/layers/onnx"
)

// luma are the parts of red, green and blue in a grey value, as PIL's "L" and ITU-R BT.601 have them.
var luma = [3]float64{0.299, 0.587, 0.114}

// image puts the way from bytes N,H,W,3 to the network's input before the graph: the bytes are brought
// into the network's layout and order of channels, which is cheapest on bytes, converted, and normalised
// as x = byte * (Scale/Std) + (-Mean/Std). A network for grey images gets the luma of the normalised colours:
// where all channels are normalised alike, that is the normalised grey value. A network that takes bytes
// normalises by itself and gets them as they are.
func (a *assembly) image(target string, n *Normalize) error {
	in := a.c.Input
	p := &preprocessing{ed: a.ed, cur: imageName, axis: 3}
	if in.Layout == "NCHW" {
		p.add("Transpose", "transposed", nil, onnx.IntsAttr("perm", 0, 3, 1, 2))
		p.axis = 1
	}
	if n == nil {
		n = &Normalize{}
	}
	switch strings.ToUpper(n.Channels) {
	case "", "RGB":
	case "BGR":
		if in.C != 1 {
			p.add("Gather", "reordered", []string{a.ed.Const(onnx.Ints("preprocess/order", 2, 1, 0))}, onnx.IntAttr("axis", p.axis))
		}
	default:
		return &Error{ID: "E-MODEL", Msg: fmt.Sprintf("channels %q", n.Channels), Do: "use RGB or BGR"}
	}
	mul, sum, plain, err := n.affine()
	if err != nil {
		return err
	}
	bytes := in.Elem == onnx.Uint8
	if bytes && !plain {
		return &Error{ID: "E-MODEL", Msg: fmt.Sprintf("%s: the input %q takes bytes, which cannot be normalised", a.c.Name, in.Tensor),
			Do: "the network normalises by itself: set cnn.preprocess to none, or to settings with scale 1, mean [0, 0, 0] and std [1, 1, 1]"}
	}
	if !bytes || in.C == 1 {
		p.add("Cast", "float", nil, onnx.IntAttr("to", int64(onnx.Float32)))
	}
	switch {
	case in.C == 1:
		if strings.EqualFold(n.Channels, "BGR") {
			slices.Reverse(mul)
			slices.Reverse(sum)
		}
		p.grey(mul, sum)
	case !plain:
		p.affine(mul, sum)
	}
	switch {
	case bytes && in.C == 1:
		p.add("Round", "rounded", nil)
		p.add("Cast", "bytes", nil, onnx.IntAttr("to", int64(onnx.Uint8)))
	case !bytes && in.Elem != onnx.Float32:
		p.add("Cast", "cast", nil, onnx.IntAttr("to", int64(in.Elem)))
	}
	if len(p.nodes) == 0 {
		p.add("Identity", "bytes", nil)
	}
	g := a.m.Graph
	p.nodes[len(p.nodes)-1].Outputs = []string{target}
	g.Nodes = append(p.nodes, g.Nodes...)
	g.Inputs = []*onnx.ValueInfo{onnx.NewValue(imageName, onnx.Uint8, onnx.BatchOf(int64(in.H), int64(in.W), 3)...)}
	return nil
}

// preprocessing is a chain of nodes in the making.
type preprocessing struct {
	ed    *onnx.Editor
	nodes []*onnx.Node
	cur   string
	axis  int64 // of the channels
}

func (p *preprocessing) add(op, name string, inputs []string, attrs ...*onnx.Attr) {
	out := p.ed.Name("preprocess/" + name)
	p.nodes = append(p.nodes, onnx.NewNode(op, out, append([]string{p.cur}, inputs...), []string{out}, attrs...))
	p.cur = out
}

func (p *preprocessing) constant(name string, dims []int64, v ...float32) string {
	return p.ed.Const(onnx.Floats("preprocess/"+name, dims, v...))
}

// affine adds x*mul + sum for each of three channels.
func (p *preprocessing) affine(mul, sum []float32) {
	c := []int64{3}
	if p.axis == 1 {
		// One pass over the pixels instead of the two that a product and a sum take; measured, it takes
		// three quarters of their time, conversion included.
		p.add("BatchNormalization", "normalized", []string{p.constant("scale", c, mul...), p.constant("shift", c, sum...),
			p.constant("zero", c, 0, 0, 0), p.constant("one", c, 1, 1, 1)}, onnx.FloatAttr("epsilon", 0))
		return
	}
	p.add("Mul", "scaled", []string{p.constant("scale", c, mul...)})
	p.add("Add", "shifted", []string{p.constant("shift", c, sum...)})
}

// grey adds the luma of red*mul + sum, green and blue alike, as the one channel.
func (p *preprocessing) grey(mul, sum []float32) {
	w := make([]float32, 3)
	var shift float64
	for i, part := range luma {
		w[i] = float32(part * float64(mul[i]))
		shift += part * float64(sum[i])
	}
	if p.axis == 1 {
		p.add("Conv", "grey", []string{p.constant("luma", []int64{1, 3, 1, 1}, w...), p.constant("shift", []int64{1}, float32(shift))})
		return
	}
	p.add("MatMul", "grey", []string{p.constant("luma", []int64{3, 1}, w...)})
	p.add("Add", "shifted", []string{p.constant("shift", []int64{1}, float32(shift))})
}

// affine returns factor and offset of each channel; plain says that they change nothing.
func (n *Normalize) affine() (mul, sum []float32, plain bool, err error) {
	pick := func(list []float32, i int, def float32) (float32, error) {
		switch len(list) {
		case 0:
			return def, nil
		case 1:
			return list[0], nil
		case 3:
			return list[i], nil
		}
		return 0, &Error{ID: "E-MODEL", Msg: fmt.Sprintf("mean or deviation with %d values", len(list)), Do: "give three values, or one for all channels"}
	}
	scale := float64(n.Scale)
	if n.Scale == 0 {
		scale = 1
	}
	plain = true
	for i := range 3 {
		mean, err := pick(n.Mean, i, 0)
		if err != nil {
			return nil, nil, false, err
		}
		std, err := pick(n.Std, i, 1)
		if err != nil {
			return nil, nil, false, err
		}
		m, s := float32(scale/float64(std)), float32(-float64(mean)/float64(std))
		if !(std > 0) || m-m != 0 || s-s != 0 {
			return nil, nil, false, &Error{ID: "E-PREPROCESS", Msg: fmt.Sprintf("cnn.preprocess.std: pixels divided by %v are no float32", std), Do: "set cnn.preprocess.std to positive numbers, such as 0.229 or 58.4"}
		}
		mul, sum = append(mul, m), append(sum, s)
		plain = plain && m == 1 && s == 0
	}
	return mul, sum, plain, nil
}
