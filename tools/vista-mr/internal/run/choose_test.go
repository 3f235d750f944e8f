package run

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/ingest"
	"github.com/vista-mr/vista-mr/jobs/table"
	"github.com/vista-mr/vista-mr/jobs/train"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
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

// TestLittleTracker: a tracker with little memory has fewer models trained at once; where not even one fits the job is refused, unless
// it shall not be.
func TestLittleTracker(t *testing.T) {
	j, ns, d := manyClasses(t, 40)
	d.table.schema = &table.Schema{}
	j.Downstream.Grid.Reg, j.Downstream.Folds = []float64{0.01, 0.1}, 5
	m := vistaopt.Machine{Cores: 2, Memory: 16 << 30, Workers: 2}
	here, _, err := choose(j, ns, d, nil, m)
	if err != nil {
		t.Fatal(err)
	}
	if in := inputs(j, d, ns, here); in.Train.Driven != (train.Room{}) {
		t.Errorf("without a tracker there is %+v for training", in.Train.Driven)
	}
	m.Tracker = vistaopt.Tracker{Memory: 2 << 30, Jobs: 4}
	c, _, err := choose(j, ns, d, nil, m)
	if err != nil {
		t.Fatal(err)
	}
	if r := inputs(j, d, ns, c).Train.Driven; r.Bytes <= 0 || r.Bytes > m.Tracker.Share() || r.Training <= 400 {
		t.Errorf("training is given %+v of %d", r, m.Tracker.Share())
	}
	if c.Plan.Inference != here.Plan.Inference || c.Plan.Join != here.Plan.Join || c.Estimate.Seconds <= here.Estimate.Seconds {
		t.Errorf("%s in %.1f s, where training is driven in a worker %s in %.1f s", c.Plan, c.Estimate.Seconds, here.Plan, here.Estimate.Seconds)
	}
	there := slices.IndexFunc(needs(j, c).Memory, func(of ingest.Memory) bool { return of.Available == m.Tracker.Share() })
	if there < 0 || needs(j, c).Memory[there].Needed(40) > m.Tracker.Share() || needs(j, c).Fit(4000) == nil {
		t.Errorf("a table with other classes is judged by %+v", needs(j, c).Memory)
	}

	m.Tracker.Memory = 200 << 20
	_, _, err = choose(j, ns, d, nil, m)
	var no *vistaopt.TrackerError
	if !errors.As(err, &no) || exit.Code(err) != int(exit.Infeasible) {
		t.Fatalf("with a tracker of 200 MiB: %v", err)
	}
	j.Limits.Refuse = false
	if c, _, err = choose(j, ns, d, nil, m); err != nil || c.Tracker != no.Needed || c.Beyond != 0 {
		t.Errorf("with limits.refuse false: %+v, %v", c, err)
	}
	m.Memory = 100 << 20 // what needs the least there trains one layer after the other, and needs less in the tracker, too
	if c, _, err = choose(j, ns, d, nil, m); err != nil || c.Plan.Inference == here.Plan.Inference || c.Tracker <= m.Tracker.Memory || c.Tracker >= no.Needed || c.Beyond != m.Memory {
		t.Errorf("with limits.refuse false, and little memory in workers as well: %+v, %v", c, err)
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
