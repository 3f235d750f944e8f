package table

import "strings"

// nearest is the name closest to the wanted one, or "" when none is close.
func nearest(names []string, want string) string {
	best, dist := "", len(want)/2+1
	for _, n := range names {
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
