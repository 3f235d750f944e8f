package table

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	twmb "github.com/twmb/avro"

	"github.com/vista-mr/vista-mr/jobs/cell"
	"github.com/vista-mr/vista-mr/mr/avro"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

const (
	maxSchema = 4 << 20
	// maxNesting bounds values inside values, which a schema that names itself can nest at will.
	maxNesting = 100
	// maxWork and workPerByte bound the values that a file of so many unpacked bytes may have: records may hold any number
	// that take no bytes. Of an honest file each takes one, a null at the most two; the first part is for a million
	// records of 16 empty fields.
	maxWork     = 16 << 20
	workPerByte = 4
)

func badAvro(kind errs.Kind, format string, args ...any) error {
	return errs.E("avro", kind, "", fmt.Errorf(format, args...))
}

func openAvro(f dfs.File, path string) (*typedFile, error) {
	t := &typedFile{typed: typed{path: path, what: "the Avro file", file: f}}
	r, err := avro.NewReader(f, f.Size(), avro.ReaderOptions{})
	if err != nil {
		return nil, damaged(t.path, t.what, err)
	}
	fields, err := avroFields(r.Schema())
	if err != nil {
		return nil, damaged(t.path, t.what, err)
	}
	for _, n := range fields {
		t.columns = append(t.columns, typedColumn{n.name, n.typ})
	}
	t.open = func(columns []int) (records, error) {
		a := &avroRecords{fields: fields, blocks: r.Blocks(0, f.Size()), values: make([]cell.Value, len(columns)), size: f.Size()}
		a.slot = make([]int, len(fields))
		for i := range a.slot {
			a.slot[i] = -1
		}
		for i, k := range columns {
			a.slot[k] = i
		}
		return a, nil
	}
	return t, nil
}

// avroField is a field of the records.
type avroField struct {
	name string
	typ  cell.Type
	node *avroNode
}

// avroNode is a type of the schema, as the decoder walks it.
type avroNode struct {
	kind     string // Avro's name of the type, "" as long as it is not known
	typ      cell.Type
	size     int // of a fixed
	symbols  [][]byte
	children []*avroNode // branches, fields, or the one type of items or values
}

// avroFields reads the schema. Anything but a record is no table.
func avroFields(schema string) (fields []avroField, err error) {
	if len(schema) > maxSchema {
		return nil, badAvro(errs.Invalid, "a schema of %d bytes", len(schema))
	}
	defer func() {
		if r := recover(); r != nil { // the parser is not ours
			fields, err = nil, badAvro(errs.Corrupt, "schema: %v", r)
		}
	}()
	// Names decide nothing here, and some programs leave that of the record out.
	s, err := twmb.Parse(schema, twmb.WithLaxNames(func(string) error { return nil }))
	if err != nil {
		return nil, badAvro(errs.Corrupt, "schema: %w", err)
	}
	root := s.Root()
	if root.Type != "record" && root.Type != "error" {
		return nil, badAvro(errs.Invalid, "its values are of type %s: a table's are records", root.Type)
	}
	if len(root.Fields) > maxColumns {
		return nil, badAvro(errs.Invalid, "%d columns, more than %d", len(root.Fields), maxColumns)
	}
	b := &avroSchema{named: map[string]*avroNode{}}
	node := b.node(root)
	for i, f := range root.Fields {
		fields = append(fields, avroField{f.Name, columnType(node.children[i]), node.children[i]})
	}
	return fields, nil
}

// avroSchema resolves the names of a schema.
type avroSchema struct{ named map[string]*avroNode }

func (b *avroSchema) node(n *twmb.SchemaNode) *avroNode {
	switch n.Type {
	case "record", "error":
		out := b.define(n, "record")
		for i := range n.Fields {
			out.children = append(out.children, b.node(&n.Fields[i].Type))
		}
		return out
	case "enum":
		out := b.define(n, "enum")
		out.typ = cell.Type{Kind: cell.Text}
		for _, s := range n.Symbols {
			out.symbols = append(out.symbols, []byte(s))
		}
		return out
	case "fixed":
		out := b.define(n, "fixed")
		out.size = n.Size
		out.typ = fixedType(n)
		return out
	case "array":
		return &avroNode{kind: "array", children: []*avroNode{b.node(n.Items)}}
	case "map":
		return &avroNode{kind: "map", children: []*avroNode{b.node(n.Values)}}
	case "union":
		out := &avroNode{kind: "union"}
		for i := range n.Branches {
			out.children = append(out.children, b.node(&n.Branches[i]))
		}
		return out
	case "null", "boolean", "int", "long", "float", "double", "string", "bytes":
		return &avroNode{kind: n.Type, typ: scalarType(n)}
	}
	// A reference by name. Its definition may come later, and is filled in then.
	return b.lookup(n.Type)
}

func (b *avroSchema) lookup(name string) *avroNode {
	n := b.named[name]
	if n == nil {
		n = &avroNode{}
		b.named[name] = n
	}
	return n
}

func (b *avroSchema) define(n *twmb.SchemaNode, kind string) *avroNode {
	name := n.Name
	if n.Namespace != "" {
		name = n.Namespace + "." + n.Name
	}
	out := b.lookup(name)
	out.kind = kind
	return out
}

func decimalOf(n *twmb.SchemaNode) cell.Type {
	if n.Scale < 0 || n.Scale > 200 {
		return cell.Type{}
	}
	return cell.Type{Kind: cell.Decimal, Scale: n.Scale}
}

func fixedType(n *twmb.SchemaNode) cell.Type {
	switch n.LogicalType {
	case "decimal":
		if n.Size <= cell.MaxDecimal {
			return decimalOf(n)
		}
		return cell.Type{}
	case "uuid":
		if n.Size == 16 {
			return cell.Type{Kind: cell.UUID}
		}
	case "duration":
		return cell.Type{}
	}
	return cell.Type{Kind: cell.Text}
}

func scalarType(n *twmb.SchemaNode) cell.Type {
	logical := map[string]cell.Type{
		"int date": {Kind: cell.Date}, "int time-millis": {Kind: cell.Time, Unit: 1e6}, "long time-micros": {Kind: cell.Time, Unit: 1e3},
		"long timestamp-millis": {Kind: cell.Timestamp, Unit: 1e6}, "long timestamp-micros": {Kind: cell.Timestamp, Unit: 1e3}, "long timestamp-nanos": {Kind: cell.Timestamp, Unit: 1},
		"long local-timestamp-millis": {Kind: cell.LocalTime, Unit: 1e6}, "long local-timestamp-micros": {Kind: cell.LocalTime, Unit: 1e3}, "long local-timestamp-nanos": {Kind: cell.LocalTime, Unit: 1},
	}
	if t, ok := logical[n.Type+" "+n.LogicalType]; ok {
		return t
	}
	switch n.Type {
	case "null":
		return cell.Type{Kind: cell.Null}
	case "boolean":
		return cell.Type{Kind: cell.Bool}
	case "int", "long":
		return cell.Type{Kind: cell.Int}
	case "float":
		return cell.Type{Kind: cell.Float32}
	case "double":
		return cell.Type{Kind: cell.Float64}
	case "bytes":
		if n.LogicalType == "decimal" {
			return decimalOf(n)
		}
	}
	return cell.Type{Kind: cell.Text}
}

// columnType is the type of a field: of a union, the one type beside null, or double where all
// are numbers.
func columnType(n *avroNode) cell.Type {
	if n.kind != "union" {
		return n.typ
	}
	var types []cell.Type
	numbers := true
	for _, b := range n.children {
		if b.kind == "null" {
			continue
		}
		types = append(types, b.typ)
		numbers = numbers && (b.typ.Kind == cell.Int || b.typ.Kind == cell.Float32 || b.typ.Kind == cell.Float64)
	}
	switch {
	case len(types) == 0:
		return cell.Type{Kind: cell.Null}
	case len(types) == 1:
		return types[0]
	case numbers:
		return cell.Type{Kind: cell.Float64}
	}
	for _, t := range types[1:] {
		if t != types[0] {
			return cell.Type{}
		}
	}
	return types[0]
}

// avroRecords walks the records of a file.
type avroRecords struct {
	fields []avroField
	blocks *avro.BlockIter
	size   int64
	slot   []int // of a field among the wanted ones; -1: not wanted
	values []cell.Value
	left   int64
	b      []byte
	n      int64 // bytes unpacked so far
	rows   int64 // in the blocks so far
	work   int64 // values so far
	err    error
}

var (
	errAvroShort = errors.New("a record is longer than its block")
	errAvroEmpty = errors.New("too many values that take no bytes")
)

func (a *avroRecords) Value(i int) *cell.Value { return &a.values[i] }

func (a *avroRecords) Err() error { return a.err }

func (a *avroRecords) Next() bool {
	if a.err != nil {
		return false
	}
	for a.left == 0 {
		if len(a.b) > 0 {
			a.err = badAvro(errs.Corrupt, "%d bytes behind the last record of a block", len(a.b))
			return false
		}
		if !a.blocks.Next() {
			a.err = a.blocks.Err()
			return false
		}
		block := a.blocks.Block()
		a.left, a.b = block.Count, block.Data
		if a.n += int64(len(a.b)); a.n > mayUnpack(a.size) {
			a.err = badAvro(errs.Corrupt, "%d bytes unpack to more than %d", a.size, mayUnpack(a.size))
			return false
		}
		if a.rows += block.Count; a.rows > freeRows+rowsPerByte*a.size {
			a.err = badAvro(errs.Corrupt, "%d bytes unpack to more than %d records", a.size, freeRows+rowsPerByte*a.size)
			return false
		}
	}
	a.left--
	for i, f := range a.fields {
		var err error
		if k := a.slot[i]; k >= 0 {
			v := &a.values[k]
			*v = cell.Value{}
			if err = a.value(f.node, v, f.typ); err == nil && f.typ.Kind == cell.Decimal && len(v.Bytes) > cell.MaxDecimal {
				err = fmt.Errorf("a decimal of %d bytes", len(v.Bytes))
			}
		} else {
			err = a.skip(f.node, 0)
		}
		if err != nil {
			a.err = badAvro(errs.Corrupt, "field %q: %w", f.name, err)
			return false
		}
	}
	return true
}

func (a *avroRecords) long() (int64, error) {
	v, n := binary.Varint(a.b)
	if n <= 0 {
		return 0, errAvroShort
	}
	a.b = a.b[n:]
	return v, nil
}

func (a *avroRecords) take(n int64) ([]byte, error) {
	if n < 0 || n > int64(len(a.b)) {
		return nil, errAvroShort
	}
	b := a.b[:n:n]
	a.b = a.b[n:]
	return b, nil
}

// branch finds the branch of a union.
func (a *avroRecords) branch(n *avroNode) (*avroNode, error) {
	i, err := a.long()
	if err != nil {
		return nil, err
	}
	if i < 0 || i >= int64(len(n.children)) {
		return nil, fmt.Errorf("branch %d of a union of %d", i, len(n.children))
	}
	return n.children[i], nil
}

// value decodes a wanted value, whose type says that it is a scalar.
func (a *avroRecords) value(n *avroNode, v *cell.Value, as cell.Type) (err error) {
	if a.work++; a.work > maxWork+workPerByte*a.n {
		return errAvroEmpty
	}
	if n.kind == "union" {
		if n, err = a.branch(n); err != nil {
			return err
		}
	}
	switch n.kind {
	case "null":
		v.Null = true
	case "boolean":
		var b []byte
		if b, err = a.take(1); err == nil {
			v.Int = int64(b[0] & 1)
		}
	case "int", "long":
		v.Int, err = a.long()
		v.Float = float64(v.Int) // for a union of numbers
	case "float":
		var b []byte
		if b, err = a.take(4); err == nil {
			v.Float = float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
		}
	case "double":
		var b []byte
		if b, err = a.take(8); err == nil {
			v.Float = math.Float64frombits(binary.LittleEndian.Uint64(b))
		}
	case "string", "bytes":
		var size int64
		if size, err = a.long(); err == nil {
			v.Bytes, err = a.take(size)
		}
	case "fixed":
		v.Bytes, err = a.take(int64(n.size))
	case "enum":
		var i int64
		if i, err = a.long(); err == nil {
			if i < 0 || i >= int64(len(n.symbols)) {
				return fmt.Errorf("symbol %d of %d", i, len(n.symbols))
			}
			v.Bytes = n.symbols[i]
		}
	default:
		return fmt.Errorf("a value of type %s, want %v", n.kind, as)
	}
	return err
}

// skip steps over a value of any type.
func (a *avroRecords) skip(n *avroNode, depth int) (err error) {
	if depth > maxNesting {
		return fmt.Errorf("values are nested more than %d deep", maxNesting)
	}
	switch n.kind {
	case "record":
		if a.work++; a.work > maxWork+workPerByte*a.n { // of a record without fields nothing else counts
			return errAvroEmpty
		}
		for _, f := range n.children {
			if err := a.skip(f, depth+1); err != nil {
				return err
			}
		}
		return nil
	case "union":
		if n, err = a.branch(n); err != nil {
			return err
		}
		return a.skip(n, depth+1)
	case "array", "map":
		return a.skipBlocks(n, depth)
	}
	var v cell.Value
	return a.value(n, &v, cell.Type{})
}

// skipBlocks steps over the items of an array or the entries of a map.
func (a *avroRecords) skipBlocks(n *avroNode, depth int) error {
	for {
		count, err := a.long()
		if err != nil || count == 0 {
			return err
		}
		if count < 0 { // its size in bytes follows
			size, err := a.long()
			if err == nil {
				_, err = a.take(size)
			}
			if err != nil {
				return err
			}
			continue
		}
		for ; count > 0; count-- {
			before := len(a.b)
			if n.kind == "map" {
				if err := a.skip(&avroNode{kind: "string"}, depth); err != nil {
					return err
				}
			}
			if err := a.skip(n.children[0], depth+1); err != nil {
				return err
			}
			if len(a.b) == before { // of items that take no bytes, any number take none
				break
			}
		}
	}
}
