package metrics

import (
	"cmp"
	"math"
	"slices"
)

// scored is a row as AUC sees it.
type scored struct {
	score float64
	row   int32
	pos   bool
}

// auc is the share of pairs of rows, one of the class and one of another, that the class's
// probability puts in order; equal ones count half. With more than two classes it is the mean
// over the classes that some rows have and some have not. A row of the class contributes the
// share of the others below it, another row the share of the class above it.
func (p *Predictions) auc(s *spread) bool {
	n := len(p.Label)
	switch {
	case p.Classes == 2 && len(p.Score) == n:
		return p.against(s, func(i int) float64 { return p.Score[i] }, 1, 1)
	case p.Classes > 2 && len(p.Prob) == n*p.Classes:
	default:
		return false
	}
	of := make([]int, p.Classes)
	for _, l := range p.Label {
		of[l]++
	}
	count := 0.0
	for _, k := range of {
		if k > 0 && k < n {
			count++
		}
	}
	any := false
	for c := range of {
		if p.against(s, func(i int) float64 { return p.Prob[i*p.Classes+c] }, int32(c), count) {
			any = true
		}
	}
	return any
}

// against adds one class's AUC against the rest, divided by the number of such classes.
func (p *Predictions) against(s *spread, score func(int) float64, class int32, count float64) bool {
	order := make([]scored, len(p.Label))
	pos := 0.0
	for i, l := range p.Label {
		order[i] = scored{score(i), int32(i), l == class}
		if l == class {
			pos++
		}
	}
	n := float64(len(order))
	neg := n - pos
	if pos == 0 || neg == 0 {
		return false
	}
	slices.SortFunc(order, func(a, b scored) int {
		return cmp.Or(cmp.Compare(a.score, b.score), cmp.Compare(a.row, b.row))
	})
	place := make([]float64, len(order)) // by row: share of the other side that it is in order with
	below := [2]float64{}                // rows with a lower score: others, of the class
	sum := 0.0
	for lo := 0; lo < len(order); {
		hi, equal := lo, [2]float64{}
		for ; hi < len(order) && cmp.Compare(order[hi].score, order[lo].score) == 0; hi++ {
			equal[side(order[hi].pos)]++
		}
		for _, r := range order[lo:hi] {
			if r.pos {
				place[r.row] = (below[0] + equal[0]/2) / neg
			} else {
				place[r.row] = (pos - below[1] - equal[1]/2) / pos
			}
		}
		sum += equal[1] * (below[0] + equal[0]/2)
		below[0] += equal[0]
		below[1] += equal[1]
		lo = hi
	}
	value := sum / pos / neg
	s.value += value / count
	s.least = min(s.least, pos, neg)
	// The factors under the root make the variance DeLong's, with n-1 for each side.
	f := [2]float64{n / neg * root(neg, n), n / pos * root(pos, n)}
	for _, r := range order {
		s.rows[r.row] += (value + f[side(r.pos)]*(place[r.row]-value)) / count
	}
	return true
}

func root(k, n float64) float64 {
	if k < 2 {
		return 1
	}
	return math.Sqrt(k / (k - 1) * (n - 1) / n)
}

func side(pos bool) int {
	if pos {
		return 1
	}
	return 0
}
