package ort

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestNothingIsLeftOutsideTheCache runs inference in a process with an empty home and an empty
// working directory: the library would keep a database of what it reports there.
func TestNothingIsLeftOutsideTheCache(t *testing.T) {
	const child = "VISTA_MR_TEST_ORT_SILENT"
	if model := os.Getenv(child); model != "" {
		_, in, out := network(t, 4)
		answer(t, open(t, start(t, Options{}), model, "digest", in, out), 1, 1)
		return
	}
	lib, err := FindLibrary()
	if err != nil {
		start(t, Options{}) // skips, or fails where the library is required
	}
	path, _, _ := network(t, 4)
	home, work := t.TempDir(), t.TempDir()
	for _, env := range [][]string{{"HOME=" + home}, {"HOME="}} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestNothingIsLeftOutsideTheCache$")
		cmd.Dir = work
		cmd.Env = append(os.Environ(), append(env, child+"="+path, "VISTA_MR_ORT_LIB="+lib)...)
		if b, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, b)
		}
		for _, dir := range []string{home, work} {
			err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
				if err == nil && p != dir {
					t.Errorf("with %s there is %s", env[0], p)
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		}
	}
}
