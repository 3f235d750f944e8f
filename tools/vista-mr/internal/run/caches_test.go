package run

import (
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// TestCacheThatCannotBeWritten: where nothing can be kept, a plan counts on weights in memory, and why is said once.
func TestCacheThatCannotBeWritten(t *testing.T) {
	alone(t)
	w := newWorld(t, true)
	w.ownNetwork(t)
	w.job.Keep.Features = false
	file := filepath.Join(t.TempDir(), "file")
	save(t, file, nil)
	fresh, folder := t.TempDir(), t.TempDir()
	for name, c := range map[string]struct {
		dir    string
		there  string
		mapped bool
	}{
		"below a file":       {filepath.Join(file, "cache"), "", false},
		"not there yet":      {filepath.Join(fresh, "a", "b"), fresh, true},
		"an ordinary folder": {folder, folder, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("VISTA_MR_CACHE", c.dir)
			core, logs := observer.New(zap.WarnLevel)
			o := Options{Log: zap.New(core)}
			for range 2 {
				if _, err := Explain(t.Context(), w.job, o); err != nil {
					t.Fatal(err)
				}
			}
			if m, err := (&inProcess{}).Machine(t.Context()); err != nil || m.Unmapped == c.mapped || !w.network(t)[0].size.Mapped {
				t.Errorf("weights are held in memory: %t, %v", m.Unmapped, err)
			}
			said := logs.FilterMessageSnippet("the cache cannot be written").All()
			if c.mapped && len(said) == 0 {
				if left := below(t, c.there); len(left) > 0 {
					t.Errorf("it has left %q", left)
				}
				return
			}
			if c.mapped || len(said) != 1 || said[0].ContextMap()["folder"] != c.dir || !strings.Contains(said[0].ContextMap()["error"].(string), "not a directory") {
				t.Errorf("said: %+v", said)
			}
		})
	}
}
