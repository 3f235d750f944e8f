package explain

import (
	"fmt"
	"math"
	"strings"

	"github.com/vista-mr/vista-mr/vistaopt"
	"github.com/vista-mr/vista-mr/vistaopt/bytesize"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// Override says what the knobs that the user has set cost.
type Override struct {
	Knobs   []string  `json:"knobs"`             // those set
	Plan    plan.Plan `json:"plan"`              // that would run without them
	Ratio   float64   `json:"ratio"`             // time of the plan over its time; less than 1: they make the plan quicker
	Memory  int64     `json:"memory,omitempty"`  // bytes that a worker is expected to hold at its peak without them
	Written int64     `json:"written,omitempty"` // bytes that phases would write without them
}

// words say what the knobs that were set cost, or gain, of time, memory and bytes: the optimizer fixes the number of partitions by the
// data alone, and two knobs on machines that are the same everywhere.
func (o *Override) words(e *vistaopt.Estimate) string {
	knobs, cost, gain := strings.Join(o.Knobs, " and "), "cost", "gain"
	if len(o.Knobs) == 1 {
		cost, gain = "costs", "gains"
	}
	var more []string
	for _, of := range []struct {
		format   string
		here, of int64
	}{{"a peak of %s instead of %s", e.Memory, o.Memory}, {"writes %s instead of %s", e.Written, o.Written}} {
		if math.Abs(float64(of.here-of.of)) > tells*float64(of.of) {
			here, its := bytesize.Distinct(of.here, of.of)
			more = append(more, fmt.Sprintf(of.format, here, its))
		}
	}
	beside := strings.Join(more, ", ")
	var words string
	switch {
	case o.Ratio > 1+tells:
		words = fmt.Sprintf("%s %s: %.2f times as long as the optimizer's %s", knobs, cost, o.Ratio, o.Plan)
	case o.Ratio < 1-tells:
		words = fmt.Sprintf("%s %s: quicker by %.2f times than the optimizer's %s", knobs, gain, 1/o.Ratio, o.Plan)
	case beside == "":
		return fmt.Sprintf("%s %s nothing", knobs, cost)
	default:
		return fmt.Sprintf("%s %s no time: %s, beside the optimizer's %s", knobs, cost, beside, o.Plan)
	}
	if beside != "" {
		words += ", " + beside
	}
	return words
}

// tells is the share by which an estimate is told from another one.
const tells = 0.01
