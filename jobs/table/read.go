package table

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"

	"github.com/vista-mr/vista-mr/mr/dfs"
)

// source is a file of any format being read.
type source interface {
	// use checks that the file has the schema's columns, and reads by it from here on.
	use(s *Schema) error
	// next goes to the next record and sets row.Line; io.EOF is the end.
	next(row *Row) (*Bad, error)
	// text is the value of a column as text, and whether it is missing. It is valid until the next record.
	text(column int) (b []byte, missing bool)
	// label is the same of a key or label: there, only null is missing, and gives nothing.
	label(column int) []byte
	// number is the value of a column as a number; ok says that it is one.
	number(column int) (v float64, missing, ok bool)
	// show is the value for a message.
	show(column int) string
	// unit is what Row.Line counts.
	unit() string
	close() error
}

const (
	// maxName bounds keys and labels, maxCategory the names of categories: longer text is no name, and a
	// hostile file could make it cost more than its own bytes.
	maxName     = 4096
	maxCategory = 200
	// maxNumber bounds numbers, and blanks that are a missing value.
	maxNumber = 400
	// maxCut is how much is shown of a key that is too long.
	maxCut = 100
	// maxShownName is how much is shown of a column's name.
	maxShownName = 200
)

// Read yields every row of the files in order: either a row or a *Bad, until an error that is
// not about one row ends it. Every file must have the schema's columns.
func Read(ctx context.Context, fs dfs.FS, paths []dfs.Path, s *Schema) iter.Seq2[*Row, error] {
	return func(yield func(*Row, error) bool) {
		for _, p := range paths {
			if !readFile(ctx, fs, p, s, yield) {
				return
			}
		}
	}
}

func readFile(ctx context.Context, fs dfs.FS, path dfs.Path, s *Schema, yield func(*Row, error) bool) bool {
	src, err := open(ctx, fs, path, s)
	if err != nil {
		yield(nil, err)
		return false
	}
	defer src.close() // reading only
	row := &Row{File: dfs.Name(fs, path), Cells: make([]Cell, len(s.Features)), Unit: src.unit()}
	for n := 0; ; n++ {
		if n%1024 == 0 {
			if err := ctx.Err(); err != nil {
				yield(nil, err)
				return false
			}
		}
		bad, err := src.next(row)
		if err == io.EOF {
			return true
		}
		if err != nil {
			yield(nil, err)
			return false
		}
		if bad == nil {
			bad = row.take(src, s)
		}
		if bad != nil {
			bad.File = row.File
			if !yield(nil, bad) {
				return false
			}
			continue
		}
		if !yield(row, nil) {
			return false
		}
	}
}

// open opens a file that must be of the table's format.
func open(ctx context.Context, fs dfs.FS, path dfs.Path, s *Schema) (source, error) {
	f, err := fs.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	src, err := openSource(f, dfs.Name(fs, path), s)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err := src.use(s); err != nil {
		return nil, errors.Join(err, src.close())
	}
	return src, nil
}

func openSource(f dfs.File, path string, s *Schema) (source, error) {
	format, err := sniff(f, path)
	if err != nil {
		return nil, err
	}
	if base(format) != base(s.Format) {
		return nil, mixed(path, format, s.Format)
	}
	switch format {
	case Parquet:
		return openParquet(f, path)
	case Avro:
		return openAvro(f, path)
	}
	return openCSV(f, path, format, s.Delimiter)
}

func mixed(path, got, want string) error {
	return &HeaderError{Path: path, Problem: fmt.Sprintf("it is %s, the table's first file is %s", formatName(got), formatName(want)),
		Fix: "keep files of one format in the folder"}
}

// formatName is how messages call a format.
func formatName(f string) string {
	return map[string]string{CSV: "CSV", GzipCSV: "gzipped CSV", Parquet: "Parquet", Avro: "Avro"}[f]
}

// take fills the row from a record, or says why it cannot.
func (row *Row) take(src source, s *Schema) *Bad {
	key := trimName(src.label(s.Key))
	bad := func(cause, format string, args ...any) *Bad {
		b := &Bad{Line: row.Line, Cause: cause, Unit: src.unit(), Err: &problem{format, args}}
		b.setKey(key)
		return b
	}
	if len(key) == 0 {
		return bad("no-key", "column %q is empty", s.name(s.Key))
	}
	label := trimName(src.label(s.Label))
	if len(label) == 0 {
		return bad("no-label", "column %q is empty", s.name(s.Label))
	}
	for _, c := range []struct {
		column int
		text   []byte
	}{{s.Key, key}, {s.Label, label}} {
		if len(c.text) > maxName {
			return bad("long", "column %q has %d bytes, more than %d", s.name(c.column), len(c.text), maxName)
		}
		if !utf8.Valid(c.text) {
			return bad("encoding", "column %q is not UTF-8", s.name(c.column))
		}
	}
	row.Missing = 0
	for i := range row.Cells {
		f := s.Features[i]
		if problem := row.cell(&row.Cells[i], src, f); problem != "" {
			format := "column %q: %q is not a finite number"
			switch {
			case problem == "encoding":
				format = "column %q: %q is not UTF-8"
			case tooLarge(src, f.Column):
				format = "column %q: %q is too large: models compute with numbers of up to 3.4e38 (float32)"
			}
			return bad(problem, format, s.name(f.Column), Shown(src.show(f.Column), maxCellShown))
		}
		if !row.Cells[i].Missing {
			continue
		}
		if row.Missing++; s.Missing == MissingBad || s.Missing == "" {
			return bad("missing", "column %q has no value (%q); table.missing says what to do with such rows", s.name(f.Column), Shown(src.show(f.Column), maxCellShown))
		}
	}
	again(&row.Key, key)
	again(&row.Label, label)
	if s.Image != nil {
		path := src.label(*s.Image)
		if len(path) > maxName {
			return bad("long", "column %q has %d bytes, more than %d", s.name(*s.Image), len(path), maxName)
		}
		again(&row.Image, path)
	}
	return nil
}

// again sets a string, and leaves it as it is if it has that text already: labels repeat, and hostile files repeat keys
// and paths of 4 KiB a million times.
func again(s *string, to []byte) {
	if *s != string(to) {
		*s = string(to)
	}
}

// cell fills one cell, or names the cause why it cannot.
func (row *Row) cell(c *Cell, src source, f Feature) (cause string) {
	*c = Cell{}
	if f.Categorical {
		c.Text, c.Missing = src.text(f.Column)
		switch {
		case c.Missing || len(c.Text) > maxCategory:
			c.Text = nil
		case !utf8.Valid(c.Text):
			return "encoding"
		}
		return ""
	}
	v, missing, ok := src.number(f.Column)
	if missing {
		c.Missing = true
		return ""
	}
	if !ok || math.IsInf(float64(float32(v)), 0) { // what float32 cannot hold is infinite to a model
		return "number"
	}
	c.Number = v
	return ""
}

// tooLarge tells whether a cell holds a number that is finite and no float32.
func tooLarge(src source, column int) bool {
	if v, _, ok := src.number(column); ok {
		return !math.IsInf(v, 0)
	}
	s := src.show(column)
	if len(s) > maxNumber || strings.ContainsAny(s, notDecimal) {
		return false
	}
	_, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	return errors.Is(err, strconv.ErrRange)
}

// problem is an error whose text is made when somebody reads it: a small file can have millions of bad rows.
type problem struct {
	format string
	args   []any
}

func (p *problem) Error() string { return fmt.Sprintf(p.format, p.args...) }

// setKey says what a bad row's key is, as far as it can be shown. A key that is too long is no key.
func (b *Bad) setKey(key []byte) {
	if b.cut = len(key) > maxName; b.cut {
		key = key[:maxCut]
	}
	b.Key = string(key)
	if !utf8.Valid(key) { // the check takes a tenth of the repair's time
		b.Key = strings.ToValidUTF8(b.Key, "\uFFFD")
	}
}

// trimName takes the blanks around a key or label off, if it is not too long to be one: blanks count there, too, since
// a Parquet file can give megabytes of them to each of a million rows.
func trimName(b []byte) []byte {
	if len(b) > maxName {
		return b
	}
	return bytes.TrimSpace(b)
}

// name is a column's name as messages show it.
func (s *Schema) name(column int) string { return Shown(s.Columns[column], maxShownName) }

// Shown is text of a table as far as it is shown.
func Shown(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

// maxCellShown is how much of a cell a message shows.
const maxCellShown = 60

// missingText tells whether text stands for no value: it is empty but for blanks, or NA, N/A, NaN
// or null, in capitals or not. Longer text is not looked at: a Parquet file can give megabytes of blanks to each of a
// million rows.
func missingText(b []byte) bool {
	if len(b) > maxNumber {
		return false
	}
	for len(b) > 0 && isBlank(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isBlank(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	switch len(b) {
	case 0:
		return true
	case 2, 3, 4:
		if b[0]|0x20 != 'n' {
			return false
		}
		switch strings.ToLower(string(b)) {
		case "na", "n/a", "nan", "null":
			return true
		}
	}
	return false
}

func isBlank(b byte) bool { return b == ' ' || b == '\t' }

// notDecimal are what strconv reads in numbers and only programs write: 1_000, 0x1p3.
const notDecimal = "_xXpP"

// parseNumber reads a number as text: the decimal ones that strconv reads, blanks around it, true and false as 1 and 0.
func parseNumber(b []byte) (v float64, missing, ok bool) {
	if v, ok = plainNumber(b); ok {
		return v, false, true
	}
	if missingText(b) {
		return 0, true, false
	}
	if len(b) > maxNumber || bytes.ContainsAny(b, notDecimal) {
		return 0, false, false
	}
	s := strings.TrimSpace(unsafe.String(unsafe.SliceData(b), len(b)))
	v, err := strconv.ParseFloat(s, 64)
	switch {
	case err == nil && v != v: // nan with a sign
		return 0, true, false
	case err == nil:
		return v, false, true
	case strings.EqualFold(s, "true"):
		return 1, false, true
	case strings.EqualFold(s, "false"):
		return 0, false, true
	}
	return 0, false, false
}

// plainNumber reads what nearly all numbers of tables look like: at most 19 digits with a point
// somewhere. Such a number is one exact division away from its digits, as strconv knows, too; what is
// not so simple is left to it. It takes a third of strconv's time, and a table has millions of numbers.
func plainNumber(b []byte) (v float64, ok bool) {
	negative := len(b) > 0 && b[0] == '-'
	if negative {
		b = b[1:]
	}
	if len(b) == 0 || len(b) > 19 {
		return 0, false
	}
	digits, point := uint64(0), -1
	for i, c := range b {
		switch {
		case c-'0' <= 9:
			digits = digits*10 + uint64(c-'0')
		case c == '.' && point < 0:
			point = i
		default:
			return 0, false
		}
	}
	if len(b) == 1 && point == 0 || digits >= 1<<53 {
		return 0, false
	}
	v = float64(digits)
	if point >= 0 {
		v /= powers[len(b)-1-point]
	}
	if negative {
		v = -v
	}
	return v, true
}

// powers of ten that a float64 holds exactly.
var powers = [...]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18}
