package table

import (
	"sort"
	"strconv"
)

// Labels sorts the labels of a table into the order of their classes: by value when all are
// numbers, else by bytes. Class i of a model is the i-th label.
func Labels(set map[string]bool) []string {
	out := make([]string, 0, len(set))
	numeric := true
	for l := range set {
		out = append(out, l)
		v, err := strconv.ParseFloat(l, 64)
		numeric = numeric && err == nil && v == v // a label "NaN" has no place among numbers
	}
	sort.Slice(out, func(i, j int) bool {
		if numeric {
			a, _ := strconv.ParseFloat(out[i], 64)
			b, _ := strconv.ParseFloat(out[j], 64)
			if a != b {
				return a < b
			}
		}
		return out[i] < out[j]
	})
	return out
}
