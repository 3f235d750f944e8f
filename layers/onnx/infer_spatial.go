package onnx

import "slices"

// window describes a sliding window over the spatial axes.
type window struct {
	kernel, strides, dilations, pads []int64
	ceil                             bool
	auto                             string
}

// window reads the attributes that convolutions and pools share. kernel may come from the weights.
func (c *inferer) window(n *Node, kernel []int64, spatial int) (window, error) {
	w := window{kernel: kernel, ceil: n.Int("ceil_mode", 0) == 1, auto: n.Text("auto_pad", "NOTSET")}
	if k := n.Ints("kernel_shape"); k != nil {
		w.kernel = k
	}
	fill := func(name string, def int64, count int) ([]int64, error) {
		v := n.Ints(name)
		if v == nil {
			return slices.Repeat([]int64{def}, count), nil
		}
		if len(v) != count {
			return nil, c.fail("%s has %d entries, %d are needed", name, len(v), count)
		}
		return v, nil
	}
	var err error
	if w.strides, err = fill("strides", 1, spatial); err != nil {
		return w, err
	}
	if w.dilations, err = fill("dilations", 1, spatial); err != nil {
		return w, err
	}
	if w.pads, err = fill("pads", 0, 2*spatial); err != nil {
		return w, err
	}
	if len(w.kernel) != spatial {
		return w, c.fail("a window with %d sides over %d spatial axes", len(w.kernel), spatial)
	}
	const limit = 1 << 30
	for i := range spatial {
		if w.strides[i] < 1 || w.dilations[i] < 1 || w.kernel[i] < 1 || w.strides[i] > limit || w.dilations[i] > limit || w.kernel[i] > limit ||
			w.pads[i] < -limit || w.pads[i] > limit || w.pads[i+spatial] < -limit || w.pads[i+spatial] > limit {
			return w, c.fail("window side %d: kernel %d, stride %d, dilation %d", i, w.kernel[i], w.strides[i], w.dilations[i])
		}
	}
	return w, nil
}

// out returns the length of axis i after the window has gone over n elements.
func (w window) out(i int, n int64) int64 {
	s, span := w.strides[i], (w.kernel[i]-1)*w.dilations[i]+1
	switch w.auto {
	case "SAME_UPPER", "SAME_LOWER":
		return (n + s - 1) / s
	case "VALID":
		if n < span {
			return -1
		}
		return (n-span)/s + 1
	}
	half := len(w.pads) / 2
	free := n + w.pads[i] + w.pads[i+half] - span
	if free < 0 {
		return -1
	}
	out := free/s + 1
	if w.ceil && free%s != 0 {
		// The extra window must start inside the input or its left padding.
		if out*s < n+w.pads[i] {
			out++
		}
	}
	return out
}

func inferConv(c *inferer, n *Node) ([]*Info, error) {
	weight, elem := 1, Undefined
	switch n.OpType {
	case "QLinearConv":
		weight = 3
		if zp, err := c.in(7); err == nil {
			elem = zp.Elem
		}
	case "ConvInteger":
		elem = Int32
	}
	x, err := c.in(0)
	if err != nil {
		return nil, err
	}
	k, err := c.in(weight)
	if err != nil {
		return nil, err
	}
	if x.Elem == String || k.Elem == String {
		return nil, c.fail("text where numbers are convolved")
	}
	if len(x.Dims) < 3 || len(k.Dims) != len(x.Dims) {
		return nil, c.fail("input %v, weights %v", x.Dims, k.Dims)
	}
	groups := n.Int("group", 1)
	if groups < 1 || x.Dims[1]/groups != k.Dims[1] || x.Dims[1]%groups != 0 || k.Dims[0]%groups != 0 {
		return nil, c.fail("input %v, weights %v and %d groups do not fit together", x.Dims, k.Dims, groups)
	}
	w, err := c.window(n, k.Dims[2:], len(x.Dims)-2)
	if err != nil {
		return nil, err
	}
	if elem == Undefined {
		elem = x.Elem
	}
	out := []int64{x.Dims[0], k.Dims[0]}
	for i, d := range x.Dims[2:] {
		o := w.out(i, d)
		if o < 1 {
			return nil, c.fail("the window is larger than its input %v", x.Dims)
		}
		out = append(out, o)
	}
	return one(elem, out), nil
}

func inferConvTranspose(c *inferer, n *Node) ([]*Info, error) {
	x, err := c.in(0)
	if err != nil {
		return nil, err
	}
	k, err := c.in(1)
	if err != nil {
		return nil, err
	}
	if len(x.Dims) < 3 || len(k.Dims) != len(x.Dims) {
		return nil, c.fail("input %v, weights %v", x.Dims, k.Dims)
	}
	spatial := len(x.Dims) - 2
	w, err := c.window(n, k.Dims[2:], spatial)
	if err != nil {
		return nil, err
	}
	extra := n.Ints("output_padding")
	shape := n.Ints("output_shape")
	groups := n.Int("group", 1)
	if groups < 1 || groups > 1<<30 {
		return nil, c.fail("%d groups", groups)
	}
	out := []int64{x.Dims[0], k.Dims[1] * groups}
	for i, d := range x.Dims[2:] {
		var o int64
		switch {
		case len(shape) == spatial:
			o = shape[i]
		case w.auto == "SAME_UPPER" || w.auto == "SAME_LOWER":
			o = d * w.strides[i]
		default:
			o = (d-1)*w.strides[i] + (w.kernel[i]-1)*w.dilations[i] + 1 - w.pads[i] - w.pads[i+spatial]
			if len(extra) == spatial {
				o += extra[i]
			}
		}
		out = append(out, o)
	}
	return one(x.Elem, out), nil
}

func inferPool(c *inferer, n *Node) ([]*Info, error) {
	x, err := c.in(0)
	if err != nil {
		return nil, err
	}
	if len(x.Dims) < 3 {
		return nil, c.fail("input %v has no spatial axes", x.Dims)
	}
	w, err := c.window(n, nil, len(x.Dims)-2)
	if err != nil {
		return nil, err
	}
	out := []int64{x.Dims[0], x.Dims[1]}
	for i, d := range x.Dims[2:] {
		o := w.out(i, d)
		if o < 1 {
			return nil, c.fail("the window is larger than its input %v", x.Dims)
		}
		out = append(out, o)
	}
	return []*Info{{Elem: x.Elem, Dims: out}, {Elem: Int64, Dims: out}}, nil
}

func inferGlobalPool(c *inferer, n *Node) ([]*Info, error) {
	x, err := c.in(0)
	if err != nil {
		return nil, err
	}
	if len(x.Dims) < 3 {
		return nil, c.fail("input %v has no spatial axes", x.Dims)
	}
	out := slices.Repeat([]int64{1}, len(x.Dims))
	copy(out, x.Dims[:2])
	return one(x.Elem, out), nil
}

func inferGemm(c *inferer, n *Node) ([]*Info, error) {
	a, err := c.in(0)
	if err != nil {
		return nil, err
	}
	second := 1
	if n.OpType == "QGemm" {
		second = 3
	}
	b, err := c.in(second)
	if err != nil {
		return nil, err
	}
	if len(a.Dims) != 2 || len(b.Dims) != 2 {
		return nil, c.fail("operands %v and %v are no matrices", a.Dims, b.Dims)
	}
	m, k := a.Dims[0], a.Dims[1]
	if n.Int("transA", 0) != 0 {
		m, k = k, m
	}
	k2, cols := b.Dims[0], b.Dims[1]
	if n.Int("transB", 0) != 0 {
		k2, cols = cols, k2
	}
	if k != k2 {
		return nil, c.fail("operands %v and %v do not fit together", a.Dims, b.Dims)
	}
	return one(a.Elem, []int64{m, cols}), nil
}

func inferMatMul(c *inferer, n *Node) ([]*Info, error) {
	second := 1
	if n.OpType == "QLinearMatMul" {
		second = 3
	}
	a, err := c.in(0)
	if err != nil {
		return nil, err
	}
	b, err := c.in(second)
	if err != nil {
		return nil, err
	}
	if len(n.Attrs) > 0 && n.OpType == "FusedMatMul" {
		return nil, errUnknown
	}
	x, y := a.Dims, b.Dims
	if len(x) == 0 || len(y) == 0 {
		return nil, c.fail("operands %v and %v", x, y)
	}
	dropRow, dropCol := len(x) == 1, len(y) == 1
	if dropRow {
		x = []int64{1, x[0]}
	}
	if dropCol {
		y = []int64{y[0], 1}
	}
	if x[len(x)-1] != y[len(y)-2] {
		return nil, c.fail("operands %v and %v do not fit together", a.Dims, b.Dims)
	}
	out, err := c.broadcast(x[:len(x)-2], y[:len(y)-2])
	if err != nil {
		return nil, err
	}
	if !dropRow {
		out = append(out, x[len(x)-2])
	}
	if !dropCol {
		out = append(out, y[len(y)-1])
	}
	elem := a.Elem
	if n.OpType == "MatMulInteger" {
		elem = Int32
	}
	return one(elem, out), nil
}

func inferPad(c *inferer, n *Node) ([]*Info, error) {
	x, err := c.in(0)
	if err != nil {
		return nil, err
	}
	pads, given, err := c.list("pads", 1)
	if err != nil {
		return nil, err
	}
	if !given {
		if pads = n.Ints("paddings"); pads == nil {
			return nil, errUnknown
		}
	}
	if c.has(3) {
		return nil, errUnknown // padding of chosen axes
	}
	rank := len(x.Dims)
	if len(pads) != 2*rank {
		return nil, c.fail("%d pads for %d axes", len(pads), rank)
	}
	out := slices.Clone(x.Dims)
	for i := range out {
		if pads[i] > maxElements || pads[i+rank] > maxElements || pads[i] < -maxElements || pads[i+rank] < -maxElements {
			return nil, c.fail("pads %v", pads)
		}
		out[i] += pads[i] + pads[i+rank]
	}
	return one(x.Elem, out), nil
}

func inferResize(c *inferer, n *Node) ([]*Info, error) {
	x, err := c.in(0)
	if err != nil {
		return nil, err
	}
	if n.Attr("axes") != nil || n.Text("keep_aspect_ratio_policy", "stretch") != "stretch" {
		return nil, errUnknown
	}
	if n.OpType == "Resize" && c.has(3) {
		sizes, err := c.in(3)
		if err != nil || sizes.Vals == nil {
			return nil, errUnknown
		}
		if len(sizes.Vals) != len(x.Dims) {
			return nil, c.fail("%d sizes for %d axes", len(sizes.Vals), len(x.Dims))
		}
		return one(x.Elem, sizes.Vals), nil
	}
	at := 2
	if n.OpType == "Upsample" || c.opset < 11 {
		at = 1
	}
	var scales []float64
	if a := n.Attr("scales"); a != nil {
		for _, f := range a.Floats {
			scales = append(scales, float64(f))
		}
	} else if at < len(n.Inputs) {
		scales = c.consts[n.Inputs[at]].floats()
	}
	if len(scales) != len(x.Dims) {
		return nil, errUnknown
	}
	out := make([]int64, len(x.Dims))
	for i, d := range x.Dims {
		if !(scales[i] > 0 && scales[i] < 1<<20) {
			return nil, c.fail("scale %v", scales[i])
		}
		out[i] = int64(float64(d) * scales[i])
	}
	return one(x.Elem, out), nil
}

func inferDepthToSpace(c *inferer, n *Node) ([]*Info, error) {
	x, err := c.in(0)
	if err != nil {
		return nil, err
	}
	b := n.Int("blocksize", 0)
	if len(x.Dims) != 4 || b < 1 || b > 1<<15 || x.Dims[1]%(b*b) != 0 {
		return nil, c.fail("input %v, block size %d", x.Dims, b)
	}
	return one(x.Elem, []int64{x.Dims[0], x.Dims[1] / (b * b), x.Dims[2] * b, x.Dims[3] * b}), nil
}

func inferSpaceToDepth(c *inferer, n *Node) ([]*Info, error) {
	x, err := c.in(0)
	if err != nil {
		return nil, err
	}
	b := n.Int("blocksize", 0)
	if len(x.Dims) != 4 || b < 1 || b > 1<<15 || x.Dims[2]%b != 0 || x.Dims[3]%b != 0 {
		return nil, c.fail("input %v, block size %d", x.Dims, b)
	}
	return one(x.Elem, []int64{x.Dims[0], x.Dims[1] * b * b, x.Dims[2] / b, x.Dims[3] / b}), nil
}
