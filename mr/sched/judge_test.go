package sched

import (
	"errors"
	"fmt"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// judge checks the invariants of a world. It knows only what was said to the state machine and
// what it answered, and the public view.
type judge struct {
	w                                    *world
	jobs                                 map[mr.JobID]*judgedJob
	folders                              map[dfs.Path]bool
	ok, failed, launches, copies, mended int
	kinds                                map[errs.Kind]int
}

type judgedJob struct {
	spec      *mr.JobSpec
	phases    map[mr.PhaseID]*judgedPhase
	launched  map[mr.TaskID]int
	kept      map[mr.TaskID]bool // committed before a restart
	again     bool               // submitted after it has ended
	err       *errs.Error
	gone      map[string]bool   // attempts discarded
	dropped   map[dfs.Path]bool // files
	succeeded map[string]bool   // attempts that said so
	held      map[string]bool   // those whose results are being kept
	ended     bool
}

type judgedPhase struct {
	spec      *mr.PhaseSpec
	published bool
	mending   bool              // a task of it runs again after it was published
	manifest  *mr.PhaseManifest // last published or mended
	proposed  *mr.PhaseManifest // last Publish
	epoch     int64             // of it
	revision  int
	round     int
	counted   map[int]bool
	asked     bool // a message for the round
}

func newJudge(w *world) *judge {
	return &judge{w: w, jobs: map[mr.JobID]*judgedJob{}, folders: map[dfs.Path]bool{}, kinds: map[errs.Kind]int{}}
}

func (g *judge) over() bool { return g.ok+g.failed == len(g.w.jobs) }

func (g *judge) event(ev Event) {
	switch ev := ev.(type) {
	case Submit:
		if j := g.jobs[ev.Job.ID]; j != nil {
			g.resubmitted(j, ev)
			return
		}
		j := &judgedJob{spec: &ev.Job, phases: map[mr.PhaseID]*judgedPhase{}, launched: map[mr.TaskID]int{},
			kept: map[mr.TaskID]bool{}, gone: map[string]bool{}, dropped: map[dfs.Path]bool{}, succeeded: map[string]bool{}, held: map[string]bool{}}
		for i := range ev.Job.Phases {
			j.phases[ev.Job.Phases[i].ID] = &judgedPhase{spec: &ev.Job.Phases[i], round: -1, counted: map[int]bool{}}
		}
		g.jobs[ev.Job.ID] = j
	case Held:
		if j := g.jobs[ev.Job]; j != nil {
			j.held[name(ev.Attempt, ev.Epoch)] = true
		}
	case Failed:
		if j := g.jobs[ev.Job]; j != nil {
			delete(j.held, name(ev.Attempt, ev.Epoch))
		}
	case Succeeded:
		if j := g.jobs[ev.Job]; j != nil {
			j.succeeded[name(ev.Manifest.Attempt, ev.Manifest.Epoch)] = true
			delete(j.held, name(ev.Manifest.Attempt, ev.Manifest.Epoch))
		}
	case Published:
		if j := g.jobs[ev.Job]; j != nil {
			if p := j.phases[ev.Phase]; p.proposed != nil && p.revision == ev.Revision {
				p.published, p.manifest, p.mending = true, p.proposed, false
				for id := range j.kept {
					if id.Phase == ev.Phase {
						delete(j.kept, id)
					}
				}
			}
		}
	}
}

// name is an attempt's and its epoch's.
func name(a mr.AttemptID, epoch int64) string { return fmt.Sprintf("%s-e%d", a, epoch) }

// resubmitted is a Submit that came twice, or one to a new coordinator, which must know no more
// than it says.
func (g *judge) resubmitted(j *judgedJob, ev Submit) {
	if j.again = j.ended; j.ended || ev.Epoch == 0 {
		return
	}
	for _, p := range j.phases {
		p.published, p.mending, p.manifest, p.proposed, p.epoch, p.revision = false, false, nil, nil, 0, 0
		p.round, p.counted, p.asked = -1, map[int]bool{}, false
	}
	for _, m := range ev.Done {
		p := j.phases[m.Phase]
		p.published, p.manifest, p.epoch, p.revision = true, &m, m.Epoch, m.Revision
	}
	clear(j.kept)
	clear(j.held)
	for _, m := range ev.Committed {
		if j.phases[m.Attempt.Task.Phase].spec.Type != mr.RoundsPhase {
			j.kept[m.Attempt.Task] = true
		}
	}
}

func (g *judge) action(a Action) error {
	switch a := a.(type) {
	case Launch:
		return g.launch(a)
	case Publish:
		return g.publish(a.Manifest)
	case Discard:
		return g.discard(a)
	case DropFiles:
		j, _, err := g.live(a.Job, a.Phase)
		if err != nil {
			return err
		}
		for _, f := range a.Files {
			j.dropped[f.Path] = true
		}
	case NextMessage:
		return g.nextMessage(a)
	case RunRound:
		_, p, err := g.live(a.Job, a.Phase)
		if err != nil {
			return err
		}
		if a.Round != p.round || !p.asked {
			return fmt.Errorf("the round is %d", p.round)
		}
	case AcceptSum:
		_, p, err := g.live(a.Job, a.Phase)
		if err != nil {
			return err
		}
		if a.Round != p.round {
			return fmt.Errorf("the round is %d", p.round)
		}
		for _, i := range a.Tasks {
			if p.counted[i] {
				return fmt.Errorf("partition %d was counted before", i)
			}
			p.counted[i] = true
		}
	case ClosePhase:
		_, _, err := g.live(a.Job, a.Phase)
		return err
	case Done:
		return g.done(a)
	}
	return nil
}

// live finds the phase of a job that has not ended: after Done nothing is said of a job.
func (g *judge) live(id mr.JobID, phase mr.PhaseID) (*judgedJob, *judgedPhase, error) {
	j := g.jobs[id]
	if j == nil || j.ended {
		return nil, nil, errors.New("the job is unknown or has ended")
	}
	p := j.phases[phase]
	if p == nil {
		return nil, nil, errors.New("no such phase")
	}
	return j, p, nil
}

// gaveUp checks that nothing was given up whose result is being kept. (Attempts of different epochs may have one number; only those
// of the last are given up under a name that is not another one's too.)
func (g *judge) gaveUp(all []GivenUp) error {
	for _, a := range all {
		if j := g.jobs[a.Job]; j.held[name(a.Attempt, g.w.o.Epoch)] {
			return fmt.Errorf("attempt %s is given up while its result is being kept: %w", a.Attempt, a.Err)
		}
	}
	return nil
}

func (g *judge) launch(a Launch) error {
	id := a.Spec.Attempt
	j, p, err := g.live(a.Spec.Job, id.Task.Phase)
	if err != nil {
		return err
	}
	g.launches++
	if g.folders[a.Spec.Out] {
		return fmt.Errorf("folder %s was used before", a.Spec.Out)
	}
	g.folders[a.Spec.Out] = true
	j.launched[id.Task]++
	if j.kept[id.Task] {
		return errors.New("its task was committed before the restart")
	}
	if p.published {
		p.mending = true
	}
	p.proposed = nil
	for _, in := range p.spec.Inputs {
		from := j.phases[in.Phase]
		if !from.published || from.mending {
			return fmt.Errorf("it reads %s, which is not published", in.Phase)
		}
	}
	for _, after := range p.spec.After {
		if !j.phases[after].published {
			return fmt.Errorf("it stands after %s, which is not published", after)
		}
	}
	return g.inputs(j, a.Spec)
}

// inputs checks that a task is given what it must read, all of it there.
func (g *judge) inputs(j *judgedJob, spec mr.TaskSpec) error {
	for _, in := range spec.Inputs {
		from := j.phases[in.Phase]
		want := 1
		switch in.Mode {
		case mr.All, mr.Shuffled:
			want = from.spec.NumTasks()
		case mr.Values:
			if len(in.Values) != from.spec.NumTasks() {
				return fmt.Errorf("input %s has %d values", in.Name, len(in.Values))
			}
			continue
		}
		if len(in.Files) != want {
			return fmt.Errorf("input %s has %d files, want %d", in.Name, len(in.Files), want)
		}
		for k, f := range in.Files {
			i := k
			if in.Mode == mr.Same {
				i = spec.Attempt.Task.Index
			}
			winner, epoch := from.manifest.Tasks[i].Attempt, from.manifest.Tasks[i].Epoch
			if f.Task != i || !belongs(f.Path, spec.Job, winner, epoch) {
				return fmt.Errorf("input %s: file %s is not that of attempt %s", in.Name, f.Path, winner)
			}
			if j.gone[name(winner, epoch)] || j.dropped[f.Path] {
				return fmt.Errorf("input %s: file %s is gone", in.Name, f.Path)
			}
			if in.Mode == mr.Shuffled && (len(f.Segments) != 1 || f.Segments[0].Partition != spec.Attempt.Task.Index) {
				return fmt.Errorf("input %s: segments %v", in.Name, f.Segments)
			}
		}
	}
	return nil
}

func (g *judge) publish(m mr.PhaseManifest) error {
	j, p, err := g.live(m.Job, m.Phase)
	if err != nil {
		return err
	}
	if len(m.Tasks) != p.spec.NumTasks() || p.published != (m.Revision > 0) {
		return fmt.Errorf("%d of %d tasks, published before: %v", len(m.Tasks), p.spec.NumTasks(), p.published)
	}
	again := p.proposed != nil && p.epoch == m.Epoch && p.revision == m.Revision
	if !again && m.Epoch <= p.epoch && (m.Epoch < p.epoch || m.Revision <= p.revision) {
		return fmt.Errorf("epoch %d revision %d after epoch %d revision %d", m.Epoch, m.Revision, p.epoch, p.revision)
	}
	for i, t := range m.Tasks {
		switch name := name(t.Attempt, t.Epoch); {
		case t.Attempt.Task != (mr.TaskID{Phase: m.Phase, Index: i}):
			return fmt.Errorf("task %d is %s", i, t.Attempt)
		case j.gone[name]:
			return fmt.Errorf("attempt %s was discarded", name)
		case !j.succeeded[name]:
			return fmt.Errorf("attempt %s has not succeeded", name)
		case again && p.proposed.Tasks[i].Attempt != t.Attempt:
			return fmt.Errorf("attempt %s, after %s was to be published", name, p.proposed.Tasks[i].Attempt)
		case !belongs(t.Files[0].Path, m.Job, t.Attempt, t.Epoch):
			return fmt.Errorf("attempt %s: file %s is another one's", name, t.Files[0].Path)
		}
	}
	if m.Revision > 0 && !again {
		g.mended++
	}
	p.proposed, p.epoch, p.revision = &m, m.Epoch, m.Revision
	return nil
}

func (g *judge) discard(a Discard) error {
	j, p, err := g.live(a.Job, a.Attempt.Task.Phase)
	if err != nil {
		return err
	}
	if p.manifest != nil {
		if t := p.manifest.Tasks[a.Attempt.Task.Index]; t.Attempt == a.Attempt && t.Epoch == a.Epoch {
			return errors.New("it is the committed one")
		}
	}
	j.gone[name(a.Attempt, a.Epoch)] = true
	return nil
}

func (g *judge) nextMessage(a NextMessage) error {
	_, p, err := g.live(a.Job, a.Phase)
	if err != nil {
		return err
	}
	if a.Round != p.round+1 {
		return fmt.Errorf("after round %d", p.round)
	}
	if a.Round > 0 && len(p.counted) != p.spec.NumTasks() {
		return fmt.Errorf("only %d of %d partitions were counted", len(p.counted), p.spec.NumTasks())
	}
	p.round, p.asked, p.counted = a.Round, true, map[int]bool{}
	return nil
}

func (g *judge) done(a Done) error {
	j := g.jobs[a.Job]
	if j != nil && j.again && j.err == a.Err {
		j.again = false
		return nil
	}
	if j == nil || j.ended {
		return errors.New("the job is unknown or has ended before")
	}
	j.ended, j.err = true, a.Err
	if a.Err == nil {
		g.ok++
		for id, p := range j.phases {
			if !p.published || p.mending {
				return fmt.Errorf("phase %s is not published", id)
			}
		}
		return nil
	}
	g.failed++
	g.kinds[a.Err.Kind]++
	// A job fails for a reason: that many attempts of one task must have been made.
	need := 1
	switch a.Err.Kind {
	case errs.Lost, errs.Preempted, errs.NoMemory, errs.Canceled:
		need = systemAttempts
	case errs.Unknown, errs.Internal:
		need = 2
	case errs.Transient:
		need = defaultAttempts
	case errs.Infeasible:
		need = 0
	}
	var id mr.AttemptID
	switch {
	case a.Err.ID == "E-STALLED" || a.Err.Kind == errs.Infeasible || a.Err.Task == "" && a.Err.Kind == errs.Transient:
		return nil
	case id.UnmarshalText([]byte(a.Err.Task)) != nil:
		return errors.New("no attempt is named")
	case j.launched[id.Task] < need:
		return fmt.Errorf("after %d attempts of %s; at least %d must have failed", j.launched[id.Task], id.Task, need)
	}
	return nil
}

// room checks that no worker really holds more than it has.
func (g *judge) room() error {
	for _, id := range g.w.alive {
		r := g.w.workers[id]
		used, held, holders := r.room()
		if used > r.slots {
			return fmt.Errorf("worker %s runs %d attempts in %d slots", id, used, r.slots)
		}
		if r.memory > 0 && held > r.memory && holders > 1 {
			return fmt.Errorf("worker %s holds %d bytes of %d", id, held, r.memory)
		}
	}
	return nil
}

// state checks the public view against itself.
func (g *judge) state() error {
	for _, id := range g.w.s.Jobs() {
		v := g.w.s.Job(id)
		all := int64(0)
		for _, p := range v.Phases {
			if p.Committed < 0 || p.Committed > p.Tasks || p.Waiting < 0 || p.Running < 0 {
				return fmt.Errorf("%s %+v", id, p)
			}
			if n := v.Counters["done."+string(p.ID)]; n != int64(p.Committed) {
				return fmt.Errorf("%s %s: %d attempts counted, %d tasks committed", id, p.ID, n, p.Committed)
			}
			all += int64(p.Committed)
		}
		if v.Counters["done"] != all {
			return fmt.Errorf("%s: %d attempts counted, %d tasks committed", id, v.Counters["done"], all)
		}
		for _, a := range v.Attempts {
			if a.Copy && a.Attempt.Number > 1 && a.Started == g.w.now {
				g.copies++
			}
		}
	}
	return nil
}
