package compile

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vista-mr/vista-mr/jobs/extract"
	"github.com/vista-mr/vista-mr/jobs/train"
	"github.com/vista-mr/vista-mr/layers"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

var update = flag.Bool("update", false, "rewrite the golden file")

func testInputs() *Inputs {
	in := &Inputs{
		Table:  []mr.FileRange{{URI: "t.csv"}},
		Splits: []mr.Split{{Files: []mr.FileRange{{URI: "a.jpg"}}}, {Files: []mr.FileRange{{URI: "b.jpg"}}}},
		Pool:   layers.PoolMax, Required: true, Features: true,
		Layers: []Layer{{"conv", 100, 8}, {"fc", 4, 4}},
		Train:  train.Params{Features: 3, Settings: []train.Setting{{Reg: 0.01}}, Table: TablePhase},
	}
	in.Model = func(s layers.ProgramSpec) (extract.Model, error) {
		m := extract.Model{Digest: fmt.Sprintf("%s>%v%v", s.From, s.Raw, s.Pooled)}
		for _, l := range s.Raw {
			m.Out = append(m.Out, extract.Port{Channel: extract.Raw(l)})
		}
		for _, l := range s.Pooled {
			m.Out = append(m.Out, extract.Port{Channel: extract.Pooled(l)})
		}
		return m, nil
	}
	return in
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

func TestChains(t *testing.T) {
	var b strings.Builder
	for _, p := range plans() {
		phases, err := Compile(p, testInputs())
		if err != nil {
			t.Fatalf("%s: %v", p, err)
		}
		job := mr.JobSpec{ID: "j", Phases: phases}
		if err := job.Validate(); err != nil {
			t.Errorf("%s: %v", p, err)
		}
		fmt.Fprintf(&b, "%s\n%s", p, describe(phases))
	}
	const golden = "testdata/chains.txt"
	if *update {
		if err := os.MkdirAll("testdata", 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, []byte(b.String()), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), b.String()); d != "" {
		t.Errorf("chains differ from %s; -update rewrites it (-want +got):\n%s", golden, d)
	}
}

// TestNothingIsReadAfterItWasDropped follows every chain: what a phase drops, no phase behind it reads.
func TestNothingIsReadAfterItWasDropped(t *testing.T) {
	for _, p := range plans() {
		for _, keep := range []bool{true, false} {
			in := testInputs()
			in.Features = keep
			phases, err := Compile(p, in)
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
	for _, p := range plans() {
		for _, keep := range []bool{true, false} {
			in := testInputs()
			in.Features = keep
			phases, err := Compile(p, in)
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
	for _, p := range plans() {
		a, err := Compile(p, testInputs())
		if err != nil {
			t.Fatal(err)
		}
		b, err := Compile(p, testInputs())
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

// A record may only be set aside for its features where nothing was trained without looking at them yet: in the first
// program, and in a lazy plan's only if there is no other.
func TestFeaturesAreSetAsideOnlyOnce(t *testing.T) {
	for _, p := range plans() {
		for n := 1; n <= 2; n++ {
			in := testInputs()
			in.Layers = in.Layers[:n]
			phases, err := Compile(p, in)
			if err != nil {
				t.Fatal(err)
			}
			first := true
			for _, ph := range phases {
				if ph.Kind != extract.Name {
					continue
				}
				var params extract.Params
				if err := json.Unmarshal(ph.Params, &params); err != nil {
					t.Fatal(err)
				}
				if want := first && (p.Inference != plan.Lazy || n == 1); params.Aside != want {
					t.Errorf("%s, %d layers: %s sets aside: %t", p, n, ph.ID, params.Aside)
				}
				first = false
			}
		}
	}
}

func TestEachLayerIsComputedOnceBesidesLazy(t *testing.T) {
	for _, p := range plans() {
		n := map[string]int{}
		for _, s := range Programs(p, testInputs()) {
			for _, l := range s.Pooled {
				n[l]++
			}
			if s.From == "" {
				n["from the image"]++
			}
		}
		want := 1
		if p.Inference == plan.Lazy {
			want = 2
		}
		if n["conv"] != 1 || n["fc"] != 1 || n["from the image"] != want {
			t.Errorf("%s: %v, want each layer pooled once and %d passes over the images", p, n, want)
		}
	}
}
