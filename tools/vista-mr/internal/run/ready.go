package run

import (
	"encoding/json"
	"fmt"
	"slices"

	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/layers/ort"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/host"
	"github.com/vista-mr/vista-mr/vistaopt/compile"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// entries says under which names the runtime's cache keeps a network's programs for a way of inference. A program is known by a
// digest over its weights; who plans a job has not read those, and asks whether the names are there.
type entries struct {
	Of    string   `json:"of"` // readyKey
	Names []string `json:"names"`
}

// maxEntries bounds such a file, in bytes.
const maxEntries = 1 << 20

// readyKey says what entries are of; "": nobody can tell.
func (n *network) readyKey(by plan.Inference, version string) string {
	key := n.leftKey()
	if key == "" || version == "" {
		return ""
	}
	var names []string
	for _, l := range n.layers {
		names = append(names, l.Name)
	}
	return fmt.Sprintf("%s layers %q %s ort %s cpu %s", key, names, by, version, ort.CPUClass())
}

// recallReady tells the planner which programs of a job in this process would have to be made ready for the first time. Of the caches of
// workers nothing is known.
func (ns networks) recallReady(o *Options) {
	if _, here := o.Engine.(*inProcess); !here || cacheFails() != nil {
		return
	}
	for _, n := range ns {
		n.size.Fresh = nil
		for _, by := range plan.Inferences {
			if key := n.readyKey(by, o.ortVersion); key != "" && !isReady(key) {
				n.size.Fresh = append(n.size.Fresh, by)
			}
		}
	}
}

// fresh tells whether any network has to be made ready for a way of inference.
func (ns networks) fresh(by plan.Inference) bool {
	return slices.ContainsFunc(ns, func(n *network) bool { return slices.Contains(n.size.Fresh, by) })
}

func isReady(key string) bool {
	b, err := ReadFile(cacheFile("ready", key), maxEntries)
	var e entries
	if err != nil || json.Unmarshal(b, &e) != nil || e.Of != key || len(e.Names) == 0 {
		return false
	}
	return !slices.ContainsFunc(e.Names, func(name string) bool { return !ort.Has(cacheDir(), name) })
}

// noteReady keeps the names of the programs that a plan is going to open.
func noteReady(in *compile.Inputs, ns networks, p plan.Plan, written programs, store dfs.FS, o *Options) {
	if _, here := o.Engine.(*inProcess); !here || cacheFails() != nil {
		return
	}
	for i, n := range ns {
		e := entries{Of: n.readyKey(p.Inference, o.ortVersion)}
		if e.Of == "" {
			continue
		}
		for _, of := range in.Programs(p, i) {
			if m, err := written.find(of); err == nil {
				e.Names = append(e.Names, host.Entry(o.ortVersion, store, m))
			}
		}
		b, err := json.Marshal(e)
		if err == nil {
			err = keepFile(cacheFile("ready", e.Of), b)
		}
		if err != nil {
			o.Log.Warn("the next job will not know that the network is ready", zap.String("network", n.cnn.Name), zap.Error(err))
		}
	}
}
