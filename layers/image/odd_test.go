package image

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

// TestOdd: files of testdata/odd are decoded about as PIL does, or bad. What PIL cannot read must be bad.
func TestOdd(t *testing.T) {
	var odd []struct {
		Source, Golden, Error, Reason string
		Exact                         bool // lossless: not one byte may differ
	}
	if err := json.Unmarshal(readFile(t, "odd/index.json"), &odd); err != nil {
		t.Fatal(err)
	}
	if len(odd) < 100 {
		t.Fatalf("%d odd files", len(odd))
	}
	for _, c := range odd {
		for _, d := range decoders(t) {
			got, _, err := process(t, pipeline(t, Spec{Resize: 16, CropH: 16, CropW: 16}, d), readFile(t, "odd/"+c.Source))
			if c.Reason != "" {
				var b *BadImage
				if !errors.As(err, &b) || b.Reason != c.Reason {
					t.Errorf("%v: %s: got %v, want reason %q (PIL: %q)", d, c.Source, err, c.Reason, c.Error)
				} else {
					t.Logf("%s: %v", c.Source, err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%v: %s: %v", d, c.Source, err)
				continue
			}
			want, _, _ := readGolden(t, "odd/"+c.Golden)
			limit := 2.0
			if c.Exact {
				limit = 0
			}
			if mean, most := difference(got, want); mean > limit {
				t.Errorf("%v: %s differs from PIL by %.2f on average, %d at most", d, c.Source, mean, most)
			}
		}
	}
}

func FuzzProcess(f *testing.F) {
	for _, c := range goldenCases(f) {
		b := readFile(f, c.Source)
		if len(b) > 8<<10 {
			continue // the fuzzer spends its time on making large inputs smaller
		}
		f.Add(b)
		if len(b) > 64 {
			f.Add(b[:len(b)/2])
		}
	}
	odd, err := filepath.Glob("testdata/odd/*")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range odd {
		f.Add(readFile(f, "odd/"+filepath.Base(name)))
	}
	s := Spec{Resize: 32, CropH: 24, CropW: 24, ApplyEXIF: true, MaxPixels: 1 << 20}
	f.Fuzz(func(t *testing.T, src []byte) {
		for _, d := range decoders(t) {
			p := pipeline(t, s, d)
			_, info, err := process(t, p, src)
			var b *BadImage
			if err != nil && !errors.As(err, &b) {
				t.Fatalf("%v: %v is no BadImage", d, err)
			}
			if b != nil && strings.Contains(b.Error(), "decoder failed") {
				t.Logf("%v: %v (%+v)", d, err, info)
			}
		}
	})
}
