package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
)

// errKill is why a context ends when somebody kills a job.
type errKill struct{ reason string }

func (e errKill) Error() string { return e.reason }

// onRequest is why a job is killed: there is no other reason yet.
const onRequest = "on request"

// end kills a job, or takes one that waits off the queue, and returns where it was before. Without an error the job does not go on, whatever
// becomes of this tracker.
func (m *jobs) end(id, reason string) (before State, err error) {
	m.mu.Lock()
	b := m.byID[id]
	if b == nil {
		m.mu.Unlock()
		return "", noJob("kill", id)
	}
	before = b.State
	if b.kill != nil {
		b.kill(errKill{reason})
		b.Ending = true
		m.changes.Add(1)
	}
	if before == Queued {
		m.off(b)
	}
	m.mu.Unlock()
	if before.Over() {
		return before, nil
	}
	err = m.keepKill(id)
	if before == Queued {
		m.overKilled(b, reason)
	}
	return before, err
}

// off takes a job off the queue: nobody starts it now. It is called with m.mu held.
func (m *jobs) off(b *book) {
	b.State = Running
	m.running++
}

// overKilled writes down that a job of which no driver runs was killed.
func (m *jobs) overKilled(b *book, reason string) {
	ctx, cancel := context.WithCancelCause(m.base)
	cancel(errKill{reason})
	m.over(ctx, b, ending{code: int(exit.Killed)}, nil)
}

// killedFile says that somebody has killed a job. It may take its driver some time to end, and the tracker may not live until then: the next
// one ends the job, and does not run it again.
const killedFile = "killed"

// killPatience is how long a store may take to note a kill: whoever asks for it waits.
const killPatience = 10 * time.Second

// keepKill writes it down, before anybody is told so.
func (m *jobs) keepKill(id string) error {
	ctx, cancel := context.WithTimeout(m.base, killPatience)
	defer cancel()
	if err := m.store.Claim(ctx, dfs.Path("jobs").Join(id, killedFile)); err != nil && !errs.Is(err, errs.Exist) {
		return &errs.Error{Op: "kill", Kind: errs.Unreachable, Path: id, Err: fmt.Errorf("it is told to end, but the tracker's state has not noted that: %w", err),
			Fix: "see that it ends (vista-mr status " + id + "): if the tracker dies before, the next one may go on with it"}
	}
	if m.superseded(ctx) { // it may have read the job before this
		return errs.E("kill", errs.Unreachable, id, errors.New("another tracker has taken over: it may go on with the job"))
	}
	return nil
}
