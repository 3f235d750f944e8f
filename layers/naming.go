package layers

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/vista-mr/vista-mr/layers/weights"
)

// namings lists the conventions under which files hold the parameters of a network of the catalogue, its
// own first.
func namings(network string) []weights.Naming {
	switch network {
	case "alexnet":
		return []weights.Naming{{Name: "torchvision"}}
	case "vgg16":
		return []weights.Naming{{Name: "torchvision"}, {Name: "timm", Of: renamed(map[string]string{
			"classifier.0": "pre_logits.fc1", "classifier.3": "pre_logits.fc2", "classifier.6": "head.fc"})}}
	case "resnet50":
		return []weights.Naming{{Name: "torchvision and timm"}, {Name: "Hugging Face", Of: huggingFaceResNet("resnet.")},
			{Name: "Hugging Face without classifier", Of: huggingFaceResNet("")}}
	case "efficientnet-lite0":
		return []weights.Naming{{Name: "efficientnet_lite_pytorch"}, {Name: "timm", Of: timmEfficientNet}}
	}
	return []weights.Naming{{Name: "the network's own names"}}
}

// renamed replaces modules by others: the names of their parameters stay.
func renamed(modules map[string]string) func(string) string {
	return func(param string) string {
		module, last := split(param)
		if to, ok := modules[module]; ok {
			return to + "." + last
		}
		return param
	}
}

// split cuts a parameter's name into its module's path and the rest: weight, bias, running_mean, ...
func split(param string) (module, last string) {
	i := strings.LastIndexByte(param, '.')
	return param[:max(i, 0)], param[i+1:]
}

// huggingFaceResNet names ResNet's parameters as Hugging Face's ResNetForImageClassification does (with
// root "resnet.") or ResNetModel (with none).
func huggingFaceResNet(root string) func(string) string {
	return func(param string) string {
		module, last := split(param)
		part := strings.Split(module, ".")
		switch {
		case module == "conv1":
			return root + "embedder.embedder.convolution." + last
		case module == "bn1":
			return root + "embedder.embedder.normalization." + last
		case module == "fc" && root != "":
			return "classifier.1." + last
		case len(part) < 3:
			return ""
		}
		stage, err := strconv.Atoi(strings.TrimPrefix(part[0], "layer"))
		if err != nil {
			return ""
		}
		block := fmt.Sprintf("%sencoder.stages.%d.layers.%s.", root, stage-1, part[1])
		kinds := map[string]string{"conv": "convolution", "bn": "normalization", "0": "convolution", "1": "normalization"}
		if part[2] == "downsample" && len(part) == 4 {
			return block + "shortcut." + kinds[part[3]] + "." + last
		}
		kind, n := strings.TrimRight(part[2], "0123456789"), part[2][len(part[2])-1]
		return fmt.Sprintf("%slayer.%d.%s.%s", block, int(n-'1'), kinds[kind], last)
	}
}

// timmEfficientNet names EfficientNet-Lite0's parameters as timm does: blocks by stage, the normalisations of a
// block numbered from 1, the first stage's blocks without expansion.
func timmEfficientNet(param string) string {
	module, last := split(param)
	switch module {
	case "_conv_stem":
		return "conv_stem." + last
	case "_bn0":
		return "bn1." + last
	case "_conv_head":
		return "conv_head." + last
	case "_bn1":
		return "bn2." + last
	case "_fc":
		return "classifier." + last
	}
	part := strings.Split(module, ".")
	if len(part) != 3 {
		return ""
	}
	index, err := strconv.Atoi(part[1])
	if err != nil {
		return ""
	}
	stage := 0
	for _, n := range []int{1, 2, 2, 3, 3, 4} {
		if index < n {
			break
		}
		stage, index = stage+1, index-n
	}
	names := map[string]string{"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2", "_project_conv": "conv_pwl", "_bn2": "bn3"}
	if stage == 0 {
		names = map[string]string{"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
	}
	return fmt.Sprintf("blocks.%d.%d.%s.%s", stage, index, names[part[2]], last)
}

// fit adapts an architecture to a weights file: to the number of classes that its classifier has, or to
// having none, in which case the classifier's layer is not there. It says what was found in notes.
func fit(a Arch, file *weights.File) (Arch, *built, weights.Named, []string, error) {
	b, err := build(a)
	if err != nil {
		return a, nil, weights.Named{}, nil, err
	}
	list := namings(a.Name)
	named := weights.Recognize(file.Tensors, b.params, list)
	var notes []string
	var where []string
	if named.Naming.Name != list[0].Name {
		where = append(where, "under the names of "+named.Naming.Name)
	}
	if named.Prefix != "" {
		where = append(where, fmt.Sprintf("behind the prefix %q", named.Prefix))
	}
	if file.Path != "" {
		where = append(where, fmt.Sprintf("in %q of a checkpoint", file.Path))
	}
	if len(where) > 0 {
		notes = append(notes, "The weights were found "+strings.Join(where, ", ")+".")
	}
	if a.Name == "efficientnet-lite0" && named.Naming.Name == "timm" {
		notes = append(notes, "The weights are taken for those of tf_efficientnet_lite0; timm's efficientnet_lite0 has the same names, but pads and normalises differently.")
	}
	head := a.Steps[len(a.Steps)-1]
	if head.Op != "linear" || named.Found == 0 {
		return a, b, named, notes, nil
	}
	weight, ok := file.Tensors[named.Of(head.Path+".weight")]
	_, bias := file.Tensors[named.Of(head.Path+".bias")]
	switch {
	case !ok && !bias && named.Found == len(b.params)-2:
		a.Steps = a.Steps[:len(a.Steps)-1]
		a.Roster = slices.DeleteFunc(slices.Clone(a.Roster), func(name string) bool { return name == head.Layer })
		notes = append(notes, fmt.Sprintf("The weights have no classifier: layer %s is not there.", head.Layer))
	case ok && len(weight.Dims) >= 2 && weight.Dims[0] != int64(head.Out) && weight.Dims[0] > 0 && weight.Dims[0] <= maxClasses:
		a.Steps = slices.Clone(a.Steps)
		a.Steps[len(a.Steps)-1].Out = int(weight.Dims[0])
		notes = append(notes, fmt.Sprintf("The weights' classifier has %d classes.", weight.Dims[0]))
	default:
		return a, b, named, notes, nil
	}
	b, err = build(a)
	return a, b, named, notes, err
}

// maxClasses bounds the classes of a classifier that a weights file may bring.
const maxClasses = 1 << 17
