package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/layers/ort"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/machine"
	"github.com/vista-mr/vista-mr/vistaopt"
	"github.com/vista-mr/vista-mr/vistaopt/explain"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// Explain plans a job as Submit would, and says why. It reads the table, the list of images and a sample of them, and no
// weights; it writes nothing but what tells whether the cache can be written. o.Analyze names a finished run to compare with. Exit class: infeasible, if nothing fits; invalid, if
// that run did other work or its results make no sense.
func Explain(ctx context.Context, j *conf.Job, o Options) (*explain.Explanation, error) {
	o.fill()
	o.opensModel = true // images are listed whole
	defer machine.SpareHeap(machine.Sparing)()
	if err := Supported(j); err != nil {
		return nil, err
	}
	_, here := o.Engine.(*inProcess)
	if here {
		if err := enoughAddresses(); err != nil {
			return nil, err
		}
	}
	f := &findings{}
	found := ""
	for _, c := range checks {
		switch c.name {
		case "table", "images", "records":
			detail, err := c.run(ctx, j, &o, f)
			if err != nil {
				return nil, invalid(err)
			}
			found = detail
		}
	}
	m, err := o.Engine.Machine(ctx)
	if err != nil {
		return nil, err
	}
	there := m // without the job's limit
	m = limited(j, m)
	d := f.data()
	ns, err := outlines(ctx, j)
	if err != nil {
		return nil, invalid(err)
	}
	warnOfCaches(&o, m)
	if _, version, err := ort.CheckLibrary(o.ORTLib); err == nil { // without one nothing was ever measured
		o.ortVersion = version
	}
	if m.Rates, err = speeds(ctx, d, ns, sampleRoom(j, m), &o); err != nil {
		return nil, invalid(err)
	}
	there.Rates = m.Rates
	old, at, refused := interrupted(ctx, j, &o)
	planned, err := old.planned(ctx, d)
	if err != nil {
		return nil, invalid(err)
	}
	c, follows, err := choose(j, ns, d, planned, m)
	if err != nil {
		return nil, err
	}
	fromSet(j, c.From)
	x := &explain.Explanation{SchemaVersion: explain.SchemaVersion, Job: j.Name,
		Data:    explain.Data{Rows: d.stats.Rows, Images: d.stats.Images, Matched: d.stats.Matched, ImageBytes: d.imageBytes(), Pixels: d.stats.Pixels, Columns: d.table.Encoding.Width(), Found: found},
		Machine: explain.Machine{Workers: max(m.Workers, 1), Cores: m.Cores, Memory: m.Memory, Rates: c.Rates},
		Plan:    c.Plan, From: c.From, Remarks: idle(j, c.Plan, there), Warnings: warnings(j, d, ns, c, follows, there), Estimate: c.Estimate, Regions: c.Regions, Pinned: c.Pinned, Rejected: c.Rejected}
	ns.explain(x)
	t := training(j, d, ns)
	switch {
	case follows:
		x.TakesUp = at
		x.Remarks = append(x.Remarks, fmt.Sprintf("The plan is that of the unfinished run in %s, which submit takes up if its weights and programs are still the same%s.", at, chosenAnew(old.Plan, c.Plan)))
	case old != nil && planned == nil:
		x.Remarks = append(x.Remarks, fmt.Sprintf("The unfinished run in %s had another table or other images: submit starts anew.", at))
	case old != nil:
		x.Remarks = append(x.Remarks, fmt.Sprintf("The plan of the unfinished run in %s does not fit into the memory that there is now: submit starts anew.", at))
	}
	if ns.fresh(c.Plan.Inference) {
		x.Remarks = append(x.Remarks, firstRun())
	}
	if refused != nil && ctx.Err() == nil {
		x.Remarks = append(x.Remarks, inTheWay(refused))
	}
	if has := m.Tracker.Memory; c.Tracker > has {
		x.BeyondTracker = true
		x.Remarks = append(x.Remarks, beyondTracker(c.Tracker, has))
	}
	if c.Beyond == 0 && !follows { // of a plan that runs although it does not fit, what it needs is the threshold
		x.Thresholds = vistaopt.Thresholds(wanted(j), ns.sizes(), d.stats, t, m)
	}
	if x.Override, err = override(c, ns.sizes(), d.stats, t, m); err != nil {
		return nil, err
	}
	if o.Analyze != "" {
		again := func(p plan.Plan) (*vistaopt.Choice, error) {
			if p == c.Plan {
				return c, nil
			}
			return beyondMemory(m, func(m vistaopt.Machine) (*vistaopt.Choice, error) { return optimized(p, ns.sizes(), d.stats, t, m) })
		}
		if err := analyze(ctx, j, x, d, o.Analyze, !here, again); err != nil {
			return nil, err
		}
	}
	return x, nil
}

// override compares a plan with the one that would run if the user had fixed nothing; nil: nothing is fixed. Where that does not
// fit either, it is the one that needs no more than the plan.
func override(c *vistaopt.Choice, ns []vistaopt.Network, s vistaopt.Stats, t vistaopt.Training, m vistaopt.Machine) (*explain.Override, error) {
	o := &explain.Override{}
	for _, knob := range plan.Knobs {
		if from := c.From[knob]; from != "" && from != "optimizer" {
			o.Knobs = append(o.Knobs, "plan."+knob)
		}
	}
	if len(o.Knobs) == 0 {
		return nil, nil
	}
	free, err := optimized(plan.Plan{}, ns, s, t, m)
	if err != nil && (c.Memory > m.Memory || c.Tracker > m.Tracker.Memory) {
		m.Memory, m.Tracker.Memory = c.Memory, c.Tracker
		free, err = optimized(plan.Plan{}, ns, s, t, m)
	}
	var tracker *vistaopt.TrackerError
	if errors.As(err, &tracker) { // what was fixed trains layer by layer: the tracker has no say in what would be chosen
		m.Tracker.Memory = tracker.Needed
		free, err = optimized(plan.Plan{}, ns, s, t, m)
	}
	if err != nil {
		return nil, err // what was fixed fits, so this does
	}
	o.Plan, o.Ratio, o.Memory, o.Written = free.Plan, c.Estimate.Seconds/free.Estimate.Seconds, free.Estimate.Memory, free.Estimate.Written
	return o, nil
}

// optimized is the optimizer's choice, with estimates by what was measured.
func optimized(want plan.Plan, ns []vistaopt.Network, s vistaopt.Stats, t vistaopt.Training, m vistaopt.Machine) (*vistaopt.Choice, error) {
	c, err := vistaopt.Choose(want, ns, s, t, m)
	if err == nil {
		c.Measured(ns, s, t, m)
	}
	return c, err
}

// fromSet notes which of the knobs that the user has fixed were fixed by --set.
func fromSet(j *conf.Job, from map[string]string) {
	for _, o := range j.Origins() {
		if knob, ok := strings.CutPrefix(o.Path, "plan."); ok && o.From == "set" && from[knob] == "file" {
			from[knob] = o.From
		}
	}
}

// errOutlined ends the opening of a network once its layers and sizes are known.
var errOutlined = errors.New("the outline is enough")

// outline is a job's i-th network without its weights.
func outline(ctx context.Context, j *conf.Job, i int) (_ *network, err error) {
	var p *prober
	if isFile(j.CNN[i].Model) {
		dir, err := scratch()
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir) // what is left is in the system's folder for such things
		p = newProber(j, dir)
	}
	var out *network
	_, err = openNetwork(ctx, j, i, p, func(n *network) error {
		out = n
		return errOutlined
	})
	switch {
	case errors.Is(err, errOutlined):
		return out, out.forget()
	case err == nil:
		return nil, exit.As(exit.Internal, fmt.Errorf("%s was opened without asking for its sizes", j.CNN[i].Model))
	}
	return nil, err
}
