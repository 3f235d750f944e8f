package commit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// tasks is the folder of a phase's segments.
func (p *Publisher) tasks(phase mr.PhaseID) dfs.Path { return p.folder(phase).Join("tasks") }

// Keep makes the result of a task durable while its phase is not published yet, so that a coordinator that comes
// after need not run it again. Results that come while others are being written are written together, in one file. Keeping the
// same attempt again changes nothing. One that was forgotten, by this coordinator or one before, is refused with errs.Preempted: its
// files may be gone. If another coordinator has taken over, it
// fails with errs.Lost; whoever comes later may see the result all the same, or not.
func (p *Publisher) Keep(ctx context.Context, m mr.Manifest) error {
	t := tryOf(m.Attempt, m.Epoch)
	data, err := keptRecord(&m)
	switch {
	case err != nil:
		return errs.E("keep", errs.Internal, m.Attempt.String(), err)
	case t.index < 0 || t.number < 0 || t.epoch < 0:
		return errs.E("keep", errs.Invalid, m.Attempt.String(), errors.New("it is no attempt"))
	case int64(len(data)) > p.limit():
		return &errs.Error{Op: "keep", Kind: errs.Invalid, ID: "E-MANIFEST-SIZE", Path: m.Attempt.String(),
			Err: fmt.Errorf("the manifest has %d bytes, more than %d", len(data), p.limit()), Fix: "use fewer partitions"}
	}
	if p.journal.book(m.Attempt.Task.Phase).forgot(t) {
		return errs.E("keep", errs.Preempted, m.Attempt.String(), fmt.Errorf("it was given up in epoch %d, and its files may have been removed", m.Epoch))
	}
	if err := p.await(ctx, &entry{phase: m.Attempt.Task.Phase, data: data, epoch: m.Epoch}); err != nil {
		return errs.E("keep", errs.Unknown, m.Attempt.String(), err)
	}
	return nil
}

// Forget takes back what Keep has kept of an attempt: its files are about to be removed. What was never kept is forgotten all the same: its
// worker may not know that it was given up, and tell its result to another coordinator, who finds by this that it has no files. If
// that one has taken over by now, Forget fails with errs.Lost: the files may be needed.
func (p *Publisher) Forget(ctx context.Context, a mr.AttemptID, epoch int64) error {
	t := tryOf(a, epoch)
	e := &entry{phase: a.Task.Phase, epoch: epoch}
	if t.index >= 0 && t.number >= 0 && t.epoch >= 0 {
		e.data = appendRecord(nil, recordForgotten, t, nil)
	}
	if err := p.await(ctx, e); err != nil {
		return errs.E("forget", errs.Unknown, a.String(), err)
	}
	p.journal.book(a.Task.Phase).forget(t)
	return nil
}

// LoadTasks returns the tasks that were kept of phases that were never published, beside those that LoadAll has found to
// be done: of each task the newest. It passes over tasks of a phase that stands on one that must run again, over
// those of rounds, which stand on each other, and, with a warning, over what is damaged.
func (p *Publisher) LoadTasks(ctx context.Context, job *mr.JobSpec, done []mr.PhaseManifest) ([]mr.Manifest, error) {
	ready := map[mr.PhaseID]bool{}
	for i := range done {
		ready[done[i].Phase] = true
	}
	var out []mr.Manifest
	for i := range job.Phases {
		ph := &job.Phases[i]
		if ph.Type == mr.RoundsPhase || ready[ph.ID] {
			continue
		}
		stands := true
		for _, in := range ph.Inputs {
			stands = stands && ready[in.Phase]
		}
		for _, id := range ph.After {
			stands = stands && ready[id]
		}
		// What was published once may have lost files to a phase that dropped them.
		if m, err := p.marker(ctx, ph.ID); err != nil {
			return nil, err
		} else if m.digest != "" {
			stands = false
		}
		kept, err := p.kept(ctx, ph)
		if err != nil {
			return nil, err
		}
		if stands { // else what was forgotten is read all the same
			out = append(out, kept...)
		}
	}
	return out, nil
}

// kept reads what is kept of a phase, and fills the phase's book with its segments.
func (p *Publisher) kept(ctx context.Context, ph *mr.PhaseSpec) ([]mr.Manifest, error) {
	live, dead, err := p.segments(ctx, ph.ID)
	if err != nil {
		return nil, err
	}
	parts := make([][]record, len(live))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for i := range live {
		g.Go(func() (err error) {
			parts[i], err = p.readSegment(gctx, ph.ID, &live[i])
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	all := slices.Concat(parts...)
	gone := forgotten(all)
	newest := make([]*record, ph.NumTasks())
	book := p.journal.book(ph.ID)
	for i := range all {
		r := &all[i]
		if r.kind != recordKept || r.index >= len(newest) {
			continue
		}
		if old := newest[r.index]; !gone[r.try] && (old == nil || r.newer(old.try)) {
			newest[r.index] = r
		}
	}
	book.reset(live, dead)
	for t := range gone {
		book.forget(t)
	}
	var out []mr.Manifest
	for _, r := range newest {
		if r == nil {
			continue
		}
		m, err := r.manifest(ph.ID)
		if err != nil { // its checksum is right: another version wrote it
			p.warn("a task that was kept cannot be read: it runs again", ph.ID, err)
			continue
		}
		out = append(out, m)
	}
	return out, nil
}

// readSegment reads a segment. What of it is damaged or gone is left out, with a warning.
func (p *Publisher) readSegment(ctx context.Context, phase mr.PhaseID, s *segment) ([]record, error) {
	path := p.tasks(phase).Join(s.name())
	data, err := dfs.ReadFile(ctx, p.FS, path, max(p.limit(), s.size))
	switch kind := errs.KindOf(err); {
	case err == nil:
		var all []record
		if all, err = decodeSegment(s.label(phase), data); err == nil {
			return all, nil
		}
		s.bad = true
		p.warn("tasks that were kept are damaged: they run again", phase, fmt.Errorf("%s: %w", path, err))
		return all, nil
	case kind == errs.NotExist: // its records were merged into another, which was there before it went
		return nil, nil
	case kind == errs.Corrupt || kind == errs.Invalid:
		s.bad = true
		p.warn("tasks that were kept are damaged: they run again", phase, err)
		return nil, nil
	}
	return nil, errs.E("load task", errs.Unknown, string(path), err)
}

// book is what a publisher knows of a phase's segments. It is safe for concurrent use.
type book struct {
	mu   sync.Mutex
	live []segment
	dead []segment        // that say nothing that counts, and may still be there
	gone map[try]struct{} // attempts that were forgotten
}

func (b *book) forget(t try) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.gone == nil {
		b.gone = map[try]struct{}{}
	}
	b.gone[t] = struct{}{}
}

func (b *book) forgot(t try) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, gone := b.gone[t]
	return gone
}

func (b *book) reset(live, dead []segment) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.live, b.dead = live, dead
}
