package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
)

// TestFormatsOfExplain: --format is --output by another name, and two that contradict each other are refused before anything is read.
func TestFormatsOfExplain(t *testing.T) {
	for args, refused := range map[string]bool{
		"-o json --format dot":        true,
		"--format dot -o json":        true,
		"--format=dot --output text":  true,
		"-o dot --format dot":         false,
		"--format json":               false,
		"--format json --format text": false,
		"":                            false,
	} {
		var errOut bytes.Buffer
		code := Main(append([]string{"explain", "no-such-file.yaml"}, strings.Fields(args)...), process(&errOut))
		if (code == int(exit.Usage)) != refused || strings.Contains(errOut.String(), "contradict each other") != refused || code == 0 {
			t.Errorf("%q: exit code %d: %s", args, code, errOut.String())
		}
	}
}

// TestPaperIsNoGraph: what a graph cannot show is refused, not left out, before anything is read.
func TestPaperIsNoGraph(t *testing.T) {
	for args, refused := range map[string]bool{
		"--paper --format dot": true,
		"-o dot --paper":       true,
		"--paper=false -o dot": false,
		"--paper -o json":      false,
		"--paper":              false,
	} {
		var errOut bytes.Buffer
		code := Main(append([]string{"explain", "no-such-file.yaml"}, strings.Fields(args)...), process(&errOut))
		if (code == int(exit.Usage)) != refused || strings.Contains(errOut.String(), "leave one of them out") != refused || code == 0 {
			t.Errorf("%q: exit code %d: %s", args, code, errOut.String())
		}
	}
}

// TestEmptyFlags: a file, folder or address that is given and empty is refused by every command, and not taken for a flag that was left out.
func TestEmptyFlags(t *testing.T) {
	for _, args := range [][]string{
		{"explain", "no-such-file.yaml", "--analyze", ""},
		{"explain", "no-such-file.yaml", "--analyze="},
		{"explain", "no-such-file.yaml", "--tracker", ""},
		{"submit", "no-such-file.yaml", "--ort-lib", ""},
		{"submit", "no-such-file.yaml", "--token-file", ""},
		{"jobs", "--state", ""},
		{"tracker", "--state", ""},
		{"worker", "--scratch", ""},
		{"worker", "--memory", ""},
	} {
		var errOut bytes.Buffer
		code := Main(args, process(&errOut))
		if code != int(exit.Usage) || !strings.Contains(errOut.String(), "E-USAGE") || !strings.Contains(errOut.String(), " is empty; give a") {
			t.Errorf("%q: exit code %d: %s", args, code, errOut.String())
		}
	}
}
