package conf

import (
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// walk checks a node against a rule. It returns a copy that holds only what fits, ready to decode,
// or nil if the node itself does not fit.
func (l *loader) walk(n *yaml.Node, r *rule, path string) *yaml.Node {
	if path != "" {
		l.nodes[path] = n
	}
	switch {
	case n.Kind == yaml.AliasNode:
		l.addf(n, path, "anchors and aliases are not allowed in a job file; write the value out")
		return nil
	case n.Anchor != "":
		l.addf(n, path, "anchors and aliases are not allowed in a job file; remove &%s", n.Anchor)
		return nil
	case n.Style&yaml.TaggedStyle != 0:
		l.addf(n, path, "tags such as %s are not allowed in a job file", n.ShortTag())
		return nil
	}
	for _, a := range r.alternatives() {
		if !fitsKind(n, a.Type) {
			continue
		}
		switch a.Type {
		case "object":
			return l.object(n, a, path)
		case "array":
			return l.array(n, a, path)
		case "string":
			return l.text(n, a, path)
		case "boolean":
			return n
		case "integer", "number":
			return l.number(n, a, path)
		}
	}
	l.wrongType(n, r, path)
	return nil
}

// fitsKind tells whether a node is of a JSON type. Scalars follow YAML 1.2's core schema narrowed
// to what reads the same everywhere: true and false only, decimal numbers only.
func fitsKind(n *yaml.Node, typ string) bool {
	switch typ {
	case "object":
		return n.Kind == yaml.MappingNode
	case "array":
		return n.Kind == yaml.SequenceNode
	}
	if n.Kind != yaml.ScalarNode {
		return false
	}
	switch typ {
	case "string":
		return n.Tag == "!!str" || n.Tag == "!!timestamp"
	case "boolean":
		return n.Tag == "!!bool"
	case "integer":
		return n.Tag == "!!int"
	case "number":
		return n.Tag == "!!int" || n.Tag == "!!float"
	}
	return false
}

func (l *loader) object(n *yaml.Node, r *rule, path string) *yaml.Node {
	clean := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: n.Line, Column: n.Column}
	known := slices.Sorted(maps.Keys(r.Properties))
	seen := map[string]*yaml.Node{}
	meant := map[string]bool{} // required keys that an unknown key is a misspelling of
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode || key.Tag == "!!merge" || key.Anchor != "" || key.Style&yaml.TaggedStyle != 0 {
			l.addf(key, path, "a key is a plain word here; merges, anchors, tags and nested keys are not allowed")
			continue
		}
		p := join(path, key.Value)
		if first := seen[key.Value]; first != nil {
			l.addf(key, p, "key %q appears twice; first in line %d", key.Value, first.Line)
			continue
		}
		seen[key.Value] = key
		child := r.Properties[key.Value]
		if child == nil {
			near := Nearest(key.Value, known)
			if near != "" {
				meant[near] = true
				l.bad[join(path, near)] = true // its value is there, under another name
			}
			l.unknownKey(key, path, near, known)
			continue
		}
		l.keys[p] = key
		if v := l.walk(value, child, p); v != nil {
			clean.Content = append(clean.Content, key, v)
		}
	}
	for _, want := range r.Required {
		if seen[want] != nil || meant[want] {
			continue
		}
		at := n
		if k := l.keys[path]; k != nil {
			at = k
		}
		l.addf(at, join(path, want), "missing key %q%s: %s", want, within(path), firstSentence(r.Properties[want].Description))
	}
	return clean
}

// unknownKey reports a key that the format does not have, with the nearest of its neighbours or else
// with the place where that key does belong.
func (l *loader) unknownKey(key *yaml.Node, path, near string, known []string) {
	msg := fmt.Sprintf("unknown key %q%s", key.Value, within(path))
	elsewhere := jobRules().pathsNamed("", key.Value)
	switch {
	case near != "":
		msg += fmt.Sprintf("; did you mean %q?", near)
	case len(elsewhere) == 1:
		msg += fmt.Sprintf("; it belongs at %s", elsewhere[0])
	case len(elsewhere) > 1 && len(elsewhere) <= 4:
		msg += fmt.Sprintf("; it belongs at %s", orList(elsewhere))
	case len(known) <= 13:
		msg += "; known are " + strings.Join(known, ", ")
	}
	l.addf(key, join(path, key.Value), "%s", msg)
}

func (l *loader) array(n *yaml.Node, r *rule, path string) *yaml.Node {
	clean := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Line: n.Line, Column: n.Column}
	ok := true
	if len(n.Content) < r.MinItems || r.MaxItems > 0 && len(n.Content) > r.MaxItems {
		want := fmt.Sprintf("at least %s", count(r.MinItems, "value"))
		switch {
		case r.MinItems == r.MaxItems:
			want = "exactly " + count(r.MinItems, "value")
		case len(n.Content) > r.MaxItems && r.MaxItems > 0:
			want = "at most " + count(r.MaxItems, "value")
		}
		l.addf(n, path, "%s takes %s; found %d", path, want, len(n.Content))
		ok = false
	}
	seen := map[string]int{}
	for i, item := range n.Content {
		p := fmt.Sprintf("%s[%d]", path, i)
		if r.Items.Type == "object" {
			p = join(path, strconv.Itoa(i)) // as --set takes it
		}
		v := l.walk(item, r.Items, p)
		if v == nil {
			ok = false
			continue
		}
		if first, dup := seen[v.Value]; dup && r.UniqueItems {
			l.addf(item, path, "%s lists %q twice, as value %d and %d", path, v.Value, first+1, i+1)
			ok = false
			continue
		}
		seen[v.Value] = i
		clean.Content = append(clean.Content, v)
	}
	if !ok {
		l.bad[path] = true
		return nil
	}
	return clean
}

func (l *loader) text(n *yaml.Node, r *rule, path string) *yaml.Node {
	s := n.Value
	near := Nearest(s, append(slices.Clone(r.Enum), exampleWords(r)...))
	if near != "" {
		near = fmt.Sprintf("; did you mean %q?", near)
	}
	switch {
	case s == "" && r.MinLength > 0:
		l.addf(n, path, "%s must not be empty", path)
	case len(r.Enum) == 1 && s != r.Enum[0]:
		l.addf(n, path, "%s must be %s; found %q", path, r.Enum[0], s)
	case len(r.Enum) > 0 && !slices.Contains(r.Enum, s):
		l.addf(n, path, "%s must be one of %s; found %q%s", path, strings.Join(r.Enum, ", "), s, near)
	case r.MaxLength > 0 && len([]rune(s)) > r.MaxLength:
		l.addf(n, path, "%s has %d characters; at most %d are allowed", path, len([]rune(s)), r.MaxLength)
	case r.re != nil && !r.re.MatchString(s):
		l.addf(n, path, "%s %s; found %q%s", path, r.PatternErrorMessage, s, near)
	default:
		msg := ""
		switch r.Format {
		case "uri-reference":
			msg = checkURI(s)
		case "byte-size":
			if b, err := ParseBytes(s); err != nil {
				msg = err.Error()
			} else if b == 0 {
				msg = "must be more than 0"
			}
		}
		if msg == "" {
			return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s, Line: n.Line, Column: n.Column}
		}
		l.addf(n, path, "%s: %s", path, msg)
	}
	return nil
}

func exampleWords(r *rule) []string {
	var words []string
	for _, e := range r.Examples {
		if s, ok := e.(string); ok {
			words = append(words, s)
		}
	}
	return words
}

var (
	plainInt   = regexp.MustCompile(`^[+-]?(0|[1-9][0-9]*)$`)
	plainFloat = regexp.MustCompile(`^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$`)
)

func (l *loader) number(n *yaml.Node, r *rule, path string) *yaml.Node {
	if r.Type == "integer" && !plainInt.MatchString(n.Value) {
		l.addf(n, path, "%s: write whole numbers in decimal, without leading zeros or underscores; found %s", path, n.Value)
		return nil
	}
	v, err := strconv.ParseFloat(n.Value, 64)
	if !plainFloat.MatchString(n.Value) || err != nil || math.IsInf(v, 0) || math.IsNaN(v) {
		l.addf(n, path, "%s must be a finite decimal number; found %s", path, n.Value)
		return nil
	}
	if r.Type == "integer" {
		if _, err := strconv.ParseInt(n.Value, 10, 64); err != nil {
			l.addf(n, path, "%s does not fit in 64 bits; found %s", path, n.Value)
			return nil
		}
	}
	low := r.Minimum != nil && v < *r.Minimum || r.ExclusiveMinimum != nil && v <= *r.ExclusiveMinimum
	high := r.Maximum != nil && v > *r.Maximum || r.ExclusiveMaximum != nil && v >= *r.ExclusiveMaximum
	if low || high {
		l.addf(n, path, "%s must be %s; found %s", path, rangeText(r), n.Value)
		return nil
	}
	tag := "!!float"
	if r.Type == "integer" {
		tag = "!!int"
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: n.Value, Line: n.Line, Column: n.Column}
}

func rangeText(r *rule) string {
	var parts []string
	add := func(words string, bound *float64) {
		if bound != nil {
			parts = append(parts, words+" "+strconv.FormatFloat(*bound, 'f', -1, 64))
		}
	}
	add("at least", r.Minimum)
	add("more than", r.ExclusiveMinimum)
	add("at most", r.Maximum)
	add("less than", r.ExclusiveMaximum)
	return strings.Join(parts, " and ")
}

// wrongType reports a node whose kind no alternative takes, with the usual remedy.
func (l *loader) wrongType(n *yaml.Node, r *rule, path string) {
	var want []string
	for _, a := range r.alternatives() {
		want = append(want, typeName(a))
	}
	msg := fmt.Sprintf("%s must be %s; found %s", path, orList(want), kindName(n))
	scalar := n.Kind == yaml.ScalarNode
	switch {
	case scalar && n.Tag == "!!null":
		msg = fmt.Sprintf("%s has no value; give %s or delete the line", path, orList(want))
	case scalar && r.Format == "byte-size":
		msg = fmt.Sprintf("%s %s; found %s", path, bytesPatternHelp, n.Value)
	case scalar && r.allows("string"):
		msg += fmt.Sprintf("; write %q in quotes if it is meant as text", n.Value)
	case scalar && r.allows("boolean") && slices.Contains([]string{"yes", "on", "y"}, strings.ToLower(n.Value)):
		msg += "; write true"
	case scalar && r.allows("boolean") && slices.Contains([]string{"no", "off", "n"}, strings.ToLower(n.Value)):
		msg += "; write false"
	case scalar && r.allows("array") && itemRule(r) == nil && n.Tag == "!!str":
		msg += fmt.Sprintf("; write [%s]", n.Value)
	case scalar && n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0 && (plainFloat.MatchString(n.Value) || n.Value == "true" || n.Value == "false"):
		msg += "; remove the quotes"
	}
	l.addf(n, path, "%s", msg)
}

func typeName(r *rule) string {
	switch r.Type {
	case "object":
		return "a mapping"
	case "array":
		switch {
		case r.Items != nil && r.Items.Type == "string":
			return "a list of names"
		case r.Items != nil && r.Items.Type == "object":
			return "a list of mappings"
		}
		return "a list of numbers"
	case "string":
		return "text"
	case "boolean":
		return "true or false"
	case "integer":
		return "a whole number"
	}
	return "a number"
}

func kindName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.Tag {
	case "!!null":
		return "nothing"
	case "!!bool", "!!int", "!!float":
		return n.Value
	}
	return fmt.Sprintf("text %q", n.Value)
}

func within(path string) string {
	if path == "" {
		return ""
	}
	return " in " + path
}

func orList(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func firstSentence(s string) string {
	if i := strings.Index(s, ". "); i >= 0 {
		return s[:i+1]
	}
	return s
}
