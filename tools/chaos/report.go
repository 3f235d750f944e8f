//go:build linux

package main

import (
	"bufio"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"
)

// print says how the run went: a line, or all that is known if it is bad.
func (r *run) print(w io.Writer, o *options) {
	verdict := "ok"
	if len(r.wrong) > 0 {
		verdict = "BAD"
	}
	kinds := map[string]int{}
	for _, f := range r.done {
		kinds[f.kind]++
	}
	fmt.Fprintf(w, "%-3s seed %d, %s on %s: %.1f s, %d submitted; %s\n", verdict, r.s.seed, r.s.job, r.s.store, r.took.Seconds(), r.submits, counts(kinds))
	if len(r.wrong) == 0 {
		return
	}
	for _, n := range r.notes {
		fmt.Fprintf(w, "      %s\n", n)
	}
	pace := ""
	if r.calm != nil {
		fmt.Fprint(w, r.s.text(r.calm.pace))
		pace = fmt.Sprintf(" -pace %v", r.calm.pace.Round(time.Millisecond))
	}
	fmt.Fprintf(w, "logs: %s\nagain: go run ./tools/chaos -seed %d -runs 1 -store %s -limit %v%s\n", filepath.Join(r.dir, "logs"), r.s.seed, r.s.store, o.limit, pace)
}

// tail is the last lines of a text.
func tail(text string, n int) string {
	var lines []string
	for in := bufio.NewScanner(strings.NewReader(text)); in.Scan(); {
		lines = append(lines, in.Text())
	}
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
