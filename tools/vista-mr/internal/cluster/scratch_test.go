package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
)

// What a worker that was killed has left is removed by the next one of the machine; what living ones hold, and what is somebody
// else's, is not.
func TestScratchOfTheDeadIsRemoved(t *testing.T) {
	dir := t.TempDir()
	live, remove, err := ScratchFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	dead := filepath.Join(dir, scratchPrefix()+"123")
	others := []string{filepath.Join(dir, "worker-elsewhere-123"), filepath.Join(dir, scratchPrefix()+"x"), filepath.Join(dir, "photos")}
	for _, d := range append([]string{dead}, others...) {
		if err := os.MkdirAll(filepath.Join(d, "cache"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	second, removeSecond, err := ScratchFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dead); !os.IsNotExist(err) {
		t.Errorf("%s is left: %v", dead, err)
	}
	for _, d := range append([]string{live, second}, others...) {
		if _, err := os.Stat(d); err != nil {
			t.Error(err)
		}
	}
	for _, f := range []func() error{remove, removeSecond} {
		if err := f(); err != nil {
			t.Error(err)
		}
	}
	if all, err := os.ReadDir(dir); err != nil || len(all) != len(others) {
		t.Errorf("%v are left, %v", all, err)
	}
}

// Workers that start at once do not remove each other's folders.
func TestScratchFoldersAtOnce(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 20 {
				own, remove, err := ScratchFolder(dir)
				if err != nil {
					t.Error(err)
					return
				}
				if err := os.WriteFile(filepath.Join(own, "f"), nil, 0o600); err != nil {
					t.Error(err)
				}
				if err := remove(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// The folder that nobody has named is the user's own: what others have put in its place, or can write, is not taken.
func TestScratchOfATracker(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	dir, err := TrackerScratch("")
	if want := filepath.Join(tmp, fmt.Sprintf("vista-mr-tracker-%d", os.Getuid())); err != nil || dir != want {
		t.Fatalf("%s, %v; want %s", dir, err, want)
	}
	if _, err := TrackerScratch(""); err != nil {
		t.Errorf("the second time: %v", err)
	}
	refused := func(what, name string) {
		t.Helper()
		if _, err := TrackerScratch(name); exit.Code(err) != int(exit.Invalid) || errs.Of("", err).ErrorID() != "E-SCRATCH" {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	refused("others can write it", "")
	if _, err := TrackerScratch(dir); err != nil {
		t.Errorf("one that was named: %v", err)
	}
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() != 0 { // root writes anywhere
		refused("it cannot be written", dir)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(t.TempDir(), dir); err != nil {
		t.Fatal(err)
	}
	refused("a link in its place", "")
	if err := os.WriteFile(filepath.Join(tmp, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refused("a file", filepath.Join(tmp, "file"))
}
