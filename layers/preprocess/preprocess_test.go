package preprocess

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/layers/image"
)

const mean = `"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]`

func TestPresets(t *testing.T) {
	for _, c := range []struct {
		name   string
		h, w   int
		resize int
		says   string
	}{
		{"imagenet", 224, 224, 256, "shorter side resized to 256 (bilinear, antialiased), centre 224x224, RGB, (byte/255 - [0.485 0.456 0.406]) / [0.229 0.224 0.225]"},
		{"imagenet", 299, 299, 342, "shorter side resized to 342"},
		{"imagenet-v2", 224, 224, 232, "shorter side resized to 232 (bilinear"},
		{"efficientnet-lite", 224, 224, 256, "shorter side resized to 256 (bicubic, antialiased), centre 224x224, RGB, (byte - 127) / 128"},
		{"none", 20, 30, 0, "30x20 required, RGB, bytes 0 to 255"},
	} {
		r, err := Preset(c.name, c.h, c.w)
		if err != nil {
			t.Fatal(err)
		}
		if r.Image.Resize != c.resize || r.Image.CropH != c.h || r.Image.CropW != c.w || !strings.Contains(r.String(), c.says) {
			t.Errorf("%s for %dx%d: %+v, %s", c.name, c.h, c.w, r.Image, r)
		}
		if err := r.Image.Validate(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	_, err := Preset("imagenett", 224, 224)
	var e *Error
	if !errors.As(err, &e) || e.ErrorID() != "E-PREPROCESS" || !strings.Contains(e.Hint(), "imagenet-v2") {
		t.Errorf("got %v", err)
	}
}

func TestSettings(t *testing.T) {
	s := Settings{ApplyEXIF: true, Channels: "BGR", Resize: 240, Crop: 224, Interpolation: "bicubic", Scale: 1, Mean: []float64{103, 116, 123}, Std: []float64{1, 1, 1}}
	r, err := s.Recipe(224, 224)
	if err != nil {
		t.Fatal(err)
	}
	const want = "EXIF orientation applied, shorter side resized to 240 (bicubic, antialiased), centre 224x224, BGR, (byte - [103 116 123])"
	if r.String() != want || r.Image.Exact {
		t.Errorf("got %q, want %q", r, want)
	}
	if _, err := s.Recipe(299, 299); err == nil || !strings.Contains(err.Error(), "224x224, the network takes 299x299") {
		t.Errorf("another network: %v", err)
	}
	s.Crop = 0
	if r, err = s.Recipe(224, 224); err != nil || !r.Image.Exact || r.Image.Resize != 240 || !strings.Contains(r.String(), "224x224 required") {
		t.Errorf("without a crop: %v, %v", r, err)
	}
	s.Resize = 0
	if r, err = s.Recipe(224, 224); err != nil || !r.Image.Exact {
		t.Errorf("without steps: %v, %v", r, err)
	}
}

// TestParse covers what the goldens leave out: other forms of the same keys, values left out, other sizes.
func TestParse(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		size int
		want image.Spec
	}{
		"ConvNext from 384 on": {`{"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 384}, "crop_pct": 0.875, "resample": 3, ` + mean + `}`, 384,
			image.Spec{ResizeH: 384, ResizeW: 384, CropH: 384, CropW: 384, FloorCrop: true, Interpolation: "bicubic"}},
		"fast ones crop as torchvision": {`{"image_processor_type": "CLIPImageProcessorFast", "size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}, "data_format": "channels_first", ` + mean + `}`, 224,
			image.Spec{Resize: 224, CropH: 224, CropW: 224, Interpolation: "bicubic"}},
		"an unknown type that says all": {`{"image_processor_type": "NewImageProcessor", "do_center_crop": true, "size": {"shortest_edge": 256}, "crop_size": 224, "resample": 2, ` + mean + `}`, 224,
			image.Spec{Resize: 256, CropH: 224, CropW: 224, FloorCrop: true, Interpolation: "bilinear"}},
		"nulls are left out": {`{"image_processor_type": "ViTImageProcessor", "size": {"height": 224, "width": 224}, "crop_pct": null, "do_center_crop": null, "auto_map": null, ` + mean + `}`, 224,
			image.Spec{ResizeH: 224, ResizeW: 224, CropH: 224, CropW: 224, FloorCrop: true, Interpolation: "bilinear"}},
		"nothing but numbers": {`{"do_resize": false, "do_rescale": false, "do_normalize": false}`, 224,
			image.Spec{CropH: 224, CropW: 224, Exact: true, FloorCrop: true}},
		"timm's defaults": {`{"input_size": [3, 224, 224]}`, 224, image.Spec{Resize: 256, CropH: 224, CropW: 224, Interpolation: "bicubic"}},
		"timm, all of it": {`{"architecture": "x", "pretrained_cfg": {"input_size": [3, 299, 299], "crop_pct": 1.0, "interpolation": "nearest", "license": "mit"}}`, 299,
			image.Spec{Resize: 299, CropH: 299, CropW: 299, Interpolation: "nearest", NoScaledDecode: true}},
	} {
		r, err := Parse([]byte(c.text), c.size, c.size)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !reflect.DeepEqual(r.Image, c.want) {
			t.Errorf("%s: got %+v, want %+v", name, r.Image, c.want)
		}
	}
}

func TestParseErrors(t *testing.T) {
	vit := `{"image_processor_type": "ViTImageProcessor", "size": {"height": 224, "width": 224}, ` + mean
	for text, wants := range map[string][]string{
		``:                         {"no JSON object"},
		`[1]`:                      {"no JSON object"},
		`{"size": 224`:             {"no JSON object"},
		`{"size": 224} x`:          {"no JSON object"},
		`{"hello": 1}`:             {"none of the keys"},
		strings.Repeat("[", 1<<19): {"no JSON object"},
		strings.Repeat(" ", 1<<21): {"at most"},
		`{"size": {"shortest_edge": 224}, "do_resize": 1, "resample": 9, "image_mean": [1, 2], "image_std": [0, 1, 1], "zoom": 3, "size": 4}`: {
			"size is there twice", "do_resize must be true or false, not 1", "resample is 9", "image_mean must be a list of 3 numbers", "image_std is out of range", "zoom is not known: 3"},
		`{"size": 224, "resample": 2, ` + mean + `}`:                                                                       {"size is a number, and the type does not tell"},
		`{"image_processor_type": "XImageProcessor", "size": {"shortest_edge": 9}, ` + mean + `}`:                          {"resample is missing", "nothing is cropped"},
		`{"image_processor_type": "XImageProcessor", "resample": 2, "crop_size": 9, ` + mean + `}`:                         {"size is missing", "do_center_crop is missing"},
		`{"image_processor_type": "CLIPImageProcessor", "size": 224, ` + mean + `}`:                                        {"crop_size is missing"},
		`{"image_processor_type": "LevitImageProcessor", "size": 224, "resample": 2, ` + mean + `}`:                        {"image_processor_type is LevitImageProcessor"},
		`{"image_processor_type": "ConvNextImageProcessor", "size": {"height": 2, "width": 2}, ` + mean + `}`:              {"must have a shortest_edge"},
		`{"image_processor_type": "ViTImageProcessor", "size": {"height": 224}, ` + mean + `}`:                             {"size.width is missing"},
		`{"image_processor_type": "ViTImageProcessor", "size": {"height": 224, "width": 1e9, "depth": 1}, ` + mean + `}`:   {"size.width must be a whole number", "size.depth is not known"},
		`{"image_processor_type": "ViTImageProcessor", "size": "big", ` + mean + `}`:                                       {"size must be an object"},
		`{"image_processor_type": "ViTImageProcessor", "size": {"shortest_edge": 224, "longest_edge": 500}, ` + mean + `}`: {"size.longest_edge is 500"},
		vit + `, "crop_pct": 0.9}`:                                     {"crop_pct is 0.9"},
		vit + `, "do_pad": true}`:                                      {"do_pad is true"},
		vit + `, "auto_map": {"a": "b"}}`:                              {"auto_map"},
		vit + `, "data_format": "channels_last"}`:                      {"data_format"},
		vit + `, "rescale_factor": -1}`:                                {"rescale_factor must be a positive number"},
		vit + `, "resample": "bicubic"}`:                               {`resample is "bicubic"`},
		`{"image_processor_type": "ViTImageProcessor", "size": 224}`:   {"image_mean is missing", "image_std is missing"},
		`{"image_processor_type": 3, "size": 224, ` + mean + `}`:       {"image_processor_type must be text"},
		`{"input_size": [1, 224, 224]}`:                                {"1 channels"},
		`{"input_size": [3, 224]}`:                                     {"input_size must be a list of 3 numbers"},
		`{"input_size": [3, 224.5, 224]}`:                              {"input_size must be channels, height and width"},
		`{"input_size": [3, 224, 224], "crop_mode": "border"}`:         {`crop_mode is "border"`},
		`{"input_size": [3, 224, 225]}`:                                {"not square"},
		`{"input_size": [3, 224, 224], "crop_pct": 0.0001}`:            {"crop_pct"},
		`{"input_size": [3, 224, 224], "interpolation": "random"}`:     {`interpolation is "random"`},
		`{"pretrained_cfg": 7}`:                                        {"pretrained_cfg must be an object"},
		`{"pretrained_cfg": {"input_size": [3, 224, 224], "tint": 1}}`: {"pretrained_cfg.tint is not known"},
		`{"pretrained_cfg": {}, "tint": 1}`:                            {"tint is not known"},
		`{"input_size": [3, 299, 299]}`:                                {"299x299, the network takes 224x224"},
	} {
		_, err := Parse([]byte(text), 224, 224)
		var e *Error
		if !errors.As(err, &e) || e.Hint() == "" {
			t.Errorf("%.80s: got %v", text, err)
			continue
		}
		for _, want := range wants {
			if !strings.Contains(e.Error(), want) {
				t.Errorf("%.80s: %q is not told: %v", text, want, err)
			}
		}
	}
}

// FuzzParse: any text gives a recipe that can be carried out, or an error of this package.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) < 10 {
		f.Fatal(files, err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		if filepath.Base(name) != "index.json" {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Parse(data, 56, 56)
		if err != nil {
			if !errors.As(err, new(*Error)) {
				t.Fatalf("%T %v", err, err)
			}
			return
		}
		if err := r.Image.Validate(); err != nil || r.Image.CropH != 56 || r.Image.CropW != 56 {
			t.Fatalf("%+v: %v", r.Image, err)
		}
		for i := range 3 {
			if s := r.Normalize.Std[i]; !(s > 0) {
				t.Fatal(fmt.Sprint(r.Normalize))
			}
		}
	})
}
