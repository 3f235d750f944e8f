package onnx

import "slices"

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
		if len(vals)+len(p.Vals) > maxVals {
			vals = nil
		}
		if vals != nil {
			vals = append(vals, p.Vals...)
		}
	}
	if len(out) != 1 {
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
