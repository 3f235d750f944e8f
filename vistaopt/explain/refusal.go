package explain

import (
	"bytes"
	"fmt"

	"github.com/vista-mr/vista-mr/vistaopt"
	"github.com/vista-mr/vista-mr/vistaopt/bytesize"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// Refusal is what there is to say where no plan fits, beside the cause in words.
type Refusal struct {
	Needed    int64              `json:"needed"`    // bytes that a worker needs at least, of all plans
	Available int64              `json:"available"` // bytes that there are
	Whose     string             `json:"whose"`     // whose memory that is: limits.memory, this machine, this control group, this process, each worker, or worker and its name
	Phase     string             `json:"phase"`     // what needs the most, in words
	Plan      plan.Plan          `json:"plan"`      // the plan that needs the least
	Regions   vistaopt.Regions   `json:"regions"`   // what it needs a worker's memory for, in bytes
	Plans     []vistaopt.Refused `json:"plans"`     // the best plan of each kind that the job file allows, those that need the least first and those that are ruled out last
}

// Refused is that of an error.
func Refused(e *vistaopt.InfeasibleError) *Refusal {
	return &Refusal{e.Needed, e.Available, e.Whose(), e.Phase(), e.Plan, e.Regions, append([]vistaopt.Refused{}, e.Plans...)}
}

// Text lists the plans for people, a line each.
func (r *Refusal) Text() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "Rejected  %s that the job allows, each with what it needs at least:\n", count(int64(len(r.Plans)), "plan"))
	rows := [][]string{}
	for _, p := range r.Plans {
		row := []string{kindOf(p.Plan), p.Why}
		if p.Need > 0 {
			row = []string{kindOf(p.Plan), bytesize.AtLeast(p.Need), fmt.Sprintf("cpu=%d batch=%d", p.Plan.CPU, p.Plan.Batch)}
		}
		rows = append(rows, row)
	}
	table(&b, rows)
	return b.Bytes()
}
