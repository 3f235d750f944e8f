package vistaopt

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// A batch has no more images than a partition, and a worker runs no more attempts than there are partitions: what is asked for
// beyond needs no memory, and is not planned.
func TestNoMoreInFlightThanThereIs(t *testing.T) {
	n := roster(t, "resnet50")
	s, tr := shape(n, 30, 10) // 5 partitions of 6
	for _, c := range []struct {
		asked, planned plan.Plan
		memory         int64
	}{
		{plan.Plan{Batch: 64, CPU: 2}, plan.Plan{Batch: 6, CPU: 2}, 600},
		{plan.Plan{Batch: 6, CPU: 16}, plan.Plan{Batch: 6, CPU: 5}, 900},
		{plan.Plan{Batch: 64, CPU: 16, Partitions: 1_000_000}, plan.Plan{Batch: 1, CPU: 16, Partitions: 30}, 900},
	} {
		m := Machine{Cores: 2, Memory: c.memory * mib}
		got, err := Choose(c.asked, []Network{n}, s, tr, m)
		if err != nil {
			t.Errorf("%+v: %v", c.asked, err)
			continue
		}
		want, err := Choose(c.planned, []Network{n}, s, tr, m)
		if err != nil {
			t.Fatal(err)
		}
		if got.Plan != want.Plan || got.Plan.CPU != c.planned.CPU || got.Plan.Batch != c.planned.Batch || got.Regions != want.Regions || got.Room.Arena != want.Room.Arena ||
			got.Estimate.Seconds != want.Estimate.Seconds || got.Estimate.Memory != want.Estimate.Memory {
			t.Errorf("%+v: %s, %+v; want %s, %+v", c.asked, got.Plan, got.Regions, want.Plan, want.Regions)
		}
	}
}

// Behind a shuffle one partition may have all images, and of several images of a record none is cut off.
func TestUnevenPartitions(t *testing.T) {
	n := roster(t, "resnet50")
	s, tr := shape(n, 30, 10)
	m := Machine{Cores: 2, Memory: 8 << 30}
	for _, c := range []struct {
		placement                 plan.Placement
		join                      plan.Join
		images, matched, atMost   int64
		average                   float64
		partitions, planned, most int
	}{
		{plan.AfterJoin, plan.Broadcast, 30, 0, 1, 1, 5, 5, 6},
		{plan.BeforeJoin, plan.Broadcast, 31, 0, 1, 1, 5, 5, 7},
		{plan.BeforeJoin, plan.Shuffle, 30, 0, 1, 1, 50, 50, 1},
		{plan.AfterJoin, plan.Shuffle, 30, 0, 1, 1, 5, 5, 30},
		{plan.AfterJoin, plan.Shuffle, 30, 12, 1, 1, 5, 5, 12},
		{plan.AfterJoin, plan.Broadcast, 30, 3, 1, 1, 5, 5, 3},
		{plan.BeforeJoin, plan.Broadcast, 30, 3, 1, 1, 5, 5, 6},
		{plan.AfterJoin, plan.Broadcast, 30, 0, 5, 3, 5, 5, 10},     // 2 of 10 records with up to 5 images
		{plan.AfterJoin, plan.Broadcast, 30, 20, 21, 3, 50, 10, 21}, // a record that is matched may have more than Matched, which is by the average
		{plan.AfterJoin, plan.Shuffle, 30, 20, 5, 3, 50, 50, 30},
		{plan.AfterJoin, plan.Broadcast, 0, 0, 0, 0, 50, 50, 64}, // nothing is known
	} {
		s := s
		s.Images, s.Matched, s.PerRecord, s.Average = c.images, c.matched, c.atMost, c.average
		got, err := Choose(plan.Plan{Placement: c.placement, Join: c.join, Inference: plan.Fused, Batch: 64, Partitions: c.partitions}, []Network{n}, s, tr, m)
		if err != nil || got.Plan.Batch != c.most || got.Plan.Partitions != c.planned {
			t.Errorf("%+v: %v, %v", c, got.Plan, err)
		}
	}
}

// TestMostIsABound: no split of images has more of them than is said, however many each record has. Splits are cut as package
// images does it: record i of n goes to split i*splits/n.
func TestMostIsABound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		records := rapid.SliceOfN(rapid.Int64Range(1, rapid.Int64Range(1, 9).Draw(t, "at most")), 1, 200).Draw(t, "images of records")
		aside := rapid.Int64Range(0, 50).Draw(t, "of no record")
		s := Stats{Images: aside}
		for _, n := range records {
			s.Images, s.PerRecord = s.Images+n, max(s.PerRecord, n)
		}
		s.Average = float64(s.Images) / float64(len(records))
		p := plan.Plan{Join: plan.Broadcast, Placement: plan.AfterJoin, Partitions: rapid.IntRange(1, 300).Draw(t, "partitions"), Batch: 1 << 30, CPU: 1 << 30}
		got := s.bounded(p)
		if got.Partitions != min(p.Partitions, len(records)) || got.CPU != got.Partitions {
			t.Fatalf("%d records: %s", len(records), got)
		}
		images := make([]int64, got.Partitions)
		for i, n := range records {
			images[i*got.Partitions/len(records)] += n
		}
		for _, n := range images {
			if n > int64(got.Batch) {
				t.Fatalf("a split has %d images, %d are said to be the most", n, got.Batch)
			}
		}
	})
}

// Tasks without an image are not there, and cost nothing.
func TestPartitionsBeyondTheImages(t *testing.T) {
	n := roster(t, "resnet50")
	s, tr := shape(n, 30, 10)
	m := Machine{Cores: 2, Memory: 8 << 30}
	c, err := Choose(plan.Plan{Partitions: 1_000_000}, []Network{n}, s, tr, m)
	if err != nil || c.Plan.Partitions != 30 || c.Estimate.Seconds > 30 {
		t.Fatalf("%v, %v", c, err)
	}
	p := plan.Plan{Inference: plan.Staged, Placement: plan.BeforeJoin, Join: plan.Shuffle, Storage: plan.Snappy, CPU: 2, Batch: 1, Partitions: 1000}
	for _, ph := range estimate(p, n, s, tr, m).Phases {
		switch {
		case strings.HasPrefix(ph.Name, "stage-") && ph.Tasks != 30, (strings.HasPrefix(ph.Name, "join-") || strings.HasPrefix(ph.Name, "train-")) && ph.Tasks != 1000:
			t.Errorf("%s has %d tasks", ph.Name, ph.Tasks)
		}
	}
}

// Partitions are those of the images that have a row: others take no time worth a task.
func TestPartitionsAreOfImagesWithARow(t *testing.T) {
	n := roster(t, "alexnet")
	few, tr := shape(n, 200, 10)
	many := few
	many.Images, many.Matched = 20_000, 200
	m := Machine{Cores: 2, Memory: 8 << 30}
	a, err := Choose(plan.Plan{}, []Network{n}, few, tr, m)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Choose(plan.Plan{}, []Network{n}, many, tr, m)
	if err != nil || a.Plan.Partitions != 17 || b.Plan.Partitions != 17 {
		t.Errorf("%v; with images that have no row %v, %v", a.Plan, b.Plan, err)
	}
}

// TestNeedIsExact: a job that is refused runs with what it is said to need, and with a MiB less it does not. The join is fixed: how
// much memory there is decides whether a table may be broadcast that nobody asked to.
func TestNeedIsExact(t *testing.T) {
	tried := 0
	eachJob(t, *jobs, func(t *testing.T, n int, j *simulated) {
		m := j.m
		m.Memory = mib
		if j.want.Join == "" {
			j.want.Join = plan.Joins[n%2]
		}
		var no *InfeasibleError
		if !refused(j, m, &no) {
			return
		}
		tried++
		m.Memory = no.Needed
		c, err := j.choose(m)
		if err != nil {
			t.Fatalf("job %d, %s: %v", n, j, err)
		}
		for _, k := range c.Room.Classes {
			if need := k.Fixed + k.PerClass*j.t.scores(); need > m.Memory {
				t.Errorf("job %d, %s: %s takes %d of %d bytes", n, j, k.For, need, m.Memory)
			}
		}
		m.Memory -= mib
		if !refused(j, m, &no) {
			t.Errorf("job %d, %s: with a MiB less than what it needs it is not refused", n, j)
		}
	})
	if tried == 0 {
		t.Error("no job was refused")
	}
}

// What models of many classes take is known when a plan is chosen: fewer attempts at once are tried, the number of a refusal is
// what is enough, and time goes with it.
func TestClassesAreCounted(t *testing.T) {
	n := roster(t, "resnet50")
	s, tr := shape(n, 2000, 10)
	two, err := Choose(plan.Plan{}, []Network{n}, s, tr, Machine{Cores: 2, Memory: 8 << 30})
	if err != nil {
		t.Fatal(err)
	}
	need := func(classes, cpu int) int64 {
		tr := tr
		tr.Classes = classes
		_, err := Choose(plan.Plan{CPU: cpu}, []Network{n}, s, tr, Machine{Cores: 2, Memory: mib})
		var no *InfeasibleError
		if !errors.As(err, &no) {
			t.Fatal(err)
		}
		return no.Needed
	}
	if a, b := need(0, 2), need(2, 2); a != b {
		t.Errorf("two classes need %d, an unknown number %d", b, a)
	}
	few, many := need(900, 1), need(900, 2)
	if few >= many || few <= need(2, 1) {
		t.Fatalf("900 classes need %d with one attempt and %d with two, two classes %d", few, many, need(2, 1))
	}
	tr.Classes = 900
	one, err := Choose(plan.Plan{}, []Network{n}, s, tr, Machine{Cores: 2, Memory: few})
	if err != nil || one.Plan.CPU != 1 {
		t.Errorf("in %d bytes: %v, %v", few, one, err)
	}
	all, err := Choose(plan.Plan{}, []Network{n}, s, tr, Machine{Cores: 2, Memory: 8 << 30})
	if err != nil {
		t.Fatal(err)
	}
	if a, b := all.Estimate.phase("train"), two.Estimate.phase("train"); a.Seconds < 100*b.Seconds {
		t.Errorf("training takes %.2f s with 900 classes and %.2f s with two", a.Seconds, b.Seconds)
	}
	s.Rows, s.Images = 200, 200 // the cache has room for all of them: only waves of models tell the two apart
	p := all.Plan
	j := newJob([]Network{n}, s, tr)
	r := j.regions(p)
	if roomy := r.Need() + j.w.all*900*1000; !j.atOnce(p, r, roomy) || j.atOnce(p, r, r.Need()) {
		t.Error("models are said to be trained at once in what one of them needs, or not at once in what all need")
	} else if a, b := estimate(p, n, s, tr, Machine{Memory: r.Need()}).phase("train"), estimate(p, n, s, tr, Machine{Memory: roomy}).phase("train"); a.Seconds <= b.Seconds {
		t.Errorf("training takes %.2f s in waves and %.2f s at once", a.Seconds, b.Seconds)
	}
}

// phase is a phase of an estimate.
func (e Estimate) phase(name string) PhaseEstimate {
	for _, p := range e.Phases {
		if p.Name == name {
			return p
		}
	}
	return PhaseEstimate{}
}

// Features that are kept are written once more, by a phase of their own.
func TestKeptFeaturesAreWritten(t *testing.T) {
	n := roster(t, "resnet50")
	s, tr := shape(n, 300, 10)
	p := plan.Plan{Inference: plan.Fused, Placement: plan.AfterJoin, Join: plan.Broadcast, Storage: plan.Raw, CPU: 2, Partitions: 20, Batch: 6}
	without := estimate(p, n, s, tr, Machine{})
	tr.Features = true
	with := estimate(p, n, s, tr, Machine{})
	ph := with.phase("features")
	vectors := s.Rows*n.PooledBytes + 20*5*HeaderBytes // which Snappy makes no smaller
	if ph.Tasks != 20 || ph.Written != vectors || with.Written-without.Written != vectors || ph.Seconds <= 0 || ph.Read <= vectors {
		t.Errorf("%+v; in all %d instead of %d bytes, vectors have %d", ph, with.Written, without.Written, vectors)
	}
}
