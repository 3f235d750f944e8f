package results

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/invopop/jsonschema"
	validator "github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

func m(v, half float64) Metric { return Metric{Value: v, Low: v - half, High: v + half} }

// sample is a complete summary of a job with a clear winner.
func sample() *Summary {
	s := &Summary{
		Job: Job{Name: "foods", Seed: 2019, Model: "resnet50", Weights: "random", Pool: "max-2x2", Kind: "logistic-regression", Test: 0.2, Classes: []string{"0", "1"}, Features: []string{"f0", "f1"}, Output: "out/foods"},
		Table: &Table{Format: "parquet", Files: 2, Missing: "mean", Filled: []Filled{{"f0", 12, 0.25}},
			Categorical: []Categorical{{Column: "f1", Categories: []string{"acme", "zeta"}, Other: 40, Missing: 3, Absent: true}}},
		Verdict: Verdict{BestLayer: "conv5_3", Metric: Accuracy, Helps: true, On: OnTest, RunnerUp: "fc6", Margin: &Metric{0.021, 0.004, 0.038}, OverStructured: &Metric{0.102, 0.081, 0.123}},
		Layers: []Layer{
			{Name: "conv5_3", Folder: "conv5_3", Tensor: "/layer4/relu_8", Shape: []int{2048, 7, 7}, Dim: 8192, Metrics: Metrics{Accuracy: m(0.742, 0.011), F1: m(0.731, 0.012), AUC: m(0.81, 0.01), LogLoss: m(0.52, 0.02)}, Chosen: Chosen{Reg: 0.01, ElasticNet: 0.5, Iterations: 10, Objective: 0.5, NonZero: 1200}, Seconds: 3.21, Bytes: 65536000},
			{Name: "fc6", Folder: "fc6", Dim: 1000, Metrics: Metrics{Accuracy: m(0.721, 0.012), F1: m(0.7, 0.012), LogLoss: m(0.55, 0.02)}, Chosen: Chosen{Reg: 0.01, ElasticNet: 0.5, Iterations: 10}, Seconds: 0.8, Bytes: 8000000},
		},
		Baselines: Baselines{
			Majority:   Baseline{Metrics: Metrics{Accuracy: m(0.505, 0.013), LogLoss: m(0.693, 0.001)}, Class: "1"},
			Structured: Baseline{Dim: 130, Metrics: Metrics{Accuracy: m(0.64, 0.012), F1: m(0.62, 0.013)}, Chosen: &Chosen{Reg: 0.01, ElasticNet: 0.5, Iterations: 10, Converged: true}, Seconds: 0.1},
		},
		Pipeline: &Pipeline{File: "models/best-pipeline.onnx", Layer: "conv5_3", Outputs: []string{"probability", "label"}, Preprocess: Preprocess{EXIF: "ignore", Resize: 256, Interpolation: "bilinear", Height: 224, Width: 224, Channels: "RGB", Scale: 1.0 / 255, Mean: []float64{0.485, 0.456, 0.406}, Std: []float64{0.229, 0.224, 0.225}}},
		Plan:     Plan{Inference: "fused", Placement: "before-join", Join: "broadcast", Storage: "snappy", CPU: 2, Partitions: 16, Batch: 8, From: map[string]string{"inference": "default"}, Actual: Cost{Seconds: 361.4, Images: 20000, ImagesPerSecond: 55.3}, Machines: &Machines{Workers: 1, Cores: 2}, Phases: []Phase{{Name: "extract", Tasks: 16, Attempts: 17, Actual: Cost{Seconds: 350}}}, Around: []Phase{{Name: "start", Tasks: 1, Actual: Cost{Seconds: 9.2}}, {Name: "results", Tasks: 1, Actual: Cost{Seconds: 1.1}}}},
		Counters: Counters{Rows: 20000, Images: 20003, Matched: 19998, Bad: 5, Train: 15998, Test: 4000, Causes: map[string]int64{"image without row": 3, "unreadable image": 2}},
		Versions: Versions{VistaMR: "v0.1.0", Go: "go1.26", Platform: "linux/amd64", ORT: "1.29.0", Decoder: "go"},
		Digests:  map[string]string{"job": strings.Repeat("ab", 32)},
		Warnings: []string{"weights are random"},
		Started:  "2026-11-24T13:00:00Z",
		Seconds:  361.4,
	}
	s.Verdict.Sentence = Sentence(s)
	return s
}

func TestMarshalParse(t *testing.T) {
	b, err := Marshal(sample())
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/results.json", b)
	got, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	want := sample()
	want.SchemaVersion = SchemaVersion
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("read differs from written (-want +got):\n%s", diff)
	}
}

func TestMarshalRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*Summary){
		"NaN":           func(s *Summary) { s.Layers[0].Metrics[AUC] = Metric{Value: math.NaN()} },
		"infinite":      func(s *Summary) { s.Baselines.Majority.Metrics[LogLoss] = Metric{High: math.Inf(1)} },
		"unknown best":  func(s *Summary) { s.Verdict.BestLayer = "conv9" },
		"unknown next":  func(s *Summary) { s.Verdict.RunnerUp = "conv9" },
		"same name":     func(s *Summary) { s.Layers[1].Name = "conv5_3" },
		"wrong folder":  func(s *Summary) { s.Layers[1].Folder = "../fc6" },
		"strange":       func(s *Summary) { s.Verdict.Metric = "beauty" },
		"seconds NaN":   func(s *Summary) { s.Seconds = math.NaN() },
		"layers absent": func(s *Summary) { s.Layers = nil },
	} {
		s := sample()
		spoil(s)
		if _, err := Marshal(s); err == nil {
			t.Errorf("%s: written", name)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, in := range []string{"", "{", "[]", `{"schemaVersion":0}`, `{"schemaVersion":2}`, `{"schemaVersion":1}`, `{"schemaVersion":1,"layers":[{"name":"a","folder":".."}],"verdict":{"bestLayer":"a","metric":"accuracy"}}`} {
		if _, err := Parse([]byte(in)); err == nil {
			t.Errorf("%s: read", in)
		}
	}
}

func TestSchema(t *testing.T) {
	r := &jsonschema.Reflector{Anonymous: true, DoNotReference: true, ExpandedStruct: true, AllowAdditionalProperties: true}
	s := r.Reflect(&Summary{})
	s.Version = "http://json-schema.org/draft-07/schema#"
	s.Title = "vista-mr results.json"
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "schema/results.schema.json", append(b, '\n'))

	doc, err := validator.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := validator.NewCompiler()
	if err := c.AddResource("r", doc); err != nil {
		t.Fatal(err)
	}
	compiled, err := c.Compile("r")
	if err != nil {
		t.Fatal(err)
	}
	written, err := Marshal(sample())
	if err != nil {
		t.Fatal(err)
	}
	inst, err := validator.UnmarshalJSON(bytes.NewReader(written))
	if err != nil {
		t.Fatal(err)
	}
	if err := compiled.Validate(inst); err != nil {
		t.Errorf("what Marshal writes does not satisfy the schema: %v", err)
	}
	delete(inst.(map[string]any)["verdict"].(map[string]any), "bestLayer")
	if compiled.Validate(inst) == nil {
		t.Error("the schema does not require verdict.bestLayer")
	}
}

func TestFolder(t *testing.T) {
	for in, want := range map[string]string{
		"conv5_3": "conv5_3", "/layer4/relu": "%2Flayer4%2Frelu", "a b%": "a%20b%25", "..": "%2E%2E", ".": "%2E", "...": "...", "é": "%C3%A9", "a\x00": "a%00",
	} {
		if got := Folder(in); got != want {
			t.Errorf("Folder(%q) = %q, want %q", in, got, want)
		}
	}
	for _, in := range []string{"%", "%2", "%2f", "%41", "a/b", "..", "%zz"} {
		if got, err := LayerOf(in); err == nil {
			t.Errorf("LayerOf(%q) = %q, want an error", in, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		name := string(rapid.SliceOf(rapid.Byte()).Draw(t, "name"))
		f := Folder(name)
		if back, err := LayerOf(f); err != nil || back != name {
			t.Fatalf("%q is written %q and read %q, %v", name, f, back, err)
		}
		if strings.ContainsAny(f, "/\\ ") || f == "." || f == ".." {
			t.Fatalf("%q is written %q", name, f)
		}
	})
}

func TestText(t *testing.T) {
	var b bytes.Buffer
	show := func(title string, s *Summary) {
		b.WriteString("# " + title + "\n")
		s.Verdict.Sentence = Sentence(s)
		if err := WriteText(&b, s); err != nil {
			t.Fatal(err)
		}
		b.WriteString("\n")
	}
	show("winner", sample())
	s := sample()
	s.Verdict.Tie, s.Warnings = true, nil
	show("tie", s)
	s = sample()
	s.Verdict.Tie, s.Verdict.Helps, s.Verdict.OverStructured = true, false, &Metric{0, -0.02, 0.02}
	show("no layer helps", s)
	s = sample()
	s.Verdict.Tie, s.Verdict.Helps, s.Verdict.OverStructured = true, false, &Metric{0.333, -0.05, 0.7}
	show("it cannot be told", s)
	s = sample()
	s.Layers, s.Verdict.RunnerUp, s.Verdict.Margin, s.Verdict.On = s.Layers[:1], "", nil, OnTrain
	show("one layer, training metrics", s)
	s = sample()
	s.Verdict.Metric, s.Layers[1].Name, s.Verdict.RunnerUp = LogLoss, "evil\x1b[31m", "evil\x1b[31m"
	show("log-loss, hostile name", s)
	golden(t, "testdata/text.txt", b.Bytes())
	if bytes.ContainsRune(b.Bytes(), 0x1b) {
		t.Error("an escape sequence reaches the terminal")
	}
}

func TestTextReportsWriteErrors(t *testing.T) {
	full := errors.New("no space left")
	if err := WriteText(failing{full}, sample()); !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
	if err := WriteCSV(failing{full}, sample()); !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
	if err := WriteMetrics(failing{full}, nil); !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestCSV(t *testing.T) {
	var b bytes.Buffer
	rows := []Row{
		{"conv5_3", "test", 0.01, 0.5, Accuracy, 0.742}, {"/a,b", "0", 0.001, 0.5, LogLoss, 1.0 / 3}, {MajorityRow, "test", 0, 0, Accuracy, 0.5},
	}
	if err := WriteMetrics(&b, rows); err != nil {
		t.Fatal(err)
	}
	b.WriteString("\n")
	rows[1].ElasticNet = 1
	if err := WriteMetrics(&b, rows); err != nil {
		t.Fatal(err)
	}
	b.WriteString("\n")
	if err := WriteCSV(&b, sample()); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/metrics.csv", b.Bytes())
}

func TestCount(t *testing.T) {
	for in, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 20129: "20,129", 1234567: "1,234,567", -1000: "-1,000", -100: "-100"} {
		if got := Count(in); got != want {
			t.Errorf("Count(%d) = %s, want %s", in, got, want)
		}
	}
}

// Results come from folders of unknown origin: whatever Parse accepts can be shown and written again.
func FuzzParse(f *testing.F) {
	b, err := os.ReadFile("testdata/results.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"schemaVersion":1,"layers":[{"name":"a","folder":"a"}],"verdict":{"bestLayer":"a","metric":"auc","tie":true}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Parse(data)
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := WriteText(&out, s); err != nil {
			t.Fatal(err)
		}
		s.Verdict.Sentence = Sentence(s)
		if err := WriteCSV(&out, s); err != nil {
			t.Fatal(err)
		}
		b, err := Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(b); err != nil {
			t.Fatal(err)
		}
	})
}
