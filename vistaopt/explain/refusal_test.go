package explain

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	validator "github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/vista-mr/vista-mr/vistaopt"
	"github.com/vista-mr/vista-mr/vistaopt/bytesize"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// refusal is that of a job whose table is too large to be broadcast, and which needs more than there is.
func refusal(t *testing.T) *Refusal {
	t.Helper()
	n := vistaopt.Network{Name: "tiny", WeightBytes: 300 << 20, LargestWeight: 1 << 20, ImageBytes: 8 << 20, RawBytes: 4000, PooledBytes: 4000, PixelBytes: 150_528, Layers: []vistaopt.Layer{
		{Name: "fc", MACs: 4e9, Weights: 300 << 20, Raw: 4000, Pooled: 4000}}}
	s := vistaopt.Stats{Rows: 50_000, RowBytes: 4000, Images: 50_000, Matched: 50_000, ImageBytes: 60_000}
	_, err := vistaopt.Choose(plan.Plan{Storage: plan.Raw}, []vistaopt.Network{n}, s, vistaopt.Training{Columns: []int{990, 1990}, Settings: 1, Iterations: 10}, vistaopt.Machine{Cores: 4, Memory: 300 << 20})
	var no *vistaopt.InfeasibleError
	if !errors.As(err, &no) {
		t.Fatal(err)
	}
	return Refused(no)
}

// TestRefusal: where no plan fits each is a line with what it needs, the least first, or why it is ruled out.
func TestRefusal(t *testing.T) {
	r := refusal(t)
	lines := strings.Split(strings.TrimSuffix(string(r.Text()), "\n"), "\n")
	if len(r.Plans) != 16 || len(lines) != 17 || !strings.HasPrefix(lines[0], "Rejected  16 plans that the job allows, ") {
		t.Fatalf("%d plans:\n%s", len(r.Plans), r.Text())
	}
	if r.Plans[0].Plan != r.Plan || r.Plans[0].Need != r.Needed || r.Regions.Need() != r.Needed || r.Whose != "limits.memory" || r.Available != 300<<20 {
		t.Errorf("%+v", r)
	}
	for i, p := range r.Plans {
		want := bytesize.AtLeast(p.Need) + "  cpu=1 batch=1"
		if p.Plan.Join == plan.Broadcast {
			want = "the table takes 191 MiB in each worker, more than a quarter of 300 MiB"
		}
		if (p.Plan.Join == plan.Broadcast) != (i >= 8) || !strings.HasPrefix(lines[i+1], "  "+kindOf(p.Plan)+"  ") || !strings.HasSuffix(lines[i+1], "  "+want) {
			t.Errorf("%d: %q, want %s: %s", i, lines[i+1], p.Plan, want)
		}
		if p.Why == "" && (p.Need < r.Needed || i > 0 && p.Need < r.Plans[i-1].Need) {
			t.Errorf("%d: %+v", i, p)
		}
	}
}

// validRefusal sees to it that what is written where no plan fits satisfies the schema, and that the schema wants its numbers.
func validRefusal(t *testing.T, schema *validator.Schema) {
	t.Helper()
	data, err := json.Marshal(struct {
		SchemaVersion int            `json:"schemaVersion"`
		Error         map[string]any `json:"error"`
		*Refusal
	}{SchemaVersion, map[string]any{"id": "E-INFEASIBLE", "cause": "it does not fit", "exitCode": 4}, refusal(t)})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"", "needed", "available", "whose", "regions", "plans", "error"} {
		doc, err := validator.UnmarshalJSON(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		delete(doc.(map[string]any), key)
		if err := schema.Validate(doc); (err == nil) != (key == "") {
			t.Errorf("without %q: %v", key, err)
		}
	}
}
