package run

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/ingest"
	"github.com/vista-mr/vista-mr/vistaopt"
)

// manyClasses is a job whose label has so many classes, as far as a plan needs to know it.
func manyClasses(t *testing.T, classes int) (*conf.Job, networks, *data) {
	t.Helper()
	j := conf.Defaults()
	j.Name = "many"
	j.CNN[0].Model, j.CNN[0].Weights = "resnet50", "random"
	ns, err := outlines(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	d := &data{table: &surveyed{Surveyed: &ingest.Surveyed{}}, stats: vistaopt.Stats{Rows: 2000, RowBytes: 100, Images: 2000, ImageBytes: 40 << 10}}
	for i := range classes {
		d.table.Classes = append(d.table.Classes, fmt.Sprint("class ", i))
	}
	return j, ns, d
}

// TestManyClassesArePlanned: what models of all classes take is part of what is refused, so that the number of the refusal is
// enough, and a job that shall not be refused is not.
func TestManyClassesArePlanned(t *testing.T) {
	j, ns, d := manyClasses(t, 900)
	m := vistaopt.Machine{Cores: 2, Memory: 200 << 20}
	_, _, err := choose(j, ns, d, nil, m)
	var no *vistaopt.InfeasibleError
	if !errors.As(err, &no) || no.Available != m.Memory {
		t.Fatalf("in 200 MiB: %v", err)
	}
	if _, _, err := choose(j, ns, d, nil, vistaopt.Machine{Cores: 2, Memory: no.Needed}); err != nil {
		t.Errorf("in what it needs: %v", err)
	}
	j.Limits.Refuse = false
	c, _, err := choose(j, ns, d, nil, m)
	if err != nil || c.Beyond != m.Memory || c.Regions.Need() != no.Needed || needs(j, c).Memory != nil {
		t.Errorf("with limits.refuse false: %+v, %v", c, err)
	}
}

// TestKnobsBeyondWhatThereIs: of a job that asks for more partitions, attempts and images at once than it can use, the results
// say what ran, and why.
func TestKnobsBeyondWhatThereIs(t *testing.T) {
	alone(t)
	w := newWorld(t, false)
	j := two(t, w)
	j.Plan.Partitions, j.Plan.CPU, j.Plan.Batch = 100_000, 4096, 64
	s, err := Submit(t.Context(), j, Options{})
	if err != nil {
		t.Fatal(err)
	}
	tasks := 0
	for _, p := range s.Plan.Phases {
		if strings.HasPrefix(p.Name, "extract") {
			tasks = p.Tasks
		}
	}
	if s.Plan.Partitions != tasks || tasks == 0 || tasks > 100 || s.Plan.CPU != tasks || s.Plan.Batch != 1 {
		t.Errorf("%d tasks ran, the plan is %+v", tasks, s.Plan)
	}
	for _, knob := range []string{"partitions", "cpu", "batch"} {
		if !slices.ContainsFunc(s.Warnings, func(w string) bool { return strings.HasPrefix(w, "plan."+knob+" is ") }) {
			t.Errorf("nothing is said of plan.%s: %q", knob, s.Warnings)
		}
	}
}
