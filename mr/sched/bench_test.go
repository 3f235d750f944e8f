package sched

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
)

// BenchmarkSteps runs a job of no-op tasks through the state machine, one Succeeded at a time
// and as quickly as it answers. steps/s is events taken each second; bytes/task is the heap
// that the job holds when all of its tasks are committed, manifests included.
func BenchmarkSteps(b *testing.B) {
	for _, c := range []struct{ tasks, workers int }{{10_000, 100}, {100_000, 1000}} {
		b.Run(fmt.Sprintf("tasks=%d/workers=%d", c.tasks, c.workers), func(b *testing.B) {
			b.ReportAllocs()
			steps := 0
			var held uint64
			for b.Loop() {
				var s *State
				n, h := runNoOps(b, c.tasks, c.workers, &s)
				steps, held = steps+n, h
				runtime.KeepAlive(s)
			}
			b.ReportMetric(float64(c.tasks*b.N)/b.Elapsed().Seconds(), "tasks/s")
			b.ReportMetric(float64(steps)/b.Elapsed().Seconds(), "steps/s")
			b.ReportMetric(float64(held)/float64(c.tasks), "bytes/task")
		})
	}
}

func runNoOps(b *testing.B, tasks, workers int, state **State) (steps int, held uint64) {
	b.StopTimer()
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	b.StartTimer()
	s := New(Options{Expire: 10_000, Stall: 60_000, Speculate: true})
	*state = s
	var queue []Launch
	take := func(ev Event) {
		steps++
		for _, a := range s.Step(Tick(steps/10), ev) {
			if l, ok := a.(Launch); ok {
				queue = append(queue, l)
			}
		}
	}
	for i := range workers {
		take(WorkerUp{Worker: WorkerID(fmt.Sprintf("worker-%d", i)), Slots: 8})
	}
	take(Submit{Job: mr.JobSpec{ID: "j", Phases: []mr.PhaseSpec{{ID: "map", Type: mr.MapPhase, Kind: "no-op", Tasks: tasks}}}})
	done := 0
	for ; len(queue) > 0; done++ {
		l := queue[0]
		queue = queue[1:]
		take(Succeeded{Worker: l.Worker, Job: "j", Manifest: mr.Manifest{Attempt: l.Spec.Attempt, Counters: map[string]int64{"n": 1},
			Files: []mr.PartFile{{Channel: "x", Path: dfs.Path(l.Spec.Out)}}}})
		if steps%1000 == 0 {
			for i := range workers {
				take(Beat{Worker: WorkerID(fmt.Sprintf("worker-%d", i))})
			}
		}
	}
	if done != tasks {
		b.Fatalf("%d of %d tasks ran", done, tasks)
	}
	b.StopTimer()
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.StartTimer()
	return steps, after.HeapAlloc - before.HeapAlloc
}

// BenchmarkRound takes one round of a loop over pinned partitions: a message and one sum from
// every worker.
func BenchmarkRound(b *testing.B) {
	const partitions, workers = 4096, 64
	s := New(Options{})
	for i := range workers {
		s.Step(0, WorkerUp{Worker: WorkerID(fmt.Sprintf("worker-%d", i)), Slots: 8})
	}
	pending := s.Step(0, Submit{Job: mr.JobSpec{ID: "j", Phases: []mr.PhaseSpec{{ID: "t", Type: mr.RoundsPhase, Kind: "sum", Tasks: partitions}}}})
	for len(pending) > 0 {
		var next []Action
		for _, a := range pending {
			if l, ok := a.(Launch); ok {
				next = append(next, s.Step(0, Opened{Worker: l.Worker, Job: "j", Attempt: l.Spec.Attempt})...)
			}
		}
		pending = next
	}
	b.ReportAllocs()
	round := 0
	for b.Loop() {
		for _, a := range s.Step(0, Message{Job: "j", Phase: "t", Round: round}) {
			r := a.(RunRound)
			s.Step(0, RoundDone{Worker: r.Worker, Job: "j", Phase: "t", Round: round, Tasks: r.Tasks})
		}
		round++
	}
	if s.Job("j").Phases[0].Round != round {
		b.Fatal("the rounds were not taken")
	}
}
