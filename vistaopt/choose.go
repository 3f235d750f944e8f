package vistaopt

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/vista-mr/vista-mr/vistaopt/bytesize"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// Choose fills in the knobs that are zero in want with the cheapest plan that fits: the quickest, and of those that take
// within a hundredth as long as it, which no estimate can tell apart, the one that writes the fewest bytes.
//
// The same job must give the same bits on any number of workers and whatever was measured, and two knobs change the last ones
// (bits): they are decided on machines that are the same everywhere (standards), and all others for the machines at hand, among
// the plans that have those two. What the memory keeps a plan from using of the cores and of a batch is part of what it costs
// where the two are decided.
//
// ns are the networks whose layers are compared, at least one, in their order; want.Networks counts if there are several.
func Choose(want plan.Plan, ns []Network, s Stats, t Training, m Machine) (*Choice, error) {
	q := searched(want, ns, s, t, m)
	want.Networks = q.want.Networks
	if q.best == nil {
		return nil, q.refusal()
	}
	if err := q.j.fitsTracker(q.best.Plan, m); err != nil { // which only the inference changes, chosen without regard to it
		return nil, err
	}
	q.best.Estimate = q.here.whole(q.best.Plan, m)
	c := &Choice{Plan: q.best.Plan, From: from(want, q.best.Plan), Memory: m.Memory, Rates: m.Rates.or().Source, Speeds: m.Rates.or(), Regions: q.j.regions(q.best.Plan), Estimate: q.best.Estimate}
	c.Room = q.j.spread(c.Plan, c.Regions, m.Memory)
	if c.Tracker = m.Tracker.Memory; c.Tracker > 0 {
		c.Room.Driven, c.Room.Classes = q.j.driven(c.Plan, m), append(c.Room.Classes, q.j.inTracker(c.Plan, m))
	}
	c.Pinned.Bytes = pinned(c.Plan, ns, s, t) / int64(max(m.Workers, 1))
	c.Pinned.Disk = max(c.Pinned.Bytes-c.Room.Cache, 0)
	c.Rejected = q.rejected()
	return c, c.Plan.Validate()
}

// from says where each knob's value comes from.
func from(want, got plan.Plan) map[string]string {
	out := map[string]string{}
	for _, knob := range plan.Knobs {
		switch {
		case got.Knob(knob) == "": // of networks, where there is one
		case want.Knob(knob) != "":
			out[knob] = "file"
		default:
			out[knob] = "optimizer"
		}
	}
	return out
}

// search goes through the plans that a job file allows.
type search struct {
	want  plan.Plan
	j     *job
	m     Machine
	here  *costs     // at the machine's rates
	alike *costs     // at rates that are the same everywhere
	all   []Rejected // the best of each kind
	tried []tried    // what was found out about each kind
	best  *Rejected
	least *InfeasibleError // of those that do not fit the one that needs the least
	ruled error            // why no kind was tried at all
}

// searched is a search that has tried every kind of plan.
func searched(want plan.Plan, ns []Network, s Stats, t Training, m Machine) *search {
	if len(ns) == 1 {
		want.Networks = plan.One
	}
	q := newSearch(want, ns, s, t, m)
	q.kinds()
	return q
}

func newSearch(want plan.Plan, ns []Network, s Stats, t Training, m Machine) *search {
	ns = m.holds(ns)
	q := &search{want: want, j: newJob(ns, s, t), m: m}
	q.here, q.alike = q.j.at(m.Rates), newJob(unmeasured(ns), s, t).at(Rates{})
	if want.Partitions == 0 {
		q.want.Partitions = partitions(s)
	}
	return q
}

// noise is the share of the time that no estimate can tell from none.
const noise = 0.01

// bits are the knobs on which the last bits of results depend (docs/decisions.md, 127). A staged program begins where another
// one ends, and the runtime may join other operations than in one that runs through; a join decides which rows make up a
// partition, and so the blocks in which training adds up.
type bits struct {
	inference plan.Inference
	join      plan.Join
}

func bitsOf(p plan.Plan) bits { return bits{p.Inference, p.Join} }

// kinds tries every kind of plan; of plans that cost the same the first one is taken.
func (q *search) kinds() {
	for _, inference := range open(q.want.Inference, plan.Fused, plan.Staged, plan.Eager, plan.Lazy) {
		for _, placement := range open(q.want.Placement, plan.AfterJoin, plan.BeforeJoin) {
			for _, join := range open(q.want.Join, plan.Broadcast, plan.Shuffle) {
				for _, storage := range open(q.want.Storage, plan.Snappy, plan.Raw) {
					for _, networks := range q.sharings(inference) {
						p := q.want
						p.Inference, p.Placement, p.Join, p.Storage, p.Networks = inference, placement, join, storage, networks
						q.kind(p)
					}
				}
			}
		}
	}
	decided := q.leastLoss()
	if decided < 0 {
		return
	}
	same := bitsOf(q.all[decided].Plan)
	q.best = &q.all[q.leanest(func(i int) bool { return bitsOf(q.all[i].Plan) == same }, func(i int) float64 { return q.all[i].Estimate.Seconds })]
}

// leanest is which of some plans that fit writes the fewest bytes of those that are as quick as the quickest, as far as an
// estimate can tell; -1: none fits.
func (q *search) leanest(of func(i int) bool, seconds func(i int) float64) int {
	quickest, best := math.Inf(1), -1
	for i, r := range q.all {
		if r.Fits && of(i) {
			quickest = min(quickest, seconds(i))
		}
	}
	for i, r := range q.all {
		if r.Fits && of(i) && seconds(i) <= quickest*(1+noise) && (best < 0 || r.Estimate.Written < q.all[best].Estimate.Written) {
			best = i
		}
	}
	return best
}

// most is how many attempts a worker may run at once: a slot that is one more than partitions would have no task.
func (q *search) most(p plan.Plan) int { return max(min(q.m.Cores, p.Partitions), 1) }

// open returns the value that was given, or all.
func open[T comparable](given T, all ...T) []T {
	var zero T
	if given != zero {
		return []T{given}
	}
	return all
}

// kind finds the best CPU and batch of a kind of plan.
func (q *search) kind(p plan.Plan) {
	if why, err := q.rule(p); why != "" {
		p.CPU, p.Batch = max(p.CPU, 1), max(p.Batch, 1)
		q.all, q.tried = append(q.all, Rejected{Plan: q.j.s.bounded(p), Why: why}), append(q.tried, tried{ruled: true})
		q.ruled = err
		return
	}
	p = q.j.s.bounded(p)
	given := p.CPU
	var best *Rejected
	var found tried
	var least *InfeasibleError
	for _, p.Batch = range open(p.Batch, q.j.s.batches(p)...) {
		for _, p.CPU = range open(given, down(q.most(p))...) {
			r := q.j.regions(p)
			if need := r.Need(); need > q.m.Memory {
				if least == nil || need < least.Needed {
					least = &InfeasibleError{Plan: p, Regions: r, Needed: need, Available: q.m.Memory, Worker: q.m.Least}
				}
				continue
			}
			if e := q.here.sums(p, r, q.m.slots(p), q.m); best == nil || e.Seconds < best.Estimate.Seconds {
				best = &Rejected{Plan: p, Estimate: e, Need: r.Need(), Fits: true}
			}
			found.fits = append(found.fits, fit{p, r})
			found.whole = found.whole || least == nil // nothing larger was tried
			if free := q.m.Memory - r.always(); free-r.Train >= min(free/4, maxCache) && q.j.atOnce(p, r, q.m.Memory) {
				break // fewer attempts at once are never faster, unless they leave more to the cache, or to models in training
			}
		}
	}
	if best == nil {
		best = &Rejected{Plan: least.Plan, Estimate: q.here.sums(least.Plan, least.Regions, q.m.slots(least.Plan), q.m), Need: least.Needed, Why: tooLarge(least.Plan, least.Needed, q.m.Memory)}
		if q.least == nil || least.Needed < q.least.Needed {
			q.least = least
		}
	}
	q.all, q.tried = append(q.all, *best), append(q.tried, found)
}

// tooLarge is why a kind of plan does not fit that needs the least with this number at a time and batch.
func tooLarge(p plan.Plan, need, there int64) string {
	return fmt.Sprintf("needs %s, there are %s, even with %d at a time and batches of %d", bytesize.AtLeast(need), bytesize.AtMost(there), p.CPU, p.Batch)
}

// batches are what is tried. Beyond 6 images AlexNet, whose weights outweigh its images, gains 2 to 3 % for a third more
// memory in flight; convolutional networks gain nothing. None is larger than a task has images.
func (s Stats) batches(p plan.Plan) (out []int) {
	for _, n := range []int{6, 4, 2, 1} {
		if n = int(min(int64(n), s.most(p))); !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

// down counts from n to 1.
func down(n int) []int {
	var out []int
	for ; n > 1; n-- {
		out = append(out, n)
	}
	return append(out, 1)
}

// maxBroadcast is the share of the memory that a broadcast table may take if nobody asked for it.
const maxBroadcast = 0.25

// rule says why a kind of plan is out of the question whatever it costs.
func (q *search) rule(p plan.Plan) (why string, err error) {
	if v := q.j.s.PerRecord * largestRaw(q.j.ns); keepsVolumes(p) && q.j.s.PerRecord > 1 && v > maxRecord {
		e := &RecordError{Plan: p, PerRecord: q.j.s.PerRecord, Volumes: v}
		return fmt.Sprintf("a record's volumes would take %s, where %s is the most", bytesize.AtLeast(v), bytesize.AtLeast(maxRecord)), e
	}
	if table := q.j.s.Rows * q.j.s.RowBytes; p.Join == plan.Broadcast && q.want.Join == "" && float64(table) > maxBroadcast*float64(q.m.Memory) {
		return fmt.Sprintf("the table takes %s in each worker, more than a quarter of %s", bytesize.AtLeast(table), bytesize.AtMost(q.m.Memory)), nil
	}
	return "", nil
}

// rejected returns the others, the cheapest first and those that do not fit last.
func (q *search) rejected() []Rejected {
	var out []Rejected
	for i := range q.all {
		r := q.all[i]
		if &q.all[i] == q.best {
			continue
		}
		r.Estimate = q.here.whole(r.Plan, q.m)
		if r.Why == "" {
			r.Why = slower(&r, q.best)
		}
		out = append(out, r)
	}
	slices.SortStableFunc(out, func(a, b Rejected) int {
		if a.Fits != b.Fits {
			if a.Fits {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.Estimate.Seconds, b.Estimate.Seconds)
	})
	return out
}

// slower says in words by how much a plan is slower than the choice, and which part of it is most to blame.
func slower(r, choice *Rejected) string {
	e, best := &r.Estimate, &choice.Estimate
	ratio := fmt.Sprintf("%.2f times as long", e.Seconds/best.Seconds)
	switch {
	case e.Seconds > best.Seconds*(1+noise):
	case bitsOf(r.Plan) != bitsOf(choice.Plan) && e.Seconds*(1+noise) < best.Seconds:
		return ratio + " here, but not on the machines by which plan.inference and plan.join are chosen"
	case bitsOf(r.Plan) != bitsOf(choice.Plan) && e.Written < best.Written:
		mine, its := bytesize.Distinct(e.Written, best.Written)
		return fmt.Sprintf("as long here within 1 %%, and writes %s instead of %s, but plan.inference and plan.join are chosen for other machines as well", mine, its)
	case e.Written > best.Written:
		mine, its := bytesize.Distinct(e.Written, best.Written)
		return fmt.Sprintf("as long within 1 %%, and writes %s instead of %s", mine, its)
	default:
		return "as long and as much to write within what an estimate can tell"
	}
	mine, its := e.parts(), best.parts()
	worst, most := "", 0.0
	for _, part := range partNames {
		if more := mine[part] - its[part]; more > most {
			worst, most = part, more
		}
	}
	if worst == "" {
		return ratio
	}
	a, b := Duration(mine[worst]), Duration(its[worst])
	if a == b { // to the minute, say: what there is more of is said instead
		return fmt.Sprintf("%s: %s takes %s more", ratio, worst, Duration(most))
	}
	return fmt.Sprintf("%s: %s takes %s instead of %s", ratio, worst, a, b)
}

// Parts of an estimate, in words, and the phases that are in them.
const (
	partStart = "making the model ready"
	partCNN   = "the CNN"
	partPool  = "pooling stored volumes"
	partJoin  = "the join"
	partTrain = "training"
	partRest  = "the rest"
)

var partNames = []string{partStart, partCNN, partPool, partJoin, partTrain, partRest}

// parts adds an estimate's phases up.
func (e *Estimate) parts() map[string]float64 {
	out := map[string]float64{}
	for _, p := range e.Phases {
		part := partRest
		for _, of := range []struct{ prefix, part string }{{StartPhase, partStart}, {"extract", partCNN}, {"stage-", partCNN}, {"pool-", partPool},
			{"join", partJoin}, {"load", partJoin}, {"train", partTrain}} {
			if strings.HasPrefix(p.Name, of.prefix) {
				part = of.part
				break
			}
		}
		out[part] += p.Seconds
	}
	return out
}
