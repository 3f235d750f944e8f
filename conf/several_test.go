package conf

import (
	"errors"
	"os"
	"strings"
	"testing"
)

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/good/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A list of one is the same job as the network alone, whatever it is called.
func TestListOfOne(t *testing.T) {
	alone, err := Load("f", read(t, "minimal.yaml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, sets := range [][]string{nil, {"cnn.0.name=other"}} {
		list, err := Load("f", read(t, "list-of-one.yaml"), sets)
		if err != nil {
			t.Fatal(err)
		}
		if list.Digest() != alone.Digest() || len(list.CNN) != 1 {
			t.Errorf("%v: another job: %+v", sets, list.CNN)
		}
	}
	if alone.CNN[0].Key("weights") != "cnn.weights" || alone.CNN[0].Called() != "resnet50" {
		t.Errorf("%q is called %q", alone.CNN[0].Key("weights"), alone.CNN[0].Called())
	}
}

func TestSeveralNetworks(t *testing.T) {
	j, err := Load("f", read(t, "several.yaml"), []string{"cnn.0.layers=fc6,fc7", "cnn.2.preprocess.crop=64", "cnn.1.weights=w.onnx"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for i := range j.CNN {
		names = append(names, j.CNN[i].Called())
	}
	if hidden := (&CNN{Model: "nets/.onnx"}).Called(); hidden == "" {
		t.Error("a network without a name")
	}
	if got := strings.Join(names, "|"); got != "alexnet|theirs|Their Net" {
		t.Errorf("names %s", got)
	}
	if j.CNN[0].Layers.Names[1] != "fc7" || j.CNN[2].Preprocess.Inline.Crop != 64 || j.CNN[1].Preprocess.Inline.Crop != 96 || j.CNN[1].Weights != "w.onnx" || j.CNN[2].Pool != "max-2x2" {
		t.Errorf("got %+v", j.CNN)
	}
	from := map[string]string{}
	for _, o := range j.Origins() {
		from[o.Path] = o.From
	}
	for path, want := range map[string]string{"cnn.0.layers": "set", "cnn.0.model": "file", "cnn.0.pool": "default", "cnn.1.weights": "set", "cnn.2.layers": "file"} {
		if from[path] != want {
			t.Errorf("%s is from %q, want %s", path, from[path], want)
		}
	}
	other, err := Load("f", read(t, "several.yaml"), []string{"cnn.1.name=ours"})
	if err != nil || other.Digest() == j.Digest() {
		t.Errorf("layers have other names, and the job is the same one: %v", err)
	}
	whole, err := Load("f", read(t, "minimal.yaml"), []string{"cnn=[{model: alexnet, weights: random}, {model: vgg16, weights: random}]", "cnn.1.layers=2"})
	if err != nil || len(whole.CNN) != 2 || whole.CNN[1].Layers.Last != 2 {
		t.Errorf("a list by --set: %v", err)
	}
}

// Overrides that do not fit the form that the file has say which form would.
func TestSetsOfNetworks(t *testing.T) {
	for set, want := range map[string]string{
		"cnn.layers=2":          "cnn is a list of 3 here; write cnn.0 to cnn.2 for one of them",
		"cnn.3.layers=2":        "cnn is a list of 3 here",
		"cnn.-1.layers=2":       "cnn is a list of 3 here",
		"cnn.1.model.x=2":       "cnn.1.model holds no further keys",
		"cnn.1=resnet50":        "cnn.1 must be a mapping",
		"cnn.0.name=theirs":     "are both called",
		"cnn.0.name=THEIRS":     `cnn.0 is called "THEIRS" and cnn.1 "theirs": files of their layers would have one name where case does not count`,
		"cnn.0.layrs=2":         "did you mean",
		"cnn.0.layers.0=fc6":    "holds no further keys",
		"plan.inference=staged": "fused only",
	} {
		var e *Error
		if _, err := Load("f", read(t, "several.yaml"), []string{set}); !errors.As(err, &e) || !strings.Contains(err.Error(), want) {
			t.Errorf("--set %s: %v, want %q", set, err, want)
		}
	}
	if _, err := Load("f", read(t, "minimal.yaml"), []string{"cnn.0.layers=2"}); err == nil || !strings.Contains(err.Error(), "cnn is no list here; write cnn.layers") {
		t.Errorf("got %v", err)
	}
}

// Of one network plan.networks says nothing, whatever else is asked for.
func TestNetworksOfOne(t *testing.T) {
	with, err := Load("f", read(t, "minimal.yaml"), []string{"plan.networks=together", "plan.inference=lazy"})
	if err != nil {
		t.Fatal(err)
	}
	without, err := Load("f", read(t, "minimal.yaml"), []string{"plan.inference=lazy"})
	if err != nil || with.Digest() != without.Digest() || with.Plan.Networks != "together" {
		t.Errorf("another job: %v, %+v", err, with.Plan)
	}
}

// TestModelName: where a model's file lies is no part of its name.
func TestModelName(t *testing.T) {
	for model, want := range map[string]string{"resnet50": "resnet50", "a.onnx": "a.onnx", "nets/a.onnx": "a.onnx", "/x/nets/a.onnx": "a.onnx", "s3://b/k/a.onnx": "a.onnx", "hdfs://nn/a.onnx": "a.onnx"} {
		if got := (&CNN{Model: model}).ModelName(); got != want {
			t.Errorf("%s: %q, want %q", model, got, want)
		}
	}
}
