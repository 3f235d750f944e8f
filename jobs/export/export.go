// Package export writes trained models as files that others can use: JSON that tells what was
// learned, and ONNX that any runtime can run, alone or behind the network that makes its features.
//
// Invariant: all of them hold the same numbers, and the same model gives the same bytes.
//
// The publisher of a job's results calls it; it reads and writes no files.
package export

import (
	"encoding/json"
	"reflect"

	"github.com/invopop/jsonschema"

	"github.com/vista-mr/vista-mr/lr"
)

// SchemaVersion is that of models/LAYER.json.
const SchemaVersion = 1

// Model is a trained model with what its inputs and outputs mean.
type Model struct {
	SchemaVersion int       `json:"schemaVersion"`
	Layer         string    `json:"layer"`      // "" for structured features alone
	Classes       []string  `json:"classes"`    // class i of the model is the i-th
	Structured    []string  `json:"structured"` // names of the first inputs, in order
	Dim           int       `json:"dim"`        // length of the layer's vector, the inputs behind them
	Pool          string    `json:"pool"`
	Network       string    `json:"network"` // its name, or that of its file without where it lies: the same job gives the same bytes anywhere
	Model         *lr.Model `json:"model"`
}

// Schema is the JSON Schema (draft-07) of models/LAYER.json.
func Schema() ([]byte, error) {
	r := &jsonschema.Reflector{DoNotReference: true, ExpandedStruct: true}
	r.Namer = func(t reflect.Type) string { return t.String() } // lr.Model has the same name without its package
	s := r.Reflect(&Model{})
	s.Version, s.ID, s.Title = "http://json-schema.org/draft-07/schema#", "", "A trained model: models/LAYER.json"
	b, err := json.MarshalIndent(s, "", "  ")
	return append(b, '\n'), err
}

// JSON is the content of models/LAYER.json.
func JSON(m *Model) ([]byte, error) {
	m.SchemaVersion = SchemaVersion
	b, err := json.MarshalIndent(m, "", " ")
	return append(b, '\n'), err
}
