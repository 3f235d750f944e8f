package onnx

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

func (t *Tensor) setExternal(list []Entry) error {
	x := &External{}
	t.External = x
	var err error
	for _, e := range list {
		switch e.Key {
		case "location":
			x.Location = e.Value
		case "offset":
			x.Offset, err = strconv.ParseInt(e.Value, 10, 64)
		case "length":
			x.Length, err = strconv.ParseInt(e.Value, 10, 64)
		default:
			x.Extra = append(x.Extra, e)
		}
		if err != nil || x.Offset < 0 || x.Length < 0 {
			return &Error{Msg: fmt.Sprintf("tensor %q: external data with %s %q", t.Name, e.Key, e.Value)}
		}
	}
	return nil
}

// plainName says whether a location is the name of a file beside the model and nothing else: no folder,
// no drive, no "..", no address, nothing hidden.
func plainName(s string) bool {
	return s != "" && len(s) < 256 && !strings.HasPrefix(s, ".") && !strings.ContainsAny(s, "/\\:*?\x00") && filepath.IsLocal(s)
}

// HasExternal says whether weights of the model lie outside of it.
func (m *Model) HasExternal() bool {
	found := false
	m.tensors(func(t *Tensor) { found = found || t.External != nil })
	return found
}

// WeightBytes is the size of all tensors of the model.
func (m *Model) WeightBytes() int64 {
	var n int64
	m.tensors(func(t *Tensor) { n += int64(len(t.Raw)) })
	return n
}

// tensors calls fn for every tensor of the model: initializers and attributes, in subgraphs and
// functions too.
func (m *Model) tensors(fn func(*Tensor)) {
	m.Graph.tensors(fn)
	for _, f := range m.Functions {
		nodeTensors(f.Nodes, fn)
		attrTensors(f.AttrValues, fn)
	}
}

func (g *Graph) tensors(fn func(*Tensor)) {
	for _, t := range g.Initializers {
		fn(t)
	}
	nodeTensors(g.Nodes, fn)
}

func nodeTensors(nodes []*Node, fn func(*Tensor)) {
	for _, n := range nodes {
		attrTensors(n.Attrs, fn)
	}
}

func attrTensors(attrs []*Attr, fn func(*Tensor)) {
	for _, a := range attrs {
		if a.T != nil {
			fn(a.T)
		}
		for _, t := range a.Tensors {
			fn(t)
		}
		if a.G != nil {
			a.G.tensors(fn)
		}
		for _, g := range a.Graphs {
			g.tensors(fn)
		}
	}
}

// LoadExternal fills tensors whose data lies outside with slices of what read returns. read is called
// once for each name and only with plain file names: a location with a folder, "..", an absolute path or
// a scheme is refused before. Offset and length must lie inside the data and fit the dimensions.
func (m *Model) LoadExternal(read func(name string) ([]byte, error)) error {
	files := map[string][]byte{}
	var first error
	m.tensors(func(t *Tensor) {
		if first != nil || t.External == nil {
			return
		}
		if err := t.load(files, read); err != nil {
			first = err
		}
	})
	return first
}

func (t *Tensor) load(files map[string][]byte, read func(string) ([]byte, error)) error {
	x, want, err := t.outside()
	if err != nil {
		return err
	}
	data, known := files[x.Location]
	if !known {
		if data, err = read(x.Location); err != nil {
			return fmt.Errorf("external data %s: %w", x.Location, err)
		}
		files[x.Location] = data
	}
	if err := t.fits(want, int64(len(data))); err != nil {
		return err
	}
	t.Raw = data[x.Offset : x.Offset+want : x.Offset+want]
	t.External = nil
	return nil
}

func (t *Tensor) badExternal(format string, a ...any) error {
	return &Error{Msg: fmt.Sprintf("tensor %q: external data: ", t.Name) + fmt.Sprintf(format, a...),
		Do: "put the model and its data files into one folder, data files named without any path"}
}

// outside says where a tensor's data lies and how many bytes its dimensions ask for.
func (t *Tensor) outside() (x *External, want int64, err error) {
	x = t.External
	if !plainName(x.Location) {
		return nil, 0, t.badExternal("location %q is not the plain name of a file beside the model", x.Location)
	}
	n, ok := elements(t.Dims)
	size := int64(t.Type.Size())
	if !ok || size == 0 {
		return nil, 0, t.badExternal("type %s cannot lie outside", t.Type)
	}
	want = n * size
	if x.Length != 0 && x.Length != want {
		return nil, 0, t.badExternal("length %d, but its dimensions ask for %d bytes", x.Length, want)
	}
	return x, want, nil
}

// fits checks that a file of the given size holds what is wanted of it.
func (t *Tensor) fits(want, size int64) error {
	if x := t.External; x.Offset > size || want > size-x.Offset {
		return t.badExternal("bytes %d to %d are wanted of file %s, which has %d", x.Offset, x.Offset+want, x.Location, size)
	}
	return nil
}

// DirReader reads external data from a folder on disk: regular files only, no link of either kind that
// could lead outside, at most maxBytes in all. It is an argument for LoadExternal. load gets the bytes of
// an open file of the given size; nil: they are read into memory.
func DirReader(dir string, maxBytes int64, load func(f *os.File, size int64) ([]byte, error)) func(name string) ([]byte, error) {
	if load == nil {
		load = func(f *os.File, size int64) ([]byte, error) {
			data := make([]byte, size)
			_, err := io.ReadFull(f, data)
			return data, err
		}
	}
	left := maxBytes
	return func(name string) (data []byte, err error) {
		if !plainName(name) {
			return nil, fmt.Errorf("%q is not a plain file name", name)
		}
		path := filepath.Join(dir, name)
		info, err := os.Lstat(path)
		if err != nil {
			return nil, err
		}
		if !info.Mode().IsRegular() || links(info) > 1 {
			return nil, fmt.Errorf("%s is a link or no regular file", path)
		}
		if info.Size() > left {
			return nil, fmt.Errorf("%s has %d bytes, %d are allowed", path, info.Size(), left)
		}
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer func() {
			if cerr := f.Close(); err == nil && cerr != nil {
				data, err = nil, cerr
			}
		}()
		// The name may have been changed between the two calls: what was opened must be what was looked at.
		if opened, err := f.Stat(); err != nil || !os.SameFile(info, opened) {
			return nil, fmt.Errorf("%s changed while it was opened", path)
		}
		left -= info.Size()
		return load(f, info.Size())
	}
}

// externalAlign is the alignment of tensors in a data file: a multiple of the page size everywhere, so
// that a runtime can map them.
const externalAlign = 64 << 10

// WriteExternal writes the model to model and the elements of initializers of at least minBytes to data,
// each aligned to 64 KiB; the model refers to them by location, which must be a plain file name. The
// memory this takes does not depend on the size of the weights. m itself does not change.
func (m *Model) WriteExternal(model, data io.Writer, location string, minBytes int) error {
	if !plainName(location) {
		return &Error{Msg: fmt.Sprintf("%q is not a plain file name", location)}
	}
	out := m.withInitializers()
	g := out.Graph
	var pos int64
	pad := make([]byte, externalAlign)
	for i, t := range m.Graph.Initializers {
		if t.External != nil {
			return &Error{Msg: fmt.Sprintf("tensor %q has external data that was not loaded", t.Name)}
		}
		payload := piece{b: t.Raw, from: t.from}
		size := int64(len(t.Raw))
		if t.from != nil {
			size = t.from.Size()
		}
		if size < int64(max(minBytes, 1)) || t.Type.Size() == 0 {
			continue
		}
		if gap := -pos & (externalAlign - 1); gap > 0 {
			if _, err := data.Write(pad[:gap]); err != nil {
				return fmt.Errorf("write weights: %w", err)
			}
			pos += gap
		}
		if _, err := payload.writeTo(data); err != nil {
			return fmt.Errorf("write weights: %w", err)
		}
		x := *t
		x.Raw, x.from = nil, nil
		x.External = &External{Location: location, Offset: pos, Length: size}
		g.Initializers[i] = &x
		pos += size
	}
	_, err := out.WriteTo(model)
	return err
}
