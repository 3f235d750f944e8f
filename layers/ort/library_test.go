package ort

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestLibraryThatIsNotThere(t *testing.T) {
	for name, value := range map[string]string{"no file": filepath.Join(t.TempDir(), "none.so"), "a folder": t.TempDir()} {
		t.Setenv("VISTA_MR_ORT_LIB", value)
		var e *Error
		if _, err := FindLibrary(); !errors.As(err, &e) || e.ErrorID() != "E-ORT-LIB" || !strings.Contains(e.Hint(), "make build") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := Init(Options{}); !errors.As(err, &e) || e.ErrorID() != "E-ORT-LIB" {
			t.Errorf("%s: Init: %v", name, err)
		}
	}
}

func TestLibraryFoundInTheModule(t *testing.T) {
	t.Setenv("VISTA_MR_ORT_LIB", "")
	root := t.TempDir()
	lib := filepath.Join(root, "bin", Library())
	deep := filepath.Join(root, "a", "b")
	for _, err := range []error{os.MkdirAll(deep, 0o777), os.MkdirAll(filepath.Dir(lib), 0o777),
		os.WriteFile(filepath.Join(root, "go.mod"), nil, 0o666), os.WriteFile(lib, nil, 0o666)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(deep)
	if got, err := FindLibrary(); err != nil || got != lib {
		t.Errorf("got %q, %v; want %q", got, err, lib)
	}
}

func TestLibraryThatDoesNotFit(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text.so")
	if err := os.WriteFile(text, []byte("no library"), 0o666); err != nil {
		t.Fatal(err)
	}
	build := func(name, code string) string {
		src, lib := filepath.Join(dir, name+".c"), filepath.Join(dir, name+".so")
		if err := os.WriteFile(src, []byte(code), 0o666); err != nil {
			t.Fatal(err)
		}
		if b, err := exec.CommandContext(t.Context(), "cc", "-shared", "-fPIC", "-o", lib, src).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, b) // cgo needs a compiler, so there is one
		}
		return lib
	}
	old := `static const void *api(unsigned n) { return 0; }
static const char *version(void) { return "1.18.0"; }
static struct { const void *(*a)(unsigned); const char *(*v)(void); } base = { api, version };
void *OrtGetApiBase(void) { return &base; }`
	for _, c := range []struct{ lib, id, text string }{
		{text, "E-ORT-LIB", "text.so"},
		{build("other", "int answer = 42;"), "E-ORT-LIB", "not ONNX Runtime"},
		{build("old", old), "E-ORT-VERSION", "this is version 1.18.0; 1.24 or later"},
	} {
		var e *Error
		if _, err := Init(Options{Library: c.lib}); !errors.As(err, &e) || e.ErrorID() != c.id || !strings.Contains(err.Error(), c.text) || e.Hint() == "" {
			t.Errorf("%s: %v, want %s with %q", c.lib, err, c.id, c.text)
		}
	}
}

func TestVersionsThatFit(t *testing.T) {
	for v, want := range map[string]bool{"1.24.0": true, "1.24.3": true, "1.30.0": true, "1.100": true, "1.23.9": false, "1.3.0": false, "2.0.0": false, "": false, "1": false, "1.x": false} {
		if got := fits(v); got != want {
			t.Errorf("%q: %t, want %t", v, got, want)
		}
	}
}

// The library that is named is the one that is used, whatever the environment names.
func TestNamedLibraryComesFirst(t *testing.T) {
	real, err := FindLibrary()
	if err != nil {
		t.Skipf("needs the ONNX Runtime library: %v", err)
	}
	t.Setenv("VISTA_MR_ORT_LIB", filepath.Join(t.TempDir(), "none.so"))
	path, version, err := CheckLibrary(real)
	if err != nil || path != real || !fits(version) {
		t.Errorf("got %q, version %q, %v", path, version, err)
	}
	rt, err := Init(Options{Library: real})
	if err != nil {
		t.Fatal(err)
	}
	if err := rt.Close(); err != nil {
		t.Error(err)
	}
	if _, _, err := CheckLibrary(""); err == nil {
		t.Error("the environment's library, which is not there, is found")
	}
}
