package export

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	validator "github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/vista-mr/vista-mr/layers/ort"
	"github.com/vista-mr/vista-mr/lr"
)

// trained is a model with weights of all sizes.
func trained(classes int, shift ...float32) *Model {
	rnd := rand.New(rand.NewPCG(uint64(classes), 1))
	scores := classes
	if classes == 2 {
		scores = 1
	}
	m := &Model{Layer: "/a b", Structured: []string{"x", "y"}, Dim: 3, Pool: "max-2x2", Network: "net",
		Model: &lr.Model{Kind: lr.Logistic, Classes: classes, Report: lr.Report{History: []float64{1}}, Weights: make([][]float32, scores), Intercepts: make([]float64, scores)}}
	for c := range classes {
		m.Classes = append(m.Classes, string(rune('p'+c)))
	}
	m.Model.Shift = shift
	for k := range scores {
		m.Model.Intercepts[k] = rnd.NormFloat64()
		for range 5 {
			m.Model.Weights[k] = append(m.Model.Weights[k], float32(rnd.NormFloat64()))
		}
	}
	return m
}

// The ONNX file gives the probabilities, or scores, that the model gives.
func TestONNXGivesWhatTheModelGives(t *testing.T) {
	if _, err := ort.FindLibrary(); err != nil {
		if strings.Contains(os.Getenv("VISTA_REQUIRE"), "ort") {
			t.Fatal(err)
		}
		t.Skipf("needs the ONNX Runtime library: %v", err)
	}
	rt, err := ort.Init(ort.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close()
	for _, c := range []struct {
		classes int
		kind    string
		shift   []float32
	}{
		{2, lr.Logistic, nil}, {3, lr.Logistic, nil}, {7, lr.Logistic, nil}, {2, lr.LinearSVC, nil},
		{2, lr.Logistic, []float32{1e4, 0, 0, 0, 0}}, {3, lr.Logistic, []float32{-5, 0, 1e5, 0, 2}}, {2, lr.LinearSVC, []float32{0, 3e4, 0, 0, 0}},
	} {
		classes, m := c.classes, trained(c.classes, c.shift...)
		m.Model.Kind = c.kind
		path := filepath.Join(t.TempDir(), "m.onnx")
		if err := os.WriteFile(path, ONNX(m).Marshal(), 0o666); err != nil {
			t.Fatal(err)
		}
		s, err := rt.Open(t.Context(), path, "", ort.Port{Name: "features", Shape: []int64{5}}, []ort.Port{{Name: Outputs(c.kind)[0], Shape: []int64{int64(classes)}}})
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.NewRunner(4)
		if err != nil {
			t.Fatal(err)
		}
		rnd := rand.New(rand.NewPCG(3, 4))
		for i := range r.InputF32() {
			r.InputF32()[i] = float32(rnd.NormFloat64())
			if c.shift != nil {
				r.InputF32()[i] += c.shift[i%5]
			}
		}
		if err := r.Run(t.Context(), 4); err != nil {
			t.Fatal(err)
		}
		want := make([]float64, 4*classes)
		rows := &lr.Rows{N: 4, Class: make([]int32, 4), Group: make([]uint8, 4), Parts: []lr.Matrix{{Data: r.InputF32(), Cols: 5}}}
		var sc lr.Scratch
		lr.Predict(rows, []int{0}, m.Model, 0, 4, want, &sc)
		for i, p := range r.Output(0) {
			if math.Abs(float64(p)-want[i]) > 1e-6*max(1, math.Abs(want[i])) {
				t.Errorf("%+v: value %d is %v, want %v", c, i, p, want[i])
			}
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// The JSON is the same for the same model, holds its numbers, and satisfies the published schema.
func TestJSON(t *testing.T) {
	m := trained(3)
	a, err := JSON(m)
	if err != nil {
		t.Fatal(err)
	}
	b, err := JSON(trained(3))
	if err != nil || !bytes.Equal(a, b) {
		t.Errorf("the same model gives other bytes; %v", err)
	}
	var back Model
	if err := json.Unmarshal(a, &back); err != nil || back.SchemaVersion != SchemaVersion || back.Model.Weights[2][4] != m.Model.Weights[2][4] || back.Classes[1] != "q" {
		t.Errorf("read back %+v, %v", back, err)
	}
	schema, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := validator.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		t.Fatal(err)
	}
	c := validator.NewCompiler()
	if err := c.AddResource("m", doc); err != nil {
		t.Fatal(err)
	}
	compiled, err := c.Compile("m")
	if err != nil {
		t.Fatal(err)
	}
	text, err := validator.UnmarshalJSON(bytes.NewReader(a))
	if err != nil {
		t.Fatal(err)
	}
	if err := compiled.Validate(text); err != nil {
		t.Error(err)
	}
	if err := compiled.Validate(map[string]any{"kind": "logistic-regression", "classes": 2}); err == nil {
		t.Error("the schema takes what is no model's file")
	}
}
