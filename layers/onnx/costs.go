package onnx

// role is what a constant is to the node that reads it.
type role int

const (
	number role = iota // a parameter if it is of a float type and has at least one axis
	weight             // a parameter, also as integers
	other              // none: running statistics, what quantization needs
)

// roleOf tells what input i of a node is to it.
func roleOf(n *Node, i int) role {
	pick := func(weights, others string) role {
		for _, c := range weights {
			if int(c-'0') == i {
				return weight
			}
		}
		for _, c := range others {
			if int(c-'0') == i {
				return other
			}
		}
		return number
	}
	switch n.OpType {
	case "BatchNormalization":
		return pick("", "34")
	case "QuantizeLinear":
		return pick("", "12")
	case "DequantizeLinear":
		return pick("0", "12")
	case "QLinearConv":
		return pick("38", "124567")
	case "QLinearMatMul":
		return pick("3", "124567")
	case "QGemm":
		return pick("36", "124578")
	case "ConvInteger", "MatMulInteger":
		return pick("1", "23")
	case "QLinearConcat":
		return other
	}
	if len(n.OpType) > 7 && n.OpType[:7] == "QLinear" && i > 0 {
		return other
	}
	return number
}

// count adds the constants that a node reads to the totals, once each, and those behind them.
func (s *sweep) count(n *Node) {
	type use struct {
		name string
		role role
	}
	var todo []use
	push := func(n *Node) {
		for i, name := range n.Inputs {
			todo = append(todo, use{name, roleOf(n, i)})
		}
		n.captured(func(name string) { todo = append(todo, use{name, number}) })
	}
	push(n)
	for len(todo) > 0 {
		u := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if u.name == "" || !s.constant[u.name] || s.counted[u.name] {
			continue
		}
		s.counted[u.name] = true
		if t := s.tensors[u.name]; t != nil {
			s.a.Bytes += t.size()
			if u.role == weight || u.role == number && isFloat(t.Type) && len(t.Dims) > 0 {
				n, _ := elements(t.Dims)
				s.a.Params += n
			}
			continue
		}
		n := s.producer[u.name]
		if n == nil {
			continue
		}
		if x := s.infos[u.name]; n.OpType == "ConstantOfShape" && x != nil && u.role != other && isFloat(x.Elem) {
			s.a.Params += x.Len() // weights that the file only states the shape of
			continue
		}
		push(n)
	}
}

// macs counts the multiply-accumulates of a node per image.
func (s *sweep) macs(n *Node) int64 { return macs(n, s.infos) }

func macs(n *Node, infos map[string]*Info) int64 {
	out := firstOf(n, infos)
	operand := func(i int) []int64 {
		if i < len(n.Inputs) {
			if x := infos[n.Inputs[i]]; x != nil {
				return x.Dims
			}
		}
		return nil
	}
	at := 1
	switch n.OpType {
	case "QLinearConv", "QLinearMatMul", "QGemm":
		at = 3
	}
	w := operand(at)
	if out == nil || len(w) < 2 {
		return 0
	}
	var each int64
	switch n.OpType {
	case "Conv", "FusedConv", "ConvInteger", "QLinearConv":
		each, _ = elements(w[1:])
	case "ConvTranspose":
		if in := operand(0); in != nil {
			x, _ := elements(in)
			each, _ = elements(w[1:])
			return mulSat(x, each) / 2
		}
	case "Gemm", "FusedGemm", "QGemm":
		each = w[0]
		if n.Int("transB", 0) != 0 {
			each = w[1]
		}
	case "MatMul", "MatMulInteger", "QLinearMatMul", "FusedMatMul":
		each = w[len(w)-2]
	}
	return mulSat(out.Len(), each) / 2 // shapes are those of a batch of two
}

// mulSat multiplies and stays at a large value instead of overflowing.
func mulSat(a, b int64) int64 {
	if a != 0 && b > maxElements*1024/a {
		return maxElements * 1024
	}
	return a * b
}
