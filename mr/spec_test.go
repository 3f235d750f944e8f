package mr

import (
	"math"
	"strings"
	"testing"
)

// TestValidate: each job is the good one with one thing wrong.
func TestValidate(t *testing.T) {
	good := func() *JobSpec {
		return &JobSpec{ID: "j", Phases: []PhaseSpec{
			{ID: "a", Type: MapPhase, Kind: "k", Tasks: 2, Partitions: 3},
			{ID: "b", Type: ReducePhase, Kind: "k", Tasks: 3, Inputs: []Input{{Name: "in", Phase: "a", Mode: Shuffled}}},
			{ID: "c", Type: MapPhase, Kind: "k", Tasks: 2, Inputs: []Input{
				{Name: "same", Phase: "a", Channel: "x", Mode: Same}, {Name: "all", Phase: "b", Channel: "y", Mode: All}, {Name: "v", Phase: "b", Mode: Values}}},
			{ID: "d", Type: RoundsPhase, Kind: "k", Tasks: 1, After: []PhaseID{"c"}, Drop: []Drop{{Phase: "a"}, {Phase: "b", Channel: "y"}}},
		}, Budgets: []Budget{{Counter: "bad", Of: "rows", Phase: "a"}}}
	}
	if err := good().Validate(); err != nil {
		t.Fatalf("the good job: %v", err)
	}
	for name, c := range map[string]struct {
		change func(j *JobSpec)
		want   string // part of the error; "": none
	}{
		"no id":              {func(j *JobSpec) { j.ID = "" }, "no id"},
		"phase twice":        {func(j *JobSpec) { j.Phases[1].ID = "a" }, "used twice"},
		"no kind":            {func(j *JobSpec) { j.Phases[0].Kind = "" }, "no kind"},
		"no tasks":           {func(j *JobSpec) { j.Phases[0].Tasks = 0 }, "no tasks"},
		"a billion tasks":    {func(j *JobSpec) { j.Phases[3].Tasks = 1 << 30 }, "are possible"},
		"billion partitions": {func(j *JobSpec) { j.Phases[0].Partitions = 1 << 30 }, "are possible"},
		"negative memory":    {func(j *JobSpec) { j.Phases[0].Memory = -1 }, "memory"},
		"same of others":     {func(j *JobSpec) { j.Phases[2].Tasks = 3 }, "one to one"},
		"shuffle of others":  {func(j *JobSpec) { j.Phases[0].Partitions = 4 }, "shuffle of 4"},
		"later phase":        {func(j *JobSpec) { j.Phases[1].Inputs[0].Phase = "d" }, "not before it"},
		"unknown mode":       {func(j *JobSpec) { j.Phases[2].Inputs[0].Mode = "some" }, "unknown mode"},
		"input twice":        {func(j *JobSpec) { j.Phases[2].Inputs[1].Name = "same" }, "used twice"},
		"same, no channel":   {func(j *JobSpec) { j.Phases[2].Inputs[0].Channel = "" }, "no channel"},
		"all, no channel":    {func(j *JobSpec) { j.Phases[2].Inputs[1].Channel = "" }, "no channel"},
		"budget, no phase":   {func(j *JobSpec) { j.Budgets[0].Phase = "z" }, "unknown phase"},
		"budget, NaN":        {func(j *JobSpec) { j.Budgets[0].Fraction = math.NaN() }, "fraction"},
		"dropped while read": {func(j *JobSpec) { j.Phases[1].Drop = []Drop{{Phase: "a"}} }, "phase c may still read"},
		"of another channel": {func(j *JobSpec) { j.Phases[1].Drop = []Drop{{Phase: "a", Channel: "z"}} }, ""},
		"shuffle stays":      {func(j *JobSpec) { j.Phases[2].Drop = []Drop{{Phase: "a", Channel: "x"}} }, ""},
		"by its last reader": {func(j *JobSpec) { j.Phases[2].Drop, j.Phases[3].Drop = []Drop{{Phase: "a"}, {Phase: "b"}}, nil }, ""},
		"dropped beside": {func(j *JobSpec) {
			j.Phases[3].After = []PhaseID{"b"} // c may run at the same time
		}, "phase c may still read"},
		"only values read": {func(j *JobSpec) {
			j.Phases[2].Inputs = j.Phases[2].Inputs[2:]
			j.Phases[3].After = []PhaseID{"b"}
		}, ""},
		"dropped too early": {func(j *JobSpec) {
			j.Phases[3].After, j.Phases[2].Inputs = nil, nil
			j.Phases[3].Drop = []Drop{{Phase: "a", Channel: "z"}}
		}, "need not be published"},
	} {
		j := good()
		c.change(j)
		err := j.Validate()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
