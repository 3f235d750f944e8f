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

// Select resolves names of layers. Each is tried, in this order, as: exact tensor name, exact name of a node
// or of a tensor that is the same place, name of the catalogue, module path (the last cut under it), and
// negative index (-1 is the topmost candidate). The result is in the network's order, bottom to top. All names that resolve to no
// cut are one error (E-LAYER) with the nearest names.
func (c *CNN) Select(names ...string) ([]Layer, error) {
	if len(names) == 0 {
		return nil, &Error{ID: "E-LAYER", Msg: "no layer is named", Do: "name layers, or ask for the last n"}
	}
	var out []Layer
	var problems, hints []string
	for _, name := range names {
		l, why := c.resolve(name)
		switch {
		case why != "":
			problems = append(problems, why)
			if near := c.nearest(name); len(near) > 0 {
				hints = append(hints, fmt.Sprintf("nearest to %q: %s", name, strings.Join(near, ", ")))
			}
		case slices.ContainsFunc(out, func(o Layer) bool { return o.Tensor == l.Tensor }):
			problems = append(problems, fmt.Sprintf("layer %q is named twice", name))
		default:
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

// resolve finds the cut that a name means, or says why there is none.
func (c *CNN) resolve(name string) (Layer, string) {
	find := func(match func(l Layer) bool) (Layer, bool) {
		for i := len(c.cuts) - 1; i >= 0; i-- {
			if match(c.cuts[i]) {
				return c.cuts[i], true
			}
		}
		return Layer{}, false
	}
	if l, ok := find(func(l Layer) bool { return l.Tensor == name }); ok {
		return l, ""
	}
	if l, ok := find(func(l Layer) bool { return name != l.module && slices.Contains(l.Aliases, name) }); ok {
		return l, ""
	}
	if l, ok := find(func(l Layer) bool { return l.Name == name }); ok {
		return l, ""
	}
	for _, n := range c.Model.Graph.Nodes {
		if n.Name == name || slices.Contains(n.Outputs, name) {
			return Layer{}, fmt.Sprintf("%q lies inside a branch or block of %s: the network cannot be cut there", name, c.Name)
		}
	}
	if i, err := strconv.Atoi(name); err == nil {
		if i < 0 && -i <= len(c.Layers) {
			return c.Layers[len(c.Layers)+i], ""
		}
		return Layer{}, fmt.Sprintf("index %d: layers of %s count from -1 (top) to -%d", i, c.Name, len(c.Layers))
	}
	if l, ok := find(func(l Layer) bool { return l.Index >= 0 && under(l, name) }); ok {
		return l, ""
	}
	if l, ok := find(func(l Layer) bool { return under(l, name) }); ok {
		return l, ""
	}
	return Layer{}, fmt.Sprintf("%s has no layer %q", c.Name, name)
}

// under says whether the layer lies under a module path: whether the path's elements follow each other in
// one of the layer's names.
func under(l Layer, path string) bool {
	split := func(s string) []string {
		return strings.FieldsFunc(s, func(r rune) bool { return r == '/' || r == '.' })
	}
	want := split(path)
	if len(want) == 0 {
		return false
	}
	for _, name := range append([]string{l.Tensor}, l.Aliases...) {
		have := split(name)
		for i := 0; i+len(want) <= len(have); i++ {
			if slices.Equal(have[i:i+len(want)], want) {
				return true
			}
		}
	}
	return false
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
	if len(a) > 200 || len(b) > 200 {
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
