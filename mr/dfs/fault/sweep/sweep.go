// Package sweep runs a piece of work once for every operation that it asks of its file system,
// and each time another one of them is the one that goes wrong.
//
// Invariant: no operation is left out. The work runs once undisturbed, to count; then once
// for each operation and mode. So every error path of the work has been taken, and what it
// leaves behind has been looked at.
//
// The tests of commit, of the task runner and of the whole engine call Run. Work that runs
// goroutines may ask for its operations in another order each time; the n-th is then another
// one, which does no harm.
package sweep

import (
	"fmt"
	"testing"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/fault"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// modes are the actions that Run sweeps with unless a Scenario names others: the operation
// fails; it is done and the reply is lost; the store is gone from then on, which is what a
// crash of the process leaves; and the disk is full from then on.
var modes = []fault.Action{fault.Fail, fault.Lose, fault.Down, fault.Full}

// Result is one run. Store holds what the run has left, without faults: Check may read it, or
// run the work again on it to see whether it recovers.
type Result struct {
	Rule  fault.Rule // what went wrong; Nth is 0 for the run without faults
	Hit   fault.Call // the operation concerned
	Err   error      // what Run returned
	Store dfs.FS
}

// Clean tells whether this is the run without faults. It comes first, so that Check can keep
// what is to be expected.
func (r Result) Clean() bool { return r.Rule.Nth == 0 }

// Scenario is the work and what must hold afterwards.
type Scenario struct {
	// Store returns a new store for each run; nil: one in memory.
	Store func(t *testing.T) dfs.FS
	// Run does the work. It returns when its goroutines have ended.
	Run func(t *testing.T, fs dfs.FS) error
	// Check looks at the outcome: either the work was done, or r.Err says clearly what went
	// wrong and nothing was published. That the run without faults returns no error, that
	// errors have a kind, and that files and writers are closed is checked already.
	Check func(t *testing.T, r Result)
	// Modes are the actions to sweep with; nil: fault.Fail, Lose, Down and Full.
	Modes []fault.Action
	// Kind is the kind of the errors of Fail and Lose; errs.Unknown: Transient.
	Kind errs.Kind
	// Path restricts the sweep to the paths that it matches, see fault.Rule.
	Path string
	// Max is the number of runs for each mode, spread over all operations; 0: all of them.
	Max int
}

// Run runs the sweep, each run as a subtest.
func Run(t *testing.T, s Scenario) {
	if s.Store == nil {
		s.Store = func(*testing.T) dfs.FS { return mem.New() }
	}
	if s.Modes == nil {
		s.Modes = modes
	}
	counts := map[fault.Action]int{}
	whole := t.Run("clean", func(t *testing.T) {
		store := s.Store(t)
		fs := fault.New(store, fault.Options{Trace: true})
		if err := s.Run(t, fs); err != nil {
			t.Fatalf("without faults: %v", err)
		}
		s.check(t, fs, Result{Store: store})
		for _, mode := range s.Modes {
			counts[mode] = s.count(fs.Trace(), mode)
		}
	})
	if !whole {
		return
	}
	for _, mode := range s.Modes {
		if counts[mode] == 0 {
			t.Errorf("no operation that %v could be done to: the work does not use the file system", mode)
		}
		for _, n := range spread(counts[mode], s.Max) {
			t.Run(fmt.Sprintf("%v/%d", mode, n), func(t *testing.T) {
				rule := fault.Rule{Do: mode, Nth: n, Path: s.Path}
				if mode == fault.Fail || mode == fault.Lose {
					rule.Kind = s.Kind
				}
				store := s.Store(t)
				fs := fault.New(store, fault.Options{Rules: []fault.Rule{rule}})
				r := Result{Rule: rule, Store: store, Err: s.Run(t, fs)}
				if hits := fs.Hits(); len(hits) > 0 {
					r.Hit = hits[0]
				}
				t.Logf("%v at %v: %v", rule, r.Hit, r.Err)
				s.check(t, fs, r)
			})
		}
	}
}

func (s *Scenario) check(t *testing.T, fs *fault.FS, r Result) {
	t.Helper()
	for _, leak := range fs.Leaks() {
		t.Errorf("leak: %s", leak)
	}
	if r.Err != nil && errs.KindOf(r.Err) == errs.Unknown {
		t.Errorf("the error has lost its kind: %v", r.Err)
	}
	s.Check(t, r)
}

// count is how many of the calls the mode can be done to.
func (s *Scenario) count(calls []fault.Call, mode fault.Action) int {
	rule := fault.Rule{Do: mode, Path: s.Path}
	n := 0
	for _, c := range calls {
		if rule.Matches(c) {
			n++
		}
	}
	return n
}

// spread returns at most limit numbers of 1 to n, the first and the last among them.
func spread(n, limit int) []int {
	if limit <= 0 || limit > n {
		limit = n
	}
	var out []int
	for i := range limit {
		k := n
		if limit > 1 {
			k = 1 + i*(n-1)/(limit-1)
		}
		out = append(out, k)
	}
	return out
}
