package conf

import (
	"slices"
	"strings"
)

// Nearest returns the known word that word is most likely a misspelling of, or "" if none is near:
// equal but for case, dashes and underscores, or at most a third of its letters away (one letter
// for short words). Equal distances go to the alphabetically first, so messages are stable.
func Nearest(word string, known []string) string {
	if word == "" || len(word) > 100 {
		return ""
	}
	fold := strings.NewReplacer("-", "", "_", "", " ", "")
	w := strings.ToLower(fold.Replace(word))
	best, bestDist := "", len(w)/3+1
	if len(w) <= 3 {
		bestDist = 2
	}
	sorted := slices.Clone(known)
	slices.Sort(sorted)
	for _, k := range sorted {
		kf := strings.ToLower(fold.Replace(k))
		if kf == "" || len(kf) > 100 {
			continue
		}
		d := distance(w, kf)
		// A word of one or two letters is a letter away from nearly everything.
		if d < bestDist && d < len(kf) {
			best, bestDist = k, d
		}
	}
	return best
}

// distance is the Damerau-Levenshtein distance (optimal string alignment): the number of letters
// inserted, deleted, replaced or swapped with their neighbour.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	prev2, prev, cur := make([]int, len(y)+1), make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(x); i++ {
		cur[0] = i
		for j := 1; j <= len(y); j++ {
			cost := 1
			if x[i-1] == y[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return prev[len(y)]
}
