package conf

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// maxProblems is how many problems one error lists; a file with more is not this kind of file.
const maxProblems = 50

// Problem is one thing that is wrong with a job file or a --set override.
type Problem struct {
	Line    int    `json:"line,omitempty"`    // 1-based; 0 when Set is given
	Column  int    `json:"column"`            // 1-based, in characters
	Path    string `json:"path,omitempty"`    // dotted key
	Message string `json:"message"`           // what is wrong, and the nearest known spelling
	Excerpt string `json:"excerpt,omitempty"` // the line, or the override
	Set     string `json:"set,omitempty"`     // the override concerned, as given

	order int // position of Set on the command line
}

// Error lists all problems of one job file and its overrides, in their order.
type Error struct {
	File     string
	Problems []Problem
	More     int // problems beyond those listed
}

// newError sorts and bounds the problems.
func newError(file string, problems []Problem) *Error {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.order, b.order), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	e := &Error{File: file, Problems: problems}
	if len(problems) > maxProblems {
		e.Problems, e.More = problems[:maxProblems], len(problems)-maxProblems
	}
	return e
}

// ErrorID returns the stable id: E-SET when every problem lies in a --set override, else E-JOB-FILE.
func (e *Error) ErrorID() string {
	if e.InSet() {
		return "E-SET"
	}
	return "E-JOB-FILE"
}

// InSet tells whether the file itself is sound and only --set overrides are at fault.
func (e *Error) InSet() bool {
	return !slices.ContainsFunc(e.Problems, func(p Problem) bool { return p.Set == "" })
}

// Hint says what to do next.
func (e *Error) Hint() string {
	if e.InSet() {
		return "correct the --set override; vista-mr schema job lists every key"
	}
	return "correct the file, then: vista-mr validate " + Quote(e.File)
}

// Summarized says that the last line of Error is its summary.
func (e *Error) Summarized() {}

// Error renders the problems for a terminal, each with its place, the line and a caret.
func (e *Error) Error() string {
	var b strings.Builder
	for _, p := range e.Problems {
		if p.Set != "" {
			fmt.Fprintf(&b, "--set %s: %s\n", clean(p.Set), p.Message)
		} else {
			fmt.Fprintf(&b, "%s:%d:%d: %s\n", clean(e.File), p.Line, p.Column, p.Message)
		}
		gutter := "      "
		if p.Line > 0 {
			gutter = fmt.Sprintf("%5d ", p.Line)
		}
		text, column := window(p.Excerpt, p.Column)
		fmt.Fprintf(&b, "%s| %s\n%s| %s^\n", gutter, text, strings.Repeat(" ", len(gutter)), pad(text, column))
	}
	if e.More > 0 {
		fmt.Fprintf(&b, "and %d more\n", e.More)
	}
	n := len(e.Problems) + e.More
	noun := "problems"
	if n == 1 {
		noun = "problem"
	}
	if e.InSet() {
		fmt.Fprintf(&b, "%d %s in --set", n, noun)
	} else {
		fmt.Fprintf(&b, "%d %s in %s", n, noun, clean(e.File))
	}
	return b.String()
}

// window cuts a long line down to what surrounds the column and makes it safe to print.
func window(line string, column int) (string, int) {
	const width = 100
	r := []rune(clean(line))
	if len(r) <= width {
		return string(r), column
	}
	from := max(0, min(column-1-width/2, len(r)-width))
	text := string(r[from:min(len(r), from+width)])
	column -= from
	if from > 0 {
		text, column = "..."+text, column+3
	}
	if from+width < len(r) {
		text += "..."
	}
	return text, column
}

// pad returns the white space that puts a caret under the column; tabs stay tabs, so that it lines
// up whatever their width.
func pad(text string, column int) string {
	var b strings.Builder
	n := 1
	for _, r := range text {
		if n >= column {
			break
		}
		if r == '\t' {
			b.WriteRune('\t')
		} else {
			b.WriteByte(' ')
		}
		n++
	}
	return b.String()
}

// clean replaces what a terminal would act upon; the text is the user's, or somebody else's.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r)) {
			return '\uFFFD'
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}
