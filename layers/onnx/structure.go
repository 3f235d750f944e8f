package onnx

import (
	"fmt"
	"slices"
)

// captured calls fn for every name that graphs inside the node's attributes read from outside.
func (n *Node) captured(fn func(name string)) {
	for _, a := range n.Attrs {
		if a.G != nil {
			a.G.free(fn)
		}
		for _, g := range a.Graphs {
			g.free(fn)
		}
	}
}

// free calls fn for every name that the graph reads and does not define.
func (g *Graph) free(fn func(string)) {
	own := map[string]bool{}
	for _, t := range g.Initializers {
		own[t.Name] = true
	}
	for _, v := range g.Inputs {
		own[v.Name] = true
	}
	for _, n := range g.Nodes {
		for _, o := range n.Outputs {
			own[o] = true
		}
	}
	read := func(name string) {
		if name != "" && !own[name] {
			fn(name)
		}
	}
	for _, n := range g.Nodes {
		for _, i := range n.Inputs {
			read(i)
		}
		n.captured(read)
	}
	for _, o := range g.Outputs {
		read(o.Name)
	}
}

// reads calls fn for every name that the node reads, captured ones included.
func (n *Node) reads(fn func(name string)) {
	for _, i := range n.Inputs {
		if i != "" {
			fn(i)
		}
	}
	n.captured(fn)
}

// Sort checks that every name is defined once, inputs being those that are no weights, and brings the nodes into topological order, which ONNX
// demands but not every writer delivers. The order of nodes that is already right stays.
func (g *Graph) Sort() error {
	producer := map[string]int{}
	given := map[string]bool{}
	for _, t := range g.Initializers {
		if given[t.Name] {
			return &Error{Msg: fmt.Sprintf("initializer %q is defined twice", t.Name)}
		}
		given[t.Name] = true
	}
	for _, v := range g.Inputs {
		if given[v.Name] {
			return &Error{Msg: fmt.Sprintf("input %q is defined twice", v.Name)}
		}
		given[v.Name] = true
	}
	for i, n := range g.Nodes {
		for _, o := range n.Outputs {
			if o == "" {
				continue
			}
			if _, twice := producer[o]; twice || given[o] {
				return &Error{Node: nodeName(n), Msg: fmt.Sprintf("tensor %q is defined twice", o)}
			}
			producer[o] = i
		}
	}
	sorted := true
	waits := make([]int, len(g.Nodes))
	users := make([][]int, len(g.Nodes))
	var missing error
	for i, n := range g.Nodes {
		n.reads(func(name string) {
			p, ok := producer[name]
			switch {
			case ok:
				waits[i]++
				users[p] = append(users[p], i)
				sorted = sorted && p < i
			case !given[name] && missing == nil:
				missing = &Error{Node: nodeName(n), Msg: fmt.Sprintf("reads tensor %q, which nothing defines", name)}
			}
		})
	}
	if missing != nil || sorted {
		return missing
	}
	var ready, order []int
	for i, w := range waits {
		if w == 0 {
			ready = append(ready, i)
		}
	}
	for len(ready) > 0 {
		i := ready[0]
		ready = ready[1:]
		order = append(order, i)
		for _, u := range users[i] {
			if waits[u]--; waits[u] == 0 {
				ready = append(ready, u)
			}
		}
	}
	if len(order) != len(g.Nodes) {
		for i, w := range waits {
			if w > 0 {
				return &Error{Node: nodeName(g.Nodes[i]), Msg: "is part of a cycle"}
			}
		}
	}
	nodes := make([]*Node, len(order))
	for k, i := range order {
		nodes[k] = g.Nodes[i]
	}
	g.Nodes = nodes
	return nil
}

// Initializer returns the initializer with the given name, or nil. It costs O(initializers).
func (g *Graph) Initializer(name string) *Tensor {
	i := slices.IndexFunc(g.Initializers, func(t *Tensor) bool { return t.Name == name })
	if i < 0 {
		return nil
	}
	return g.Initializers[i]
}

// DataInputs returns the graph's inputs that are not weights listed as inputs.
func (g *Graph) DataInputs() []*ValueInfo {
	weights := map[string]bool{}
	for _, t := range g.Initializers {
		weights[t.Name] = true
	}
	var out []*ValueInfo
	for _, v := range g.Inputs {
		if !weights[v.Name] {
			out = append(out, v)
		}
	}
	return out
}
