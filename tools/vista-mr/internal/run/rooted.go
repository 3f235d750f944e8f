package run

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/mr/dfs"
)

// Rooted is a job whose local paths begin at the root, so that they mean the same wherever it runs, and the overrides (KEY=VALUE)
// that make it of the job file. A tracker is sent those.
func Rooted(j *conf.Job) (*conf.Job, []string, error) {
	c := *j
	c.CNN = slices.Clone(j.CNN)
	type path struct {
		key   string
		value string
		set   func(string)
	}
	paths := []path{
		{"table.uri", string(c.Table.URI), func(s string) { c.Table.URI = conf.URI(s) }},
		{"images.uri", string(c.Images.URI), func(s string) { c.Images.URI = conf.URI(s) }},
		{"output", string(c.Output), func(s string) { c.Output = conf.URI(s) }},
	}
	for i := range c.CNN {
		n := &c.CNN[i]
		paths = append(paths,
			path{n.Key("model"), n.Model, func(s string) { n.Model = s }},
			path{n.Key("weights"), n.Weights, func(s string) { n.Weights = s }},
			path{n.Key("preprocess"), n.Preprocess.Name, func(s string) { n.Preprocess.Name = s }})
	}
	var sets []string
	for _, p := range paths {
		if p.value == "" || dfs.HasScheme(p.value) || strings.HasPrefix(p.value, "/") {
			continue
		}
		// A word like "resnet50" or "random" is no file, even where there is one of that name: files have their format's ending.
		if strings.HasPrefix(p.key, "cnn.") && !strings.ContainsAny(p.value, "/.") {
			continue
		}
		abs, err := filepath.Abs(p.value)
		if err != nil {
			return nil, nil, err
		}
		p.set(abs)
		sets = append(sets, p.key+"="+abs)
	}
	return &c, sets, nil
}
