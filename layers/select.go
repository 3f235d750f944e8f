package layers

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/vista-mr/vista-mr/layers/onnx"
)

// modulePath returns the path of the module that a node belongs to, as PyTorch writes it
// ("layer4.2.relu_2"), or "" when the exporter left no trace of it. The older exporter writes it into the
// node's name, "/layer4/layer4.2/relu_2/Relu"; the newer one into metadata, as a list of nested scopes.
func modulePath(n *onnx.Node) string {
	for _, e := range n.Metadata {
		if e.Key != "pkg.torch.onnx.name_scopes" {
			continue
		}
		// ['', 'layer4', 'layer4.2', 'layer4.2.relu', 'relu_48']: the last entry is the node itself.
		fields := strings.Split(strings.Trim(e.Value, "[]"), ",")
		if len(fields) >= 2 {
			return strings.Trim(fields[len(fields)-2], " '\"")
		}
	}
	if !strings.HasPrefix(n.Name, "/") {
		return ""
	}
	parts := strings.Split(strings.Trim(n.Name, "/"), "/")
	if len(parts) < 2 {
		return ""
	}
	var path []string
	for _, p := range parts[:len(parts)-1] {
		if last := len(path) - 1; last >= 0 && strings.HasPrefix(p, path[last]+".") {
			path[last] = p
			continue
		}
		path = append(path, p)
	}
	return strings.Join(path, ".")
}

// Last returns the last n candidate layers, bottom to top: for a network of the catalogue and n up to the
// length of its Roster, the last of these.
func (c *CNN) Last(n int) ([]Layer, error) {
	if n < 1 || n > len(c.Layers) {
		return nil, &Error{ID: "E-LAYER", Msg: fmt.Sprintf("the last %d layers of %s are asked for, it has %d", n, c.Name, len(c.Layers)),
			Do: fmt.Sprintf("ask for 1 to %d layers; `vista-mr model inspect` lists them", len(c.Layers))}
	}
	return slices.Clone(c.Layers[len(c.Layers)-n:]), nil
}

// maxProblems is how many names that mean no layer Select explains: a person corrects a few at a time, and each hint
// looks through the whole network.
const maxProblems = 20

// Select resolves names of layers. Each is tried, in this order, as: exact tensor name, exact name of a node
// or of a tensor that is the same place, name of the catalogue, module path (the last cut under it), and
// negative index (-1 is the topmost candidate). The result is in the network's order, bottom to top. The first
// names that resolve to no cut are one error (E-LAYER) with the nearest names.
func (c *CNN) Select(names ...string) ([]Layer, error) {
	if len(names) == 0 {
		return nil, &Error{ID: "E-LAYER", Msg: "no layer is named", Do: "name layers, or ask for the last n"}
	}
	x := c.index()
	taken := map[string]string{} // tensor -> the name that it was asked for by
	var out []Layer
	var problems, hints []string
	for i, name := range names {
		if len(problems) == maxProblems {
			problems = append(problems, fmt.Sprintf("the %d names behind these were not looked at", len(names)-i))
			break
		}
		l, why := x.resolve(name)
		switch {
		case why != "":
			problems = append(problems, why)
			if near := c.nearest(name); len(near) > 0 {
				hints = append(hints, fmt.Sprintf("nearest to %q: %s", name, strings.Join(near, ", ")))
			}
		case taken[l.Tensor] == name:
			problems = append(problems, fmt.Sprintf("layer %q is named twice", name))
		case taken[l.Tensor] == l.Name:
			problems = append(problems, fmt.Sprintf("%q is layer %q, which is named already", name, l.Name))
		case taken[l.Tensor] != "" && name == l.Name:
			problems = append(problems, fmt.Sprintf("layer %q is named already as %q", name, taken[l.Tensor]))
		case taken[l.Tensor] != "":
			problems = append(problems, fmt.Sprintf("%q is layer %q, which is named already as %q", name, l.Name, taken[l.Tensor]))
		default:
			taken[l.Tensor] = name
			out = append(out, l)
		}
	}
	if len(problems) > 0 {
		hints = append(hints, "`vista-mr model inspect` lists the layers")
		return nil, &Error{ID: "E-LAYER", Msg: strings.Join(problems, "; "), Do: strings.Join(hints, "; ")}
	}
	order := map[string]int{}
	for i, l := range c.cuts {
		order[l.Tensor] = i
	}
	slices.SortStableFunc(out, func(a, b Layer) int { return order[a.Tensor] - order[b.Tensor] })
	return out, nil
}

// index finds cuts by their names, the topmost where several have one.
type index struct {
	c                     *CNN
	tensors, nodes, names map[string]int    // cuts by name
	inner                 map[string]bool   // what lies inside branches, beside what is above
	paths                 map[string][]step // where a module path may begin, topmost first
}

// step is a place in one of a cut's names: what follows there.
type step struct {
	cut  int
	at   int // how many elements come before
	rest []string
}

func (c *CNN) index() *index {
	x := &index{c: c, tensors: map[string]int{}, nodes: map[string]int{}, names: map[string]int{}}
	for i, l := range c.cuts {
		x.tensors[l.Tensor], x.names[l.Name] = i, i
		for _, a := range l.Aliases {
			if a != l.module {
				x.nodes[a] = i
			}
		}
	}
	return x
}

// resolve finds the cut that a name means, or says why there is none.
func (x *index) resolve(name string) (Layer, string) {
	c := x.c
	for _, by := range []map[string]int{x.tensors, x.nodes, x.names} {
		if i, ok := by[name]; ok {
			return c.cuts[i], ""
		}
	}
	if x.inner == nil {
		x.inner = map[string]bool{}
		for _, n := range c.Model.Graph.Nodes {
			x.inner[n.Name] = true
			for _, o := range n.Outputs {
				x.inner[o] = true
			}
		}
	}
	if x.inner[name] {
		return Layer{}, fmt.Sprintf("%q lies inside a branch or block of %s: the network cannot be cut there", name, c.Name)
	}
	i, err := strconv.Atoi(name)
	// The modules of an nn.Sequential have numbers for names: what is there goes before counting. Within other
	// modules a number alone says too little, as ResNet's blocks have them in every stage.
	if cut := x.under(name, err == nil); cut >= 0 {
		return c.cuts[cut], ""
	}
	if err == nil {
		if i < 0 && -i <= len(c.Layers) {
			return c.Layers[len(c.Layers)+i], ""
		}
		return Layer{}, fmt.Sprintf("index %d: layers of %s count from -1 (top) to -%d", i, c.Name, len(c.Layers))
	}
	return Layer{}, fmt.Sprintf("%s has no layer %q", c.Name, name)
}

// maxPath is the longest name, in bytes, that is taken for a path of modules; exporters' have up to about 100.
const maxPath = 1024

func pathOf(name string) []string {
	if len(name) > maxPath {
		return nil
	}
	return strings.FieldsFunc(name, func(r rune) bool { return r == '/' || r == '.' })
}

// under finds the topmost candidate, else the topmost cut, that lies under a module path: where the path's
// elements follow each other in one of its names, with top at its beginning. It returns -1 if there is none.
func (x *index) under(path string, top bool) int {
	want := pathOf(path)
	if len(want) == 0 {
		return -1
	}
	if x.paths == nil {
		x.paths = map[string][]step{}
		for i := len(x.c.cuts) - 1; i >= 0; i-- {
			for _, name := range append([]string{x.c.cuts[i].Tensor}, x.c.cuts[i].Aliases...) {
				have := pathOf(name)
				for k, first := range have {
					x.paths[first] = append(x.paths[first], step{i, k, have[k:]})
				}
			}
		}
	}
	found := -1
	for _, s := range x.paths[want[0]] {
		if top && s.at > 0 || len(s.rest) < len(want) || !slices.Equal(s.rest[:len(want)], want) {
			continue
		}
		if x.c.cuts[s.cut].Index >= 0 {
			return s.cut
		}
		found = max(found, s.cut)
	}
	return found
}

// nearest returns up to three names of candidates that resemble name.
func (c *CNN) nearest(name string) []string {
	type near struct {
		name string
		d    int
	}
	var list []near
	for i := len(c.Layers) - 1; i >= 0 && len(list) < 1000; i-- { // a hostile file may have any number
		l := c.Layers[i]
		best := near{l.Name, distance(name, l.Name)}
		for _, a := range l.Aliases[:min(len(l.Aliases), 8)] {
			if d := distance(name, a); d < best.d {
				best = near{a, d}
			}
		}
		list = append(list, best)
	}
	slices.SortStableFunc(list, func(a, b near) int { return a.d - b.d })
	var out []string
	for _, n := range list[:min(3, len(list))] {
		out = append(out, n.name)
	}
	return out
}

// distance is the edit distance of two names, without regard to case.
func distance(a, b string) int {
	if len(a) > 128 || len(b) > 128 {
		return max(len(a), len(b))
	}
	a, b = strings.ToLower(a), strings.ToLower(b)
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := diag
			if a[i] != b[j] {
				d++
			}
			diag = row[j+1]
			row[j+1] = min(d, row[j]+1, diag+1)
		}
	}
	return row[len(b)]
}
