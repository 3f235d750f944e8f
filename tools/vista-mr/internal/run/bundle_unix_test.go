//go:build unix

package run

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/vista-mr/vista-mr/layers/onnx"
)

// TestBundleCut: a mapped file that is cut is an error to whoever reads its bytes, in whatever way.
func TestBundleCut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "net.onnx")
	if err := os.WriteFile(path, make([]byte, 9<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	b := NewBundle(path)
	b.memory = 0
	data, err := b.Read(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	uses := map[string]func() error{
		"read": func() error { _, err := io.Copy(io.Discard, bytes.NewReader(bytes.ToUpper(data))); return err },
		"digest": func() error {
			tensor := &onnx.Tensor{Name: "w", Type: onnx.Uint8, Dims: []int64{9 << 20}, Raw: data}
			(&onnx.Digester{}).Digest(&onnx.Model{Graph: &onnx.Graph{Initializers: []*onnx.Tensor{tensor}}})
			return nil
		},
		"write": func() error { _, err := out.Write(data); return err },
	}
	for name, use := range uses {
		if err := b.guard(use); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := os.Truncate(path, 100); err != nil {
		t.Fatal(err)
	}
	for name, use := range uses {
		t.Log(name)
		refusedAs(t, b.guard(use), "E-MODEL", "got shorter")
	}
	defer func() {
		if r := recover(); r != "of another kind" {
			t.Errorf("a panic became %v", r)
		}
		if err := errors.Join(b.Release(), out.Close()); err != nil {
			t.Error(err)
		}
	}()
	_ = b.guard(func() error { panic("of another kind") })
}
