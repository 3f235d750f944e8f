package image

import (
	"bytes"
	"encoding/json"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// goldenCase is one entry of testdata/index.json, written by tools/goldens/image.py.
type goldenCase struct {
	Source string `json:"source"`
	Golden string `json:"golden"`
	Resize int    `json:"resize"`
	Crop   [2]int `json:"crop"`
	Filter string `json:"filter"`
	EXIF   bool   `json:"exif"`
	Exact  bool   `json:"exact"` // lossless source: not one byte may differ
}

func goldenCases(t testing.TB) []goldenCase {
	t.Helper()
	b, err := os.ReadFile("testdata/index.json")
	if err != nil {
		t.Fatal(err)
	}
	var index struct{ Cases []goldenCase }
	if err := json.Unmarshal(b, &index); err != nil {
		t.Fatal(err)
	}
	if len(index.Cases) < 40 {
		t.Fatalf("index lists %d cases", len(index.Cases))
	}
	return index.Cases
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func readGolden(t testing.TB, name string) (pix []byte, w, h int) {
	t.Helper()
	m, err := png.Decode(bytes.NewReader(readFile(t, name)))
	if err != nil {
		t.Fatal(err)
	}
	var p Pipeline
	k := p.pack(m)
	return k.pix, k.w, k.h
}

// difference returns the mean and the largest difference in levels of 255.
func difference(a, b []byte) (mean float64, most int) {
	sum := 0
	for i := range a {
		d := int(a[i]) - int(b[i])
		d = max(d, -d)
		sum += d
		most = max(most, d)
	}
	return float64(sum) / float64(len(a)), most
}

func decoders(t testing.TB) []DecoderChoice {
	if _, ok := TurboAvailable(); !ok {
		if strings.Contains(os.Getenv("VISTA_REQUIRE"), "turbo") {
			t.Fatal("libjpeg-turbo cannot be loaded, and VISTA_REQUIRE asks for it")
		}
		t.Log("libjpeg-turbo is not installed: its cases are left out")
		return []DecoderChoice{Go}
	}
	return []DecoderChoice{Go, Turbo}
}

// TestAgainstPIL compares with PIL, as jobs decode: libjpeg-turbo within one level everywhere, the decoder in Go, which
// decodes large pictures at a fraction of their size, within two levels on average, lossless formats exactly.
func TestAgainstPIL(t *testing.T) {
	for _, d := range decoders(t) {
		for _, c := range goldenCases(t) {
			t.Run(d.String()+"/"+c.Golden, func(t *testing.T) {
				p, err := NewPipeline(Spec{Resize: c.Resize, CropW: c.Crop[0], CropH: c.Crop[1], Interpolation: c.Filter,
					ApplyEXIF: c.EXIF}, d)
				if err != nil {
					t.Fatal(err)
				}
				defer p.Close()
				want, w, h := readGolden(t, c.Golden)
				if w != c.Crop[0] || h != c.Crop[1] {
					t.Fatalf("golden is %dx%d", w, h)
				}
				got := make([]byte, len(want))
				info, err := p.Process(got, readFile(t, c.Source))
				if err != nil {
					t.Fatal(err)
				}
				if d == Turbo && info.Format == "jpeg" && info.Decoder != "turbo" {
					t.Errorf("decoded by %s", info.Decoder)
				}
				mean, most := difference(got, want)
				t.Logf("%+v: mean %.4f, largest %d", info, mean, most)
				limit, limitMost := 2.0, 255
				if c.Exact {
					limit, limitMost = 0, 0
				} else if info.Decoder == "turbo" {
					limit, limitMost = 0.5, 1
				}
				if mean > limit || most > limitMost {
					t.Errorf("differs from PIL by %.3f on average, %d at most; allowed %.1f, %d", mean, most, limit, limitMost)
				}
			})
		}
	}
}
