package cluster

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
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
