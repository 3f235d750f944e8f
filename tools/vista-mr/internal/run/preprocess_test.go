package run

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/layers"
)

func TestRecipe(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "preprocessor_config.json")
	const vit = `{"image_processor_type": "ViTImageProcessor", "size": {"height": 224, "width": 224}, "resample": 2, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}`
	if err := os.WriteFile(config, []byte(vit), 0o600); err != nil {
		t.Fatal(err)
	}
	for set, want := range map[string]string{
		"cnn.preprocess=imagenet-v2":       "EXIF orientation ignored, shorter side resized to 232 (bilinear, antialiased), centre 224x224, RGB, (byte/255 - [0.485 0.456 0.406]) / [0.229 0.224 0.225]",
		"cnn.preprocess=efficientnet-lite": "EXIF orientation ignored, shorter side resized to 256 (bicubic, antialiased), centre 224x224, RGB, (byte - 127) / 128",
		"cnn.preprocess=none":              "EXIF orientation ignored, 224x224 required, RGB, bytes 0 to 255",
		"cnn.preprocess=" + config:         "EXIF orientation ignored, resized to 224x224 (bilinear, antialiased), RGB, (byte/255 - 0.5) / 0.5",
		"cnn.preprocess={resize: 240, crop: 224, interpolation: bicubic, channels: BGR, exif: apply, scale: 1, mean: [104, 117, 124], std: [1, 1, 1]}": "EXIF orientation applied, shorter side resized to 240 (bicubic, antialiased), centre 224x224, BGR, (byte - [104 117 124])",
		"cnn.preprocess={resize: 224, channels: BGR}": "EXIF orientation ignored, shorter side resized to 224 (bilinear, antialiased), 224x224 required, BGR, (byte/255 - [0.406 0.456 0.485]) / [0.225 0.224 0.229]",
	} {
		j := job(t, filepath.Join(dir, "out"), set)
		r, err := recipe(t.Context(), &j.CNN[0], layers.InputSpec{H: 224, W: 224, C: 3})
		if err != nil {
			t.Errorf("%s: %v", set, err)
			continue
		}
		if r.String() != want {
			t.Errorf("%s: got %q, want %q", set, r, want)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "bad.json"), []byte(strings.Replace(vit, `"resample"`, `"zoom"`, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	for set, want := range map[string]string{
		"cnn.preprocess=" + filepath.Join(dir, "bad.json"):              "zoom is not known",
		"cnn.preprocess=" + filepath.Join(dir, "preprocessor_cfg.json"): "did you mean",
		"cnn.preprocess={crop: 200}":                                    "200x200, the network takes 224x224",
	} {
		_, err := Validate(t.Context(), job(t, filepath.Join(dir, "out"), set, "cnn.model=efficientnet-lite0"), Options{})
		refusedWith(t, err, want)
	}
}

// refusedWith looks for a cause among the problems of a validation, in message or hint, with exit code 3.
func refusedWith(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
		return
	}
	refused(t, err, errorID(err))
}

func errorID(err error) string {
	for e := err; e != nil; {
		if x, ok := e.(interface{ ErrorID() string }); ok {
			return x.ErrorID()
		}
		u, ok := e.(interface{ Unwrap() error })
		if !ok {
			return ""
		}
		e = u.Unwrap()
	}
	return ""
}

// TestWeightsFiles: whatever is wrong with a file of weights is a refusal with exit code 3 before anything runs.
func TestWeightsFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	state, err := os.ReadFile("../../../../layers/weights/testdata/plain.pth")
	if err != nil {
		t.Fatal(err)
	}
	huge := write("huge.safetensors", nil)
	if err := os.Truncate(huge, 5<<30); err != nil { // a hole: it takes no room
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		write("other.pth", state):                     "0 of the network's",
		write("text.bin", []byte("hello")):            "begins with",
		write("text.onnx", []byte("hello")):           "is no ONNX file",
		write("program.pt", readSeed(t, "runs.pth")):  "nothing of it was executed",
		write("script.pt", readSeed(t, "script.pth")): "TorchScript",
		huge: "at most 805306368 are read",
	} {
		_, err := Validate(t.Context(), job(t, filepath.Join(dir, "out"), "cnn.weights="+path, "cnn.model=alexnet"), Options{})
		if err == nil || !strings.Contains(err.Error(), want) && !strings.Contains(hints(err), want) {
			t.Errorf("%s: got %v, want %q", path, err, want)
			continue
		}
		refused(t, err, errorID(err))
	}
}

func readSeed(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("../../../../layers/weights/testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func hints(err error) string {
	for e := err; e != nil; {
		if x, ok := e.(interface{ Hint() string }); ok {
			return x.Hint()
		}
		u, ok := e.(interface{ Unwrap() error })
		if !ok {
			return ""
		}
		e = u.Unwrap()
	}
	return ""
}
