package run

import (
	"context"
	"testing"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/tracker"
)

// TestNothingIsLeftOfARemovedOutput: a run whose output is removed while it works ends with that, and leaves nothing there: no files of
// attempts that ended later, nothing of the tracker's, no log.
func TestNothingIsLeftOfARemovedOutput(t *testing.T) {
	alone(t)
	w := newWorld(t, true)
	w.ownNetwork(t)
	for _, at := range []string{"table", "extract"} {
		fs := mem.New()
		bucket(t, fs)
		j := w.away(t, fs, "s3://bucket/out")
		e := &engineFunc{inProcess: inProcess{stores: stores()}}
		e.run = func(ctx context.Context, w *Work) (map[mr.PhaseID]*mr.PhaseManifest, error) {
			inner := *w
			first := true
			inner.Observe = func(u tracker.Update) {
				w.Observe(u)
				if u.Kind == tracker.AttemptSucceeded && string(u.Phase) == at && first {
					first = false
					if err := dfs.RemoveAll(t.Context(), fs, "out"); err != nil {
						t.Error(err)
					}
				}
			}
			return e.inProcess.Run(ctx, &inner)
		}
		_, err := Submit(t.Context(), j, Options{Engine: e})
		if idOf(err) != "E-OUTPUT-GONE" {
			t.Errorf("removed in %s: %v", at, err)
		}
		if names, _ := tree(t, fs, "out"); len(names) > 0 {
			t.Errorf("removed in %s: left %q", at, names)
		}
	}
}
