package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestRequestNamesFilesForOtherMachines: of each network of a list, paths that lie here are made good elsewhere, and
// words that are none stay.
func TestRequestNamesFilesForOtherMachines(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, word := range []string{"alexnet", "random"} { // files of such names are not what the job means
		if err := os.WriteFile(word, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, cnn := range map[string]string{
		"one":  "cnn: {model: nets/a.onnx, layers: 2, preprocess: nets/config.json}",
		"list": "cnn: [{model: alexnet, weights: random}, {model: nets/a.onnx, layers: 2}, {model: vgg16, weights: w/vgg.pth}]",
	} {
		job := "apiVersion: vista-mr/v1\nname: n\ntable: {uri: s3://b/t.csv, key: id, label: l}\nimages: {uri: /data/images}\n" + cnn + "\noutput: s3://b/out\n"
		if err := os.WriteFile(name+".yaml", []byte(job), 0o600); err != nil {
			t.Fatal(err)
		}
		var stderr bytes.Buffer
		a := &app{Process: process(&stderr)}
		j, r, err := a.request(name+".yaml", []string{"seed=3"})
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"seed=3", "cnn.model=" + filepath.Join(dir, "nets/a.onnx"), "cnn.preprocess=" + filepath.Join(dir, "nets/config.json")}
		if name == "list" {
			want = []string{"seed=3", "cnn.1.model=" + filepath.Join(dir, "nets/a.onnx"), "cnn.2.weights=" + filepath.Join(dir, "w/vgg.pth")}
		}
		if !slices.Equal(r.Sets, want) || len(j.CNN) == 0 {
			t.Errorf("%s: %q, want %q", name, r.Sets, want)
		}
		if _, err := a.parseJob(name, []byte(job), r.Sets); err != nil {
			t.Errorf("%s: what is asked for cannot be read: %v", name, err)
		}
	}
}
