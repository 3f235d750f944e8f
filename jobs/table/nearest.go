package table

import "strings"

// nearest is the name closest to the wanted one, or "" when none is close. Names of files and of job files may be
// megabytes long; those that are compared are not.
func nearest(names []string, want string) string {
	best, dist := "", len(want)/2+1
	if len(want) > maxShownName {
		return ""
	}
	for _, n := range names {
		if len(n) > 2*maxShownName { // lower case may have other lengths, but not half
			continue
		}
		if d := distance(strings.ToLower(n), strings.ToLower(want)); d < dist {
			best, dist = n, d
		}
	}
	return best
}

// distance is the edit distance (Levenshtein) of two short names.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		prev := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			prev, row[j] = row[j], min(row[j]+1, row[j-1]+1, prev+cost)
		}
	}
	return row[len(b)]
}
