package task

import (
	"context"
	"errors"
	"io"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/vista-mr/vista-mr/mr/errs"
)

// Shared holds a process's one instance of each expensive resource: a CNN session, a
// broadcast table. Opening happens once, whoever asks first; the others wait for it.
//
// Invariant: an instance is closed only when no attempt that asked for it is still running.
type Shared struct {
	mu    sync.Mutex
	items map[string]*item
}

type item struct {
	ready chan struct{} // closed when value or err is set
	value io.Closer
	err   error
	users map[*attempt]bool
	opens *attempt
}

// look is how often one who waits looks whether the one who opens goes on.
const look = 200 * time.Millisecond

// NewShared returns an empty holder.
func NewShared() *Shared { return &Shared{items: map[string]*item{}} }

// get returns the instance under key for an attempt, opening it if nobody has. A failed opening
// is reported to all who waited and forgotten, so that a later attempt tries again; one that was
// cancelled with the attempt that opened is tried by those who waited.
func (s *Shared) get(ctx context.Context, user *attempt, key string, open func(context.Context) (io.Closer, error)) (io.Closer, error) {
	for {
		s.mu.Lock()
		it, ok := s.items[key]
		if !ok {
			it = &item{ready: make(chan struct{}), users: map[*attempt]bool{user: true}, opens: user}
			s.items[key] = it
			s.mu.Unlock()
			return s.open(ctx, key, it, open)
		}
		it.users[user] = true
		s.mu.Unlock()
		if err := it.wait(ctx, user); err != nil {
			return nil, err
		}
		if it.err == nil || ctx.Err() != nil || !errs.Is(it.err, errs.Canceled) {
			return it.value, it.err
		}
	}
}

// wait waits until an item is open or cannot be opened. Who waits moves as long as the one who opens does: it is no more stuck than that one.
func (it *item) wait(ctx context.Context, user *attempt) error {
	tick := time.NewTicker(look)
	defer tick.Stop()
	for seen := it.opens.moves.Load(); ; {
		select {
		case <-it.ready:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			if n := it.opens.moves.Load(); n != seen {
				seen = n
				user.moves.Add(1)
			}
		}
	}
}

// open opens an item for all who wait for it.
func (s *Shared) open(ctx context.Context, key string, it *item, open func(context.Context) (io.Closer, error)) (io.Closer, error) {
	// Closed in a defer, so that a panic in open does not leave the others waiting.
	it.err = errors.New("opening did not end")
	defer func() {
		if it.err != nil {
			s.mu.Lock()
			delete(s.items, key)
			s.mu.Unlock()
		}
		close(it.ready)
	}()
	it.value, it.err = open(ctx)
	return it.value, it.err
}

// release says that an attempt has ended.
func (s *Shared) release(user *attempt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, it := range s.items {
		delete(it.users, user)
	}
}

// CloseIdle closes what no running attempt uses, except what has a key with one of the
// prefixes in keep.
func (s *Shared) CloseIdle(keep ...string) error {
	var gone []string
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, it := range s.items {
		kept := len(it.users) > 0
		for _, p := range keep {
			kept = kept || strings.HasPrefix(key, p)
		}
		if !kept {
			gone = append(gone, key)
		}
	}
	sort.Strings(gone)
	var all []error
	for _, key := range gone {
		it := s.items[key]
		delete(s.items, key)
		<-it.ready // nobody uses it, so opening has ended
		if it.err == nil {
			all = append(all, errs.Guard(it.value.Close))
		}
	}
	return errors.Join(all...)
}
