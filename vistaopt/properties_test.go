package vistaopt

import (
	"errors"
	"flag"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// jobs is how many random jobs the properties below are tried on. More than the default are for who changes the search.
var jobs = flag.Int("jobs", 200, "random jobs that properties of choices are tried on")

// What a choice may lose, measured on 9,150 random jobs (docs/decisions.md, 139 and 141).
const (
	// otherBits is how many times as long as a listed plan whose results have other bits a choice may take at most, and manyBits
	// the share of jobs in which it takes more than 2 % longer than one.
	otherBits, manyBits = 1.5, 0.025
	// moreMemory is how many times as long a job may take with more memory at most, where that gives it other bits.
	moreMemory = 1.3
)

// eachJob tries a property on random jobs, of which the same come in each run.
func eachJob(t *testing.T, jobs int, property func(t *testing.T, n int, j *simulated)) {
	x := newSimulator(t)
	for n := range jobs {
		property(t, n, x.job(n))
	}
}

// TestChoices: what is refused runs with what it is said to need; every plan that is shown can be read again; and no listed plan
// is quicker than the choice, but for those whose results may have other bits.
func TestChoices(t *testing.T) {
	chosen, beyond := 0, 0
	eachJob(t, *jobs, func(t *testing.T, n int, j *simulated) {
		c, err := j.choose(j.m)
		if no := (*InfeasibleError)(nil); errors.As(err, &no) {
			m := j.m
			if m.Memory = no.Needed; no.Needed <= j.m.Memory {
				t.Errorf("job %d, %s: refused with %d bytes: %v", n, j, j.m.Memory, err)
			}
			c, err = j.choose(m)
		}
		if err != nil {
			t.Fatalf("job %d, %s: %v", n, j, err)
		}
		chosen++
		again, err := plan.Parse(c.Plan.String())
		if err != nil || again != c.Plan {
			t.Errorf("job %d: %s is read as %s, %v", n, c.Plan, again, err)
		}
		for _, r := range c.Rejected {
			again, err := plan.Parse(r.Plan.String())
			if err != nil || again != r.Plan {
				t.Errorf("job %d: %s is read as %s, %v", n, r.Plan, again, err)
			}
			most := 1 + noise
			if bitsOf(r.Plan) != bitsOf(c.Plan) {
				most = otherBits
			}
			if r.Fits && c.Estimate.Seconds > r.Estimate.Seconds*most {
				t.Errorf("job %d, %s: %s takes %.3f s, %s %.3f s", n, j, c.Plan, c.Estimate.Seconds, r.Plan, r.Estimate.Seconds)
			}
		}
		// Listed plans come the cheapest first.
		if len(c.Rejected) > 0 && c.Rejected[0].Fits && c.Estimate.Seconds > 1.02*c.Rejected[0].Estimate.Seconds {
			beyond++
		}
	})
	if most := manyBits * float64(chosen); float64(beyond) > most {
		t.Errorf("in %d of %d jobs a listed plan is quicker by more than 2 %%, want %.0f at most", beyond, chosen, most)
	}
}

// TestMoreNeverHurts: more memory makes no job infeasible and none slower, and more workers raise no estimate, neither that of a
// plan nor that of the choice.
func TestMoreNeverHurts(t *testing.T) {
	eachJob(t, *jobs, func(t *testing.T, n int, j *simulated) {
		c, err := j.choose(j.m)
		if err != nil {
			return
		}
		r := rand.New(rand.NewPCG(128, uint64(n)))
		more := j.moreMemory(r)
		after, err := j.choose(more)
		if err != nil {
			t.Fatalf("job %d, %s: with %d MiB: %v", n, j, more.Memory/mib, err)
		}
		most := 1 + noise
		if bitsOf(after.Plan) != bitsOf(c.Plan) {
			most = moreMemory
		}
		if after.Estimate.Seconds > c.Estimate.Seconds*most {
			t.Errorf("job %d, %s: %s takes %.3f s, with %d MiB %s %.3f s", n, j, c.Plan, c.Estimate.Seconds, more.Memory/mib, after.Plan, after.Estimate.Seconds)
		}
		more = j.m
		more.Workers += 1 + r.IntN(j.m.Workers+1)
		if after, err = j.choose(more); err != nil {
			t.Fatalf("job %d, %s: on %d workers: %v", n, j, more.Workers, err)
		}
		if after.Estimate.Seconds > c.Estimate.Seconds*(1+noise) {
			t.Errorf("job %d, %s: %s takes %.3f s, on %d workers %s %.3f s", n, j, c.Plan, c.Estimate.Seconds, more.Workers, after.Plan, after.Estimate.Seconds)
		}
		if same := estimateOf(c.Plan, j.ns, j.s, j.t, more).Seconds; same > c.Estimate.Seconds*(1+1e-9) {
			t.Errorf("job %d, %s: %s takes %.3f s, on %d workers %.3f s", n, j, c.Plan, c.Estimate.Seconds, more.Workers, same)
		}
	})
}

// moreMemory is the machine with a hundredth to as much more memory.
func (j *simulated) moreMemory(r *rand.Rand) Machine {
	m := j.m
	m.Memory += int64(float64(j.m.Memory) * math.Pow(10, 2*r.Float64()-2))
	return m
}

// TestManyCoresCount: what counts on many cores only, as a disk that is read in every round, counts where bits are decided. By one
// core alone, these jobs would be slower with more memory.
func TestManyCoresCount(t *testing.T) {
	x := newSimulator(t)
	for name, n := range map[string]int{
		"a fused plan fits with one attempt more, and trains in waves from the disk": 2381,
		"of two networks, on 24 cores of four workers":                               7762,
		"of three networks, on 7 cores of 19 workers":                                8099,
	} {
		t.Run(name, func(t *testing.T) {
			j := x.job(n)
			more := j.moreMemory(rand.New(rand.NewPCG(128, uint64(n))))
			slower := func() float64 {
				before, err := j.choose(j.m)
				if err != nil {
					t.Fatal(err)
				}
				after, err := j.choose(more)
				if err != nil {
					t.Fatal(err)
				}
				return after.Estimate.Seconds / before.Estimate.Seconds
			}
			if s := slower(); s > 1+noise {
				t.Errorf("%s: with %d MiB it takes %.3f times as long", j, more.Memory/mib, s)
			}
			defer func(all, some []standard) { standards, crowded = all, some }(standards, crowded)
			standards, crowded = standards[:1], standards[:1]
			if s := slower(); s < 1.1 {
				t.Errorf("%s: by one core alone it takes %.3f times as long with %d MiB: the job shows nothing", j, s, more.Memory/mib)
			}
		})
	}
}

// TestBitsAreTheSameEverywhere: what was measured and the number of workers change no knob on which bits depend, and neither does
// the number of cores where all plans fit and all models train at once.
func TestBitsAreTheSameEverywhere(t *testing.T) {
	others := 0
	eachJob(t, *jobs, func(t *testing.T, n int, j *simulated) {
		r := rand.New(rand.NewPCG(129, uint64(n)))
		other := Machine{Cores: j.m.Cores, Workers: 1 + r.IntN(64), Memory: j.m.Memory, Rates: DefaultRates()}
		other.Rates.MACs *= 0.2 + 5*r.Float64()
		other.Rates.Weights *= 0.2 + 5*r.Float64()
		other.Rates.Decode *= 0.2 + 5*r.Float64()
		if r.IntN(3) == 0 && j.want.CPU == 0 {
			j.m.Memory = 1 << 50
			other.Memory, other.Cores = j.m.Memory, 1+r.IntN(32)
		}
		c, err := j.choose(j.m)
		d, no := j.choose(other)
		if (err == nil) != (no == nil) {
			t.Fatalf("job %d, %s: %v, elsewhere %v", n, j, err, no)
		}
		if err != nil {
			return
		}
		if bitsOf(c.Plan) != bitsOf(d.Plan) || c.Plan.Partitions != d.Plan.Partitions {
			t.Errorf("job %d, %s: %s, on %+v %s", n, j, c.Plan, other, d.Plan)
		}
		if c.Plan.Placement != d.Plan.Placement || c.Plan.Storage != d.Plan.Storage || c.Plan.Networks != d.Plan.Networks {
			others++
		}
	})
	if others == 0 {
		t.Error("no job has another placement, storage or sharing of images elsewhere: is the machine asked at all?")
	}
}

// TestSearchIsExact compares what the search finds with what is found by trying everything.
func TestSearchIsExact(t *testing.T) {
	eachJob(t, *jobs/4, func(t *testing.T, n int, j *simulated) {
		j.m.Cores = min(j.m.Cores, 6)
		c, err := j.choose(j.m)
		kinds := everything(j)
		if err != nil {
			for p, k := range kinds {
				if k.fits {
					t.Fatalf("job %d, %s: %s fits, and the job is refused: %v", n, j, p, err)
				}
			}
			return
		}
		listed := append(c.Rejected, Rejected{Plan: c.Plan, Estimate: c.Estimate, Fits: true})
		if len(listed) != len(kinds) {
			t.Fatalf("job %d, %s: %d kinds of plans are listed, there are %d", n, j, len(listed), len(kinds))
		}
		loss := math.Inf(1) // of the chosen bits
		for p, k := range kinds {
			if bitsOf(p) == bitsOf(c.Plan) {
				loss = min(loss, k.loss)
			}
		}
		for _, r := range listed {
			k, ok := kinds[kindOf(r.Plan)]
			switch {
			case !ok || r.Fits != k.fits:
				t.Errorf("job %d, %s: %s fits: %v, in truth %v", n, j, r.Plan, r.Fits, k.fits)
			case !r.Fits:
			case r.Estimate.Seconds != k.seconds:
				t.Errorf("job %d, %s: %s takes %.4f s, with other numbers of its kind %.4f s", n, j, r.Plan, r.Estimate.Seconds, k.seconds)
			case k.loss*(1+noise) < loss:
				t.Errorf("job %d, %s: %s loses %.3f on the standard machines, the best with the choice's bits %.3f", n, j, r.Plan, k.loss, loss)
			case bitsOf(r.Plan) == bitsOf(c.Plan) && c.Estimate.Seconds > k.seconds*(1+noise):
				t.Errorf("job %d, %s: %s takes %.3f s, the choice %s %.3f s", n, j, r.Plan, k.seconds, c.Plan, c.Estimate.Seconds)
			}
		}
	})
}

// found is the least that a kind of plan takes, on the machine and on each standard one, and the most that it loses there.
type found struct {
	fits, whole bool
	seconds     float64
	on          []float64
	loss        float64
}

// kindOf is a plan without what is chosen for each kind.
func kindOf(p plan.Plan) plan.Plan {
	p.CPU, p.Batch = 0, 0
	return p
}

// everything tries all plans that a job allows, with every number of attempts and of images at a time.
func everything(j *simulated) map[plan.Plan]found {
	q := newSearch(j.want, j.ns, j.s, j.t, j.m)
	if q.want.Partitions == 0 {
		q.want.Partitions = partitions(j.s)
	}
	sharings := []plan.Networks{plan.One}
	if len(j.ns) > 1 {
		sharings = []plan.Networks{plan.Together, plan.Apart}
	}
	kinds := map[plan.Plan]found{}
	every := append(slices.Clone(standards), crowded...)
	for i := range 4 * 2 * 2 * 2 * len(sharings) {
		p := q.want
		p.Inference, p.Placement, p.Join, p.Storage, p.Networks = plan.Inferences[i%4], plan.Placements[i/4%2], plan.Joins[i/8%2], plan.Storages[i/16%2], sharings[i/32]
		if !asked(q.want, p) {
			continue
		}
		k := found{seconds: math.Inf(1), on: slices.Repeat([]float64{math.Inf(1)}, len(every))}
		why, _ := q.rule(p)
		p = j.s.bounded(p)
		cpus := open(p.CPU, down(max(min(j.m.Cores, p.Partitions), 1))...)
		batches := open(p.Batch, j.s.batches(p)...)
		for _, p.Batch = range batches {
			for _, p.CPU = range cpus {
				r := q.j.regions(p)
				if why != "" || r.Need() > j.m.Memory {
					continue
				}
				k.fits, k.whole = true, k.whole || p.CPU == cpus[0] && p.Batch == batches[0]
				k.seconds = min(k.seconds, estimateOf(p, j.ns, j.s, j.t, j.m).Seconds)
				for i, m := range every {
					k.on[i] = min(k.on[i], q.on(m, fit{p, r}))
				}
			}
		}
		k.whole = k.whole || why != "" // and is no matter of cores
		kinds[kindOf(p)] = k
	}
	lose(kinds, every)
	return kinds
}

// lose works out what kinds of plans lose on the standard machines.
func lose(kinds map[plan.Plan]found, every []standard) {
	whole, least := map[bits]bool{}, slices.Repeat([]float64{math.Inf(1)}, len(every))
	for p, k := range kinds {
		whole[bitsOf(p)] = whole[bitsOf(p)] || k.whole
		for i := range every {
			least[i] = min(least[i], k.on[i])
		}
	}
	from, to := 0, len(standards)
	for _, w := range whole {
		if !w {
			from, to = len(standards), len(every)
		}
	}
	for p, k := range kinds {
		for i := from; i < to; i++ {
			k.loss = max(k.loss, 1+every[i].weight*(k.on[i]/least[i]-1))
		}
		kinds[p] = k
	}
}

// asked tells whether a plan is of a kind that exists and that a job allows.
func asked(want, p plan.Plan) bool {
	return (want.Inference == "" || want.Inference == p.Inference) && (want.Placement == "" || want.Placement == p.Placement) &&
		(want.Join == "" || want.Join == p.Join) && (want.Storage == "" || want.Storage == p.Storage) &&
		(p.Networks != plan.Together || p.Inference == plan.Fused)
}
