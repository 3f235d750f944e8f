package onnx

import "slices"

// Rules of operators that work element by element: what they do to shapes, and to contents that are followed.

func likeFirst(c *inferer, n *Node) ([]*Info, error) {
	x, err := c.in(0)
	if err != nil {
		return nil, err
	}
	out := &Info{Elem: x.Elem, Dims: x.Dims}
	if n.OpType == "Identity" || n.OpType == "Dropout" {
		out.Vals = x.Vals
	}
	return []*Info{out}, nil
}

func inferCast(c *inferer, n *Node) ([]*Info, error) {
	x, err := c.in(0)
	if err != nil {
		return nil, err
	}
	to := Elem(n.Int("to", int64(x.Elem)))
	if n.OpType == "CastLike" {
		if like, err := c.in(1); err == nil {
			to = like.Elem
		}
	}
	out := &Info{Elem: to, Dims: x.Dims, Vals: castVals(x.Vals, to)}
	if a := n.Attr("to"); a != nil && a.Type == AttrString { // operator set 1-5 named the type
		out.Elem, out.Vals = Undefined, nil
	}
	return []*Info{out}, nil
}

// castVals converts followed contents: to 32 and 64 bits and to truth. Others are not followed.
func castVals(vals []int64, to Elem) []int64 {
	switch {
	case vals == nil || to == Int64:
		return vals
	case to != Int32 && to != Bool:
		return nil
	}
	out := make([]int64, len(vals))
	for i, v := range vals {
		if out[i] = int64(int32(v)); to == Bool && v != 0 {
			out[i] = 1
		}
	}
	return out
}

func inferQuantize(c *inferer, n *Node) ([]*Info, error) {
	x, err := c.in(0)
	if err != nil {
		return nil, err
	}
	elem := Uint8
	if zp, err := c.in(2); err == nil {
		elem = zp.Elem
	} else if o := n.Int("output_dtype", 0); o != 0 {
		elem = Elem(o)
	}
	return one(elem, x.Dims), nil
}

func inferDequantize(c *inferer, n *Node) ([]*Info, error) {
	x, err := c.in(0)
	if err != nil {
		return nil, err
	}
	elem := Float32
	if s, err := c.in(1); err == nil {
		elem = s.Elem
	}
	return one(elem, x.Dims), nil
}

// broadcast combines shapes by NumPy's rule.
func (c *inferer) broadcast(a, b []int64) ([]int64, error) {
	out := make([]int64, max(len(a), len(b)))
	for i := range out {
		x, y := int64(1), int64(1)
		if j := i - len(out) + len(a); j >= 0 {
			x = a[j]
		}
		if j := i - len(out) + len(b); j >= 0 {
			y = b[j]
		}
		switch {
		case x == y || y == 1:
			out[i] = x
		case x == 1:
			out[i] = y
		default:
			return nil, c.fail("shapes %v and %v do not fit together", a, b)
		}
	}
	return out, nil
}

func inferBroadcast(c *inferer, n *Node) ([]*Info, error) {
	first, err := c.in(0)
	if err != nil {
		return nil, err
	}
	if n.OpType == "PRelu" {
		return one(first.Elem, first.Dims), nil
	}
	// Operator sets before 7 broadcast the second operand along an axis: the first has the result's shape.
	if c.opset < 7 && n.Int("broadcast", 0) == 1 {
		return one(first.Elem, first.Dims), nil
	}
	dims := first.Dims
	elem := first.Elem
	operands := []*Info{first}
	for i := 1; i < len(n.Inputs); i++ {
		x, err := c.in(i)
		if err != nil {
			return nil, err
		}
		if dims, err = c.broadcast(dims, x.Dims); err != nil {
			return nil, err
		}
		operands = append(operands, x)
	}
	switch n.OpType {
	case "Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual":
		elem = Bool
	case "Where":
		if len(operands) == 3 {
			elem = operands[1].Elem
		}
	}
	out := &Info{Elem: elem, Dims: dims}
	if c.left > 0 {
		out.Vals = foldVals(n.OpType, operands, dims)
	}
	return []*Info{out}, nil
}

// foldVals computes small integer tensors, as exporters make them to compute shapes.
func foldVals(op string, operands []*Info, dims []int64) []int64 {
	n, ok := elements(dims)
	if !ok || n > maxVals {
		return nil
	}
	for _, o := range operands {
		// Only scalars, single elements and equal shapes: shape arithmetic needs no more.
		if o.Vals == nil || len(o.Vals) != 1 && !slices.Equal(o.Dims, dims) || o.Elem == Float32 {
			return nil
		}
	}
	at := func(k int, i int64) int64 {
		if len(operands[k].Vals) == 1 {
			return operands[k].Vals[0]
		}
		return operands[k].Vals[i]
	}
	truth := func(b bool) int64 {
		if b {
			return 1
		}
		return 0
	}
	out := make([]int64, n)
	for i := range n {
		if op == "Where" {
			if len(operands) != 3 {
				return nil
			}
			out[i] = at(2, i)
			if at(0, i) != 0 {
				out[i] = at(1, i)
			}
			continue
		}
		if len(operands) != 2 {
			return nil
		}
		a, b := at(0, i), at(1, i)
		switch op {
		case "Add":
			out[i] = a + b
		case "Sub":
			out[i] = a - b
		case "Mul":
			out[i] = a * b
		case "Div":
			if b == 0 {
				return nil
			}
			out[i] = a / b // integer division truncates, as ONNX says
		case "Mod":
			if b == 0 {
				return nil
			}
			out[i] = a % b
			if out[i] != 0 && (out[i] < 0) != (b < 0) {
				out[i] += b
			}
		case "Max":
			out[i] = max(a, b)
		case "Min":
			out[i] = min(a, b)
		case "Equal":
			out[i] = truth(a == b)
		case "Less":
			out[i] = truth(a < b)
		case "Greater":
			out[i] = truth(a > b)
		default:
			return nil
		}
	}
	return out
}

func inferQLinearBinary(c *inferer, n *Node) ([]*Info, error) {
	a, err := c.in(0)
	if err != nil {
		return nil, err
	}
	b, err := c.in(3)
	if err != nil {
		return nil, err
	}
	dims, err := c.broadcast(a.Dims, b.Dims)
	if err != nil {
		return nil, err
	}
	return one(a.Elem, dims), nil
}
