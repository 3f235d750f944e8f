package preprocess

import (
	"bytes"
	"encoding/json"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/vista-mr/vista-mr/layers/image"
)

// goldenCase is one entry of testdata/index.json, written by tools/goldens/preprocess.py.
type goldenCase struct {
	Config, Preset, Source, Golden string
	Size                           [2]int
	At                             []int // places in the network's input: channel, row, column
	Values                         []float64
}

// TestAgainstLibraries carries out what the files and presets say and compares with torchvision, timm and
// transformers: pixels within one level with libjpeg-turbo, two on average with the decoder in Go, none from
// a lossless picture; numbers as exactly as float32 has them, where pixels are the same.
func TestAgainstLibraries(t *testing.T) {
	b, err := os.ReadFile("testdata/index.json")
	if err != nil {
		t.Fatal(err)
	}
	var index struct{ Cases []goldenCase }
	if err := json.Unmarshal(b, &index); err != nil {
		t.Fatal(err)
	}
	if len(index.Cases) < 54 {
		t.Fatalf("index lists %d cases", len(index.Cases))
	}
	decoders := []image.DecoderChoice{image.Go}
	if _, ok := image.TurboAvailable(); ok {
		decoders = append(decoders, image.Turbo)
	}
	for _, c := range index.Cases {
		for _, d := range decoders {
			t.Run(d.String()+"/"+c.Golden, func(t *testing.T) { compare(t, c, d) })
		}
	}
}

func compare(t *testing.T, c goldenCase, d image.DecoderChoice) {
	r := caseRecipe(t, c)
	p, err := image.NewPipeline(r.Image, d)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	src, err := os.ReadFile(filepath.Join("../image/testdata", c.Source))
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 3*c.Size[0]*c.Size[1])
	info, err := p.Process(got, src)
	if err != nil {
		t.Fatal(err)
	}
	want := readPNG(t, c.Golden)
	if len(want) != len(got) {
		t.Fatalf("golden has %d bytes, got %d", len(want), len(got))
	}
	sum, most := 0.0, 0.0
	for i := range got {
		diff := math.Abs(float64(got[i]) - float64(want[i]))
		sum, most = sum+diff, max(most, diff)
	}
	mean := sum / float64(len(got))
	t.Logf("%s: mean %.4f, largest %v", r, mean, most)
	limit, limitMost := 2.0, 255.0
	switch {
	case info.Format != "jpeg":
		limit, limitMost = 0, 0
	case info.Decoder == "turbo":
		limit, limitMost = 0.5, 1
	}
	if mean > limit || most > limitMost {
		t.Errorf("pixels differ by %.3f on average, %v at most; allowed %v, %v", mean, most, limit, limitMost)
	}
	// The arithmetic, from the golden's pixels.
	area := c.Size[0] * c.Size[1]
	for k, at := range c.At {
		channel, place := at/area, at%area
		from := channel
		if r.Normalize.Channels == "BGR" {
			from = 2 - channel
		}
		v := (float64(want[3*place+from])*float64(r.Normalize.Scale) - float64(pick(r.Normalize.Mean, channel))) / float64(pick(r.Normalize.Std, channel))
		if diff := math.Abs(v - c.Values[k]); !(diff <= 2e-6*max(1, math.Abs(v))) {
			t.Errorf("value %d: %v, want %v", at, v, c.Values[k])
		}
	}
}

func pick(list []float32, i int) float32 {
	if len(list) == 1 {
		return list[0]
	}
	return list[i]
}

// caseRecipe is the recipe of a case. The presets' goldens are small: their sizes are a quarter.
func caseRecipe(t *testing.T, c goldenCase) Recipe {
	t.Helper()
	if c.Preset != "" {
		r, err := Preset(c.Preset, c.Size[0], c.Size[1])
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	data, err := os.ReadFile(filepath.Join("testdata", c.Config))
	if err != nil {
		t.Fatal(err)
	}
	r, err := Parse(data, c.Size[0], c.Size[1])
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func readPNG(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	m, err := png.Decode(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	var out []byte
	for y := range m.Bounds().Dy() {
		for x := range m.Bounds().Dx() {
			r, g, b, _ := m.At(x, y).RGBA()
			out = append(out, byte(r>>8), byte(g>>8), byte(b>>8))
		}
	}
	return out
}
