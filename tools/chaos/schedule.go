//go:build linux

package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// fault is something that is done to a run, and undone after a while.
type fault struct {
	at   float64       // when, as a share of the calm run's time behind the submission
	kind string        // one of the keys of kinds
	who  int           // a worker's number, where it is one's
	last time.Duration // until it is undone, or what was killed is started again
	both bool          // variant: what it means is the kind's
}

// kind says what may be done where.
type kind struct {
	weight  int
	stores  string                             // "": all
	shorter bool                               // it lasts up to 2 s, else up to 9: workers are given up after 3 to 5
	two     string                             // what the variant says
	do      func(r *run, f fault) func() error // returns what undoes it; nil: it had nothing to be done to
}

// kinds are all faults. A variant of a kind is one more seeded bit.
var kinds = map[string]kind{
	"kill-worker":   {weight: 6, shorter: true, do: (*run).killWorker},
	"kill-tracker":  {weight: 5, shorter: true, do: (*run).killTracker},
	"kill-driver":   {weight: 4, shorter: true, do: (*run).killDriver},
	"stop-worker":   {weight: 4, do: (*run).stopWorker},
	"stop-tracker":  {weight: 3, do: (*run).stopTracker},
	"stop-driver":   {weight: 2, do: (*run).stopDriver},
	"usurp-tracker": {weight: 3, do: (*run).usurp, two: " and cut off"},
	"hold-up":       {weight: 3, do: (*run).holdUp},
	"hold-down":     {weight: 3, do: (*run).holdDown},
	"delay":         {weight: 2, do: (*run).delay},
	"cut":           {weight: 3, shorter: true, do: (*run).cut, two: " and keep"},
	"full-scratch":  {weight: 2, do: (*run).fillScratch},
	"full-output":   {weight: 3, stores: "local", do: (*run).fillOutput},
	"kill-server":   {weight: 5, stores: "s3 hdfs", shorter: true, do: (*run).killServer},
	"stop-server":   {weight: 2, stores: "s3 hdfs", do: (*run).stopServer},
	"hold-store":    {weight: 3, stores: "s3 hdfs", do: (*run).holdStore, two: " of the tracker"},
}

// workers is how many a run has.
const workers = 3

// schedule is what a seed makes of a run.
type schedule struct {
	seed   int64
	store  string
	job    string // one of variants
	faults []fault
}

// newSchedule draws a schedule. The same seed and store give the same one, also where a fault cannot be carried out.
func newSchedule(seed int64, store string) schedule {
	r := rand.New(rand.NewPCG(uint64(seed), 0x76697374612d6d72))
	s := schedule{seed: seed, store: store, job: variants[r.IntN(len(variants))].name}
	var names []string
	for name, k := range kinds {
		if k.stores == "" || slices.Contains(strings.Fields(k.stores), store) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	total := 0
	for _, name := range names {
		total += kinds[name].weight
	}
	drivers := 0
	for range 1 + r.IntN(4) {
		pick, f := r.IntN(total), fault{}
		for _, name := range names {
			if pick -= kinds[name].weight; pick < 0 {
				f.kind = name
				break
			}
		}
		f.at, f.who, f.both = r.Float64()*1.1, r.IntN(workers), r.IntN(2) == 0
		longest := 9.0
		if kinds[f.kind].shorter {
			longest = 2
		}
		f.last = time.Duration((0.1 + r.Float64()*r.Float64()*(longest-0.1)) * float64(time.Second)).Round(10 * time.Millisecond)
		if f.kind == "kill-driver" {
			if drivers++; drivers > 2 { // a job has four
				continue
			}
		}
		s.faults = append(s.faults, f)
	}
	slices.SortFunc(s.faults, func(a, b fault) int { return int(1e6*a.at) - int(1e6*b.at) })
	return s
}

// moment is when a fault happens, after the submission of a job that takes a time if nothing does.
func (f fault) moment(pace time.Duration) time.Duration {
	return time.Duration(f.at * float64(pace)).Round(time.Millisecond)
}

func (f fault) String() string {
	s := f.kind
	switch f.kind {
	case "kill-worker", "stop-worker", "hold-up", "hold-down", "delay", "cut", "hold-store":
		s += fmt.Sprintf(" %d", f.who)
	case "kill-server", "stop-server":
		s += fmt.Sprintf(" %d", f.who+1)
	}
	if f.both {
		s += kinds[f.kind].two
	}
	return fmt.Sprintf("%s for %v", s, f.last)
}

// text is the schedule with its moments, for a pace of 0 as shares of the calm run's time.
func (s schedule) text(pace time.Duration) string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: job %s on %s\n", s.seed, s.job, s.store)
	for _, f := range s.faults {
		if pace > 0 {
			fmt.Fprintf(&b, "  after %v: %v\n", f.moment(pace), f)
		} else {
			fmt.Fprintf(&b, "  at %.2f: %v\n", f.at, f)
		}
	}
	return b.String()
}

// counts lists how often there was what.
func counts(m map[string]int) string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		names[i] = fmt.Sprintf("%s %d", name, m[name])
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

func sum(m map[string]int) (n int) {
	for _, k := range m {
		n += k
	}
	return n
}
