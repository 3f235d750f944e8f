package onnx

import (
	"fmt"
	"slices"
)

// What local functions may expand to: functions that call each other twice, 60 levels deep, or one with
// long names that is called often, would otherwise fill any memory.
const (
	maxInlined      = 1 << 18   // nodes
	maxInlinedBytes = 256 << 20 // memory of copied nodes, about
)

type funcKey struct{ domain, name, overload string }

// inline puts the bodies of local functions in place of the nodes that call them, in the main graph and
// in subgraphs. The model's function list becomes empty; operator sets that functions import are added.
func (m *Model) inline() error {
	if len(m.Functions) == 0 {
		return nil
	}
	x := &inliner{funcs: map[funcKey]*Function{}, left: maxInlinedBytes}
	m.Opsets = slices.Clone(m.Opsets)
	for _, f := range m.Functions {
		x.funcs[funcKey{f.Domain, f.Name, f.Overload}] = f
		for _, o := range f.Opsets {
			if !slices.ContainsFunc(m.Opsets, func(h Opset) bool { return h.Domain == o.Domain }) {
				m.Opsets = append(m.Opsets, o)
			}
		}
	}
	nodes, err := x.nodes(m.Graph.Nodes, 0)
	if err != nil {
		return err
	}
	m.Graph.Nodes = nodes
	m.Functions = nil
	return nil
}

type inliner struct {
	funcs map[funcKey]*Function
	made  int
	calls int
	left  int
}

// size is about what a copy of some nodes takes in memory.
func size(nodes []*Node) int {
	const each = 256 // of a name, with the prefix that it gets
	total := 0
	for _, n := range nodes {
		total += 256 + len(n.Name)
		for _, list := range [][]string{n.Inputs, n.Outputs} {
			for _, s := range list {
				total += each + len(s)
			}
		}
		for _, a := range n.Attrs {
			total += 256
			for _, g := range append(slices.Clone(a.Graphs), a.G) {
				if g == nil {
					continue
				}
				total += size(g.Nodes)
				for _, t := range g.Initializers {
					total += 256 + len(t.Name)
				}
				for _, list := range [][]*ValueInfo{g.Inputs, g.Outputs} {
					for _, v := range list {
						total += 256 + len(v.Name)
					}
				}
			}
		}
	}
	return total
}

func (x *inliner) nodes(in []*Node, depth int) ([]*Node, error) {
	if depth > 32 {
		return nil, &Error{Msg: "local functions call each other more than 32 deep, or in a circle"}
	}
	var out []*Node
	for _, n := range in {
		f := x.funcs[funcKey{n.Domain, n.OpType, n.Overload}]
		if f == nil {
			n, err := x.inside(n, depth)
			if err != nil {
				return nil, err
			}
			if x.made++; x.made > maxInlined {
				return nil, &Error{Msg: fmt.Sprintf("its local functions expand to more than %d nodes", maxInlined)}
			}
			out = append(out, n)
			continue
		}
		x.calls++
		if x.left -= size(f.Nodes); x.left < 0 {
			return nil, &Error{Node: nodeName(n), Msg: fmt.Sprintf("its local functions expand to more than %d MiB", maxInlinedBytes>>20)}
		}
		body, err := x.nodes(call(f, n, x.calls), depth+1)
		if err != nil {
			return nil, err
		}
		out = append(out, body...)
	}
	return out, nil
}

// inside inlines within the graphs that a node carries.
func (x *inliner) inside(n *Node, depth int) (*Node, error) {
	if !slices.ContainsFunc(n.Attrs, func(a *Attr) bool { return a.G != nil || len(a.Graphs) > 0 }) {
		return n, nil
	}
	out := *n
	out.Attrs = slices.Clone(n.Attrs)
	graph := func(g *Graph) (*Graph, error) {
		c := *g
		var err error
		c.Nodes, err = x.nodes(g.Nodes, depth+1)
		return &c, err
	}
	for i, a := range out.Attrs {
		c := *a
		var err error
		if a.G != nil {
			if c.G, err = graph(a.G); err != nil {
				return nil, err
			}
		}
		c.Graphs = nil
		for _, g := range a.Graphs {
			h, err := graph(g)
			if err != nil {
				return nil, err
			}
			c.Graphs = append(c.Graphs, h)
		}
		out.Attrs[i] = &c
	}
	return &out, nil
}

// call returns the function's nodes with the caller's names and attributes; inner names get a prefix
// that no other call has.
func call(f *Function, n *Node, number int) []*Node {
	names := map[string]string{"": ""}
	prefix := n.Name
	if prefix == "" {
		prefix = f.Name
	}
	prefix = fmt.Sprintf("%s.%d/", clip(prefix), number)
	var copies []*Node
	for i, formal := range f.Inputs {
		names[formal] = ""
		if i < len(n.Inputs) {
			names[formal] = n.Inputs[i]
		}
	}
	for i, formal := range f.Outputs {
		actual := ""
		if i < len(n.Outputs) {
			actual = n.Outputs[i]
		}
		if in, isInput := names[formal]; isInput {
			// An output that is one of the inputs: the name cannot be replaced twice.
			if actual != "" {
				copies = append(copies, NewNode("Identity", prefix+formal, []string{in}, []string{actual}))
			}
			continue
		}
		if actual != "" {
			names[formal] = actual
		}
	}
	attrs := map[string]*Attr{}
	for _, a := range f.AttrValues {
		attrs[a.Name] = a
	}
	for _, a := range n.Attrs {
		attrs[a.Name] = a
	}
	rename := func(name string) string {
		if to, ok := names[name]; ok {
			return to
		}
		return prefix + name
	}
	body := renameNodes(f.Nodes, rename, attrs, prefix, 0)
	return append(body, copies...)
}

func renameNodes(nodes []*Node, rename func(string) string, attrs map[string]*Attr, prefix string, depth int) []*Node {
	out := make([]*Node, 0, len(nodes))
	for _, n := range nodes {
		c := *n
		c.Name = prefix + n.Name
		c.Inputs = apply(n.Inputs, rename)
		c.Outputs = apply(n.Outputs, rename)
		c.Attrs = nil
		for _, a := range n.Attrs {
			if a.Ref != "" {
				given := attrs[a.Ref]
				if given == nil {
					continue // not given by the caller and without default: left out
				}
				b := *given
				b.Name = a.Name
				c.Attrs = append(c.Attrs, &b)
				continue
			}
			b := *a
			if a.G != nil {
				b.G = renameGraph(a.G, rename, attrs, prefix, depth)
			}
			b.Graphs = nil
			for _, g := range a.Graphs {
				b.Graphs = append(b.Graphs, renameGraph(g, rename, attrs, prefix, depth))
			}
			c.Attrs = append(c.Attrs, &b)
		}
		out = append(out, &c)
	}
	return out
}

// renameGraph renames all names of a subgraph, its own ones too: they get the same prefix, so scoping
// stays as it was.
func renameGraph(g *Graph, rename func(string) string, attrs map[string]*Attr, prefix string, depth int) *Graph {
	c := *g
	c.Nodes = renameNodes(g.Nodes, rename, attrs, prefix, depth+1)
	values := func(list []*ValueInfo) []*ValueInfo {
		out := make([]*ValueInfo, len(list))
		for i, v := range list {
			w := *v
			w.Name = rename(v.Name)
			out[i] = &w
		}
		return out
	}
	c.Inputs, c.Outputs, c.Values = values(g.Inputs), values(g.Outputs), nil
	c.Initializers = make([]*Tensor, len(g.Initializers))
	for i, t := range g.Initializers {
		u := *t
		u.Name = rename(t.Name)
		c.Initializers[i] = &u
	}
	return &c
}

func apply(list []string, fn func(string) string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = fn(s)
	}
	return out
}
