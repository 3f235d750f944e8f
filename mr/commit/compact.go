package commit

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// Segments come in three sizes. As soon as there are fanIn of one of the smaller sizes, they are merged into one; so each record
// is written about three times in all, and there are at most some dozens of small files beside one for each megabyte.
const (
	fanIn    = 16
	smallMax = 64 << 10 // bytes; below: small
	largeMin = 1 << 20  // from here on: never merged again
	// removeWithin bounds how long the segments of a published phase are being removed.
	removeWithin = time.Minute
)

// due takes the segments that are to be merged, if there are enough.
func (b *book) due() []segment {
	b.mu.Lock()
	defer b.mu.Unlock()
	var small, middle []segment
	for _, s := range b.live {
		switch {
		case s.bad || s.size >= largeMin:
		case s.size < smallMax:
			small = append(small, s)
		default:
			middle = append(middle, s)
		}
	}
	switch {
	case len(small) >= fanIn:
		return small
	case len(middle) >= fanIn:
		return middle
	}
	return nil
}

// tidy has small segments of a phase merged in the background, if there are many.
func (p *Publisher) tidy(ctx context.Context, phase mr.PhaseID, epoch int64) {
	j := &p.journal
	b := j.book(phase)
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.compacting || j.pause > 0 {
		j.pause = max(0, j.pause-1)
		return
	}
	if len(b.due()) == 0 {
		return
	}
	j.compacting = true
	ctx, j.stop = context.WithCancel(context.WithoutCancel(ctx))
	stop := j.stop
	j.work.Go(func() {
		defer stop()
		var err error
		for all := b.due(); len(all) > 0 && err == nil; all = b.due() {
			err = p.compact(ctx, phase, epoch, b, all)
		}
		j.mu.Lock()
		j.compacting = false
		if err != nil {
			j.pause = fanIn
		}
		j.mu.Unlock()
		if err != nil && ctx.Err() == nil {
			p.warn("small files of kept tasks stay", phase, err)
		}
	})
}

// compact merges segments into one and removes them. It may be ended anywhere: as long as both are there, both say the same.
// They are removed only after a look for a higher epoch: whoever took over before it may have seen them and not the new one.
func (p *Publisher) compact(ctx context.Context, phase mr.PhaseID, epoch int64, b *book, from []segment) error {
	parts := make([][]record, len(from))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for i := range from {
		g.Go(func() (err error) {
			parts[i], err = p.readSegment(gctx, phase, &from[i])
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if slices.ContainsFunc(from, func(s segment) bool { return s.bad }) {
		b.condemn(from) // and go on without them
		return nil
	}
	s, err := p.writeSegment(ctx, phase, epoch, merge(slices.Concat(parts...)))
	if err != nil {
		b.lost(s)
		return err
	}
	if err := p.overtaken(ctx, epoch); err != nil {
		b.lost(s)
		return err
	}
	b.replace(from, s)
	return p.remove(ctx, phase, b, from)
}

// remove removes segments. What could not be removed is dead and tried again when the phase is published.
func (p *Publisher) remove(ctx context.Context, phase mr.PhaseID, b *book, all []segment) error {
	failed := make([]error, len(all))
	var g errgroup.Group
	g.SetLimit(readers)
	for i, s := range all {
		g.Go(func() error {
			if err := p.FS.Remove(ctx, p.tasks(phase).Join(s.name())); err != nil && !errs.Is(err, errs.NotExist) {
				failed[i] = err
				b.lost(s)
			}
			return nil
		})
	}
	return errors.Join(g.Wait(), errors.Join(failed...))
}

func (b *book) condemn(all []segment) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range all {
		if i := slices.IndexFunc(b.live, func(o segment) bool { return o.name() == s.name() }); i >= 0 {
			b.live[i].bad = s.bad
		}
	}
}

func (b *book) replace(from []segment, by segment) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.live = slices.DeleteFunc(b.live, func(s segment) bool { return slices.Contains(from, s) })
	b.live = append(b.live, by)
}

// clear removes the segments of a phase that was published, in the background: nobody reads them any more.
func (p *Publisher) clear(ctx context.Context, phase mr.PhaseID) {
	j := &p.journal
	b := j.book(phase)
	b.mu.Lock()
	all := slices.Concat(b.live, b.dead)
	b.live, b.dead = nil, nil
	b.mu.Unlock()
	if len(all) == 0 {
		return
	}
	j.work.Go(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeWithin)
		defer cancel()
		if err := p.remove(ctx, phase, b, all); err != nil {
			p.warn("files of kept tasks stay", phase, err)
		}
	})
}
