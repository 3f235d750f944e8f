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
			dropped = fmt.Sprintf(" (without %s that may be dropped)", bytesize.Nearest(r.Mapped))
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

// added are parts in words, in whole MiB that add up to their sum, rounded up. What rounding leaves no MiB of is left out.
func added(parts []part) string {
	var words []string
	var sum, shown int64
	for i, p := range parts {
		sum += p.bytes
		to := (sum + mib/2) / mib
		if i == len(parts)-1 {
			to = (sum + mib - 1) / mib
		}
		if to > shown {
			words = append(words, fmt.Sprintf("%s %d MiB%s", p.name, to-shown, p.note))
		}
		shown = to
	}
	return strings.Join(words, ", ")
}
