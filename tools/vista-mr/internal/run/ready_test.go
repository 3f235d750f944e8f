package run

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/vista-mr/vista-mr/layers/ort"
	"github.com/vista-mr/vista-mr/vistaopt/plan"
)

// TestFirstRunsMakeReady: the planner is told which programs would have to be made ready for the first time: all before a job has run, those
// of other ways of inference after one has, and all when the cache was cleared.
func TestFirstRunsMakeReady(t *testing.T) {
	alone(t)
	t.Setenv("VISTA_MR_CACHE", t.TempDir())
	w := newWorld(t, true)
	w.ownNetwork(t)
	_, version, err := ort.CheckLibrary("")
	if err != nil {
		t.Fatal(err)
	}
	fresh := func(e Engine) []plan.Inference {
		t.Helper()
		ns, err := outlines(t.Context(), w.job)
		if err != nil {
			t.Fatal(err)
		}
		ns.recallReady(&Options{Engine: e, ortVersion: version})
		return ns[0].size.Fresh
	}
	if got := fresh(&inProcess{}); !slices.Equal(got, plan.Inferences) {
		t.Errorf("before anything ran, %v have to be made ready", got)
	}
	if got := fresh(nil); len(got) > 0 {
		t.Errorf("of workers' caches nothing is known, and %v are said to be missing", got)
	}
	w.job.Plan.Inference = "staged"
	if _, err := Submit(t.Context(), w.job, Options{}); err != nil {
		t.Fatal(err)
	}
	if got := fresh(&inProcess{}); slices.Contains(got, plan.Staged) || !slices.Contains(got, plan.Lazy) {
		t.Errorf("after a staged job, %v have to be made ready", got)
	}
	w.job.CNN[0].Layers.Last = 1
	if got := fresh(&inProcess{}); !slices.Equal(got, plan.Inferences) {
		t.Errorf("after a job with other layers, %v have to be made ready", got)
	}
	w.job.CNN[0].Layers.Last = 0
	entries, err := filepath.Glob(filepath.Join(cacheDir(), "ort-*"))
	if err != nil || len(entries) == 0 {
		t.Fatalf("the cache has %q, %v", entries, err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(e); err != nil {
			t.Fatal(err)
		}
	}
	if got := fresh(&inProcess{}); !slices.Equal(got, plan.Inferences) {
		t.Errorf("with the cache cleared, %v have to be made ready", got)
	}
	file := filepath.Join(t.TempDir(), "file")
	save(t, file, nil)
	t.Setenv("VISTA_MR_CACHE", filepath.Join(file, "cache")) // which nobody can make
	if got := fresh(&inProcess{}); !slices.Equal(got, plan.Inferences) {
		t.Errorf("without a cache, %v have to be made ready", got)
	}
}
