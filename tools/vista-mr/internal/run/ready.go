package run

import (
	"encoding/json"
	"fmt"
	"slices"

	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/layers/ort"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/host"
	"github.com/vista-mr/vista-mr/vistaopt"
	"github.com/vista-mr/vista-mr/vistaopt/compile"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// entries says under which names the runtime's cache keeps a network's programs for a way of inference. A program is known by a
// digest over its weights; who plans a job has not read those, and asks whether the names are there.
type entries struct {
	Of    string   `json:"of"` // readyKey
	Names []string `json:"names"`
}

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
	return fmt.Sprintf("%s layers %q %s ort %s cpu %s recipe %s", key, names, by, version, ort.CPUClass(), ort.Recipe())
}

// recall is what is known of a job's networks on this machine: the rates that it is planned with, and which programs are ready.
func (ns networks) recall(o *Options) vistaopt.Rates {
	ns.recallReady(o)
	return ns.rates(o.ortVersion)
}

// recallReady tells the planner which programs of a job in this process have to be made ready: without a cache all, else those that are
// not in it. Of the caches of workers nothing is known. A network is looked up once.
func (ns networks) recallReady(o *Options) {
	if _, here := o.Engine.(*inProcess); !here {
		return
	}
	for _, n := range ns {
		if n.lookedUp {
			continue
		}
		n.lookedUp = true
		n.size.Fresh = slices.DeleteFunc(slices.Clone(plan.Inferences), func(by plan.Inference) bool {
			key := n.readyKey(by, o.ortVersion)
			return Keeps() && (key == "" || isReady(key))
		})
	}
}

// fresh tells whether any network has to be made ready for a way of inference.
func (ns networks) fresh(by plan.Inference) bool {
	return slices.ContainsFunc(ns, func(n *network) bool { return slices.Contains(n.size.Fresh, by) })
}

// firstRun says that time and peak are those of a run that makes its programs ready.
func firstRun() string {
	if !Keeps() {
		return "Without a cache every run makes its networks ready, which is counted in time and peak."
	}
	return "The networks are made ready for the first time here, which is counted in time and peak: later runs are spared it."
}

func isReady(key string) bool {
	var e entries
	if !recallFile(cacheFile("ready", key), &e) || e.Of != key || len(e.Names) == 0 {
		return false
	}
	return !slices.ContainsFunc(e.Names, func(name string) bool { return name == "" || !ort.Has(cacheDir(), name) })
}

// noteReady keeps the names of the programs that a plan is going to open.
func noteReady(in *compile.Inputs, ns networks, p plan.Plan, written programs, store dfs.FS, o *Options) {
	if _, here := o.Engine.(*inProcess); !here || !Keeps() {
		return
	}
	for i, n := range ns {
		e := entries{Of: n.readyKey(p.Inference, o.ortVersion)}
		if e.Of == "" {
			continue
		}
		if err := e.keep(in.Programs(p, i), written, store, o.ortVersion); err != nil {
			o.Log.Warn("the next job will not know that the network is ready", zap.String("network", n.cnn.Name), zap.Error(err))
		}
	}
}

// keep writes the names of programs where the next job finds them.
func (e *entries) keep(all []compile.Program, written programs, store dfs.FS, version string) error {
	for _, of := range all {
		m, err := written.find(of)
		if err != nil {
			return err
		}
		e.Names = append(e.Names, host.Entry(version, store, m))
	}
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return keepFile(cacheFile("ready", e.Of), b)
}
