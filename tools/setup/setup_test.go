// Package setup tests the scripts that prepare a machine.
package setup

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// machine is a place where npm and pip are what a test says.
type machine struct {
	t       *testing.T
	bin, to string // folder of the clients; where the library goes
	table   string
	name    string
}

const tgzPath, whlPath = "package/bin/lib.so.1", "onnxruntime/capi/lib.so"

func newMachine(t *testing.T, npm, pip []byte) *machine {
	t.Helper()
	dir := t.TempDir()
	m := &machine{t: t, bin: filepath.Join(dir, "clients"), to: filepath.Join(dir, "to"), table: filepath.Join(dir, "table"), name: "libonnxruntime.so"}
	if runtime.GOOS == "darwin" {
		m.name = "libonnxruntime.dylib"
	}
	if err := os.MkdirAll(m.bin, 0o777); err != nil {
		t.Fatal(err)
	}
	for _, tool := range []string{"sh", "uname", "tr", "dirname", "awk", "grep", "cat", "mktemp", "rm", "mkdir", "cp", "mv", "cut", "tar", "gzip", "sha256sum", "shasum"} {
		if p, err := exec.LookPath(tool); err == nil {
			if err := os.Symlink(p, filepath.Join(m.bin, tool)); err != nil {
				t.Fatal(err)
			}
		}
	}
	// What is called python3 may be a script that needs more than this machine has.
	if out, err := exec.CommandContext(t.Context(), "python3", "-c", "import sys; print(sys.executable)").Output(); err == nil {
		m.client("python3", "exec "+strings.TrimSpace(string(out))+` "$@"`)
	} else if pip != nil {
		t.Skipf("needs python3, which comes with pip: %v", err)
	}
	var tgz, whl bytes.Buffer
	gz := gzip.NewWriter(&tgz)
	tw := tar.NewWriter(gz)
	zw := zip.NewWriter(&whl)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(tw.WriteHeader(&tar.Header{Name: tgzPath, Mode: 0o644, Size: int64(len(npm))}))
	_, err := tw.Write(npm)
	check(err)
	check(tw.Close())
	check(gz.Close())
	f, err := zw.Create(whlPath)
	check(err)
	_, err = f.Write(pip)
	check(err)
	check(zw.Close())
	check(os.WriteFile(filepath.Join(dir, "tgz"), tgz.Bytes(), 0o666))
	check(os.WriteFile(filepath.Join(dir, "whl"), whl.Bytes(), 0o666))
	if npm != nil {
		m.client("npm", "echo npm $* >>"+dir+"/log; cp "+dir+"/tgz onnxruntime-node-1.tgz")
	}
	if pip != nil {
		m.client("pip", "echo pip $* >>"+dir+"/log; while [ $1 != --dest ]; do shift; done; cp "+dir+"/whl $2/onnxruntime-1.whl")
	}
	return m
}

func (m *machine) client(name, script string) {
	if err := os.WriteFile(filepath.Join(m.bin, name), []byte("#!/bin/sh\n"+script+"\n"), 0o777); err != nil {
		m.t.Fatal(err)
	}
}

// want writes the table: the contents that the two packages should have.
func (m *machine) want(npm, pip string) {
	m.t.Helper()
	out, err := exec.CommandContext(m.t.Context(), "sh", "-c", `echo "$(uname -s | tr A-Z a-z)-$(uname -m)"`).Output()
	if err != nil {
		m.t.Fatal(err)
	}
	platform := strings.TrimSpace(string(out))
	table := fmt.Sprintf("# comment\n%s npm 1 - %s %x\n%s pip 1 tag %s %x\nother npm 1 - x 0\n", platform, tgzPath, sha256.Sum256([]byte(npm)), platform, whlPath, sha256.Sum256([]byte(pip)))
	if err := os.WriteFile(m.table, []byte(table), 0o666); err != nil {
		m.t.Fatal(err)
	}
}

// run returns what the script says, the library's content and how often clients were asked so far.
func (m *machine) run(env ...string) (say, lib string, asked int, err error) {
	cmd := exec.CommandContext(m.t.Context(), "./onnxruntime.sh", m.to, m.table)
	cmd.Env = append([]string{"PATH=" + m.bin, "TMPDIR=" + m.t.TempDir()}, env...)
	b, err := cmd.CombinedOutput()
	c, _ := os.ReadFile(filepath.Join(m.to, m.name))
	log, _ := os.ReadFile(filepath.Join(filepath.Dir(m.bin), "log"))
	return string(b), string(c), strings.Count(string(log), "\n"), err
}

func TestLibraryIsFetchedOnceAndAgainWhenThePinChanges(t *testing.T) {
	m := newMachine(t, []byte("one"), nil)
	m.want("one", "-")
	for range 2 {
		if say, lib, asked, err := m.run(); err != nil || lib != "one" || asked != 1 {
			t.Fatalf("library %q after %d downloads: %v\n%s", lib, asked, err, say)
		}
	}
	m.want("two", "-") // another version is wanted now, and the registry still gives the old one
	if say, _, asked, err := m.run(); err == nil || asked != 2 || !strings.Contains(say, "wrong digest") || !strings.Contains(say, "VISTA_MR_ORT_LIB") {
		t.Errorf("another digest, %d downloads: %v\n%s", asked, err, say)
	}
	if err := os.Truncate(filepath.Join(m.to, m.name), 0); err != nil {
		t.Fatal(err)
	}
	m.want("one", "-")
	if say, lib, _, err := m.run(); err != nil || lib != "one" {
		t.Errorf("an emptied library: %q, %v\n%s", lib, err, say)
	}
}

func TestSecondSource(t *testing.T) {
	for name, npm := range map[string][]byte{"no npm": nil, "npm gives something else": []byte("evil")} {
		m := newMachine(t, npm, []byte("wheel"))
		m.want("good", "wheel")
		if say, lib, _, err := m.run(); err != nil || lib != "wheel" {
			t.Errorf("%s: library %q, %v\n%s", name, lib, err, say)
		}
	}
	m := newMachine(t, []byte("x"), []byte("wheel"))
	m.client("npm", "exit 1")
	m.want("x", "wheel")
	if say, lib, _, err := m.run(); err != nil || lib != "wheel" {
		t.Errorf("npm fails: library %q, %v\n%s", lib, err, say)
	}
}

func TestNothingIsLeftOfAWrongLibrary(t *testing.T) {
	m := newMachine(t, []byte("evil"), []byte("evil too"))
	m.want("good", "fine")
	if say, lib, _, err := m.run(); err == nil || lib != "" || !strings.Contains(say, "npm(wrong digest) pip(wrong digest)") {
		t.Errorf("library %q, %v\n%s", lib, err, say)
	}
	m = newMachine(t, nil, nil)
	m.want("good", "fine")
	if say, _, _, err := m.run(); err == nil || !strings.Contains(say, "npm(not installed) pip(not installed)") {
		t.Errorf("no clients: %v\n%s", err, say)
	}
}

func TestInstalledLibraryIsUsed(t *testing.T) {
	m := newMachine(t, []byte("x"), nil)
	m.want("x", "-")
	if say, lib, asked, err := m.run("VISTA_MR_ORT_LIB=" + m.table); err != nil || lib != "" || asked != 0 {
		t.Errorf("library %q, %d downloads, %v\n%s", lib, asked, err, say)
	}
	if say, _, _, err := m.run("VISTA_MR_ORT_LIB=/nowhere/lib.so"); err == nil || !strings.Contains(say, "/nowhere/lib.so") {
		t.Errorf("a library that is not there: %v\n%s", err, say)
	}
}
