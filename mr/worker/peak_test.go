package worker

import (
	"testing"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/sched"
	"github.com/vista-mr/vista-mr/mr/task"
)

// process is one whose memory grows and shrinks.
type process struct{ now, peak int64 }

func (p *process) holds(most, then int64) {
	p.now, p.peak = then, max(p.peak, most)
}

// TestPeakIsOfTheJobsOwnTime: a result says what the process has held at most while its job was there, whatever ran there before and
// comes later; where the peak cannot begin anew, what is known to be of that time, or was seen.
func TestPeakIsOfTheJobsOwnTime(t *testing.T) {
	for name, c := range map[string]struct {
		anew        func(p *process) func() bool
		after, both int64 // peaks of a small job: after a large one, and begun beside it
		grown       int64 // of one that grew beyond what was before
	}{
		"it begins anew": {func(p *process) func() bool { return func() bool { p.peak = p.now; return true } }, 100, 300, 1000},
		"it cannot":      {func(*process) func() bool { return func() bool { return false } }, 80, 210, 1000},
		"nobody tries":   {func(*process) func() bool { return nil }, 80, 210, 1000},
	} {
		b, p := newBench(t), &process{now: 10, peak: 40}
		b.o.Usage = func() task.Usage { return task.Usage{Resident: p.now, Peak: p.peak} }
		b.o.Anew = c.anew(p)
		ends := func(job mr.JobID, id mr.AttemptID, want int64) {
			t.Helper()
			j := b.jobs[job]
			b.end(j, j.running[try{id, 1}], sched.Succeeded{Worker: "w", Job: job})
			said := b.said()
			if s, ok := said[len(said)-1].(sched.Succeeded); !ok || s.Peak != want {
				t.Errorf("%s: job %s says %+v, want a peak of %d", name, job, said[len(said)-1], want)
			}
			j.running = map[try]*attempt{}
		}
		id := b.launchTask("large", 0)
		p.holds(900, 20)
		ends("large", id, 900)
		b.Do(CloseJob{Job: "large"})

		id = b.launchTask("small", 0)
		p.holds(70, 80)
		b.Look()
		p.holds(100, 30)
		ends("small", id, c.after)
		b.Do(CloseJob{Job: "small"})

		id = b.launchTask("grows", 0)
		p.holds(1000, 200)
		other := b.launchTask("beside", 1)
		p.holds(300, 210)
		ends("grows", id, c.grown)
		ends("beside", other, c.both)

		b.Beat()
		said := b.said()
		if beat, ok := said[len(said)-1].(sched.Beat); !ok || beat.Usage.Peak != 1000 || beat.Usage.Resident != 210 {
			t.Errorf("%s: a sign of life says %+v", name, said[len(said)-1])
		}
	}
}

// TestUnknownPeak: where the system tells nothing, results say nothing.
func TestUnknownPeak(t *testing.T) {
	for name, usage := range map[string]func() task.Usage{"no usage": nil, "no figures": func() task.Usage { return task.Usage{} }} {
		b := newBench(t)
		b.o.Usage = usage
		id := b.launchTask("a", 0)
		j := b.jobs["a"]
		b.end(j, j.running[try{id, 1}], sched.Succeeded{Worker: "w", Job: "a"})
		if s, ok := b.said()[0].(sched.Succeeded); !ok || s.Peak != 0 {
			t.Errorf("%s: says %+v", name, b.said())
		}
	}
}
