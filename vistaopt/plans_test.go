package vistaopt

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/vista-mr/vista-mr/layers"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

var update = flag.Bool("update", false, "write the golden files anew")

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

// TestGoldenPlans is what is chosen over a grid of networks, numbers of layers, rows, widths, memory, cores and workers.
func TestGoldenPlans(t *testing.T) {
	var b strings.Builder
	for _, name := range []string{"alexnet", "vgg16", "resnet50"} {
		whole := roster(t, name)
		for _, last := range []int{1, len(whole.Layers)} {
			n := top(whole, last)
			for _, rows := range []int64{400, 20_000, 200_000, 5_000_000} {
				for _, columns := range []int{10, 200, 10_000} {
					s, tr := shape(n, rows, columns)
					for _, memory := range []int64{512, 2048, 8192, 32768} {
						for _, machines := range []Machine{{Cores: 2, Workers: 1}, {Cores: 8, Workers: 8}} {
							m := machines
							m.Memory = memory * mib
							fmt.Fprintf(&b, "%s %d layers, %d rows of %d, %d MiB, %d x %d cores: ", name, last, rows, columns, memory, m.Workers, m.Cores)
							c, err := Choose(plan.Plan{}, []Network{n}, s, tr, m)
							var no *InfeasibleError
							switch {
							case errors.As(err, &no):
								fmt.Fprintf(&b, "refused, needs %d MiB\n", no.Needed/mib)
							case err != nil:
								t.Fatal(err)
							default:
								fmt.Fprintf(&b, "%s, %.0f s, writes %d MiB\n", c.Plan, c.Estimate.Seconds, c.Estimate.Written/mib)
								again, err := plan.Parse(c.Plan.String())
								if err != nil || again != c.Plan {
									t.Errorf("%s is read as %s, %v", c.Plan, again, err)
								}
							}
						}
					}
				}
			}
		}
	}
	const golden = "testdata/plans.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	got, old := strings.Split(b.String(), "\n"), strings.Split(string(want), "\n")
	shown := 0
	for i := range max(len(got), len(old)) {
		var g, w string
		if i < len(got) {
			g = got[i]
		}
		if i < len(old) {
			w = old[i]
		}
		if g != w && shown < 10 {
			t.Errorf("line %d\n got %s\nwant %s", i+1, g, w)
			shown++
		}
	}
	if shown > 0 {
		t.Log("if the new plans are right: go test -run TestGoldenPlans ./vistaopt -update")
	}
}

// TestWhyNeverSaysTheSameTwice: what sank a plan is told by figures that differ.
func TestWhyNeverSaysTheSameTwice(t *testing.T) {
	pair := regexp.MustCompile(`(?:takes|writes|needs) (.+) (?:instead of|, there are) (.+?)(?:,|$)`)
	twice := func(t interface{ Fatalf(string, ...any) }, why string) {
		if m := pair.FindStringSubmatch(why); m != nil && m[1] == m[2] {
			t.Fatalf("%s", why)
		}
		if strings.Contains(why, " 0 s more") {
			t.Fatalf("%s", why)
		}
	}
	phases := func(cnn, train float64, written int64) *Estimate {
		return &Estimate{Phases: []PhaseEstimate{{Name: "extract", Seconds: cnn}, {Name: "train", Seconds: train}}, Seconds: cnn + train, Written: written}
	}
	for want, of := range map[string][2]*Estimate{
		"1.05 times as long: the CNN takes 18.0 s more":                                      {phases(375, 5, 0), phases(357, 5, 0)},
		"as long within 1 %, and writes 2.001 MiB instead of 2.000 MiB":                      {phases(10, 0, 2*mib+1000), phases(10, 0, 2*mib)},
		"1.33 times as long: the CNN takes 8 min instead of 6 min":                           {phases(480, 0, 0), phases(360, 0, 0)},
		"as long and as much to write within what an estimate can tell":                      {phases(10, 0, 5), phases(10, 0, 5)},
		"0.50 times as long here, but slower on one core, where kinds of plans are compared": {phases(5, 0, 5), phases(10, 0, 5)},
	} {
		if got := slower(of[0], of[1]); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	n := roster(t, "resnet50")
	rapid.Check(t, func(t *rapid.T) {
		want, s, tr, m := drawn(t, n)
		c, err := Choose(want, []Network{n}, s, tr, m)
		if err != nil {
			return
		}
		for _, r := range c.Rejected {
			twice(t, r.Why)
		}
	})
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

// TestChoiceIsTheCheapest: of all plans that the job file allows and that fit, none is of a kind that is quicker than the chosen
// kind by more than an estimate can tell, and none of the chosen kind is quicker on the machine. Every one is tried here.
func TestChoiceIsTheCheapest(t *testing.T) {
	n := roster(t, "alexnet")
	rapid.Check(t, func(t *rapid.T) {
		want, s, tr, m := drawn(t, n)
		c, err := Choose(want, []Network{n}, s, tr, m)
		one := m
		one.Workers = 1
		q := newSearch(want, []Network{n}, s, tr, m)
		want = q.want
		for _, inference := range open(want.Inference, plan.Inferences...) {
			for _, placement := range open(want.Placement, plan.Placements...) {
				for _, join := range open(want.Join, plan.Joins...) {
					for _, storage := range open(want.Storage, plan.Storages...) {
						for _, batch := range open(want.Batch, batches...) {
							for _, cpu := range open(want.CPU, down(min(m.Cores, want.Partitions))...) {
								p := plan.Plan{Inference: inference, Placement: placement, Join: join, Storage: storage, CPU: cpu, Partitions: want.Partitions, Batch: batch}
								if why, _ := q.rule(p); why != "" || regions(p, n, s, tr).Need() > m.Memory {
									continue
								}
								if err != nil {
									t.Fatalf("%s fits, and the job is refused: %v", p, err)
								}
								if a, b := q.standard(p, q.j.regions(p)).Seconds, q.cheapest(c.Plan); a*(1+noise) < b {
									t.Fatalf("%s takes %.2f s on one core, the chosen %s %.2f s", p, a, c.Plan, b)
								}
								same := c.Plan
								same.CPU, same.Batch = cpu, batch
								if a, b := estimate(p, n, s, tr, one).Seconds, estimate(c.Plan, n, s, tr, one).Seconds; p == same && a*(1+noise) < b {
									t.Fatalf("%s takes %.2f s, the chosen %s %.2f s", p, a, c.Plan, b)
								}
							}
						}
					}
				}
			}
		}
	})
}

// cheapest is what a kind of plan costs where kinds are compared, with the best numbers in flight that fit.
func (q *search) cheapest(p plan.Plan) float64 {
	least := math.Inf(1)
	for _, p.Batch = range open(q.want.Batch, batches...) {
		for _, p.CPU = range open(q.want.CPU, down(q.most(p))...) {
			if r := q.j.regions(p); r.Need() <= q.m.Memory {
				least = min(least, q.standard(p, r).Seconds)
			}
		}
	}
	return least
}

// TestKindsAreTheSameEverywhere: what was measured, cores and workers change how many images are in flight, and nothing that
// changes a result.
func TestKindsAreTheSameEverywhere(t *testing.T) {
	n := roster(t, "alexnet")
	rapid.Check(t, func(t *rapid.T) {
		want, s, tr, m := drawn(t, n)
		want.CPU = 0
		m.Memory = 64 << 30 // what fits is a matter of memory
		c, err := Choose(want, []Network{n}, s, tr, m)
		if err != nil {
			t.Fatal(err)
		}
		other := Machine{Cores: rapid.IntRange(1, 16).Draw(t, "other cores"), Workers: rapid.IntRange(1, 64).Draw(t, "other workers"), Memory: m.Memory, Rates: DefaultRates()}
		other.Rates.MACs *= rapid.Float64Range(0.2, 6).Draw(t, "arithmetic")
		other.Rates.Weights *= rapid.Float64Range(0.2, 6).Draw(t, "weights")
		other.Rates.Decode *= rapid.Float64Range(0.2, 6).Draw(t, "decoding")
		d, err := Choose(want, []Network{n}, s, tr, other)
		if err != nil {
			t.Fatal(err)
		}
		p := d.Plan
		p.CPU, p.Batch = c.Plan.CPU, c.Plan.Batch
		if p != c.Plan {
			t.Errorf("%s, elsewhere %s", c.Plan, d.Plan)
		}
	})
}

// TestMoreNeverHurts: more memory makes no job infeasible and none slower, and more workers raise no estimate.
func TestMoreNeverHurts(t *testing.T) {
	n := roster(t, "resnet50")
	rapid.Check(t, func(t *rapid.T) {
		want, s, tr, m := drawn(t, n)
		c, err := Choose(want, []Network{n}, s, tr, m)
		if err != nil {
			return
		}
		m.Workers = 1
		before := estimate(c.Plan, n, s, tr, m).Seconds
		more := m
		more.Memory += rapid.Int64Range(1, 30_000).Draw(t, "more") * mib
		after, err := Choose(want, []Network{n}, s, tr, more)
		if err != nil {
			t.Fatalf("with %d MiB more: %v", (more.Memory-m.Memory)/mib, err)
		}
		if now := estimate(after.Plan, n, s, tr, more).Seconds; now > before*(1+noise) {
			t.Errorf("%s takes %.2f s, with more memory %s %.2f s", c.Plan, before, after.Plan, now)
		}
		for workers := 2; workers <= 32; workers *= 2 {
			m.Workers = workers
			now := estimate(c.Plan, n, s, tr, m).Seconds
			if now > before*(1+noise) {
				t.Errorf("%s takes %.3f s on %d workers, %.3f s on half as many", c.Plan, now, workers, before)
			}
			before = now
		}
	})
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

// BenchmarkChooseOfFifty plans fifty networks of five layers each, where everything fits and near the edge.
func BenchmarkChooseOfFifty(b *testing.B) {
	var ns []Network
	for i := range 50 {
		n := roster(b, []string{"resnet50", "alexnet"}[i%2])
		n.Name = fmt.Sprint("n", i)
		ns = append(ns, n)
	}
	s, tr := shape(joined(ns), 20_000, 130)
	for _, memory := range []int64{900 * mib, 64 << 30} {
		b.Run(fmt.Sprintf("memory=%dMiB", memory/mib), func(b *testing.B) {
			for b.Loop() {
				if _, err := Choose(plan.Plan{}, ns, s, tr, Machine{Cores: 8, Memory: memory}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// regions are those of a plan of one network, peak what a plan is expected to hold.
func regions(p plan.Plan, n Network, s Stats, t Training) Regions {
	return newJob([]Network{n}, s, t).regions(p)
}

func peak(p plan.Plan, ns []Network, s Stats, t Training, memory int64) int64 {
	j := newJob(ns, s, t)
	return j.peak(p, j.regions(p), memory)
}

// estimate is the cost of a plan of one network.
func estimate(p plan.Plan, n Network, s Stats, t Training, m Machine) Estimate {
	return estimateOf(p, []Network{n}, s, t, m)
}
