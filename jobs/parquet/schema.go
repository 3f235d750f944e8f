package parquet

import (
	"strings"
	"time"

	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/format"

	"github.com/vista-mr/vista-mr/jobs/cell"
)

const (
	// maxLevels bounds the nesting of groups.
	maxLevels = 64
	// maxName bounds a column's name with those of its groups, and maxNames all of them together: each column has its
	// groups' names once more. 100,000 columns may have 670 bytes each.
	maxName  = 4 << 10
	maxNames = 64 << 20
)

// schemaWalker walks the flattened tree of the schema.
type schemaWalker struct {
	elements []format.SchemaElement
	at       int
	columns  []Column
	names    int // bytes of their names
}

// columnsOf lists the leaves in the order of the row groups' chunks.
func columnsOf(elements []format.SchemaElement) ([]Column, error) {
	if len(elements) == 0 || !elements[0].NumChildren.Valid {
		return nil, corrupt("the schema has no root")
	}
	w := &schemaWalker{elements: elements, at: 1}
	if err := w.children(int(elements[0].NumChildren.V), nil, 0, false); err != nil {
		return nil, err
	}
	if w.at != len(elements) {
		return nil, corrupt("the schema has %d elements too many", len(elements)-w.at)
	}
	return w.columns, nil
}

func (w *schemaWalker) children(n int, path []string, def int, repeated bool) error {
	if n < 0 || n > len(w.elements)-w.at {
		return corrupt("a group of %d columns, %d are left", n, len(w.elements)-w.at)
	}
	if len(path) > maxLevels {
		return corrupt("groups are nested more than %d deep", maxLevels)
	}
	for range n {
		if w.at >= len(w.elements) {
			return corrupt("the schema ends early")
		}
		e := &w.elements[w.at]
		w.at++
		if err := w.element(e, append(path[:len(path):len(path)], e.Name), def, repeated); err != nil {
			return err
		}
	}
	return nil
}

func (w *schemaWalker) element(e *format.SchemaElement, path []string, def int, repeated bool) error {
	switch e.RepetitionType.V {
	case format.Required:
	case format.Optional:
		def++
	case format.Repeated:
		def++
		repeated = true
	default:
		return corrupt("column %q has an unknown repetition", e.Name)
	}
	if !e.Type.Valid {
		return w.children(int(e.NumChildren.V), path, def, repeated)
	}
	if len(w.columns) == maxColumns {
		return unsupported("more than %d columns", maxColumns)
	}
	name := len(path) - 1
	for _, p := range path {
		name += len(p)
	}
	if w.names += name; name > maxName || w.names > maxNames {
		return unsupported("a column's name has more than %d bytes, or those of all have more than %d", maxName, maxNames)
	}
	c := Column{Index: len(w.columns), Name: strings.Join(path, "."), List: repeated, physical: e.Type.V, maxDef: def}
	if !repeated {
		c.Type, c.length = typeOf(e)
	}
	_, c.Text = e.LogicalType.Value.(*format.StringType)
	c.Text = c.Text || e.ConvertedType.Valid && e.ConvertedType.V == deprecated.UTF8
	w.columns = append(w.columns, c)
	return nil
}

// typeOf is the type of a leaf, and the length of its values where it is fixed. What makes no
// sense, such as a date of eight bytes, is of no type.
func typeOf(e *format.SchemaElement) (cell.Type, int) {
	var t cell.Type
	switch p := e.Type.V; p {
	case format.Boolean:
		return cell.Type{Kind: cell.Bool}, 0
	case format.Int32, format.Int64:
		t = integerType(e, p == format.Int32)
	case format.Int96: // only ever used for timestamps
		return cell.Type{Kind: cell.LocalTime, Unit: time.Microsecond}, 12
	case format.Float:
		t.Kind = cell.Float32
	case format.Double:
		t.Kind = cell.Float64
	case format.ByteArray:
		t = bytesType(e)
	case format.FixedLenByteArray:
		n := int(e.TypeLength.V)
		if n < 1 || n > 1<<20 {
			return cell.Type{}, 0
		}
		return fixedType(e, n), n
	}
	if isNull(e) {
		t.Kind = cell.Null
	}
	return t, 0
}

func isNull(e *format.SchemaElement) bool {
	_, ok := e.LogicalType.Value.(*format.NullType)
	return ok
}

func integerType(e *format.SchemaElement, narrow bool) cell.Type {
	switch l := e.LogicalType.Value.(type) {
	case *format.DecimalType:
		return decimalType(l.Scale)
	case *format.DateType:
		return cell.Type{Kind: cell.Date}
	case *format.TimeType:
		return unitType(cell.Time, l.Unit)
	case *format.TimestampType:
		if l.IsAdjustedToUTC {
			return unitType(cell.Timestamp, l.Unit)
		}
		return unitType(cell.LocalTime, l.Unit)
	case *format.IntType:
		if !l.IsSigned {
			return cell.Type{Kind: cell.Uint}
		}
		return cell.Type{Kind: cell.Int}
	}
	if e.ConvertedType.Valid {
		switch e.ConvertedType.V {
		case deprecated.Decimal:
			return decimalType(e.Scale.V)
		case deprecated.Date:
			return cell.Type{Kind: cell.Date}
		case deprecated.TimeMillis:
			return cell.Type{Kind: cell.Time, Unit: time.Millisecond}
		case deprecated.TimeMicros:
			return cell.Type{Kind: cell.Time, Unit: time.Microsecond}
		case deprecated.TimestampMillis:
			return cell.Type{Kind: cell.Timestamp, Unit: time.Millisecond}
		case deprecated.TimestampMicros:
			return cell.Type{Kind: cell.Timestamp, Unit: time.Microsecond}
		case deprecated.Uint8, deprecated.Uint16, deprecated.Uint32, deprecated.Uint64:
			return cell.Type{Kind: cell.Uint}
		}
	}
	return cell.Type{Kind: cell.Int}
}

func unitType(k cell.Kind, u format.TimeUnit) cell.Type {
	if u.Value == nil {
		return cell.Type{}
	}
	return cell.Type{Kind: k, Unit: u.Value.Duration()}
}

// maxScale bounds the places of a decimal.
const maxScale = 200

func decimalType(scale int32) cell.Type {
	if scale < 0 || scale > maxScale {
		return cell.Type{}
	}
	return cell.Type{Kind: cell.Decimal, Scale: int(scale)}
}

func bytesType(e *format.SchemaElement) cell.Type {
	switch l := e.LogicalType.Value.(type) {
	case nil:
		if e.ConvertedType.Valid {
			switch e.ConvertedType.V {
			case deprecated.Decimal:
				return decimalType(e.Scale.V)
			case deprecated.Bson:
				return cell.Type{}
			}
		}
	case *format.DecimalType:
		return decimalType(l.Scale)
	case *format.BsonType, *format.GeometryType, *format.GeographyType, *format.VariantType:
		return cell.Type{}
	}
	// Programs of the early years wrote text without saying so.
	return cell.Type{Kind: cell.Text}
}

func fixedType(e *format.SchemaElement, n int) cell.Type {
	switch l := e.LogicalType.Value.(type) {
	case nil:
		if e.ConvertedType.Valid {
			switch e.ConvertedType.V {
			case deprecated.Decimal:
				return decimalType(e.Scale.V)
			case deprecated.Interval:
				return cell.Type{}
			}
		}
		return cell.Type{Kind: cell.Text}
	case *format.DecimalType:
		return decimalType(l.Scale)
	case *format.UUIDType:
		if n == 16 {
			return cell.Type{Kind: cell.UUID}
		}
	case *format.Float16Type:
		if n == 2 {
			return cell.Type{Kind: cell.Float32}
		}
	}
	return cell.Type{}
}
