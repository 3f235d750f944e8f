package compile

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vista-mr/vista-mr/jobs/extract"
	"github.com/vista-mr/vista-mr/jobs/train"
	"github.com/vista-mr/vista-mr/layers"
	"github.com/vista-mr/vista-mr/layers/image"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/vistaopt"
	"github.com/vista-mr/vista-mr/vistaopt/explain"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

var update = flag.Bool("update", false, "rewrite the golden file")

func testInputs() *Inputs {
	in := &Inputs{
		Table:    []mr.FileRange{{URI: "t.csv"}},
		Splits:   []mr.Split{{Files: []mr.FileRange{{URI: "a.jpg"}}}, {Files: []mr.FileRange{{URI: "b.jpg"}}}},
		Networks: []Network{{Pool: layers.PoolMax, Layers: []Layer{{"conv", 100, 8}, {"fc", 4, 4}}}},
		Required: true, Features: true,
		Train: train.Params{Features: 3, Settings: []train.Setting{{Reg: 0.01}}, Table: TablePhase},
	}
	in.Model = func(p Program) (extract.Model, error) {
		n, s := in.Networks[p.Network].Name, p.Spec
		m := extract.Model{Digest: fmt.Sprintf("%s:%s>%v%v", n, s.From, s.Raw, s.Pooled)}
		for _, l := range s.Raw {
			m.Out = append(m.Out, extract.Port{Channel: extract.Raw(Full(n, l))})
		}
		for _, l := range s.Pooled {
			m.Out = append(m.Out, extract.Port{Channel: extract.Pooled(Full(n, l))})
		}
		return m, nil
	}
	return in
}

// threeInputs are those of three networks, two of which take the same of an image.
func threeInputs() *Inputs {
	in := testInputs()
	in.Networks[0].Name, in.Networks[0].Image = "a", image.Imagenet()
	in.Networks = append(in.Networks, in.Networks[0], in.Networks[0])
	in.Networks[1].Name, in.Networks[1].Layers = "b", []Layer{{"conv", 60, 6}}
	in.Networks[2].Name, in.Networks[2].Image.CropW = "c", 100
	return in
}

// workload is a plan with what it is compiled from.
type workload struct {
	plan.Plan
	inputs func() *Inputs
}

// workloads are all plans of one network and of several.
func workloads() []workload {
	var out []workload
	for _, p := range plans() {
		out = append(out, workload{p, testInputs})
	}
	return append(out, severals()...)
}

func severals() []workload {
	var out []workload
	for _, p := range plans() {
		for _, n := range []plan.Networks{plan.Together, plan.Apart} {
			if p.Networks = n; p.Validate() == nil {
				out = append(out, workload{p, threeInputs})
			}
		}
	}
	return out
}

func plans() []plan.Plan {
	var out []plan.Plan
	for _, i := range plan.Inferences {
		for _, pl := range plan.Placements {
			for _, j := range plan.Joins {
				out = append(out, plan.Plan{Inference: i, Placement: pl, Join: j, Storage: plan.Snappy, CPU: 2, Partitions: 3, Batch: 8})
			}
		}
	}
	return out
}

// TestTreesAreWhatIsRead: a phase that explain shows under another one is read by it, and every phase that anything reads is under one.
func TestTreesAreWhatIsRead(t *testing.T) {
	for _, w := range workloads() {
		phases, err := Compile(w.Plan, w.inputs())
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, p := range phases {
			names = append(names, string(p.ID))
		}
		for i, by := range explain.Readers(w.Plan, names) {
			reads := func(p mr.PhaseSpec) bool {
				return slices.ContainsFunc(p.Inputs, func(in mr.Input) bool { return in.Phase == phases[i].ID })
			}
			first := slices.IndexFunc(phases, func(p mr.PhaseSpec) bool { return p.ID != "unmatched" && reads(p) })
			switch {
			case names[i] == "unmatched":
				if by != len(names)-1 {
					t.Errorf("%s: unmatched stands under phase %d", w.Plan, by)
				}
			case by != first:
				t.Errorf("%s: %s stands under phase %d, and %d of %v is the first that reads it", w.Plan, names[i], by, first, names)
			}
		}
	}
}

// describe is a chain as text: what each phase runs, reads, writes to the shuffle and drops.
func describe(phases []mr.PhaseSpec) string {
	var b strings.Builder
	for _, p := range phases {
		fmt.Fprintf(&b, "  %s %s(%s) x%d", p.ID, p.Type, p.Kind, p.NumTasks())
		if p.Partitions > 0 {
			fmt.Fprintf(&b, " =>%d", p.Partitions)
		}
		for _, in := range p.Inputs {
			fmt.Fprintf(&b, " %s:%s/%s", in.Mode, in.Phase, in.Channel)
		}
		for _, d := range p.Drop {
			fmt.Fprintf(&b, " -%s/%s", d.Phase, d.Channel)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// TestEstimatesAreInTheOrderOfTheChain: every phase is estimated where it runs, so that a tree of estimates is the chain.
func TestEstimatesAreInTheOrderOfTheChain(t *testing.T) {
	for _, w := range workloads() {
		in := w.inputs()
		phases, err := Compile(w.Plan, in)
		if err != nil {
			t.Fatal(err)
		}
		var ns []vistaopt.Network
		for i := range in.Networks {
			n := vistaopt.Network{Name: in.Networks[i].Name}
			for _, l := range in.Networks[i].named() {
				n.Layers = append(n.Layers, vistaopt.Layer{Name: l.Name, Raw: int64(l.Raw), Pooled: int64(l.Pooled)})
			}
			ns = append(ns, n)
		}
		c, err := vistaopt.Choose(w.Plan, ns, vistaopt.Stats{Rows: 100, RowBytes: 10, Images: 100, ImageBytes: 10}, vistaopt.Training{Columns: []int{1}, Settings: 1, Features: in.Features}, vistaopt.Machine{Cores: 2, Memory: 8 << 30})
		if err != nil || c.Plan != w.Plan {
			t.Fatalf("%s was asked for: %v", w.Plan, err)
		}
		var runs, expected []string
		for _, p := range phases {
			runs = append(runs, string(p.ID))
		}
		for _, p := range c.Estimate.Phases {
			if p.Name != vistaopt.StartPhase && p.Name != vistaopt.ResultsPhase {
				expected = append(expected, p.Name)
			}
		}
		if d := cmp.Diff(runs, expected); d != "" {
			t.Errorf("%s (-runs +expected):\n%s", w.Plan, d)
		}
	}
}

func TestChains(t *testing.T) {
	var one []workload
	for _, p := range plans() {
		one = append(one, workload{p, testInputs})
	}
	golden(t, "testdata/chains.txt", one)
	golden(t, "testdata/several.txt", severals())
}

// golden compares the chains of workloads with a file.
func golden(t *testing.T, file string, of []workload) {
	t.Helper()
	var b strings.Builder
	for _, p := range of {
		phases, err := Compile(p.Plan, p.inputs())
		if err != nil {
			t.Fatalf("%s: %v", p, err)
		}
		job := mr.JobSpec{ID: "j", Phases: phases}
		if err := job.Validate(); err != nil {
			t.Errorf("%s: %v", p, err)
		}
		fmt.Fprintf(&b, "%s\n%s", p, describe(phases))
	}
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), b.String()); d != "" {
		t.Errorf("chains differ from %s; -update rewrites it (-want +got):\n%s", file, d)
	}
}

// TestNothingIsReadAfterItWasDropped follows every chain: what a phase drops, no phase behind it reads.
func TestNothingIsReadAfterItWasDropped(t *testing.T) {
	for _, p := range workloads() {
		for _, keep := range []bool{true, false} {
			in := p.inputs()
			in.Features = keep
			phases, err := Compile(p.Plan, in)
			if err != nil {
				t.Fatal(err)
			}
			gone := map[mr.Drop]bool{}
			for _, ph := range phases {
				for _, i := range ph.Inputs {
					if i.Mode != mr.Values && (gone[mr.Drop{Phase: i.Phase, Channel: i.Channel}] || gone[mr.Drop{Phase: i.Phase}]) {
						t.Errorf("%s: %s reads %s/%s, which was dropped before", p, ph.ID, i.Phase, i.Channel)
					}
				}
				for _, d := range ph.Drop {
					gone[d] = true
				}
			}
		}
	}
}

// TestEverythingLargeIsDroppedByItsLastReader follows every chain the other way round: after the last phase that reads
// volumes, vectors, images or a shuffle with any of them, they are gone; what is never read (the last stage's
// volume) is not written.
func TestEverythingLargeIsDroppedByItsLastReader(t *testing.T) {
	for _, p := range workloads() {
		for _, keep := range []bool{true, false} {
			in := p.inputs()
			in.Features = keep
			phases, err := Compile(p.Plan, in)
			if err != nil {
				t.Fatal(err)
			}
			type file struct {
				phase   mr.PhaseID
				channel string
			}
			last, dropped := map[file]int{}, map[mr.Drop]int{}
			readers := map[mr.PhaseID]int{}
			for i, ph := range phases {
				for _, in := range ph.Inputs {
					if in.Mode != mr.Values {
						last[file{in.Phase, in.Channel}], readers[in.Phase] = i, i
					}
				}
				for _, d := range ph.Drop {
					if _, twice := dropped[d]; twice {
						t.Errorf("%s: %v is dropped twice", p, d)
					}
					dropped[d] = i
				}
			}
			for f, i := range last {
				if f.phase == TablePhase || f.channel == "base" || f.channel == "failed" || f.channel == "predictions" {
					continue // rows and answers: small
				}
				at, ok := dropped[mr.Drop{Phase: f.phase, Channel: f.channel}]
				all, whole := dropped[mr.Drop{Phase: f.phase}]
				switch {
				case ok && at == i:
				case whole && all == readers[f.phase]:
				default:
					t.Errorf("%s, features kept %v: %s/%s is last read by %s and not dropped there", p, keep, f.phase, f.channel, phases[i].ID)
				}
			}
		}
	}
}

func TestCompilingIsPure(t *testing.T) {
	for _, p := range workloads() {
		a, err := Compile(p.Plan, p.inputs())
		if err != nil {
			t.Fatal(err)
		}
		b, err := Compile(p.Plan, p.inputs())
		if err != nil {
			t.Fatal(err)
		}
		x, _ := json.Marshal(a)
		y, _ := json.Marshal(b)
		if string(x) != string(y) {
			t.Errorf("%s compiles to two different chains", p)
		}
	}
}

// A record may only be set aside for its features where nothing was trained without looking at them yet: where one
// phase looks at the images, in that one.
func TestFeaturesAreSetAsideOnlyOnce(t *testing.T) {
	for _, p := range workloads() {
		for n := 1; n <= 2; n++ {
			in := p.inputs()
			in.Networks[0].Layers = in.Networks[0].Layers[:n]
			passes, first := 0, true
			for _, params := range extracts(t, p.Plan, in) {
				if params.Source != extract.Volume {
					passes++
				}
			}
			for i, params := range extracts(t, p.Plan, in) {
				if want := first && passes == 1; params.Aside != want {
					t.Errorf("%s, %d layers: program %d sets aside: %t", p, n, i, params.Aside)
				}
				first = false
			}
		}
	}
}

// extracts are the parameters of the phases that run programs.
func extracts(t *testing.T, p plan.Plan, in *Inputs) (out []extract.Params) {
	t.Helper()
	phases, err := Compile(p, in)
	if err != nil {
		t.Fatal(err)
	}
	for _, ph := range phases {
		if ph.Kind != extract.Name {
			continue
		}
		var params extract.Params
		if err := json.Unmarshal(ph.Params, &params); err != nil {
			t.Fatal(err)
		}
		out = append(out, params)
	}
	return out
}

// Every phase judges images by what all networks make of them, each kind once, and each program takes its network's.
func TestAllPhasesJudgeImagesAlike(t *testing.T) {
	for _, p := range severals() {
		for _, params := range extracts(t, p.Plan, p.inputs()) {
			if len(params.Images) != 2 || params.Images[0].CropW != 224 || params.Images[1].CropW != 100 {
				t.Fatalf("%s: images become %+v", p, params.Images)
			}
			for _, pr := range params.Programs {
				if third := strings.HasPrefix(pr.Model.Digest, "c:"); third != (pr.Image == 1) {
					t.Errorf("%s: program %s takes images of kind %d", p, pr.Model.Digest, pr.Image)
				}
			}
		}
	}
}

func TestEachLayerIsComputedOnceBesidesLazy(t *testing.T) {
	for _, p := range workloads() {
		n, programs, layers := map[string]int{}, 0, 0
		for i := range p.inputs().Networks {
			for _, pr := range p.inputs().Programs(p.Plan, i) {
				for _, l := range pr.Spec.Pooled {
					n[fmt.Sprint(i, l)]++
				}
				if pr.Spec.From == "" {
					programs++
				}
			}
			layers += len(p.inputs().Networks[i].Layers)
		}
		want := len(p.inputs().Networks)
		if p.Inference == plan.Lazy {
			want = layers
		}
		if len(n) != layers || programs != want {
			t.Errorf("%s: %v, %d from the image, want each layer pooled once and %d from the image", p, n, programs, want)
		}
		for l, times := range n {
			if times != 1 {
				t.Errorf("%s: %s is pooled %d times", p, l, times)
			}
		}
	}
}

// The number of networks and what the plan says of them go together.
func TestPlansOfSeveralAreForSeveral(t *testing.T) {
	p := plans()[0]
	if _, err := Compile(p, threeInputs()); err == nil {
		t.Error("three networks, and the plan does not say how")
	}
	p.Networks = plan.Apart
	if _, err := Compile(p, testInputs()); err == nil {
		t.Error("one network apart")
	}
}
