package conf

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/invopop/jsonschema"
	validator "github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const schemaFile = "schema/job.schema.json"

// generate makes the job file's schema from the Go types.
func generate(t *testing.T) []byte {
	t.Helper()
	str := func(format string, extras map[string]any) *jsonschema.Schema {
		return &jsonschema.Schema{Type: "string", Format: format, Extras: extras}
	}
	var r *jsonschema.Reflector
	r = &jsonschema.Reflector{
		Anonymous:                  true,
		DoNotReference:             true,
		ExpandedStruct:             true,
		RequiredFromJSONSchemaTags: true,
		Mapper: func(typ reflect.Type) *jsonschema.Schema {
			switch typ {
			case reflect.TypeFor[URI]():
				return str("uri-reference", nil)
			case reflect.TypeFor[Bytes]():
				s := str("byte-size", map[string]any{"patternErrorMessage": bytesPatternHelp})
				s.Pattern = bytesPattern
				return s
			case reflect.TypeFor[Layers]():
				one, size := uint64(1), uint64(1)
				return &jsonschema.Schema{OneOf: []*jsonschema.Schema{
					{Type: "integer", Minimum: "1", Maximum: "10000", Description: "The last n feature layers."},
					{Type: "array", MinItems: &one, UniqueItems: true, Items: &jsonschema.Schema{Type: "string", MinLength: &size}, Description: "Names of layers or of ONNX tensors."},
				}}
			case reflect.TypeFor[CNNs]():
				cnn, one := r.Reflect(&CNN{}), uint64(1)
				cnn.Version = ""
				cnn.Description = "A network."
				setDefaults(t, cnn, DefaultCNN())
				pre, _ := cnn.Properties.Get("preprocess")
				settings := defaultSettings()
				setDefaults(t, pre.OneOf[1], &settings)
				return &jsonschema.Schema{OneOf: []*jsonschema.Schema{cnn,
					{Type: "array", MinItems: &one, Items: cnn, Description: "Networks that are compared in one verdict, over images that are decoded once."}}}
			case reflect.TypeFor[Preprocess]():
				inline := r.Reflect(&PreprocessSettings{})
				inline.Version = ""
				inline.Description = "The steps, spelled out."
				return &jsonschema.Schema{OneOf: []*jsonschema.Schema{
					{Type: "string", Pattern: `^(imagenet|imagenet-v2|efficientnet-lite|none|.+\.json)$`, Examples: []any{"imagenet", "imagenet-v2", "efficientnet-lite", "none"}, Description: "A preset, or the URI of the .json file of a Hugging Face or timm model.",
						Extras: map[string]any{"patternErrorMessage": "must be imagenet or imagenet-v2 or efficientnet-lite or none or the URI of a .json file or a mapping of settings"}},
					inline,
				}}
			}
			return nil
		},
	}
	s := r.Reflect(&Job{})
	s.Version = "http://json-schema.org/draft-07/schema#"
	s.Title = "vista-mr job file"
	setDefaults(t, s, Defaults())
	out, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(out, '\n')
}

// setDefaults copies the values of a defaults struct into the schema; required keys have none.
func setDefaults(t *testing.T, s *jsonschema.Schema, defaults any) {
	t.Helper()
	b, err := json.Marshal(defaults)
	if err != nil {
		t.Fatal(err)
	}
	var values map[string]any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&values); err != nil {
		t.Fatal(err)
	}
	var visit func(s *jsonschema.Schema, v map[string]any)
	visit = func(s *jsonschema.Schema, v map[string]any) {
		for p := s.Properties.Oldest(); p != nil; p = p.Next() {
			value, ok := v[p.Key]
			if sub, isMap := value.(map[string]any); isMap {
				visit(p.Value, sub)
			} else if ok && value != nil && !slices.Contains(s.Required, p.Key) && len(p.Value.OneOf)+len(p.Value.Type) > 0 && value != "" {
				p.Value.Default = value
			}
		}
	}
	visit(s, values)
}

func TestSchemaMatchesTypes(t *testing.T) {
	got := generate(t)
	if *update {
		if err := os.WriteFile(schemaFile, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the types say; run: go test ./conf -update", schemaFile)
	}
}

// every calls f for each schema object below v.
func every(v any, path string, f func(path string, s map[string]any)) {
	switch v := v.(type) {
	case map[string]any:
		f(path, v)
		for _, k := range []string{"items"} {
			if sub, ok := v[k]; ok {
				every(sub, path+"[]", f)
			}
		}
		if props, ok := v["properties"].(map[string]any); ok {
			for name, sub := range props {
				every(sub, join(path, name), f)
			}
		}
		if alts, ok := v["oneOf"].([]any); ok {
			for i, sub := range alts {
				every(sub, fmt.Sprintf("%s|%d", path, i), f)
			}
		}
	}
}

func TestSchemaUsesKnownKeywords(t *testing.T) {
	known := []string{"$schema", "title", "default", "additionalProperties"}
	for f := range reflect.TypeFor[rule]().Fields() {
		if tag := f.Tag.Get("json"); tag != "" {
			known = append(known, tag)
		}
	}
	var root any
	if err := json.Unmarshal(JobSchema(), &root); err != nil {
		t.Fatal(err)
	}
	every(root, "", func(path string, s map[string]any) {
		for k := range s {
			if !slices.Contains(known, k) {
				t.Errorf("%s: keyword %q is in the schema and not checked by Load", path, k)
			}
		}
		if s["type"] == "object" && s["additionalProperties"] != false {
			t.Errorf("%s: other keys are allowed", path)
		}
		if s["pattern"] != nil && s["patternErrorMessage"] == nil {
			t.Errorf("%s: a pattern without words for it", path)
		}
	})
}

func TestEveryKeyIsDescribed(t *testing.T) {
	var root any
	if err := json.Unmarshal(JobSchema(), &root); err != nil {
		t.Fatal(err)
	}
	n := 0
	every(root, "", func(path string, s map[string]any) {
		n++
		if d, _ := s["description"].(string); d == "" && path != "" && !strings.HasSuffix(path, "[]") {
			t.Errorf("%s has no description", path)
		}
	})
	if n < 50 {
		t.Errorf("walked %d schema objects; the walk is broken", n)
	}
}

// editorsAccept says what a JSON Schema validator makes of a file, as an editor would run it.
func editorsAccept(t *testing.T, data []byte) error {
	t.Helper()
	doc, err := validator.UnmarshalJSON(bytes.NewReader(JobSchema()))
	if err != nil {
		t.Fatal(err)
	}
	c := validator.NewCompiler()
	if err := c.AddResource("job.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("job.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := yaml.Unmarshal(data, &v); err != nil {
		return err
	}
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	inst, err := validator.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		return err
	}
	return s.Validate(inst)
}

// What Load accepts an editor accepts, and what an editor marks Load refuses.
func TestSchemaAgreesWithLoad(t *testing.T) {
	files, err := filepath.Glob("testdata/*/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, "example.yaml")
	marked := 0
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		_, loadErr := Load(f, data, nil)
		editorErr := editorsAccept(t, data)
		if editorErr != nil {
			marked++
		}
		if loadErr == nil && editorErr != nil {
			t.Errorf("%s: Load accepts it, the schema does not: %v", f, editorErr)
		}
	}
	if marked < 20 {
		t.Errorf("the schema refuses only %d of %d files", marked, len(files))
	}
}
