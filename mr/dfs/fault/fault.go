// Package fault is a dfs adapter that fails on purpose: it passes operations on to another
// file system and does to some of them what its rules say.
//
// Invariant: without a rule that matches it behaves as the file system below, and what it
// breaks it breaks as real stores do: a failed commit shows nothing or the whole file, a
// writer whose Write failed refuses Commit, a lost reply hides an operation that was done.
//
// It also counts: operations, so that a sweep (package sweep) can fail each of them in turn;
// and files and writers that were never closed or ended, so that a test can find leaks.
// Tests and the chaos tools use it; nothing else does.
package fault

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// Options are rules and what they need.
type Options struct {
	Rules []Rule
	Seed  uint64 // for rules with P
	// Sleep waits, or returns the error of ctx when that is done first; nil: by the system's
	// clock. A read, write or abort has no ctx of its own: it gets context.Background().
	Sleep func(ctx context.Context, d time.Duration) error
	Trace bool // keep every operation for Trace
}

// Call is one operation that was asked for.
type Call struct {
	Op   Op
	Path dfs.Path
}

// String is the operation's name and the path.
func (c Call) String() string { return c.Op.String() + " " + string(c.Path) }

// FS passes operations on.
type FS struct {
	under dfs.FS
	sleep func(context.Context, time.Duration) error
	seed  uint64
	trace bool

	mu     sync.Mutex
	rules  []*state
	counts [ops]int
	calls  []Call
	hits   []Call
	down   *Rule // from now on every operation fails
	full   *Rule // from now on whatever needs space fails
	open   map[any]string
}

var _ dfs.FS = (*FS)(nil)

// state is a rule and how often it has matched.
type state struct {
	Rule
	matched, done int
	each          map[Call]int // only with P
}

// New wraps a file system.
func New(under dfs.FS, o Options) *FS {
	f := &FS{under: under, sleep: o.Sleep, seed: o.Seed, trace: o.Trace, open: map[any]string{}}
	if f.sleep == nil {
		f.sleep = sleep
	}
	for _, r := range o.Rules {
		f.rules = append(f.rules, &state{Rule: r, each: map[Call]int{}})
	}
	return f
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Unwrap returns the file system below.
func (f *FS) Unwrap() dfs.FS { return f.under }

// Caps are those of the file system below.
func (f *FS) Caps() dfs.Caps { return f.under.Caps() }

// Count is how many operations were asked for to which the action can be done: so many values
// of Nth make sense in a rule of that action for Any operation.
func (f *FS) Count(a Action) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for op := Open; op < ops; op++ {
		if a.applies(op) {
			n += f.counts[op]
		}
	}
	return n
}

// CountOp is how many operations of one kind were asked for.
func (f *FS) CountOp(o Op) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts[o]
}

// Trace returns the operations asked for so far, if Options.Trace is set.
func (f *FS) Trace() []Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// Hits returns the operations that a rule was applied to, delays excepted. Of those that fail
// because the store is down or full, only the first is there.
func (f *FS) Hits() []Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.hits)
}

// Leaks returns, sorted, the files that were opened and not closed and the writers that were
// ended neither by a Commit that succeeded nor by Abort.
func (f *FS) Leaks() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for _, what := range f.open {
		out = append(out, what)
	}
	slices.Sort(out)
	return out
}

func (f *FS) opened(handle any, what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open[handle] = what
}

func (f *FS) ended(handle any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.open, handle)
}

// verdict is what the rules say about one operation. At most one rule breaks it; delays add up.
type verdict struct {
	rule  *Rule
	call  Call
	delay time.Duration
}

// is tells whether the rule that breaks the operation does this.
func (v verdict) is(a Action) bool { return v.rule != nil && v.rule.Do == a }

// err is the error of the rule.
func (v verdict) err() error {
	return errs.E(v.call.Op.String(), v.rule.kind(), string(v.call.Path), fmt.Errorf("injected: %s", v.rule))
}

// judge counts an operation and asks the rules.
func (f *FS) judge(op Op, p dfs.Path) verdict {
	f.mu.Lock()
	defer f.mu.Unlock()
	v := verdict{call: Call{op, p}}
	f.counts[op]++
	if f.trace {
		f.calls = append(f.calls, v.call)
	}
	for _, s := range f.rules {
		if !f.match(s, v.call) {
			continue
		}
		switch s.Do {
		case Delay:
			v.delay += s.By
			continue
		case Down:
			f.down = &s.Rule
		case Full:
			f.full = &s.Rule
		}
		if v.rule == nil {
			v.rule = &s.Rule
			f.hits = append(f.hits, v.call)
		}
	}
	switch {
	case f.down != nil:
		v.rule = f.down
	case f.full != nil && v.rule == nil && Full.applies(op):
		v.rule = f.full
	}
	return v
}

// match counts a match and tells whether the rule is to be applied.
func (f *FS) match(s *state, c Call) bool {
	if !s.Matches(c) {
		return false
	}
	s.matched++
	if s.matched < s.Nth {
		return false
	}
	times := s.Times
	if times == 0 {
		times = -1
		if s.Nth > 0 {
			times = 1
		}
	}
	if times >= 0 && s.done >= times {
		return false
	}
	if s.P > 0 {
		s.each[c]++
		if f.share(c, s.each[c]) >= s.P {
			return false
		}
	}
	s.done++
	return true
}

// share is a number in [0, 1) that depends on the n-th call of its kind only, not on what
// else runs at the time.
func (f *FS) share(c Call, n int) float64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %d %s %d", f.seed, c.Op, c.Path, n)
	x := h.Sum64() // the high bits of FNV are weak: mix
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	return float64(x>>11) / (1 << 53)
}

// before does what comes before an operation: delays, hanging, failing. A nil error: go on.
func (f *FS) before(ctx context.Context, op Op, p dfs.Path) (verdict, error) {
	v := f.judge(op, p)
	if v.delay > 0 {
		if err := f.sleep(ctx, v.delay); err != nil {
			return v, errs.E(op.String(), errs.Canceled, string(p), err)
		}
	}
	if v.rule == nil {
		return v, nil
	}
	switch v.rule.Do {
	case Fail, Down, Full:
		return v, v.err()
	case Hang:
		<-ctx.Done()
		return v, errs.E(op.String(), errs.Canceled, string(p), ctx.Err())
	}
	return v, nil
}

// after replaces the reply of an operation that was done.
func (v verdict) after(err error) error {
	if err == nil && v.is(Lose) {
		return v.err()
	}
	return err
}

// Open opens a file whose reads obey the rules.
func (f *FS) Open(ctx context.Context, p dfs.Path) (dfs.File, error) {
	if _, err := f.before(ctx, Open, p); err != nil {
		return nil, err
	}
	under, err := f.under.Open(ctx, p)
	if err != nil {
		return nil, err
	}
	h := &file{fs: f, path: p, under: under}
	f.opened(h, "file "+string(p)+" is open")
	return h, nil
}

// Create starts a file whose writes obey the rules.
func (f *FS) Create(ctx context.Context, p dfs.Path) (dfs.Writer, error) {
	if _, err := f.before(ctx, Create, p); err != nil {
		return nil, err
	}
	under, err := f.under.Create(ctx, p)
	if err != nil {
		return nil, err
	}
	w := &writer{fs: f, path: p, under: under}
	f.opened(w, "writer of "+string(p)+" has not ended")
	return w, nil
}

// Claim creates an empty marker.
func (f *FS) Claim(ctx context.Context, p dfs.Path) error {
	v, err := f.before(ctx, Claim, p)
	if err != nil {
		return err
	}
	return v.after(f.under.Claim(ctx, p))
}

// Stat describes a file.
func (f *FS) Stat(ctx context.Context, p dfs.Path) (dfs.Info, error) {
	if _, err := f.before(ctx, Stat, p); err != nil {
		return dfs.Info{}, err
	}
	return f.under.Stat(ctx, p)
}

// List yields the files below a folder. Each ranging over it is an operation.
func (f *FS) List(ctx context.Context, dir dfs.Path) iter.Seq2[dfs.Info, error] {
	return func(yield func(dfs.Info, error) bool) {
		v, err := f.before(ctx, List, dir)
		if err != nil {
			yield(dfs.Info{}, err)
			return
		}
		n := int64(0)
		for info, err := range f.under.List(ctx, dir) {
			if v.is(Torn) && n >= v.rule.After {
				break
			}
			if !yield(info, err) {
				return
			}
			n++
		}
		if v.is(Torn) {
			yield(dfs.Info{}, v.err())
		}
	}
}

// Remove removes a file.
func (f *FS) Remove(ctx context.Context, p dfs.Path) error {
	v, err := f.before(ctx, Remove, p)
	if err != nil {
		return err
	}
	return v.after(f.under.Remove(ctx, p))
}

// String names the rules, for messages of tests.
func (f *FS) String() string {
	var all []string
	for _, s := range f.rules {
		all = append(all, s.Rule.String())
	}
	return strings.Join(all, "; ")
}

var errClosed = errors.New("the file is closed")
