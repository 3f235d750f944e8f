package run

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// labelRemarks speaks of labels that may not be what their user means: some that look alike, or nearly as many as
// there are rows.
func labelRemarks(labels []string, rows int64) []string {
	alike := map[string][]string{}
	for _, l := range labels {
		alike[plain(l)] = append(alike[plain(l)], l)
	}
	var groups []string
	for _, k := range slices.Sorted(maps.Keys(alike)) {
		if len(alike[k]) > 1 {
			groups = append(groups, listed(alike[k], " and "))
		}
	}
	var out []string
	if len(groups) > 0 {
		out = append(out, fmt.Sprintf("Labels that look alike are classes of their own: %s.", strings.Join(groups[:min(len(groups), maxNamed)], "; ")))
	}
	if n := len(labels); n > 2 && 2*int64(n) > rows {
		out = append(out, fmt.Sprintf("There are %d classes in %d rows: is that what table.label should name?", n, rows))
	}
	return out
}

// plain is what labels that look alike have in common: the number, or the letters whatever their case.
func plain(label string) string {
	if v, err := strconv.ParseFloat(label, 64); err == nil {
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
	return strings.ToLower(label)
}

// maxNamed is how many labels are named in a remark.
const maxNamed = 5

// listed names some words: "a", "b" and "c".
func listed(words []string, last string) string {
	more := len(words) - maxNamed
	var out []string
	for _, w := range words[:min(len(words), maxNamed)] {
		out = append(out, strconv.Quote(w))
	}
	if more > 0 {
		out = append(out, fmt.Sprintf("%d more", more))
	}
	if len(out) < 2 {
		return strings.Join(out, "")
	}
	return strings.Join(out[:len(out)-1], ", ") + last + out[len(out)-1]
}

// plural chooses the word for so many.
func plural[T int | int64](n T, one, more string) string {
	if n == 1 {
		return one
	}
	return more
}
