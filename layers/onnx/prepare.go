package onnx

import (
	"fmt"
	"slices"
)

// batchSymbol is the name of the batch dimension in everything that is written here.
const batchSymbol = "N"

// Options say what Prepare cannot find in the file.
type Options struct {
	// Size is the height and width to take where the input leaves them open; 0: then it is an error.
	Size int64
	// Shapes of tensors, as measured, for operators whose effect on shapes is not known here: see Unmeasured.
	Shapes map[string]Shape
}

// Prepare returns a model that computes the same and can be analysed and cut: local functions are put in
// place of their calls and chosen branches in place of their conditions, weights are no longer listed as
// inputs, nodes are sorted, the batch is symbolic (also where an exporter wrote a batch of 1 into the
// shapes that Reshape and Resize get), and arithmetic on shapes is replaced by its result, so that it does
// not tie the image to the far end of the network. Tensors are shared with m, which does not change.
// Shapes that contradict each other are no error here but in Analyze: they may be a gap in what is known.
func (m *Model) Prepare(o Options) (*Model, error) {
	if m.Graph == nil {
		return nil, &Error{Msg: "there is no graph in it"}
	}
	out := *m
	g := *m.Graph
	out.Graph = &g
	if hasField(g.unknown, 15) {
		return nil, &Error{Msg: "it has sparse initializers", Do: "export the model with dense weights"}
	}
	if err := out.inline(); err != nil {
		return nil, err
	}
	if countNodes(g.Nodes) > maxNodes {
		return nil, &Error{Msg: fmt.Sprintf("it has more than %d nodes", maxNodes), Do: "no CNN is that long; is the file what it should be? export it with its loops as they are, not unrolled"}
	}
	g.Nodes = slices.Clone(g.Nodes)
	g.Inputs = slices.Clone(g.DataInputs())
	if err := g.Sort(); err != nil {
		return nil, err
	}
	img, err := imageInput(&g, o.Size)
	if err != nil {
		return nil, err
	}
	in := img.Value
	baked := max(in.Shape[0].Size, 1)
	fixed := *in
	fixed.Shape = append([]Dim{{Size: -1, Symbol: batchSymbol}}, Fixed(img.Dims...)...)
	if in.Shape[0].Symbol != "" {
		fixed.Shape[0] = in.Shape[0]
	}
	g.Inputs[slices.Index(g.Inputs, in)] = &fixed
	out.IRVersion = max(out.IRVersion, 4) // the first in which weights need not be listed as inputs
	out.known, out.stated = o.Shapes, g.stated(baked)
	if err := out.chooseBranches(in.Name, img.Dims); err != nil {
		return nil, err
	}
	if err := out.refuse(); err != nil {
		return nil, err
	}
	out.freeBatch(in.Name, img.Dims, baked)
	out.foldShapes(in.Name, img.Dims)
	out.rerootBatch(in.Name, img.Dims)
	out.dropStated()
	return &out, nil
}

// stated collects the shapes that the file states for inner tensors. They count where no rule gives one.
func (g *Graph) stated(baked int64) map[string]Shape {
	known := map[string]Shape{}
	for _, v := range g.Values {
		if v.rawType != nil || !v.HasShape || len(v.Shape) == 0 || len(v.Shape) > maxRank || v.Type.Size() == 0 {
			continue
		}
		dims := make([]int64, 0, len(v.Shape)-1)
		for _, d := range v.Shape[1:] {
			if d.Symbol == "" && d.Size > 0 {
				dims = append(dims, d.Size)
			}
		}
		// The first dimension is the batch if the file leaves it open or if it is the batch of the export.
		if first := v.Shape[0]; len(dims) == len(v.Shape)-1 && (first.Size < 0 || first.Size == baked) {
			known[v.Name] = Shape{Elem: v.Type, Dims: dims}
		}
	}
	return known
}

// Unmeasured lists tensors of a prepared model whose shapes are not known though they depend on the image:
// those that operators without a rule make, or such whose rule does not get along with known inputs.
// Measured, they go into Options.Shapes; then others behind them may be left.
func (m *Model) Unmeasured() ([]string, error) {
	img, err := imageInput(m.Graph, 0)
	if err != nil {
		return nil, err
	}
	infos, _ := m.inferAll(map[string][]int64{img.Value.Name: slices.Concat([]int64{2}, img.Dims)})
	if err := bounded(m.Graph, infos); err != nil {
		return nil, err // to measure means to run
	}
	constant := map[string]bool{}
	for _, t := range m.Graph.Initializers {
		constant[t.Name] = true
	}
	var out []string
	for _, n := range m.Graph.Nodes {
		depends := false
		n.reads(func(name string) { depends = depends || !constant[name] })
		for _, o := range n.Outputs {
			switch {
			case o == "":
			case !depends:
				constant[o] = true
			case infos[o] == nil && m.first(n, infos):
				out = append(out, o)
			}
		}
	}
	return out, nil
}

func hasField(b []byte, num int) bool {
	d := newDecoder(b)
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

// first says whether a node is the one that its outputs' shapes are not known for, and none before it.
func (m *Model) first(n *Node, infos map[string]*Info) bool {
	if rules[n.OpType] == nil || !standard(n.Domain) {
		return true
	}
	return !slices.ContainsFunc(n.Inputs, func(i string) bool { return i != "" && infos[i] == nil })
}

// freeBatch rewrites the constant target shapes of Reshape and Resize nodes that begin with the batch size
// which the model was exported with, where the tensor that they change begins with the batch too.
func (m *Model) freeBatch(input string, dims []int64, baked int64) {
	g := m.Graph
	infos, _ := m.inferAll(map[string][]int64{input: slices.Concat([]int64{baked}, dims)})
	ed := g.Edit()
	consts := map[string]*Tensor{}
	for _, t := range g.Initializers {
		consts[t.Name] = t
	}
	depends := map[string]bool{input: true}
	var nodes []*Node
	for _, n := range g.Nodes {
		if t := constantOf(n); t != nil && len(n.Outputs) > 0 {
			consts[n.Outputs[0]] = t
		}
		moving := false
		n.reads(func(name string) { moving = moving || depends[name] })
		if moving {
			for _, o := range n.Outputs {
				depends[o] = true
			}
			nodes = append(nodes, freeNode(ed, n, infos, consts, baked)...)
			continue
		}
		nodes = append(nodes, n)
	}
	g.Nodes = nodes
}

// freeNode returns what stands for a node that reads the image: the node itself, or the node with a target
// that takes the batch from its input.
func freeNode(ed *Editor, n *Node, infos map[string]*Info, consts map[string]*Tensor, baked int64) []*Node {
	target := func(i int) []int64 {
		if i < len(n.Inputs) && consts[n.Inputs[i]] != nil {
			return consts[n.Inputs[i]].ints()
		}
		return nil
	}
	if len(n.Inputs) == 0 || len(n.Outputs) == 0 || !standard(n.Domain) {
		return []*Node{n}
	}
	x := infos[n.Inputs[0]]
	if x == nil || len(x.Dims) == 0 || x.Dims[0] != baked {
		return []*Node{n}
	}
	switch n.OpType {
	case "Reshape":
		shape := target(1)
		if len(n.Inputs) == 1 {
			shape = n.Ints("shape")
		}
		if len(shape) < 2 || shape[0] != baked || n.Int("allowzero", 0) != 0 && slices.Contains(shape, 0) {
			break
		}
		free := slices.Clone(shape)
		free[0] = 0 // a copy of the input's first dimension
		return []*Node{withShape(ed, n, free)}
	case "Resize":
		sizes := target(3)
		if len(sizes) != len(x.Dims) || sizes[0] != baked || n.Attr("axes") != nil {
			break
		}
		name := func(s string) string { return ed.Name(n.Outputs[0] + "/" + s) }
		shape, first, all := name("shape"), name("batch"), name("sizes")
		zero, one := ed.Const(Ints(n.Outputs[0]+"/0", 0)), ed.Const(Ints(n.Outputs[0]+"/1", 1))
		rest := ed.Const(Ints(n.Outputs[0]+"/rest", sizes[1:]...))
		out := *n
		out.Inputs = slices.Clone(n.Inputs)
		out.Inputs[3] = all
		return []*Node{
			NewNode("Shape", shape, []string{n.Inputs[0]}, []string{shape}),
			NewNode("Slice", first, []string{shape, zero, one}, []string{first}),
			NewNode("Concat", all, []string{first, rest}, []string{all}, IntAttr("axis", 0)),
			&out,
		}
	}
	return []*Node{n}
}

// withShape returns the Reshape node with another constant target shape, in which 0 copies a dimension.
func withShape(ed *Editor, n *Node, shape []int64) *Node {
	out := *n
	out.Attrs = nil
	for _, a := range n.Attrs {
		switch {
		case a.Name == "allowzero":
			continue
		case a.Name == "shape" && len(n.Inputs) == 1: // operator sets before 5
			a = IntsAttr("shape", shape...)
		}
		out.Attrs = append(out.Attrs, a)
	}
	if len(n.Inputs) > 1 {
		out.Inputs = slices.Clone(n.Inputs)
		out.Inputs[1] = ed.Const(Ints(n.Outputs[0]+"/shape", shape...))
	}
	return &out
}

// Editor adds to a graph under names that are free. It reads the graph's names once, so a series of
// changes costs O(graph + changes).
type Editor struct {
	g    *Graph
	used map[string]bool
	next map[string]int // by name wanted: the number to try next
}

// Edit returns an editor for the graph, which must belong to the caller: its lists are appended to.
func (g *Graph) Edit() *Editor {
	e := &Editor{g: g, used: map[string]bool{}, next: map[string]int{}}
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
	for i := max(e.next[want], 2); e.used[name]; i++ {
		name = fmt.Sprintf("%s/%d", want, i)
		e.next[want] = i + 1
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
func (m *Model) foldShapes(input string, dims []int64) {
	g := m.Graph
	two, three, _ := m.inferTwice(input, dims)
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
