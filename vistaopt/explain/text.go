package explain

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/vista-mr/vista-mr/vistaopt"
	"github.com/vista-mr/vista-mr/vistaopt/bytesize"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// Text is an explanation for people: at most 100 columns but for names that are longer.
func (x *Explanation) Text() []byte {
	var b bytes.Buffer
	p, e := x.Plan, x.Estimate
	networks := ""
	if p.Networks != plan.One {
		networks = fmt.Sprintf(", networks %s", p.Networks)
	}
	fmt.Fprintf(&b, "Plan      %s, %s, %s join, %s%s; %d at a time, batches of %d, %d partitions\n", p.Inference, p.Placement, p.Join, p.Storage, networks, p.CPU, p.Batch, p.Partitions)
	fmt.Fprintf(&b, "Estimate  %s, a peak of %s of memory a worker, writes %s\n", duration(e.Seconds), bytesize.Nearest(e.Memory), bytesize.Nearest(e.Written))
	x.data(&b)
	x.phases(&b)
	x.memory(&b)
	x.knobs(&b)
	x.rejected(&b)
	x.changes(&b)
	x.paper(&b)
	fmt.Fprintf(&b, "\nSpeeds    %s\n", x.Machine.Rates)
	return b.Bytes()
}

func (x *Explanation) data(b *bytes.Buffer) {
	head, networks := "For       ", x.Networks
	if len(networks) == 0 {
		networks = []Network{{x.Network, x.Network, x.Layers, x.Preprocess}}
	}
	for _, n := range networks {
		called := n.Name
		if n.Model != n.Name {
			called += " (" + n.Model + ")"
		}
		fmt.Fprintf(b, "%s%s, layers %s\n", head, called, strings.Join(n.Layers, " "))
		if n.Preprocess != "" {
			fmt.Fprintf(b, "          %s\n", n.Preprocess)
		}
		head = "          "
	}
	fmt.Fprintf(b, "          %d rows of %d columns, %d images of %s; %s\n", x.Data.Rows, x.Data.Columns, x.Data.Images, bytesize.Nearest(x.Data.ImageBytes), x.Data.Found)
	fmt.Fprintf(b, "On        %s of %s, %s each\n", count(x.Machine.Workers, "worker"), count(x.Machine.Cores, "core"), bytesize.Nearest(x.Machine.Memory))
}

// table writes rows with aligned columns.
func table(b *bytes.Buffer, rows [][]string) {
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		fmt.Fprintln(w, "  "+strings.Join(r, "\t"))
	}
	_ = w.Flush() // into memory
}

// phases is the tree of what runs, the last phase on top, as databases show plans.
func (x *Explanation) phases(b *bytes.Buffer) {
	fmt.Fprintln(b)
	head := []string{"phase", "tasks", "estimate", "core-seconds", "writes"}
	if x.Actual != nil {
		head = append(head, "took", "error", "wrote", "error")
	}
	rows := [][]string{head}
	for _, p := range x.Estimate.Phases {
		if p.Name == "evaluate" && x.Actual != nil { // all else comes before
			rows = append(rows, x.unforeseen()...)
		}
		r := []string{p.Name, fmt.Sprint(p.Tasks), duration(p.Seconds), fmt.Sprintf("%.1f", p.Compute), bytesize.Nearest(p.Written)}
		if x.Actual != nil {
			r = append(r, x.measured(p)...)
		}
		rows = append(rows, r)
	}
	if a := x.Actual; a != nil {
		rows = append(rows, x.between()...)
		rows = append(rows, []string{"in all", "", duration(x.Estimate.Seconds), fmt.Sprintf("%.1f", x.Estimate.Compute), bytesize.Nearest(x.Estimate.Written), duration(a.Seconds), off(x.Estimate.Seconds, a.Seconds), bytesize.Nearest(a.Written), off(float64(x.Estimate.Written), float64(a.Written))})
	}
	table(b, rows)
	if a := x.Actual; a != nil {
		fmt.Fprintf(b, "Measured  peak memory %s, estimate %s (%s)\n", bytesize.Nearest(a.Memory), bytesize.Nearest(x.Estimate.Memory), off(float64(x.Estimate.Memory), float64(a.Memory)))
		if a.Plan != x.Plan {
			fmt.Fprintf(b, "          by another plan: %s\n", a.Plan)
		}
		if a.Machines != "" {
			fmt.Fprintf(b, "          on other machines: %s\n", a.Machines)
		}
		if len(a.Differs) > 0 {
			fmt.Fprintf(b, "          of a job that differs in: %s\n", strings.Join(a.Differs, "; "))
		}
	}
}

// unforeseen are rows for phases that were measured and not estimated: of another plan, or of features that are kept.
func (x *Explanation) unforeseen() (rows [][]string) {
	for _, name := range slices.Sorted(maps.Keys(x.Actual.Phases)) {
		if !slices.ContainsFunc(x.Estimate.Phases, func(p vistaopt.PhaseEstimate) bool { return p.Name == name }) {
			rows = append(rows, []string{name, "", "-", "", "-", duration(x.Actual.Phases[name]), "", bytesize.Nearest(x.Actual.Bytes[name]), ""})
		}
	}
	return rows
}

// between is a row for time that belongs to no phase.
func (x *Explanation) between() (rows [][]string) {
	switch between := x.Actual.Between; {
	case between >= 0.0005:
		rows = append(rows, []string{"in no phase", "", "-", "", "", duration(between), "", "", ""})
	case between <= -0.0005:
		rows = append(rows, []string{"at the same time", "", "-", "", "", "-" + duration(-between), "", "", ""})
	}
	return rows
}

func (x *Explanation) measured(p vistaopt.PhaseEstimate) []string {
	took, ok := x.Actual.Phases[p.Name]
	if !ok {
		return []string{"-", "", "-", ""}
	}
	wrote := x.Actual.Bytes[p.Name]
	return []string{duration(took), off(p.Seconds, took), bytesize.Nearest(wrote), off(float64(p.Written), float64(wrote))}
}

// off is by how much an estimate is off, as a share of what was measured.
func off(estimate, actual float64) string {
	if actual == 0 {
		return ""
	}
	share := math.Round(100 * (estimate - actual) / actual)
	if share == 0 {
		return "0 %" // and no -0
	}
	return fmt.Sprintf("%+.0f %%", share)
}

func (x *Explanation) memory(b *bytes.Buffer) {
	r := x.Regions
	fmt.Fprintf(b, "\nMemory    needs %s of %s, an expected peak of %s: ", bytesize.AtLeast(r.Need()), bytesize.AtMost(x.Machine.Memory), bytesize.Nearest(x.Estimate.Memory))
	var parts []string
	for _, of := range []struct {
		name  string
		bytes int64
	}{{"program", r.Base}, {"rows", r.Rows}, {"table", r.Table}, {"making the network ready", r.Prepare}, {"weights", r.Model}, {"of which it may drop", r.Mapped}, {"images in flight", r.Inference}, {"buffers", r.Buffers},
		{"decoding", r.Decode}, {"sorting", r.Sort}, {"cache", r.Cache}, {"models", r.Train}, {"evaluation", r.Evaluate}} {
		if of.bytes >= 1<<20 {
			parts = append(parts, of.name+" "+bytesize.Nearest(of.bytes))
		}
	}
	fmt.Fprintf(b, "%s\n          (the network's, training's and evaluation's parts are not held at the same time;\n          what is needed is what each part may take, the peak what it most likely takes)\n", strings.Join(parts, ", "))
	fmt.Fprintf(b, "          training keeps %s of rows in each worker: ", bytesize.Nearest(x.Pinned.Bytes))
	if x.Pinned.Disk > 0 {
		fmt.Fprintf(b, "%s in memory, %s on the local disk\n", bytesize.Nearest(x.Pinned.Bytes-x.Pinned.Disk), bytesize.Nearest(x.Pinned.Disk))
	} else {
		fmt.Fprintf(b, "all of it in memory\n")
	}
}

var knobs = []string{"inference", "placement", "join", "storage", "networks", "cpu", "partitions", "batch"}

func (x *Explanation) knobs(b *bytes.Buffer) {
	by := map[string][]string{}
	for _, k := range knobs {
		by[x.From[k]] = append(by[x.From[k]], k)
	}
	var parts []string
	for _, from := range []string{"file", "set", "optimizer"} {
		if len(by[from]) > 0 {
			parts = append(parts, fmt.Sprintf("%s: %s", map[string]string{"file": "by the job file", "set": "by --set", "optimizer": "by the optimizer"}[from], strings.Join(by[from], " ")))
		}
	}
	fmt.Fprintf(b, "Knobs     %s\n", strings.Join(parts, "; "))
	for _, r := range x.Remarks {
		fmt.Fprintf(b, "          %s\n", r)
	}
	if x.Override != nil {
		fmt.Fprintf(b, "          %s\n", x.Override.words())
	}
}

// words say what the knobs that were set cost, or gain: the optimizer fixes the number of partitions by the data alone, and two
// knobs as for one core.
func (o *Override) words() string {
	cost, gain := "cost", "gain"
	if len(o.Knobs) == 1 {
		cost, gain = "costs", "gains"
	}
	switch knobs := strings.Join(o.Knobs, " and "); {
	case o.Ratio > 1.005:
		return fmt.Sprintf("%s %s: %.2f times as long as the optimizer's %s", knobs, cost, o.Ratio, o.Plan)
	case o.Ratio < 0.995:
		return fmt.Sprintf("%s %s: quicker by %.2f times than the optimizer's %s", knobs, gain, 1/o.Ratio, o.Plan)
	default:
		return fmt.Sprintf("%s %s nothing", knobs, cost)
	}
}

func (x *Explanation) rejected(b *bytes.Buffer) {
	if len(x.Rejected) == 0 {
		return
	}
	fmt.Fprintf(b, "\nRejected  of the %d other plans, with the best number at a time and batch of each:\n", len(x.Rejected))
	rows := [][]string{}
	for _, r := range x.Rejected {
		at := "-"
		if r.Estimate.Seconds > 0 {
			at = duration(r.Estimate.Seconds)
		}
		p := r.Plan
		rows = append(rows, []string{strings.TrimSpace(fmt.Sprintf("%s %s %s %s %s", p.Inference, p.Placement, p.Join, p.Storage, p.Networks)), at, bytesize.Nearest(r.Estimate.Memory), r.Why})
	}
	table(b, rows)
}

func (x *Explanation) changes(b *bytes.Buffer) {
	fmt.Fprintf(b, "\nWhat would change the choice\n")
	if need := x.Regions.Need(); need > x.Machine.Memory { // limits.refuse is false
		mibs := (need + 1<<20 - 1) >> 20
		fmt.Fprintf(b, "  with %d MiB a worker (%s more) a plan fits; until then the one that needs the least is run\n", mibs, bytesize.Nearest(mibs<<20-x.Machine.Memory))
		return
	}
	if len(x.Thresholds) == 0 {
		fmt.Fprintf(b, "  nothing within %d times the memory or rows, up or down, changes it\n", vistaopt.Reach)
	}
	for _, t := range x.Thresholds {
		fmt.Fprintf(b, "  %s\n", change(t, x.Plan))
	}
}

// change is a threshold in words.
func change(t vistaopt.Threshold, now plan.Plan) string {
	more := t.At > t.From
	var where string
	switch {
	case t.Of == vistaopt.OfMemory && more:
		where = fmt.Sprintf("with %d MiB a worker (%s more)", t.At>>20, bytesize.Nearest(t.At-t.From))
	case t.Of == vistaopt.OfMemory:
		where = fmt.Sprintf("with %d MiB a worker or less", t.At>>20)
	case more:
		where = fmt.Sprintf("above %d rows", t.At-1)
	default:
		where = fmt.Sprintf("below %d rows", t.At+1)
	}
	if t.Refused {
		return where + ", nothing fits"
	}
	var what []string
	for _, k := range []struct{ name, now, then string }{{"inference", string(now.Inference), string(t.Plan.Inference)}, {"placement", string(now.Placement), string(t.Plan.Placement)},
		{"join", string(now.Join), string(t.Plan.Join)}, {"storage", string(now.Storage), string(t.Plan.Storage)}, {"networks", string(now.Networks), string(t.Plan.Networks)},
		{"at a time", fmt.Sprint(now.CPU), fmt.Sprint(t.Plan.CPU)}, {"batch", fmt.Sprint(now.Batch), fmt.Sprint(t.Plan.Batch)}} {
		if k.now != k.then {
			what = append(what, fmt.Sprintf("%s %s instead of %s", k.name, k.then, k.now))
		}
	}
	out := where + ": " + strings.Join(what, ", ")
	if t.Gain > 1.005 {
		out += fmt.Sprintf("; %.2f times as fast", t.Gain)
	} else if t.Gain > 0 && t.Gain < 0.995 {
		out += fmt.Sprintf("; %.2f times as long", 1/t.Gain)
	}
	return out
}

func (x *Explanation) paper(b *bytes.Buffer) {
	if len(x.Paper) == 0 {
		return
	}
	fmt.Fprintf(b, "\nBy the formulas of the Vista paper, on its 8 nodes of 8 cores and 32 GB\n")
	rows := [][]string{{"CNN", "cpu", "partitions", "join", "persistence", "largest table", "largest two"}}
	for _, c := range x.Paper {
		rows = append(rows, []string{c.CNN, fmt.Sprint(c.CPU), fmt.Sprint(c.Partitions), c.Join, c.Persistence, fmt.Sprintf("%.1f GB", c.Single/1e9), fmt.Sprintf("%.1f GB", c.Double/1e9)})
	}
	table(b, rows)
}

func count(n int, of string) string {
	if n == 1 {
		return "1 " + of
	}
	return fmt.Sprintf("%d %ss", n, of)
}

// duration is a time in words.
func duration(s float64) string {
	switch {
	case s < 0.095:
		return fmt.Sprintf("%.0f ms", 1000*s)
	case s < 9.95:
		return fmt.Sprintf("%.1f s", s)
	case s < 100:
		return fmt.Sprintf("%.0f s", s)
	case s < 3*3600:
		return fmt.Sprintf("%.0f min", s/60)
	}
	return fmt.Sprintf("%.1f h", s/3600)
}
