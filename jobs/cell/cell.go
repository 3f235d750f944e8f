// Package cell is one value of a table's row, whatever format the table is in: what types there
// are, what a value of each is as a number, and how it is written as text.
//
// Invariant: the same datum gives the same number and the same text from every format. A decimal
// of a Parquet file, a double of an Avro file and the digits of a CSV file that stand for the
// same value become the same float64, bit for bit.
//
// Readers of formats (packages parquet and table) make the values; package table decides what they
// mean for a row. It knows nothing of columns, rows or files.
package cell

import (
	"encoding/hex"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"time"
)

// Kind is what a column's values are.
type Kind uint8

// The kinds.
const (
	Other     Kind = iota // nothing that a table's row can use: lists, maps, intervals
	Bool                  // Int is 0 or 1
	Int                   // Int
	Uint                  // Int holds the bits of an unsigned integer
	Float32               // Float
	Float64               // Float
	Decimal               // Int, or the big-endian two's complement in Bytes, times 10^-Scale
	Text                  // Bytes, as UTF-8
	UUID                  // Bytes: 16 of them
	Date                  // Int: days since 1970-01-01
	Time                  // Int: ticks of Unit since midnight
	Timestamp             // Int: ticks of Unit since 1970-01-01T00:00:00Z
	LocalTime             // like Timestamp, of no time zone
	Null                  // a column in which nothing but null can stand
)

var kindNames = map[Kind]string{Other: "nested or unknown", Bool: "boolean", Int: "integer", Uint: "unsigned integer", Float32: "float", Float64: "double",
	Decimal: "decimal", Text: "text", UUID: "uuid", Date: "date", Time: "time", Timestamp: "timestamp", LocalTime: "local timestamp", Null: "null"}

// Type is a column's kind with what belongs to it.
type Type struct {
	Kind  Kind
	Scale int           // of a Decimal
	Unit  time.Duration // of Time, Timestamp and LocalTime
}

// String names the type; equal types have equal names.
func (t Type) String() string {
	switch t.Kind {
	case Decimal:
		return fmt.Sprintf("decimal with %d places", t.Scale)
	case Time, Timestamp, LocalTime:
		return fmt.Sprintf("%s in %s", kindNames[t.Kind], t.Unit)
	}
	return kindNames[t.Kind]
}

// Numeric tells whether a column of the type is taken for a feature when nobody names it.
func (t Type) Numeric() bool {
	switch t.Kind {
	case Bool, Int, Uint, Float32, Float64, Decimal:
		return true
	}
	return false
}

// Usable tells whether values of the type can be a key, a label or a feature at all.
func (t Type) Usable() bool { return t.Kind != Other }

// Value is one value. Which fields count is up to its type. Bytes are valid until the reader's
// next step.
type Value struct {
	Null  bool
	Int   int64
	Float float64
	Bytes []byte
}

// MaxDecimal bounds the bytes of a decimal: 154 digits.
const MaxDecimal = 64

// Number is the value as a number: dates are days, times and timestamps are seconds. Text and
// bytes are no numbers here; a null value must not be asked for.
func (t Type) Number(v *Value) (float64, bool) {
	switch t.Kind {
	case Bool, Int, Date:
		return float64(v.Int), true
	case Uint:
		return float64(uint64(v.Int)), true
	case Float32, Float64:
		return v.Float, true
	case Decimal:
		return t.decimal(v)
	case Time, Timestamp, LocalTime:
		return t.seconds(v.Int), true
	}
	return 0, false
}

// seconds are ticks in seconds, rounded once.
func (t Type) seconds(ticks int64) float64 {
	per := int64(time.Second / max(t.Unit, 1))
	return float64(ticks/per) + float64(ticks%per)/float64(per)
}

// exactPowers are the powers of ten that a float64 holds exactly.
var exactPowers = [...]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22}

// decimal divides where that is exact but for one rounding, as reading the digits is; else it
// reads the digits.
func (t Type) decimal(v *Value) (float64, bool) {
	const exact = 1 << 53
	if v.Bytes == nil && v.Int > -exact && v.Int < exact && t.Scale < len(exactPowers) {
		return float64(v.Int) / exactPowers[t.Scale], true
	}
	f, err := strconv.ParseFloat(string(t.AppendText(nil, v)), 64)
	return f, err == nil
}

// AppendText appends the value as text: integers in decimal, floats in the shortest form that
// reads back, booleans as true and false, dates and times by ISO 8601, decimals with all places.
func (t Type) AppendText(dst []byte, v *Value) []byte {
	switch t.Kind {
	case Bool:
		return strconv.AppendBool(dst, v.Int != 0)
	case Int:
		return strconv.AppendInt(dst, v.Int, 10)
	case Uint:
		return strconv.AppendUint(dst, uint64(v.Int), 10)
	case Float32:
		return appendFloat(dst, v.Float, 32)
	case Float64:
		return appendFloat(dst, v.Float, 64)
	case Decimal:
		return t.appendDecimal(dst, v)
	case Text:
		return append(dst, v.Bytes...)
	case UUID:
		return appendUUID(dst, v.Bytes)
	case Date:
		return time.Unix(v.Int*86400, 0).UTC().AppendFormat(dst, time.DateOnly)
	case Time:
		return t.clock(v.Int).AppendFormat(dst, "15:04:05.999999999")
	case Timestamp:
		return t.clock(v.Int).AppendFormat(dst, "2006-01-02T15:04:05.999999999Z")
	case LocalTime:
		return t.clock(v.Int).AppendFormat(dst, "2006-01-02T15:04:05.999999999")
	}
	return dst
}

// clock is the time of ticks since 1970.
func (t Type) clock(ticks int64) time.Time {
	per := int64(time.Second / max(t.Unit, 1))
	return time.Unix(ticks/per, ticks%per*int64(max(t.Unit, 1))).UTC()
}

// appendFloat writes whole numbers of reasonable size without an exponent: a label 1 that some
// program has stored as a double is still "1", and 1e6 is "1000000" as an integer is.
func appendFloat(dst []byte, f float64, bits int) []byte {
	if f == math.Trunc(f) && math.Abs(f) < 1e15 {
		return strconv.AppendFloat(dst, f, 'f', -1, bits)
	}
	return strconv.AppendFloat(dst, f, 'g', -1, bits)
}

func (t Type) appendDecimal(dst []byte, v *Value) []byte {
	n := big.NewInt(v.Int)
	if v.Bytes != nil {
		n = bigEndian(v.Bytes)
	}
	digits := new(big.Int).Abs(n).String()
	if n.Sign() < 0 {
		dst = append(dst, '-')
	}
	for len(digits) <= t.Scale {
		digits = "0" + digits
	}
	whole := len(digits) - t.Scale
	dst = append(dst, digits[:whole]...)
	if t.Scale > 0 {
		dst = append(append(dst, '.'), digits[whole:]...)
	}
	return dst
}

// bigEndian reads a two's complement integer.
func bigEndian(b []byte) *big.Int {
	n := new(big.Int).SetBytes(b)
	if len(b) > 0 && b[0]&0x80 != 0 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	return n
}

func appendUUID(dst, b []byte) []byte {
	for i, n := range []int{4, 6, 8, 10, 16} {
		start := []int{0, 4, 6, 8, 10}[i]
		if i > 0 {
			dst = append(dst, '-')
		}
		dst = hex.AppendEncode(dst, b[min(start, len(b)):min(n, len(b))])
	}
	return dst
}
