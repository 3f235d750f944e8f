package onnx

import (
	"fmt"
	"strings"
)

// What a network may hold: elements of one tensor for two images, and of all constants that are not stored but made by
// nodes; and how many multiplications nodes may do that read only constants, which the runtime does when it opens a
// model. They keep a small file from asking for any memory or time. What exporters leave to be made from nothing are
// masks, grids and embeddings of positions, of at most some 100,000 elements; but a quantized or float16 network makes
// every weight anew from what is stored, and may turn and reshape it: for each stored element, madeOfStored may be made.
const (
	maxActivation = 1 << 32
	maxMade       = 1 << 28
	maxMadeAlone  = 1 << 22
	madeOfStored  = 3
	maxMadeWork   = 1 << 31
)

// maxNodes bounds a model's nodes, with those of functions in place and of subgraphs. The runtime's work when it opens
// a model grows with their square and cannot be interrupted: validate takes 10 s of CPU for a chain of 10,000 convolutions,
// 33 s for twice as many. The longest CNNs have some thousands, EfficientNets and DenseNets with every weight quantized among them.
const maxNodes = 10_000

// countNodes counts nodes and those of the graphs that they carry, up to maxNodes and a little more.
func countNodes(nodes []*Node) int {
	total := len(nodes)
	for _, n := range nodes {
		for _, a := range n.Attrs {
			for _, g := range append(a.Graphs[:len(a.Graphs):len(a.Graphs)], a.G) {
				if g != nil && total <= maxNodes {
					total += countNodes(g.Nodes)
				}
			}
		}
	}
	return total
}

// bounded refuses tensors of absurd size before anything makes them.
func bounded(g *Graph, infos map[string]*Info) error {
	moving := map[string]bool{}
	for _, v := range g.Inputs {
		moving[v.Name] = true
	}
	limit := int64(maxMadeAlone)
	for _, t := range g.Initializers {
		n, _ := elements(t.Dims)
		limit += madeOfStored * n
	}
	limit = min(limit, maxMade)
	var made, work int64
	for _, n := range g.Nodes {
		depends := false
		n.reads(func(name string) { depends = depends || moving[name] })
		for _, o := range n.Outputs {
			moving[o] = depends && o != ""
			x := infos[o]
			if x == nil || o == "" {
				continue
			}
			switch {
			case depends:
			case n.OpType == "Constant":
				limit = min(limit+madeOfStored*x.Len(), maxMade)
			default:
				made += x.Len()
			}
			if x.Len() > maxActivation {
				return &Error{Node: nodeName(n), Msg: fmt.Sprintf("makes %d elements", x.Len()), Do: "no CNN is that large; is the file what it should be?"}
			}
			if made > limit {
				return &Error{Node: nodeName(n), Msg: fmt.Sprintf("makes %d elements of constants alone: with those of other such nodes, more than %d", x.Len(), limit),
					Do: "export the model with constant folding, so that its weights are stored in the file"}
			}
		}
		if !depends {
			if work += constantWork(n, infos); work > maxMadeWork {
				return &Error{Node: nodeName(n), Msg: fmt.Sprintf("multiplies constants: with other such nodes, more than %d times", maxMadeWork),
					Do: "export the model with constant folding, so that its weights are stored in the file"}
			}
		}
	}
	return nil
}

// constantWork is about how many multiplications a node does that reads only constants, where these can be many
// more than its elements.
func constantWork(n *Node, infos map[string]*Info) int64 {
	if rules[n.OpType] != nil && standard(n.Domain) {
		if !multiplies(n.OpType) {
			k, ok := elements(n.Ints("kernel_shape")) // of a pool
			if x := firstOf(n, infos); x != nil && ok {
				return mulSat(x.Len(), k)
			} else if !ok {
				return maxMadeWork + 1
			}
			return 0
		}
		for _, i := range n.Inputs {
			if i != "" && infos[i] == nil {
				return maxMadeWork + 1 // of what an unknown operator made
			}
		}
		return 2 * macs(n, infos)
	}
	// These only move elements.
	if strings.HasPrefix(n.OpType, "Scatter") || strings.HasPrefix(n.OpType, "Gather") {
		return 0
	}
	work := int64(1)
	for _, i := range n.Inputs {
		switch x := infos[i]; {
		case i == "":
		case x == nil:
			work = mulSat(work, maxMadeAlone)
		case x.Len() > 0:
			work = mulSat(work, x.Len())
		}
	}
	return work
}

func firstOf(n *Node, infos map[string]*Info) *Info {
	if len(n.Outputs) == 0 {
		return nil
	}
	return infos[n.Outputs[0]]
}

// multiplies says whether macs counts an operator.
func multiplies(op string) bool {
	switch op {
	case "Conv", "FusedConv", "ConvInteger", "QLinearConv", "ConvTranspose", "Gemm", "FusedGemm", "QGemm",
		"MatMul", "MatMulInteger", "QLinearMatMul", "FusedMatMul":
		return true
	}
	return false
}
