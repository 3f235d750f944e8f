package onnx

import (
	"encoding/binary"
	"io"
	"slices"
	"strconv"
)

// WriteTo writes the model as a ModelProto. Weights go straight from their slices to w: the memory this
// takes does not depend on their size. It implements io.WriterTo.
func (m *Model) WriteTo(w io.Writer) (int64, error) {
	var e encoder
	m.encode(&e)
	return e.writeTo(w)
}

// Marshal returns the model's bytes: one copy of the weights.
func (m *Model) Marshal() []byte {
	var e encoder
	m.encode(&e)
	e.flush()
	out := make([]byte, 0, e.size)
	for _, s := range e.segs {
		out = append(out, s.b...) // only an Attached model has pieces in files
	}
	return out
}

// Size returns the length of Marshal's result without making it.
func (m *Model) Size() int64 {
	var e encoder
	m.encode(&e)
	return e.len()
}

func (m *Model) encode(e *encoder) {
	e.int(1, m.IRVersion)
	e.text(2, m.Producer)
	e.text(3, m.ProducerVersion)
	e.text(4, m.Domain)
	e.int(5, m.Version)
	e.text(6, m.Doc)
	if m.Graph != nil {
		e.message(7, m.Graph.encode)
	}
	for _, o := range m.Opsets {
		e.message(8, o.encode)
	}
	entries(e, 14, m.Metadata)
	for _, f := range m.Functions {
		e.message(25, f.encode)
	}
	e.raw(m.unknown)
}

func (o Opset) encode(e *encoder) {
	e.text(1, o.Domain)
	e.int(2, o.Version)
}

func entries(e *encoder, num int, list []Entry) {
	for _, x := range list {
		e.message(num, func(e *encoder) {
			e.text(1, x.Key)
			e.text(2, x.Value)
		})
	}
}

func (g *Graph) encode(e *encoder) {
	for _, n := range g.Nodes {
		e.message(1, n.encode)
	}
	e.text(2, g.Name)
	for _, t := range g.Initializers {
		e.message(5, t.encode)
	}
	e.text(10, g.Doc)
	for _, v := range g.Inputs {
		e.message(11, v.encode)
	}
	for _, v := range g.Outputs {
		e.message(12, v.encode)
	}
	for _, v := range g.Values {
		e.message(13, v.encode)
	}
	e.raw(g.unknown)
}

func (n *Node) encode(e *encoder) {
	e.texts(1, n.Inputs)
	e.texts(2, n.Outputs)
	e.text(3, n.Name)
	e.text(4, n.OpType)
	for _, a := range n.Attrs {
		e.message(5, a.encode)
	}
	e.text(6, n.Doc)
	e.text(7, n.Domain)
	e.text(8, n.Overload)
	entries(e, 9, n.Metadata)
	e.raw(n.unknown)
}

func (a *Attr) encode(e *encoder) {
	e.text(1, a.Name)
	if a.Ref == "" {
		switch a.Type {
		case AttrFloat:
			e.float(2, a.F)
		case AttrInt:
			e.tag(3, wireVarint)
			e.cur = binary.AppendUvarint(e.cur, uint64(a.I))
		case AttrString:
			e.bytes(4, a.S)
		case AttrTensor:
			if a.T != nil {
				e.message(5, a.T.encode)
			}
		case AttrGraph:
			if a.G != nil {
				e.message(6, a.G.encode)
			}
		}
	}
	e.floats(7, a.Floats)
	e.ints(8, a.Ints)
	for _, s := range a.Strings {
		e.bytes(9, s)
	}
	for _, t := range a.Tensors {
		e.message(10, t.encode)
	}
	for _, g := range a.Graphs {
		e.message(11, g.encode)
	}
	e.text(13, a.Doc)
	e.int(20, int64(a.Type))
	e.text(21, a.Ref)
	e.raw(a.unknown)
}

func (f *Function) encode(e *encoder) {
	e.text(1, f.Name)
	e.texts(4, f.Inputs)
	e.texts(5, f.Outputs)
	e.texts(6, f.AttrNames)
	for _, n := range f.Nodes {
		e.message(7, n.encode)
	}
	e.text(8, f.Doc)
	for _, o := range f.Opsets {
		e.message(9, o.encode)
	}
	e.text(10, f.Domain)
	for _, a := range f.AttrValues {
		e.message(11, a.encode)
	}
	e.text(13, f.Overload)
	e.raw(f.unknown)
}

func (t *Tensor) encode(e *encoder) {
	e.ints(1, t.Dims)
	e.int(2, int64(t.Type))
	for _, s := range t.Strings {
		e.bytes(6, s)
	}
	e.text(8, t.Name)
	switch {
	case t.from != nil:
		e.tag(9, wireBytes)
		e.cur = binary.AppendUvarint(e.cur, uint64(t.from.Size()))
		e.section(t.from)
	case t.External == nil && t.Type != String:
		e.bytes(9, t.Raw)
	}
	e.text(12, t.Doc)
	if x := t.External; x != nil {
		list := []Entry{{"location", x.Location}}
		if x.Offset != 0 {
			list = append(list, Entry{"offset", strconv.FormatInt(x.Offset, 10)})
		}
		if x.Length != 0 {
			list = append(list, Entry{"length", strconv.FormatInt(x.Length, 10)})
		}
		entries(e, 13, slices.Concat(list, x.Extra))
		e.int(14, 1)
	}
	entries(e, 16, t.Metadata)
	e.raw(t.unknown)
}

func (v *ValueInfo) encode(e *encoder) {
	e.text(1, v.Name)
	switch {
	case v.rawType != nil:
		e.bytes(2, v.rawType)
	case v.Type != Undefined:
		e.message(2, func(e *encoder) {
			e.message(1, func(e *encoder) {
				e.int(1, int64(v.Type))
				if !v.HasShape {
					return
				}
				e.message(2, func(e *encoder) {
					for _, d := range v.Shape {
						e.message(1, d.encode)
					}
				})
			})
		})
	}
	e.text(3, v.Doc)
	entries(e, 4, v.Metadata)
	e.raw(v.unknown)
}

func (d Dim) encode(e *encoder) {
	switch {
	case d.Symbol != "":
		e.text(2, d.Symbol)
	case d.Size >= 0:
		e.tag(1, wireVarint)
		e.cur = binary.AppendUvarint(e.cur, uint64(d.Size))
	}
}
