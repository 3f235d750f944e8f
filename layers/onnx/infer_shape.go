package onnx

import (
	"math"
	"slices"
)

func inferConcat(c *inferer, n *Node) ([]*Info, error) {
	parts := make([]*Info, len(n.Inputs))
	for i := range n.Inputs {
		x, err := c.in(i)
		if err != nil {
			return nil, err
		}
		parts[i] = x
	}
	return c.concat(n, parts)
}

func inferQLinearConcat(c *inferer, n *Node) ([]*Info, error) {
	var parts []*Info
	for i := 2; i < len(n.Inputs); i += 3 {
		x, err := c.in(i)
		if err != nil {
			return nil, err
		}
		parts = append(parts, x)
	}
	return c.concat(n, parts)
}

func (c *inferer) concat(n *Node, parts []*Info) ([]*Info, error) {
	if len(parts) == 0 {
		return nil, c.fail("nothing to concatenate")
	}
	axis, err := c.axis(n.Int("axis", 1), len(parts[0].Dims))
	if err != nil {
		return nil, err
	}
	out := slices.Clone(parts[0].Dims)
	vals := slices.Clone(parts[0].Vals)
	for _, p := range parts[1:] {
		if len(p.Dims) != len(out) {
			return nil, c.fail("shapes %v and %v cannot be concatenated", parts[0].Dims, p.Dims)
		}
		for i := range out {
			if i != axis && p.Dims[i] != out[i] {
				return nil, c.fail("shapes %v and %v cannot be concatenated along axis %d", parts[0].Dims, p.Dims, axis)
			}
		}
		out[axis] += p.Dims[axis]
		if p.Vals == nil {
			vals = nil
		}
		if vals != nil {
			vals = append(vals, p.Vals...)
		}
	}
	if len(out) != 1 || len(vals) > maxVals {
		vals = nil
	}
	return []*Info{{Elem: parts[0].Elem, Dims: out, Vals: vals}}, nil
}

func inferFlatten(c *inferer, n *Node) ([]*Info, error) {
	x, err := c.in(0)
	if err != nil {
		return nil, err
	}
	a := n.Int("axis", 1)
	if a < 0 {
		a += int64(len(x.Dims))
	}
	if a < 0 || a > int64(len(x.Dims)) {
		return nil, c.fail("axis %d of shape %v", a, x.Dims)
	}
	rows, _ := elements(x.Dims[:a])
	cols, _ := elements(x.Dims[a:])
	return one(x.Elem, []int64{rows, cols}), nil
}

func inferReshape(c *inferer, n *Node) ([]*Info, error) {
	x, err := c.in(0)
	if err != nil {
		return nil, err
	}
	shape, _, err := c.list("shape", 1)
	if err != nil {
		return nil, err
	}
	out := slices.Clone(shape)
	if out == nil {
		out = []int64{}
	}
	free, known := -1, int64(1)
	for i, d := range out {
		switch {
		case d == 0 && n.Int("allowzero", 0) == 0:
			if i >= len(x.Dims) {
				return nil, c.fail("shape %v copies a dimension that %v has not", shape, x.Dims)
			}
			out[i] = x.Dims[i]
		case d == -1 && free < 0:
			free = i
			continue
		case d < 0:
			return nil, c.fail("shape %v", shape)
		}
		if out[i] > 0 && known > maxElements/out[i] {
			return nil, c.fail("shape %v", shape)
		}
		known *= out[i]
	}
	total := x.Len()
	if free >= 0 {
		if known == 0 || total%known != 0 {
			return nil, c.fail("%v elements cannot take the shape %v", x.Dims, shape)
		}
		out[free] = total / known
	} else if known != total {
		return nil, c.fail("%v elements cannot take the shape %v", x.Dims, shape)
	}
	return []*Info{{Elem: x.Elem, Dims: out, Vals: x.Vals}}, nil
}

func inferTranspose(c *inferer, n *Node) ([]*Info, error) {
	x, err := c.in(0)
	if err != nil {
		return nil, err
	}
	perm := n.Ints("perm")
	rank := len(x.Dims)
	if perm == nil {
		for i := rank - 1; i >= 0; i-- {
			perm = append(perm, int64(i))
		}
	}
	if len(perm) != rank {
		return nil, c.fail("permutation %v of shape %v", perm, x.Dims)
	}
	out := make([]int64, rank)
	seen := make([]bool, rank)
	for i, p := range perm {
		if p < 0 || p >= int64(rank) || seen[p] {
			return nil, c.fail("permutation %v of shape %v", perm, x.Dims)
		}
		seen[p] = true
		out[i] = x.Dims[p]
	}
	return one(x.Elem, out), nil
}

func inferReduce(c *inferer, n *Node) ([]*Info, error) {
	x, err := c.in(0)
	if err != nil {
		return nil, err
	}
	elem := x.Elem
	var axes []int64
	given := true
	if n.OpType == "ArgMax" || n.OpType == "ArgMin" {
		elem, axes = Int64, []int64{n.Int("axis", 0)}
	} else if axes, given, err = c.list("axes", 1); err != nil {
		return nil, err
	}
	if len(axes) == 0 {
		if given && n.Int("noop_with_empty_axes", 0) == 1 || !given && n.Int("noop_with_empty_axes", 0) == 1 {
			return one(elem, x.Dims), nil
		}
		axes = nil
		for i := range x.Dims {
			axes = append(axes, int64(i))
		}
	}
	drop := make([]bool, len(x.Dims))
	for _, a := range axes {
		i, err := c.axis(a, len(x.Dims))
		if err != nil {
			return nil, err
		}
		drop[i] = true
	}
	keep := n.Int("keepdims", 1) != 0
	out := []int64{}
	for i, d := range x.Dims {
		if !drop[i] {
			out = append(out, d)
		} else if keep {
			out = append(out, 1)
		}
	}
	res := &Info{Elem: elem, Dims: out}
	if n.OpType == "ReduceProd" && x.Vals != nil && len(x.Dims) == 1 {
		p := int64(1)
		for _, v := range x.Vals {
			if v < 0 || v > maxElements || v > 0 && p > maxElements/v {
				return []*Info{res}, nil
			}
			p *= v
		}
		res.Vals = []int64{p}
	}
	return []*Info{res}, nil
}

func inferSqueeze(c *inferer, n *Node) ([]*Info, error) {
	x, err := c.in(0)
	if err != nil {
		return nil, err
	}
	axes, given, err := c.list("axes", 1)
	if err != nil {
		return nil, err
	}
	drop := make([]bool, len(x.Dims))
	for _, a := range axes {
		i, err := c.axis(a, len(x.Dims))
		if err != nil {
			return nil, err
		}
		if x.Dims[i] != 1 {
			return nil, c.fail("axis %d of %v has not length 1", a, x.Dims)
		}
		drop[i] = true
	}
	out := []int64{}
	for i, d := range x.Dims {
		if !(drop[i] || !given && d == 1) {
			out = append(out, d)
		}
	}
	return []*Info{{Elem: x.Elem, Dims: out, Vals: x.Vals}}, nil
}

func inferUnsqueeze(c *inferer, n *Node) ([]*Info, error) {
	x, err := c.in(0)
	if err != nil {
		return nil, err
	}
	axes, _, err := c.list("axes", 1)
	if err != nil {
		return nil, err
	}
	if len(axes) > 64 {
		return nil, c.fail("%d new axes", len(axes))
	}
	rank := len(x.Dims) + len(axes)
	fresh := make([]bool, rank)
	for _, a := range axes {
		i, err := c.axis(a, rank)
		if err != nil {
			return nil, err
		}
		if fresh[i] {
			return nil, c.fail("axes %v name one twice", axes)
		}
		fresh[i] = true
	}
	out := make([]int64, rank)
	j := 0
	for i := range out {
		if fresh[i] {
			out[i] = 1
			continue
		}
		out[i] = x.Dims[j]
		j++
	}
	return []*Info{{Elem: x.Elem, Dims: out, Vals: x.Vals}}, nil
}

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

func inferExpand(c *inferer, _ *Node) ([]*Info, error) {
	x, err := c.in(0)
	if err != nil {
		return nil, err
	}
	shape, err := c.in(1)
	if err != nil || shape.Vals == nil {
		return nil, errUnknown
	}
	dims, err := c.broadcast(x.Dims, shape.Vals)
	if err != nil {
		return nil, err
	}
	return one(x.Elem, dims), nil
}

func inferTile(c *inferer, _ *Node) ([]*Info, error) {
	x, err := c.in(0)
	if err != nil {
		return nil, err
	}
	rep, err := c.in(1)
	if err != nil || rep.Vals == nil {
		return nil, errUnknown
	}
	if len(rep.Vals) != len(x.Dims) {
		return nil, c.fail("%d repeats for %d axes", len(rep.Vals), len(x.Dims))
	}
	out := slices.Clone(x.Dims)
	for i, r := range rep.Vals {
		if r < 0 || r > maxElements || out[i] > 0 && r > maxElements/out[i] {
			return nil, c.fail("repeats %v", rep.Vals)
		}
		out[i] *= r
	}
	return one(x.Elem, out), nil
}

func inferShape(c *inferer, n *Node) ([]*Info, error) {
	x, err := c.in(0)
	if err != nil {
		return nil, err
	}
	rank := int64(len(x.Dims))
	bring := func(v int64) int64 {
		if v < 0 {
			v += rank
		}
		return min(max(v, 0), rank)
	}
	from, to := bring(n.Int("start", 0)), bring(n.Int("end", rank))
	vals := []int64{}
	if to > from {
		vals = slices.Clone(x.Dims[from:to])
	}
	return []*Info{{Elem: Int64, Dims: []int64{int64(len(vals))}, Vals: vals}}, nil
}

func inferSize(c *inferer, _ *Node) ([]*Info, error) {
	x, err := c.in(0)
	if err != nil {
		return nil, err
	}
	return []*Info{{Elem: Int64, Dims: []int64{}, Vals: []int64{x.Len()}}}, nil
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
