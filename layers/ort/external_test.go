package ort

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/vista-mr/vista-mr/layers"
)

// TestExternalData runs a network whose weights lie in the file that PyTorch's exporter has put them into, and compares
// with what PyTorch made of the same pictures.
func TestExternalData(t *testing.T) {
	r := start(t, Options{})
	folder := filepath.Join(corpus, "external")
	var want struct{ Output [][]float32 }
	b, err := os.ReadFile(filepath.Join(folder, "net.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &want); err != nil {
		t.Fatal(err)
	}
	var read []string
	c, err := layers.Open(t.Context(), layers.Source{Model: filepath.Join(folder, "net.onnx"), Read: func(_ context.Context, name string) ([]byte, error) {
		read = append(read, filepath.Base(name))
		return os.ReadFile(name)
	}})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(read, "net.onnx.data") {
		t.Fatalf("the weights are not external: %q is read", read)
	}
	pixels := make([]byte, 2*32*32*3)
	for i := range pixels {
		pixels[i] = byte(i * 37 % 251)
	}
	top := c.Layers[len(c.Layers)-1]
	p, err := c.Program(layers.ProgramSpec{Raw: []string{top.Name}, Normalize: &layers.Normalize{Scale: 1.0 / 255}})
	if err != nil {
		t.Fatal(err)
	}
	e := &exported{dir: t.TempDir()}
	got := e.open(t, r, p.Model, port(p.Input), ports(p)...).run(t, 2, pixels, nil)
	near(t, top.Name, got[0], slices.Concat(want.Output...), tolerance)
}
