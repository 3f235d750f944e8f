package conf

import (
	"cmp"
	"encoding/json"
	"fmt"
	"path"
	"strings"

	"go.yaml.in/yaml/v3"
)

// CNN says which network, with which weights, and which of its layers.
type CNN struct {
	Name       string     `yaml:"name" json:"name,omitempty" jsonschema:"pattern=^[A-Za-z0-9][A-Za-z0-9._-]*$,maxLength=63" jsonschema_extras:"patternErrorMessage=must start with a letter or digit and hold only letters and digits and . _ -" jsonschema_description:"What its layers are called by among those of several networks: NAME.LAYER. Left out: the model's name, or the name of its file."`
	Model      string     `yaml:"model" json:"model" jsonschema:"required,pattern=^(alexnet|vgg16|resnet50|efficientnet-lite0|.+\\.onnx)$,example=alexnet,example=vgg16,example=resnet50" jsonschema_extras:"patternErrorMessage=must be alexnet or vgg16 or resnet50 or efficientnet-lite0 or the URI of an .onnx file" jsonschema_description:"alexnet, vgg16, resnet50, efficientnet-lite0, or the URI of an ONNX file."`
	Weights    string     `yaml:"weights" json:"weights" jsonschema:"pattern=^(random|.+\\.safetensors|.+\\.onnx|.+\\.pth|.+\\.pt|.+\\.bin)?$,example=random" jsonschema_extras:"patternErrorMessage=must be random or the URI of a .safetensors or .onnx or .pth file" jsonschema_description:"The network's weights: a .safetensors or .pth file with the names of torchvision, timm or Hugging Face, an .onnx file, or random (seeded). May be left out when model is an ONNX file."`
	Layers     Layers     `yaml:"layers" json:"layers" jsonschema_description:"Layers to compare: the last n feature layers, or a list of names. Left out: all feature layers of a known model."`
	Pool       string     `yaml:"pool" json:"pool" jsonschema:"enum=none,enum=avg-1x1,enum=max-2x2" jsonschema_description:"How a convolutional volume becomes a vector: max-2x2 (maximum of each cell of a 2x2 grid), avg-1x1 (global mean), none (all of it)."`
	Preprocess Preprocess `yaml:"preprocess" json:"preprocess" jsonschema_description:"How an image becomes the network's input: a preset (imagenet, imagenet-v2, efficientnet-lite, none), the URI of a Hugging Face model's preprocessor_config.json or a timm model's config.json, or settings."`
	Precision  string     `yaml:"precision" json:"precision" jsonschema:"enum=float32,enum=bfloat16,enum=int8,enum=auto" jsonschema_description:"Arithmetic of the network."`

	at string // its path in a list; "" where it is the only one and no list
}

// DefaultCNN is a network with every optional key at its default.
func DefaultCNN() CNN {
	return CNN{Pool: "max-2x2", Preprocess: Preprocess{Name: "imagenet"}, Precision: "float32"}
}

// Called is the name that the network has among several.
func (c *CNN) Called() string {
	if c.Name != "" {
		return c.Name
	}
	return cmp.Or(strings.TrimSuffix(path.Base(c.Model), ".onnx"), "network") // a hidden file may have no more than its ending
}

// ModelName is the model's name, or the name of its file: the same wherever the file lies, and however the job was submitted.
func (c *CNN) ModelName() string {
	if strings.HasSuffix(c.Model, ".onnx") {
		return path.Base(c.Model)
	}
	return c.Model
}

// Key is the dotted path of one of the network's keys, as --set takes it.
func (c *CNN) Key(name string) string {
	if c.at == "" {
		return "cnn." + name
	}
	return c.at + "." + name
}

// CNNs are the networks of a job, at least one. A list of one is the same job as the network alone.
type CNNs []CNN

// MarshalJSON writes the only network, whose name changes nothing, or the list.
func (c CNNs) MarshalJSON() ([]byte, error) {
	if len(c) == 1 {
		one := c[0]
		one.Name = ""
		return json.Marshal(one)
	}
	return json.Marshal([]CNN(c))
}

// UnmarshalYAML reads one network or a list.
func (c *CNNs) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.SequenceNode {
		one := DefaultCNN()
		if err := n.Decode(&one); err != nil {
			return err
		}
		*c = CNNs{one}
		return nil
	}
	*c = nil
	for i, item := range n.Content {
		one := DefaultCNN()
		if err := item.Decode(&one); err != nil {
			return fmt.Errorf("network %d: %w", i, err)
		}
		one.at = fmt.Sprintf("cnn.%d", i)
		*c = append(*c, one)
	}
	return nil
}

func (l *loader) checkCNNs(j *Job) {
	for i := range j.CNN {
		l.checkCNN(&j.CNN[i])
	}
	if len(j.CNN) < 2 {
		return
	}
	first := map[string]*CNN{}
	for i := range j.CNN {
		c := &j.CNN[i]
		if !l.sound(c.Key("model"), c.Key("name")) || c.Model == "" {
			continue
		}
		// Files are named after networks, and many file systems take A for a.
		called := strings.ToLower(c.Called())
		switch other := first[called]; {
		case other == nil:
			first[called] = c
		case other.Called() == c.Called():
			l.addf(l.at(c.Key("name"), c.Key("model")), c.Key("name"), "%s and %s are both called %q, as their layers would be; give one of them another name (%s)", other.at, c.at, c.Called(), c.Key("name"))
		default:
			l.addf(l.at(c.Key("name"), c.Key("model")), c.Key("name"), "%s is called %q and %s %q: files of their layers would have one name where case does not count; give one of them another name (%s)", other.at, other.Called(), c.at, c.Called(), c.Key("name"))
		}
	}
}

func (l *loader) checkCNN(c *CNN) {
	key, whole := c.Key, strings.TrimSuffix(c.Key(""), ".")
	file := strings.HasSuffix(c.Model, ".onnx")
	if l.sound("cnn", whole, key("model"), key("weights")) && c.Model != "" {
		switch {
		case c.Weights == "" && !file:
			at := l.at(key("weights"))
			if l.nodes[key("weights")] == nil {
				if at = l.keys[whole]; at == nil {
					at = l.at(whole)
				}
			}
			l.addf(at, key("weights"), "missing key \"weights\" in %s: model %s needs a .safetensors or .onnx file, or random", whole, c.Model)
		case file && c.Weights == "random":
			l.addf(l.at(key("weights")), key("weights"), "%s: an .onnx model brings its own weights; leave the key out", key("weights"))
		}
	}
	if l.sound(key("model")) && file && c.Layers.IsZero() && l.sound(key("layers")) {
		l.addf(l.at(key("model")), key("layers"), "missing key \"layers\" in %s: an .onnx model has no list of feature layers; name them, or give a number (vista-mr model inspect %s shows them)", whole, c.Model)
	}
	for _, u := range []struct{ path, uri string }{{key("model"), c.Model}, {key("weights"), c.Weights}, {key("preprocess"), c.Preprocess.Name}} {
		if msg := checkURI(u.uri); msg != "" && l.sound(u.path) {
			l.addf(l.at(u.path), u.path, "%s: %s", u.path, msg)
		}
	}
	if p := c.Preprocess.Inline; p != nil && p.Resize > 0 && p.Crop > p.Resize {
		l.addf(l.at(key("preprocess.crop")), key("preprocess.crop"), "%s (%d) is larger than resize (%d)", key("preprocess.crop"), p.Crop, p.Resize)
	}
}

// checkPlan refuses knobs that contradict each other. That plan.networks says nothing of one network is no contradiction.
func (l *loader) checkPlan(j *Job) {
	one := len(j.CNN) == 1 && l.sound("cnn")
	if !one && j.Plan.Networks == "together" && j.Plan.Inference != "" && j.Plan.Inference != "fused" && l.sound("plan.networks", "plan.inference") {
		l.addf(l.at("plan.networks"), "plan.networks", "plan.networks: together goes with plan.inference: fused only; the others run one network after the other")
	}
}
