package sched

import (
	"fmt"
	"testing"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
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

// TestFairShares: slots go to users by their weights, and a higher priority goes first.
func TestFairShares(t *testing.T) {
	job := func(id, user string, priority int) mr.JobSpec {
		return mr.JobSpec{ID: mr.JobID(id), User: user, Priority: priority, Phases: []mr.PhaseSpec{{ID: "p", Type: mr.MapPhase, Kind: "k", Tasks: 5000}}}
	}
	// run lets attempts end one by one, the oldest first, and counts what each job gets of the last 3,000 launches.
	run := func(o Options, jobs ...mr.JobSpec) map[mr.JobID]int {
		o.Epoch = 1
		s := New(o)
		var running []mr.TaskSpec
		got := map[mr.JobID]int{}
		launches := 0
		take := func(actions []Action) {
			for _, a := range actions {
				if l, ok := a.(Launch); ok {
					running = append(running, l.Spec)
					if launches++; launches > 1000 {
						got[l.Spec.Job]++
					}
				}
			}
		}
		take(s.Step(0, WorkerUp{Worker: "w", Slots: 12}))
		for _, j := range jobs {
			take(s.Step(1, Submit{Job: j}))
		}
		for i := Tick(2); launches < 4000; i++ {
			first := running[0]
			running = running[1:]
			take(s.Step(i, Succeeded{Worker: "w", Job: first.Job, Manifest: mr.Manifest{Attempt: first.Attempt, Epoch: first.Epoch}}))
		}
		return got
	}
	share := func(got map[mr.JobID]int, id mr.JobID) float64 { return float64(got[id]) / 3000 }
	got := run(Options{}, job("a", "ann", 0), job("b", "bob", 0))
	if s := share(got, "a"); s < 0.45 || s > 0.55 {
		t.Errorf("of two users one gets %.2f", s)
	}
	got = run(Options{Weights: map[string]int{"ann": 2}}, job("a", "ann", 0), job("b", "bob", 0))
	if s := share(got, "a"); s < 0.60 || s > 0.73 {
		t.Errorf("with twice the weight one gets %.2f", s)
	}
	got = run(Options{}, job("a", "ann", 0), job("a2", "ann", 0), job("b", "bob", 0))
	if s := share(got, "b"); s < 0.45 || s > 0.55 {
		t.Errorf("a user with one job beside one with two gets %.2f", s)
	}
	got = run(Options{}, job("a", "ann", 0), job("b", "bob", 1))
	if s := share(got, "b"); s != 1 {
		t.Errorf("a higher priority gets %.2f", s)
	}
}

// TestLimitsOfUsers: a user's jobs never take more slots than they may, whatever is free, and others have the rest.
func TestLimitsOfUsers(t *testing.T) {
	job := func(id, user string) mr.JobSpec {
		return mr.JobSpec{ID: mr.JobID(id), User: user, Phases: []mr.PhaseSpec{{ID: "p", Type: mr.MapPhase, Kind: "k", Tasks: 200}}}
	}
	users := map[mr.JobID]string{"a1": "ann", "a2": "ann", "b": "bob", "c": "cid"}
	s := New(Options{Epoch: 1, Limits: map[string]int{"ann": 3, "*": 4, "cid": 0}, Backoff: 10})
	var running []mr.TaskSpec
	held, most := map[string]int{}, map[string]int{}
	take := func(actions []Action) {
		for _, a := range actions {
			if l, ok := a.(Launch); ok {
				running = append(running, l.Spec)
				u := users[l.Spec.Job]
				held[u]++
				most[u] = max(most[u], held[u])
			}
		}
	}
	now := Tick(0)
	step := func(ev Event) {
		now++
		take(s.Step(now, ev))
	}
	step(WorkerUp{Worker: "w", Slots: 9})
	step(WorkerUp{Worker: "v", Slots: 9})
	for _, id := range []string{"a1", "a2", "b"} {
		step(Submit{Job: job(id, users[mr.JobID(id)])})
	}
	if held["ann"] != 3 || held["bob"] != 4 {
		t.Errorf("of 18 slots ann has %d and bob %d", held["ann"], held["bob"])
	}
	step(Submit{Job: job("c", "cid")})
	if held["cid"] != 11 {
		t.Errorf("without a limit cid has %d of 11", held["cid"])
	}
	for i := 0; i < 10_000; i++ {
		if len(running) == 0 { // what has failed waits for a while
			step(Time{})
			continue
		}
		first := running[0]
		running = running[1:]
		held[users[first.Job]]--
		if i%7 == 0 { // what fails is tried again, within the limit
			step(Failed{Worker: "w", Job: first.Job, Attempt: first.Attempt, Epoch: first.Epoch, Err: errs.Of("x", errs.E("x", errs.Preempted, "", nil))})
			step(Failed{Worker: "v", Job: first.Job, Attempt: first.Attempt, Epoch: first.Epoch, Err: errs.Of("x", errs.E("x", errs.Preempted, "", nil))})
			continue
		}
		m := mr.Manifest{Attempt: first.Attempt, Epoch: first.Epoch}
		step(Succeeded{Worker: "w", Job: first.Job, Manifest: m})
		step(Succeeded{Worker: "v", Job: first.Job, Manifest: m})
		for _, id := range []mr.JobID{"a1", "a2", "b", "c"} {
			if v := s.Job(id); v.ID != "" && v.Phases[0].State == "publishing" {
				step(Published{Job: id, Phase: "p"})
			}
		}
	}
	if most["ann"] > 3 || most["bob"] > 4 {
		t.Errorf("at most ann had %d and bob %d", most["ann"], most["bob"])
	}
	if len(s.held) != 0 {
		t.Errorf("when all is over %v are held", s.held)
	}
	for id := range users {
		if s.Ended(id) != 1 {
			t.Errorf("%s has not ended", id)
		}
	}
}
