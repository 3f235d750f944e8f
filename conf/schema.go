package conf

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"sync"
)

//go:embed schema/job.schema.json
var jobSchema []byte

// JobSchema returns the job file's JSON Schema (draft-07), generated from the types of this package.
func JobSchema() []byte { return slices.Clone(jobSchema) }

// rule is the part of JSON Schema that the job file's schema uses. A keyword outside of it would be
// a promise to editors that Load does not keep; TestSchemaUsesKnownKeywords guards against that.
type rule struct {
	Type                string           `json:"type"`
	Description         string           `json:"description"`
	Properties          map[string]*rule `json:"properties"`
	Required            []string         `json:"required"`
	Items               *rule            `json:"items"`
	OneOf               []*rule          `json:"oneOf"`
	Enum                []string         `json:"enum"`
	Examples            []any            `json:"examples"`
	Pattern             string           `json:"pattern"`
	PatternErrorMessage string           `json:"patternErrorMessage"`
	Format              string           `json:"format"`
	MinLength           int              `json:"minLength"`
	MaxLength           int              `json:"maxLength"`
	MinItems            int              `json:"minItems"`
	MaxItems            int              `json:"maxItems"`
	UniqueItems         bool             `json:"uniqueItems"`
	Minimum             *float64         `json:"minimum"`
	Maximum             *float64         `json:"maximum"`
	ExclusiveMinimum    *float64         `json:"exclusiveMinimum"`
	ExclusiveMaximum    *float64         `json:"exclusiveMaximum"`

	re *regexp.Regexp
}

// jobRules is the schema as rules, read once; it is never changed afterwards.
var jobRules = sync.OnceValue(func() *rule {
	var r rule
	if err := json.Unmarshal(jobSchema, &r); err != nil {
		panic(fmt.Sprintf("conf: embedded schema: %v", err)) // a build defect, caught by every test
	}
	r.compile()
	return &r
})

func (r *rule) compile() {
	if r == nil {
		return
	}
	if r.Pattern != "" {
		r.re = regexp.MustCompile(r.Pattern)
	}
	for _, p := range r.Properties {
		p.compile()
	}
	for _, o := range r.OneOf {
		o.compile()
	}
	r.Items.compile()
}

// alternatives lists the rules a value may satisfy: itself, or those of oneOf, of which at most one
// fits any kind of node.
func (r *rule) alternatives() []*rule {
	if len(r.OneOf) > 0 {
		return r.OneOf
	}
	return []*rule{r}
}

// allows tells whether one of the alternatives has the given JSON type.
func (r *rule) allows(typ string) bool {
	return slices.ContainsFunc(r.alternatives(), func(a *rule) bool { return a.Type == typ })
}

// pathsNamed lists the dotted paths under r whose last part is key, sorted.
func (r *rule) pathsNamed(prefix, key string) []string {
	var found []string
	for name, p := range r.Properties {
		path := join(prefix, name)
		if name == key {
			found = append(found, path)
		}
		for _, a := range p.alternatives() {
			found = append(found, a.pathsNamed(path, key)...)
		}
	}
	slices.Sort(found)
	return found
}

func join(prefix, key string) string {
	if prefix == "" {
		return key
	}
	return prefix + "." + key
}
