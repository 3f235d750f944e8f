package sched

import (
	"errors"
	"fmt"
	"slices"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// What a failure leads to, by its kind:
//
//	lost, preempted, canceled   again, up to 20 times, not charged to the task
//	no-memory                   the same, with the batch halved once more
//	corrupt, not-exist          of a file that an earlier phase has published: the task that wrote
//	                            it runs again, then this one, not charged
//	invalid, budget, infeasible the job fails at once
//	no-space, unauthorized      again, up to the job's attempts, on another worker: it may be this
//	                            one's disk or identity; when every worker has said so, at once
//	transient, unreachable      again, up to the job's attempts
//	all others                  the same, but not after the same words twice in a row
//
// What a result that is being kept fails with (Held) says nothing of its task or worker, which have done their part: all kinds but
// those that fail the job at once lead to another try, up to 20 times, not charged to the task and held against no worker. A store
// that stays full, or refuses everybody, ends the job by what the workers meet there.
//
// All but the losses of a worker and of memory wait before they are tried again, see later.go.

// maxMends is how often the output of a task may turn out to be damaged.
const maxMends = 3

// try names an attempt of a task.
type try struct {
	number int
	epoch  int64
}

// lostAttempt was given up without knowing how it ended, and is not discarded: it may succeed.
type lostAttempt struct {
	try
	worker WorkerID // from which it may be taken back; "": it was cancelled
}

// trouble is what is only known of tasks that something has gone wrong with. A nil one knows
// of nothing.
type trouble struct {
	failures int // of the task's own making
	system   int // of other making
	mends    int
	lastErr  string
	lost     []lostAttempt
	// dropped are attempts of earlier epochs that were discarded in this one: it must not take them back. The next coordinator does not
	// know, and need not: files of an earlier epoch's attempts are not removed, and what a coordinator has removed of its own epoch, who keeps
	// results refuses (package commit, Forget).
	dropped  []try
	refused  []WorkerID // that had no disk space or access for it
	bad      []try      // attempts that were committed, and whose files were damaged later
	badFiles []dfs.Path // theirs
}

func (t *task) inTrouble() *trouble {
	if t.trouble == nil {
		t.trouble = &trouble{}
	}
	return t.trouble
}

func (tr *trouble) gone() []lostAttempt {
	if tr == nil {
		return nil
	}
	return tr.lost
}

func (tr *trouble) isLost(a try) bool {
	return slices.ContainsFunc(tr.gone(), func(l lostAttempt) bool { return l.try == a })
}

// forget says whether an attempt was lost, and is not from now on.
func (tr *trouble) forget(a try) bool {
	n := len(tr.gone())
	if n > 0 {
		tr.lost = slices.DeleteFunc(tr.lost, func(l lostAttempt) bool { return l.try == a })
	}
	return n > len(tr.gone())
}

func (tr *trouble) discarded(a try) bool      { return tr != nil && slices.Contains(tr.dropped, a) }
func (tr *trouble) damaged(a try) bool        { return tr != nil && slices.Contains(tr.bad, a) }
func (tr *trouble) refusedBy(w WorkerID) bool { return tr != nil && slices.Contains(tr.refused, w) }

// ofWorker tells whether a failure may be the worker's own: its disk, its identity.
func ofWorker(kind errs.Kind) bool { return kind == errs.NoSpace || kind == errs.Unauthorized }

func (s *State) failed(ev Failed) {
	j, p := s.phase(ev.Job, ev.Attempt.Task.Phase)
	if p == nil {
		return
	}
	err := given(ev.Err)
	t, a := p.find(ev.Attempt, ev.Epoch)
	if a != nil {
		s.fail(a, "", err)
		return
	}
	// One that was taken for lost has failed after all.
	if t != nil && errs.KindOf(err) != errs.Lost && t.trouble.forget(try{ev.Attempt.Number, ev.Epoch}) {
		s.discard(j, p, ev.Attempt.Task.Index, try{ev.Attempt.Number, ev.Epoch})
	}
}

// fail deals with the failure of a running attempt; at is where it may be taken back from.
func (s *State) fail(a *attempt, at WorkerID, err *errs.Error) {
	j, p, i, kind := a.j, a.p, a.index, errs.KindOf(err)
	t := &p.tasks[i]
	s.release(t, a)
	s.move(j)
	if p.spec.Type == mr.RoundsPhase {
		p.loop.open[i] = false
	}
	if kind == errs.Lost {
		t.inTrouble().lost = append(t.trouble.lost, lostAttempt{a.try(), at})
	} else {
		s.discard(j, p, i, a.try())
	}
	if t.manifest != nil || p.state != running {
		return
	}
	mended, end := s.mend(j, p, i, err, kind)
	pause := Tick(0)
	if !mended && end == nil {
		pause, end = s.judge(j, p, t, a, err, kind)
	}
	if end != nil {
		end.Task = a.id().String()
		s.end(j, end)
		return
	}
	if len(t.attempts) == 0 && !s.o.rules.forgetLost {
		r := retry{index: i, avoid: a.worker.id, from: s.now + pause}
		if a.held {
			r.avoid = ""
		}
		s.again(p, r)
	}
}

func (j *job) maxAttempts() int {
	if j.spec.MaxAttempts > 0 {
		return j.spec.MaxAttempts
	}
	return defaultAttempts
}

// judge counts a failure and says how long the task waits until it is tried again, or returns
// the job's error if it is not.
func (s *State) judge(j *job, p *phase, t *task, a *attempt, err *errs.Error, kind errs.Kind) (Tick, *errs.Error) {
	end := *err
	switch kind {
	case errs.Invalid, errs.Budget, errs.Infeasible:
		return 0, &end
	}
	tr := t.inTrouble()
	switch kind {
	case errs.NoMemory:
		t.halvings++
		fallthrough
	case errs.Lost, errs.Preempted, errs.Canceled:
		p.losses++
		if s.o.rules.chargeLost {
			break
		}
		if end := t.charge(err); end != nil || kind == errs.Lost || kind == errs.NoMemory {
			return 0, end
		}
		return s.pause(tr.system), nil
	}
	if a.held { // it has done its part, and so has its worker
		p.losses++
		return s.pause(tr.system + 1), t.charge(err)
	}
	p.failures++
	s.blame(j, a.worker, mr.TaskID{Phase: p.spec.ID, Index: a.index}, kind, err.Err.Error())
	tr.failures++
	if ofWorker(kind) && !tr.refusedBy(a.worker.id) {
		tr.refused = append(tr.refused, a.worker.id)
	}
	text := err.Err.Error()
	switch {
	case ofWorker(kind) && !slices.ContainsFunc(s.workers, func(w *worker) bool { return !tr.refusedBy(w.id) }):
		if len(tr.refused) > 1 {
			end.Err = fmt.Errorf("on all of %d workers: %w", len(tr.refused), err.Err)
		}
		return 0, &end
	case tr.failures >= j.maxAttempts():
		end.Err = fmt.Errorf("failed %d times (limit %d): %w", tr.failures, j.maxAttempts(), err.Err)
		return 0, &end
	case ofWorker(kind) || kind == errs.Transient || kind == errs.Unreachable: // the same words are to be expected
	case text == tr.lastErr:
		end.Err = fmt.Errorf("the same error twice: %w", err.Err)
		return 0, &end
	}
	tr.lastErr = text
	return s.pause(tr.failures), nil
}

// charge counts a failure that is not the task's own.
func (t *task) charge(err *errs.Error) *errs.Error {
	tr := t.inTrouble()
	if tr.system++; tr.system < systemAttempts {
		return nil
	}
	end := *err
	end.Err = fmt.Errorf("given up after %d losses: %w", tr.system, err.Err)
	return &end
}

// mend deals with a damaged or missing file that an earlier phase has published: the task that
// wrote it loses its place and runs again, and its phase is published anew, as the next
// revision. Until then no task starts that reads the phase.
func (s *State) mend(j *job, p *phase, reader int, err *errs.Error, kind errs.Kind) (mended bool, end *errs.Error) {
	if kind != errs.Corrupt && kind != errs.NotExist {
		return false, nil
	}
	from, i := s.producer(j, p, reader, paths(err))
	if from == nil {
		return false, nil
	}
	p.losses++
	if end := p.tasks[reader].charge(err); end != nil {
		return false, end
	}
	t := &from.tasks[i]
	if t.manifest == nil || t.trouble.names(paths(err)) {
		return true, nil // it runs again already, or has, and this reader was given the old file
	}
	tr := t.inTrouble()
	if tr.mends++; tr.mends > maxMends {
		e := *err
		e.Err = fmt.Errorf("what task %s wrote was damaged %d times: %w", t.manifest.Attempt.Task, tr.mends, err.Err)
		return false, &e
	}
	old := t.manifest
	tr.bad = append(tr.bad, try{old.Attempt.Number, old.Epoch})
	for _, f := range old.Files {
		tr.badFiles = append(tr.badFiles, f.Path)
	}
	t.manifest = nil
	tr.failures, tr.lastErr = 0, ""
	j.add(old.Counters, -1)
	from.committed--
	from.state = running
	from.publishAt = 0
	s.again(from, retry{index: i})
	return true, nil
}

func (tr *trouble) names(paths []dfs.Path) bool {
	if tr == nil {
		return false
	}
	for _, p := range paths {
		if slices.Contains(tr.badFiles, p) {
			return true
		}
	}
	return false
}

// paths are the paths that an error and its causes name.
func paths(err error) []dfs.Path {
	var out []dfs.Path
	for e := (*errs.Error)(nil); errors.As(err, &e); err = e.Err {
		if e.Path != "" {
			out = append(out, dfs.Path(e.Path))
		}
	}
	return out
}

// producer finds the task that wrote one of the given files, among the inputs of a task. A
// rounds task cannot run alone, and one whose own inputs were dropped cannot run again.
func (s *State) producer(j *job, p *phase, reader int, paths []dfs.Path) (*phase, int) {
	for _, in := range p.spec.Inputs {
		from := j.byID[in.Phase]
		if in.Mode == mr.Values || from.spec.Type == mr.RoundsPhase || !j.canRerun(from) {
			continue
		}
		first, last := 0, len(from.tasks)
		if in.Mode == mr.Same {
			first, last = reader, reader+1
		}
		for i := first; i < last; i++ {
			t := &from.tasks[i]
			if t.trouble.names(paths) {
				return from, i
			}
			if t.manifest == nil {
				continue
			}
			for _, f := range t.manifest.Files {
				if slices.Contains(paths, f.Path) {
					return from, i
				}
			}
		}
	}
	return nil, 0
}

func (j *job) canRerun(p *phase) bool {
	for _, in := range p.spec.Inputs {
		for _, channel := range j.byID[in.Phase].dropped {
			if in.Mode != mr.Values && (channel == "" || channel == in.Channel || in.Mode == mr.Shuffled) {
				return false
			}
		}
	}
	return true
}
