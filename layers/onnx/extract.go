package onnx

import (
	"fmt"
	"slices"
)

// Extract returns the part of the model that computes the tensors outputs from the tensors inputs. Nodes
// keep their order; a constant that several parts need is in each of them (its bytes are shared). Inputs
// name tensors of the model and say their types; a tensor that is asked for as output must not be an
// input. It is an error if an output depends on a graph input that is not among inputs.
func (m *Model) Extract(inputs []*ValueInfo, outputs []*ValueInfo) (*Model, error) {
	g := m.Graph
	given := map[string]bool{}
	for _, v := range inputs {
		given[v.Name] = true
	}
	known := map[string]bool{}
	for _, t := range g.Initializers {
		known[t.Name] = true
	}
	outer := map[string]bool{}
	for _, v := range g.DataInputs() {
		outer[v.Name] = true
	}
	producer := map[string]int{}
	for i, n := range g.Nodes {
		for _, o := range n.Outputs {
			if o != "" {
				producer[o] = i
			}
		}
	}
	needed := map[string]bool{}
	var stack []string
	for _, v := range outputs {
		if given[v.Name] {
			return nil, &Error{Msg: fmt.Sprintf("tensor %q is wanted both as input and as output", v.Name)}
		}
		stack = append(stack, v.Name)
	}
	keep := make([]bool, len(g.Nodes))
	for len(stack) > 0 {
		name := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if needed[name] || given[name] {
			continue
		}
		needed[name] = true
		i, made := producer[name]
		switch {
		case made:
			if !keep[i] {
				keep[i] = true
				g.Nodes[i].reads(func(in string) { stack = append(stack, in) })
			}
		case outer[name]:
			return nil, &Error{Msg: fmt.Sprintf("the part asked for also needs the input %q", name), Do: "cut at a tensor that everything behind it depends on"}
		case !known[name]:
			return nil, &Error{Msg: fmt.Sprintf("there is no tensor %q", name)}
		}
	}
	out := *m
	out.Graph = &Graph{Name: g.Name, Inputs: slices.Clone(inputs), Outputs: slices.Clone(outputs)}
	for i, n := range g.Nodes {
		if keep[i] {
			out.Graph.Nodes = append(out.Graph.Nodes, n)
		}
	}
	for _, t := range g.Initializers {
		if needed[t.Name] {
			out.Graph.Initializers = append(out.Graph.Initializers, t)
		}
	}
	return &out, nil
}

// Rename replaces a tensor's name wherever nodes of the graph read or write it, subgraphs included.
// Nodes that mention it are copied; others stay shared.
func (g *Graph) Rename(from, to string) {
	change := func(s string) string {
		if s == from {
			return to
		}
		return s
	}
	for i, n := range g.Nodes {
		touched := slices.Contains(n.Outputs, from)
		n.reads(func(name string) { touched = touched || name == from })
		if touched {
			// The prefix is empty: node names stay.
			g.Nodes[i] = renameNodes([]*Node{n}, change, nil, "", 0)[0]
		}
	}
}

// Free makes a tensor's name free: what the graph itself calls so, initializers included, gets a name made
// from it, which is returned; the name itself if nothing is called so. Inputs and outputs of the graph are
// the caller's to change.
func (g *Graph) Free(name string) string {
	ed := g.Edit()
	if !ed.used[name] {
		return name
	}
	to := ed.Name(name)
	g.Nodes = slices.Clone(g.Nodes)
	g.Rename(name, to)
	g.Initializers = slices.Clone(g.Initializers)
	for i, t := range g.Initializers {
		if t.Name == name {
			c := *t
			c.Name = to
			g.Initializers[i] = &c
		}
	}
	return to
}

// BatchOf returns dimensions that begin with the symbolic batch.
func BatchOf(dims ...int64) []Dim {
	return append([]Dim{{Size: -1, Symbol: batchSymbol}}, Fixed(dims...)...)
}
