package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vista-mr/vista-mr/jobs/results"
	"github.com/vista-mr/vista-mr/tools/cgroup"
	"github.com/vista-mr/vista-mr/vistaopt/explain"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// network is one of the catalogue, with the layers and the numbers of records of its cells, and its limits of memory in
// MiB (0: none): one with which batches are smaller, and one that is scarce.
type network struct {
	model  string // two: compared in one job, joined by +
	layers int
	sizes  []int
	limits []int
}

// networks have sizes of some 3, 5 and 10 seconds on two cores.
func networks() []network {
	return []network{
		{"alexnet", 4, []int{60, 200, 600}, []int{0, 340, 310}},
		{"resnet50", 5, []int{30, 60, 150}, []int{0, 340, 260}},
		{"vgg16", 3, []int{12, 24, 48}, []int{0, 900, 660}},
		{"alexnet+resnet50", 2, []int{60}, []int{0, 420, 320}},
	}
}

// cnn is what a job file says of it.
func (n network) cnn() string {
	var all []string
	for _, m := range strings.Split(n.model, "+") {
		all = append(all, fmt.Sprintf("{model: %s, weights: random, layers: %d}", m, n.layers))
	}
	if len(all) == 1 {
		return all[0]
	}
	return "[" + strings.Join(all, ", ") + "]"
}

// cell is a point of the optimizer's grid.
type cell struct {
	network
	records int
	memory  int // MiB; 0: no limit
	there   bool
}

func (c cell) String() string {
	limit, where := "none", "local"
	if c.memory > 0 {
		limit = fmt.Sprintf("%d MiB", c.memory)
	}
	if c.there {
		where = "cluster"
	}
	return fmt.Sprintf("%s, %d | %d | %s | %s", c.model, c.layers, c.records, limit, where)
}

// grid is the cells of a measurement.
func (b *bench) grid() (out []cell) {
	for _, n := range networks() {
		if b.model != "" && b.model != n.model || b.small && n.model != "alexnet" {
			continue
		}
		for i, records := range n.sizes {
			if b.records > 0 && records > b.records || b.small && i > 0 {
				continue
			}
			for j, memory := range n.limits {
				if b.small && j > 1 {
					continue
				}
				out = append(out, cell{n, records, memory, false})
				if b.there {
					out = append(out, cell{n, records, memory, true})
				}
			}
		}
	}
	return out
}

// tried is a plan of a cell that was run.
type tried struct {
	plan     plan.Plan
	estimate results.Cost
	actual   *results.Cost // of the quickest run
	err      error
}

// worth is how many times the best estimate of a cell a plan may be expected to take and still be run, and others how
// many are run at most beside the chosen one: beyond, a plan could be the best only if estimates were wrong by as much.
const (
	worth  = 1.3
	others = 2
)

// optimizer measures what the optimizer's choice is worth: in each cell of the grid the chosen plan and those that might be
// better are run, in turns, each under its limit in a control group where those can be made. The quickest run of each
// counts. It prints a table as docs/optimizer.md has it.
func (b *bench) optimizer(ctx context.Context) (err error) {
	o := &grid{bench: b, began: time.Now()}
	if g, err := cgroup.New("1G"); err == nil {
		o.groups = true
		if err := g.Remove(); err != nil {
			return err
		}
	}
	cells := b.grid()
	if len(cells) == 0 {
		return errors.New("no cell of the grid is left")
	}
	if err := o.warm(ctx, cells); err != nil {
		return err
	}
	if b.there {
		state := filepath.Join(b.dir, "optimizer-state")
		if o.fleet, err = newFleet(ctx, b.bin, state); err != nil {
			return err
		}
		defer func() {
			kills, e := o.fleet.stop()
			if kills > 0 {
				e = errors.Join(e, fmt.Errorf("%d workers were killed", kills))
			}
			err = errors.Join(err, e, os.RemoveAll(state))
		}()
	}
	fmt.Println("| network, layers | records | limit | where | chosen | seconds | best | its seconds | regret | time | peak | bytes | plans |")
	fmt.Println("| --- | ---: | ---: | --- | --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
	for i, c := range cells {
		// What is left of the time is shared out among the cells that are left; the chosen plan runs in any case.
		left := b.budget - time.Since(o.began)
		all, err := o.cell(ctx, c, time.Now().Add(left/time.Duration(len(cells)-i)))
		if err != nil {
			return err
		}
		if err := o.report(c, all); err != nil {
			return err
		}
	}
	return o.summary()
}

// grid is a measurement in progress.
type grid struct {
	*bench
	began   time.Time
	groups  bool // control groups can be made
	fleet   *fleet
	runs    int
	kills   int
	refused int  // cells
	before  cell // the one that was measured last

	regrets, times, peaks, bytes []float64
	failed                       []error
}

// warm has the networks made ready, and their speed measured, for all ways of inference that any cell runs.
func (o *grid) warm(ctx context.Context, cells []cell) error {
	seen := map[string]bool{}
	for _, c := range cells {
		if seen[c.model] {
			continue
		}
		seen[c.model] = true
		ways := []plan.Inference{plan.Fused, plan.Staged}
		if o.small {
			ways = ways[:1]
		}
		for _, way := range ways {
			file, out, err := o.prepare(ctx, c)
			if err != nil {
				return err
			}
			if _, err := run(ctx, exec.CommandContext(ctx, o.bin, "submit", file, "--set", "plan.inference="+string(way))); err != nil {
				return err
			}
			if err := os.RemoveAll(out); err != nil {
				return err
			}
		}
	}
	return nil
}

func (o *grid) prepare(ctx context.Context, c cell) (file, out string, err error) {
	data, err := o.data(ctx, c.records)
	if err != nil {
		return "", "", err
	}
	extra := ""
	if c.memory > 0 {
		extra = fmt.Sprintf("limits: {memory: %dMiB}\n", c.memory)
	}
	return o.jobFile("optimizer", data, c.cnn(), extra)
}

// cell runs the plans of a cell until a time: the chosen one first, then others that might be better.
func (o *grid) cell(ctx context.Context, c cell, until time.Time) ([]tried, error) {
	file, out, err := o.prepare(ctx, c)
	if err != nil {
		return nil, err
	}
	args := []string{"explain", file, "-o", "json"}
	if c.there {
		kills, err := o.fleet.start(ctx, o.limit(c))
		if o.kills += kills; err != nil {
			return nil, err
		}
		args = append(args, "--tracker", o.fleet.url)
	}
	cmd := exec.CommandContext(ctx, o.bin, args...)
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	if refused(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", cmd, err)
	}
	var x explain.Explanation
	if err := json.Unmarshal(text, &x); err != nil {
		return nil, err
	}
	all := []tried{{plan: x.Plan}}
	best := x.Estimate.Seconds
	for _, r := range x.Rejected {
		if r.Fits {
			best = min(best, r.Estimate.Seconds)
		}
	}
	for _, r := range x.Rejected { // the cheapest first
		if len(all) <= others && r.Fits && r.Estimate.Seconds < worth*best {
			all = append(all, tried{plan: r.Plan})
		}
	}
	if half := x.Plan; half.Batch > 1 { // how many images are in flight is a choice, too
		half.Batch /= 2
		all = append(all, tried{plan: half})
	}
	if other := x.Plan; c.memory > 0 && other.CPU*other.Batch > 1 { // and so is how many slots share those that memory allows
		if other.CPU == 1 {
			other.CPU, other.Batch = 2, other.Batch/2
		} else {
			other.CPU, other.Batch = other.CPU/2, min(2*other.Batch, 6)
		}
		all = append(all, tried{plan: other})
	}
	turn := func(i int) error {
		t := &all[i]
		got, err := o.once(ctx, c, file, out, t.plan)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case refused(err) && i > 0: // it was not among the plans that fit
		case err != nil:
			t.err = err
		case t.actual == nil || got.Actual.Seconds < t.actual.Seconds:
			t.actual, t.estimate = &got.Actual, *got.Estimate
		}
		return nil
	}
	if cold(o.before, c) {
		if _, err := o.once(ctx, c, file, out, x.Plan); ctx.Err() != nil || err != nil {
			return []tried{{plan: x.Plan, err: err}}, ctx.Err()
		}
	}
	o.before = c
	for round := range o.rounds {
		for i := range all {
			// Each round begins with another plan: what runs first after a pause is often slower. But the chosen one runs in any case.
			i = (i + round) % len(all)
			if (round > 0 || i > 0) && time.Now().After(until) {
				continue
			}
			if err := turn(i); err != nil {
				return nil, err
			}
		}
	}
	// Of several plans that are as good, the quickest run of all is of another one than the chosen one most of the time. So
	// the chosen one and its rival run as often again, whichever of them has been quicker: in turns, and both must do with
	// the same number of runs.
	rival := 0
	if len(all) > 1 {
		rival = 1 + quickest(all[1:])
	}
	for round := 0; rival > 0 && round < o.rounds && time.Now().Before(until); round++ {
		for _, i := range []int{rival, 0} {
			if err := turn(i); err != nil {
				return nil, err
			}
		}
	}
	return slices.DeleteFunc(all, func(t tried) bool { return t.actual == nil && t.err == nil }), nil
}

// cold tells whether a cell's first run does not count, by the cell that was measured before: a run over new files, after one in a
// control group, which takes the system's cache along, or by other processes is slower.
func cold(before, c cell) bool {
	return before.memory > 0 || before.model != c.model || before.records != c.records || before.there != c.there
}

// quickest is which plan was the quickest, the first one if none has ended.
func quickest(all []tried) (best int) {
	for i, t := range all {
		if t.actual != nil && (all[best].actual == nil || t.actual.Seconds < all[best].actual.Seconds) {
			best = i
		}
	}
	return best
}

// refused says whether a job was refused because it does not fit.
func refused(err error) bool {
	var e *exec.ExitError
	return errors.As(err, &e) && e.ExitCode() == 4
}

// once runs a job by a plan and returns what its results say of it.
func (o *grid) once(ctx context.Context, c cell, file, out string, p plan.Plan) (*results.Plan, error) {
	args := []string{"submit", file}
	for _, s := range []string{"inference=" + string(p.Inference), "placement=" + string(p.Placement), "join=" + string(p.Join), "storage=" + string(p.Storage),
		"cpu=" + strconv.Itoa(p.CPU), "batch=" + strconv.Itoa(p.Batch), "partitions=" + strconv.Itoa(p.Partitions)} {
		args = append(args, "--set", "plan."+s)
	}
	if p.Networks != plan.One {
		args = append(args, "--set", "plan.networks="+string(p.Networks))
	}
	o.runs++
	kills, err := 0, error(nil)
	switch {
	case c.there:
		_, err = run(ctx, exec.CommandContext(ctx, o.bin, append(args, "--tracker", o.fleet.url)...))
		if o.fleet.kills() > 0 {
			var e error
			kills, e = o.fleet.start(ctx, o.limit(c))
			err = errors.Join(err, e)
		}
	case c.memory > 0 && o.groups:
		_, kills, err = o.grouped(ctx, c.memory, "", args...)
	default:
		_, err = run(ctx, exec.CommandContext(ctx, o.bin, args...))
	}
	o.kills += kills
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(out))
	}
	data, err := os.ReadFile(filepath.Join(out, "results.json"))
	if err != nil {
		return nil, err
	}
	s, err := results.Parse(data)
	if err != nil {
		return nil, err
	}
	if s.Plan.Estimate == nil {
		return nil, errors.New("the results have no estimate")
	}
	return &s.Plan, errors.Join(o.note(c, &s.Plan), os.RemoveAll(out))
}

// note appends a run to the log.
func (o *grid) note(c cell, p *results.Plan) error {
	if o.log == "" {
		return nil
	}
	line, err := json.Marshal(map[string]any{"cell": c.String(), "plan": p})
	if err != nil {
		return err
	}
	f, err := os.OpenFile(o.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}

// report prints a cell's line.
func (o *grid) report(c cell, all []tried) error {
	if len(all) == 0 {
		o.refused++
		fmt.Printf("| %s | refused | | | | | | | | 0 |\n", c)
		return nil
	}
	chosen, best := all[0], all[quickest(all)]
	for _, t := range all {
		if t.err != nil {
			o.failed = append(o.failed, fmt.Errorf("%s by %s: %w", c, t.plan, t.err))
		}
		if t.actual == nil {
			continue
		}
		e, a := t.estimate, t.actual
		o.times = append(o.times, math.Abs(off(e.Seconds, a.Seconds)))
		o.peaks = append(o.peaks, math.Abs(off(float64(e.PeakMemory), float64(a.PeakMemory))))
		o.bytes = append(o.bytes, math.Abs(off(float64(e.BytesWritten), float64(a.BytesWritten))))
	}
	if chosen.actual == nil {
		fmt.Printf("| %s | %s | failed | | | | | | | %d |\n", c, short(chosen.plan), len(all))
		return nil
	}
	e, a := chosen.estimate, chosen.actual
	regret := a.Seconds / best.actual.Seconds
	o.regrets = append(o.regrets, regret)
	_, err := fmt.Printf("| %s | %s | %.1f | %s | %.1f | %.2f | %+.0f %% | %+.0f %% | %+.0f %% | %d |\n", c, short(chosen.plan), a.Seconds, short(best.plan), best.actual.Seconds, regret,
		100*off(e.Seconds, a.Seconds), 100*off(float64(e.PeakMemory), float64(a.PeakMemory)), 100*off(float64(e.BytesWritten), float64(a.BytesWritten)), len(all))
	return err
}

// off is by how much an estimate is off, as a share of what was measured; 0 where nothing was.
func off(estimate, actual float64) float64 {
	if actual == 0 {
		return 0
	}
	return estimate/actual - 1
}

// short is a plan in a cell of a table.
func short(p plan.Plan) string {
	words := []string{string(p.Inference), string(p.Placement), string(p.Join), string(p.Storage), fmt.Sprintf("%dx%d", p.CPU, p.Batch)}
	if p.Networks != "" {
		words = append(words, string(p.Networks))
	}
	return strings.Join(words, " ")
}

// summary prints what the grid says in all. A plan that fitted and did not finish is an error; of the small grid, more is (beyond).
func (o *grid) summary() error {
	if len(o.regrets) == 0 {
		return cmp.Or(errors.Join(o.failed...), errors.New("nothing was measured"))
	}
	how := "without control groups"
	if o.groups {
		how = "limits by control groups"
	}
	fmt.Printf("\n%d runs of %d cells in %.0f minutes, %s, %d killed.\n", o.runs, len(o.regrets), time.Since(o.began).Minutes(), how, o.kills)
	fmt.Printf("Regret: median %.3f, worst %.3f.\n", middle(o.regrets), slices.Max(o.regrets))
	fmt.Printf("Estimates of all plans that ran are off by (median, worst): time %.0f %%, %.0f %%; peak memory %.0f %%, %.0f %%; bytes written %.0f %%, %.0f %%.\n", 100*middle(o.times), 100*slices.Max(o.times),
		100*middle(o.peaks), 100*slices.Max(o.peaks), 100*middle(o.bytes), 100*slices.Max(o.bytes))
	return errors.Join(errors.Join(o.failed...), o.beyond())
}

// How far estimates of any plan that ran may be off in the small grid, which judges what it measures.
const (
	peakBound  = 0.15
	bytesBound = 0.10
)

// beyond is what of the small grid is not as it has to be on any machine, whatever else that does. Times are not judged: they mean
// nothing there.
func (o *grid) beyond() error {
	if !o.small {
		return nil
	}
	var all []error
	for _, f := range []struct {
		what  string
		off   []float64
		bound float64
	}{{"peak memory", o.peaks, peakBound}, {"bytes written", o.bytes, bytesBound}} {
		if worst := slices.Max(f.off); worst > f.bound {
			all = append(all, fmt.Errorf("an estimate of %s is off by %.0f %%, and may be by %.0f", f.what, 100*worst, 100*f.bound))
		}
	}
	if o.refused > 0 {
		all = append(all, fmt.Errorf("%d cells were refused", o.refused))
	}
	if o.kills > 0 {
		all = append(all, fmt.Errorf("%d processes were killed", o.kills))
	}
	return errors.Join(all...)
}

// middle is the median.
func middle(v []float64) float64 {
	s := slices.Clone(v)
	slices.Sort(s)
	return s[len(s)/2]
}
