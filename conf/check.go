package conf

import (
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// check reports contradictions between keys that are each well-formed. A rule is left out when a
// key it needs already has a problem.
func (l *loader) check(j *Job) {
	l.checkTable(j)
	l.checkCNN(j)
	l.checkDownstream(j)
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

func (l *loader) checkCNN(j *Job) {
	file := strings.HasSuffix(j.CNN.Model, ".onnx")
	if l.sound("cnn", "cnn.model", "cnn.weights") && j.CNN.Model != "" {
		switch {
		case j.CNN.Weights == "" && !file:
			at := l.at("cnn.weights")
			if l.nodes["cnn.weights"] == nil {
				at = l.keys["cnn"]
			}
			l.addf(at, "cnn.weights", "missing key \"weights\" in cnn: model %s needs a .safetensors or .onnx file, or random", j.CNN.Model)
		case file && j.CNN.Weights == "random":
			l.addf(l.at("cnn.weights"), "cnn.weights", "cnn.weights: an .onnx model brings its own weights; leave the key out")
		}
	}
	if l.sound("cnn.model") && file && j.CNN.Layers.IsZero() && l.sound("cnn.layers") {
		l.addf(l.at("cnn.model"), "cnn.layers", "missing key \"layers\" in cnn: an .onnx model has no list of feature layers; name them, or give a number (vista-mr model inspect %s shows them)", j.CNN.Model)
	}
	for _, u := range []struct{ path, uri string }{{"cnn.model", j.CNN.Model}, {"cnn.weights", j.CNN.Weights}, {"cnn.preprocess", j.CNN.Preprocess.Name}} {
		if msg := checkURI(u.uri); msg != "" && l.sound(u.path) {
			l.addf(l.at(u.path), u.path, "%s: %s", u.path, msg)
		}
	}
	if p := j.CNN.Preprocess.Inline; p != nil && p.Resize > 0 && p.Crop > p.Resize {
		l.addf(l.at("cnn.preprocess.crop"), "cnn.preprocess.crop", "cnn.preprocess.crop (%d) is larger than resize (%d)", p.Crop, p.Resize)
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
	for _, in := range []struct {
		path string
		uri  URI
	}{{"table.uri", j.Table.URI}, {"images.uri", j.Images.URI}, {"cnn.weights", URI(j.CNN.Weights)}, {"cnn.model", URI(j.CNN.Model)}, {"reuse", j.Reuse}} {
		if !l.sound(in.path) || in.uri == "" {
			continue
		}
		out, src := normal(j.Output), normal(in.uri)
		switch {
		case out == src:
			l.addf(l.at("output"), "output", "output is the same as %s", in.path)
		case strings.HasPrefix(out, strings.TrimSuffix(src, "/")+"/") && in.path != "reuse":
			l.addf(l.at("output"), "output", "output lies inside %s", in.path)
		}
	}
}

// normal writes a URI so that equal places compare equal, as far as its text tells.
func normal(u URI) string {
	switch u.Scheme() {
	case "file":
		return path.Clean(u.LocalPath())
	case "s3a":
		u = "s3" + u[3:]
	}
	scheme, rest, _ := strings.Cut(string(u), "://")
	return scheme + "://" + strings.TrimPrefix(path.Clean("/"+rest), "/")
}
