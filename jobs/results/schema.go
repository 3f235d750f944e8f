package results

import (
	_ "embed"
	"slices"
)

//go:embed schema/results.schema.json
var schema []byte

// Schema returns the JSON Schema (draft-07) of results.json, generated from the types of this package. It allows
// further keys: readers should, too.
func Schema() []byte { return slices.Clone(schema) }
