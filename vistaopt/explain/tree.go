package explain

import (
	"slices"
	"strings"

	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// Readers says for each phase of a plan, named in the order in which they run, which one is the first to read what it has written; -1:
// none does. The check for rows without an image is no reader, and stands under the evaluation, which nothing reaches without it.
func Readers(p plan.Plan, phases []string) []int {
	table := []string{"joined", "join"}
	if p.Placement == plan.AfterJoin && p.Join == plan.Broadcast {
		table = []string{"extract", "stage"}
	}
	readers := map[string][]string{
		"start": {"table"}, "table": table, "load": {"joined"}, "joined": {"extract", "stage"},
		"extract": {"join", "pool", "train"}, "stage": {"join", "pool", "train"}, "join": {"pool", "train"}, "pool": {"train"},
		"train": {"evaluate"}, "unmatched": {"evaluate"}, "evaluate": {"results"},
	}
	out := make([]int, len(phases))
	for i, name := range phases {
		out[i] = -1
		by := readers[kind(name)]
		if at := slices.IndexFunc(phases[i+1:], func(later string) bool { return slices.Contains(by, kind(later)) }); at >= 0 {
			out[i] = i + 1 + at
		}
	}
	return out
}

// kind is what a phase's name begins with: a layer's name, or a network's, may follow.
func kind(phase string) string {
	kind, _, _ := strings.Cut(phase, "-")
	return kind
}

// branch is a phase in its place in the tree of what reads what.
type branch struct {
	at   int    // among the phases
	twig string // the lines before its name
}

// tree puts each phase under the first that reads it, the last phase on top, as databases show plans. What others read as well, as a
// stage's volumes, stands once.
func tree(p plan.Plan, phases []string) (out []branch) {
	readers := Readers(p, phases)
	under := map[int][]int{}
	for i, r := range readers {
		under[r] = append(under[r], i)
	}
	var grow func(of int, before string)
	grow = func(of int, before string) {
		for n, i := range under[of] {
			twig, below := "├─ ", "│  "
			if n == len(under[of])-1 {
				twig, below = "└─ ", "   "
			}
			if of < 0 {
				twig, below = "", ""
			}
			out = append(out, branch{i, before + twig})
			grow(i, before+below)
		}
	}
	grow(-1, "")
	return out
}
