package run

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vista-mr/vista-mr/jobs/results"
	"github.com/vista-mr/vista-mr/vistaopt"
)

// longest is more seconds than any run takes: 30 years.
const longest = 1e9

// senseless names the first key of a run's results whose value no run can have left; "": there is none. Results are a file, which
// anybody may have edited. whole says that one process did all of the work.
func senseless(s *results.Summary, whole bool) string {
	p := &s.Plan
	if err := planOf(p).Validate(); err != nil {
		return "plan." + strings.TrimPrefix(err.Error(), "plan: ")
	}
	if p.CPU > p.Partitions {
		return fmt.Sprintf("plan.cpu is %d, of %d partitions", p.CPU, p.Partitions)
	}
	if p.Actual.Seconds == 0 {
		return "plan.actual.seconds is missing"
	}
	if why := senselessCost("plan.actual", &p.Actual); why != "" {
		return why
	}
	if why := senselessEstimate("plan", p.Estimate); why != "" {
		return why
	}
	if len(p.Phases) == 0 {
		return "plan.phases is empty"
	}
	seen := map[string]bool{}
	for _, part := range []struct {
		key    string
		phases []results.Phase
	}{{"plan.phases", p.Phases}, {"plan.around", p.Around}} {
		for i := range part.phases {
			ph, key := &part.phases[i], fmt.Sprintf("%s[%d]", part.key, i)
			if ph.Name == "" || seen[ph.Name] {
				return fmt.Sprintf("%s.name %q is empty or used before", key, ph.Name)
			}
			seen[ph.Name] = true
			if why := senselessPhase(key, ph, p, whole); why != "" {
				return why
			}
		}
	}
	if m := p.Machines; m != nil && (m.Workers < 1 || m.Cores < 1) {
		return fmt.Sprintf("plan.machines: %d workers of %d cores", m.Workers, m.Cores)
	}
	return senselessCounters(&s.Counters)
}

// senselessPhase is senseless of one phase. Rows lie in as many partitions as the plan has, each of which a task trains on; others have as
// many tasks, or fewer. Where one process did all of the work, and not a tracker's workers, no attempt of it went unseen.
func senselessPhase(key string, ph *results.Phase, p *results.Plan, whole bool) string {
	switch kind, _, _ := strings.Cut(ph.Name, "-"); {
	case ph.Tasks < 1 || ph.Tasks > p.Partitions || kind == "train" && ph.Tasks != p.Partitions:
		return fmt.Sprintf("%s.tasks is %d, of %d partitions", key, ph.Tasks, p.Partitions)
	case ph.Attempts < 0, ph.Attempts > 0 && ph.Attempts < ph.Tasks && whole && p.Machines != nil && !p.Machines.Tracker:
		return fmt.Sprintf("%s.attempts is %d, of %d tasks", key, ph.Attempts, ph.Tasks)
	}
	if why := senselessEstimate(key, ph.Estimate); why != "" {
		return why
	}
	return senselessCost(key+".actual", &ph.Actual)
}

// senselessCounters is senseless of records.
func senselessCounters(c *results.Counters) string {
	for _, of := range []struct {
		key string
		n   int64
	}{{"rows", c.Rows}, {"images", c.Images}, {"matched", c.Matched}, {"bad", c.Bad}, {"train", c.Train}, {"test", c.Test}, {"leftOut", c.LeftOut}, {"dropped", c.Dropped}} {
		if of.n < 0 {
			return fmt.Sprintf("counters.%s is %d", of.key, of.n)
		}
	}
	switch {
	case c.Matched > c.Rows-c.LeftOut-c.Dropped:
		return fmt.Sprintf("counters.matched is %d, of %d rows without %d that were left out", c.Matched, c.Rows, c.LeftOut+c.Dropped)
	case c.Train+c.Test > c.Matched:
		return fmt.Sprintf("counters.matched is %d, and %d were trained or tested on", c.Matched, c.Train+c.Test)
	}
	return ""
}

// senselessEstimate is senseless of what was expected; nil: nothing was.
func senselessEstimate(key string, c *results.Cost) string {
	if c == nil {
		return ""
	}
	if c.CoreSeconds < 0 {
		return fmt.Sprintf("%s.estimate.coreSeconds is %g", key, c.CoreSeconds)
	}
	return senselessCost(key+".estimate", c)
}

// otherPhases names a phase of a run that its plan, whose phases are given, does not have, or the other way round; "": there is none.
// Features may have been kept for the user, or not.
func otherPhases(p *results.Plan, planned []vistaopt.PhaseEstimate) string {
	const features = "features"
	around := func(name string) bool { return name == vistaopt.StartPhase || name == vistaopt.ResultsPhase }
	for i, ph := range p.Phases {
		if ph.Name != features && (around(ph.Name) || !slices.ContainsFunc(planned, func(e vistaopt.PhaseEstimate) bool { return e.Name == ph.Name })) {
			return fmt.Sprintf("plan.phases[%d].name is %q, which is no phase of the plan (%s)", i, ph.Name, planOf(p))
		}
	}
	for i, ph := range p.Around {
		if !around(ph.Name) {
			return fmt.Sprintf("plan.around[%d].name is %q", i, ph.Name)
		}
	}
	for _, e := range planned {
		if e.Name != features && !around(e.Name) && !slices.ContainsFunc(p.Phases, func(ph results.Phase) bool { return e.Name == ph.Name }) {
			return fmt.Sprintf("plan.phases has no %q, which the plan has (%s)", e.Name, planOf(p))
		}
	}
	return ""
}

// senselessCost is senseless of what was measured, as far as it is shown. What is not known is 0.
func senselessCost(key string, c *results.Cost) string {
	switch {
	case c.Seconds < 0 || c.Seconds > longest:
		return fmt.Sprintf("%s.seconds is %g", key, c.Seconds)
	case c.BytesWritten < 0:
		return fmt.Sprintf("%s.bytesWritten is %d", key, c.BytesWritten)
	case c.PeakMemory < 0:
		return fmt.Sprintf("%s.peakMemory is %d", key, c.PeakMemory)
	}
	return ""
}
