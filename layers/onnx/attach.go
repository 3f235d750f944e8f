package onnx

import (
	"fmt"
	"io"
)

// withInitializers is a shallow copy of the model whose list of initializers may be changed.
func (m *Model) withInitializers() *Model {
	out := *m
	g := *m.Graph
	out.Graph = &g
	g.Initializers = append([]*Tensor(nil), m.Graph.Initializers...)
	return &out
}

// Attached is a model whose weights stay in files until it is written, which then takes a buffer and
// not the memory of the weights.
type Attached struct{ m *Model }

// Attach ties initializers that lie outside to the files that they lie in, as LoadExternal does without
// reading them: open is called once for each location, which must be a plain file name, and returns the
// file with its size. The files must stay open until the model is written.
func (m *Model) Attach(open func(location string) (io.ReaderAt, int64, error)) (*Attached, error) {
	type file struct {
		r    io.ReaderAt
		size int64
	}
	files := map[string]file{}
	out := m.withInitializers()
	for i, t := range out.Graph.Initializers {
		if t.External == nil {
			continue
		}
		x, want, err := t.outside()
		if err != nil {
			return nil, err
		}
		f, known := files[x.Location]
		if !known {
			if f.r, f.size, err = open(x.Location); err != nil {
				return nil, fmt.Errorf("external data %s: %w", x.Location, err)
			}
			files[x.Location] = f
		}
		if err := t.fits(want, f.size); err != nil {
			return nil, err
		}
		c := *t
		c.External, c.from = nil, io.NewSectionReader(f.r, x.Offset, want)
		out.Graph.Initializers[i] = &c
	}
	if out.HasExternal() {
		return nil, &Error{Msg: "a constant inside a node has external data", Do: "make it an initializer"}
	}
	return &Attached{out}, nil
}

// Size is the length of the model with its weights inside.
func (a *Attached) Size() int64 { return a.m.Size() }

// WriteTo writes the model with its weights inside. It implements io.WriterTo.
func (a *Attached) WriteTo(w io.Writer) (int64, error) { return a.m.WriteTo(w) }

// WriteExternal writes the model and, apart from it, its weights, as Model.WriteExternal does.
func (a *Attached) WriteExternal(model, data io.Writer, location string, minBytes int) error {
	return a.m.WriteExternal(model, data, location, minBytes)
}
