package hdfs

import (
	"slices"
	"testing"
	"time"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// What writers have left that were killed is swept from below a folder, and nothing else; a folder is removed with all of it.
func TestSweepAndRemoveFolder(t *testing.T) {
	c := start(t, "start")
	f := c.client(t, c.options())
	for _, p := range []dfs.Path{"job/a", "job/deep/er/b", "job/deep/er/c", "jobs/d"} {
		if err := dfs.WriteFile(t.Context(), f, p, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	leave := func(p dfs.Path) {
		t.Helper()
		err := f.pool.do(t.Context(), time.Minute, func(s *session) error {
			_, err := s.createEmpty(f.abs(p), f.opt)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	temp := tempPrefix + "0123456789abcdef"
	for _, dir := range []dfs.Path{"job", "job/deep/er", "jobs"} {
		leave(dir.Join(temp))
	}
	names := func(dir dfs.Path) (out []string) {
		for info, err := range f.List(t.Context(), dir) {
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, string(info.Path))
		}
		return out
	}
	if err := dfs.Sweep(t.Context(), dfs.Sub(f, "job"), ""); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[dfs.Path]int{"job": 0, "job/deep/er": 0, "jobs": 1} {
		if got := hidden(t, f, dir); len(got) != want {
			t.Errorf("%s has %q, want %d", dir, got, want)
		}
	}
	if got := names("job"); !slices.Equal(got, []string{"job/a", "job/deep/er/b", "job/deep/er/c"}) {
		t.Errorf("files are %q", got)
	}

	leave(dfs.Path("job/deep/er").Join(temp))
	if !dfs.AtOnce(dfs.Sub(f, "job")) {
		t.Error("a folder cannot be removed at once")
	}
	for range 2 { // an absent one is removed
		if err := dfs.RemoveAll(t.Context(), dfs.Sub(f, "job"), "deep"); err != nil {
			t.Fatal(err)
		}
	}
	exists := func(p dfs.Path) bool {
		err := f.pool.do(t.Context(), time.Minute, func(s *session) error { _, err := s.stat(f.abs(p)); return err })
		if err != nil && kindOf(err) != errs.NotExist {
			t.Fatal(err)
		}
		return err == nil
	}
	if exists("job/deep") || !exists("job/a") {
		t.Errorf("job/deep is there: %v, job/a: %v", exists("job/deep"), exists("job/a"))
	}
	// It can be made again, by a client that has known it before.
	if err := dfs.WriteFile(t.Context(), f, "job/deep/er/b", nil); err != nil {
		t.Error(err)
	}
	if err := dfs.RemoveAll(t.Context(), f, "job/a"); err != nil || !exists("job/a") {
		t.Errorf("a file is no folder: %v, it is there: %v", err, exists("job/a"))
	}
	if err := dfs.WriteFile(t.Context(), f, "new/er/x", nil); err != nil {
		t.Fatal(err)
	}
	if err := f.RemoveEmpty(t.Context(), "new"); err == nil || !exists("new/er/x") {
		t.Errorf("a folder that is not empty: %v, its file is there: %v", err, exists("new/er/x"))
	}
	if err := f.Remove(t.Context(), "new/er/x"); err != nil {
		t.Fatal(err)
	}
	for _, p := range []dfs.Path{"new/er", "new", "never"} {
		if err := f.RemoveEmpty(t.Context(), p); err != nil {
			t.Errorf("%s: %v", p, err)
		}
		if there, err := f.HasFolder(t.Context(), p); there || err != nil {
			t.Errorf("%s is there: %v, %v", p, there, err)
		}
	}
	for _, p := range []dfs.Path{"late/er/x", "late/y"} {
		if err := dfs.WriteFile(t.Context(), f, p, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		file  dfs.Path
		stays bool
	}{{"late/er/x", true}, {"late/y", false}} { // the part itself goes with the last of what is in it
		if err := f.Remove(t.Context(), c.file); err != nil {
			t.Fatal(err)
		}
		if dfs.Prune(t.Context(), dfs.Sub(f, "late"), "er"); exists("late") != c.stays || exists("late/er") {
			t.Errorf("without %s: late is there: %v, late/er: %v", c.file, exists("late"), exists("late/er"))
		}
	}
	if err := f.RemoveFolder(t.Context(), ""); !errs.Is(err, errs.Invalid) {
		t.Errorf("the root: %v", err)
	}
}
