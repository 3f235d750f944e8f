package onnx

import "slices"

func opSet(ops ...string) map[string]bool {
	m := map[string]bool{}
	for _, o := range ops {
		m[o] = true
	}
	return m
}

var (
	norms = opSet("BatchNormalization", "InstanceNormalization", "LayerNormalization", "GroupNormalization", "RMSNormalization", "ReduceMean")
	// ends are operators that keep a shape and yet begin something else.
	ends = opSet("Softmax", "LogSoftmax", "Hardmax", "QLinearSoftmax", "LRN", "MaxPool", "AveragePool", "LpPool", "QLinearAveragePool", "Pad", "Resize", "Upsample")
	// scales make factors and offsets of a normalisation.
	scales = opSet("Mul", "Add", "Sub", "Div")
	// joins bring branches together.
	joins = opSet("Add", "Sum", "Concat", "QLinearAdd", "QLinearConcat")
)

// rank marks the candidates among the cuts: the places that people call layers. Cuts fall into groups. A
// group begins at a cut that was multiplied for (by a convolution, a matrix product or a whole block of
// them) and goes on as long as the shape stays: biases, normalisations, activations, quantization. It ends
// at the next product, pool, change of shape, softmax or output. The group's last cut is the candidate.
//
//   - A normalisation behind a sum or a concatenation belongs to what follows, as in pre-activation ResNets
//     and DenseNets: there the block's end is the candidate. Where no product follows any more, but the
//     head, the activation behind that normalisation is one too.
//   - A tensor that a later concatenation takes in as it is (inside a dense block that grows by
//     concatenating, or a ghost module), or that is multiplied with something made from it (a gate), is the
//     middle of a block, not its end.
//
// Residual and branching blocks are never cut inside, because no tensor there is a cut in the first place.
func (s *sweep) rank() {
	cuts := s.a.Cuts
	for i := 0; i < len(cuts); i++ {
		if s.groups[i].macs == 0 && !s.opaque(s.groups[i].nodes) {
			continue
		}
		join := s.join(cuts[i].Nodes[0])
		best, k := i, i+1
		for ; k < len(cuts) && s.passes(k); k++ {
			if join && s.normalises(k) {
				break
			}
			if !s.moves(k) {
				best = k
			}
		}
		cuts[best].Candidate = !s.middle(&cuts[best])
		if join && k < len(cuts) && s.passes(k) {
			// A normalisation behind a block's end: is the head behind it?
			for ; k < len(cuts) && s.passes(k); k++ {
				if !s.moves(k) {
					best = k
				}
			}
			if k == len(cuts) || s.groups[k].macs == 0 {
				cuts[best].Candidate = !s.middle(&cuts[best])
			}
		}
		i = k - 1
	}
}

// passes says whether cut k is behind the one before it by nothing that ends a group.
func (s *sweep) passes(k int) bool {
	g := s.groups[k]
	if g.macs > 0 || !slices.Equal(s.a.Cuts[k].Shape.Dims, s.a.Cuts[k-1].Shape.Dims) || s.has(k, ends) || s.opaque(g.nodes) {
		return false
	}
	// A sigmoid at the very end makes probabilities of scores.
	if len(g.nodes) == 1 && g.nodes[0].OpType == "Sigmoid" && slices.Contains(append(s.a.Cuts[k].Aliases, s.a.Cuts[k].Tensor), s.a.Output) {
		return false
	}
	return true
}

func (s *sweep) has(k int, ops map[string]bool) bool {
	return slices.ContainsFunc(s.groups[k].nodes, func(n *Node) bool { return ops[n.OpType] })
}

// normalises says whether a normalisation lies between cut k and the one before: as an operator of its own,
// or as the factors and offsets that some exporters make of it.
func (s *sweep) normalises(k int) bool {
	return s.has(k, norms) || slices.ContainsFunc(s.groups[k].nodes, func(n *Node) bool {
		return scales[n.OpType] && slices.ContainsFunc(n.Inputs, func(i string) bool {
			x := s.infos[i]
			return s.constant[i] && x != nil && x.Len() > 1
		})
	})
}

// moves says whether cut k has the elements of the one before in another order.
func (s *sweep) moves(k int) bool {
	return !slices.ContainsFunc(s.groups[k].nodes, func(n *Node) bool { return n.OpType != "Transpose" && n.OpType != "Reshape" })
}

// opaque says whether one of the nodes is an operator without a rule: it may multiply.
func (s *sweep) opaque(nodes []*Node) bool {
	return slices.ContainsFunc(nodes, func(n *Node) bool { return rules[n.OpType] == nil || !standard(n.Domain) })
}

// join says whether a node brings together tensors that depend on the image.
func (s *sweep) join(n *Node) bool {
	if !joins[n.OpType] {
		return false
	}
	moving := 0
	for _, i := range n.Inputs {
		if i != "" && !s.constant[i] {
			moving++
		}
	}
	return moving > 1
}

// middle says whether a cut goes on as it is into a concatenation or a gate.
func (s *sweep) middle(c *Cut) bool {
	for _, name := range append([]string{c.Tensor, c.Access.Tensor}, c.Aliases...) {
		var last *Node // consumers lists a node for each time that it reads, one behind the other
		for _, u := range s.consumers[name] {
			if u == last {
				continue
			}
			last = u
			switch u.OpType {
			case "Concat", "QLinearConcat":
				return true
			case "Mul", "QLinearMul":
				if slices.ContainsFunc(u.Inputs, func(i string) bool { return i != "" && i != name && !s.constant[i] }) {
					return true
				}
			}
		}
	}
	return false
}
