// Package table reads the structured side of a job, one record per row, and tells good rows
// from bad ones.
//
// Invariant: every row of the files is either yielded as a row with one finite or missing value
// for each feature column, or yielded as a Bad with its place and cause. None is dropped in
// silence, and a bad row never ends the reading. The same rows give the same values from every
// format: CSV, gzipped CSV, Parquet and Avro.
//
//  1. Inspect looks at what the files are (sniff.go) and finds the columns: a Schema.
//  2. Read yields the rows as they stand in the files (csv.go, typed.go, avro.go).
//  3. A Surveyor that has seen all rows knows what fills a missing value and which categories have
//     columns: an Encoding.
//  4. Encoding.Append turns a row into the numbers that models take.
//
// The ingest job reads whole tables with it, after the planner has made schema and encoding;
// both travel with the job as data. It knows nothing of images, splits or tasks.
package table

import (
	"fmt"

	"github.com/vista-mr/vista-mr/mr/errs"
)

// Formats of a table's files.
const (
	CSV     = "csv"
	GzipCSV = "csv.gz"
	Parquet = "parquet"
	Avro    = "avro"
)

// What a missing value does to its row.
const (
	MissingBad  = "bad"  // the row is a bad record
	MissingMean = "mean" // it is filled
	MissingDrop = "drop" // the row is left out
)

// Spec is what the job file says about a table.
type Spec struct {
	URI         string
	Key         string
	Label       string
	Features    []string // empty: every other numeric column, and those of Categorical
	Delimiter   string   // auto, tab or the character; "" is auto
	NoHeader    bool
	Missing     string // "" is bad
	Categorical []string
	Image       string // column with the record's image path; empty: none
}

// Schema says where a table's columns are. It is made once, from the first file and a sample,
// and travels with the job, so that every reader agrees on it.
type Schema struct {
	Format    string    `json:"format"`              // of the first file; csv and csv.gz may stand side by side
	Delimiter string    `json:"delimiter,omitempty"` // of CSV: one character
	NoHeader  bool      `json:"noHeader,omitempty"`
	Missing   string    `json:"missing"`
	Columns   []string  `json:"columns"`
	Types     []string  `json:"types,omitempty"` // of Parquet and Avro columns
	Key       int       `json:"key"`
	Label     int       `json:"label"`
	Features  []Feature `json:"features"`          // in file order
	Image     *int      `json:"image,omitempty"`   // column with the record's image path
	Skipped   []string  `json:"skipped,omitempty"` // columns that are not numeric, or only number the rows, and were not asked for
}

// Feature is a column that models learn from.
type Feature struct {
	Column      int  `json:"column"`
	Categorical bool `json:"categorical,omitempty"`
}

// FeatureNames are the names of the feature columns, in file order.
func (s *Schema) FeatureNames() []string {
	out := make([]string, len(s.Features))
	for i, f := range s.Features {
		out[i] = s.Columns[f.Column]
	}
	return out
}

// Row is one good row. Its memory is reused for the next.
type Row struct {
	File    string // as messages call it
	Line    int    // of a CSV file; of other files the number of the record, from 1
	Unit    string // what Line counts: line, or record
	Key     string
	Label   string
	Image   string // what stands in the column of image paths, if the schema has one
	Cells   []Cell // one for each feature column
	Missing int    // how many of the cells are missing
}

// Cell is a feature's value as it stands in the row.
type Cell struct {
	Missing bool
	Number  float64 // of a numeric column
	Text    []byte  // of a categorical one; nil: too long to name a category
}

// Bad is one row that cannot be used.
type Bad struct {
	File  string // as messages call it
	Line  int
	Key   string // if it could be read, or of a long one the beginning
	Cause string // ragged, quote, encoding, no-key, no-label, long, number, missing
	Unit  string // as in Row
	Err   error

	cut bool // Key is the beginning alone
}

// WholeKey is the row's key if it could be read to its end, else "".
func (b *Bad) WholeKey() string {
	if b.cut {
		return ""
	}
	return b.Key
}

func (b *Bad) Error() string { return fmt.Sprintf("%s: %s %d: %v", b.File, b.Unit, b.Line, b.Err) }

// HeaderError says that a table's columns do not fit the job, or that its files do not fit each
// other.
type HeaderError struct {
	Path    string
	Line    bool // it is the first line of a CSV file that does not fit
	Problem string
	Fix     string
}

func (e *HeaderError) Error() string {
	if e.Line {
		return fmt.Sprintf("%s: line 1: %s", e.Path, e.Problem)
	}
	return fmt.Sprintf("%s: %s", e.Path, e.Problem)
}

// ErrorID is stable.
func (e *HeaderError) ErrorID() string { return "E-TABLE-HEADER" }

// Hint says what to do.
func (e *HeaderError) Hint() string { return e.Fix }

// FormatError says that a file is no table that can be read: another format, or damaged.
type FormatError struct {
	Path    string
	Problem string
	Fix     string
	Err     error // may be nil
}

func (e *FormatError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %s: %v", e.Path, e.Problem, e.Err)
	}
	return fmt.Sprintf("%s: %s", e.Path, e.Problem)
}

// ErrorID is stable.
func (e *FormatError) ErrorID() string { return "E-TABLE-FORMAT" }

// Hint says what to do.
func (e *FormatError) Hint() string { return e.Fix }

// Unwrap returns the cause.
func (e *FormatError) Unwrap() error { return e.Err }

// damaged makes an error of a format's reader one that names the file. A store's failure, which
// says nothing about the file, stays what it is.
func damaged(path, what string, err error) error {
	switch errs.KindOf(err) {
	case errs.Corrupt:
		return &FormatError{Path: path, Problem: what + " is damaged", Err: err, Fix: "write the file again"}
	case errs.Invalid:
		return &FormatError{Path: path, Problem: what + " cannot be read", Err: err, Fix: "write the file in another way, or as CSV"}
	}
	return errs.E("read", errs.KindOf(err), path, err)
}
