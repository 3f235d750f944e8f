package onnx

import "io"

// Model is one ModelProto. Its parts may be shared with other models: treat tensors as read-only.
type Model struct {
	IRVersion       int64
	Producer        string
	ProducerVersion string
	Domain          string
	Version         int64
	Doc             string
	Opsets          []Opset
	Graph           *Graph
	Functions       []*Function
	Metadata        []Entry
	unknown         []byte
	known, stated   map[string]Shape // see Prepare
}

// Opset names the version of one operator set; Domain "" is ONNX's own.
type Opset struct {
	Domain  string
	Version int64
}

// Entry is a key with a value, as metadata and external-data lists hold them.
type Entry struct{ Key, Value string }

// Graph is one GraphProto: nodes in topological order, with weights.
type Graph struct {
	Name         string
	Doc          string
	Nodes        []*Node
	Initializers []*Tensor
	Inputs       []*ValueInfo
	Outputs      []*ValueInfo
	Values       []*ValueInfo // types of inner tensors, where the file states them
	unknown      []byte
}

// Node applies one operator. An empty name among Inputs is an optional input left out.
type Node struct {
	Name     string
	OpType   string
	Domain   string
	Overload string
	Doc      string
	Inputs   []string
	Outputs  []string
	Attrs    []*Attr
	Metadata []Entry
	unknown  []byte
}

// AttrType says which field of an Attr holds its value (AttributeProto.AttributeType).
type AttrType int32

// The attribute types that are used here; others pass through as unknown fields.
const (
	AttrFloat   AttrType = 1
	AttrInt     AttrType = 2
	AttrString  AttrType = 3
	AttrTensor  AttrType = 4
	AttrGraph   AttrType = 5
	AttrFloats  AttrType = 6
	AttrInts    AttrType = 7
	AttrStrings AttrType = 8
	AttrTensors AttrType = 9
	AttrGraphs  AttrType = 10
)

// Attr is one AttributeProto. Ref names the attribute of the enclosing function that stands for it.
type Attr struct {
	Name    string
	Ref     string
	Doc     string
	Type    AttrType
	F       float32
	I       int64
	S       []byte
	T       *Tensor
	G       *Graph
	Floats  []float32
	Ints    []int64
	Strings [][]byte
	Tensors []*Tensor
	Graphs  []*Graph
	unknown []byte
}

// Function is a FunctionProto: a node type defined by nodes.
type Function struct {
	Name       string
	Domain     string
	Overload   string
	Doc        string
	Inputs     []string
	Outputs    []string
	AttrNames  []string
	AttrValues []*Attr // attributes with default values
	Nodes      []*Node
	Opsets     []Opset
	unknown    []byte
}

// Elem is a tensor's element type (TensorProto.DataType).
type Elem int32

// Element types by their numbers in the format.
const (
	Undefined  Elem = 0
	Float32    Elem = 1
	Uint8      Elem = 2
	Int8       Elem = 3
	Uint16     Elem = 4
	Int16      Elem = 5
	Int32      Elem = 6
	Int64      Elem = 7
	String     Elem = 8
	Bool       Elem = 9
	Float16    Elem = 10
	Float64    Elem = 11
	Uint32     Elem = 12
	Uint64     Elem = 13
	Complex64  Elem = 14
	Complex128 Elem = 15
	BFloat16   Elem = 16
)

// Size returns the bytes of one element; 0 for strings and for types packed below a byte.
func (e Elem) Size() int {
	switch e {
	case Uint8, Int8, Bool, 17, 18, 19, 20, 24:
		return 1
	case Uint16, Int16, Float16, BFloat16:
		return 2
	case Float32, Int32, Uint32:
		return 4
	case Float64, Int64, Uint64, Complex64:
		return 8
	case Complex128:
		return 16
	}
	return 0
}

var elemNames = map[Elem]string{
	Float32: "float32", Uint8: "uint8", Int8: "int8", Uint16: "uint16", Int16: "int16", Int32: "int32", Int64: "int64",
	String: "string", Bool: "bool", Float16: "float16", Float64: "float64", Uint32: "uint32", Uint64: "uint64",
	Complex64: "complex64", Complex128: "complex128", BFloat16: "bfloat16", 17: "float8e4m3fn", 18: "float8e4m3fnuz",
	19: "float8e5m2", 20: "float8e5m2fnuz", 21: "uint4", 22: "int4", 23: "float4e2m1", 24: "float8e8m0",
}

// String returns the type's usual name.
func (e Elem) String() string {
	if s, ok := elemNames[e]; ok {
		return s
	}
	return "undefined"
}

// Tensor is one TensorProto: a constant. Raw holds its elements little-endian, row-major, however the
// file stored them; it is nil while the data lies in External, and for strings.
type Tensor struct {
	Name     string
	Doc      string
	Dims     []int64
	Type     Elem
	Raw      []byte
	Strings  [][]byte
	External *External
	Metadata []Entry
	from     *io.SectionReader // its elements while an Attached model is written
	unknown  []byte
}

// External says where a tensor's bytes lie outside the model file. Length 0 means: to the end.
type External struct {
	Location string
	Offset   int64
	Length   int64
	Extra    []Entry // keys other than these, checksum for instance
}

// ValueInfo names and types an input, an output or an inner tensor. Shape is nil when HasShape is
// false; a scalar has HasShape and no dimensions. Values that are not tensors keep their type in
// unknown bytes and have Type Undefined.
type ValueInfo struct {
	Name     string
	Doc      string
	Type     Elem
	HasShape bool
	Shape    []Dim
	Metadata []Entry
	rawType  []byte // TypeProto, when it is not a plain tensor type
	unknown  []byte
}

// Dim is one dimension: a size, or a name for a size not known (Symbol), or neither (Size -1).
type Dim struct {
	Size   int64
	Symbol string
}

// Fixed returns dimensions with the given sizes.
func Fixed(sizes ...int64) []Dim {
	d := make([]Dim, len(sizes))
	for i, s := range sizes {
		d[i] = Dim{Size: s}
	}
	return d
}

// NewValue describes a tensor value.
func NewValue(name string, elem Elem, shape ...Dim) *ValueInfo {
	return &ValueInfo{Name: name, Type: elem, HasShape: true, Shape: shape}
}

// Attr returns the attribute with the given name, or nil.
func (n *Node) Attr(name string) *Attr {
	for _, a := range n.Attrs {
		if a.Name == name {
			return a
		}
	}
	return nil
}

// Int returns an integer attribute, or def when the node has none.
func (n *Node) Int(name string, def int64) int64 {
	if a := n.Attr(name); a != nil && a.Type == AttrInt {
		return a.I
	}
	return def
}

// Float returns a float attribute, or def when the node has none.
func (n *Node) Float(name string, def float32) float32 {
	if a := n.Attr(name); a != nil && a.Type == AttrFloat {
		return a.F
	}
	return def
}

// Ints returns an integer list attribute, or nil when the node has none.
func (n *Node) Ints(name string) []int64 {
	if a := n.Attr(name); a != nil && a.Type == AttrInts {
		return a.Ints
	}
	return nil
}

// Text returns a string attribute, or def when the node has none.
func (n *Node) Text(name, def string) string {
	if a := n.Attr(name); a != nil && a.Type == AttrString {
		return string(a.S)
	}
	return def
}

// NewNode makes a node of ONNX's own operator set.
func NewNode(op, name string, inputs, outputs []string, attrs ...*Attr) *Node {
	return &Node{OpType: op, Name: name, Inputs: inputs, Outputs: outputs, Attrs: attrs}
}

// IntAttr makes an integer attribute.
func IntAttr(name string, v int64) *Attr { return &Attr{Name: name, Type: AttrInt, I: v} }

// FloatAttr makes a float attribute.
func FloatAttr(name string, v float32) *Attr { return &Attr{Name: name, Type: AttrFloat, F: v} }

// IntsAttr makes an integer list attribute.
func IntsAttr(name string, v ...int64) *Attr { return &Attr{Name: name, Type: AttrInts, Ints: v} }

// TextAttr makes a string attribute.
func TextAttr(name, v string) *Attr { return &Attr{Name: name, Type: AttrString, S: []byte(v)} }

// TensorAttr makes a tensor attribute.
func TensorAttr(name string, t *Tensor) *Attr { return &Attr{Name: name, Type: AttrTensor, T: t} }

// OpsetVersion returns the version of ONNX's own operators that the model uses; 0 if it names none.
func (m *Model) OpsetVersion() int64 {
	for _, o := range m.Opsets {
		if o.Domain == "" || o.Domain == "ai.onnx" {
			return o.Version
		}
	}
	return 0
}

// Error is a model that cannot be read, analysed or cut. Users meet it under the id E-MODEL.
type Error struct {
	Msg  string
	Node string // name or type of the node concerned, if one is
	Do   string // what to do next
}

// Error describes the failure, with the node that it is about.
func (e *Error) Error() string {
	if e.Node != "" {
		return "ONNX model: node " + e.Node + ": " + e.Msg
	}
	return "ONNX model: " + e.Msg
}

// ErrorID is the stable id under which users meet this error.
func (e *Error) ErrorID() string { return "E-MODEL" }

// Hint says what to do next.
func (e *Error) Hint() string {
	if e.Do != "" {
		return e.Do
	}
	return "check the file with onnx.checker, or export the model again"
}
