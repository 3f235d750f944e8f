package ort

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/vista-mr/vista-mr/layers"
)

// TestPackedWeightsAreAligned: dense layers of any size run from the cache, with any batch. With most of these the
// library's own file ends the process.
func TestPackedWeightsAreAligned(t *testing.T) {
	want := map[int][]float32{}
	dir := t.TempDir()
	for _, cache := range []string{"", t.TempDir()} {
		t.Run("cache="+fmt.Sprint(cache != ""), func(t *testing.T) {
			rt := start(t, Options{CacheDir: cache})
			for _, outputs := range []int{3, 7, 8, 16, 17, 100} {
				path, in, out := dense(t, dir, outputs)
				for range 2 { // in the cache it is made, and then read
					s := open(t, rt, path, fmt.Sprint("dense", outputs), in, out)
					if ok, err := s.Prepared(); ok != (cache != "") || err != nil {
						t.Fatalf("prepared: %v, %v", ok, err)
					}
					got := answer(t, s, 4, 3)
					if want[outputs] == nil {
						want[outputs] = got
					}
					for i, v := range want[outputs] {
						if d := got[i] - v; d > 1e-4 || d < -1e-4 {
							t.Fatalf("%d outputs: value %d is %v, want %v", outputs, i, got[i], v)
						}
					}
				}
			}
		})
	}
}

// dense is a network whose last layer has so many outputs, in a file.
func dense(t *testing.T, dir string, outputs int) (path string, in Port, out []Port) {
	t.Helper()
	cnn, err := layers.Build(t.Context(), layers.Arch{Name: "dense", H: 18, W: 18, C: 3, Roster: []string{"f1"}, Steps: []layers.Step{
		{Op: "conv", Path: "a", Out: 5, Kernel: 3, Stride: 2, Pad: 1}, {Op: "relu", Path: "r"}, {Op: "flatten"},
		{Op: "linear", Path: "f1", Out: outputs, Layer: "f1"}}}, layers.Source{Weights: "random", Seed: 8})
	if err != nil {
		t.Fatal(err)
	}
	p, err := cnn.Program(layers.ProgramSpec{Pooled: []string{"f1"}, Pool: layers.PoolNone})
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, fmt.Sprint(outputs, ".onnx"))
	if err := os.WriteFile(path, p.Model.Marshal(), 0o666); err != nil {
		t.Fatal(err)
	}
	return path, Port{Name: p.Input.Name, U8: true, Shape: p.Input.Shape}, []Port{{Name: p.Outputs[0].Name, Shape: p.Outputs[0].Shape}}
}
