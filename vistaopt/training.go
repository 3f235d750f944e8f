package vistaopt

import "math"

// train adds the rounds over layers [from, to) of all, with the structured columns alone in the first of them.
func (e *estimator) train(name string, from, to int) {
	n := e.s.met()
	var columns, targets int64
	for i := from; i < to; i++ {
		columns, targets = columns+e.columns(i+1), targets+1
	}
	if from == 0 {
		columns, targets = columns+e.columns(0), targets+1
	}
	scores := float64(e.t.scores())
	bytes, _, unpack := e.stored(e.vectors(e.all[from:to]...).and(same(4 * e.columns(0))))
	models := float64(max(e.t.Settings, 1) * (1 + e.t.Folds))
	rounds := float64(max(e.t.Iterations, 1)) * roundsPerIteration
	waves := e.waves(columns+targets, targets)
	// A round reads every value twice, for the margins and for the gradient, for each score.
	// Its sums are encoded, merged and decoded for each partition, whatever the number of rows.
	work := rounds * float64(columns) * models * (scores*2*float64(n)/e.r.Train + float64(e.partitions())*(e.r.Sum+(scores-1)*scoreSeconds))
	slots := min(e.slots(e.partitions()), float64(e.partitions()))
	work += float64(e.partitions()) * e.r.Task
	rounds *= waves
	seconds := (float64(n)*unpack+work)/slots + rounds*e.r.Round + e.r.Phase + e.r.Fit
	// What does not fit into the cache is on the worker's disk, and read back in every round.
	pinned := n * 4 * e.t.structured()
	for _, l := range e.all[from:to] {
		pinned += n * l.Pooled
	}
	if over := pinned/int64(e.workers) - e.cache; e.cache > 0 && over > 0 {
		seconds += rounds * float64(over) / e.r.Read
	}
	e.add(PhaseEstimate{Name: name, Tasks: e.partitions(), Seconds: seconds, Compute: float64(n)*unpack + work + rounds*e.r.Round + e.r.Fit, Read: n * bytes, Written: int64(e.partitions())*HeaderBytes + n*e.t.predicted(targets)})
}

// What a row's predictions take in the file of a training phase, as package train writes them: what is known of the row, and for
// each target and setting the class that is given and a number for each class, or two. Folds add none: a row is answered for once.
const rowPrediction, classGiven, classScore = 6, 4, 8

// predicted is that of a row, for so many targets.
func (t Training) predicted(targets int64) int64 {
	return rowPrediction + targets*int64(max(t.Settings, 1))*(classGiven+classScore*int64(max(t.Classes, 2)))
}

// waves is how many times the rows are gone through for models that are not all in training at once: so many weights of one model of
// each of so many targets. Of a wave one model may be done before another, so it is at most as many.
func (e *estimator) waves(weights, targets int64) float64 {
	if e.cache == 0 {
		return 1
	}
	settings, k := int64(max(e.t.Settings, 1)), e.t.scores()
	kept, models := weights*settings*k, targets*settings*int64(1+e.t.Folds)
	all := kept * int64(1+e.t.Folds)
	room := (e.models - all*trainedBytes - kept*keptBytes) / perTraining(e.p.CPU)
	room = e.driven.most(room, all, kept)
	if all <= room {
		return 1
	}
	return math.Min(math.Ceil(float64(all)/float64(max(room, 1))), float64(models))
}

// columns is how many a target's models have; 0: those of the structured features alone.
func (e *estimator) columns(target int) int64 {
	if target >= len(e.t.Columns) {
		return 0
	}
	return int64(e.t.Columns[target])
}

// roundsPerIteration counts steps whose length is tried again, and the scans for moments and predictions.
const roundsPerIteration = 1.4
