package vistaopt

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/vista-mr/vista-mr/layers"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// roster is a network of the catalogue with the layers of the paper.
func roster(t testing.TB, name string) Network {
	t.Helper()
	cnn, err := layers.Outline(name)
	if err != nil {
		t.Fatal(err)
	}
	asked, err := cnn.Select(cnn.Roster...)
	if err != nil {
		t.Fatal(err)
	}
	return NetworkOf(cnn, asked, layers.PoolMax)
}

// top has the last layers of a network only.
func top(n Network, last int) Network {
	n.Layers = n.Layers[len(n.Layers)-last:]
	n.RawBytes, n.PooledBytes = 0, 0
	for _, l := range n.Layers {
		n.RawBytes += l.Raw
		n.PooledBytes += l.Pooled
	}
	return n
}

// shape is data of so many rows and columns, and the models that are trained on them.
func shape(n Network, rows int64, columns int) (Stats, Training) {
	t := Training{Settings: 1, Iterations: 10, Columns: []int{columns}}
	for _, l := range n.Layers {
		t.Columns = append(t.Columns, columns+int(l.Pooled/4))
	}
	return Stats{Rows: rows, RowBytes: int64(4*columns + 32), Images: rows, ImageBytes: 40 << 10}, t
}

// drawn is a workload and a machine of any size.
func drawn(t *rapid.T, n Network) (plan.Plan, Stats, Training, Machine) {
	draw := func(name string, from, to int64) int64 { return rapid.Int64Range(from, to).Draw(t, name) }
	s, tr := shape(n, draw("rows", 1, 3_000_000), int(draw("columns", 1, 5_000)))
	s.ImageBytes = draw("file", 1<<10, 4<<20)
	s.Matched = draw("matched", 0, s.Images)
	tr.Folds, tr.Settings = int(draw("folds", 0, 5)), int(draw("settings", 1, 5))
	want := plan.Plan{
		Inference: rapid.SampledFrom(append([]plan.Inference{"", ""}, plan.Inferences...)).Draw(t, "inference"),
		Placement: rapid.SampledFrom(append([]plan.Placement{"", ""}, plan.Placements...)).Draw(t, "placement"),
		Join:      rapid.SampledFrom(append([]plan.Join{"", ""}, plan.Joins...)).Draw(t, "join"),
		Storage:   rapid.SampledFrom(append([]plan.Storage{"", ""}, plan.Storages...)).Draw(t, "storage"),
		CPU:       int(draw("cpu", 0, 3)), Batch: int(draw("batch", 0, 8)), Partitions: int(draw("partitions", 0, 500)),
	}
	return want, s, tr, Machine{Cores: int(draw("cores", 1, 16)), Memory: draw("memory", 100, 40_000) * mib, Workers: int(draw("workers", 1, 16))}
}

// BenchmarkChoose plans a network of ten layers with every knob open, on 16 cores.
func BenchmarkChoose(b *testing.B) {
	n := roster(b, "resnet50")
	for len(n.Layers) < 10 {
		n.Layers = append(n.Layers, n.Layers[len(n.Layers)-1])
	}
	s, tr := shape(n, 200_000, 200)
	for b.Loop() {
		if _, err := Choose(plan.Plan{}, []Network{n}, s, tr, Machine{Cores: 16, Memory: 32 << 30, Workers: 8}); err != nil {
			b.Fatal(err)
		}
	}
}

// estimate is the cost of a plan of one network.
func estimate(p plan.Plan, n Network, s Stats, t Training, m Machine) Estimate {
	return estimateOf(p, []Network{n}, s, t, m)
}
