package conf

import (
	"encoding/json"
	"fmt"

	"go.yaml.in/yaml/v3"
)

// Layers selects the layers to compare: the last Last feature layers, or those in Names. The zero
// value stands for all feature layers of a known model.
type Layers struct {
	Last  int
	Names []string
}

// IsZero tells whether the job file leaves the choice of layers open.
func (l Layers) IsZero() bool { return l.Last == 0 && len(l.Names) == 0 }

// MarshalJSON writes the number, the list, or null for the zero value.
func (l Layers) MarshalJSON() ([]byte, error) {
	switch {
	case len(l.Names) > 0:
		return json.Marshal(l.Names)
	case l.Last > 0:
		return json.Marshal(l.Last)
	}
	return []byte("null"), nil
}

// UnmarshalYAML reads a number or a list of names; the walk along the schema has seen to it that
// there is nothing else.
func (l *Layers) UnmarshalYAML(n *yaml.Node) error {
	*l = Layers{}
	if n.Kind == yaml.SequenceNode {
		return n.Decode(&l.Names)
	}
	return n.Decode(&l.Last)
}

// Preprocess says how an image becomes the network's input: a preset or the URI of a .json file
// of Hugging Face or timm in Name, or settings in Inline (then Name is empty).
type Preprocess struct {
	Name   string
	Inline *PreprocessSettings
}

// PreprocessSettings spells the steps out. They run in the order of the fields. Keys that are left
// out take the values of the imagenet preset, except Resize and Crop: left out, there is no such step.
type PreprocessSettings struct {
	EXIF          string    `yaml:"exif" json:"exif" jsonschema:"enum=ignore,enum=apply" jsonschema_description:"Whether the EXIF orientation is applied."`
	Channels      string    `yaml:"channels" json:"channels" jsonschema:"enum=RGB,enum=BGR" jsonschema_description:"Order of the channels in the network's input."`
	Resize        int       `yaml:"resize" json:"resize,omitempty" jsonschema:"minimum=1,maximum=4096" jsonschema_description:"Length of the shorter side after resizing, in pixels."`
	Interpolation string    `yaml:"interpolation" json:"interpolation" jsonschema:"enum=bilinear,enum=bicubic" jsonschema_description:"Interpolation of the resize, antialiased."`
	Crop          int       `yaml:"crop" json:"crop,omitempty" jsonschema:"minimum=1,maximum=4096" jsonschema_description:"Side of the square cut from the centre, in pixels."`
	Scale         float64   `yaml:"scale" json:"scale" jsonschema:"exclusiveMinimum=0" jsonschema_description:"Factor for the bytes 0 to 255, before mean and std."`
	Mean          []float64 `yaml:"mean" json:"mean" jsonschema:"minItems=3,maxItems=3" jsonschema_description:"Subtracted from each channel, in the order of channels."`
	Std           []float64 `yaml:"std" json:"std" jsonschema:"minItems=3,maxItems=3,exclusiveMinimum=0" jsonschema_description:"Divides each channel, in the order of channels."`
}

// defaultSettings is what settings that a job file leaves out stand for: torchvision's constants for networks
// trained on ImageNet.
func defaultSettings() PreprocessSettings {
	return PreprocessSettings{
		EXIF:          "ignore",
		Channels:      "RGB",
		Interpolation: "bilinear",
		Scale:         1.0 / 255,
		Mean:          []float64{0.485, 0.456, 0.406},
		Std:           []float64{0.229, 0.224, 0.225},
	}
}

// MarshalJSON writes the name or the settings.
func (p Preprocess) MarshalJSON() ([]byte, error) {
	if p.Inline != nil {
		return json.Marshal(p.Inline)
	}
	return json.Marshal(p.Name)
}

// UnmarshalYAML reads a name or settings.
func (p *Preprocess) UnmarshalYAML(n *yaml.Node) error {
	*p = Preprocess{}
	if n.Kind != yaml.MappingNode {
		return n.Decode(&p.Name)
	}
	s := defaultSettings()
	if err := n.Decode(&s); err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	// The default constants are listed red first; the lists follow the channels' order.
	if s.Channels == "BGR" && !hasKey(n, "mean") {
		s.Mean[0], s.Mean[2] = s.Mean[2], s.Mean[0]
	}
	if s.Channels == "BGR" && !hasKey(n, "std") {
		s.Std[0], s.Std[2] = s.Std[2], s.Std[0]
	}
	p.Inline = &s
	return nil
}

func hasKey(n *yaml.Node, key string) bool {
	for i := 0; i < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return true
		}
	}
	return false
}
