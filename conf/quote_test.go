package conf

import (
	"os/exec"
	"strings"
	"testing"
)

// A shell reads what was quoted as the one word that it was.
func TestQuote(t *testing.T) {
	for path, want := range map[string]string{
		"out/foods-3": "out/foods-3", "s3://b/x=1": "s3://b/x=1", "-": "-", "größe": "größe", "": "''", "-f.yaml": "./-f.yaml",
		"my data": "'my data'", "it's": `'it'\''s'`, "$HOME": "'$HOME'", "a\nb": "'a\nb'", "~x": "'~x'", "a*": "'a*'", `a\b`: `'a\b'`,
	} {
		if got := Quote(path); got != want {
			t.Errorf("%q: got %s, want %s", path, got, want)
		}
		if path == "-f.yaml" {
			continue
		}
		if b, err := exec.CommandContext(t.Context(), "sh", "-c", "printf %s "+Quote(path)).Output(); err != nil || string(b) != path {
			t.Errorf("%q: a shell reads %q, %v", path, b, err)
		}
	}
}

// TestTheNextCommand is one that a shell can run, whatever the job file's name is.
func TestTheNextCommand(t *testing.T) {
	if _, err := Load("my job's.yaml", []byte("nothing: 1\n"), nil); err == nil || !strings.HasSuffix(err.(*Error).Hint(), `vista-mr validate 'my job'\''s.yaml'`) {
		t.Errorf("%v", err)
	}
}
