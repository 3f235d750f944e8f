package run

import (
	"context"
	"slices"
	"testing"

	"github.com/vista-mr/vista-mr/mr/dfs"
)

// foldersOnly is a store's folders.
type foldersOnly map[dfs.Path]bool

func (f foldersOnly) HasFolder(_ context.Context, dir dfs.Path) (bool, error) { return f[dir], nil }

func (f foldersOnly) RemoveEmpty(_ context.Context, dir dfs.Path) error {
	delete(f, dir)
	return nil
}

// TestDoctorLeavesNoFolders that were not there before, above the one that it tries either.
func TestDoctorLeavesNoFolders(t *testing.T) {
	f := foldersOnly{"": true, "team": true}
	undo := newFoldersOf(t.Context(), f, "team/new/er")
	f["team/new"], f["team/new/er"] = true, true
	undo()
	if left := []dfs.Path{}; len(f) != 2 || !f["team"] {
		for p := range f {
			left = append(left, p)
		}
		slices.Sort(left)
		t.Errorf("left: %q", left)
	}
}
