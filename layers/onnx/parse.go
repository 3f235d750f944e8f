package onnx

import (
	"bytes"
	"encoding/binary"
	"math"
)

// Parse reads a ModelProto. The model refers to data, which must not change as long as the model or
// anything cut from it is used.
func Parse(data []byte) (*Model, error) {
	m := &Model{}
	d := newDecoder(data)
	if err := d.each(m.field); err != nil {
		if what := Stray(data); what != "" {
			return nil, &Error{Msg: "this is " + what, Do: StrayAdvice}
		}
		return nil, err
	}
	if m.Graph == nil {
		return nil, &Error{Msg: "there is no graph in it", Do: "is this an ONNX file? A model exported with torch.onnx.export or tf2onnx is"}
	}
	return m, nil
}

// StrayAdvice helps with what Stray names.
const StrayAdvice = "fetch the file itself: `git lfs pull`, or a download that follows links"

// Stray names what is often found in the place of a large file; "" if data is none of it.
func Stray(data []byte) string {
	head := bytes.ToLower(bytes.TrimLeft(data[:min(len(data), 256)], " \t\r\n"))
	switch {
	case bytes.HasPrefix(head, []byte("version https://git-lfs")):
		return "a Git LFS pointer, and not the file that it stands for"
	case bytes.HasPrefix(head, []byte("<!doctype html")), bytes.HasPrefix(head, []byte("<html")):
		return "an HTML page"
	}
	return ""
}

// each calls fn for every field of the message. What fn does not take goes to the *[]byte it returns.
func (d *decoder) each(fn func(d *decoder, f field) (unknown *[]byte, err error)) error {
	for {
		f, ok, err := d.next()
		if err != nil || !ok {
			return err
		}
		unknown, err := fn(d, f)
		if err != nil {
			return err
		}
		if unknown != nil {
			*unknown = append(*unknown, f.raw...)
		}
	}
}

// message decodes field f with fn, one level deeper.
func (d *decoder) message(f field, fn func(d *decoder, f field) (*[]byte, error)) error {
	sub, err := d.sub(f)
	if err != nil {
		return err
	}
	return sub.each(fn)
}

func setText(f field, dst *string) (*[]byte, error) {
	s, err := f.text()
	*dst = s
	return nil, err
}

func setInt(f field, dst *int64) (*[]byte, error) {
	v, err := f.int()
	*dst = v
	return nil, err
}

func addText(f field, dst *[]string) (*[]byte, error) {
	s, err := f.text()
	*dst = append(*dst, s)
	return nil, err
}

func addEntry(d *decoder, f field, dst *[]Entry) (*[]byte, error) {
	var e Entry
	err := d.message(f, func(d *decoder, f field) (*[]byte, error) {
		switch f.num {
		case 1:
			return setText(f, &e.Key)
		case 2:
			return setText(f, &e.Value)
		}
		return nil, nil
	})
	*dst = append(*dst, e)
	return nil, err
}

func (m *Model) field(d *decoder, f field) (*[]byte, error) {
	switch f.num {
	case 1:
		return setInt(f, &m.IRVersion)
	case 2:
		return setText(f, &m.Producer)
	case 3:
		return setText(f, &m.ProducerVersion)
	case 4:
		return setText(f, &m.Domain)
	case 5:
		return setInt(f, &m.Version)
	case 6:
		return setText(f, &m.Doc)
	case 7:
		// A message that occurs twice is merged, as protocol buffers demand.
		if m.Graph == nil {
			m.Graph = &Graph{}
		}
		return nil, d.message(f, m.Graph.field)
	case 8:
		return nil, addOpset(d, f, &m.Opsets)
	case 14:
		return addEntry(d, f, &m.Metadata)
	case 25:
		fn := &Function{}
		m.Functions = append(m.Functions, fn)
		return nil, d.message(f, fn.field)
	}
	return &m.unknown, nil
}

func addOpset(d *decoder, f field, dst *[]Opset) error {
	var o Opset
	err := d.message(f, func(d *decoder, f field) (*[]byte, error) {
		switch f.num {
		case 1:
			return setText(f, &o.Domain)
		case 2:
			return setInt(f, &o.Version)
		}
		return nil, nil
	})
	*dst = append(*dst, o)
	return err
}

func (g *Graph) field(d *decoder, f field) (*[]byte, error) {
	switch f.num {
	case 1:
		n := &Node{}
		g.Nodes = append(g.Nodes, n)
		return nil, d.message(f, n.field)
	case 2:
		return setText(f, &g.Name)
	case 5:
		return nil, addTensor(d, f, &g.Initializers)
	case 10:
		return setText(f, &g.Doc)
	case 11:
		return nil, addValue(d, f, &g.Inputs)
	case 12:
		return nil, addValue(d, f, &g.Outputs)
	case 13:
		return nil, addValue(d, f, &g.Values)
	}
	return &g.unknown, nil
}

func addTensor(d *decoder, f field, dst *[]*Tensor) error {
	t, err := d.tensor(f)
	*dst = append(*dst, t)
	return err
}

func addValue(d *decoder, f field, dst *[]*ValueInfo) error {
	v := &ValueInfo{}
	*dst = append(*dst, v)
	return d.message(f, v.field)
}

func (n *Node) field(d *decoder, f field) (*[]byte, error) {
	switch f.num {
	case 1:
		return addText(f, &n.Inputs)
	case 2:
		return addText(f, &n.Outputs)
	case 3:
		return setText(f, &n.Name)
	case 4:
		return setText(f, &n.OpType)
	case 5:
		a := &Attr{}
		n.Attrs = append(n.Attrs, a)
		if err := d.message(f, a.field); err != nil {
			return nil, err
		}
		a.settle()
		return nil, nil
	case 6:
		return setText(f, &n.Doc)
	case 7:
		return setText(f, &n.Domain)
	case 8:
		return setText(f, &n.Overload)
	case 9:
		return addEntry(d, f, &n.Metadata)
	}
	return &n.unknown, nil
}

func (a *Attr) field(d *decoder, f field) (*[]byte, error) {
	var err error
	switch f.num {
	case 1:
		return setText(f, &a.Name)
	case 2:
		a.F, err = f.float()
	case 3:
		return setInt(f, &a.I)
	case 4:
		a.S, err = f.bytes()
	case 5:
		a.T, err = d.tensor(f)
	case 6:
		a.G = &Graph{}
		err = d.message(f, a.G.field)
	case 7:
		if f.wire == wire32 {
			a.Floats = append(a.Floats, math.Float32frombits(uint32(f.val)))
			break
		}
		var b []byte
		b, err = f.fixed(nil, 4)
		for ; len(b) >= 4; b = b[4:] {
			a.Floats = append(a.Floats, math.Float32frombits(binary.LittleEndian.Uint32(b)))
		}
	case 8:
		a.Ints, err = f.ints(a.Ints)
	case 9:
		var b []byte
		b, err = f.bytes()
		a.Strings = append(a.Strings, b)
	case 10:
		err = addTensor(d, f, &a.Tensors)
	case 11:
		g := &Graph{}
		a.Graphs = append(a.Graphs, g)
		err = d.message(f, g.field)
	case 13:
		return setText(f, &a.Doc)
	case 20:
		var v int64
		v, err = f.int()
		a.Type = AttrType(v)
	case 21:
		return setText(f, &a.Ref)
	default:
		return &a.unknown, nil
	}
	return nil, err
}

// settle fills in the type of an attribute from a file of 2017, when the field was not required.
func (a *Attr) settle() {
	if a.Type != 0 || a.Ref != "" {
		return
	}
	switch {
	case a.T != nil:
		a.Type = AttrTensor
	case a.G != nil:
		a.Type = AttrGraph
	case a.Floats != nil:
		a.Type = AttrFloats
	case a.Ints != nil:
		a.Type = AttrInts
	case a.Strings != nil:
		a.Type = AttrStrings
	case a.S != nil:
		a.Type = AttrString
	case a.F != 0:
		a.Type = AttrFloat
	default:
		a.Type = AttrInt
	}
}

func (fn *Function) field(d *decoder, f field) (*[]byte, error) {
	switch f.num {
	case 1:
		return setText(f, &fn.Name)
	case 4:
		return addText(f, &fn.Inputs)
	case 5:
		return addText(f, &fn.Outputs)
	case 6:
		return addText(f, &fn.AttrNames)
	case 7:
		n := &Node{}
		fn.Nodes = append(fn.Nodes, n)
		return nil, d.message(f, n.field)
	case 8:
		return setText(f, &fn.Doc)
	case 9:
		return nil, addOpset(d, f, &fn.Opsets)
	case 10:
		return setText(f, &fn.Domain)
	case 11:
		a := &Attr{}
		fn.AttrValues = append(fn.AttrValues, a)
		return nil, d.message(f, a.field)
	case 13:
		return setText(f, &fn.Overload)
	}
	return &fn.unknown, nil
}

func (v *ValueInfo) field(d *decoder, f field) (*[]byte, error) {
	switch f.num {
	case 1:
		return setText(f, &v.Name)
	case 2:
		return nil, v.setType(d, f)
	case 3:
		return setText(f, &v.Doc)
	case 4:
		return addEntry(d, f, &v.Metadata)
	}
	return &v.unknown, nil
}

// setType reads a TypeProto. One that is not a plain tensor type is kept as it is.
func (v *ValueInfo) setType(d *decoder, f field) error {
	plain := true
	err := d.message(f, func(d *decoder, f field) (*[]byte, error) {
		if f.num != 1 { // sequence, map, optional, denotation
			plain = false
			return nil, nil
		}
		return nil, d.message(f, func(d *decoder, f field) (*[]byte, error) {
			switch f.num {
			case 1:
				n, err := f.int()
				v.Type = Elem(n)
				return nil, err
			case 2:
				v.HasShape = true
				return nil, d.message(f, v.dim)
			}
			return nil, nil
		})
	})
	if !plain {
		v.rawType = f.data
	}
	return err
}

func (v *ValueInfo) dim(d *decoder, f field) (*[]byte, error) {
	if f.num != 1 {
		return nil, nil
	}
	dim := Dim{Size: -1}
	err := d.message(f, func(d *decoder, f field) (*[]byte, error) {
		switch f.num {
		case 1:
			return setInt(f, &dim.Size)
		case 2:
			_, err := setText(f, &dim.Symbol)
			if dim.Symbol != "" {
				dim.Size = -1
			}
			return nil, err
		}
		return nil, nil
	})
	v.Shape = append(v.Shape, dim)
	return nil, err
}
