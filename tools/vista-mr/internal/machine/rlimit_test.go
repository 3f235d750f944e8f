package machine

import (
	"strings"
	"testing"
)

// TestLeastOfUlimits: a limit of the process counts with what a job can use under it, and says under which one it could use more.
func TestLeastOfUlimits(t *testing.T) {
	data, address := ulimitData(1<<30, 2), ulimitAddress(8<<30, 2)
	for name, c := range map[string]struct {
		memory  int64
		ulimits []Ulimit
		of      string
	}{
		"none":                   {1 << 30, nil, ""},
		"data":                   {8 << 30, []Ulimit{data, address}, "ulimit -d"},
		"address space":          {8 << 30, []Ulimit{address}, "ulimit -v"},
		"there is less than all": {64 << 20, []Ulimit{data, address}, ""},
	} {
		n, of := least(c.memory, c.ulimits)
		if of.Command != c.of || n > c.memory || c.of == "" && n != c.memory {
			t.Errorf("%s: %d by %q", name, n, of.Command)
		}
		if c.of == "" {
			continue
		}
		if got := of.usable(); got != n || of.needed(n) > of.Limit || of.needed(n) < of.Limit-1000 {
			t.Errorf("%s: %d can be used of %d, which asks for %d", name, got, of.Limit, of.needed(n))
		}
	}
	if n, of := least(8<<30, []Ulimit{ulimitData(1<<20, 2)}); n <= 0 || of.Command == "" {
		t.Errorf("%d of nearly nothing: that would be no limit", n)
	} else if !of.TooLittle() || data.TooLittle() || (Ulimit{}).TooLittle() {
		t.Error("a limit that leaves too little is not told from one that does, or from none")
	}
	if got := data.Raise(1 << 30); !strings.Contains(got, "ulimit -d") || !strings.HasSuffix(got, "it is 1024 MiB") {
		t.Error(got)
	}
}
