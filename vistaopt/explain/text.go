package explain

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"github.com/vista-mr/vista-mr/vistaopt"
	"github.com/vista-mr/vista-mr/vistaopt/bytesize"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// Text is an explanation for people. Sentences are broken at 100 columns; rows of tables are a line each, however long their names
// and reasons are.
func (x *Explanation) Text() []byte {
	var b bytes.Buffer
	p, e := x.Plan, x.Estimate
	networks := ""
	if p.Networks != plan.One {
		networks = fmt.Sprintf(", networks %s", p.Networks)
	}
	line(&b, head("Plan"), fmt.Sprintf("%s, %s, %s join, %s%s; %d at a time, batches of %d, %s", p.Inference, p.Placement, p.Join, p.Storage, networks, p.CPU, p.Batch, count(int64(p.Partitions), "partition")))
	line(&b, head("Estimate"), fmt.Sprintf("%s, a peak of %s of memory a worker, writes %s", vistaopt.Duration(e.Seconds), bytesize.Nearest(e.Memory), bytesize.Nearest(e.Written))+x.made())
	x.data(&b)
	x.phases(&b)
	x.memory(&b)
	x.knobs(&b)
	x.rejected(&b)
	x.changes(&b)
	x.paper(&b)
	b.WriteByte('\n')
	speeds := x.Machine.Rates
	if x.Actual != nil {
		speeds = "now: " + speeds
	}
	line(&b, head("Speeds"), speeds)
	return b.Bytes()
}

// made says of a run's estimate that it is not of now.
func (x *Explanation) made() string {
	if x.Actual == nil || slices.Contains(x.Actual.Lacking, InAll) {
		return ""
	}
	return " (made before the run)"
}

// InAll stands for a plan's sums among the names of its phases (Actual.Lacking).
const InAll = "in all"

func (x *Explanation) data(b *bytes.Buffer) {
	first := head("For")
	if len(x.Networks) == 0 {
		line(b, first, fmt.Sprintf("%s, layers %s", x.Network, strings.Join(x.Layers, " ")))
		if x.Preprocess != "" {
			line(b, noHead, x.Preprocess)
		}
	}
	for _, n := range x.Networks {
		line(b, first, fmt.Sprintf("network %s, layers %s", Called(n.Name, n.Model), strings.Join(n.Layers, " ")))
		first = noHead
	}
	for _, words := range Shared(x.Networks) {
		line(b, noHead, words)
	}
	size := bytesize.Nearest(x.Data.ImageBytes)
	if x.Data.Pixels > 0 {
		size += ", " + pixels(x.Data.Pixels)
	}
	line(b, noHead, fmt.Sprintf("%s of %s, %s of %s; %s", count(x.Data.Rows, "row"), count(int64(x.Data.Columns), "column"), count(x.Data.Images, "image"), size, x.Data.Found))
	for i, w := range x.Warnings {
		first := noHead
		if i == 0 {
			first = head("Warning")
		}
		line(b, first, w)
	}
	line(b, head("On"), fmt.Sprintf("%s of %s, %s each", count(int64(x.Machine.Workers), "worker"), count(int64(x.Machine.Cores), "core"), bytesize.AtMost(x.Machine.Memory)))
}

// Called is the name of one of several networks, with its model where that is another word.
func Called(name, model string) string {
	if model == name {
		return name
	}
	return name + " (" + model + ")"
}

// Shared says how several networks take images: once what is the same of some of them, with whose it is.
func Shared(networks []Network) (out []string) {
	of := map[string][]string{}
	var steps []string // in the order of their first networks
	for _, n := range networks {
		if n.Preprocess == "" {
			continue
		}
		if of[n.Preprocess] == nil {
			steps = append(steps, n.Preprocess)
		}
		of[n.Preprocess] = append(of[n.Preprocess], n.Name)
	}
	for _, s := range steps {
		whose := strings.Join(of[s], " and ")
		if len(of[s]) == len(networks) {
			whose = "all networks"
		}
		out = append(out, fmt.Sprintf("images of %s: %s", whose, s))
	}
	return out
}

// pixels is a number of them, of many in millions: 900 pixels, 0.2 megapixels, 12 megapixels.
func pixels(n int64) string {
	switch m := float64(n) / 1e6; {
	case m < 0.01:
		return count(n, "pixel")
	case m < 9.95:
		return fmt.Sprintf("%.2g megapixels", m)
	default:
		return fmt.Sprintf("%.0f megapixels", m)
	}
}

// table writes rows with aligned columns.
func table(b *bytes.Buffer, rows [][]string) {
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		fmt.Fprintln(w, "  "+strings.Join(r, "\t"))
	}
	_ = w.Flush() // into memory
}

// phases is the tree of what runs, the last phase on top, each beside what it is expected to cost.
func (x *Explanation) phases(b *bytes.Buffer) {
	fmt.Fprintln(b)
	columns := []string{"phase", "tasks", "estimate", "core-seconds", "writes"}
	if x.Actual != nil {
		columns = append(columns, "took", "error", "wrote", "error")
	}
	rows := [][]string{columns}
	for _, t := range tree(x.Plan, x.names()) {
		p := x.Estimate.Phases[t.at]
		r := []string{t.twig + p.Name, thousands(int64(p.Tasks)), vistaopt.Duration(p.Seconds), fmt.Sprintf("%.1f", p.Compute), bytesize.Nearest(p.Written)}
		if x.Actual != nil {
			r = append(r, x.measured(p)...)
		}
		rows = append(rows, r)
	}
	if a := x.Actual; a != nil {
		rows = append(append(rows, x.unforeseen()...), x.between()...)
		rows = append(rows, []string{InAll, "", vistaopt.Duration(x.Estimate.Seconds), fmt.Sprintf("%.1f", x.Estimate.Compute), bytesize.Nearest(x.Estimate.Written), vistaopt.Duration(a.Seconds), off(x.Estimate.Seconds, a.Seconds, noiseSeconds), bytesize.Nearest(a.Written), off(float64(x.Estimate.Written), float64(a.Written), noiseBytes)})
	}
	table(b, rows)
	if a := x.Actual; a != nil {
		line(b, head("Measured"), a.peak(x.Estimate.Memory))
		if a.Memory > x.Machine.Memory {
			line(b, noHead, fmt.Sprintf("more than the %s that the plan is made for: it is resident memory, with pages of mapped files such as weights, which the system takes back where memory is short; or the run had more", bytesize.AtMost(x.Machine.Memory)))
		}
		if a.Interrupted > 0 {
			line(b, noHead, a.interrupted())
		}
		if a.Machines != "" {
			line(b, noHead, "on other machines: "+a.Machines)
		}
		if len(a.Differs) > 0 {
			line(b, noHead, "of a job that differs in: "+strings.Join(a.Differs, "; "))
		}
		if len(a.Lacking) > 0 {
			line(b, noHead, "the results have no estimate of these, and what is expected now stands in: "+strings.Join(a.Lacking, ", "))
		}
		if now := a.now(&x.Estimate); now != "" {
			line(b, noHead, now)
		}
	}
}

// peak is the measured peak beside the expected one.
func (a *Actual) peak(expected int64) string {
	measured, by := "is not known", ""
	if a.Memory > 0 {
		measured = bytesize.Nearest(a.Memory)
	}
	if share := off(float64(expected), float64(a.Memory), noiseBytes); share != "" {
		by = " (" + share + ")"
	}
	return fmt.Sprintf("peak memory %s, estimate %s%s", measured, bytesize.Nearest(expected), by)
}

// now says what would be expected of the job now, where that is another plan, or by more than a tenth more or less than what the run was
// expected to take; "": it is not.
func (a *Actual) now(was *vistaopt.Estimate) string {
	far := func(now, was, noise float64) bool { return max(now, was) >= noise && math.Abs(now-was) > was/10 }
	costs := fmt.Sprintf("%s, with a peak of %s", vistaopt.Duration(a.Now.Seconds), bytesize.Nearest(a.Now.Memory))
	switch {
	case a.Now.Plan != a.Plan:
		return fmt.Sprintf("planned now the job would have another plan: %s; expected to take %s", a.Now.Plan, costs)
	case far(a.Now.Seconds, was.Seconds, noiseSeconds), far(float64(a.Now.Memory), float64(was.Memory), noiseBytes):
		return "planned now it would be expected to take " + costs + ": the machine, the job file, or what the cache has of speeds and prepared networks is not what it was"
	}
	return ""
}

// interrupted says of a run that was taken up again which of its processes each figure is of.
func (a *Actual) interrupted() string {
	times := count(int64(a.Interrupted), "time")
	if a.Interrupted == 1 {
		times = "once"
	}
	return "of a run that was interrupted and taken up again " + times + ": phases and \"in all\" have the time of all its processes, of each but the last from its first event to its last; start, results and, of one process, the peak are of the last one alone"
}

// unforeseen are rows for phases that were measured and not estimated: of another plan, or of features that this job does not keep.
func (x *Explanation) unforeseen() (rows [][]string) {
	for _, name := range slices.Sorted(maps.Keys(x.Actual.Phases)) {
		if !slices.ContainsFunc(x.Estimate.Phases, func(p vistaopt.PhaseEstimate) bool { return p.Name == name }) {
			rows = append(rows, []string{name, "", "-", "", "-", vistaopt.Duration(x.Actual.Phases[name]), "", bytesize.Nearest(x.Actual.Bytes[name]), ""})
		}
	}
	return rows
}

// between is a row for time that belongs to no phase.
func (x *Explanation) between() (rows [][]string) {
	switch between := x.Actual.Between; {
	case between >= 0.0005:
		rows = append(rows, []string{"in no phase", "", "-", "", "", vistaopt.Duration(between), "", "", ""})
	case between <= -0.0005:
		rows = append(rows, []string{"at the same time", "", "-", "", "", "-" + vistaopt.Duration(-between), "", "", ""})
	}
	return rows
}

func (x *Explanation) measured(p vistaopt.PhaseEstimate) []string {
	took, ok := x.Actual.Phases[p.Name]
	if !ok {
		return []string{"-", "", "-", ""}
	}
	wrote := x.Actual.Bytes[p.Name]
	return []string{vistaopt.Duration(took), off(p.Seconds, took, noiseSeconds), bytesize.Nearest(wrote), off(float64(p.Written), float64(wrote), noiseBytes)}
}

// Below these a measurement is noise, and by how much an estimate is off says nothing.
const (
	noiseSeconds = 0.1
	noiseBytes   = 64 << 10
)

// off is by how much an estimate is off, as a share of what was measured; "" where both are less than noise.
func off(estimate, actual, noise float64) string {
	if actual == 0 || estimate < noise && actual < noise {
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
	need, least := r.Need(), int64(1<<20) // less of a part is not worth a word
	if bytesize.Tenths(need) {
		least = 1 << 30 / 20
	}
	var parts []string
	for _, of := range []struct {
		name  string
		bytes int64
	}{{"program", r.Base}, {"rows", r.Rows}, {"table", r.Table}, {"making the model ready", r.Prepare}, {"weights", r.Model}, {"of which it may drop", r.Mapped}, {"images in flight", r.Inference}, {"buffers", r.Buffers},
		{"decoding", r.Decode}, {"sorting", r.Sort}, {"models of layers before", r.Kept}, {"cache", r.Cache}, {"models", r.Train}, {"evaluation", r.Evaluate}} {
		if of.bytes >= least {
			parts = append(parts, of.name+" "+bytesize.Part(of.bytes, need))
		}
	}
	b.WriteByte('\n')
	line(b, head("Memory"), fmt.Sprintf("needs %s of %s, an expected peak of %s: %s", bytesize.AtLeast(need), bytesize.AtMost(x.Machine.Memory), bytesize.Part(x.Estimate.Memory, need), strings.Join(parts, ", ")))
	line(b, noHead, "(the network's, training's and evaluation's parts are not held at the same time; with what is needed the plan runs; the peak is what it most likely takes of what there is, more where more models can train at once)")
	where := "all of it in memory"
	if x.Pinned.Disk > 0 {
		where = fmt.Sprintf("%s in memory, %s on the local disk", bytesize.Nearest(x.Pinned.Bytes-x.Pinned.Disk), bytesize.Nearest(x.Pinned.Disk))
	}
	line(b, noHead, fmt.Sprintf("training keeps %s of rows in each worker: %s", bytesize.Nearest(x.Pinned.Bytes), where))
}

func (x *Explanation) knobs(b *bytes.Buffer) {
	by := map[string][]string{}
	for _, k := range plan.Knobs {
		by[x.From[k]] = append(by[x.From[k]], k)
	}
	var parts []string
	for _, from := range []string{"file", "set", "optimizer"} {
		if len(by[from]) > 0 {
			parts = append(parts, fmt.Sprintf("%s: %s", map[string]string{"file": "by the job file", "set": "by --set", "optimizer": "by the optimizer"}[from], strings.Join(by[from], " ")))
		}
	}
	if len(parts) == 0 { // of results that do not say it
		parts = []string{"it is not known where they come from"}
	}
	line(b, head("Knobs"), strings.Join(parts, "; "))
	for _, r := range x.Remarks {
		line(b, noHead, r)
	}
	if x.Override != nil {
		line(b, noHead, x.Override.words(&x.Estimate))
	}
}

func (x *Explanation) rejected(b *bytes.Buffer) {
	if len(x.Rejected) == 0 {
		return
	}
	now := ""
	if x.Actual != nil {
		now = ", as they would be expected now"
	}
	fmt.Fprintf(b, "\nRejected  of %s, with the best number at a time and batch of each%s:\n", count(int64(len(x.Rejected)), "other plan"), now)
	rows := [][]string{}
	for _, r := range x.Rejected {
		at := "-"
		if r.Estimate.Seconds > 0 {
			at = vistaopt.Duration(r.Estimate.Seconds)
		}
		rows = append(rows, []string{kindOf(r.Plan), at, bytesize.Nearest(r.Estimate.Memory), r.Why})
	}
	table(b, rows)
}

// kindOf is a plan without its numbers.
func kindOf(p plan.Plan) string {
	return strings.TrimSpace(fmt.Sprintf("%s %s %s %s %s", p.Inference, p.Placement, p.Join, p.Storage, p.Networks))
}

func (x *Explanation) changes(b *bytes.Buffer) {
	fmt.Fprintf(b, "\nWhat would change the choice\n")
	if x.Actual != nil && x.Actual.Now.Plan != x.Plan {
		line(b, "  ", "the job file, or the machine, has changed it already: without --analyze the plan of now is explained")
		return
	}
	if need := x.Regions.Need(); need > x.Machine.Memory { // limits.refuse is false
		mibs := (need + 1<<20 - 1) >> 20
		line(b, "  ", fmt.Sprintf("with %d MiB a worker (%s more) a plan fits; until then the one that needs the least is run", mibs, bytesize.Nearest(mibs<<20-x.Machine.Memory)))
		return
	}
	if x.BeyondTracker { // likewise; a remark has the figures
		line(b, "  ", "with more memory for the tracker this plan fits; until then it is run all the same")
		return
	}
	if x.TakesUp != "" {
		line(b, "  ", "nothing, as long as it fits and its input stays the same: a run that is taken up keeps its plan, but for how many images are in flight")
		return
	}
	if len(x.Thresholds) == 0 {
		line(b, "  ", fmt.Sprintf("nothing within %d times the memory or rows, up or down, changes it", vistaopt.Reach))
	}
	for _, t := range x.Thresholds {
		line(b, "  ", change(t, x.Plan))
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
		where = "above " + count(t.At-1, "row")
	default:
		where = "below " + count(t.At+1, "row")
	}
	if t.Refused {
		return where + ", nothing fits"
	}
	var what []string
	for _, knob := range plan.Knobs {
		if knob == "partitions" { // no other choice
			continue
		}
		if was, then := now.Knob(knob), t.Plan.Knob(knob); was != then {
			name := knob
			if knob == "cpu" {
				name = "at a time"
			}
			what = append(what, fmt.Sprintf("%s %s instead of %s", name, then, was))
		}
	}
	out := where + ": " + strings.Join(what, ", ")
	switch {
	case t.Gain == 0: // of rows
	case t.Gain > 1+tells:
		out += fmt.Sprintf("; %.2f times as fast", t.Gain)
	case t.Gain*(1+tells) < 1:
		out += fmt.Sprintf("; %.2f times as long", 1/t.Gain)
	default:
		out += "; as long within 1 %"
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

// count is a number of things: 1 task, 20,000 rows.
func count(n int64, of string) string {
	if n != 1 {
		of += "s"
	}
	return thousands(n) + " " + of
}

// thousands is a count with its thousands apart: 20,000.
func thousands(n int64) string {
	if n < 1000 { // nothing that is counted is less than 0
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}

// width is how many columns a line takes at most where it can be broken.
const width = 100

// line writes words behind a head, and what does not fit below them. A word that is longer than a line stays whole, and a number stays
// with its unit.
func line(b *bytes.Buffer, head, words string) {
	b.WriteString(head)
	indent := utf8.RuneCountInString(head)
	at := indent
	for i, word := range numbered(strings.Split(words, " ")) {
		long := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case at+1+long > width:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			at = indent
		default:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(word)
		at += long
	}
	b.WriteByte('\n')
}

// numbered are words, each number with the one behind it.
func numbered(words []string) (out []string) {
	number := false
	for _, w := range words {
		if number {
			out[len(out)-1] += " " + w
		} else {
			out = append(out, w)
		}
		number = w != "" && strings.Trim(w, "0123456789.,(+-") == ""
	}
	return out
}

// Heads of lines: of a part of the explanation its name, and below it none.
const noHead = "          "

func head(of string) string { return fmt.Sprintf("%-10s", of) }
