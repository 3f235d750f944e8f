package ort

import (
	"context"
	"encoding/json"
	"errors"
	"image/png"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/layers"
	"github.com/vista-mr/vista-mr/layers/onnx"
	"github.com/vista-mr/vista-mr/layers/preprocess"
)

// lite0 is the file of trained weights that tools/demo leaves; `make demo` fetches it.
const lite0 = "../../out/demo/efficientnet-lite0.pth"

// TestEfficientNetLite0 compares every layer, under its trained weights, with the Python implementation that
// they come with: within 3e-5 of the layer's largest value. tools/goldens/efficientnet.py made the values.
func TestEfficientNetLite0(t *testing.T) {
	if _, err := os.Stat(lite0); errors.Is(err, fs.ErrNotExist) && !strings.Contains(os.Getenv("VISTA_REQUIRE"), "demo") {
		t.Skip("needs the trained weights: make demo fetches them")
	}
	var golden struct {
		Layers map[string]struct {
			Shape  []int64
			Images []struct {
				Largest float64
				At      []int
				Values  []float64
			}
		}
	}
	b, err := os.ReadFile("../testdata/efficientnet-lite0.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &golden); err != nil {
		t.Fatal(err)
	}
	read := func(_ context.Context, uri string) ([]byte, error) { return os.ReadFile(uri) }
	cnn, err := layers.Open(t.Context(), layers.Source{Model: "efficientnet-lite0", Weights: lite0, Read: read})
	if err != nil {
		t.Fatal(err)
	}
	if len(cnn.Notes) > 0 {
		t.Errorf("notes %q", cnn.Notes)
	}
	recipe, err := preprocess.Preset(cnn.Preprocess, 224, 224)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range cnn.Layers {
		names = append(names, l.Name)
	}
	if len(golden.Layers) != len(names) {
		t.Fatalf("%d layers, the golden has %d", len(names), len(golden.Layers))
	}
	p, err := cnn.Program(layers.ProgramSpec{Raw: names, Normalize: recipe.Normalize})
	if err != nil {
		t.Fatal(err)
	}
	images := lite0Pictures(t)
	got := runProgram(t, p, images)
	for i, name := range names {
		want := golden.Layers[name]
		if !slices.Equal(want.Shape, p.Outputs[i].Shape) {
			t.Errorf("%s: shape %v, want %v", name, p.Outputs[i].Shape, want.Shape)
			continue
		}
		for k, img := range want.Images {
			values := got[i][k*p.Outputs[i].Len:][:p.Outputs[i].Len]
			worst := 0.0
			for j, at := range img.At {
				worst = max(worst, math.Abs(float64(values[at])-img.Values[j]))
			}
			top := 0.0
			for _, v := range values {
				top = max(top, math.Abs(float64(v)))
			}
			worst = max(worst, math.Abs(top-img.Largest))
			if !(worst <= 3e-5*img.Largest) || img.Largest == 0 {
				t.Errorf("%s, picture %d: differs by %g of %g", name, k, worst, img.Largest)
			}
		}
	}
}

// TestRandomEfficientNetLite0: with random weights, too, every layer has numbers of a sensible size that differ
// from picture to picture.
func TestRandomEfficientNetLite0(t *testing.T) {
	cnn, err := layers.Open(t.Context(), layers.Source{Model: "efficientnet-lite0", Weights: "random", Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range cnn.Layers {
		names = append(names, l.Name)
	}
	recipe, err := preprocess.Preset("imagenet", 224, 224)
	if err != nil {
		t.Fatal(err)
	}
	p, err := cnn.Program(layers.ProgramSpec{Pooled: names, Pool: layers.PoolAvg, Normalize: recipe.Normalize})
	if err != nil {
		t.Fatal(err)
	}
	for i, values := range runProgram(t, p, lite0Pictures(t)) {
		n := p.Outputs[i].Len
		var size, apart float64
		for k := range n {
			size += float64(values[k]) * float64(values[k]) / float64(n)
			d := float64(values[k] - values[n+k])
			apart += d * d / float64(n)
		}
		size, apart = math.Sqrt(size), math.Sqrt(apart)
		t.Logf("%s: %.3f, apart %.3f", names[i], size, apart)
		if !(size > 0.02 && size < 50 && apart > size/20) {
			t.Errorf("%s: numbers of size %.4f, %.4f apart between two pictures", names[i], size, apart)
		}
	}
}

// lite0Pictures are those of tools/goldens/efficientnet.py: a photograph and two by formula.
func lite0Pictures(t *testing.T) [][]byte {
	t.Helper()
	f, err := os.Open("../image/testdata/photo_jpg.golden.png")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	out := make([][]byte, 3)
	for y := range 224 {
		for x := range 224 {
			r, g, b, _ := m.At(x, y).RGBA()
			out[0] = append(out[0], byte(r>>8), byte(g>>8), byte(b>>8))
			for c := range 3 {
				out[1] = append(out[1], byte((x+2*y+40*c)/3))
				out[2] = append(out[2], byte((x*x*3+y*y*5+x*y*(c+1))/64))
			}
		}
	}
	return out
}

// runProgram runs a program over pictures and returns its outputs.
func runProgram(t *testing.T, p *layers.Program, images [][]byte) [][]float32 {
	t.Helper()
	r := start(t, Options{})
	path := filepath.Join(t.TempDir(), "program.onnx")
	if err := os.WriteFile(path, p.Model.Marshal(), 0o600); err != nil {
		t.Fatal(err)
	}
	ports := make([]Port, len(p.Outputs))
	for i, o := range p.Outputs {
		ports[i] = Port{Name: o.Name, Shape: o.Shape}
	}
	s, err := r.Open(t.Context(), path, p.Digest, Port{Name: p.Input.Name, U8: p.Input.Elem == onnx.Uint8, Shape: p.Input.Shape}, ports)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	run, err := s.NewRunner(len(images))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := run.Close(); err != nil {
			t.Error(err)
		}
	}()
	for i, img := range images {
		copy(run.Input()[i*len(img):], img)
	}
	if err := run.Run(t.Context(), len(images)); err != nil {
		t.Fatal(err)
	}
	out := make([][]float32, len(ports))
	for i := range ports {
		out[i] = slices.Clone(run.Output(i))
	}
	return out
}
