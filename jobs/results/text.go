package results

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"
)

// Sentence puts a verdict into words from the other fields of the verdict and the metrics. The verdict's
// Sentence field is filled with it.
func Sentence(s *Summary) string {
	v := s.Verdict
	best := s.layer(v.BestLayer)
	if best == nil {
		return ""
	}
	rows := map[string]string{OnTest: " on held-out rows", OnTrain: " on the training rows themselves", OnFolds: " in cross-validation"}[v.On]
	metric := label(v.Metric)
	value := func(m Metrics) string {
		if x, ok := m[v.Metric]; ok {
			return fmt.Sprintf("%s (%s to %s)", fixed(x.Value), fixed(x.Low), fixed(x.High))
		}
		return "undefined"
	}
	name := Visible(v.BestLayer)
	structured := s.Baselines.Structured.Metrics
	switch {
	case !v.Helps && v.OverStructured != nil && v.OverStructured.Value > 0:
		return fmt.Sprintf("It cannot be told whether a layer helps: the best, %s, reaches %s %s%s, structured features alone %s; the difference of %s (%s to %s) may be chance.",
			name, metric, value(best.Metrics), rows, value(structured), fixed(v.OverStructured.Value), fixed(v.OverStructured.Low), fixed(v.OverStructured.High))
	case !v.Helps:
		return fmt.Sprintf("No layer helps: the best, %s, reaches %s %s%s, structured features alone %s.", name, metric, value(best.Metrics), rows, value(structured))
	case v.Tie:
		runner := Metrics{}
		if l := s.layer(v.RunnerUp); l != nil {
			runner = l.Metrics
		}
		return fmt.Sprintf("No clear winner: %s with %s %s and %s with %s%s cannot be told apart; structured features alone reach %s.",
			name, metric, value(best.Metrics), Visible(v.RunnerUp), value(runner), rows, value(structured))
	}
	text := fmt.Sprintf("%s wins: %s %s%s", name, metric, value(best.Metrics), rows)
	if v.RunnerUp == "" {
		text = fmt.Sprintf("%s helps: %s %s%s", name, metric, value(best.Metrics), rows)
	}
	better := "above"
	if v.Metric == LogLoss {
		better = "below"
	}
	var against []string
	if v.RunnerUp != "" && v.Margin != nil {
		against = append(against, fmt.Sprintf("%s %s the runner-up %s", fixed(v.Margin.Value), better, Visible(v.RunnerUp)))
	}
	if v.OverStructured != nil {
		against = append(against, fmt.Sprintf("%s %s structured features alone", fixed(v.OverStructured.Value), better))
	}
	if len(against) > 0 {
		text += ", " + strings.Join(against, " and ")
	}
	return text + "."
}

// WriteText shows a summary for people: the verdict first, then a table of layers and baselines, then
// what was counted. The best layer is marked with an asterisk, not by colour.
func WriteText(w io.Writer, s *Summary) error {
	ew := &errWriter{w: w}
	fmt.Fprintf(ew, "%s\n\n", Visible(s.Verdict.Sentence))
	entries := s.entries()
	var shown []string
	for _, name := range MetricNames() {
		if slices.ContainsFunc(entries, func(l Layer) bool { _, ok := l.Metrics[name]; return ok }) {
			shown = append(shown, name)
		}
	}
	tw := tabwriter.NewWriter(ew, 0, 0, 2, ' ', 0)
	fmt.Fprint(tw, "LAYER")
	for _, name := range shown {
		head := strings.ToUpper(label(name))
		if name == s.Verdict.Metric {
			head += " (95 %)"
		}
		fmt.Fprintf(tw, "\t%s", head)
	}
	fmt.Fprint(tw, "\tDIM\tSECONDS\n")
	for _, l := range entries {
		mark := ""
		if l.Name == s.Verdict.BestLayer {
			mark = " *"
		}
		fmt.Fprintf(tw, "%s%s", Visible(l.Name), mark)
		for _, name := range shown {
			m, ok := l.Metrics[name]
			switch {
			case !ok:
				fmt.Fprint(tw, "\t-")
			case name == s.Verdict.Metric:
				fmt.Fprintf(tw, "\t%s (%s-%s)", fixed(m.Value), fixed(m.Low), fixed(m.High))
			default:
				fmt.Fprintf(tw, "\t%s", fixed(m.Value))
			}
		}
		seconds := "-"
		if l.Name != MajorityRow {
			seconds = strconv.FormatFloat(l.Seconds, 'f', 1, 64)
		}
		fmt.Fprintf(tw, "\t%d\t%s\n", l.Dim, seconds)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	c := s.Counters
	fmt.Fprintf(ew, "\n%s, %s, %s matched, %s bad; trained on %s, tested on %s.\n", Several(c.Rows, "row"), Several(c.Images, "image"), Count(c.Matched), Count(c.Bad), Count(c.Train), Count(c.Test))
	p := s.Plan
	networks := ""
	if p.Networks != "" {
		networks = ", networks " + p.Networks
	}
	fmt.Fprintf(ew, "Plan: %s, %s, %s join, %s%s; %.1f s in all.\n", p.Inference, p.Placement, p.Join, p.Storage, networks, s.Seconds)
	for _, warning := range s.Warnings {
		fmt.Fprintf(ew, "Note: %s\n", Visible(warning))
	}
	return ew.err
}

// label is a metric's name as people write it.
func label(metric string) string {
	switch metric {
	case F1:
		return "F1"
	case F1Macro:
		return "F1 macro"
	case AUC:
		return "AUC"
	}
	return metric
}

func fixed(f float64) string { return strconv.FormatFloat(f, 'f', 3, 64) }

// Several writes a count of things: 1 row, 2 rows.
func Several(n int64, what string) string {
	if n != 1 {
		what += "s"
	}
	return Count(n) + " " + what
}

// Count writes a count with thousands separated: 20,129.
func Count(n int64) string {
	s := strconv.FormatInt(n, 10)
	first := 0
	if n < 0 {
		first = 1
	}
	for i := len(s) - 3; i > first; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Visible replaces what would end a line or act on a terminal: names come from models, tables and files of unknown
// origin.
func Visible(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) {
			return '\uFFFD'
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// errWriter remembers the first error, so that a closed pipe is reported once.
type errWriter struct {
	w   io.Writer
	err error
}

func (e *errWriter) Write(p []byte) (int, error) {
	if e.err != nil {
		return 0, e.err
	}
	n, err := e.w.Write(p)
	e.err = err
	return n, err
}
