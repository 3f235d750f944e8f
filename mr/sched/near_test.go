package sched

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/vista-mr/vista-mr/mr"
)

// cluster runs a phase of splits on three machines of two slots, each known to the store by its address; a task takes 10 ticks near
// its split and 12 elsewhere. It returns the share of tasks that ran near theirs, and how long all took.
func cluster(t *testing.T, splits []mr.Split, slots [3]int) (near float64, took Tick) {
	t.Helper()
	s := New(Options{})
	var queue []struct {
		at Tick
		ev Event
	}
	local := 0
	take := func(actions []Action) {
		for _, a := range actions {
			l, ok := a.(Launch)
			if !ok {
				continue
			}
			end := took + 12
			for _, h := range l.Spec.Split.Hosts {
				if h == "address of "+string(l.Worker) {
					local++
					end = took + 10
				}
			}
			queue = append(queue, struct {
				at Tick
				ev Event
			}{end, done(l.Worker, l.Spec)})
		}
	}
	for i, n := range slots {
		id := fmt.Sprint("h", i)
		take(s.Step(0, WorkerUp{Worker: WorkerID(id), Host: id + ".example", Near: []string{"address of " + id}, Slots: n}))
	}
	take(s.Step(0, Submit{Job: mr.JobSpec{ID: "j", Phases: []mr.PhaseSpec{{ID: "p", Type: mr.MapPhase, Kind: "k", Splits: splits}}}}))
	for len(queue) > 0 {
		first := 0
		for i := range queue {
			if queue[i].at < queue[first].at {
				first = i
			}
		}
		h := queue[first]
		queue = append(queue[:first], queue[first+1:]...)
		took = h.at
		take(s.Step(took, h.ev))
	}
	if n := s.Job("j").Phases[0].Committed; n != len(splits) {
		t.Fatalf("%d of %d tasks are committed", n, len(splits))
	}
	return float64(local) / float64(len(splits)), took
}

// TestTasksRunNearTheirSplits: with one copy of each file, placed at random on three machines, at least four of five tasks run
// where theirs is; and no slot waits for a task that is near, so that it takes no longer than if all tasks were far away, which
// is the bound also where all files are on one machine, or on one that has no slots.
func TestTasksRunNearTheirSplits(t *testing.T) {
	const tasks = 120
	rnd := rand.New(rand.NewPCG(1, 9))
	splits := make([]mr.Split, tasks)
	for _, c := range []struct {
		name  string
		host  func() int
		slots [3]int
		near  float64
	}{
		{"at random", func() int { return rnd.IntN(3) }, [3]int{2, 2, 2}, 0.8},
		{"on one machine", func() int { return 1 }, [3]int{2, 2, 2}, 0.33},
		{"on a machine without slots", func() int { return 1 }, [3]int{2, 0, 2}, 0},
	} {
		all := 0
		for _, n := range c.slots {
			all += n
		}
		for i := range splits {
			splits[i] = mr.Split{Hosts: []string{fmt.Sprintf("h%d", 7), fmt.Sprintf("address of h%d", c.host())}}
		}
		near, took := cluster(t, splits, c.slots)
		t.Logf("%s: %.0f %% near, %d ticks", c.name, 100*near, took)
		if bound := Tick(12 * (tasks + all - 1) / all); near < c.near || took > bound {
			t.Errorf("%s: %.2f of the tasks ran near their splits, want %.2f; %d ticks, want at most %d", c.name, near, c.near, took, bound)
		}
	}
}
