package task

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// Pinned is a rounds attempt between Open and Finish or Close. Its methods may be called from
// any goroutine; they take turns, so that Close waits for a round that is being computed and
// nothing is let go of while it is in use.
type Pinned struct {
	mu     sync.Mutex
	a      *attempt
	p      mr.Partition
	busy   time.Duration
	closed bool
}

// Open starts a rounds attempt: its partition is read and stays.
func (e *Env) Open(ctx context.Context, spec *mr.TaskSpec, progress Progress) (*Pinned, error) {
	start := time.Now()
	a, err := e.newAttempt(spec, progress)
	if err != nil {
		return nil, e.wrap(spec, err)
	}
	p := &Pinned{a: a}
	err = errs.Guard(func() error {
		if a.kind.Rounds == nil {
			return errs.E("run", errs.Invalid, "", fmt.Errorf("kind %s has no rounds", a.kind.Name))
		}
		r, err := a.kind.Rounds(spec.Params)
		if err != nil {
			return errs.E("parameters", errs.Invalid, "", err)
		}
		p.p, err = r.Open(ctx, a)
		return err
	})
	if err == nil {
		if err = a.prove(ctx); err != nil {
			err = errors.Join(err, p.letGo())
		}
	}
	if err != nil {
		a.abort()
		err = a.blame(ctx, err)
		a.letGo()
		err = e.wrap(spec, err)
		a.failed(err)
		return nil, err
	}
	p.busy = time.Since(start)
	a.routine.Info("partition pinned", zap.Float64("seconds", p.busy.Seconds()))
	return p, nil
}

// Spec is the attempt's specification.
func (p *Pinned) Spec() *mr.TaskSpec { return p.a.spec }

// errClosed says that a call came too late; whoever closed knows.
var errClosed = errs.E("round", errs.Canceled, "", errors.New("the partition is closed"))

// Round computes the partition's sum for a message and appends it to dst.
func (p *Pinned) Round(ctx context.Context, round int, msg, dst []byte) (sum []byte, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errClosed
	}
	start := time.Now()
	err = errs.Guard(func() error {
		sum, err = p.p.Round(ctx, round, msg, dst)
		return err
	})
	p.busy += time.Since(start)
	if err != nil {
		err = p.a.env.wrap(p.a.spec, err)
		p.a.failed(err)
		return nil, err
	}
	return sum, nil
}

// Finish writes the partition's outputs, lets go of the partition and commits the files. It calls computed once, before it commits:
// from then on it only waits for the store.
func (p *Pinned) Finish(ctx context.Context, final []byte, computed func()) (*mr.Manifest, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		computed()
		return nil, errClosed
	}
	start := time.Now()
	err := errs.Guard(func() error { return p.p.Finish(ctx, p.a, final) })
	err = errors.Join(err, p.letGo())
	computed()
	m, err := p.a.end(ctx, err)
	if err != nil {
		err = p.a.env.wrap(p.a.spec, err)
		p.a.failed(err)
		return nil, err
	}
	m.Seconds = (p.busy + time.Since(start)).Seconds()
	p.a.succeeded(m)
	return m, nil
}

// Close lets go of a partition that will not be finished. Closing twice does nothing.
func (p *Pinned) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	err := p.letGo()
	p.a.abort()
	p.a.letGo()
	return err
}

// letGo is called with p.mu held.
func (p *Pinned) letGo() error {
	p.closed = true
	return errs.Guard(p.p.Close)
}
