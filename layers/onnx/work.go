package onnx

import "strings"

// Work is an estimate of what running a model once takes, in multiply-accumulates or what takes as long. A core does
// some 10^10 in a second where they are large products, and seldom fewer than 10^9.
type Work struct {
	Total    int64
	Heaviest int64 // of one node: a run cannot be stopped within it
}

// element is the work for one element of a node's result: what passes through memory or a slow function takes as long
// as so many multiplications.
const element = 16

// Work estimates the work for one image of a model whose first input is a batch of images of a known size. Operators
// without a rule here count as if they only moved elements.
func (m *Model) Work() Work {
	in := m.Graph.DataInputs()[0]
	dims := []int64{2}
	for _, d := range in.Shape[min(1, len(in.Shape)):] {
		dims = append(dims, d.Size)
	}
	infos, _ := m.inferAll(map[string][]int64{in.Name: dims}) // where shapes contradict each other, some are not known
	var w Work
	for _, n := range m.Graph.Nodes {
		x := work(n, infos)
		w.Heaviest = max(w.Heaviest, x)
		w.Total = min(w.Total+x, maxElements*1024)
	}
	return w
}

func work(n *Node, infos map[string]*Info) int64 {
	var moved, made int64
	for _, name := range n.Inputs {
		if x := infos[name]; x != nil {
			moved = max(moved, x.Len())
		}
	}
	for _, name := range n.Outputs {
		if x := infos[name]; x != nil {
			made = max(made, x.Len())
		}
	}
	least := mulSat(max(moved, made), element) / 2 // shapes are those of a batch of two
	switch {
	case multiplies(n.OpType):
		return max(macs(n, infos), least)
	case n.OpType == "Einsum":
		return max(einsum(n, infos), least)
	case n.OpType == "LRN":
		return max(mulSat(made, n.Int("size", 1))/2, least)
	case strings.HasSuffix(n.OpType, "Pool") && !strings.HasPrefix(n.OpType, "Global"):
		k, ok := elements(n.Ints("kernel_shape"))
		if !ok {
			k = maxElements
		}
		if n.OpType == "LpPool" {
			k = mulSat(k, element) // it raises to powers
		}
		return max(mulSat(made, k)/2, least)
	}
	return least
}

// einsum is the product of all dimensions that the equation names.
func einsum(n *Node, infos map[string]*Info) int64 {
	terms, _, _ := strings.Cut(strings.ReplaceAll(n.Text("equation", ""), " ", ""), "->")
	product, seen := int64(1), map[rune]bool{}
	for i, term := range strings.Split(terms, ",") {
		if i >= len(n.Inputs) || infos[n.Inputs[i]] == nil {
			continue
		}
		x := infos[n.Inputs[i]]
		if strings.Contains(term, ".") || len(term) != len(x.Dims) {
			product = mulSat(product, x.Len()) // too many rather than too few
			continue
		}
		for k, label := range term {
			if !seen[label] {
				seen[label] = true
				product = mulSat(product, x.Dims[k])
			}
		}
	}
	return product / 2
}
