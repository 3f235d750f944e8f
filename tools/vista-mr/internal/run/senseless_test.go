package run

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/results"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
)

// TestAnalyzeOfSenselessResults: figures that no run can have measured are refused with their key, not compared; a run on other
// machines is compared, and what it had is said.
func TestAnalyzeOfSenselessResults(t *testing.T) {
	_, j := ran(t, func(*conf.Job) {})
	file := OutputFile(j.Output, ResultsFile)
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	all := func(t *testing.T, change func(s *results.Summary)) {
		t.Helper()
		s, err := results.Parse(good)
		if err != nil {
			t.Fatal(err)
		}
		change(s)
		b, err := results.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		save(t, file, b)
	}
	with := func(t *testing.T, change func(p *results.Plan)) {
		t.Helper()
		all(t, func(s *results.Summary) { change(&s.Plan) })
	}
	for want, change := range map[string]func(p *results.Plan){
		"plan.actual.seconds is -5":               func(p *results.Plan) { p.Actual.Seconds = -5 },
		"plan.actual.seconds is missing":          func(p *results.Plan) { p.Actual.Seconds = 0 },
		"plan.actual.seconds is 1e+300":           func(p *results.Plan) { p.Actual.Seconds = 1e300 },
		"plan.actual.peakMemory is -10":           func(p *results.Plan) { p.Actual.PeakMemory = -10 },
		"plan.actual.bytesWritten is -1":          func(p *results.Plan) { p.Actual.BytesWritten = -1 },
		`plan.inference "bogus" is none of`:       func(p *results.Plan) { p.Inference = "bogus" },
		"plan.cpu 0, ":                            func(p *results.Plan) { p.CPU = 0 },
		"plan.phases is empty":                    func(p *results.Plan) { p.Phases = nil },
		"plan.phases[1].name \"table\" is":        func(p *results.Plan) { p.Phases[1].Name = p.Phases[0].Name },
		"plan.phases[0].actual.seconds is -1":     func(p *results.Plan) { p.Phases[0].Actual.Seconds = -1 },
		"plan.around[1].actual.bytesWritten is -": func(p *results.Plan) { p.Around[1].Actual.BytesWritten = -7 },
		"plan.cpu is 100000, of ":                 func(p *results.Plan) { p.CPU = 100_000 },
		"plan.phases[1].tasks is ":                func(p *results.Plan) { p.Partitions, p.CPU = 1, 1 },
		"plan.phases[3].tasks is ":                func(p *results.Plan) { p.Partitions = 99 },
		"plan.phases[0].tasks is 0":               func(p *results.Plan) { p.Phases[0].Tasks = 0 },
		"plan.phases[1].attempts is -4":           func(p *results.Plan) { p.Phases[1].Attempts = -4 },
		"plan.phases[1].attempts is 1, of ":       func(p *results.Plan) { p.Phases[1].Attempts = 1 },
		"plan.phases[1].name is \"extract\"":      func(p *results.Plan) { p.Inference = "staged" },
		"plan.phases[0].name is \"start\"":        func(p *results.Plan) { p.Phases[0].Name, p.Around = "start", nil },
		"plan.phases has no \"unmatched\"":        func(p *results.Plan) { p.Phases = slices.Delete(p.Phases, 2, 3) },
		"plan.around[0].name is \"begin\"":        func(p *results.Plan) { p.Around[0].Name = "begin" },
		"plan.estimate.seconds is -1":             func(p *results.Plan) { p.Estimate.Seconds = -1 },
		"plan.phases[2].estimate.seconds is -1":   func(p *results.Plan) { p.Phases[2].Estimate.Seconds = -1 },
		"plan.phases[2].estimate.coreSeconds is ": func(p *results.Plan) { p.Phases[2].Estimate.CoreSeconds = -1 },
		"plan.machines: 0 workers":                func(p *results.Plan) { p.Machines = &results.Machines{Cores: 2} },
	} {
		with(t, change)
		if _, err := analyzed(t.Context(), *j); errorID(err) != "E-RESULTS" || exit.Code(err) != 3 || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
	for want, change := range map[string]func(c *results.Counters){
		"counters.matched is 5, and ":        func(c *results.Counters) { c.Matched = 5 },
		"counters.matched is 1000000, of ":   func(c *results.Counters) { c.Matched = 1_000_000 },
		"counters.test is -1":                func(c *results.Counters) { c.Test = -1 },
		"counters.matched is ":               func(c *results.Counters) { c.LeftOut = c.Rows },
		"counters.matched is -9223372036854": func(c *results.Counters) { c.Matched = math.MinInt64 },
	} {
		all(t, func(s *results.Summary) { change(&s.Counters) })
		if _, err := analyzed(t.Context(), *j); errorID(err) != "E-RESULTS" || exit.Code(err) != 3 || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
	// Of other processes not all is seen.
	for name, change := range map[string]func(p *results.Plan){
		"not known":      func(p *results.Plan) { p.Phases[1].Attempts = 0 },
		"more":           func(p *results.Plan) { p.Phases[1].Attempts += 3 },
		"of workers":     func(p *results.Plan) { p.Phases[1].Attempts, p.Machines.Tracker = 1, true },
		"older versions": func(p *results.Plan) { p.Phases[1].Attempts, p.Machines = 1, nil },
	} {
		with(t, change)
		if _, err := analyzed(t.Context(), *j); err != nil {
			t.Errorf("attempts, %s: %v", name, err)
		}
	}
	var cores int
	for want, change := range map[string]func(p *results.Plan){
		"": func(p *results.Plan) { cores = p.Machines.Cores },
		"3 workers of 8 cores there, one process": func(p *results.Plan) { p.Machines = &results.Machines{Workers: 3, Cores: 8, Tracker: true} },
		"1 worker of ":                     func(p *results.Plan) { p.Machines.Tracker = true },
		"one process of 100 cores there, ": func(p *results.Plan) { p.Machines.Cores = 100 },
	} {
		with(t, change)
		x, err := analyzed(t.Context(), *j)
		if err != nil {
			t.Fatal(err)
		}
		if got := x.Actual.Machines; (got == "") != (want == "") || !strings.HasPrefix(got, want) || len(x.Actual.Differs) > 0 {
			t.Errorf("%q, want %q; differs in %q", got, want, x.Actual.Differs)
		}
	}
	with(t, func(p *results.Plan) { p.Machines = nil }) // of an older version
	if x, err := analyzed(t.Context(), *j); err != nil || x.Actual.Machines != "" {
		t.Errorf("of unknown machines: %+v, %v", x, err)
	}
	if cores < 1 {
		t.Error("a run does not say how many cores it had")
	}
}
