package run

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
)

// TestBundle reads a model and its data from memory and by mapping, and nothing else.
func TestBundle(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	model, data := write("net.onnx", "the model"), write("net.data", "its data")
	for _, memory := range []int64{1 << 20, 0} {
		b := NewBundle(model)
		b.memory = memory
		for path, want := range map[string]string{model: "the model"} {
			if got, err := b.Read(t.Context(), path); err != nil || string(got) != want {
				t.Errorf("%d bytes of memory: %q, %v", memory, got, err)
			}
		}
		if got, err := b.Read(t.Context(), data); err != nil || string(got) != "its data" {
			t.Errorf("%d bytes of memory: %q, %v", memory, got, err)
		}
		if mapped := len(b.maps); (mapped == 2) != (memory == 0) {
			t.Errorf("%d bytes of memory: %d files are mapped", memory, mapped)
		}
		if err := b.Release(); err != nil {
			t.Error(err)
		}
	}
	if err := os.Symlink(data, filepath.Join(dir, "link.data")); err != nil {
		t.Fatal(err)
	}
	large := write("large.onnx", "")
	if err := os.Truncate(large, maxModelFile+1); err != nil {
		t.Fatal(err)
	}
	b := NewBundle(model)
	if _, err := b.Read(t.Context(), model); err != nil {
		t.Fatal(err)
	}
	_, err := b.Read(t.Context(), filepath.Join(dir, "link.data"))
	refusedAs(t, err, "E-MODEL", "link")
	_, err = NewBundle(large).Read(t.Context(), large)
	refusedAs(t, err, "E-MODEL", "are read")
	_, err = NewBundle(dir+"/x.onnx").Read(t.Context(), dir)
	refusedAs(t, err, "E-MODEL", "is not a file")
	_, err = NewBundle("resnet50").Read(t.Context(), filepath.Join(dir, "nett.onnx"))
	refusedAs(t, err, "E-WEIGHTS", "cannot be read")
}

func refusedAs(t *testing.T, err error, id, text string) {
	t.Helper()
	e, ok := err.(*InputError)
	if !ok || e.ErrorID() != id || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v, want %s with %q", err, id, text)
	}
}

// A network in a store is read like one on this machine: into memory, or mapped from a file that is gone when it is
// let go of.
func TestBundleFromAStore(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	fs := mem.New()
	bucket(t, fs)
	for name, text := range map[dfs.Path]string{"net/a.onnx": "the model", "net/a.data": "its data"} {
		if err := dfs.WriteFile(t.Context(), fs, name, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	for _, memory := range []int64{1 << 20, 0} {
		b := NewBundle("s3://bucket/net/a.onnx")
		b.memory = memory
		for _, c := range [][2]string{{"a.onnx", "the model"}, {"a.data", "its data"}} {
			if got, err := b.Read(t.Context(), "s3://bucket/net/"+c[0]); err != nil || string(got) != c[1] {
				t.Errorf("%d bytes of memory: %q, %v", memory, got, err)
			}
		}
		if mapped := len(b.maps); (mapped == 2) != (memory == 0) {
			t.Errorf("%d bytes of memory: %d files are mapped", memory, mapped)
		}
		if b.beside != int64(len("its data")) {
			t.Errorf("%d bytes of data files", b.beside)
		}
		if err := b.Release(); err != nil {
			t.Error(err)
		}
		b.limit = 5
		b.main = ""
		_, err := b.Read(t.Context(), "s3://bucket/net/a.onnx")
		refusedAs(t, err, "E-MODEL", "at most 5 are read")
	}
	_, err := NewBundle("resnet50").Read(t.Context(), "s3://bucket/none.safetensors")
	refusedAs(t, err, "E-WEIGHTS", "cannot be read")
	if left := below(t, tmp); len(left) > 0 {
		t.Errorf("there is %q", left)
	}
}
