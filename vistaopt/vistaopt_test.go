package vistaopt

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/vista-mr/vista-mr/vistaopt/bytesize"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// alexnet and its data, roughly.
var (
	alexnet = Network{Name: "alexnet", WeightBytes: 233 * mib, LargestWeight: 24 * mib, ImageBytes: 4 * mib, RawBytes: 500 << 10, PooledBytes: 41 << 10, PixelBytes: 150528,
		Layers: []Layer{{Name: "conv5", MACs: 666e6, Weights: 10 * mib, Raw: 173 << 10, Pooled: 4 << 10}, {Name: "fc6", MACs: 704e6, Weights: 154 * mib, Raw: 16 << 10, Pooled: 16 << 10}, {Name: "fc7", MACs: 720e6, Weights: 218 * mib, Raw: 16 << 10, Pooled: 16 << 10}, {Name: "fc8", MACs: 724e6, Weights: 233 * mib, Raw: 4000, Pooled: 4000}}}
	foods = Stats{Rows: 20_000, RowBytes: 560, Images: 20_000, ImageBytes: 40 << 10}
	plain = Training{Columns: []int{130, 1154, 4226, 4226, 1130}, Settings: 1}
)

func choose(t *testing.T, want plan.Plan, tr Training, m Machine) *Choice {
	t.Helper()
	c, err := Choose(want, []Network{alexnet}, foods, tr, m)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestChooseFillsWhatIsOpen(t *testing.T) {
	c := choose(t, plan.Plan{Inference: plan.Lazy, Batch: 3}, plain, Machine{Cores: 2, Memory: 8 << 30})
	want := plan.Plan{Inference: plan.Lazy, Placement: plan.AfterJoin, Join: plan.Broadcast, Storage: plan.Snappy, CPU: 2, Partitions: 304, Batch: 3}
	if c.Plan != want {
		t.Errorf("got %v, want %v", c.Plan, want)
	}
	for knob, from := range map[string]string{"inference": "file", "batch": "file", "placement": "optimizer", "join": "optimizer", "storage": "optimizer", "cpu": "optimizer", "partitions": "optimizer"} {
		if c.From[knob] != from {
			t.Errorf("%s is from %q, want %q", knob, c.From[knob], from)
		}
	}
}

// Cores do not come in powers of two: what does not fit six times may fit five times.
func TestEveryNumberOfCoresIsTried(t *testing.T) {
	got := map[int]bool{}
	for memory := int64(300 * mib); memory < 1500*mib; memory += mib {
		if c, err := Choose(plan.Plan{}, []Network{alexnet}, foods, plain, Machine{Cores: 6, Memory: memory}); err == nil {
			got[c.Plan.CPU] = true
		}
	}
	for n := 2; n <= 6; n++ { // with the memory that its preparation takes, two cores fit as well
		if !got[n] {
			t.Errorf("no memory gives %d cores: %v", n, got)
		}
	}
}

// What training needs grows with all that it depends on, and is part of Need.
func TestTrainingIsInTheModel(t *testing.T) {
	p := plan.Plan{Join: plan.Broadcast, CPU: 2, Batch: 8, Partitions: 10}
	base := regions(p, alexnet, foods, plain).Train
	for name, tr := range map[string]Training{
		"longer vectors": {Columns: []int{130, 10_000, 4226, 4226, 1130}, Settings: 1},
		"more settings":  {Columns: plain.Columns, Settings: 5},
		"more folds":     {Columns: plain.Columns, Settings: 1, Folds: 5},
		"more layers":    {Columns: append([]int{130}, plain.Columns...), Settings: 1},
	} {
		if got := regions(p, alexnet, foods, tr).Train; got <= base {
			t.Errorf("%s: %d bytes, not more than %d", name, got, base)
		}
	}
	huge := Training{Columns: []int{130, 4_000_000}, Settings: 5, Folds: 5}
	_, err := Choose(plan.Plan{}, []Network{alexnet}, foods, huge, Machine{Cores: 2, Memory: 2 << 30})
	var e *InfeasibleError
	if !errors.As(err, &e) || !strings.Contains(e.Error(), "training") || e.Needed <= e.Available {
		t.Errorf("models that do not fit: %v", err)
	}
}

func TestRefusalSaysTheNumbers(t *testing.T) {
	_, err := Choose(plan.Plan{}, []Network{alexnet}, foods, plain, Machine{Cores: 2, Memory: 100 * mib})
	var e *InfeasibleError
	if !errors.As(err, &e) || e.Available != 100*mib || e.Needed != e.Regions.Need() {
		t.Fatalf("got %v", err)
	}
	if !strings.Contains(e.Error(), bytesize.AtLeast(e.Needed)) || !strings.Contains(e.Error(), "100 MiB is available") || !strings.Contains(e.Hint(), "limits.memory to "+bytesize.AtLeast(e.Needed)) {
		t.Errorf("%v; %s", e, e.Hint())
	}
	// The hint tells the truth: with that much it runs.
	if _, err := Choose(plan.Plan{}, []Network{alexnet}, foods, plain, Machine{Cores: 2, Memory: e.Needed}); err != nil {
		t.Errorf("with what was asked for: %v", err)
	}
}

// Making the model ready for the first time takes more than its weights, before anything is inferred.
func TestPreparationIsInTheModel(t *testing.T) {
	r := regions(plan.Plan{Join: plan.Broadcast, CPU: 1, Batch: 1, Partitions: 1}, alexnet, Stats{Rows: 80, RowBytes: 500, Images: 80, ImageBytes: 1 << 15}, Training{Columns: []int{1}, Settings: 1})
	if need := r.Need(); need < 312*mib { // measured: docs/runtime.md
		t.Errorf("AlexNet needs %s, and its first start took 312 MiB", bytesize.AtLeast(need))
	}
}

// Rows that were set aside are broadcast by their keys: their images have a row.
func TestAsidesTakeMemory(t *testing.T) {
	p := plan.Plan{Join: plan.Broadcast, CPU: 1, Batch: 1, Partitions: 1}
	s := Stats{Rows: 80, RowBytes: 500, Images: 80, ImageBytes: 1 << 15}
	before := regions(p, alexnet, s, Training{Columns: []int{1}, Settings: 1})
	s.Aside = 1_000_000
	after := regions(p, alexnet, s, Training{Columns: []int{1}, Settings: 1})
	if more := after.Need() - before.Need(); more != s.Aside*(tableOverhead+rowBytes) || after.Evaluate != before.Evaluate {
		t.Errorf("a million of them take %s", bytesize.AtLeast(more))
	}
}

// A fold's rows are copied while they are measured, with the probabilities of all classes.
func TestAFoldIsInTheModel(t *testing.T) {
	p := plan.Plan{Join: plan.Broadcast, CPU: 1, Batch: 1, Partitions: 1}
	for folds, most := range map[int]int64{2: 4, 3: 3, 5: 2, 10: 1} {
		tr := Training{Columns: plain.Columns, Settings: 1, Classes: 100}
		without := regions(p, alexnet, foods, tr).Evaluate
		tr.Folds = folds
		if got, want := regions(p, alexnet, foods, tr).Evaluate-without, foods.Rows*100*most; got != want {
			t.Errorf("%d folds: %s more, want %s", folds, bytesize.AtLeast(got), bytesize.AtLeast(want))
		}
	}
}

// Keys are held while models are trained, as long as they are: short ones are in what every row takes.
func TestLongKeysTakeMemory(t *testing.T) {
	p := plan.Plan{Join: plan.Broadcast, CPU: 1, Batch: 1, Partitions: 1}
	for name, c := range map[string]struct{ key, row int64 }{
		"not known": {0, rowBytes},
		"a number":  {8, rowBytes},
		"a UUID":    {36, rowBytes},
		"a path":    {200, 265}, // its bytes lie in 208, beside 30 others
		"longest":   {4096, 4648},
	} {
		s := Stats{Rows: 1_000_000, Aside: 1000, RowBytes: 500, KeyBytes: c.key, Images: 80, ImageBytes: 1 << 15}
		r := regions(p, alexnet, s, plain)
		if want := s.Rows*c.row + s.Aside*rowBytes; r.Rows != want {
			t.Errorf("%s: a million rows take %s, want %s", name, bytesize.AtLeast(r.Rows), bytesize.AtLeast(want))
		}
		if c.key == 200 {
			_, err := Choose(plan.Plan{}, []Network{alexnet}, s, plain, Machine{Cores: 1, Memory: r.Rows + 300*mib})
			s.KeyBytes = 0
			if _, short := Choose(plan.Plan{}, []Network{alexnet}, s, plain, Machine{Cores: 1, Memory: r.Rows + 300*mib}); err == nil || short != nil {
				t.Errorf("with long keys: %v; with short ones: %v", err, short)
			}
		}
	}
}

// Whatever the workload, more memory never makes it infeasible, more memory is never needed than there is, and what
// may be taken in each phase stays within it.
func TestMemoryModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string, most int64) int64 { return rapid.Int64Range(1, most).Draw(t, name) }
		n := Network{WeightBytes: draw("weights", 1<<30), LargestWeight: draw("largest", 256*mib), ImageBytes: draw("image", 64*mib), RawBytes: draw("raw", 8*mib), PooledBytes: draw("pooled", mib), PixelBytes: draw("pixels", mib)}
		s := Stats{Rows: draw("rows", 1_000_000), Aside: draw("aside", 1_000_000), RowBytes: draw("row", 10_000), KeyBytes: draw("key", 4096), Images: draw("images", 1_000_000), ImageBytes: draw("file", 10*mib)}
		tr := Training{Columns: []int{int(draw("structured", 1000)), int(draw("dim", 200_000))}, Settings: int(draw("settings", 10)), Folds: int(draw("folds", 10)), Ranks: rapid.Bool().Draw(t, "ranks"), Classes: int(draw("classes", 50))}
		p := plan.Plan{Inference: rapid.SampledFrom(plan.Inferences).Draw(t, "inference")}
		m := Machine{Cores: int(draw("cores", 16)), Memory: draw("memory", 16<<30)}
		c, err := Choose(p, []Network{n}, s, tr, m)
		if err != nil {
			var e *InfeasibleError
			if !errors.As(err, &e) || e.Needed <= m.Memory {
				t.Fatalf("refused with %d of %d bytes: %v", e.Needed, m.Memory, err)
			}
			return
		}
		r, room := c.Regions, c.Room
		cpu := int64(c.Plan.CPU)
		if r.Need() > m.Memory {
			t.Fatalf("needs %d of %d bytes", r.Need(), m.Memory)
		}
		sort := int64(0)
		if c.Plan.Join == plan.Shuffle {
			sort = room.Sort * cpu
		}
		arena := room.Arena
		if arena == r.Prepare { // more than inference asks for: it is for making the model ready
			arena = min(arena, r.Model+r.Inference)
		}
		if most := r.always() + arena + r.Buffers + (room.File-fileBytes)*cpu + room.Decode + sort; most > m.Memory {
			t.Errorf("inference may take %d of %d bytes: %+v", most, m.Memory, room)
		}
		if most := Alone(m.Memory, 48*mib) + 4*mib; room.Decode > most {
			t.Errorf("a picture may take %d bytes, and %d in a sample", room.Decode, most)
		}
		if most := r.always() + room.Arena; most > m.Memory {
			t.Errorf("making the model ready may take %d of %d bytes", most, m.Memory)
		}
		if most := r.always() + room.Cache + room.Models; most > m.Memory {
			t.Errorf("training may take %d of %d bytes", most, m.Memory)
		}
		if room.Arena < r.Model+r.Inference || room.Decode < minDecode || room.Cache < minCache || room.Sort < minSort || room.File < fileBytes {
			t.Errorf("less than what was promised: %+v", room)
		}
		for _, k := range room.Classes {
			if need := k.Fixed + k.PerClass*tr.scores(); need > m.Memory {
				t.Errorf("%s with %d classes takes %d of %d bytes", k.For, tr.Classes, need, m.Memory)
			}
		}
		more := Machine{Cores: m.Cores, Memory: m.Memory + draw("more", 16<<30)}
		if _, err := Choose(p, []Network{n}, s, tr, more); err != nil {
			t.Errorf("%d bytes are enough, %d are not: %v", m.Memory, more.Memory, err)
		}
	})
}

// A refusal names the worker that is too small, and what to do about it: the job's limit would change nothing.
func TestTheWorkerThatIsTooSmall(t *testing.T) {
	need := refusedIn(t, plan.Plan{}, foods, Machine{Cores: 2, Memory: 10 * mib}).Needed
	for name, c := range map[string]struct {
		least       string
		most        int64
		error, hint string
	}{
		"the job's limit":              {"", 100 * mib, "10 MiB is available (", "set limits.memory to "},
		"one, of an unknown machine":   {"w1", 0, "10 MiB is available on worker w1 (", "end worker w1 and others that have less, or run it with --memory "},
		"one, of a machine with more":  {"w1", need, "10 MiB is available on worker w1 (", "end worker w1 and others that have less, or run it with --memory " + bytesize.Flag(need) + " or more"},
		"one that has all there is":    {"w1", 100*mib - 1, "10 MiB is available on worker w1 (", "end worker w1 and others that have less, or run it on a machine, or in a control group, with " + bytesize.AtLeast(need) + " or more: its own has 99 MiB"},
		"the only one":                 {"w0", need, "10 MiB is available on worker w0 (", "run worker w0 with --memory " + bytesize.Flag(need) + " or more"},
		"the only one, with all of it": {"w0", 10 * mib, "10 MiB is available on worker w0 (", "run worker w0 on a machine, or in a control group, with " + bytesize.AtLeast(need) + " or more: its own has 10 MiB"},
		"each, of unknown machines":    {EachWorker, 0, "10 MiB is available on each worker (", "start the workers with --memory "},
		"each, of machines with more":  {EachWorker, need, "10 MiB is available on each worker (", "start the workers with --memory " + bytesize.Flag(need) + " or more"},
		"each has all that there is":   {EachWorker, need - 1, "10 MiB is available on each worker (", "run the workers on machines, or in control groups, with " + bytesize.AtLeast(need) + " or more: the least of theirs has "},
		"each has all, which is a bit": {EachWorker, 10 * mib, "10 MiB is available on each worker (", "run the workers on machines, or in control groups, with " + bytesize.AtLeast(need) + " or more: the least of theirs has 10 MiB"},
	} {
		workers := 3
		if c.least == "w0" {
			workers = 1
		}
		e := refusedIn(t, plan.Plan{}, foods, Machine{Cores: 2, Memory: 10 * mib, Workers: workers, Least: c.least, Most: c.most})
		if !strings.Contains(e.Error(), c.error) || !strings.HasPrefix(e.Hint(), c.hint) || c.most > 0 && c.most < need && strings.Contains(e.Hint(), "--memory") {
			t.Errorf("%s: %v; %s", name, e, e.Hint())
		}
	}
}
