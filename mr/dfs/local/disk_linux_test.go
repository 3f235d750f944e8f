package local

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

func TestFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	w := &writer{fs: New(root, true), path: "part", name: root + "/part", f: full}
	_, err = w.Write([]byte("x"))
	if !errs.Is(err, errs.NoSpace) || !strings.Contains(err.Error(), "part") {
		t.Errorf("write: %v, want no-space with the path", err)
	}
	if _, err := w.Write([]byte("x")); !errs.Is(err, errs.NoSpace) {
		t.Errorf("second write: %v, want no-space", err)
	}
	if err := w.Commit(t.Context()); !errs.Is(err, errs.NoSpace) {
		t.Errorf("commit after a failed write: %v, want no-space", err)
	}
	if err := w.Abort(); err != nil {
		t.Errorf("abort: %v", err)
	}
	if all := names(t, root); len(all) > 0 {
		t.Errorf("left behind: %q", all)
	}
}

// childVar tells the test binary to be the process that is killed.
const childVar = "VISTA_TEST_CHILD_ROOT"

// TestKilledProcessLeavesWholeFiles kills a process that writes without pause, and looks at
// what it left.
func TestKilledProcessLeavesWholeFiles(t *testing.T) {
	if root := os.Getenv(childVar); root != "" {
		writeForEver(t, New(root, false))
	}
	for round := range 5 {
		root := t.TempDir()
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilledProcessLeavesWholeFiles$")
		cmd.Env = append(os.Environ(), childVar+"="+root)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for range 20 + round { // it says one letter for each file
			if _, err := out.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it was killed
		all := names(t, root)
		for _, n := range all {
			data, err := os.ReadFile(root + "/" + n)
			if err != nil || !bytes.Equal(data, content(n)) {
				t.Errorf("%s: %d bytes, %v; want it whole", n, len(data), err)
			}
		}
		if len(all) < 20 {
			t.Errorf("%d files, want those that were reported", len(all))
		}
	}
}

func content(name string) []byte { return bytes.Repeat([]byte(name+"\n"), 20_000) }

func writeForEver(t *testing.T, fsys *FS) {
	for i := 0; ; i++ {
		name := fmt.Sprintf("part-%05d", i)
		w, err := fsys.Create(t.Context(), dfs.Path(name))
		if err != nil {
			t.Fatal(err)
		}
		for data := content(name); len(data) > 0; {
			n, err := w.Write(data[:min(7000, len(data))])
			if err != nil {
				t.Fatal(err)
			}
			data = data[n:]
		}
		if err := w.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		fmt.Print(".")
	}
}
