package onnx

import (
	"fmt"
	"slices"
)

// batchSymbol is the name of the batch dimension in everything that is written here.
const batchSymbol = "N"

// Prepare returns a model that computes the same and can be analysed and cut: local functions are put in
// place of their calls, weights are no longer listed as inputs, nodes are sorted, the batch is symbolic
// (also where an exporter wrote a batch of 1 into the shapes that Reshape gets), and arithmetic on
// shapes is replaced by its result, so that it does not tie the image to the far end of the network.
// Tensors are shared with m, which does not change. size is the height and width to assume where the
// input leaves them open; they become fixed.
func (m *Model) Prepare(size int64) (*Model, error) {
	if m.Graph == nil {
		return nil, &Error{Msg: "there is no graph in it"}
	}
	out := *m
	g := *m.Graph
	out.Graph = &g
	if err := out.inline(); err != nil {
		return nil, err
	}
	if len(g.unknown) > 0 {
		for _, f := range []int{15} { // sparse_initializer
			if hasField(g.unknown, f) {
				return nil, &Error{Msg: "it has sparse initializers", Do: "export the model with dense weights"}
			}
		}
	}
	g.Nodes = slices.Clone(g.Nodes)
	if err := g.Sort(); err != nil {
		return nil, err
	}
	g.Inputs = slices.Clone(g.DataInputs())
	in, dims, _, err := imageInput(&g, size)
	if err != nil {
		return nil, err
	}
	baked := in.Shape[0].Size
	fixed := *in
	fixed.Shape = append([]Dim{{Size: -1, Symbol: batchSymbol}}, Fixed(dims...)...)
	if in.Shape[0].Symbol != "" {
		fixed.Shape[0] = in.Shape[0]
	}
	g.Inputs[slices.Index(g.Inputs, in)] = &fixed
	if baked < 1 {
		baked = 1
	}
	out.IRVersion = max(out.IRVersion, 4) // the first in which weights need not be listed as inputs
	if err := out.freeBatch(in.Name, dims, baked); err != nil {
		return nil, err
	}
	if err := out.foldShapes(in.Name, dims); err != nil {
		return nil, err
	}
	out.dropStated()
	return &out, nil
}

func hasField(b []byte, num int) bool {
	d := &decoder{b: b}
	for {
		f, ok, err := d.next()
		if err != nil || !ok {
			return false
		}
		if f.num == num {
			return true
		}
	}
}

// dropStated forgets shapes that the file states for inner tensors and outputs: they may carry the old
// batch. The element types of outputs stay.
func (m *Model) dropStated() {
	m.Graph.Values = nil
	outs := slices.Clone(m.Graph.Outputs)
	for i, o := range outs {
		if o.rawType == nil {
			outs[i] = &ValueInfo{Name: o.Name, Doc: o.Doc, Type: o.Type, Metadata: o.Metadata}
		}
	}
	m.Graph.Outputs = outs
}

// freeBatch rewrites the constant target shapes of Reshape nodes that begin with the batch size which the
// model was exported with, where the reshaped tensor begins with the batch too.
func (m *Model) freeBatch(input string, dims []int64, baked int64) error {
	g := m.Graph
	full := slices.Concat([]int64{baked}, dims)
	infos, err := m.Infer(map[string][]int64{input: full})
	if err != nil {
		return err
	}
	ed := g.Edit()
	consts := map[string]*Tensor{}
	for _, t := range g.Initializers {
		consts[t.Name] = t
	}
	depends := map[string]bool{input: true}
	for i, n := range g.Nodes {
		if t := constantOf(n); t != nil && len(n.Outputs) > 0 {
			consts[n.Outputs[0]] = t
		}
		moving := false
		n.reads(func(name string) { moving = moving || depends[name] })
		if !moving {
			continue
		}
		for _, o := range n.Outputs {
			depends[o] = true
		}
		if n.OpType != "Reshape" || len(n.Inputs) == 0 {
			continue
		}
		x := infos[n.Inputs[0]]
		if x == nil || len(x.Dims) == 0 || x.Dims[0] != baked {
			continue
		}
		var shape []int64
		switch {
		case len(n.Inputs) > 1 && consts[n.Inputs[1]] != nil:
			shape = consts[n.Inputs[1]].ints()
		case len(n.Inputs) == 1:
			shape = n.Ints("shape")
		}
		if len(shape) < 2 || shape[0] != baked || n.Int("allowzero", 0) != 0 {
			continue
		}
		free := slices.Clone(shape)
		free[0] = 0 // a copy of the input's first dimension
		g.Nodes[i] = withShape(ed, n, free)
	}
	return nil
}

// withShape returns the Reshape node with another constant target shape.
func withShape(ed *Editor, n *Node, shape []int64) *Node {
	out := *n
	if len(n.Inputs) == 1 { // operator sets before 5
		out.Attrs = nil
		for _, a := range n.Attrs {
			if a.Name == "shape" {
				a = IntsAttr("shape", shape...)
			}
			out.Attrs = append(out.Attrs, a)
		}
		return &out
	}
	out.Inputs = slices.Clone(n.Inputs)
	out.Inputs[1] = ed.Const(Ints(n.Outputs[0]+"/shape", shape...))
	return &out
}

// Editor adds to a graph under names that are free. It reads the graph's names once, so a series of
// changes costs O(graph + changes).
type Editor struct {
	g    *Graph
	used map[string]bool
}

// Edit returns an editor for the graph, which must belong to the caller: its lists are appended to.
func (g *Graph) Edit() *Editor {
	e := &Editor{g: g, used: map[string]bool{}}
	for _, t := range g.Initializers {
		e.used[t.Name] = true
	}
	for _, v := range g.Inputs {
		e.used[v.Name] = true
	}
	for _, n := range g.Nodes {
		for _, o := range n.Outputs {
			e.used[o] = true
		}
		n.reads(func(name string) { e.used[name] = true })
	}
	g.Initializers = slices.Clip(g.Initializers)
	return e
}

// Name returns a tensor name that nothing in the graph uses, made from want, and takes it.
func (e *Editor) Name(want string) string {
	name := want
	for i := 2; e.used[name]; i++ {
		name = fmt.Sprintf("%s/%d", want, i)
	}
	e.used[name] = true
	return name
}

// Const adds an initializer under a name that is free and returns that name.
func (e *Editor) Const(t *Tensor) string {
	t.Name = e.Name(t.Name)
	e.g.Initializers = append(e.g.Initializers, t)
	return t.Name
}

// foldShapes replaces inputs of nodes that are computed from shapes alone. Shapes are inferred for two
// batch sizes: an integer tensor that is the same for both is a constant; a target shape of Reshape in
// which one entry grows with the batch gets -1 there.
func (m *Model) foldShapes(input string, dims []int64) error {
	g := m.Graph
	two, three, err := m.inferTwice(input, dims)
	if err != nil {
		return err
	}
	constant := map[string]bool{}
	for _, t := range g.Initializers {
		constant[t.Name] = true
	}
	ed := g.Edit()
	folded := map[string]string{} // tensor -> initializer that replaces it
	for i, n := range g.Nodes {
		moving := false
		n.reads(func(name string) { moving = moving || !constant[name] })
		if !moving {
			for _, o := range n.Outputs {
				constant[o] = true
			}
			continue
		}
		var out *Node
		for k, name := range n.Inputs {
			a, b := two[name], three[name]
			if name == "" || constant[name] || a == nil || b == nil || a.Vals == nil || b.Vals == nil || len(a.Vals) != len(b.Vals) {
				continue
			}
			vals, ok := settle(n, k, a, b)
			if !ok {
				continue
			}
			key := name
			if !slices.Equal(vals, a.Vals) {
				key = name + "/free"
			}
			if folded[key] == "" {
				t := &Tensor{Name: name + "/folded", Dims: a.Dims, Type: a.Elem, Raw: pack(vals, a.Elem.Size())}
				folded[key] = ed.Const(t)
			}
			if out == nil {
				c := *n
				c.Inputs = slices.Clone(n.Inputs)
				out = &c
			}
			out.Inputs[k] = folded[key]
		}
		if out != nil {
			g.Nodes[i] = out
		}
	}
	m.prune()
	return nil
}

// settle decides what input k of node n becomes when its values are known for batches of two and three.
func settle(n *Node, k int, two, three *Info) ([]int64, bool) {
	if slices.Equal(two.Vals, three.Vals) {
		return two.Vals, true
	}
	if n.OpType != "Reshape" || k != 1 {
		return nil, false
	}
	vals := slices.Clone(two.Vals)
	grown := -1
	for i := range vals {
		switch {
		case vals[i] == three.Vals[i]:
			if vals[i] < 1 { // -1 or a copied dimension: a second free one is not allowed
				return nil, false
			}
		case grown < 0 && vals[i]*3 == three.Vals[i]*2:
			grown = i
		default:
			return nil, false
		}
	}
	vals[grown] = -1
	return vals, true
}

// prune removes nodes that no output needs, and initializers that nothing reads.
func (m *Model) prune() {
	g := m.Graph
	needed := map[string]bool{}
	for _, o := range g.Outputs {
		needed[o.Name] = true
	}
	var keep []*Node
	for i := len(g.Nodes) - 1; i >= 0; i-- {
		n := g.Nodes[i]
		if !slices.ContainsFunc(n.Outputs, func(o string) bool { return o != "" && needed[o] }) {
			continue
		}
		keep = append(keep, n)
		n.reads(func(name string) { needed[name] = true })
	}
	slices.Reverse(keep)
	g.Nodes = keep
	var weights []*Tensor
	for _, t := range g.Initializers {
		if needed[t.Name] {
			weights = append(weights, t)
		}
	}
	g.Initializers = weights
}
