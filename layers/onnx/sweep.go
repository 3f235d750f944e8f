package onnx

// sweep is the state of one pass over the nodes.
type sweep struct {
	m         *Model
	a         *Analysis
	infos     map[string]*Info // for batch 2
	constant  map[string]bool  // tensors that do not depend on the image
	tensors   map[string]*Tensor
	producer  map[string]*Node
	consumers map[string][]*Node
	quants    map[string]quant // tensors of integers that stand for numbers
	last      map[string]bool  // tensors N,H,W,C
	useful    map[*Node]bool
	counted   map[string]bool // constants in the totals
	since     []*Node         // nodes behind the last cut
	groups    []segment       // behind each cut of the analysis: what lies between it and the one before
	latest    string          // the last cut's tensor or the last of its aliases
}

// segment is what lies between a cut and the one before it.
type segment struct {
	nodes []*Node
	macs  int64
}

func newSweep(m *Model, a *Analysis, infos map[string]*Info) *sweep {
	s := &sweep{m: m, a: a, infos: infos, constant: map[string]bool{}, tensors: map[string]*Tensor{}, producer: map[string]*Node{},
		consumers: map[string][]*Node{}, quants: map[string]quant{}, last: map[string]bool{}, useful: map[*Node]bool{}, counted: map[string]bool{}}
	for _, t := range m.Graph.Initializers {
		s.constant[t.Name] = true
		s.tensors[t.Name] = t
	}
	if a.Image.Layout == "NHWC" {
		s.last[a.Image.Value.Name] = true
	}
	for _, n := range m.Graph.Nodes {
		depends := false
		n.reads(func(name string) { depends = depends || !s.constant[name] })
		if t := constantOf(n); t != nil && len(n.Outputs) > 0 {
			s.tensors[n.Outputs[0]] = t
		}
		for _, o := range n.Outputs {
			if o == "" {
				continue
			}
			s.producer[o] = n
			if !depends {
				s.constant[o] = true
			}
		}
		if depends && len(n.Outputs) > 0 {
			s.carry(n)
		}
	}
	return s
}

// mainOutput picks the output that the most nodes work for and marks these nodes as useful.
func (s *sweep) mainOutput() string {
	best := ""
	// The bound keeps a hostile list of outputs from costing outputs x nodes.
	for _, o := range s.m.Graph.Outputs[:min(len(s.m.Graph.Outputs), 64)] {
		if s.constant[o.Name] || s.producer[o.Name] == nil {
			continue
		}
		nodes := map[*Node]bool{}
		s.ancestors(o.Name, nodes)
		if best == "" || len(nodes) > len(s.useful) {
			best, s.useful = o.Name, nodes
		}
	}
	if best == "" {
		return ""
	}
	for _, n := range s.m.Graph.Nodes {
		if s.useful[n] {
			n.reads(func(name string) { s.consumers[name] = append(s.consumers[name], n) })
		}
	}
	return best
}

// ancestors adds to seen all nodes that the tensor depends on.
func (s *sweep) ancestors(tensor string, seen map[*Node]bool) {
	stack := []string{tensor}
	for len(stack) > 0 {
		t := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		n := s.producer[t]
		if n == nil || seen[n] {
			continue
		}
		seen[n] = true
		n.reads(func(name string) { stack = append(stack, name) })
	}
}

// run does the sweep described at the package comment, with costs summed up on the way: at a cut, what
// was visited is exactly what the cut depends on.
func (s *sweep) run() {
	left := map[string]int{s.a.Output: 1} // readers still to come; the output is read by the world
	for name, users := range s.consumers {
		left[name] += len(users)
	}
	live := map[string]bool{s.a.Image.Value.Name: true}
	liveElems := s.perImage(s.a.Image.Value.Name)
	var peak, macs int64
	for _, n := range s.m.Graph.Nodes {
		if !s.useful[n] {
			continue
		}
		fresh := ""
		for _, o := range n.Outputs {
			if o != "" && !s.constant[o] && left[o] > 0 {
				if s.infos[o] == nil && len(s.a.Unknown) < 8 {
					s.a.Unknown = append(s.a.Unknown, nodeName(n))
				}
				live[o] = true
				fresh = o
				liveElems += s.perImage(o)
			}
		}
		if fresh == "" {
			continue // constant: its cost is counted where it is first used
		}
		peak = max(peak, liveElems)
		n.reads(func(name string) {
			if left[name]--; left[name] == 0 && live[name] {
				delete(live, name)
				liveElems -= s.perImage(name)
			}
		})
		s.count(n)
		cost := s.macs(n)
		macs += cost
		s.a.MACs += cost
		s.since = append(s.since, n)
		if len(live) == 1 && live[fresh] && s.cut(fresh, n, peak, macs) {
			s.since, macs = nil, 0
		}
	}
	s.aliases()
	s.rank()
}

// perImage returns the elements of a tensor per image; 0 when not known.
func (s *sweep) perImage(name string) int64 {
	sh, ok := s.a.Shapes[name]
	if !ok {
		return 0
	}
	n, _ := elements(sh.Dims)
	return n
}

// cut records a single-tensor cut and says whether it did. A tensor behind Identity, Dropout or a Cast
// between float types is the same place under another name, and so is what dequantizes a quantized one:
// the place is then named by the float32 tensor. Tensors whose values cannot be had are passed over.
func (s *sweep) cut(tensor string, n *Node, peak, macs int64) bool {
	access, shape, ok := s.access(tensor)
	if last := len(s.a.Cuts) - 1; last >= 0 && s.alias(n) {
		prev := &s.a.Cuts[last]
		if s.latest == n.Inputs[0] {
			s.latest = tensor
			prev.Aliases = append(prev.Aliases, tensor)
			if prev.Access.Elem != Float32 && access.Elem == Float32 && ok && s.plain(prev.Tensor) == nil {
				prev.rename(tensor)
				if n.OpType == "Cast" {
					prev.Access = access // a float16 network: values are exact in float32
				}
			}
			return true
		}
	}
	if !ok {
		return false
	}
	c := Cut{Tensor: tensor, Nodes: []*Node{n}, Shape: shape, Access: access, MACs: s.a.MACs, Params: s.a.Params, Bytes: s.a.Bytes, Peak: peak}
	if n.OpType == "QuantizeLinear" {
		if p := s.producer[n.Inputs[0]]; p != nil {
			c.Nodes = append(c.Nodes, p)
		}
	}
	s.latest = tensor
	s.a.Cuts = append(s.a.Cuts, c)
	s.groups = append(s.groups, segment{s.since, macs})
	return true
}

// plain returns the shape of a tensor that is float32 itself, or nil.
func (s *sweep) plain(tensor string) *Info {
	if x := s.infos[tensor]; x != nil && x.Elem == Float32 {
		return x
	}
	return nil
}

// rename makes the last alias, to, the cut's name.
func (c *Cut) rename(to string) {
	i := len(c.Aliases) - 1 // it has just been added
	c.Aliases[i], c.Tensor = c.Tensor, to
}

// alias says whether a node passes its input on unchanged, as far as the place in the network goes.
func (s *sweep) alias(n *Node) bool {
	if len(n.Inputs) == 0 || len(n.Outputs) == 0 || !standard(n.Domain) {
		return false
	}
	switch n.OpType {
	case "Identity", "Dropout":
		return true
	case "Cast":
		x, y := s.infos[n.Inputs[0]], s.infos[n.Outputs[0]]
		return x != nil && y != nil && isFloat(x.Elem) && isFloat(y.Elem)
	case "DequantizeLinear":
		_, ok := s.quants[n.Inputs[0]]
		return ok
	}
	return false
}

// aliases completes the names of cuts with those behind several readers that each pass the tensor on.
func (s *sweep) aliases() {
	for i := range s.a.Cuts {
		c := &s.a.Cuts[i]
		have := map[string]bool{c.Tensor: true}
		for _, a := range c.Aliases {
			have[a] = true
		}
		todo := append([]string{c.Tensor}, c.Aliases...)
		for len(todo) > 0 {
			name := todo[0]
			todo = todo[1:]
			for _, u := range s.consumers[name] {
				if !s.alias(u) || u.Inputs[0] != name || have[u.Outputs[0]] {
					continue
				}
				out := u.Outputs[0]
				have[out] = true
				c.Aliases = append(c.Aliases, out)
				todo = append(todo, out)
				if c.Access.Scale != nil && s.plain(c.Tensor) == nil && s.plain(out) != nil {
					c.rename(out)
				}
			}
		}
	}
}

func isFloat(e Elem) bool { return e == Float32 || e == Float16 || e == BFloat16 || e == Float64 }
