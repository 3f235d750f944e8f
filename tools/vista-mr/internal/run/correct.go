package run

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/vista-mr/vista-mr/jobs/extract"
	"github.com/vista-mr/vista-mr/jobs/results"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/journal"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/progress"
)

// corrected is the kind of the event that says what was decided while the job ran.
const corrected = "plan-corrected"

// paces are how fast phases really are: seconds for each that was expected. The CNN's phases share one, because what slows one
// of them slows the others.
type paces struct {
	of  map[mr.PhaseID]float64
	cnn float64 // 0: not known
}

// known is what is known of a phase's pace; 1: nothing.
func (p *paces) known(id mr.PhaseID, cnn bool) float64 {
	if f := p.of[id]; f > 0 {
		return f
	}
	if cnn {
		return cmp.Or(p.cnn, 1)
	}
	return 1
}

// set notes a phase's pace.
func (p *paces) set(id mr.PhaseID, cnn bool, pace float64) {
	if p.of == nil {
		p.of = map[mr.PhaseID]float64{}
	}
	p.of[id] = pace
	if cnn {
		p.cnn = pace
	}
}

// What is measured before it is believed: some seconds, in which a tenth of the phase or some batches were done. An estimate
// is corrected when it is off by offBy.
const (
	settled      = 5 * time.Second
	settledShare = 10
	settledUnits = 48
	offBy        = 2
)

// believable tells whether a rate can be taken from so much work in so long.
func believable(done, total int64, in time.Duration) bool {
	return in >= settled && done > 0 && (done*settledShare >= total || done >= settledUnits)
}

// expect is what a phase was expected to take, in seconds; 0: nothing was said.
func (w *watch) expect(id mr.PhaseID) float64 {
	if e := estimateOf(&w.job.Expect, string(id)); e != nil {
		return e.Seconds
	}
	return 0
}

// pace compares a phase with its estimate and corrects that if it is off by two. It fills in how long the job will take from here,
// at the rates that were measured, and at the estimates' where none were. It is called with w.mu held.
func (w *watch) pace(spec *mr.PhaseSpec, u *progress.Update, now time.Time) {
	p, cnn := w.phase(spec.ID), spec.Kind == extract.Name
	expected := w.expect(spec.ID)
	if p.since.IsZero() || expected <= 0 || u.Total == 0 {
		return
	}
	p.furthest(u)
	since, done, total := now.Sub(p.since), u.Done-u.Kept, u.Total-u.Kept
	pace := w.paces.known(spec.ID, cnn)
	if spec.Type == mr.RoundsPhase {
		u.Left = max(expected*w.overdue(spec.ID, since, expected, pace)-since.Seconds(), 0) + w.later(spec.ID)
		return
	}
	if believable(done, total, since) {
		measured, before := since.Seconds()*float64(u.Total)/float64(done)/expected, pace
		if pace = measured; measured >= offBy*before || measured*offBy <= before {
			w.paces.set(spec.ID, cnn, measured)
			units := float64(u.Total) / expected
			w.correction(results.Correction{Phase: string(spec.ID), Expected: units / before, Measured: units / measured, Unit: u.Unit,
				Why:  fmt.Sprintf("%.3g %s/s were expected and %.3g are measured", units/before, u.Unit, units/measured),
				What: "the time that is left is worked out anew; tasks go to whoever is free, and partitions stay as they are"})
		}
	}
	u.Left = expected*pace*float64(u.Total-u.Done)/float64(u.Total) + w.later(spec.ID)
}

// later is what the phases behind one will take, in seconds. It is called with w.mu held.
func (w *watch) later(id mr.PhaseID) (left float64) {
	at := slices.IndexFunc(w.job.Spec.Phases, func(q mr.PhaseSpec) bool { return q.ID == id })
	for i := range w.job.Spec.Phases[at+1:] {
		q := &w.job.Spec.Phases[at+1+i]
		if !w.phase(q.ID).done {
			left += w.expect(q.ID) * w.paces.known(q.ID, q.Kind == extract.Name)
		}
	}
	return left
}

// overdue is the pace of a phase of rounds. Until its last round it says of its progress only that rounds go on, and nobody knows
// how many there will be: one that has taken twice as long as was expected is expected to take as long again.
func (w *watch) overdue(id mr.PhaseID, since time.Duration, expected, pace float64) float64 {
	if since < settled || since.Seconds() < offBy*expected*pace {
		return pace
	}
	was := expected * pace
	pace = 2 * since.Seconds() / expected
	w.paces.set(id, false, pace)
	w.correction(results.Correction{Phase: string(id),
		Why:  fmt.Sprintf("%.3g s were expected, and %d rounds have taken %.3g s", was, w.phase(id).rounds, since.Seconds()),
		What: "it is expected to take as long again; rounds go on until the models are good enough"})
	return pace
}

// halved notes that batches were made smaller to stay within the memory: by an attempt of its own, or because it was given up.
// It is called with w.mu held.
func (w *watch) halved(id mr.PhaseID, task int, why string) {
	w.correction(results.Correction{Phase: string(id), Why: why, What: fmt.Sprintf("task %d goes on with half the batch", task)})
}

// mostCorrections bounds what results say: tasks that run short of memory are many, or none.
const mostCorrections = 100

func (w *watch) correction(c results.Correction) {
	w.events.w.Append(journal.Event{Kind: corrected, Phase: c.Phase, Note: c.Why + ": " + c.What, Expected: c.Expected, Measured: c.Measured})
	if len(w.corrections) < mostCorrections {
		w.corrections = append(w.corrections, c)
	}
}
