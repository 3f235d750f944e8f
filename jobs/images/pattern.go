package images

import (
	"fmt"
	"strconv"
	"strings"
)

// maxPattern bounds a pattern in bytes, as systems bound paths; maxPatterns and maxPatternText bound what braces stand
// for: a hundred thousand paths may share a long end.
const (
	maxPattern     = 4096
	maxPatterns    = 100_000
	maxPatternText = 32 << 20
)

// hasPattern tells whether a path stands for several.
func hasPattern(p string) bool { return strings.ContainsAny(p, "*?[{") }

// expand replaces {000..127} and {a,b} by what they stand for, in order.
func expand(p string) ([]string, error) {
	if len(p) > maxPattern {
		return nil, fmt.Errorf("a pattern of %d bytes, more than %d", len(p), maxPattern)
	}
	open := strings.IndexByte(p, '{')
	if open < 0 {
		return []string{p}, nil
	}
	depth, end := 0, -1
	for i := open; i < len(p) && end < 0; i++ {
		switch p[i] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				end = i
			}
		}
	}
	if end < 0 {
		return nil, fmt.Errorf("%q has a brace that is not closed", clip(p))
	}
	if depth := strings.Count(p[open:end], "{"); depth > 8 {
		return nil, fmt.Errorf("%q has too many braces", clip(p))
	}
	parts, err := alternatives(p[open+1 : end])
	if err != nil {
		return nil, err
	}
	rest, err := expand(p[end+1:])
	if err != nil {
		return nil, err
	}
	var out []string
	text := 0
	for _, a := range parts {
		inner, err := expand(a)
		if err != nil {
			return nil, err
		}
		if len(out)+len(inner)*len(rest) > maxPatterns {
			return nil, fmt.Errorf("%q stands for more than %d paths", clip(p), maxPatterns)
		}
		for _, i := range inner {
			for _, r := range rest {
				if text += open + len(i) + len(r); text > maxPatternText {
					return nil, fmt.Errorf("%q stands for paths of more than %d bytes", clip(p), maxPatternText)
				}
				out = append(out, p[:open]+i+r)
			}
		}
	}
	return out, nil
}

// alternatives are the parts of what stands in braces: a range of numbers, or what commas part.
func alternatives(s string) ([]string, error) {
	if lo, hi, ok := strings.Cut(s, ".."); ok && digits(lo) && digits(hi) {
		from, err := strconv.Atoi(lo)
		if err != nil {
			return nil, err
		}
		to, err := strconv.Atoi(hi)
		if err != nil {
			return nil, err
		}
		width := 0
		if len(lo) > 1 && lo[0] == '0' || len(hi) > 1 && hi[0] == '0' {
			width = max(len(lo), len(hi))
		}
		if to < from || to-from >= maxPatterns {
			return nil, fmt.Errorf("{%s} must be a range of at most %d numbers", s, maxPatterns)
		}
		var out []string
		for n := from; n <= to; n++ {
			out = append(out, fmt.Sprintf("%0*d", width, n))
		}
		return out, nil
	}
	var out []string
	depth, start := 0, 0
	for i := range len(s) {
		switch s[i] {
		case '{':
			depth++
		case '}':
			depth--
		case ',':
			if depth == 0 {
				out, start = append(out, s[start:i]), i+1
			}
		}
	}
	return append(out, s[start:]), nil
}

func digits(s string) bool {
	return s != "" && len(s) < 10 && strings.Trim(s, "0123456789") == ""
}

// fixedFolder is the longest folder in front of the first part of a path that is a pattern.
func fixedFolder(p string) string {
	i := strings.IndexAny(p, "*?[{")
	if i < 0 {
		i = len(p)
	}
	return p[:strings.LastIndexByte(p[:i], '/')+1]
}
