//go:build unix

package run

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestOpenFile(t *testing.T) {
	t.Chdir(t.TempDir()) // the path of a socket must be short
	if err := os.WriteFile("file", []byte("abc"), 0o600); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"link": "file", "pipe link": "pipe", "loop": "loop"} {
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo("pipe", 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", "socket")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // which removes it
	for _, name := range []string{".", "pipe", "pipe link", "socket", "/dev/zero", "/dev/null"} {
		if f, _, err := OpenFile(name); f != nil || !errors.Is(err, ErrNotFile) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, want := range map[string]error{"none": os.ErrNotExist, filepath.Join("file", "x"): syscall.ENOTDIR, "loop": syscall.ELOOP} {
		if f, _, err := OpenFile(name); f != nil || !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	for _, name := range []string{"file", "link"} {
		if b, err := ReadFile(name, 3); err != nil || string(b) != "abc" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	if _, err := ReadFile("file", 2); err == nil || err.Error() != "it has 3 bytes, at most 2 are read" {
		t.Errorf("got %v", err)
	}
}
