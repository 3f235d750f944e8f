package conf

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// check reports contradictions between keys that are each well-formed. A rule is left out when a
// key it needs already has a problem.
func (l *loader) check(j *Job) {
	l.checkTable(j)
	l.checkCNNs(j)
	l.checkDownstream(j)
	l.checkPlan(j)
	l.checkOutput(j)
}

// at returns the node of the first of the paths that the user wrote, for a message to point at.
func (l *loader) at(paths ...string) *yaml.Node {
	for _, p := range paths {
		if n := l.nodes[p]; n != nil {
			return n
		}
	}
	return &yaml.Node{Line: 1, Column: 1}
}

func (l *loader) sound(paths ...string) bool {
	return !slices.ContainsFunc(paths, func(p string) bool { return l.bad[p] })
}

func (l *loader) checkTable(j *Job) {
	if l.sound("table.key", "table.label") && j.Table.Key != "" && j.Table.Key == j.Table.Label {
		l.addf(l.at("table.label"), "table.label", "table.label is the same column as table.key")
	}
	for _, list := range []struct {
		path, why string
		names     []string
	}{
		{"table.features", "a model that learns from its label proves nothing", j.Table.Features},
		{"table.categorical", "its classes are names already", j.Table.Categorical},
	} {
		if !l.sound(list.path) {
			continue
		}
		items := l.at(list.path).Content
		for i, f := range list.names {
			at := l.at(list.path)
			if i < len(items) {
				at = items[i]
			}
			switch f {
			case j.Table.Key:
				l.addf(at, list.path, "%s lists the key column %q", list.path, f)
			case j.Table.Label:
				l.addf(at, list.path, "%s lists the label column %q: %s", list.path, f, list.why)
			}
		}
	}
}

func (l *loader) checkDownstream(j *Job) {
	d := j.Downstream
	if d.Folds == 1 && l.sound("downstream.folds") {
		l.addf(l.at("downstream.folds"), "downstream.folds", "downstream.folds must be 0 (none) or at least 2; one fold leaves nothing to train on")
	}
	for _, k := range []struct {
		key  string
		list []float64
	}{{"reg", d.Grid.Reg}, {"elasticNet", d.Grid.ElasticNet}} {
		grid := "downstream.grid." + k.key
		sorted := slices.Clone(k.list)
		slices.Sort(sorted)
		if l.sound(grid) && len(slices.Compact(sorted)) < len(k.list) {
			l.addf(l.at(grid), grid, "%s lists the same number twice", grid)
		}
	}
	if d.Kind == "linear-svc" && (d.Metric == "log-loss") && l.sound("downstream.metric", "downstream.kind") {
		l.addf(l.at("downstream.metric"), "downstream.metric", "downstream.metric: linear-svc gives no probabilities, so it has no log-loss")
	}
}

// checkOutput keeps results and inputs apart: writing into the image folder would make the next run
// read its own output.
func (l *loader) checkOutput(j *Job) {
	if !l.sound("output") || j.Output == "" {
		return
	}
	type input struct {
		path string
		uri  URI
	}
	inputs := []input{{"table.uri", j.Table.URI}, {"images.uri", j.Images.URI}}
	for i := range j.CNN {
		c := &j.CNN[i]
		inputs = append(inputs, input{c.Key("weights"), URI(c.Weights)}, input{c.Key("model"), URI(c.Model)})
	}
	for _, in := range append(inputs, input{"reuse", j.Reuse}) {
		if !l.sound(in.path) || in.uri == "" {
			continue
		}
		out, src := j.Output.Normal(), in.uri.Normal()
		switch {
		case out == src:
			l.addf(l.at("output"), "output", "output is the same as %s", in.path)
		case strings.HasPrefix(out, strings.TrimSuffix(src, "/")+"/") && in.path != "reuse":
			l.addf(l.at("output"), "output", "output lies inside %s", in.path)
		}
	}
}
