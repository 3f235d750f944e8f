package parquet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/vista-mr/vista-mr/mr/errs"
)

// Limits.
const (
	maxFooter   = 64 << 20
	maxElements = 20_000  // of a schema
	maxGroups   = 200_000 // row groups
	// slack is what may be walked beyond twice the file's size. Chunks do not overlap: a file that has the same
	// bytes walked again and again is after our time.
	slack = 1 << 20
	// MaxPage is the largest page that is read, stored or unpacked. Writers that do not bound pages by bytes
	// make them as large as a row group.
	MaxPage = 256 << 20
)

// Type is the physical type of a column.
type Type int32

// The types that keys and images have.
const (
	Boolean   Type = 0
	Int32     Type = 1
	Int64     Type = 2
	ByteArray Type = 6
	FixedLen  Type = 7
)

// Column is a leaf of the schema.
type Column struct {
	Leaf   int      // its number
	Path   []string // its name, with those of the structures that it lies in
	Type   Type
	Len    int  // of a FixedLen
	Text   bool // it is marked as a string
	MaxDef int
	List   bool // it lies in a list or map
}

// Name is the column's name as users write it.
func (c *Column) Name() string { return strings.Join(c.Path, ".") }

// Chunk is the part of a column that lies in one row group.
type Chunk struct {
	Column *Column
	Rows   int64
	codec  int32
	start  int64
	size   int64
	left   *int64
}

// File is what a file's footer says.
type File struct {
	Columns []Column
	Rows    int64
	groups  []group
	left    int64 // bytes that may still be walked
}

type group struct {
	rows   int64
	chunks []chunkMeta
}

// chunkMeta is a column chunk as the footer states it.
type chunkMeta struct {
	file             string
	typ, codec       int32
	values, size     int64
	data, dictionary int64
	encrypted, known bool
}

func damaged(format string, args ...any) error {
	return errs.E("parquet", errs.Corrupt, "", fmt.Errorf(format, args...))
}

// readAt fills b.
func readAt(r io.ReaderAt, b []byte, at int64) error {
	n, err := r.ReadAt(b, at)
	switch {
	case n == len(b):
		return nil
	case err == nil || errors.Is(err, io.EOF):
		return damaged("the file ends at byte %d, %d were expected", at+int64(n), at+int64(len(b)))
	}
	return errs.E("parquet", errs.Unknown, "", err)
}

// Open reads the footer.
func Open(r io.ReaderAt, size int64) (*File, error) {
	if size < 12 {
		return nil, errs.E("parquet", errs.Invalid, "", fmt.Errorf("%d bytes are no Parquet file", size))
	}
	var tail [8]byte
	if err := readAt(r, tail[:], size-8); err != nil {
		return nil, err
	}
	switch string(tail[4:]) {
	case "PAR1":
	case "PARE":
		return nil, errs.E("parquet", errs.Invalid, "", errors.New("the file is encrypted"))
	default:
		return nil, errs.E("parquet", errs.Invalid, "", errors.New("this is not a Parquet file, or its end is missing"))
	}
	n := int64(binary.LittleEndian.Uint32(tail[:4]))
	if n > size-12 || n > maxFooter {
		return nil, damaged("a footer of %d bytes in a file of %d", n, size)
	}
	footer := make([]byte, n)
	if err := readAt(r, footer, size-8-n); err != nil {
		return nil, err
	}
	f := &File{left: 2*size + slack}
	if err := f.parse(&thrift{b: footer}); err != nil {
		return nil, damaged("footer: %w", err)
	}
	rows := int64(0)
	for i := range f.groups {
		rows += f.groups[i].rows
		if len(f.groups[i].chunks) != len(f.Columns) {
			return nil, damaged("row group %d has %d columns, the schema has %d", i, len(f.groups[i].chunks), len(f.Columns))
		}
	}
	if rows != f.Rows {
		return nil, damaged("footer: the row groups have %d rows, the file %d", rows, f.Rows)
	}
	return f, nil
}

// element is a node of the schema, in the order of a walk from the root.
type element struct {
	name       string
	typ        int32
	length     int32
	repetition int32
	children   int32
	converted  int32
	text, leaf bool
}

func (f *File) parse(t *thrift) error {
	var schema []element
	seen := 0 // of the fields that every footer has
	err := t.fields(func(id int, typ byte) (bool, error) {
		if id >= 1 && id <= 4 {
			seen |= 1 << id
		}
		switch id {
		case 2:
			return t.structures(typ, func() error {
				if len(schema) == maxElements {
					return fmt.Errorf("a schema of more than %d elements", maxElements)
				}
				e, err := readElement(t)
				schema = append(schema, e)
				return err
			})
		case 3:
			return t.i64(typ, &f.Rows)
		case 4:
			return t.structures(typ, func() error {
				if len(f.groups) == maxGroups {
					return fmt.Errorf("more than %d row groups", maxGroups)
				}
				g, err := readGroup(t)
				f.groups = append(f.groups, g)
				return err
			})
		}
		return false, nil
	})
	if err != nil {
		return err
	}
	if seen != 0b11110 {
		return errors.New("a field that every footer has is missing")
	}
	return f.columns(schema)
}

func readElement(t *thrift) (element, error) {
	e := element{converted: -1}
	err := t.fields(func(id int, typ byte) (bool, error) {
		switch id {
		case 1:
			e.leaf = true
			return t.i32(typ, &e.typ)
		case 2:
			return t.i32(typ, &e.length)
		case 3:
			return t.i32(typ, &e.repetition)
		case 4:
			return t.text(typ, &e.name)
		case 5:
			return t.i32(typ, &e.children)
		case 6:
			return t.i32(typ, &e.converted)
		case 10:
			return t.structure(typ, func(id int, typ byte) (bool, error) {
				e.text = e.text || id == 1 // a union: 1 is STRING
				return false, nil
			})
		}
		return false, nil
	})
	e.text = e.text || e.converted == 0 // UTF8
	return e, err
}

// columns finds the leaves below the root.
func (f *File) columns(schema []element) error {
	if len(schema) == 0 {
		return errors.New("no schema")
	}
	at := 1
	var walk func(n int32, path []string, def int, list bool, depth int) error
	walk = func(n int32, path []string, def int, list bool, depth int) error {
		if depth > maxDepth {
			return fmt.Errorf("columns are nested more than %d deep", maxDepth)
		}
		for ; n > 0; n-- {
			if at >= len(schema) {
				return errors.New("the schema ends too early")
			}
			e := schema[at]
			at++
			d, l := def, list
			if e.repetition != 0 {
				d++
			}
			l = l || e.repetition == 2
			here := append(path[:len(path):len(path)], e.name)
			if !e.leaf {
				if err := walk(e.children, here, d, l, depth+1); err != nil {
					return err
				}
				continue
			}
			if e.length < 0 {
				return fmt.Errorf("column %s has values of %d bytes", e.name, e.length)
			}
			f.Columns = append(f.Columns, Column{Leaf: len(f.Columns), Path: here, Type: Type(e.typ), Len: int(e.length),
				Text: e.text, MaxDef: d, List: l})
		}
		return nil
	}
	if err := walk(schema[0].children, nil, 0, false, 0); err != nil {
		return err
	}
	if at != len(schema) {
		return fmt.Errorf("%d elements of the schema belong to nothing", len(schema)-at)
	}
	return nil
}

func readGroup(t *thrift) (group, error) {
	var g group
	err := t.fields(func(id int, typ byte) (bool, error) {
		switch id {
		case 1:
			return t.structures(typ, func() error {
				c, err := readChunk(t)
				g.chunks = append(g.chunks, c)
				return err
			})
		case 3:
			return t.i64(typ, &g.rows)
		}
		return false, nil
	})
	return g, err
}

func readChunk(t *thrift) (chunkMeta, error) {
	var c chunkMeta
	err := t.fields(func(id int, typ byte) (bool, error) {
		switch id {
		case 1:
			return t.text(typ, &c.file)
		case 3:
			c.known = true
			return t.structure(typ, func(id int, typ byte) (bool, error) {
				switch id {
				case 1:
					return t.i32(typ, &c.typ)
				case 4:
					return t.i32(typ, &c.codec)
				case 5:
					return t.i64(typ, &c.values)
				case 7:
					return t.i64(typ, &c.size)
				case 9:
					return t.i64(typ, &c.data)
				case 11:
					return t.i64(typ, &c.dictionary)
				}
				return false, nil
			})
		case 8, 9:
			c.encrypted = true
		}
		return false, nil
	})
	return c, err
}

// Groups is the number of row groups.
func (f *File) Groups() int { return len(f.groups) }

// Chunk is a column's part of a row group, checked against the file's size.
func (f *File) Chunk(group int, c *Column, size int64) (Chunk, error) {
	g := &f.groups[group]
	m := &g.chunks[c.Leaf]
	out := Chunk{Column: c, Rows: g.rows, codec: m.codec, start: m.data, size: m.size, left: &f.left}
	if m.dictionary > 0 && m.dictionary < m.data {
		out.start = m.dictionary
	}
	where := func(format string, args ...any) error {
		return damaged("row group %d, column %s: %s", group, c.Name(), fmt.Sprintf(format, args...))
	}
	switch {
	case c.List:
		return out, errs.E("parquet", errs.Invalid, "", fmt.Errorf("column %s lies in a list, which is not supported", c.Name()))
	case m.encrypted || !m.known:
		return out, errs.E("parquet", errs.Invalid, "", fmt.Errorf("column %s is encrypted", c.Name()))
	case !supported(m.codec):
		return out, errs.E("parquet", errs.Invalid, "", fmt.Errorf("column %s: %w", c.Name(), unsupported(m.codec)))
	case m.file != "":
		return out, errs.E("parquet", errs.Invalid, "", fmt.Errorf("column %s lies in another file, which is not supported", c.Name()))
	case Type(m.typ) != c.Type:
		return out, where("its type is not that of the schema")
	case g.rows < 0 || m.values != g.rows:
		return out, where("%d values for %d rows", m.values, g.rows)
	case out.start < 4 || out.size < 0 || out.start > size || out.size > size-out.start:
		return out, where("%d bytes at %d in a file of %d", out.size, out.start, size)
	}
	return out, nil
}
