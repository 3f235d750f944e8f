package layers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/layers/weights"
)

// named reads testdata/state/NAME.txt: parameters' names and shapes as a library lists them.
func named(t *testing.T, name string) (names []string, dims map[string][]int64) {
	t.Helper()
	data, err := os.ReadFile("testdata/state/" + name + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	dims = map[string][]int64{}
	for line := range strings.Lines(string(data)) {
		key, shape, _ := strings.Cut(strings.TrimSpace(line), " ")
		var d []int64
		for _, s := range strings.Split(shape, ",") {
			var v int64
			if _, err := fmt.Sscan(s, &v); err == nil {
				d = append(d, v)
			}
		}
		names, dims[key] = append(names, key), d
	}
	return names, dims
}

// TestNamings compares the names under which files of timm and Hugging Face are read with the lists that
// these libraries give themselves: the same parameters, of the same sizes.
func TestNamings(t *testing.T) {
	for _, c := range []struct{ network, list, naming string }{
		{"vgg16", "vgg16-timm", "timm"},
		{"resnet50", "resnet50-timm", "torchvision and timm"},
		{"resnet50", "resnet50-huggingface", "Hugging Face"},
		{"resnet50", "resnet50-huggingface-base", "Hugging Face without classifier"},
		{"efficientnet-lite0", "efficientnet-lite0-timm", "timm"},
	} {
		a, _ := catalogue(c.network)
		names, dims := named(t, c.list)
		for _, prefix := range []string{"", "module.", "_orig_mod.module."} {
			file := map[string]weights.Tensor{}
			for _, n := range names {
				file[prefix+n] = weights.Tensor{Type: "F32", Dims: dims[n]}
			}
			file["loss.weight"] = weights.Tensor{Type: "F32"}
			if prefix == "" {
				delete(file, "loss.weight")
			}
			_, b, found, notes, err := fit(a, &weights.File{Tensors: file})
			if err != nil {
				t.Fatal(err)
			}
			if found.Naming.Name != c.naming || found.Prefix != prefix {
				t.Errorf("%s: taken for %q with the prefix %q", c.list, found.Naming.Name, found.Prefix)
			}
			if _, err := weights.Match(file, b.params, found); err != nil {
				t.Errorf("%s: %v", c.list, err)
			}
			if says := strings.Join(notes, " "); (c.naming == "timm") != strings.Contains(says, "names of timm") || (prefix != "") != strings.Contains(says, "prefix") {
				t.Errorf("%s: notes %q", c.list, says)
			}
		}
	}
}

// state writes a safetensors file of a network's random parameters, changed by edit.
func state(t *testing.T, a Arch, edit func(names []string, file map[string]weights.Tensor) []string) Source {
	t.Helper()
	b, err := build(a)
	if err != nil {
		t.Fatal(err)
	}
	values := weights.Random(b.params, 7)
	file := map[string]weights.Tensor{}
	var order []string
	for _, p := range b.params {
		file[p.Name] = weights.Tensor{Type: "F32", Dims: p.Dims, Data: values[p.Name]}
		order = append(order, p.Name)
	}
	var out bytes.Buffer
	if err := weights.Write(&out, edit(order, file), file); err != nil {
		t.Fatal(err)
	}
	return Source{Weights: "w.safetensors", Read: func(context.Context, string) ([]byte, error) { return out.Bytes(), nil }}
}

func TestOtherClassifiers(t *testing.T) {
	a := tiny(16, 16)
	head := a.Steps[len(a.Steps)-1].Path
	// A classifier of three classes: fine-tuned weights.
	c, err := Build(t.Context(), a, state(t, a, func(names []string, file map[string]weights.Tensor) []string {
		w := file[head+".weight"]
		file[head+".weight"] = weights.Tensor{Type: "F32", Dims: []int64{3, w.Dims[1]}, Data: w.Data[:12*w.Dims[1]]}
		file[head+".bias"] = weights.Tensor{Type: "F32", Dims: []int64{3}, Data: file[head+".bias"].Data[:12]}
		return names
	}))
	if err != nil {
		t.Fatal(err)
	}
	last := c.Layers[len(c.Layers)-1]
	if last.Name != "fc2" || last.Dim != 3 || len(c.Notes) != 1 || !strings.Contains(c.Notes[0], "3 classes") {
		t.Errorf("last layer %s with %d numbers, notes %q", last.Name, last.Dim, c.Notes)
	}
	// None at all: weights kept for features.
	c, err = Build(t.Context(), a, state(t, a, func(names []string, _ map[string]weights.Tensor) []string { return names[:len(names)-2] }))
	if err != nil {
		t.Fatal(err)
	}
	if last := c.Roster[len(c.Roster)-1]; last != "fc1" || len(c.Notes) != 1 || !strings.Contains(c.Notes[0], "fc2 is not there") {
		t.Errorf("last layer %s, notes %q", last, c.Notes)
	}
	if got := c.Layers[len(c.Layers)-1].Name; got != "fc1" {
		t.Errorf("the last layer is %s", got)
	}
	// Half of one is a mistake.
	_, err = Build(t.Context(), a, state(t, a, func(names []string, _ map[string]weights.Tensor) []string { return names[:len(names)-1] }))
	if e := new(weights.Error); !errors.As(err, &e) || len(e.Problems) != 1 || !strings.Contains(err.Error(), head+".bias is missing") {
		t.Errorf("a classifier without bias: %v", err)
	}
}

// TestAllProblemsAtOnce: missing, misnamed, misshapen and superfluous tensors are one error, with the names that
// may have been meant.
func TestAllProblemsAtOnce(t *testing.T) {
	a := tiny(16, 16)
	_, err := Build(t.Context(), a, state(t, a, func(names []string, file map[string]weights.Tensor) []string {
		file["layer.1.conv_1.weight"] = file["layer.1.conv1.weight"]
		file["layer.2.bn1.bias"] = weights.Tensor{Type: "F32", Dims: []int64{2}, Data: make([]byte, 8)}
		var out []string
		for _, n := range names {
			if n != "layer.1.conv1.weight" && n != "conv1.bias" {
				out = append(out, n)
			}
		}
		return append(out, "layer.1.conv_1.weight")
	}))
	var e *weights.Error
	if !errors.As(err, &e) || len(e.Problems) != 4 {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{"conv1.bias is missing", "layer.1.conv1.weight is missing; nearest: layer.1.conv_1.weight",
		"layer.2.bn1.bias has the shape [2], the network wants [6]", "layer.1.conv_1.weight does not belong"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not told: %v", want, err)
		}
	}
	if strings.Contains(e.Error(), "conv1.bias is missing; nearest") {
		t.Errorf("a name that resembles nothing has a hint: %v", err)
	}
	// The file of another network.
	big := resnet50()
	names, _ := named(t, "alexnet")
	file := map[string]weights.Tensor{}
	for _, n := range names {
		file[n] = weights.Tensor{Type: "F32", Dims: []int64{1}}
	}
	_, b, found, _, err := fit(big, &weights.File{Tensors: file})
	if err != nil {
		t.Fatal(err)
	}
	_, err = weights.Match(file, b.params, found)
	if !errors.As(err, &e) || !strings.Contains(e.Hint(), "0 of the network's 267 parameters") || !strings.Contains(e.Error(), "more") || len(e.Error()) > 10_000 {
		t.Errorf("got %v, hint %q", err, e.Hint())
	}
}
