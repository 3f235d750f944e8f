package onnx

import (
	"encoding/binary"
	"slices"
)

// maxTrips is the longest loop that is taken for bounded.
const maxTrips = 10_000

// refuse returns an error for the first node that cannot be part of a feature extractor: training mode,
// random numbers, loops whose length cannot be known, branches that the images decide on. It also looks
// into subgraphs. Branches that shapes decide on have been put in place by then.
func (m *Model) refuse() error {
	consts := map[string]*Tensor{}
	for _, t := range m.Graph.Initializers {
		consts[t.Name] = t
	}
	for _, n := range m.Graph.Nodes {
		if t := constantOf(n); t != nil && len(n.Outputs) > 0 {
			consts[n.Outputs[0]] = t
		}
	}
	return refuseNodes(m.Graph.Nodes, consts, m.OpsetVersion())
}

func refuseNodes(nodes []*Node, consts map[string]*Tensor, opset int64) error {
	for _, n := range nodes {
		if why, do := refusal(n, consts, opset); why != "" {
			return &Error{Node: nodeName(n), Msg: why, Do: do}
		}
		for _, a := range n.Attrs {
			for _, g := range append(slices.Clone(a.Graphs), a.G) {
				if g == nil {
					continue
				}
				if err := refuseNodes(g.Nodes, consts, opset); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

const evalMode = "export the model in evaluation mode (model.eval())"

// refusal says why a node is refused and what to do, or "".
func refusal(n *Node, consts map[string]*Tensor, opset int64) (why, do string) {
	constant := func(i int) *Tensor {
		if i >= len(n.Inputs) {
			return nil
		}
		return consts[n.Inputs[i]]
	}
	truth := func(i int) bool {
		t := constant(i)
		return t != nil && len(t.Raw) > 0 && t.Raw[0] != 0
	}
	given := func(i int) bool { return i < len(n.Inputs) && n.Inputs[i] != "" }
	switch n.OpType {
	case "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial":
		return "makes random numbers, so that features would differ from run to run", evalMode
	case "Loop":
		if t := constant(0); t == nil || t.Type != Int64 || len(t.Raw) != 8 || int64(binary.LittleEndian.Uint64(t.Raw)) > maxTrips {
			return "is a loop whose length cannot be known", "export a model without loops"
		}
	case "DynamicQuantizeLinear":
		return "quantizes by the largest value of the whole batch", "quantize the model statically, with calibration"
	case "While":
		return "is a loop whose length cannot be known", "export a model without loops"
	case "If":
		return "decides by what it reads, for all images of a batch at once", "export a model without conditions on the image"
	case "Dropout":
		// Before operator set 12 a Dropout passes everything on; then its third input says whether it trains.
		if truth(2) || given(2) && constant(2) == nil || opset < 7 && n.Int("is_test", 0) == 0 {
			return "drops elements at random: it is in training mode", evalMode
		}
	case "BatchNormalization":
		extra := 0
		for _, o := range n.Outputs[min(1, len(n.Outputs)):] {
			if o != "" {
				extra++
			}
		}
		if n.Int("training_mode", 0) == 1 || opset < 7 && n.Int("is_test", 0) == 0 || opset < 14 && extra > 0 {
			return "normalises by the batch: it is in training mode", evalMode
		}
	}
	return "", ""
}
