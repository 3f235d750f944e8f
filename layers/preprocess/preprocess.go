// Package preprocess says how pictures become the numbers that a network was trained on. It turns what users
// have — the name of a preset, the file that Hugging Face or timm keeps beside a model, or settings — into
// the steps that this program carries out: decoding, resizing and cropping in package image, arithmetic in the
// network's own graph.
//
// Invariant: a Recipe does what its source says, or there is none. A setting that is not known or cannot be
// carried out is an error that names it; nothing is passed over in silence. What is done is written out in
// full by Recipe.String, for the results.
//
// Caller: the command line, which opens networks. File contents are handed in; the package opens nothing and
// sees no picture.
package preprocess

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/vista-mr/vista-mr/layers"
	"github.com/vista-mr/vista-mr/layers/image"
)

// Recipe is a preprocessing that is understood in full.
type Recipe struct {
	Image     image.Spec
	Normalize *layers.Normalize // nil: bytes as floats 0..255
}

// Settings spells the steps out, as a job file does.
type Settings struct {
	ApplyEXIF     bool
	Channels      string  // RGB or BGR
	Resize        int     // the shorter side; 0: no resizing
	Crop          int     // side of the square at the centre; 0: no crop
	Interpolation string  // as in image.Spec
	Scale         float64 // of the bytes, before mean and std
	Mean, Std     []float64
}

// Error says what cannot be done about a preprocessing. Users meet it under the id E-PREPROCESS.
type Error struct {
	Problems []string
	Do       string
}

// Error lists all problems, one per line when there are several.
func (e *Error) Error() string {
	if len(e.Problems) == 1 {
		return "preprocessing: " + e.Problems[0]
	}
	return fmt.Sprintf("preprocessing: %d problems:\n  %s", len(e.Problems), strings.Join(e.Problems, "\n  "))
}

// ErrorID is the stable id under which users meet this error.
func (e *Error) ErrorID() string { return "E-PREPROCESS" }

// Hint says what to do next.
func (e *Error) Hint() string {
	if e.Do != "" {
		return e.Do
	}
	return "spell the steps out in cnn.preprocess: {resize: 256, crop: 224, ...}; docs/preprocessing.md has recipes"
}

func wrong(do, format string, a ...any) error {
	return &Error{Problems: []string{fmt.Sprintf(format, a...)}, Do: do}
}

// names of the presets.
func names() []string { return []string{"imagenet", "imagenet-v2", "efficientnet-lite", "none"} }

// Preset returns a named preprocessing for a network that takes pictures of h x w:
//
//   - imagenet, torchvision's of 2017: shorter side to 256 (bilinear), centre 224x224, ImageNet's mean and deviation;
//   - imagenet-v2, that of torchvision's V2 weights: shorter side to 232, the rest alike;
//   - efficientnet-lite, TensorFlow's for these networks: shorter side to 256 (bicubic), centre 224x224, (byte-127)/128;
//   - none: the picture must have the network's size, bytes stay 0..255.
//
// For a network of another size than 224 the resized side keeps its proportion: 299 gives 342, as in torchvision.
func Preset(name string, h, w int) (Recipe, error) {
	of := func(side int) int { return (side*min(h, w) + 112) / 224 }
	spec := image.Spec{CropH: h, CropW: w, Interpolation: "bilinear"}
	norm, err := layers.Preset("imagenet")
	if err != nil {
		return Recipe{}, err
	}
	switch name {
	case "imagenet":
		spec.Resize = of(256)
	case "imagenet-v2":
		spec.Resize = of(232)
	case "efficientnet-lite":
		spec.Resize, spec.Interpolation = of(256), "bicubic"
		norm = &layers.Normalize{Mean: []float32{127}, Std: []float32{128}, Scale: 1, Channels: "RGB"}
	case "none":
		spec, norm = image.Spec{CropH: h, CropW: w, Exact: true}, nil
	default:
		return Recipe{}, wrong("use one of "+strings.Join(names(), ", ")+", the URI of a .json file, or settings", "there is no preset %q", name)
	}
	return Recipe{spec, norm}, nil
}

// Recipe carries the settings out for a network that takes pictures of h x w. What is not cropped must have
// the network's size after resizing.
func (s Settings) Recipe(h, w int) (Recipe, error) {
	spec := image.Spec{Resize: s.Resize, CropH: h, CropW: w, Interpolation: s.Interpolation, ApplyEXIF: s.ApplyEXIF, Exact: s.Crop == 0}
	if s.Crop > 0 {
		spec.CropH, spec.CropW = s.Crop, s.Crop
	}
	n := &layers.Normalize{Mean: floats(s.Mean), Std: floats(s.Std), Scale: float32(s.Scale), Channels: s.Channels}
	return finish(Recipe{spec, n}, h, w)
}

// finish checks that the result is what the network takes.
func finish(r Recipe, h, w int) (Recipe, error) {
	if r.Image.CropH == 0 { // neither resized nor cropped
		r.Image.CropH, r.Image.CropW, r.Image.Exact = h, w, true
	}
	if r.Image.CropH != h || r.Image.CropW != w {
		return Recipe{}, wrong("", "it gives pictures of %dx%d, the network takes %dx%d", r.Image.CropW, r.Image.CropH, w, h)
	}
	if r.Image.Interpolation == "nearest" {
		r.Image.NoScaledDecode = true // single pixels of a smaller picture are means of several
	}
	if err := r.Image.Validate(); err != nil {
		return Recipe{}, wrong("", "%v", err)
	}
	return r, nil
}

func floats(v []float64) []float32 {
	out := make([]float32, len(v))
	for i, x := range v {
		out[i] = float32(x)
	}
	return out
}

// String writes the steps out.
func (r Recipe) String() string {
	var steps []string
	s := r.Image
	filter := s.Interpolation
	if filter == "" {
		filter = "bilinear"
	}
	if filter != "nearest" {
		filter += ", antialiased"
	}
	if s.ApplyEXIF {
		steps = append(steps, "EXIF orientation applied")
	} else {
		steps = append(steps, "EXIF orientation ignored")
	}
	switch {
	case s.Stretch:
		steps = append(steps, fmt.Sprintf("resized to %dx%d (%s)", s.CropW, s.CropH, filter))
	case s.ResizeH > 0:
		steps = append(steps, fmt.Sprintf("resized to %dx%d (%s)", s.ResizeW, s.ResizeH, filter))
	case s.Resize > 0:
		steps = append(steps, fmt.Sprintf("shorter side resized to %d (%s)", s.Resize, filter))
	}
	switch {
	case s.Exact:
		steps = append(steps, fmt.Sprintf("%dx%d required", s.CropW, s.CropH))
	case s.ResizeH != s.CropH || s.ResizeW != s.CropW:
		steps = append(steps, fmt.Sprintf("centre %dx%d", s.CropW, s.CropH))
	}
	n := r.Normalize
	if n == nil {
		return strings.Join(append(steps, "RGB", "bytes 0 to 255"), ", ")
	}
	channels := n.Channels
	if channels == "" {
		channels = "RGB"
	}
	return strings.Join(append(steps, channels, formula(n)), ", ")
}

// formula writes the arithmetic of n.
func formula(n *layers.Normalize) string {
	byteText := "byte"
	switch scale := n.Scale; {
	case scale == 0 || scale == 1:
	case math.Abs(1/float64(scale)-math.Round(1/float64(scale))) < 1e-4:
		byteText += "/" + strconv.FormatFloat(math.Round(1/float64(scale)), 'f', -1, 64)
	default:
		byteText += "*" + number(scale)
	}
	out := byteText
	if !all(n.Mean, 0) {
		out = "(" + byteText + " - " + list(n.Mean) + ")"
	}
	if !all(n.Std, 1) {
		out += " / " + list(n.Std)
	}
	return out
}

func number(v float32) string { return strconv.FormatFloat(float64(v), 'g', -1, 32) }

func all(v []float32, x float32) bool {
	for _, f := range v {
		if f != x {
			return false
		}
	}
	return true
}

func list(v []float32) string {
	if len(v) == 1 || all(v, v[0]) {
		return number(v[0])
	}
	text := make([]string, len(v))
	for i, f := range v {
		text[i] = number(f)
	}
	return "[" + strings.Join(text, " ") + "]"
}
