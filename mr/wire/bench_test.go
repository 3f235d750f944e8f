package wire

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/local"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/mrtest/cputime"
	"github.com/vista-mr/vista-mr/mr/tracker"
)

// nothing are a task and a round that do nothing.
func nothing() []mr.Kind {
	task := mr.Kind{Name: "nothing", Map: func(json.RawMessage) (mr.Mapper, error) {
		return mr.MapperFunc(func(context.Context, mr.Task) error { return nil }), nil
	}}
	return append(kinds(func(context.Context, *mr.TaskSpec) {}), task)
}

func benchCluster(b *testing.B, workers, slots int, store dfs.FS) *cluster {
	c := newClusterOn(b, nothing(), store, Usual)
	for i := range workers {
		c.startWorker(fmt.Sprint("w", i), slots)
	}
	for len(c.tracker.Workers()) < workers {
		time.Sleep(time.Millisecond)
	}
	return c
}

// BenchmarkTasks is tasks that do nothing, over TCP, with every result kept before it counts: in a store in memory, and on a local
// disk with fsync, where the workers write nothing else.
func BenchmarkTasks(b *testing.B) {
	b.Run("memory", func(b *testing.B) { tasksOver(b, mem.New()) })
	b.Run("disk", func(b *testing.B) { tasksOver(b, local.New(b.TempDir(), true)) })
}

func tasksOver(b *testing.B, store dfs.FS) {
	c := benchCluster(b, 4, 8, store)
	const tasks = 5000
	n, cpu := 0, cputime.Taken()
	for b.Loop() {
		n++
		job := &mr.JobSpec{ID: mr.JobID(fmt.Sprint("tasks", n)), Phases: []mr.PhaseSpec{{ID: "p", Type: mr.MapPhase, Kind: "nothing", Tasks: tasks}}}
		if _, err := c.run(b.Context(), job); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(tasks*n)/b.Elapsed().Seconds(), "tasks/s")
	b.ReportMetric(float64((cputime.Taken()-cpu).Microseconds())/float64(tasks*n), "cpu-µs/task")
}

// BenchmarkEmptyJob is one map and one reduce task, from its submission by a driver to its end.
func BenchmarkEmptyJob(b *testing.B) {
	c := benchCluster(b, 1, 1, mem.New())
	r := c.remote()
	n := 0
	for b.Loop() {
		n++
		job := &mr.JobSpec{ID: mr.JobID(fmt.Sprint("empty", n)), Phases: []mr.PhaseSpec{
			{ID: "m", Type: mr.MapPhase, Kind: "nothing", Tasks: 1}, {ID: "n", Type: mr.MapPhase, Kind: "nothing", Tasks: 1, After: []mr.PhaseID{"m"}}}}
		if _, err := r.Run(b.Context(), job, func(tracker.Update) {}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRounds is a round of training without its work: 128 partitions on 4 workers.
func BenchmarkRounds(b *testing.B) {
	c := benchCluster(b, 4, 1, mem.New())
	const rounds = 200
	var times []float64
	n := 0
	for b.Loop() {
		n++
		job := &mr.JobSpec{ID: mr.JobID(fmt.Sprint("rounds", n)), Phases: []mr.PhaseSpec{{ID: "add", Type: mr.RoundsPhase, Kind: "add", Tasks: 128, Params: json.RawMessage(fmt.Sprint(rounds))}}}
		if _, err := c.remote().Run(b.Context(), job, func(u tracker.Update) {
			if u.Kind == tracker.RoundDone {
				times = append(times, u.Seconds)
			}
		}); err != nil {
			b.Fatal(err)
		}
	}
	slices.Sort(times)
	b.ReportMetric(1000*times[len(times)/2], "p50-ms/round")
	b.ReportMetric(1000*times[len(times)*99/100], "p99-ms/round")
}
