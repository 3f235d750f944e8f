package onnx

import (
	"math"
	"slices"
)

func inferSlice(c *inferer, n *Node) ([]*Info, error) {
	x, err := c.in(0)
	if err != nil {
		return nil, err
	}
	var lists [4][]int64
	for i, name := range []string{"starts", "ends", "axes", "steps"} {
		if lists[i], _, err = c.list(name, i+1); err != nil {
			return nil, err
		}
	}
	starts, ends, axes, steps := lists[0], lists[1], lists[2], lists[3]
	if axes == nil {
		for i := range starts {
			axes = append(axes, int64(i))
		}
	}
	if steps == nil {
		steps = slices.Repeat([]int64{1}, len(starts))
	}
	if len(ends) != len(starts) || len(axes) != len(starts) || len(steps) != len(starts) {
		return nil, c.fail("starts, ends, axes and steps differ in length")
	}
	out := slices.Clone(x.Dims)
	vals := x.Vals
	for k := range starts {
		i, err := c.axis(axes[k], len(out))
		if err != nil {
			return nil, err
		}
		d, step := x.Dims[i], steps[k]
		if step == 0 || step == math.MinInt64 {
			return nil, c.fail("step %d", step)
		}
		// Bounds are brought into the range that ONNX prescribes, which differs for negative steps.
		low, high := int64(0), d
		if step < 0 {
			low, high = -1, d-1
		}
		bring := func(v int64) int64 {
			if v < 0 {
				v += d // cannot overflow: v is negative, d is not
			}
			return min(max(v, low), high)
		}
		from, to := bring(starts[k]), bring(ends[k])
		if step < 0 && ends[k] < -d {
			to = -1
		}
		count := int64(0)
		if step > 0 && to > from {
			count = (to-from-1)/step + 1
		} else if step < 0 && from > to {
			count = (from-to-1)/(-step) + 1
		}
		out[i] = count
		if vals != nil && len(x.Dims) == 1 {
			picked := make([]int64, 0, count)
			for j, at := int64(0), from; j < count; j, at = j+1, at+step {
				picked = append(picked, vals[at])
			}
			vals = picked
		} else {
			vals = nil
		}
	}
	return []*Info{{Elem: x.Elem, Dims: out, Vals: vals}}, nil
}

func inferSplit(c *inferer, n *Node) ([]*Info, error) {
	x, err := c.in(0)
	if err != nil {
		return nil, err
	}
	axis, err := c.axis(n.Int("axis", 0), len(x.Dims))
	if err != nil {
		return nil, err
	}
	parts, given, err := c.list("split", 1)
	if err != nil {
		return nil, err
	}
	count := int64(len(n.Outputs))
	if count == 0 {
		return nil, nil
	}
	if !given {
		each := (x.Dims[axis] + count - 1) / count
		left := x.Dims[axis]
		for range count {
			parts = append(parts, min(each, left))
			left -= min(each, left)
		}
	}
	if int64(len(parts)) != count {
		return nil, c.fail("%d parts for %d outputs", len(parts), count)
	}
	outs := make([]*Info, count)
	var from int64
	for i, p := range parts {
		if p < 0 || p > x.Dims[axis]-from {
			return nil, c.fail("parts %v of shape %v", parts, x.Dims)
		}
		d := slices.Clone(x.Dims)
		d[axis] = p
		outs[i] = &Info{Elem: x.Elem, Dims: d}
		if x.Vals != nil && len(x.Dims) == 1 {
			outs[i].Vals = x.Vals[from : from+p]
		}
		from += p
	}
	return outs, nil
}

func inferGather(c *inferer, n *Node) ([]*Info, error) {
	x, err := c.in(0)
	if err != nil {
		return nil, err
	}
	idx, err := c.in(1)
	if err != nil {
		return nil, err
	}
	axis, err := c.axis(n.Int("axis", 0), len(x.Dims))
	if err != nil {
		return nil, err
	}
	out := slices.Concat(x.Dims[:axis], idx.Dims, x.Dims[axis+1:])
	if out == nil {
		out = []int64{}
	}
	res := &Info{Elem: x.Elem, Dims: out}
	if x.Vals != nil && idx.Vals != nil && len(x.Dims) == 1 {
		for _, i := range idx.Vals {
			if i < 0 {
				i += int64(len(x.Vals))
			}
			if i < 0 || i >= int64(len(x.Vals)) {
				return nil, c.fail("index %d of %d elements", i, len(x.Vals))
			}
			res.Vals = append(res.Vals, x.Vals[i])
		}
	}
	return []*Info{res}, nil
}

// constantOf returns the tensor that a Constant node stands for, or nil.
func constantOf(n *Node) *Tensor {
	if n.OpType != "Constant" || len(n.Attrs) == 0 {
		return nil
	}
	a := n.Attrs[0]
	switch {
	case a.Name == "value" && a.T != nil:
		return a.T
	case a.Name == "value_int":
		return &Tensor{Type: Int64, Dims: []int64{}, Raw: pack([]int64{a.I}, 8)}
	case a.Name == "value_ints":
		return &Tensor{Type: Int64, Dims: []int64{int64(len(a.Ints))}, Raw: pack(a.Ints, 8)}
	case a.Name == "value_float":
		return &Tensor{Type: Float32, Dims: []int64{}, Raw: FloatBytes(a.F)}
	case a.Name == "value_floats":
		return &Tensor{Type: Float32, Dims: []int64{int64(len(a.Floats))}, Raw: FloatBytes(a.Floats...)}
	}
	return nil
}

func inferConstant(c *inferer, n *Node) ([]*Info, error) {
	t := constantOf(n)
	if t == nil || len(n.Outputs) == 0 {
		return nil, errUnknown
	}
	c.constant(n.Outputs[0], t)
	return nil, nil
}

func inferConstantOfShape(c *inferer, n *Node) ([]*Info, error) {
	x, err := c.in(0)
	if err != nil || x.Vals == nil {
		return nil, errUnknown
	}
	out := &Info{Elem: Float32, Dims: slices.Clone(x.Vals)}
	fill := []int64(nil)
	if a := n.Attr("value"); a != nil && a.T != nil {
		out.Elem = a.T.Type
		fill = a.T.ints()
	}
	if total, ok := elements(out.Dims); ok && total <= maxVals && len(fill) == 1 {
		out.Vals = slices.Repeat(fill, int(total))
	}
	return []*Info{out}, nil
}

func inferRange(c *inferer, _ *Node) ([]*Info, error) {
	var v [3]int64
	var elem Elem
	for i := range v {
		x, err := c.in(i)
		if err != nil || len(x.Vals) != 1 {
			return nil, errUnknown
		}
		v[i], elem = x.Vals[0], x.Elem
	}
	if v[2] == 0 || v[0] < -maxElements || v[0] > maxElements || v[1] < -maxElements || v[1] > maxElements || v[2] < -maxElements || v[2] > maxElements {
		return nil, c.fail("range %d to %d by %d", v[0], v[1], v[2])
	}
	var vals []int64
	count := max((v[1]-v[0]+v[2]-sign(v[2]))/v[2], 0)
	if count <= maxVals {
		vals = []int64{}
		for i := range count {
			vals = append(vals, v[0]+i*v[2])
		}
	}
	return []*Info{{Elem: elem, Dims: []int64{count}, Vals: vals}}, nil
}

func sign(v int64) int64 {
	if v < 0 {
		return -1
	}
	return 1
}
