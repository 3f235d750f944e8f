package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"text/tabwriter"

	"github.com/vista-mr/vista-mr/jobs/results"
	"github.com/vista-mr/vista-mr/vistaopt/explain"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// cell is a point of the optimizer's grid.
type cell struct {
	model   string
	layers  int
	records int
	memory  string // limits.memory; "": none
}

// grid is three networks, three sizes and three limits: none, the least with which two batches of six fit, and one that is
// scarce. Sizes are such that a job takes some 5, 15 and 45 seconds on two cores.
func grid() (out []cell) {
	for _, n := range []struct {
		model  string
		layers int
		sizes  [3]int
		limits [3]string
	}{
		{"alexnet", 4, [3]int{300, 1200, 4000}, [3]string{"", "640MiB", "420MiB"}},
		{"resnet50", 5, [3]int{90, 300, 1000}, [3]string{"", "640MiB", "420MiB"}},
		{"vgg16", 3, [3]int{25, 80, 250}, [3]string{"", "2GiB", "1GiB"}},
	} {
		for _, records := range n.sizes {
			for _, memory := range n.limits {
				out = append(out, cell{n.model, n.layers, records, memory})
			}
		}
	}
	return out
}

// tried is a plan of a cell that was run.
type tried struct {
	plan     plan.Plan
	estimate float64 // seconds
	actual   *results.Plan
	err      error
}

// worth is how many times the chosen plan's estimate a plan may be expected to take and still be run: beyond, it could be the best
// only if estimates were wrong by as much.
const worth = 1.6

// optimizer measures what the optimizer's choice is worth: in each cell of the grid the chosen plan and all that might be
// better are run, in turns, and the quickest run of each counts.
func (b *bench) optimizer(ctx context.Context) error {
	var regrets, times, bytes, peaks []float64
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, c := range grid() {
		if b.model != "" && b.model != c.model || b.records > 0 && c.records > b.records {
			continue
		}
		all, err := b.cell(ctx, c)
		if err != nil {
			return err
		}
		best := math.Inf(1)
		for _, t := range all {
			if t.err == nil {
				best = min(best, t.actual.Actual.Seconds)
			}
		}
		name := fmt.Sprintf("%s %d layers, %d records, %s", c.model, c.layers, c.records, cmp.Or(c.memory, "no limit"))
		for i, t := range all {
			mark := ""
			if i == 0 {
				mark = "chosen"
			}
			if t.err != nil {
				fmt.Fprintf(w, "%s\t%s\t%s\tFAILED\t%v\n", name, t.plan, mark, t.err)
				continue
			}
			a, e := t.actual.Actual, t.actual.Estimate
			fmt.Fprintf(w, "%s\t%s\t%s\t%.1f s\t%+.0f %%\t%.2f of the best\t%d MiB\t%+.0f %%\n", name, t.plan, mark, a.Seconds, 100*(t.estimate/a.Seconds-1), a.Seconds/best, a.PeakMemory>>20, 100*(float64(e.PeakMemory)/float64(a.PeakMemory)-1))
			times = append(times, math.Abs(t.estimate/a.Seconds-1))
			peaks = append(peaks, math.Abs(float64(e.PeakMemory)/float64(a.PeakMemory)-1))
			if a.BytesWritten > 0 {
				bytes = append(bytes, math.Abs(float64(phasesWritten(e.BytesWritten, t.actual))/float64(a.BytesWritten)-1))
			}
		}
		if err := w.Flush(); err != nil {
			return err
		}
		if all[0].err == nil {
			regrets = append(regrets, all[0].actual.Actual.Seconds/best)
		}
	}
	fmt.Printf("regret: median %.3f, worst %.3f over %d cells\n", middle(regrets), slices.Max(regrets), len(regrets))
	fmt.Printf("estimates off by (median, worst): time %.0f %%, %.0f %%; peak memory %.0f %%, %.0f %%; bytes written %.0f %%, %.0f %%\n", 100*middle(times), 100*slices.Max(times),
		100*middle(peaks), 100*slices.Max(peaks), 100*middle(bytes), 100*slices.Max(bytes))
	return nil
}

// phasesWritten leaves out what the estimate counts around the chain: results are not in what was measured.
func phasesWritten(all int64, p *results.Plan) int64 {
	sum := int64(0)
	for _, ph := range p.Phases {
		if ph.Estimate != nil {
			sum += ph.Estimate.BytesWritten
		}
	}
	return min(all, sum)
}

// middle is the median.
func middle(v []float64) float64 {
	s := slices.Clone(v)
	slices.Sort(s)
	return s[len(s)/2]
}

// cell runs the plans of a cell: the chosen one first, then others that might be better.
func (b *bench) cell(ctx context.Context, c cell) ([]tried, error) {
	data, err := b.data(ctx, c.records)
	if err != nil {
		return nil, err
	}
	extra := ""
	if c.memory != "" {
		extra = "limits: {memory: " + c.memory + "}\n"
	}
	file, out, err := b.jobFile("optimizer", data, c.model, "weights: random, layers: "+strconv.Itoa(c.layers), extra)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, b.bin, "explain", file, "-o", "json")
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", cmd, err)
	}
	var x explain.Explanation
	if err := json.Unmarshal(text, &x); err != nil {
		return nil, err
	}
	all := []tried{{plan: x.Plan, estimate: x.Estimate.Seconds}}
	for _, r := range x.Rejected {
		if r.Fits && r.Estimate.Seconds < worth*x.Estimate.Seconds {
			all = append(all, tried{plan: r.Plan, estimate: r.Estimate.Seconds})
		}
	}
	for range b.rounds {
		for i := range all {
			t := &all[i]
			got, err := b.once(ctx, file, out, t.plan)
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			switch {
			case err != nil:
				t.err = err
			case t.actual == nil || got.Actual.Seconds < t.actual.Actual.Seconds:
				t.actual = got
			}
		}
	}
	return all, nil
}

// once runs a job by a plan and returns what its results say of it.
func (b *bench) once(ctx context.Context, file, out string, p plan.Plan) (*results.Plan, error) {
	args := []string{"submit", file}
	for _, s := range []string{"inference=" + string(p.Inference), "placement=" + string(p.Placement), "join=" + string(p.Join), "storage=" + string(p.Storage),
		"cpu=" + strconv.Itoa(p.CPU), "batch=" + strconv.Itoa(p.Batch), "partitions=" + strconv.Itoa(p.Partitions)} {
		args = append(args, "--set", "plan."+s)
	}
	if _, err := run(ctx, exec.CommandContext(ctx, b.bin, args...)); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(filepath.Join(out, "results.json"))
	if err != nil {
		return nil, err
	}
	s, err := results.Parse(data)
	if err != nil {
		return nil, err
	}
	return &s.Plan, os.RemoveAll(out)
}
