package explain

import (
	"bytes"
	"encoding/json"
	"flag"
	"math"
	"os"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/invopop/jsonschema"
	validator "github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/vista-mr/vista-mr/vistaopt"
	"github.com/vista-mr/vista-mr/vistaopt/paper"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

var update = flag.Bool("update", false, "write the golden files anew")

// example is a small explanation in which everything occurs.
func example(t *testing.T) *Explanation {
	t.Helper()
	n := vistaopt.Network{Name: "tiny", WeightBytes: 300 << 20, LargestWeight: 1 << 20, ImageBytes: 8 << 20, RawBytes: 4<<20 + 4000, PooledBytes: 20_000, PixelBytes: 150_528, Layers: []vistaopt.Layer{
		{Name: `conv"1"`, MACs: 3e9, Weights: 20 << 20, Raw: 4 << 20, Pooled: 16_000}, {Name: "fc", MACs: 4e9, Weights: 300 << 20, Raw: 4000, Pooled: 4000}}}
	s := vistaopt.Stats{Rows: 50_000, RowBytes: 4000, Images: 60_000, Matched: 50_000, ImageBytes: 60_000}
	tr := vistaopt.Training{Columns: []int{990, 4990, 1990}, Settings: 1, Iterations: 10}
	m := vistaopt.Machine{Cores: 4, Memory: 2 << 30, Workers: 3}
	want := plan.Plan{Storage: plan.Raw, Partitions: 400}
	c, err := vistaopt.Choose(want, []vistaopt.Network{n}, s, tr, m)
	if err != nil {
		t.Fatal(err)
	}
	c.From["storage"] = "set"
	x := &Explanation{SchemaVersion: SchemaVersion, Job: "example", Network: "tiny", Layers: []string{`conv"1"`, "fc"}, Preprocess: "none", Data: Data{50_000, 60_000, 50_000, 60_000, 200_000, 990, "50,000 of 50,000 rows have an image"},
		Machine: Machine{3, 4, 2 << 30, c.Rates}, Plan: c.Plan, From: c.From, Estimate: c.Estimate, Regions: c.Regions, Pinned: c.Pinned, Rejected: c.Rejected, Thresholds: vistaopt.Thresholds(want, []vistaopt.Network{n}, s, tr, m),
		Override: &Override{[]string{"plan.storage", "plan.partitions"}, c.Plan, 1.25, c.Estimate.Memory, c.Estimate.Written / 2}}
	f, err := paper.Choose(paper.Roster()[0], paper.Foods, paper.Testbed)
	if err != nil {
		t.Fatal(err)
	}
	x.Paper = []paper.Choice{*f}
	x.Remarks = []string{"plan.networks is ignored: the job has one network."}
	x.Warnings = []string{"Of 16 images that were looked at, 2 cannot be used, which makes an estimated 12 % of 60,000; the first: a.jpg: truncated.", "1 image has more bytes than the 8388608 that the memory limit leaves for a file, and would be set aside; the largest has 9000000."}
	x.Actual = &Actual{Plan: c.Plan, Now: Now{c.Plan, c.Estimate.Seconds / 2, c.Estimate.Memory, c.Estimate.Written}, Lacking: []string{"unmatched"}, Seconds: 600, Between: 0.25, Memory: 1 << 30, Written: 2 << 30, Phases: map[string]float64{"start": 1.5, "table": 4, "extract": 580, "unmatched": 0.25, "train": 12, "features": 1, "evaluate": 0.2, "results": 0.8},
		Bytes: map[string]int64{"table": 191 << 20, "extract": 1 << 30, "features": 833 << 20}, Machines: "one process of 2 cores there, 3 workers of 4 cores here",
		Differs: []string{"seed 7 there, 2019 here"}}
	return x
}

// TestGolden: what people and Graphviz get.
func TestGolden(t *testing.T) {
	x := example(t)
	for name, got := range map[string][]byte{"testdata/example.txt": x.Text(), "testdata/example.dot": x.DOT()} {
		if *update {
			if err := os.WriteFile(name, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs (if the new text is right: go test ./vistaopt/explain -update)\n%s", name, got)
		}
	}
}

// TestOneUnit: the parts of a need, and the peak beside it, are said in the unit of the need.
func TestOneUnit(t *testing.T) {
	for want, c := range map[string]struct{ inference, peak int64 }{
		"needs 1789 MiB of 2048 MiB, an expected peak of 1229 MiB: program 62 MiB, rows 4.6 MiB, ":   {1126 << 20, 1229 << 20},
		"needs 12.7 GiB of 2048 MiB, an expected peak of 11.0 GiB: program 0.1 GiB, table 0.2 GiB, ": {12 << 30, 11 << 30},
	} {
		x := example(t)
		x.Regions.Inference, x.Estimate.Memory = c.inference, c.peak
		if text := unbroken(x); !strings.Contains(text, want) {
			t.Errorf("%q is not shown:\n%s", want, x.Text())
		}
	}
}

// TestNothingChangesIt: where no threshold was found, that is said.
func TestNothingChangesIt(t *testing.T) {
	x := example(t)
	if x.Thresholds = nil; !strings.Contains(string(x.Text()), "What would change the choice\n  nothing within 64 times the memory or rows") {
		t.Errorf("%s", x.Text())
	}
}

// TestTakenUp: nothing changes the plan of a run that is taken up.
func TestTakenUp(t *testing.T) {
	x := example(t)
	if x.TakesUp, x.Thresholds = "out/foods", nil; !strings.Contains(string(x.Text()), "What would change the choice\n  nothing, as long as it fits and its input stays the same") {
		t.Errorf("%s", x.Text())
	}
}

// TestBeyondTracker: a plan that runs although training does not fit into the tracker has no thresholds either.
func TestBeyondTracker(t *testing.T) {
	x := example(t)
	if x.BeyondTracker, x.Thresholds = true, nil; !strings.Contains(string(x.Text()), "What would change the choice\n  with more memory for the tracker this plan fits") {
		t.Errorf("%s", x.Text())
	}
}

// TestBeyondMemory: of a plan that runs although it does not fit, nothing but what would fit is said to change the choice.
func TestBeyondMemory(t *testing.T) {
	x := example(t)
	x.Machine.Memory = 845 << 20
	_, text, _ := strings.Cut(string(x.Text()), "\nWhat would change the choice\n")
	if lines := strings.Split(text, "\n"); lines[0] != "  with 855 MiB a worker (10 MiB more) a plan fits; until then the one that needs the least is run" || lines[1] != "" {
		t.Errorf("%q", lines[:2])
	}
}

// unbroken is the text without the ends of its lines.
func unbroken(x *Explanation) string { return strings.Join(strings.Fields(string(x.Text())), " ") }

// TestOverride: knobs that were set cost, gain or neither.
func TestOverride(t *testing.T) {
	x := example(t)
	memory, written := x.Estimate.Memory, x.Estimate.Written
	const mib = 1 << 20
	by := func(ratio float64, memory, written int64, knobs ...string) Override {
		return Override{knobs, x.Plan, ratio, memory, written}
	}
	its := x.Plan.String()
	for want, o := range map[string]Override{
		"plan.storage and plan.cpu cost: 1.25 times as long as the optimizer's " + its:         by(1.25, memory, written, "plan.storage", "plan.cpu"),
		"plan.partitions gains: quicker by 1.70 times than the optimizer's " + its:             by(1/1.7, memory, written, "plan.partitions"),
		"plan.partitions and plan.cpu gain: quicker by 1.02 times than the optimizer's " + its: by(0.98, memory, written, "plan.partitions", "plan.cpu"),
		"plan.join costs nothing":             by(0.992, memory-mib, written+mib, "plan.join"),
		"plan.join and plan.cpu cost nothing": by(1.001, memory, written, "plan.join", "plan.cpu"),
		"plan.cpu costs no time: a peak of 589 MiB instead of 467 MiB, beside the optimizer's " + its:                                                by(1, 467*mib, written, "plan.cpu"),
		"plan.cpu costs: 2.00 times as long as the optimizer's " + its + ", a peak of 589 MiB instead of 700 MiB, writes 1.3 GiB instead of 800 MiB": by(2, 700*mib, 800*mib, "plan.cpu"),
		"plan.cpu gains: quicker by 2.00 times than the optimizer's " + its + ", writes 1.3 GiB instead of 3.0 GiB":                                  by(0.5, memory, 3<<30, "plan.cpu"),
	} {
		x.Override = &o
		if text := unbroken(x); !strings.Contains(text, "the job has one network. "+want+" Rejected ") {
			t.Errorf("%q is not shown:\n%s", want, text)
		}
	}
}

// TestNoise: by how much an estimate is off is not said where what is estimated and what was measured are both next to nothing.
func TestNoise(t *testing.T) {
	for name, c := range map[string]struct {
		estimate, actual float64
		want             string
	}{
		"both are noise":     {0.04, 0.099, ""},
		"measured is more":   {0.04, 0.1, "-60 %"},
		"estimate is more":   {0.1, 0.05, "+100 %"},
		"nothing was":        {10, 0, ""},
		"nothing was needed": {0, 10, "-100 %"},
		"right":              {10, 10.001, "0 %"},
	} {
		if got := off(c.estimate, c.actual, noiseSeconds); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	x := example(t)
	x.Estimate.Phases[0].Seconds, x.Estimate.Phases[0].Written = 0.05, 4<<10
	x.Actual.Phases["start"], x.Actual.Bytes["start"] = 0.09, 60<<10
	if text := unbroken(x); !strings.Contains(text, "start 1 50 ms 0.4 4.0 KiB 90 ms 60 KiB features") {
		t.Errorf("%s", text)
	}
}

// TestGain: of a change of memory its gain is said, and of one without that there is none.
func TestGain(t *testing.T) {
	x := example(t)
	other := x.Plan
	other.Batch = 1
	for gain, want := range map[float64]string{1: "; as long within 1 %", 1.009: "; as long within 1 %", 0.991: "; as long within 1 %", 1.02: "; 1.02 times as fast", 0.5: "; 2.00 times as long", 0: ""} {
		if got := change(vistaopt.Threshold{Of: vistaopt.OfMemory, From: 1 << 30, At: 2 << 30, Plan: other, Gain: gain}, x.Plan); got != "with 2048 MiB a worker (1.0 GiB more): batch 1 instead of 6"+want {
			t.Errorf("%v: %q", gain, got)
		}
	}
}

// TestMeasuredAboveTheLimit: a measured peak that is more than the memory is no broken promise, which is said.
func TestMeasuredAboveTheLimit(t *testing.T) {
	x := example(t)
	const says = "Measured peak memory 1.0 GiB, estimate 589 MiB (-43 %) more than the 1023 MiB that the plan is made for: it is resident memory, with pages of mapped files"
	if strings.Contains(unbroken(x), "resident") {
		t.Errorf("%s", x.Text())
	}
	if x.Machine.Memory = 1023 << 20; !strings.Contains(unbroken(x), says) {
		t.Errorf("%s", x.Text())
	}
}

// TestOfARun: a run is compared with what it was expected to cost, which is told from what would be expected now where that is far from it
// or another plan; a peak that nobody has measured has no error.
func TestOfARun(t *testing.T) {
	usual := *example(t)
	other := usual.Plan
	other.Inference = plan.Staged
	for name, c := range map[string]struct {
		change func(x *Explanation)
		want   string
		never  string
	}{
		"half the time":    {func(*Explanation) {}, "planned now it would be expected to take 3 min, with a peak of 589 MiB: ", "another plan"},
		"as expected then": {func(x *Explanation) { x.Actual.Now.Seconds = x.Estimate.Seconds * 1.09 }, "(made before the run) For", "planned now"},
		"another peak": {func(x *Explanation) {
			x.Actual.Now.Seconds, x.Actual.Now.Memory = x.Estimate.Seconds, 100<<20
		}, "planned now it would be expected to take 6 min, with a peak of 100 MiB: ", ""},
		"noise": {func(x *Explanation) {
			x.Estimate.Seconds, x.Actual.Now.Seconds = 0.09, 0.02
		}, "Measured", "planned now"},
		"another plan":  {func(x *Explanation) { x.Actual.Now.Plan = other }, "planned now the job would have another plan: " + other.String() + "; expected to take 3 min", "below 1,668 rows"},
		"no sums":       {func(x *Explanation) { x.Actual.Lacking = []string{"train", "in all"} }, "what is expected now stands in: train, in all", "(made before"},
		"all estimated": {func(x *Explanation) { x.Actual.Lacking = nil }, "(made before the run) For", "stands in"},
		"no peak":       {func(x *Explanation) { x.Actual.Memory = 0 }, "Measured peak memory is not known, estimate 589 MiB on other", "()"},
		"not run":       {func(x *Explanation) { x.Actual = nil }, "writes 1.3 GiB For", " now"},
	} {
		x := usual
		a := *usual.Actual
		x.Actual = &a
		if c.change(&x); !strings.Contains(unbroken(&x), c.want) || c.never != "" && strings.Contains(unbroken(&x), c.never) {
			t.Errorf("%s: %q is not there, or %q is:\n%s", name, c.want, c.never, x.Text())
		}
	}
}

// TestInterrupted: of a run of several processes it is said which of them the figures are of.
func TestInterrupted(t *testing.T) {
	x := example(t)
	for n, want := range map[int]string{1: "taken up again once: ", 2: "taken up again 2 times: "} {
		if x.Actual.Interrupted = n; !strings.Contains(unbroken(x), "of a run that was interrupted and "+want) {
			t.Errorf("%s", x.Text())
		}
	}
	if x.Actual.Interrupted = 0; strings.Contains(string(x.Text()), "interrupted") {
		t.Errorf("%s", x.Text())
	}
}

// TestWidth: no sentence is wider than 100 columns but for words that are longer, numbers stay with their units and are written one way,
// and one thing is one.
func TestWidth(t *testing.T) {
	x := example(t)
	x.Rejected = nil // rows of tables are a line each
	x.Remarks = []string{strings.Repeat("so many words about it ", 20) + strings.Repeat("x", 120)}
	x.Machine.Rates = strings.Repeat("of 23 MiB ", 40)
	x.Plan.Partitions, x.Data.Rows, x.Data.Images = 1, 1_234_567, 1
	x.Networks = []Network{{Name: "a", Model: "alexnet", Layers: strings.Fields(strings.Repeat("layer ", 60))}, {Name: "b", Model: "b", Layers: []string{"fc"}}}
	text := string(x.Text())
	for line := range strings.Lines(text) {
		if utf8.RuneCountInString(strings.TrimRight(line, " \n")) > 100 && !strings.Contains(line, strings.Repeat("x", 120)) {
			t.Errorf("%q", line)
		}
		if strings.HasSuffix(line, "23\n") {
			t.Errorf("%q ends in a number", line)
		}
	}
	for _, want := range []string{", 1 partition\n", "1,234,567 rows of 990 columns, 1 image of ", " of 4 cores, 2048 MiB each\n", "of 2048 MiB, "} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not there:\n%s", want, text)
		}
	}
}

// TestSharedPreprocessing: what networks do alike with images is said once, with whose it is, and each network is marked.
func TestSharedPreprocessing(t *testing.T) {
	for want, steps := range map[string][3]string{
		"images of all networks: crop 224 50,000 rows":                         {"crop 224", "crop 224", "crop 224"},
		"images of a and c: crop 224 images of b: crop 96 50,000 rows":         {"crop 224", "crop 96", "crop 224"},
		"images of a: one images of b: another images of c: third 50,000 rows": {"one", "another", "third"},
	} {
		x := example(t)
		for i, name := range []string{"a", "b", "c"} {
			x.Networks = append(x.Networks, Network{name, "alexnet", []string{name + ".fc7"}, steps[i]})
		}
		if text := unbroken(x); !strings.Contains(text, "For network a (alexnet), layers a.fc7 network b (alexnet), layers b.fc7 network c (alexnet), layers c.fc7 "+want) {
			t.Errorf("%q is not shown:\n%s", want, x.Text())
		}
	}
}

// TestTree: every phase stands once, each but the last under one that runs later, also of plans with many.
func TestTree(t *testing.T) {
	for want, of := range map[string]struct {
		p      plan.Plan
		phases string
	}{
		"results; └─ evaluate; ···├─ unmatched; ···└─ train; ······└─ extract; ·········└─ table; ············└─ start": {
			plan.Plan{Inference: plan.Fused, Placement: plan.AfterJoin, Join: plan.Broadcast}, "start table extract unmatched train evaluate results"},
		"results; └─ evaluate; ···├─ train-a; ···│··└─ join-stage-a; ···│·····├─ table; ···│·····│··└─ start; ···│·····└─ stage-a; ···└─ train-b; ······└─ join-stage-b; ·········└─ stage-b": {
			plan.Plan{Inference: plan.Staged, Placement: plan.BeforeJoin, Join: plan.Shuffle}, "start table stage-a join-stage-a train-a stage-b join-stage-b train-b evaluate results"},
	} {
		names := strings.Fields(of.phases)
		var got []string
		for _, b := range tree(of.p, names) {
			got = append(got, strings.ReplaceAll(strings.TrimSuffix(b.twig, " "), " ", "·")+map[bool]string{true: " "}[b.twig != ""]+names[b.at])
		}
		if text := strings.Join(got, "; "); text != want {
			t.Errorf("%s\n%s", text, want)
		}
	}
}

// TestJSON: what is written can be read, and is what was written.
func TestJSON(t *testing.T) {
	x := example(t)
	data, err := x.JSON()
	if err != nil {
		t.Fatal(err)
	}
	var y Explanation
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&y); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(x, &y) {
		t.Error("another explanation was read")
	}
}

// TestActualsAddUp: each phase has what was measured, and the parts add up to the whole.
func TestActualsAddUp(t *testing.T) {
	x := example(t)
	sum := x.Actual.Between
	for _, s := range x.Actual.Phases {
		sum += s
	}
	if math.Abs(sum-x.Actual.Seconds) > 1e-9 {
		t.Fatalf("the example's parts are %v s of %v", sum, x.Actual.Seconds)
	}
	text := string(x.Text())
	for _, p := range x.Estimate.Phases {
		i := strings.Index(text, "─ "+p.Name+" ")
		if i < 0 && p.Name == vistaopt.ResultsPhase { // on top
			i = strings.Index(text, "\n  "+p.Name+" ") + 1
		}
		if i < 0 {
			t.Fatalf("%s is not shown", p.Name)
		}
		if line, _, _ := strings.Cut(text[i:], "\n"); !strings.Contains(line, " "+vistaopt.Duration(x.Actual.Phases[p.Name])+" ") || !strings.Contains(line, "%") {
			t.Errorf("%s took %s: %q", p.Name, vistaopt.Duration(x.Actual.Phases[p.Name]), line)
		}
	}
	for _, want := range []string{"\n  features  ", "\n  in no phase  ", "on other machines: one process of 2 cores there, 3 workers of 4 cores here\n", "of a job that differs in: seed 7 there, 2019 here\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not shown", want)
		}
	}
	if x.Actual.Between = -3; !strings.Contains(string(x.Text()), "\n  at the same time ") {
		t.Error("phases that ran at the same time are not named")
	}
}

// TestSchema: the schema is what the types say, with a word on each key, and what is written satisfies it.
func TestSchema(t *testing.T) {
	r := &jsonschema.Reflector{Anonymous: true, DoNotReference: true, ExpandedStruct: true, AllowAdditionalProperties: true}
	if err := r.AddGoComments("github.com/vista-mr/vista-mr/vistaopt/explain", "../"); err != nil {
		t.Fatal(err)
	}
	shown, refused := r.Reflect(&Explanation{}), r.Reflect(&Refusal{})
	shown.Version, shown.Title, refused.Version, refused.Title = "", "an explanation, on standard output", "", "that no plan fits, on standard error"
	refused.Properties.Set("schemaVersion", &jsonschema.Schema{Type: "integer", Description: "version of this format"})
	refused.Properties.Set("error", &jsonschema.Schema{Type: "object", Required: []string{"id", "cause", "exitCode"}, Description: "that of every failure (docs/errors.md)"})
	refused.Required = append([]string{"schemaVersion", "error"}, refused.Required...)
	s := &jsonschema.Schema{Version: "http://json-schema.org/draft-07/schema#", Title: "vista-mr explain -o json", AnyOf: []*jsonschema.Schema{shown, refused}}
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	const file = "schema/explain.schema.json"
	if b = append(b, '\n'); *update {
		if err := os.WriteFile(file, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(file); err != nil || !bytes.Equal(b, want) {
		t.Errorf("%s is not what the types say, %v; run: go test ./vistaopt/explain -update", file, err)
	}
	described(t, "", shown)
	described(t, "", refused)

	doc, err := validator.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	c := validator.NewCompiler()
	if err := c.AddResource("x", doc); err != nil {
		t.Fatal(err)
	}
	compiled, err := c.Compile("x")
	if err != nil {
		t.Fatal(err)
	}
	validRefusal(t, compiled)
	full, bare := example(t), example(t)
	bare.Rejected, bare.Thresholds, bare.Override, bare.Paper, bare.Actual, bare.Remarks = nil, nil, nil, nil, nil, nil
	for _, x := range []*Explanation{full, bare} {
		data, err := x.JSON()
		if err != nil {
			t.Fatal(err)
		}
		inst, err := validator.UnmarshalJSON(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if err := compiled.Validate(inst); err != nil {
			t.Errorf("what JSON writes does not satisfy the schema: %v", err)
		}
		delete(inst.(map[string]any)["plan"].(map[string]any), "cpu")
		if compiled.Validate(inst) == nil {
			t.Error("the schema does not require plan.cpu")
		}
	}
}

// described sees to it that each key of a schema has a description.
func described(t *testing.T, path string, s *jsonschema.Schema) {
	t.Helper()
	if path != "" && s.Description == "" {
		t.Errorf("%s has no description", path)
	}
	if s.Items != nil {
		for p := s.Items.Properties.Oldest(); p != nil; p = p.Next() {
			described(t, path+"[]."+p.Key, p.Value)
		}
	}
	for p := s.Properties.Oldest(); p != nil; p = p.Next() {
		described(t, path+"."+p.Key, p.Value)
	}
}

// TestEveryPlanIsShown: each rejected plan is a line with its reason.
func TestEveryPlanIsShown(t *testing.T) {
	x := example(t)
	text := string(x.Text())
	for _, r := range x.Rejected {
		if r.Why == "" || !strings.Contains(text, r.Why) {
			t.Errorf("%s: %q is not shown", r.Plan, r.Why)
		}
	}
	if len(x.Rejected) != 15 { // storage is fixed
		t.Errorf("%d plans rejected", len(x.Rejected))
	}
}

// TestPixels: a size of pictures is said with as many digits as a sample is good for.
func TestPixels(t *testing.T) {
	for n, want := range map[int64]string{1: "1 pixel", 9999: "9,999 pixels", 15_300: "0.015 megapixels", 200_000: "0.2 megapixels", 9_960_000: "10 megapixels", 12_192_768: "12 megapixels"} {
		if got := pixels(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
