package run

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/layers/ort"
	"github.com/vista-mr/vista-mr/mr"
)

// runPhases runs compiled phases in a folder on a runtime that is there already.
func runPhases(ctx context.Context, pr *prepared, dir string, rt *ort.Runtime, w *watch) (map[mr.PhaseID]*mr.PhaseManifest, error) {
	o := &Options{}
	o.fill()
	pr.Spec.Store, pr.Spec.Settings = dir, mr.Settings{SortMemory: pr.Room.Sort, Cache: pr.Room.Cache}
	return o.Engine.(*inProcess).run(ctx, rt, pr.work(&conf.Job{}, filepath.Join(dir, scratchFolder), w))
}

// shareModels makes runs in several folders have their programs in one.
func shareModels(t testing.TB, dir, models string) {
	t.Helper()
	if err := os.MkdirAll(models, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(models, filepath.Join(dir, modelsFolder)); err != nil {
		t.Fatal(err)
	}
}
