package run

import (
	"path/filepath"
	"runtime"
	"testing"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/layers"
	"github.com/vista-mr/vista-mr/mr/dfs/local"
	"github.com/vista-mr/vista-mr/vistaopt/compile"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// TestForgottenWeightsAreGone: what a network's weights took is free once its programs are written, whether they were made
// up or read from a file. What still refers to them would add the weights of all networks of a job up.
func TestForgottenWeightsAreGone(t *testing.T) {
	const model = "efficientnet-lite0"
	dir := t.TempDir()
	cnn, err := layers.Open(t.Context(), layers.Source{Model: model, Weights: "random", Seed: 5})
	if err != nil {
		t.Fatal(err)
	}
	weights := cnn.Model.WeightBytes()
	file := filepath.Join(dir, "own.onnx")
	save(t, file, cnn.Model.Marshal())
	cnn = nil

	j := conf.Defaults()
	j.CNN = nil
	for _, c := range []conf.CNN{{Name: "a", Model: model, Weights: "random"}, {Name: "b", Model: model, Weights: file}, {Name: "c", Model: file}} {
		c.Pool, c.Preprocess.Name = "max-2x2", "imagenet"
		j.CNN = append(j.CNN, c)
	}
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	var ns networks
	for i := range j.CNN {
		n, err := openNetwork(t.Context(), j, i, nil, func(*network) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		ns = append(ns, n)
		in := &compile.Inputs{}
		for _, n := range ns {
			of := compile.Network{Name: n.name, Image: n.image, Pool: n.pool, Normalize: n.normalize}
			for _, l := range n.layers {
				of.Layers = append(of.Layers, compile.Layer{Name: l.Name, Raw: l.Dim, Pooled: l.PooledDim(n.pool)})
			}
			in.Networks = append(in.Networks, of)
		}
		if err := n.writePrograms(t.Context(), local.New(dir, true), plan.Plan{Inference: plan.Fused}, in, i, programs{}); err != nil {
			t.Fatal(err)
		}
		if held := heap() - before; held < weights/2 {
			t.Fatalf("network %s is open and holds %d bytes, its weights are %d: the test measures nothing", n.name, held, weights)
		}
		if err := n.forget(); err != nil {
			t.Fatal(err)
		}
		if held := heap() - before; held > weights/4 {
			t.Errorf("network %s is forgotten, and %d bytes more are held than before all of them; its weights are %d", n.name, held, weights)
		}
	}
	if len(ns.sizes()) != len(j.CNN) || len(ns[0].layers) == 0 { // what stays is in use
		t.Error(ns)
	}
}
