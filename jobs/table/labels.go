package table

import (
	"iter"
	"sort"
	"strconv"
)

// Labels sorts the labels of a table, each of which is given once, into the order of their classes: by value when all are
// numbers, else by bytes. Class i of a model is the i-th label.
func Labels(labels iter.Seq[string]) []string {
	out := []string{}
	numeric := true
	for l := range labels {
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
