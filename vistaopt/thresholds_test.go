package vistaopt

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// trueThresholds sees to it that at each threshold of a job the planner chooses what it names, and one step before what it chooses
// now. It returns how many there are of which thing. Each row has an image, so that so many rows are so many images.
func trueThresholds(t interface {
	Helper()
	Errorf(string, ...any)
}, want plan.Plan, n Network, s Stats, tr Training, m Machine) map[string]int {
	t.Helper()
	now, err := Choose(want, []Network{n}, s, tr, m)
	seen := map[string]int{}
	for _, th := range Thresholds(want, []Network{n}, s, tr, m) {
		if seen[th.Of]++; err != nil {
			t.Errorf("a job that is refused has a threshold: %+v", th)
			continue
		}
		at := func(v int64) (plan.Plan, bool) {
			m, s := m, s
			if th.Of == OfMemory {
				m.Memory = v
			} else {
				s.Rows, s.Images = v, v
			}
			c, err := Choose(want, []Network{n}, s, tr, m)
			if err != nil {
				return plan.Plan{}, true
			}
			return c.Plan, false
		}
		same := func(p plan.Plan) bool {
			p.Partitions = now.Plan.Partitions
			return p == now.Plan
		}
		if p, refused := at(th.At); p != th.Plan || refused != th.Refused || same(p) {
			t.Errorf("at %d of %s: %s, refused %v; the threshold says %s, %v; now it is %s", th.At, th.Of, p, refused, th.Plan, th.Refused, now.Plan)
		}
		step := int64(1)
		if th.Of == OfMemory {
			if step = mib; th.At%mib != 0 {
				t.Errorf("a threshold of %d bytes, which is not what is shown", th.At)
			}
		}
		before := th.At + step
		if th.At > th.From {
			before = max(th.At-step, th.From)
		} else {
			before = min(before, th.From)
		}
		if p, refused := at(before); !same(p) || refused {
			t.Errorf("at %d of %s, one step before the threshold at %d: %s, refused %v; now it is %s", before, th.Of, th.At, p, refused, now.Plan)
		}
		if th.Of == OfMemory && th.At > th.From && th.Gain < 0.95 {
			t.Errorf("more memory gains %.3f", th.Gain)
		}
	}
	return seen
}

// TestThresholdsAreTrue: of a job that has thresholds of both things.
func TestThresholdsAreTrue(t *testing.T) {
	n := roster(t, "vgg16")
	s, tr := shape(n, 20_000, 200)
	if seen := trueThresholds(t, plan.Plan{}, n, s, tr, Machine{Cores: 8, Memory: 1500 * mib}); seen[OfMemory] != 2 || seen[OfRows] != 1 { // fewer rows change nothing
		t.Errorf("thresholds found: %v", seen)
	}
}

// TestThresholdsOfRandomJobs: of jobs of any size, whose partitions are fixed or follow from the rows.
func TestThresholdsOfRandomJobs(t *testing.T) {
	type job struct {
		want plan.Plan
		s    Stats
		tr   Training
		m    Machine
	}
	n := roster(t, "alexnet")
	jobs := rapid.Custom(func(t *rapid.T) (j job) {
		j.want, j.s, j.tr, j.m = drawn(t, n)
		j.s.Rows = rapid.OneOf(rapid.Int64Range(1, 3000), rapid.Int64Range(1, 300_000)).Draw(t, "few rows")
		j.s.Images, j.s.Matched = j.s.Rows, 0
		j.m.Memory = rapid.OneOf(rapid.Int64Range(300, 1500), rapid.Int64Range(300, 40_000)).Draw(t, "little memory") * mib
		if rapid.Bool().Draw(t, "open") {
			j.want.Partitions = 0
		}
		return j
	})
	seen := map[string]int{}
	for seed := range 40 {
		j := jobs.Example(seed)
		for of, n := range trueThresholds(t, j.want, n, j.s, j.tr, j.m) {
			seen[of] += n
		}
	}
	if seen[OfMemory] < 20 || seen[OfRows] < 10 {
		t.Errorf("only so many thresholds were found: %v", seen)
	}
}

// TestThresholdsReachTheirEnd: where the choice is another one at the very end of what is looked through, that is found; the last
// step of a fifth ends short of it on most machines.
func TestThresholdsReachTheirEnd(t *testing.T) {
	n := roster(t, "alexnet")
	s, tr := shape(n, 20_000, 130)
	// Machines for which a threshold lies near the end, at several places between the last two steps.
	m := Machine{Cores: 2, Memory: 10_000 * mib}
	sizes := []int64{24_104, 20_000, 9_999, 1_000, 400}
	for _, th := range Thresholds(plan.Plan{}, []Network{n}, s, tr, m) {
		if th.Of == OfMemory && th.At < th.From {
			for part := range int64(12) {
				sizes = append(sizes, th.At/mib*(Reach-part)-part)
			}
		}
	}
	ends := 0
	for _, memory := range sizes {
		m.Memory = memory * mib
		now, err := Choose(plan.Plan{}, []Network{n}, s, tr, m)
		if err != nil {
			t.Fatal(err)
		}
		listed := map[bool]int64{}
		for _, th := range Thresholds(plan.Plan{}, []Network{n}, s, tr, m) {
			if th.Of == OfMemory {
				listed[th.At > th.From] = th.At / mib
			}
		}
		for up, end := range map[bool]int64{false: (memory + Reach - 1) / Reach, true: memory * Reach} {
			m.Memory = end * mib
			there, err := Choose(plan.Plan{}, []Network{n}, s, tr, m)
			if err == nil && sameBut(there.Plan, now.Plan) {
				continue
			}
			ends++
			if at, ok := listed[up]; !ok || up && at > end || !up && at < end {
				t.Errorf("%d MiB: at %d MiB the choice is another one (%v), and the threshold that is listed is %d, %v", memory, end, err, at, ok)
			}
		}
	}
	if ends < 10 { // else the sizes above show nothing
		t.Errorf("only at %d ends the choice is another one", ends)
	}
	// And of rows.
	m.Memory = 2000 * mib
	for rows := int64(1_000); rows < 40_000; rows += 3_001 {
		s, tr := shape(n, rows, 130)
		now, err := Choose(plan.Plan{}, []Network{n}, s, tr, m)
		if err != nil {
			t.Fatal(err)
		}
		there, err := Choose(plan.Plan{}, []Network{n}, s.scaled(rows*Reach), tr, m)
		if err == nil && sameBut(there.Plan, now.Plan) {
			continue
		}
		if !slices.ContainsFunc(Thresholds(plan.Plan{}, []Network{n}, s, tr, m), func(th Threshold) bool { return th.Of == OfRows && th.At > rows }) {
			t.Errorf("%d rows: 64 times as many change the choice, and no threshold is listed", rows)
		}
	}
}

// TestScaled: all that is counted grows with the rows.
func TestScaled(t *testing.T) {
	s := Stats{Rows: 1000, Images: 3000, Matched: 2000, Aside: 10, RowBytes: 7}
	if got, want := s.scaled(1500), (Stats{Rows: 1500, Images: 4500, Matched: 3000, Aside: 15, RowBytes: 7}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got, want := s.scaled(1), (Stats{Rows: 1, Images: 3, Matched: 2, Aside: 1, RowBytes: 7}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
