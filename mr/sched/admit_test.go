package sched

import (
	"fmt"
	"testing"

	"github.com/vista-mr/vista-mr/mr"
)

// TestJobsShareWorkersWithinTheirMeans: a job has no more attempts on a worker than its plan is made for, and jobs run
// beside each other on a worker only if there is memory for all that they take.
func TestJobsShareWorkersWithinTheirMeans(t *testing.T) {
	job := func(id string, slots int, memory int64) mr.JobSpec {
		return mr.JobSpec{ID: mr.JobID(id), Settings: mr.Settings{Slots: slots, Memory: memory},
			Phases: []mr.PhaseSpec{{ID: "p", Type: mr.MapPhase, Kind: "k", Tasks: 20}}}
	}
	for _, c := range []struct {
		name   string
		memory int64 // of the worker
		jobs   []mr.JobSpec
		want   string // attempts by job
	}{
		{"within its slots", 0, []mr.JobSpec{job("a", 3, 0)}, "a:3"},
		{"the rest goes to others", 0, []mr.JobSpec{job("a", 3, 0), job("b", 0, 0)}, "a:3 b:5"},
		{"beside each other", 100, []mr.JobSpec{job("a", 3, 60), job("b", 2, 40)}, "a:3 b:2"},
		{"one after the other", 100, []mr.JobSpec{job("a", 3, 60), job("b", 2, 41)}, "a:3 b:0"},
		{"alone it always runs", 100, []mr.JobSpec{job("a", 3, 600)}, "a:3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := New(Options{Epoch: 1})
			s.Step(0, WorkerUp{Worker: "w", Slots: 8, Memory: c.memory})
			n := map[mr.JobID]int{}
			for _, j := range c.jobs {
				for _, a := range s.Step(1, Submit{Job: j}) {
					if l, ok := a.(Launch); ok {
						n[l.Spec.Job]++
					}
				}
			}
			got := ""
			for i, j := range c.jobs {
				if i > 0 {
					got += " "
				}
				got += fmt.Sprintf("%s:%d", j.ID, n[j.ID])
			}
			if got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
			// When the first job ends, the second has the worker.
			if len(c.jobs) == 2 && n["b"] == 0 {
				for _, a := range s.Step(2, Kill{Job: "a"}) {
					if l, ok := a.(Launch); ok && l.Spec.Job == "b" {
						n["b"]++
					}
				}
				if n["b"] != 2 {
					t.Errorf("after the first one %d attempts of the second run, want 2", n["b"])
				}
			}
		})
	}
}
