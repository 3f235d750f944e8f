package table

import (
	"fmt"
	"io"
	"slices"

	"github.com/vista-mr/vista-mr/jobs/cell"
	"github.com/vista-mr/vista-mr/jobs/parquet"
	"github.com/vista-mr/vista-mr/mr/dfs"
)

// typed is a file of a format whose columns have types. What the formats differ in is records.
type typed struct {
	path    string
	what    string // "the Parquet file"
	file    dfs.File
	columns []typedColumn
	records records
	slot    []int // of a column among those that are read; -1: not read
	line    int
	buf     []byte // texts of this record
}

type typedColumn struct {
	name string
	typ  cell.Type
}

// records walks the records of a file.
type records interface {
	Next() bool
	Value(i int) *cell.Value
	Err() error
}

// opener begins to walk the records' columns with the given indices.
type opener func(columns []int) (records, error)

// typedFile is a typed before it is known which columns are wanted.
type typedFile struct {
	typed
	open opener
}

func openParquet(f dfs.File, path string) (*typedFile, error) {
	p, err := parquet.Open(f, f.Size())
	if err != nil {
		return nil, damaged(path, "the Parquet file", err)
	}
	t := &typedFile{typed: typed{path: path, what: "the Parquet file", file: f}}
	for _, c := range p.Columns {
		t.columns = append(t.columns, typedColumn{c.Name, c.Type})
	}
	t.open = func(columns []int) (records, error) { return p.Read(columns) }
	return t, nil
}

// names are the columns' names; two of one name are an error.
func (t *typedFile) names() (names, types []string, err error) {
	seen := map[string]bool{}
	for _, c := range t.columns {
		if seen[c.name] {
			return nil, nil, &HeaderError{Path: t.path, Problem: fmt.Sprintf("column %q stands there twice", Shown(c.name, maxShownName)), Fix: "give every column a name of its own"}
		}
		seen[c.name] = true
		names, types = append(names, c.name), append(types, c.typ.String())
	}
	return names, types, nil
}

func (t *typedFile) use(s *Schema) error {
	names, types, err := t.names()
	if err != nil {
		return err
	}
	differs := ""
	switch {
	case !slices.Equal(names, s.Columns):
		differs = firstDifference(names, s.Columns)
	case !slices.Equal(types, s.Types):
		for i := range types {
			if types[i] != s.Types[i] {
				differs = fmt.Sprintf("column %q is %s, not %s", s.name(i), types[i], s.Types[i])
				break
			}
		}
	}
	if differs != "" {
		return &HeaderError{Path: t.path, Problem: "its columns differ from those of the table's first file: " + differs,
			Fix: "give all files of the table the same columns in the same order"}
	}
	t.slot = make([]int, len(names))
	for i := range t.slot {
		t.slot[i] = -1
	}
	var wanted []int
	want := func(i int) {
		if t.slot[i] < 0 {
			t.slot[i] = len(wanted)
			wanted = append(wanted, i)
		}
	}
	want(s.Key)
	want(s.Label)
	if s.Image != nil {
		want(*s.Image)
	}
	for _, f := range s.Features {
		want(f.Column)
	}
	if t.records, err = t.open(wanted); err != nil {
		return damaged(t.path, t.what, err)
	}
	return nil
}

func (t *typed) next(row *Row) (*Bad, error) {
	if !t.records.Next() {
		if err := t.records.Err(); err != nil {
			return nil, damaged(t.path, t.what, err)
		}
		return nil, io.EOF
	}
	t.line++
	row.Line, t.buf = t.line, t.buf[:0]
	return nil, nil
}

func (t *typed) value(column int) (cell.Type, *cell.Value) {
	return t.columns[column].typ, t.records.Value(t.slot[column])
}

// text is the value's text. Text that says that it is missing is, as in a CSV file.
func (t *typed) text(column int) ([]byte, bool) {
	typ, v := t.value(column)
	if v.Null {
		return nil, true
	}
	if typ.Kind == cell.Text {
		return v.Bytes, missingText(v.Bytes)
	}
	b := t.appendText(typ, v)
	return b, missingText(b)
}

// appendText makes text that stays until the next record: a row keeps those of several columns.
func (t *typed) appendText(typ cell.Type, v *cell.Value) []byte {
	at := len(t.buf)
	t.buf = typ.AppendText(t.buf, v)
	return t.buf[at:len(t.buf):len(t.buf)]
}

func (t *typed) label(column int) []byte {
	typ, v := t.value(column)
	switch {
	case v.Null:
		return nil
	case typ.Kind == cell.Text:
		return v.Bytes
	case (typ.Kind == cell.Float32 || typ.Kind == cell.Float64) && v.Float != v.Float:
		return nil // NaN is how some programs store null
	}
	return t.appendText(typ, v)
}

func (t *typed) number(column int) (float64, bool, bool) {
	typ, v := t.value(column)
	if v.Null {
		return 0, true, false
	}
	if typ.Kind == cell.Text {
		return parseNumber(v.Bytes)
	}
	f, ok := typ.Number(v)
	if ok && f != f {
		return 0, true, false
	}
	return f, false, ok
}

func (t *typed) show(column int) string {
	typ, v := t.value(column)
	if v.Null {
		return "null"
	}
	if typ.Kind == cell.Text {
		return string(v.Bytes[:min(len(v.Bytes), 100)])
	}
	return string(typ.AppendText(nil, v))
}

func (t *typed) unit() string { return "record" }

func (t *typed) close() error { return t.file.Close() }
