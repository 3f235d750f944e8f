// Package table reads the structured side of a job, one record per row, and tells good rows
// from bad ones.
//
// Invariant: every row of the file is either yielded as a row with exactly one finite value
// for each feature column, or yielded as a Bad with its line and cause. None is dropped in
// silence, and a bad row never ends the reading.
//
// The ingest job reads whole tables with it; validation reads headers and a sample. It knows
// nothing of images, splits or tasks.
package table

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// Spec is what the job file says about a table.
type Spec struct {
	URI      string   `json:"uri"`
	Key      string   `json:"key"`
	Label    string   `json:"label"`
	Features []string `json:"features,omitempty"` // empty: every other numeric column
	Image    string   `json:"image,omitempty"`    // column with the record's image path; empty: none
}

// Schema says where a table's columns are. It is made once, from the header and a sample, and
// travels with the job, so that every reader agrees on it.
type Schema struct {
	Columns  []string `json:"columns"`
	Key      int      `json:"key"`
	Label    int      `json:"label"`
	Features []int    `json:"features"`          // in file order
	Skipped  []string `json:"skipped,omitempty"` // columns that are not numeric and were not asked for
	Image    *int     `json:"image,omitempty"`   // column with the record's image path
}

// FeatureNames are the names of the feature columns, in file order.
func (s *Schema) FeatureNames() []string {
	out := make([]string, len(s.Features))
	for i, f := range s.Features {
		out[i] = s.Columns[f]
	}
	return out
}

// Row is one good row. Its memory is reused for the next.
type Row struct {
	Line  int
	Key   string
	Label string
	Image string // what stands in the column of image paths, if the schema has one
	X     []float32
}

// Bad is one row that cannot be used.
type Bad struct {
	Line  int
	Key   string // if it could be read
	Cause string // ragged, quote, no-key, no-label, number
	Err   error
}

func (b *Bad) Error() string { return fmt.Sprintf("line %d: %v", b.Line, b.Err) }

// HeaderError says that a table's header does not fit the job.
type HeaderError struct {
	Path    string
	Problem string
	Fix     string
}

func (e *HeaderError) Error() string { return fmt.Sprintf("%s: line 1: %s", e.Path, e.Problem) }

// ErrorID is stable.
func (e *HeaderError) ErrorID() string { return "E-TABLE-HEADER" }

// Hint says what to do.
func (e *HeaderError) Hint() string { return e.Fix }

// sampleRows is how many rows decide whether a column is numeric.
const sampleRows = 1000

// maxField bounds one value, so that a missing quote does not read a whole file into memory.
const maxLine = 16 << 20

// Inspect reads the header and a sample of the first rows and finds the columns.
func Inspect(ctx context.Context, fs dfs.FS, path dfs.Path, spec Spec) (*Schema, error) {
	r, err := open(ctx, fs, path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	columns, err := r.header()
	if err != nil {
		return nil, err
	}
	s := &Schema{Columns: columns}
	if s.Key, err = find(string(path), columns, spec.Key, "table.key"); err != nil {
		return nil, err
	}
	if s.Label, err = find(string(path), columns, spec.Label, "table.label"); err != nil {
		return nil, err
	}
	if spec.Image != "" {
		i, err := find(string(path), columns, spec.Image, "images.column")
		if err != nil {
			return nil, err
		}
		s.Image = &i
	}
	if len(spec.Features) > 0 {
		for _, name := range spec.Features {
			i, err := find(string(path), columns, name, "table.features")
			if err != nil {
				return nil, err
			}
			s.Features = append(s.Features, i)
		}
		slices.Sort(s.Features)
		s.Features = slices.Compact(s.Features)
		return s, nil
	}
	return s, r.numericColumns(ctx, s)
}

// numericColumns takes for features every other column whose sampled values are numbers. A
// few that are not make the rows bad, not the column: a column is text when most values are.
func (r *reader) numericColumns(ctx context.Context, s *Schema) error {
	number, text := make([]int, len(s.Columns)), make([]int, len(s.Columns))
	for n := 0; n < sampleRows; n++ {
		rec, err := r.csv.Read()
		if err == io.EOF {
			break
		}
		if err != nil || len(rec) != len(s.Columns) {
			if err := ctx.Err(); err != nil {
				return err
			}
			var pe *csv.ParseError
			if err != nil && !errors.As(err, &pe) {
				return errs.E("read", errs.KindOf(err), string(r.path), err)
			}
			continue
		}
		for i, v := range rec {
			if _, err := strconv.ParseFloat(strings.TrimSpace(v), 32); err == nil {
				number[i]++
			} else if v != "" {
				text[i]++
			}
		}
	}
	for i := range s.Columns {
		switch {
		case i == s.Key || i == s.Label || s.Image != nil && i == *s.Image:
		case number[i] > text[i]:
			s.Features = append(s.Features, i)
		default:
			s.Skipped = append(s.Skipped, s.Columns[i])
		}
	}
	return nil
}

// find looks a column up by name; where says which setting named it.
func find(path string, columns []string, name, where string) (int, error) {
	if i := slices.Index(columns, name); i >= 0 {
		return i, nil
	}
	e := &HeaderError{Path: path, Problem: fmt.Sprintf("no column %q, which %s names", name, where)}
	if near := nearest(columns, name); near != "" {
		e.Fix = fmt.Sprintf("did you mean %q? set %s to one of the table's columns", near, where)
	} else {
		e.Fix = fmt.Sprintf("set %s to one of: %s", where, strings.Join(head(columns, 12), ", "))
	}
	return 0, e
}

func head(s []string, n int) []string {
	if len(s) <= n {
		return s
	}
	return append(slices.Clone(s[:n]), fmt.Sprintf("... (%d columns)", len(s)))
}

// Read yields every row of the files in order: either a row or a *Bad, until an error that is
// not about one row ends it. Every file must have the schema's header.
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
	r, err := open(ctx, fs, path)
	if err != nil {
		yield(nil, err)
		return false
	}
	defer r.Close()
	columns, err := r.header()
	if err != nil {
		yield(nil, err)
		return false
	}
	if !slices.Equal(columns, s.Columns) {
		yield(nil, &HeaderError{Path: string(path), Problem: "its header differs from that of the table's first file",
			Fix: "give all files of the table the same columns in the same order"})
		return false
	}
	row := &Row{X: make([]float32, 0, len(s.Features))}
	for n := 0; ; n++ {
		if n%1024 == 0 {
			if err := ctx.Err(); err != nil {
				yield(nil, err)
				return false
			}
		}
		rec, err := r.csv.Read()
		if err == io.EOF {
			return true
		}
		var pe *csv.ParseError
		switch {
		case errors.As(err, &pe):
			if !yield(nil, &Bad{Line: pe.StartLine, Cause: "quote", Err: fmt.Errorf("%s: %w", path, pe.Err)}) {
				return false
			}
			continue
		case err != nil:
			yield(nil, errs.E("read", errs.KindOf(err), string(path), err))
			return false
		}
		row.Line, _ = r.csv.FieldPos(0)
		if bad := row.parse(rec, s); bad != nil {
			bad.Err = fmt.Errorf("%s: %w", path, bad.Err)
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

func (row *Row) parse(rec []string, s *Schema) *Bad {
	bad := func(cause, format string, args ...any) *Bad {
		b := &Bad{Line: row.Line, Cause: cause, Err: fmt.Errorf(format, args...)}
		if s.Key < len(rec) {
			b.Key = rec[s.Key]
		}
		return b
	}
	if len(rec) != len(s.Columns) {
		return bad("ragged", "%d fields, the header has %d", len(rec), len(s.Columns))
	}
	row.Key, row.Label, row.X = rec[s.Key], rec[s.Label], row.X[:0]
	if row.Key == "" {
		return bad("no-key", "column %q is empty", s.Columns[s.Key])
	}
	if row.Label == "" {
		return bad("no-label", "column %q is empty", s.Columns[s.Label])
	}
	if s.Image != nil {
		row.Image = rec[*s.Image]
	}
	for _, i := range s.Features {
		v, err := strconv.ParseFloat(strings.TrimSpace(rec[i]), 32)
		if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
			return bad("number", "column %q: %q is not a finite number", s.Columns[i], clip(rec[i]))
		}
		row.X = append(row.X, float32(v))
	}
	return nil
}

func clip(s string) string {
	if len(s) > 60 {
		return s[:60] + "..."
	}
	return s
}

// Labels sorts the labels of a table into the order of their classes: by value when all are
// numbers, else by bytes. Class i of a model is the i-th label.
func Labels(set map[string]bool) []string {
	out := make([]string, 0, len(set))
	numeric := true
	for l := range set {
		out = append(out, l)
		_, err := strconv.ParseFloat(l, 64)
		numeric = numeric && err == nil
	}
	sort.Slice(out, func(i, j int) bool {
		if numeric {
			a, _ := strconv.ParseFloat(out[i], 64)
			b, _ := strconv.ParseFloat(out[j], 64)
			if a != b {
				return a < b
			}
		}
		return out[i] < out[j]
	})
	return out
}

// reader is one CSV file being read.
type reader struct {
	path dfs.Path
	file dfs.File
	csv  *csv.Reader
}

func open(ctx context.Context, fs dfs.FS, path dfs.Path) (*reader, error) {
	f, err := fs.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	in := bufio.NewReaderSize(&bounded{r: io.NewSectionReader(f, 0, f.Size())}, 1<<20)
	if bom, err := in.Peek(3); err == nil && bytes.Equal(bom, []byte("\xef\xbb\xbf")) {
		if _, err := in.Discard(3); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	c := csv.NewReader(in)
	c.FieldsPerRecord, c.ReuseRecord = -1, true
	return &reader{path: path, file: f, csv: c}, nil
}

func (r *reader) Close() error { return r.file.Close() }

func (r *reader) header() ([]string, error) {
	rec, err := r.csv.Read()
	if err == io.EOF {
		return nil, &HeaderError{Path: string(r.path), Problem: "the file is empty", Fix: "the first line must name the columns"}
	}
	if err != nil {
		return nil, &HeaderError{Path: string(r.path), Problem: err.Error(), Fix: "the first line must name the columns, separated by commas"}
	}
	seen := map[string]bool{}
	for _, c := range rec {
		if seen[c] {
			return nil, &HeaderError{Path: string(r.path), Problem: fmt.Sprintf("column %q stands there twice", c), Fix: "give every column a name of its own"}
		}
		seen[c] = true
	}
	return slices.Clone(rec), nil
}

// bounded ends the reading of a file whose lines never end.
type bounded struct {
	r    io.Reader
	line int
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if i := bytes.LastIndexByte(p[:n], '\n'); i >= 0 {
		b.line = n - i - 1
	} else {
		b.line += n
	}
	if b.line > maxLine {
		return n, errs.E("read", errs.Invalid, "", fmt.Errorf("a line of more than %d MiB: this is not a CSV table", maxLine>>20))
	}
	return n, err
}
