package run

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/layers"
)

// TestTakeLargeImages: a network for images that nothing makes is refused as an input, not as a defect.
func TestTakeLargeImages(t *testing.T) {
	cnn, err := layers.Outline("alexnet")
	if err != nil {
		t.Fatal(err)
	}
	cnn.Input.H, cnn.Input.W = 16384, 16384
	j := job(t, filepath.Join(t.TempDir(), "out"), "cnn.model=alexnet", "cnn.layers=1", "cnn.preprocess=none")
	err = (&network{job: &j.CNN[0]}).take(t.Context(), cnn)
	if errorID(err) != "E-PREPROCESS" || !strings.Contains(err.Error(), "limited to 4096") {
		t.Errorf("got %v", err)
	}
}

func TestMisnamed(t *testing.T) {
	for name, want := range map[string]string{
		"(structured)":             "something else",
		"(majority)":               "something else",
		"best-pipeline":            "something else",
		"\xff\xfe":                 "not UTF-8",
		strings.Repeat("n", 221):   "221 bytes",
		strings.Repeat("/a", 56):   "224 bytes",
		strings.Repeat("слой", 30): "720 bytes",
		strings.Repeat("n", 220):   "",
		"/features/denseblock4/denselayer16/conv2/Conv_output_0": "",
		"..": "",
	} {
		if got := misnamed(name); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%.30q: %q, want %q", name, got, want)
		}
	}
}
