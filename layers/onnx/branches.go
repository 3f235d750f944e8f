package onnx

import (
	"fmt"
	"slices"
)

// maxRounds bounds the nesting of conditions that are resolved: each round puts in place what the round
// before has made known.
const maxRounds = 8

// chooseBranches puts the branch that is taken in place of every If whose condition does not depend on the
// image: exporters write such conditions on shapes. Others stay, and are refused later.
func (m *Model) chooseBranches(input string, dims []int64) error {
	g := m.Graph
	made := len(g.Nodes)
	for range maxRounds {
		if !slices.ContainsFunc(g.Nodes, func(n *Node) bool { return n.OpType == "If" && standard(n.Domain) }) {
			return nil
		}
		two, three, _ := m.inferTwice(input, dims)
		ed := g.Edit()
		var nodes []*Node
		changed := false
		for _, n := range g.Nodes {
			branch := takenBranch(n, two, three)
			if branch == nil {
				nodes = append(nodes, n)
				continue
			}
			body, err := g.unfold(ed, n, branch)
			if err != nil {
				return err
			}
			if made += len(body); made > maxInlined {
				return &Error{Msg: fmt.Sprintf("its branches hold more than %d nodes", maxInlined)}
			}
			nodes = append(nodes, body...)
			changed = true
		}
		g.Nodes = nodes
		if !changed {
			return nil
		}
		if err := g.Sort(); err != nil {
			return err
		}
	}
	return nil
}

// takenBranch returns the branch of an If whose condition is known, or nil.
func takenBranch(n *Node, two, three map[string]*Info) *Graph {
	if n.OpType != "If" || !standard(n.Domain) || len(n.Inputs) == 0 {
		return nil
	}
	a, b := two[n.Inputs[0]], three[n.Inputs[0]]
	if a == nil || b == nil || len(a.Vals) != 1 || !slices.Equal(a.Vals, b.Vals) {
		return nil
	}
	name := "else_branch"
	if a.Vals[0] != 0 {
		name = "then_branch"
	}
	if attr := n.Attr(name); attr != nil {
		return attr.G
	}
	return nil
}

// unfold returns the nodes of a branch with names that are free in the graph, and adds its weights to the
// graph.
func (g *Graph) unfold(ed *Editor, n *Node, branch *Graph) ([]*Node, error) {
	if len(branch.Outputs) != len(n.Outputs) || len(branch.Inputs) > 0 {
		return nil, &Error{Node: nodeName(n), Msg: "the branch that is taken has other inputs or outputs than the node"}
	}
	prefix := "" // the name of an output is one that no other node has
	for _, o := range n.Outputs {
		if prefix == "" && o != "" {
			prefix = o + "/"
		}
	}
	names := map[string]string{"": ""}
	result := map[string]bool{}
	for i, o := range branch.Outputs {
		if _, twice := names[o.Name]; !twice && n.Outputs[i] != "" {
			names[o.Name] = n.Outputs[i]
			result[o.Name] = true
		}
	}
	own := map[string]bool{}
	for _, b := range branch.Nodes {
		for _, o := range b.Outputs {
			if own[o] && o != "" {
				return nil, &Error{Node: nodeName(b), Msg: fmt.Sprintf("tensor %q is defined twice", o)}
			}
			own[o] = true
			if !result[o] && o != "" {
				names[o] = ed.Name(prefix + o)
			}
		}
	}
	for _, t := range branch.Initializers {
		if own[t.Name] {
			return nil, &Error{Node: nodeName(n), Msg: fmt.Sprintf("tensor %q is defined twice", t.Name)}
		}
		names[t.Name] = ed.Name(prefix + t.Name)
	}
	var copies []*Node
	for i, o := range branch.Outputs {
		// What passes through a branch, or leaves it twice, is copied to its name outside.
		if n.Outputs[i] == "" || own[o.Name] && names[o.Name] == n.Outputs[i] {
			continue
		}
		from := o.Name
		if own[o.Name] || slices.ContainsFunc(branch.Initializers, func(t *Tensor) bool { return t.Name == o.Name }) {
			from = names[o.Name]
		} else {
			delete(names, o.Name)
		}
		copies = append(copies, NewNode("Identity", ed.Name(n.Outputs[i]+"/copy"), []string{from}, []string{n.Outputs[i]}))
	}
	for _, t := range branch.Initializers {
		c := *t
		c.Name = names[t.Name]
		g.Initializers = append(g.Initializers, &c)
	}
	rename := func(name string) string {
		if to, ok := names[name]; ok {
			return to
		}
		return name
	}
	return append(renameNodes(branch.Nodes, rename, nil, "", 0), copies...), nil
}
