package run

import (
	"strings"
	"testing"
)

func TestMisnamed(t *testing.T) {
	for name, want := range map[string]string{
		"(structured)":             "something else",
		"(majority)":               "something else",
		"best-pipeline":            "something else",
		"\xff\xfe":                 "not UTF-8",
		strings.Repeat("n", 221):   "221 bytes",
		strings.Repeat("/a", 56):   "224 bytes",
		strings.Repeat("слой", 30): "720 bytes",
		strings.Repeat("n", 220):   "",
		"/features/denseblock4/denselayer16/conv2/Conv_output_0": "",
		"..": "",
	} {
		if got := misnamed(name); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%.30q: %q, want %q", name, got, want)
		}
	}
}
