package explain

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"

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
	x := &Explanation{SchemaVersion: SchemaVersion, Job: "example", Network: "tiny", Layers: []string{`conv"1"`, "fc"}, Preprocess: "none", Data: Data{50_000, 60_000, 50_000, 60_000, 990, "50,000 of 50,000 rows have an image"},
		Machine: Machine{3, 4, 2 << 30, c.Rates}, Plan: c.Plan, From: c.From, Estimate: c.Estimate, Regions: c.Regions, Pinned: c.Pinned, Rejected: c.Rejected, Thresholds: vistaopt.Thresholds(want, []vistaopt.Network{n}, s, tr, m),
		Override: &Override{[]string{"plan.storage", "plan.partitions"}, c.Plan, 1.25}}
	f, err := paper.Choose(paper.Roster()[0], paper.Foods, paper.Testbed)
	if err != nil {
		t.Fatal(err)
	}
	x.Paper = []paper.Choice{*f}
	x.Actual = &Actual{Plan: c.Plan, Seconds: 600, Memory: 1 << 30, Written: 2 << 30, Phases: map[string]float64{"extract": 580}, Bytes: map[string]int64{"extract": 1 << 30}}
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

// TestNothingChangesIt: where no threshold was found, that is said.
func TestNothingChangesIt(t *testing.T) {
	x := example(t)
	if x.Thresholds = nil; !strings.Contains(string(x.Text()), "What would change the choice\n  nothing within 64 times the memory or rows") {
		t.Errorf("%s", x.Text())
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
