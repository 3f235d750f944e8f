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
