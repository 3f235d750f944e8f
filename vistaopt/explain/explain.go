// Package explain shows a choice of package vistaopt: the plan and what it is expected to cost, where each knob's value
// comes from, every other plan with the number that sank it, what would change the choice, and, for a job that has run,
// what was measured beside what that run was expected to cost.
//
// Invariant: it shows what it is given and computes nothing but sums, quotients and words. The same explanation gives the
// same bytes.
//
// Its caller is `vista-mr explain`. It reads no file and knows no job.
package explain

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/vista-mr/vista-mr/vistaopt"
	"github.com/vista-mr/vista-mr/vistaopt/bytesize"
	"github.com/vista-mr/vista-mr/vistaopt/paper"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// SchemaVersion is that of an explanation as JSON.
const SchemaVersion = 1

// Explanation is all that is known of a choice. Bytes and seconds are plain numbers.
type Explanation struct {
	SchemaVersion int                  `json:"schemaVersion"`        // version of this format
	Job           string               `json:"job"`                  // name of the job
	Network       string               `json:"network"`              // the CNN; of several their names
	Layers        []string             `json:"layers"`               // bottom to top
	Preprocess    string               `json:"preprocess,omitempty"` // how images become the network's input, in words
	Networks      []Network            `json:"networks,omitempty"`   // each of several; what stands above is then of all
	Data          Data                 `json:"data"`                 // what was found out about the input
	Machine       Machine              `json:"machine"`              // what the plan was made for
	Plan          plan.Plan            `json:"plan"`                 // the plan that would run; with actual, the one that ran
	From          map[string]string    `json:"from"`                 // knob -> file, set, optimizer
	Remarks       []string             `json:"remarks,omitempty"`    // what of the job file says nothing, and what in its output is in the way or is taken up, in sentences
	Warnings      []string             `json:"warnings,omitempty"`   // what images make likely, in sentences
	TakesUp       string               `json:"takesUp,omitempty"`    // the output whose unfinished run the plan is of
	Estimate      vistaopt.Estimate    `json:"estimate"`             // what the plan is expected to cost; with actual, what it was expected to before it ran
	Regions       vistaopt.Regions     `json:"regions"`              // what a worker's memory is needed for, in bytes
	Pinned        vistaopt.Pinned      `json:"pinned"`               // what a worker keeps of its rows while models are trained
	Rejected      []vistaopt.Rejected  `json:"rejected"`             // the other plans that the job file allows, the cheapest first
	Thresholds    []vistaopt.Threshold `json:"thresholds"`           // the nearest changes of memory and rows that change the choice; none for a plan that needs more memory than there is, or of a run that is taken up
	BeyondTracker bool                 `json:"-"`                    // limits.refuse is false, and training needs more memory than the tracker has
	Override      *Override            `json:"override,omitempty"`   // what the knobs that the user has set cost
	Paper         []paper.Choice       `json:"paper,omitempty"`      // what the formulas of the Vista paper choose, for each of its CNNs
	Actual        *Actual              `json:"actual,omitempty"`     // what a finished run has measured
}

// Network is one of several CNNs.
type Network struct {
	Name       string   `json:"name"`       // that its layers begin with
	Model      string   `json:"model"`      // of the catalogue, or a file
	Layers     []string `json:"layers"`     // bottom to top
	Preprocess string   `json:"preprocess"` // how images become its input, in words
}

// Data is what was found out about the input.
type Data struct {
	Rows       int64  `json:"rows"`             // good ones
	Images     int64  `json:"images"`           // files, or entries of containers
	Matched    int64  `json:"matched"`          // images that have a row; 0: not known
	ImageBytes int64  `json:"imageBytes"`       // of one, on average
	Pixels     int64  `json:"pixels,omitempty"` // of one, on average, by a sample; 0: not known
	Columns    int    `json:"columns"`          // of the table, encoded
	Found      string `json:"found"`            // how the two fit together, in words
}

// Machine is what the plan was made for.
type Machine struct {
	Workers int    `json:"workers"` // how many
	Cores   int    `json:"cores"`   // of each
	Memory  int64  `json:"memory"`  // of each, that may be used
	Rates   string `json:"rates"`   // where speeds come from
}

// Actual is what a finished run has measured. Its phases and what lies between them add up to its seconds.
type Actual struct {
	Plan        plan.Plan          `json:"plan"`                  // that ran
	Now         Now                `json:"now"`                   // what would be expected of the job now
	Lacking     []string           `json:"lacking,omitempty"`     // phases, and in all, of which the run's results have no estimate: that of now stands in
	Seconds     float64            `json:"seconds"`               // from the command to the results
	Between     float64            `json:"between"`               // seconds that belong to no phase; less than 0 where phases ran at the same time
	Memory      int64              `json:"memory"`                // bytes: the peak of a worker
	Written     int64              `json:"written"`               // bytes that phases wrote
	Phases      map[string]float64 `json:"phases"`                // seconds by phase, start and results among them
	Bytes       map[string]int64   `json:"bytesWritten"`          // by phase
	Machines    string             `json:"machines,omitempty"`    // what it had, where that is not what the plan is made for, in words
	Interrupted int                `json:"interrupted,omitempty"` // how many times the run was interrupted and taken up again; phases and seconds have the time of all its processes, start, results and, of a job in one process, memory are of the last one
	Differs     []string           `json:"differs,omitempty"`     // what of its job differs from the job file beside the plan, in words
}

// Now is what would be expected of a job that has run, if it were planned now.
type Now struct {
	Plan    plan.Plan `json:"plan"`    // that would run
	Seconds float64   `json:"seconds"` // of the clock
	Memory  int64     `json:"memory"`  // bytes that a worker would hold at its peak
	Written int64     `json:"written"` // bytes that phases would write
}

//go:embed schema/explain.schema.json
var schema []byte

// Schema returns the JSON Schema (draft-07) of an explanation, or, where no plan fits, of what is written in its place: the error and
// a Refusal's keys beside it. It is generated from the types of this package and of those that it shows, and allows further keys:
// readers should, too.
func Schema() []byte { return slices.Clone(schema) }

// JSON is an explanation as a document, indented. It satisfies Schema.
func (x *Explanation) JSON() ([]byte, error) {
	c := *x
	c.Rejected, c.Thresholds = append([]vistaopt.Rejected{}, x.Rejected...), append([]vistaopt.Threshold{}, x.Thresholds...)
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(&c)
	return b.Bytes(), err
}

// DOT is the plan as a graph for Graphviz: phases with what each is expected to cost, and an arrow from each to the first that reads
// what it has written, as Text shows them.
func (x *Explanation) DOT() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "digraph plan {\n\trankdir=LR;\n\tnode [shape=box, fontname=\"sans-serif\"];\n\tlabel=%q;\n", fmt.Sprintf("%s: %s", x.Job, x.Plan))
	for i, p := range x.Estimate.Phases {
		label := fmt.Sprintf("%s\\n%s\\n%s", escape(p.Name), vistaopt.Duration(p.Seconds), count(int64(p.Tasks), "task"))
		if p.Written > 0 {
			label += "\\nwrites " + bytesize.Nearest(p.Written)
		}
		if x.Actual != nil {
			if slices.Contains(x.Actual.Lacking, p.Name) {
				label += "\\nas expected now"
			}
			if s, ok := x.Actual.Phases[p.Name]; ok {
				label += "\\ntook " + vistaopt.Duration(s)
			}
		}
		fmt.Fprintf(&b, "\tp%d [label=\"%s\"];\n", i, label)
	}
	for i, reader := range Readers(x.Plan, x.names()) {
		if reader >= 0 {
			fmt.Fprintf(&b, "\tp%d -> p%d;\n", i, reader)
		}
	}
	b.WriteString("}\n")
	return b.Bytes()
}

// names are those of the phases, in the order in which they run.
func (x *Explanation) names() []string {
	var names []string
	for _, p := range x.Estimate.Phases {
		names = append(names, p.Name)
	}
	return names
}

// escape makes a name fit between the quotes of a label: layers are named by whoever made the network.
func escape(name string) string {
	q := fmt.Sprintf("%q", name)
	return q[1 : len(q)-1]
}
