package vistaopt

import (
	"math"

	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// standard is a machine that bits are decided on, with the memory that there is, of which nothing was measured.
type standard struct {
	workers int
	cores   float64 // of each; 0: one for each attempt that the plan has at once
	weight  float64 // how many times what is lost on it counts
}

// standards are from one core to a cluster (docs/decisions.md, 139 and 141). On one core nearly all is work that more of them share, on
// many it is what they cannot share: disks, rounds, starts. What is lost on one counts more, because most jobs run on few.
var standards = []standard{{1, 1, 9}, {1, 8, 1}, {8, 4, 1}, {32, 16, 0.5}}

// crowded are in their place where not all plans fit with all cores and the largest batch. How many attempts a plan can have at
// once depends on the cores there, and so does what they cost beside each other: a worker as it is, and eight of them.
var crowded = []standard{{1, 0, 2.5}, {8, 0, 1}}

// fit is a plan that fits, and what it needs.
type fit struct {
	plan    plan.Plan
	regions Regions
}

// tried is what was found out about a kind of plan.
type tried struct {
	ruled bool  // out of the question whatever it costs
	whole bool  // it fits with as many attempts and images as it can use
	fits  []fit // all that were tried and fit
}

// leastLoss is which kind of plan the bits are taken of: the one of which the most that it loses on any of the standard machines
// is least. -1: none fits.
func (q *search) leastLoss() int {
	most := make([]float64, len(q.all))
	for _, m := range q.deciding() {
		seconds, quickest := make([]float64, len(q.all)), math.Inf(1)
		for i := range q.all {
			seconds[i] = math.Inf(1)
			for _, f := range q.tried[i].fits {
				seconds[i] = min(seconds[i], q.on(m, f))
			}
			quickest = min(quickest, seconds[i])
		}
		for i := range q.all {
			most[i] = max(most[i], 1+m.weight*(seconds[i]/quickest-1))
		}
	}
	return q.leanest(func(int) bool { return true }, func(i int) float64 { return most[i] })
}

// deciding are the machines that the bits are decided on: neither workers nor speeds count, and cores where plans do not fit, or where
// models train in waves, of which there are more beside more attempts.
func (q *search) deciding() []standard {
	whole := map[bits]bool{}
	for i := range q.all {
		if !q.tried[i].ruled {
			b := bitsOf(q.all[i].Plan)
			whole[b] = whole[b] || q.tried[i].whole
		}
	}
	for _, fits := range whole {
		if !fits {
			return crowded
		}
	}
	return standards
}

// on is how long a plan takes on a standard machine. One that the memory keeps from using all cores has as many less there.
func (q *search) on(m standard, f fit) float64 {
	attempts := float64(f.plan.CPU)
	cores := attempts
	switch {
	case m.cores > 0 && q.want.CPU > 0:
		cores = min(attempts, m.cores)
	case m.cores > 0:
		cores = m.cores * attempts / float64(q.most(f.plan))
	}
	return q.alike.sums(f.plan, f.regions, cores, Machine{Workers: m.workers, Memory: q.m.Memory}).Seconds
}
