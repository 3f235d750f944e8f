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
//	invalid, budget, no-space,
//	infeasible, unauthorized    the job fails at once
//	transient, unreachable      again, up to the job's attempts
//	all others                  the same, but not after the same words twice in a row

// maxMends is how often the output of a task may turn out to be damaged.
const maxMends = 3

// trouble is what is only known of tasks that something has gone wrong with. A nil one knows
// of nothing.
type trouble struct {
	failures int // of the task's own making
	system   int // of other making
	mends    int
	lastErr  string
	lost     []int      // attempts given up without knowing how they ended; not discarded
	bad      []int      // attempts that were committed, and whose files were damaged later
	badFiles []dfs.Path // theirs
}

func (t *task) inTrouble() *trouble {
	if t.trouble == nil {
		t.trouble = &trouble{}
	}
	return t.trouble
}

func (tr *trouble) isLost(number int) bool  { return tr != nil && slices.Contains(tr.lost, number) }
func (tr *trouble) damaged(number int) bool { return tr != nil && slices.Contains(tr.bad, number) }
func (tr *trouble) dropLost() []int {
	if tr == nil {
		return nil
	}
	lost := tr.lost
	tr.lost = nil
	return lost
}

func (s *State) failed(ev Failed) {
	j, p := s.phase(ev.Job, ev.Attempt.Task.Phase)
	if p == nil {
		return
	}
	t, a := p.find(ev.Attempt)
	if a == nil {
		return
	}
	if ev.Err == nil {
		ev.Err = failure(errs.Unknown, "", nil)
	}
	if ev.Err.Err == nil {
		e := *ev.Err
		e.Err = errors.New("no reason was given")
		ev.Err = &e
	}
	s.release(t, a)
	s.move(j)
	i, kind := ev.Attempt.Task.Index, errs.KindOf(ev.Err)
	if p.spec.Type == mr.RoundsPhase {
		p.loop.open[i] = false
	}
	if kind == errs.Lost {
		t.inTrouble().lost = append(t.trouble.lost, a.number)
	} else {
		s.do(Discard{Job: ev.Job, Attempt: ev.Attempt})
	}
	if t.manifest != nil || p.state != running {
		return
	}
	mended, end := s.mend(j, p, i, ev.Err, kind)
	if !mended && end == nil {
		end = s.judge(j, p, t, a, ev.Err, kind)
	}
	if end != nil {
		end.Task = ev.Attempt.String()
		s.end(j, end)
		return
	}
	if len(t.attempts) == 0 && !s.o.rules.forgetLost {
		p.again = append(p.again, retry{i, a.worker.id})
	}
}

func (j *job) maxAttempts() int {
	if j.spec.MaxAttempts > 0 {
		return j.spec.MaxAttempts
	}
	return defaultAttempts
}

// judge counts a failure and returns the job's error if the task is not to be tried again.
func (s *State) judge(j *job, p *phase, t *task, a *attempt, err *errs.Error, kind errs.Kind) *errs.Error {
	end := *err
	switch kind {
	case errs.Invalid, errs.Budget, errs.NoSpace, errs.Infeasible, errs.Unauthorized:
		return &end
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
		return t.charge(err)
	}
	p.failures++
	s.blame(j, a.worker, mr.TaskID{Phase: p.spec.ID, Index: a.index})
	tr.failures++
	text := err.Err.Error()
	switch {
	case tr.failures >= j.maxAttempts():
		end.Err = fmt.Errorf("failed %d times (limit %d): %w", tr.failures, j.maxAttempts(), err.Err)
		return &end
	case kind == errs.Transient || kind == errs.Unreachable: // the same words are to be expected
	case text == tr.lastErr:
		end.Err = fmt.Errorf("the same error twice: %w", err.Err)
		return &end
	}
	tr.lastErr = text
	return nil
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
// wrote it loses its place and runs again. Its phase is not published anew, because what is
// published never changes; its manifest is Mended for the rest of this run, and a later run
// that meets the old file mends it again. Until then no task starts that reads the phase.
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
	tr.bad = append(tr.bad, old.Attempt.Number)
	for _, f := range old.Files {
		tr.badFiles = append(tr.badFiles, f.Path)
	}
	t.manifest = nil
	tr.failures, tr.lastErr = 0, ""
	j.add(old.Counters, -1)
	from.committed--
	from.state = running
	from.again = append(from.again, retry{index: i})
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
