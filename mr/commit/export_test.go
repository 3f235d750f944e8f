package commit

import (
	"context"

	"github.com/vista-mr/vista-mr/mr"
)

// Wait waits for what goes on in the background to end by itself.
func (p *Publisher) Wait() { p.journal.work.Wait() }

// ForgetBeside writes one group of a record of m and of the question whether anything is kept of another attempt, of which nothing
// was; it returns what both are told.
func (p *Publisher) ForgetBeside(ctx context.Context, m mr.Manifest, a mr.AttemptID, epoch int64) (kept, forgot error) {
	keep := &entry{phase: m.Attempt.Task.Phase, epoch: epoch, data: appendRecord(nil, recordForgotten, tryOf(m.Attempt, epoch), nil), done: make(chan error, 1)}
	forget := &entry{phase: a.Task.Phase, epoch: epoch, done: make(chan error, 1)}
	p.writeGroup(ctx, &group{entries: []*entry{keep, forget}, waiting: 2}, epoch)
	return <-keep.done, <-forget.done
}
