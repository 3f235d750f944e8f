package preprocess

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
)

// maxFile bounds the JSON files that are read: real ones have a few hundred bytes, timm's with all label
// names some hundred KiB.
const maxFile = 1 << 20

// object is a JSON object that is asked for one key after the other. What is wrong with values is collected,
// and so are keys that nobody asked for.
type object struct {
	keys     map[string]json.RawMessage
	used     map[string]bool
	prefix   string
	problems *[]string
}

// parse reads the outermost object of a file.
func parse(data []byte) (*object, error) {
	if len(data) > maxFile {
		return nil, wrong("", "the file has %d bytes, at most %d are read", len(data), maxFile)
	}
	var problems []string
	o, err := newObject(data, "", &problems)
	if err != nil {
		return nil, wrong("give the preprocessor_config.json of a Hugging Face model, or timm's config.json or data config", "the file is no JSON object: %v", err)
	}
	return o, nil
}

// newObject reads the keys one by one, so that one given twice is found.
func newObject(data []byte, prefix string, problems *[]string) (*object, error) {
	o := &object{keys: map[string]json.RawMessage{}, used: map[string]bool{}, prefix: prefix, problems: problems}
	if !json.Valid(data) { // also what follows the object
		var v any
		return nil, json.Unmarshal(data, &v)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return nil, fmt.Errorf("it begins with %.20q", data)
	}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, _ := tok.(string)
		var v json.RawMessage
		if err := dec.Decode(&v); err != nil {
			return nil, err
		}
		if _, twice := o.keys[name]; twice {
			o.fail(name, "is there twice")
		}
		o.keys[name] = v
	}
	return o, nil
}

func (o *object) fail(key, format string, a ...any) {
	*o.problems = append(*o.problems, o.prefix+key+" "+fmt.Sprintf(format, a...))
}

// has says whether a key is there with a value other than null, and counts it as asked for.
func (o *object) has(key string) bool {
	o.used[key] = true
	v, ok := o.keys[key]
	return ok && string(v) != "null"
}

// text shows a value in a message.
func (o *object) text(key string) string {
	s := string(o.keys[key])
	if len(s) > 40 {
		s = strings.ToValidUTF8(s[:40], "") + "..."
	}
	return s
}

func (o *object) bool(key string, def bool) bool {
	if !o.has(key) {
		return def
	}
	var v bool
	if json.Unmarshal(o.keys[key], &v) != nil {
		o.fail(key, "must be true or false, not %s", o.text(key))
	}
	return v
}

func (o *object) string(key, def string) string {
	if !o.has(key) {
		return def
	}
	var v string
	if json.Unmarshal(o.keys[key], &v) != nil {
		o.fail(key, "must be text, not %s", o.text(key))
	}
	return v
}

// number reads a finite positive number.
func (o *object) number(key string, def float64) float64 {
	if !o.has(key) {
		return def
	}
	var v float64
	if json.Unmarshal(o.keys[key], &v) != nil || v <= 0 || math.IsInf(v, 0) {
		o.fail(key, "must be a positive number, not %s", o.text(key))
		return def
	}
	return v
}

// maxSide bounds sides, as package image does.
const maxSide = 4096

// side reads a length in pixels.
func (o *object) side(key string) int {
	v := o.number(key, 1)
	if v != math.Trunc(v) || v > maxSide {
		o.fail(key, "must be a whole number of pixels up to %d, not %s", maxSide, o.text(key))
		return 1
	}
	return int(v)
}

// isNumber says whether a value is a number.
func (o *object) isNumber(key string) bool {
	var v float64
	return o.has(key) && json.Unmarshal(o.keys[key], &v) == nil
}

// rectangle reads a height and a width, or one number for both.
func (o *object) rectangle(key string) (h, w int) {
	switch {
	case !o.has(key):
		o.fail(key, "is missing")
		return 1, 1
	case o.isNumber(key):
		h = o.side(key)
		return h, h
	}
	in := o.object(key)
	for _, k := range []string{"height", "width"} {
		if !in.has(k) {
			in.fail(k, "is missing")
		}
	}
	h, w = in.side("height"), in.side("width")
	in.rest()
	return h, w
}

// numbers reads a list of n numbers.
func (o *object) numbers(key string, n int, positive bool, def []float64) []float64 {
	if !o.has(key) {
		return def
	}
	var v []float64
	if json.Unmarshal(o.keys[key], &v) != nil || len(v) != n {
		o.fail(key, "must be a list of %d numbers, not %s", n, o.text(key))
		return make([]float64, n)
	}
	if positive && slices.ContainsFunc(v, func(x float64) bool { return float32(x) <= 0 }) || slices.ContainsFunc(v, func(x float64) bool { return math.Abs(x) > 1e6 }) {
		o.fail(key, "is out of range: %s", o.text(key))
	}
	return v
}

// object reads an object inside this one.
func (o *object) object(key string) *object {
	o.used[key] = true
	inner, err := newObject(o.keys[key], o.prefix+key+".", o.problems)
	if err != nil {
		o.fail(key, "must be an object, not %s", o.text(key))
		return &object{keys: map[string]json.RawMessage{}, used: map[string]bool{}, prefix: o.prefix + key + ".", problems: o.problems}
	}
	return inner
}

// only refuses a key whose value is none of those that change nothing.
func (o *object) only(key string, fine ...string) {
	if o.has(key) && !slices.Contains(fine, string(o.keys[key])) {
		o.fail(key, "is %s, which is not supported", o.text(key))
	}
}

// ignore counts keys as asked for that say nothing about pixels.
func (o *object) ignore(keys ...string) {
	for _, k := range keys {
		o.used[k] = true
	}
}

// rest refuses the keys that nobody has asked for.
func (o *object) rest() {
	var unknown []string
	for k := range o.keys {
		if !o.used[k] {
			unknown = append(unknown, k)
		}
	}
	slices.Sort(unknown)
	for _, k := range unknown {
		o.fail(k, "is not known: %s", o.text(k))
	}
}
