package vistaopt

import (
	"fmt"
	"strings"

	"github.com/vista-mr/vista-mr/vistaopt/bytesize"
)

// part is a part of what a phase holds, by the name that it has in explanations.
type part struct {
	name  string
	bytes int64
	note  string
}

// parts are what is held in a phase (largest), with so many images in flight; they add up to it. What is 0 is left out.
func (r Regions) parts(phase string, images int) (out []part) {
	all := []part{{"program", r.Base, ""}, {"rows", r.Rows, ""}, {"table", r.Table, ""}}
	if phase == inPrepare || phase == inInference {
		all = append(all, part{"models of layers before", r.Kept, ""})
	}
	switch phase {
	case inPrepare:
		all = append(all, part{"weights as they are read and as they are computed with", r.Prepare, ""})
	case inEvaluation:
		all = append(all, part{"predictions and models", r.Evaluate, ""})
	case inTraining:
		all = append(all, part{"cache", r.Cache, ""}, part{"models", r.Train, ""})
	default:
		dropped := ""
		if r.Mapped > 0 {
			dropped = fmt.Sprintf(" (without %s that may be dropped)", bytesize.Part(r.Mapped, r.Need()))
		}
		flight := fmt.Sprintf("%d images in flight", images)
		if images == 1 {
			flight = "an image in flight"
		}
		all = append(all, part{"weights", r.Model - r.Mapped, dropped}, part{flight, r.Inference, ""}, part{"buffers", r.Buffers, ""}, part{"decoding", r.Decode, ""},
			part{"sorting", r.Sort, ""})
	}
	for _, p := range all {
		if p.bytes > 0 {
			out = append(out, p)
		}
	}
	return out
}

// added are parts in words, in whole MiB that add up to their sum, rounded up, or in tenths of a GiB where the sum is said in these.
// What rounding leaves none of is left out.
func added(parts []part) string {
	var words []string
	var all, sum, shown int64
	for _, p := range parts {
		all += p.bytes
	}
	per, unit := int64(1), int64(mib) // so many of what is counted make a unit
	if bytesize.Tenths(all) {
		per, unit = 10, 1<<30
	}
	for i, p := range parts {
		sum += p.bytes
		rest := unit / 2
		if i == len(parts)-1 {
			rest = unit - 1
		}
		to := sum/unit*per + (sum%unit*per+rest)/unit
		if n := to - shown; n > 0 && per == 1 {
			words = append(words, fmt.Sprintf("%s %d MiB%s", p.name, n, p.note))
		} else if n > 0 {
			words = append(words, fmt.Sprintf("%s %d.%d GiB%s", p.name, n/per, n%per, p.note))
		}
		shown = to
	}
	return strings.Join(words, ", ")
}
