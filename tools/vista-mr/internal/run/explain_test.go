package run

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/progress"
	"github.com/vista-mr/vista-mr/vistaopt"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// TestExplainTellsWhatIsTakenUp: of an output with an unfinished run of the job, explain shows the plan that submit goes on with, and
// says so; of another job that has that output, its own.
func TestExplainTellsWhatIsTakenUp(t *testing.T) {
	alone(t)
	w := newWorld(t, true)
	w.ownNetwork(t)
	x, err := Explain(t.Context(), w.job, Options{})
	if err != nil || x.TakesUp != "" || len(x.Thresholds) == 0 || strings.Contains(strings.Join(x.Remarks, " "), "unfinished") {
		t.Fatalf("of a new output: %+v, %v", x, err)
	}
	usual := x.Plan
	ctx, sink := stopAt(t, func(u progress.Update) bool { return u.Stage == "extract" && u.End })
	if _, err := Submit(ctx, w.job, Options{Progress: sink}); !errs.Is(err, errs.Canceled) {
		t.Fatalf("stopped: %v", err)
	}
	// As if the machine had been another one: the run stored otherwise.
	name := filepath.Join(w.job.Output.LocalPath(), workFolder, keptFile)
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var old kept
	if err := json.Unmarshal(b, &old); err != nil {
		t.Fatal(err)
	}
	if says := explained(t, w.job); !strings.Contains(says, "are still the same.") || strings.Contains(says, "submit would end") {
		t.Errorf("of an unfinished run with this plan: %s", says)
	}
	old.Plan.CPU = 7 // and had more memory
	old.Plan.Storage = map[plan.Storage]plan.Storage{plan.Raw: plan.Snappy, plan.Snappy: plan.Raw}[usual.Storage]
	if b, err = json.Marshal(&old); err != nil {
		t.Fatal(err)
	}
	save(t, name, b)
	if x, err = Explain(t.Context(), w.job, Options{}); err != nil {
		t.Fatal(err)
	}
	if x.Plan.Storage != old.Plan.Storage || x.TakesUp != w.job.Output.LocalPath() || len(x.Thresholds) > 0 ||
		!strings.Contains(strings.Join(x.Remarks, " "), "The plan is that of the unfinished run in "+x.TakesUp) {
		t.Errorf("explain says %s, taken up %q, thresholds %v, %q; the run has %s", x.Plan, x.TakesUp, x.Thresholds, x.Remarks, old.Plan)
	}
	if says := explained(t, w.job); !strings.Contains(says, fmt.Sprintf("are still the same, but for what is chosen anew for the memory and cores that there are now: plan.cpu is %d instead of 7.", usual.CPU)) {
		t.Errorf("of a run with more at a time: %s", says)
	}
	c, err := ClaimOutput(t.Context(), w.job)
	if err != nil {
		t.Fatal(err)
	}
	if says := explained(t, w.job); !strings.Contains(says, "The plan is that of the unfinished run") || !strings.Contains(says, "submit would end with E-OUTPUT-BUSY: output: ") {
		t.Errorf("of a run that goes on: %s", says)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	w.job.Seed++
	if x, err := Explain(t.Context(), w.job, Options{}); err != nil || x.Plan != usual || x.TakesUp != "" {
		t.Errorf("of another job: %+v, %v", x, err)
	}
	if says := explained(t, w.job); !strings.Contains(says, `submit would end with E-OUTPUT: output: `+w.job.Output.LocalPath()+`: belongs to the job "small" or to other settings of this one.`) {
		t.Errorf("of another job: %s", says)
	}
	w.job.Seed--
	// A run whose table was another one counts for nothing, and its plan was made for what it had.
	table, err := os.ReadFile(w.table)
	if err != nil {
		t.Fatal(err)
	}
	save(t, w.table, append(slices.Clone(table), "more,1,2,red,3\n"...))
	if x, err := Explain(t.Context(), w.job, Options{}); err != nil || x.Plan.Storage != usual.Storage || x.TakesUp != "" || !strings.Contains(strings.Join(x.Remarks, " "), "had another table or other images") {
		t.Errorf("of another table: %+v, %v", x, err)
	}
	save(t, w.table, table)
	s, err := Submit(t.Context(), w.job, Options{Resume: true})
	if err != nil || s.Plan.Storage != string(old.Plan.Storage) {
		t.Fatalf("submit: %v", err)
	}
	if x, err := Explain(t.Context(), w.job, Options{}); err != nil || x.TakesUp != "" {
		t.Errorf("of a finished run: %+v, %v", x, err)
	}
	if says := explained(t, w.job); !strings.Contains(says, "submit would end with E-OUTPUT: output: "+w.job.Output.LocalPath()+": holds the finished results of this job.") {
		t.Errorf("of a finished run: %s", says)
	}
	w.job.Output = conf.URI(t.TempDir())
	save(t, filepath.Join(w.job.Output.LocalPath(), "letter.txt"), []byte("Dear"))
	if says := explained(t, w.job); !strings.Contains(says, "submit would end with E-OUTPUT: ") || !strings.Contains(says, "holds files that are not this job's (letter.txt)") {
		t.Errorf("of somebody's files: %s", says)
	}
}

// explained are the remarks of an explanation.
func explained(t *testing.T, j *conf.Job) string {
	t.Helper()
	x, err := Explain(t.Context(), j, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(x.Remarks, " ")
}

// TestOverrideBesideATracker: what runs instead if nothing was fixed is said even where the tracker has no room for it. The plan is chosen
// without the tracker, and layers that are trained one after the other need less there.
func TestOverrideBesideATracker(t *testing.T) {
	n := vistaopt.Network{WeightBytes: 90e6, ActiveBytes: 9 << 20, ImageBytes: 12 << 20, PooledBytes: 5 * 8192, RawBytes: 5 << 20}
	s := vistaopt.Stats{Rows: 2000, Images: 2000, RowBytes: 600, ImageBytes: 40_000}
	tr := vistaopt.Training{Columns: []int{130}, Settings: 10, Iterations: 10, Folds: 3, Classes: 20}
	for i := range int64(5) {
		n.Layers = append(n.Layers, vistaopt.Layer{Name: fmt.Sprint("l", i), MACs: 3e9 + i*2e8, Weights: 60e6 + i*7e6, Raw: 1 << 20, Pooled: 8192})
		tr.Columns = append(tr.Columns, 130+2048)
	}
	ns, m := []vistaopt.Network{n}, vistaopt.Machine{Cores: 2, Workers: 2, Memory: 8 << 30, Tracker: vistaopt.Tracker{Jobs: 1}}
	for m.Tracker.Memory = 160 << 20; m.Tracker.Memory < 4<<30; m.Tracker.Memory += 4 << 20 {
		c, err := vistaopt.Choose(plan.Plan{Inference: plan.Staged}, ns, s, tr, m)
		if err != nil {
			continue
		}
		var no *vistaopt.TrackerError
		if _, err := vistaopt.Choose(plan.Plan{}, ns, s, tr, m); !errors.As(err, &no) {
			t.Fatalf("with %d bytes the tracker takes the free choice as well: %v", m.Tracker.Memory, err)
		}
		o, err := override(c, ns, s, tr, m)
		if err != nil || o == nil || o.Plan.Inference != plan.Fused || !slices.Contains(o.Knobs, "plan.inference") {
			t.Errorf("%+v, %v", o, err)
		}
		return
	}
	t.Fatal("no tracker takes the job")
}
