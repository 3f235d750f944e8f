package conf

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// maxFile bounds a job file; the largest sensible one is a few kilobytes.
const maxFile = 1 << 20

// Load reads a job file (name is what messages call it) and applies the overrides of --set, each
// "path=value", in order. It returns a complete job or an *Error with every problem found.
func Load(name string, data []byte, sets []string) (*Job, error) {
	l := &loader{name: name, sets: sets, nodes: map[string]*yaml.Node{}, keys: map[string]*yaml.Node{}, bad: map[string]bool{}}
	root := l.parse(data)
	if root == nil {
		return nil, newError(name, l.problems)
	}
	for i, s := range sets {
		l.override(root, i, s)
	}
	job := l.job(root)
	if len(l.problems) > 0 {
		return nil, newError(name, l.problems)
	}
	job.origins = l.origins(job)
	return job, nil
}

// loader is the state of one Load.
type loader struct {
	name     string
	lines    []string
	sets     []string
	problems []Problem
	nodes    map[string]*yaml.Node // accepted and refused values by dotted path
	keys     map[string]*yaml.Node // their keys
	bad      map[string]bool       // paths with a problem; rules between keys leave them alone
}

// addf reports a problem at a node. Nodes that come from an override carry its number in a negative Line.
func (l *loader) addf(n *yaml.Node, path, format string, args ...any) {
	p := Problem{Line: n.Line, Column: max(1, n.Column), Path: path, Message: fmt.Sprintf(format, args...)}
	if n.Line < 0 {
		p.order = -n.Line
		if p.Set = l.sets[-n.Line-1]; p.Set == "" {
			p.Set = `""` // an override, but an empty one
		}
		p.Excerpt, p.Line = p.Set, 0
	} else if n.Line > 0 && n.Line <= len(l.lines) {
		p.Excerpt = l.lines[n.Line-1]
	}
	p.Message = clean(p.Message)
	l.problems = append(l.problems, p)
	l.bad[path] = true
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(?s:(.*))$`)

// parse returns the root mapping, or nil with a problem reported.
func (l *loader) parse(data []byte) *yaml.Node {
	if len(data) > maxFile {
		l.addf(&yaml.Node{Line: 1, Column: 1}, "", "the file has %d bytes; a job file has at most %d", len(data), maxFile)
		return nil
	}
	l.lines = strings.Split(strings.ReplaceAll(string(bytes.TrimPrefix(data, []byte("\ufeff"))), "\r\n", "\n"), "\n")
	if !l.readable() {
		return nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			l.addf(&yaml.Node{Line: 1, Column: 1}, "", "the file is empty; vista-mr init writes an example")
		} else {
			l.syntax(err)
		}
		return nil
	}
	if err := dec.Decode(&second); err == nil {
		l.addf(&second, "", "a second document starts here; a job file holds one")
		return nil
	} else if !errors.Is(err, io.EOF) {
		l.syntax(err)
		return nil
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		l.addf(&yaml.Node{Line: 1, Column: 1}, "", "the file holds no key; vista-mr init writes an example")
		return nil
	}
	if root.Kind != yaml.MappingNode {
		l.addf(root, "", "a job file is a mapping (key: value); found %s", kindName(root))
		return nil
	}
	return root
}

// readable reports the first character that is not text; the YAML parser would not say where it is.
func (l *loader) readable() bool {
	for i, s := range l.lines {
		column := 0
		for len(s) > 0 {
			r, size := utf8.DecodeRuneInString(s)
			column++
			switch {
			case r == utf8.RuneError && size == 1:
				l.addf(&yaml.Node{Line: i + 1, Column: column}, "", "this is not UTF-8 text (byte 0x%02X)", s[0])
				return false
			case unicode.IsControl(r) && r != '\t' && r != '\r':
				l.addf(&yaml.Node{Line: i + 1, Column: column}, "", "control character %U is not allowed", r)
				return false
			}
			s = s[size:]
		}
	}
	return true
}

var (
	// The parser counts lines from 0 in these messages and from 1 in all others.
	fromZero    = regexp.MustCompile(`^did not find expected (key|'-' indicator|',' or '[]}]'|node content|<document start>)`)
	leadingTab  = regexp.MustCompile(`^ *\t`)
	anchorInErr = regexp.MustCompile(`anchor '([^']*)'`)
)

// syntax reports what the YAML parser refused. The parser names a line at best, so the column is
// that of the line's first character, or of the thing named in the message where it can be found.
func (l *loader) syntax(err error) {
	line, msg := 1, err.Error()
	if m := yamlLine.FindStringSubmatch(msg); m != nil {
		msg = m[2]
		if n, err := strconv.Atoi(m[1]); err == nil {
			if fromZero.MatchString(msg) {
				n++
			}
			line = min(n, len(l.lines))
		}
	}
	if m := anchorInErr.FindStringSubmatch(msg); m != nil {
		for i, s := range l.lines {
			if c := strings.Index(s, "*"+m[1]); c >= 0 {
				l.addf(&yaml.Node{Line: i + 1, Column: len([]rune(s[:c])) + 1}, "", "anchors and aliases are not allowed in a job file; write the value out")
				return
			}
		}
	}
	for i, s := range l.lines {
		if m := leadingTab.FindString(s); m != "" && strings.TrimSpace(s) != "" && i+1 >= line-1 && i+1 <= line+1 {
			l.addf(&yaml.Node{Line: i + 1, Column: len(m)}, "", "a tab cannot indent YAML; use spaces")
			return
		}
	}
	if line < 1 {
		line = 1
	}
	text := l.lines[line-1]
	column := len(text) - len(strings.TrimLeft(text, " \t")) + 1
	if i := strings.Index(text, ": "); i >= 0 && strings.HasPrefix(msg, "mapping values are not allowed") {
		if k := strings.Index(text[i+2:], ": "); k >= 0 {
			l.addf(&yaml.Node{Line: line, Column: len([]rune(text[:i+2+k])) + 1}, "", "a second colon in the line; put the value in quotes")
			return
		}
	}
	l.addf(&yaml.Node{Line: line, Column: column}, "", "not valid YAML at or after this line: %s", msg)
}

// override writes one --set into the tree. The value's type follows the schema: text needs no
// quotes, and a list may be written a,b,c.
func (l *loader) override(root *yaml.Node, i int, set string) {
	at := &yaml.Node{Line: -(i + 1), Column: 1}
	path, value, ok := strings.Cut(set, "=")
	path = strings.TrimSpace(path)
	if !ok || path == "" {
		l.addf(at, "", "--set takes path=value, for example plan.inference=lazy")
		return
	}
	parts := strings.Split(path, ".")
	node, r, column := root, jobRules(), 1
	for k, part := range parts {
		key := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: part, Line: at.Line, Column: column}
		column += len([]rune(part)) + 1
		number, notNumber := strconv.Atoi(part)
		if node.Kind == yaml.SequenceNode {
			if notNumber != nil || number < 0 || number >= len(node.Content) {
				list := strings.Join(parts[:k], ".")
				l.addf(key, list, "%s is a list of %d here; write %s.0 to %s.%d for one of them", list, len(node.Content), list, list, len(node.Content)-1)
				return
			}
			r = itemRule(r)
			child := node.Content[number]
			if k == len(parts)-1 {
				child = setValue(r, value)
				mark(child, at.Line, column-1)
			} else if child.Kind != yaml.MappingNode {
				l.addf(key, strings.Join(parts[:k+1], "."), "%s holds no further keys", strings.Join(parts[:k+1], "."))
				return
			}
			node.Content[number], node = child, child
			continue
		}
		if notNumber == nil && k > 0 && itemRule(r) != nil {
			single := strings.Join(parts[:k], ".")
			l.addf(key, single, "%s is no list here; write %s", single, strings.Join(append([]string{single}, parts[k+1:]...), "."))
			return
		}
		r = childRule(r, part)
		var child *yaml.Node
		pos := -1
		for j := 0; j+1 < len(node.Content); j += 2 {
			if node.Content[j].Value == part {
				child, pos = node.Content[j+1], j+1
			}
		}
		if k == len(parts)-1 {
			child = setValue(r, value)
			mark(child, at.Line, column-1)
		} else if child == nil || child.Kind != yaml.MappingNode && (child.Kind != yaml.SequenceNode || itemRule(r) == nil) {
			if child != nil && child.Kind != yaml.ScalarNode || r != nil && !r.allows("object") {
				l.addf(key, strings.Join(parts[:k+1], "."), "%s holds no further keys", strings.Join(parts[:k+1], "."))
				return
			}
			child = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: at.Line, Column: column}
		}
		if pos >= 0 {
			node.Content[pos-1], node.Content[pos] = keyFor(node.Content[pos-1], key, child), child
		} else {
			node.Content = append(node.Content, key, child)
		}
		node = child
	}
}

// keyFor keeps the file's key where the file's mapping is kept, so that messages about it show the file.
func keyFor(old, set, child *yaml.Node) *yaml.Node {
	if child.Line >= 0 {
		return old
	}
	return set
}

func childRule(r *rule, key string) *rule {
	if r == nil {
		return nil
	}
	for _, a := range r.alternatives() {
		if p := a.Properties[key]; p != nil {
			return p
		}
	}
	return nil
}

// itemRule is the rule for the mappings of a list; nil: r has no such list.
func itemRule(r *rule) *rule {
	if r == nil {
		return nil
	}
	for _, a := range r.alternatives() {
		if a.Items != nil && a.Items.Type == "object" {
			return a.Items
		}
	}
	return nil
}

// setValue makes the node of an override's value.
func setValue(r *rule, value string) *yaml.Node {
	text := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value}
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(value), &doc); err != nil || len(doc.Content) != 1 {
		// Empty, a comment, or not YAML: "reuse=" clears a text, "table.features=" a list.
		if value == "" && r != nil && r.allows("array") {
			return &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		}
		return text
	}
	v := doc.Content[0]
	switch {
	case r == nil:
		return v
	case r.allows("string") && (v.Kind == yaml.ScalarNode || len(r.alternatives()) == 1):
		return text
	case v.Kind != yaml.ScalarNode:
		return v
	}
	if r.allows("array") && (v.Tag == "!!str" || !r.allows("integer")) {
		list := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		for _, part := range strings.Split(value, ",") {
			item := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: strings.TrimSpace(part)}
			for _, a := range r.alternatives() {
				if a.Items != nil && a.Items.Type != "string" {
					var d yaml.Node
					if err := yaml.Unmarshal([]byte(part), &d); err == nil && len(d.Content) == 1 {
						item = d.Content[0]
					}
				}
			}
			list.Content = append(list.Content, item)
		}
		return list
	}
	return v
}

// mark gives a value's nodes the place of the override they come from.
func mark(n *yaml.Node, line, column int) {
	if n.Line <= 0 || n.Column <= 0 {
		n.Column = 1
	}
	n.Line, n.Column = line, column+n.Column
	for _, c := range n.Content {
		mark(c, line, column)
	}
}

// job walks, decodes and cross-checks the tree.
func (l *loader) job(root *yaml.Node) *Job {
	job := Defaults()
	clean := l.walk(root, jobRules(), "")
	if clean == nil {
		return nil
	}
	if err := clean.Decode(job); err != nil {
		// The walk has accepted the value and the decoder has not: say so rather than guess.
		l.addf(root, "", "%v", err)
		return nil
	}
	l.check(job)
	return job
}

// origins lists every leaf of the job with where its value came from.
func (l *loader) origins(job *Job) []Origin {
	var list []Origin
	var visit func(v reflect.Value, prefix string)
	visit = func(v reflect.Value, prefix string) {
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if !f.IsExported() {
				continue
			}
			path := join(prefix, f.Tag.Get("yaml"))
			if f.Type == reflect.TypeFor[CNNs]() {
				for i := range job.CNN {
					visit(reflect.ValueOf(job.CNN[i]), strings.TrimSuffix(job.CNN[i].Key(""), "."))
				}
				continue
			}
			if f.Type.Kind() == reflect.Struct && !reflect.PointerTo(f.Type).Implements(reflect.TypeFor[yaml.Unmarshaler]()) {
				visit(v.Field(i), path)
				continue
			}
			list = append(list, l.origin(path, v.Field(i)))
		}
	}
	visit(reflect.ValueOf(job).Elem(), "")
	return list
}

func (l *loader) origin(path string, v reflect.Value) Origin {
	o := Origin{Path: path, From: "default"}
	if n := l.nodes[path]; n != nil {
		o.From, o.Line = "file", n.Line
		if n.Line < 0 {
			o.From, o.Line = "set", 0
		}
	}
	if z, ok := v.Interface().(interface{ IsZero() bool }); ok && z.IsZero() || o.From == "default" && v.IsZero() && leftOpen(path) {
		return o
	}
	o.Value = v.Interface()
	return o
}

// leftOpen tells whether the zero value of a key means that somebody else decides it.
func leftOpen(path string) bool {
	return strings.HasPrefix(path, "plan.") || strings.HasPrefix(path, "downstream.grid.") || path == "limits.memory" ||
		strings.HasPrefix(path, "cnn.") && strings.HasSuffix(path, ".name")
}
