package run

import (
	"time"

	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/vistaopt"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// lesson is what a job in this process needs to know to keep the speed of its network for the next one.
type lesson struct {
	key   string // of the calibration
	net   vistaopt.Network
	rates vistaopt.Rates // that the plan was made with
	tried time.Duration  // that the network was tried beforehand, between the command and the first phase
}

// learn keeps for the next job what a finished one has found out that began at start. That it cannot be kept does not make the job fail.
func (p *prepared) learn(start time.Time, ph phases, w *watch, log *zap.Logger) {
	now := time.Now()
	_, err := p.lesson.learn(p.Plan, ph, w.coreSeconds, now)
	if first := w.begun(); err == nil && !first.IsZero() {
		err = p.lesson.started(first.Sub(start).Seconds(), &p.Expect)
	}
	if err != nil {
		log.Warn("how fast the network was is not kept for the next job", zap.Error(err))
	}
	for _, of := range p.written {
		if err := of.learn(p.Plan, ph, now); err != nil {
			log.Warn("what Snappy left of the features is not kept for the next job", zap.Error(err))
		}
	}
}

// teaches is how many images a job must have had to say how fast its network is, or how many core-seconds they must have taken.
const (
	teaches     = 48
	teachesTime = 3
)

// stale is by how many times a job's network may have taken more processor time than what is kept lets expect: beyond, that is of
// another machine with the same cache, or damaged. Other work makes calls wait, and share caches, but not by as much.
const stale = 2

// learn keeps how fast a finished job's network was, if nothing is known of it or if it was quicker: other work makes jobs slower,
// and none makes one quicker. So it does if what is known is stale. A job that ran all cores says more than a second on one. core tells a phase's processor time in
// seconds, 0 if that is not known: what the CNN had of it counts where it is less than the clock says, for a busy machine lets
// calls wait. It returns what was kept; nil: nothing.
func (l *lesson) learn(p plan.Plan, ph phases, core func(mr.PhaseID) float64, now time.Time) (*calibration, error) {
	if l == nil || p.Inference == plan.Staged || len(l.net.Layers) == 0 {
		return nil, nil
	}
	last := l.net.Layers[len(l.net.Layers)-1]
	for id, m := range ph { // the phase that computes the last layer from the image
		if name := string(id); name != "extract" && name != "extract-"+last.Name {
			continue
		}
		images, spent := m.Sum("cnn.images"), float64(m.Sum("time.cnn.us"))/1e6
		if images < teaches && spent < teachesTime || spent <= 0 {
			continue
		}
		all := core(id)
		if all > 0 {
			spent = min(spent, all*spent/(spent+float64(m.Sum("time.decode.us"))/1e6))
		}
		calls := int64(0)
		for _, t := range m.Tasks {
			calls += (t.Counters["cnn.images"] + int64(p.Batch) - 1) / int64(p.Batch)
		}
		macs, weights := l.rates.MACs, l.rates.Weights
		was := kepts(l.key)
		if was != nil { // another job may have been quicker since this one was planned
			macs, weights = was.MACs, was.Weights
		}
		expected := float64(images)*float64(last.MACs)/macs + float64(calls)*float64(last.Weights)/weights
		off := spent / expected
		if expected <= 0 || was != nil && off > 0.97 && (off < stale || all <= 0) {
			return nil, nil
		}
		c := &calibration{Network: l.key, MACs: macs / off, Weights: weights / off, Many: spent / float64(images), Batch: p.Batch, Flight: l.net.Flight, Job: true, When: now}
		if was != nil {
			c.Load = was.Load
		}
		return c, c.keep()
	}
	return nil, nil
}

// started keeps how fast weights were read and programs written before the first phase, which took so many seconds to come, if the
// network's speed is known and if it was quicker than what is: most of what a short job takes may be its start. The time that the
// network was tried for does not count. What reads a large table before, or waits for an output, says nothing of weights: a tenth of the guess is the least that is believed.
func (l *lesson) started(took float64, e *vistaopt.Estimate) error {
	if l == nil || len(e.Phases) == 0 || e.Phases[0].Name != vistaopt.StartPhase {
		return nil
	}
	took -= l.tried.Seconds()
	was, bytes := kepts(l.key), (e.Phases[0].Seconds-l.rates.Job)*l.rates.Load
	if was == nil || bytes <= 0 || took <= l.rates.Job {
		return nil
	}
	load := bytes / (took - l.rates.Job)
	if load < vistaopt.DefaultRates().Load/10 || load > mostRate || load < 1.03*was.Load {
		return nil
	}
	was.Load = load
	return was.keep()
}
