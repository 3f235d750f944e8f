package table

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/vista-mr/vista-mr/mr/dfs"
)

// sampleRows is how many rows of a CSV file decide whether a column is numeric.
const sampleRows = 1000

// Inspect looks at how the files begin and at the columns of the first, and finds the columns that
// the job speaks of. Files of a format must all be; whether their columns are the same is found
// when they are read.
func Inspect(ctx context.Context, fs dfs.FS, paths []dfs.Path, spec Spec) (*Schema, error) {
	if len(paths) == 0 {
		return nil, &HeaderError{Path: spec.URI, Problem: "there is no file", Fix: "set table.uri to the table's file or folder"}
	}
	s := &Schema{NoHeader: spec.NoHeader, Missing: spec.Missing}
	if s.Missing == "" {
		s.Missing = MissingBad
	}
	for i, p := range paths {
		format, err := Sniff(ctx, fs, p)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			s.Format = format
		}
		if base(format) != base(s.Format) {
			return nil, mixed(dfs.Name(fs, p), format, s.Format)
		}
	}
	if base(s.Format) != CSV {
		return s, s.inspectTyped(ctx, fs, paths[0], spec)
	}
	return s, s.inspectCSV(ctx, fs, paths[0], spec)
}

func (s *Schema) inspectCSV(ctx context.Context, fs dfs.FS, path dfs.Path, spec Spec) error {
	c, err := peekCSV(ctx, fs, path, s.Format, spec.Delimiter)
	if err != nil {
		return err
	}
	defer c.close() // reading only
	s.Delimiter = string(c.csv.comma)
	if s.Columns, err = c.columns(spec.NoHeader); err != nil {
		return err
	}
	if err := s.roles(dfs.Name(fs, path), spec); err != nil {
		return err
	}
	var numeric []bool
	if len(spec.Features) == 0 {
		if numeric, err = c.numericColumns(ctx, len(s.Columns), spec.NoHeader); err != nil {
			return err
		}
	}
	return s.features(dfs.Name(fs, path), spec, numeric)
}

// numericColumns tells which columns hold numbers, by a sample. A few values that are none make
// their rows bad, not the column text: a column is text when most values are.
func (c *csvFile) numericColumns(ctx context.Context, columns int, first bool) ([]bool, error) {
	number, text := make([]int, columns), make([]int, columns)
	c.csv.most = columns + 1
	for n := 0; n < sampleRows; n++ {
		if n > 0 || !first { // without a header, the first record was read already
			err := c.csv.read()
			if err == io.EOF {
				break
			}
			if errors.Is(err, errBareQuote) || errors.Is(err, errQuote) || errors.Is(err, errOpen) {
				continue
			}
			if err != nil {
				return nil, c.failure(err)
			}
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if c.csv.count != columns {
			continue
		}
		for i, f := range c.csv.fields {
			switch _, missing, ok := parseNumber(f); {
			case ok:
				number[i]++
			case !missing:
				text[i]++
			}
		}
	}
	out := make([]bool, columns)
	for i := range out {
		out[i] = number[i] > text[i]
	}
	return out, nil
}

func (s *Schema) inspectTyped(ctx context.Context, fs dfs.FS, path dfs.Path, spec Spec) error {
	f, err := fs.Open(ctx, path)
	if err != nil {
		return err
	}
	defer f.Close() // reading only
	open := openAvro
	if s.Format == Parquet {
		open = openParquet
	}
	t, err := open(f, dfs.Name(fs, path))
	if err != nil {
		return err
	}
	if s.Columns, s.Types, err = t.names(); err != nil {
		return err
	}
	if err := s.roles(dfs.Name(fs, path), spec); err != nil {
		return err
	}
	numeric := make([]bool, len(t.columns))
	for i, c := range t.columns {
		numeric[i] = c.typ.Numeric()
	}
	if err := s.features(dfs.Name(fs, path), spec, numeric); err != nil {
		return err
	}
	used := []int{s.Key, s.Label}
	if s.Image != nil {
		used = append(used, *s.Image)
	}
	for _, f := range s.Features {
		used = append(used, f.Column)
	}
	for _, i := range used {
		if !t.columns[i].typ.Usable() {
			return &HeaderError{Path: dfs.Name(fs, path), Problem: fmt.Sprintf("column %q is %s: it has no value for a row", s.Columns[i], s.Types[i]),
				Fix: "leave the column out, or store it flat"}
		}
	}
	return nil
}

// roles finds key, label and the column of image paths.
func (s *Schema) roles(path string, spec Spec) (err error) {
	if s.Key, err = s.find(path, spec.Key, "table.key"); err != nil {
		return err
	}
	if s.Label, err = s.find(path, spec.Label, "table.label"); err != nil || spec.Image == "" {
		return err
	}
	i, err := s.find(path, spec.Image, "images.column")
	s.Image = &i
	return err
}

// features takes the columns that the job names, or all numeric ones; categorical ones belong to
// them in any case.
func (s *Schema) features(path string, spec Spec, numeric []bool) error {
	at := make(map[string]int, len(s.Columns)) // a job file may name as many columns as a table has
	for i, name := range s.Columns {
		at[name] = i
	}
	categorical := make([]bool, len(s.Columns))
	wanted := make([]bool, len(s.Columns))
	for _, c := range []struct {
		where string
		names []string
		mark  []bool
	}{{"table.features", spec.Features, wanted}, {"table.categorical", spec.Categorical, categorical}} {
		for _, name := range c.names {
			i, ok := at[name]
			if !ok {
				return s.notFound(path, name, c.where)
			}
			if i == s.Key || i == s.Label {
				return s.noColumn(path, fmt.Sprintf("%s names the column %q, which is the key or the label", c.where, name), "take it out of "+c.where)
			}
			c.mark[i] = true
		}
	}
	for i, name := range s.Columns {
		switch {
		case i == s.Key || i == s.Label || s.Image != nil && i == *s.Image && !categorical[i] && !wanted[i]:
		case categorical[i]:
			s.Features = append(s.Features, Feature{Column: i, Categorical: true})
		case wanted[i] || len(spec.Features) == 0 && numeric[i] && !isIndex(name):
			s.Features = append(s.Features, Feature{Column: i})
		case len(spec.Features) == 0:
			s.Skipped = append(s.Skipped, cmp.Or(name, "(no name)"))
		}
	}
	return nil
}

// isIndex tells whether a column holds the numbers of the rows, as pandas leaves them in its files.
func isIndex(name string) bool {
	return name == "" || name == "Unnamed: 0" || strings.HasPrefix(name, "__index_level_")
}

// find looks a column up by name; where says which setting named it.
func (s *Schema) find(path, name, where string) (int, error) {
	if i := slices.Index(s.Columns, name); i >= 0 {
		return i, nil
	}
	return 0, s.notFound(path, name, where)
}

// notFound says that there is no such column, and which there are.
func (s *Schema) notFound(path, name, where string) error {
	problem := fmt.Sprintf("no column %q, which %s names", Shown(name, maxShownName), where)
	if s.Delimiter != "" && len(s.Columns) == 1 && !s.NoHeader {
		problem += fmt.Sprintf(": the line has no %s and makes one column", delimiterName(s.Delimiter))
	}
	fix := fmt.Sprintf("set %s to one of: %s", where, strings.Join(head(s.Columns, 12), ", "))
	if near := nearest(s.Columns, name); near != "" {
		fix = fmt.Sprintf("did you mean %q? set %s to one of the table's columns", near, where)
	} else if s.NoHeader {
		fix = fmt.Sprintf("without a header (table.header: false) the columns are %s", strings.Join(head(s.Columns, 12), ", "))
	}
	return s.noColumn(path, problem, fix)
}

func (s *Schema) noColumn(path, problem, fix string) error {
	return &HeaderError{Path: path, Line: base(s.Format) == CSV, Problem: problem, Fix: fix}
}

func head(s []string, n int) (out []string) {
	for _, name := range s[:min(len(s), n)] {
		out = append(out, Shown(name, maxShownName))
	}
	if len(s) > n {
		out = append(out, fmt.Sprintf("... (%d columns)", len(s)))
	}
	return out
}

// Describe names the format as people call it, and the delimiter of CSV.
func (s *Schema) Describe() string {
	if s.Delimiter == "" {
		return formatName(s.Format)
	}
	return fmt.Sprintf("%s cut by %s", formatName(s.Format), delimiterName(s.Delimiter))
}
