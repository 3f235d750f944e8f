package weights

import (
	"fmt"
	"slices"
	"strings"
)

// Naming is one convention for the names of a network's parameters.
type Naming struct {
	Name string                    // who names them so
	Of   func(param string) string // a parameter's name in this convention; "" where it has none; nil: the same
}

func (n Naming) of(param string) string {
	if n.Of == nil {
		return param
	}
	return n.Of(param)
}

// Named is how a file names a network's parameters.
type Named struct {
	Naming Naming
	Prefix string // before every name, such as "module."; tensors without it are not the network's
	Found  int    // parameters that are there
}

// Of returns a parameter's name in the file.
func (n Named) Of(param string) string {
	name := n.Naming.of(param)
	if name == "" {
		return ""
	}
	return n.Prefix + name
}

// probes is how many parameters are tried to find a prefix; prefixes are how many are compared.
const (
	probes   = 4
	prefixes = 16
)

// Recognize finds the convention, and the prefix that wrappers such as DataParallel put before names, by
// which a file holds the most of the parameters. Of equally good ones the first naming and the shortest
// prefix count. Cost: probes x namings x tensors, and prefixes x namings x parameters.
func Recognize(file map[string]Tensor, params []Param, namings []Naming) Named {
	own := Named{Naming: namings[0]}
	for _, p := range params {
		if _, ok := file[own.Of(p.Name)]; ok {
			own.Found++
		}
	}
	best := own
	names := sortedKeys(file)
	for _, n := range namings {
		tried := []string{""}
		for _, p := range params[:min(probes, len(params))] {
			suffix := "." + n.of(p.Name)
			for _, name := range names {
				if prefix, ok := strings.CutSuffix(name, suffix); ok && suffix != "." && len(tried) < prefixes && !slices.Contains(tried, prefix+".") {
					tried = append(tried, prefix+".")
				}
			}
		}
		slices.SortStableFunc(tried, func(a, b string) int { return len(a) - len(b) })
		for _, prefix := range tried {
			c := Named{Naming: n, Prefix: prefix}
			for _, p := range params {
				if _, ok := file[c.Of(p.Name)]; ok {
					c.Found++
				}
			}
			if c.Found > best.Found {
				best = c
			}
		}
	}
	if best.Found*4 < len(params) {
		return own // a few names that are alike by chance
	}
	return best
}

// Match picks the parameters that a network wants out of a file's tensors, converted to float32. Missing,
// superfluous and misshapen ones are one error that lists all of them, with the names that are nearest;
// num_batches_tracked, which PyTorch counts beside BatchNorm, is ignored, and so is what lies outside the
// names' prefix. A matrix may be stored as a convolution over the whole volume and a 1x1 convolution as a
// matrix: they are the same numbers in the same order.
func Match(file map[string]Tensor, params []Param, names Named) (map[string][]byte, error) {
	e := &Error{}
	out := make(map[string][]byte, len(params))
	wanted := map[string]bool{}
	for _, p := range params {
		wanted[names.Of(p.Name)] = true
	}
	var extra []string
	for name := range file {
		if !wanted[name] && strings.HasPrefix(name, names.Prefix) && !strings.HasSuffix(name, "num_batches_tracked") {
			extra = append(extra, name)
		}
	}
	slices.Sort(extra)
	tries := maxTries
	for _, p := range params {
		name := names.Of(p.Name)
		t, ok := file[name]
		switch {
		case !ok:
			problem := name + " is missing"
			if name == "" {
				problem = p.Name + " is missing"
			}
			if tries--; tries >= 0 {
				if near := nearest(name, p, extra, file); near != "" {
					problem += "; nearest: " + near
				}
			}
			e.Problems = append(e.Problems, problem)
		case !sameShape(t.Dims, p.Dims):
			e.Problems = append(e.Problems, fmt.Sprintf("%s has the shape %v, the network wants %v", name, t.Dims, p.Dims))
		default:
			b, err := t.float32s()
			if err != nil {
				e.Problems = append(e.Problems, fmt.Sprintf("%s: %v", name, err))
			}
			out[p.Name] = b
		}
	}
	for _, name := range extra {
		e.Problems = append(e.Problems, name+" does not belong to the network")
	}
	if len(e.Problems) > 0 {
		if names.Found*2 < len(params) {
			e.Do = fmt.Sprintf("%d of the network's %d parameters are in the file: is it the file of another network?", names.Found, len(params))
		}
		return nil, e
	}
	return out, nil
}

// sameShape compares dimensions; a matrix O,I is the same as a convolution O,C,kh,kw with C*kh*kw = I.
func sameShape(have, want []int64) bool {
	if slices.Equal(have, want) {
		return true
	}
	if len(have) < 2 || len(want) < 2 || len(have) == len(want) || len(have) != 2 && len(want) != 2 || have[0] != want[0] {
		return false
	}
	a, b := int64(1), int64(1)
	for _, d := range have[1:] {
		if d <= 0 || a > (1<<40)/d {
			return false
		}
		a *= d
	}
	for _, d := range want[1:] {
		b *= d
	}
	return a == b
}

// Bounds on the search for names that resemble a missing one: with them it takes a second at most.
const (
	maxTries      = 40
	maxCandidates = 500
	maxName       = 150
)

// nearest returns the superfluous tensor whose name is most like a missing one's: one of the same shape if
// there is any, and "" if none resembles it.
func nearest(name string, p Param, extra []string, file map[string]Tensor) string {
	best, least := "", len(name)/2+1
	for _, c := range extra[:min(len(extra), maxCandidates)] {
		if len(c) > maxName || len(name) > maxName {
			continue
		}
		d := distance(name, c)
		if !sameShape(file[c].Dims, p.Dims) {
			d += len(name) / 4
		}
		if d < least {
			best, least = c, d
		}
	}
	return best
}

// distance is the edit distance of two names.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := diag
			if a[i] != b[j] {
				d++
			}
			diag = row[j+1]
			row[j+1] = min(d, row[j]+1, diag+1)
		}
	}
	return row[len(b)]
}
