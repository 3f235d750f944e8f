package run

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"path"
	"slices"
	"strings"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/ingest"
	"github.com/vista-mr/vista-mr/jobs/results"
	"github.com/vista-mr/vista-mr/jobs/table"
	"github.com/vista-mr/vista-mr/lr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/local"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/store"
)

// stores opens the URIs of a job file. Tests put stores of their own in its place.
var stores = func() *dfs.Mux {
	return dfs.NewMux(map[string]dfs.OpenFunc{"file": local.Open, "hdfs": store.HDFS.Open, "s3": store.S3.Open, "s3a": store.S3.Open})
}

// tableEndings are the names that data files of a folder end in. A name without an ending is data, too: so
// Hadoop names what it writes.
var tableEndings = []string{"", ".csv", ".tsv", ".txt", ".gz", ".parquet", ".pq", ".avro"}

// TableFiles lists the files of a table: the file itself, or the data files of a folder sorted by path. What
// lies below a name that begins with "_" or "." is no data, nor is what ends in a name that tables do not
// have, nor an empty file.
func TableFiles(ctx context.Context, j *conf.Job) (dfs.FS, []dfs.Path, error) {
	uri := string(j.Table.URI)
	fail := func(cause, next string, err error) (dfs.FS, []dfs.Path, error) {
		if serr := exit.Store(err); serr != nil { // it knows better
			return nil, nil, serr
		}
		if saysWhatToDo(err) {
			return nil, nil, err
		}
		if away(uri, err) {
			return nil, nil, elsewhere("table.uri", uri, err)
		}
		return nil, nil, &InputError{ID: "E-TABLE", Key: "table.uri", Path: uri, Cause: cause, Err: err, Next: next}
	}
	fs, root, err := stores().Resolve(ctx, uri)
	if err != nil {
		return fail("cannot be opened", "check table.uri", err)
	}
	info, err := fs.Stat(ctx, root)
	if err == nil {
		if info.Size == 0 {
			return fail("is empty", "the first line of the file names the columns", nil)
		}
		return fs, []dfs.Path{root}, nil
	}
	if errs.KindOf(err) != errs.NotExist {
		return fail("cannot be read", "check the file and its permissions", err)
	}
	var files []dfs.Path
	for info, err := range fs.List(ctx, root) {
		if err != nil {
			return fail("cannot be read", "check the folder and its permissions", err)
		}
		ending := strings.ToLower(path.Ext(info.Path.Base()))
		if info.Size > 0 && slices.Contains(tableEndings, ending) && !hidden(root, info.Path) {
			files = append(files, info.Path)
		}
	}
	if len(files) == 0 {
		return fail("does not exist, or holds no .csv, .parquet or .avro file", "set table.uri to the table's file"+nearHint(j.Table.URI.LocalPath()), nil)
	}
	return fs, files, nil
}

// tableSpec is what a job file says about the table.
func tableSpec(j *conf.Job) table.Spec {
	t := &j.Table
	return table.Spec{URI: string(t.URI), Key: t.Key, Label: t.Label, Features: t.Features, Delimiter: t.Delimiter, NoHeader: !t.Header,
		Missing: t.Missing, Categorical: t.Categorical, Image: j.Images.Column}
}

// hidden tells whether an element of the path below the folder begins with "_" or ".".
func hidden(folder, p dfs.Path) bool {
	below := strings.TrimPrefix(strings.TrimPrefix(string(p), string(folder)), "/")
	return slices.ContainsFunc(strings.Split(below, "/"), func(e string) bool { return e != "" && (e[0] == '_' || e[0] == '.') })
}

// surveyed is a table of which everything is known that a plan needs.
type surveyed struct {
	uri    string // of the table
	fs     dfs.FS
	files  []dfs.Path
	schema *table.Schema
	*ingest.Surveyed
}

// inspect finds the table's files and columns.
func inspect(ctx context.Context, j *conf.Job) (*surveyed, error) {
	fs, files, err := TableFiles(ctx, j)
	if err != nil {
		return nil, err
	}
	s, err := table.Inspect(ctx, fs, files, tableSpec(j))
	return &surveyed{uri: string(j.Table.URI), fs: fs, files: files, schema: s}, asWritten(j, err)
}

// asWritten makes an error name the file as the job file does, and not by its path in the store.
func asWritten(j *conf.Job, err error) error {
	fs, root, rerr := stores().Resolve(context.Background(), string(j.Table.URI))
	if err == nil || rerr != nil {
		return err
	}
	name := func(p *string) {
		if below, ok := strings.CutPrefix(*p, dfs.Name(fs, root)); ok {
			*p = strings.TrimSuffix(string(j.Table.URI), "/") + below
		}
	}
	var header *table.HeaderError
	var format *table.FormatError
	switch {
	case errors.As(err, &header):
		name(&header.Path)
	case errors.As(err, &format):
		name(&format.Path)
	}
	return err
}

// inTable tells errors of training what they are about: the table, and the name of its column.
func inTable(j *conf.Job, columns []string, err error) error {
	var one *lr.OneClassError
	if errors.As(err, &one) {
		one.Table = string(j.Table.URI)
	}
	var reach *lr.RangeError
	if errors.As(err, &reach) && reach.Name == "" && reach.Column < len(columns) {
		reach.Name = columns[reach.Column]
	}
	return err
}

// survey reads the whole table.
func survey(ctx context.Context, j *conf.Job) (*surveyed, error) {
	s, err := inspect(ctx, j)
	if err != nil {
		return nil, err
	}
	maxBad, err := s.maxBad(ctx, j)
	if err != nil {
		return nil, err
	}
	s.Surveyed, err = ingest.Survey(ctx, s.fs, s.files, s.schema, j.Table.MaxCategories, uint64(j.Seed), j.Downstream.Test, maxBad)
	var many *ingest.TooManyError
	if errors.As(err, &many) {
		return nil, exit.Running(&BadRecordsError{Causes: many.Causes, First: many.First, Rows: maxBad, Advice: adviceOnRows(many.Causes),
			Err: &errs.Error{Kind: errs.Budget, ID: "E-BAD-RECORDS", Err: fmt.Errorf("the table has more bad rows than a share of %g allows in a file of its size, and the rest was not read", j.Limits.MaxBadFraction)}})
	}
	if err != nil {
		return nil, asWritten(j, err)
	}
	if s.Encoding.Rows == 0 {
		return nil, &InputError{ID: "E-TABLE", Key: "table.uri", Path: string(j.Table.URI), Cause: "has columns and no rows", Next: "set table.uri to a table with rows"}
	}
	return s, nil
}

// fewBad bad rows are always counted, so that what is said of small tables is complete.
const fewBad = 100_000

// maxBad is how many bad rows leave no hope that the others are enough. A row of a CSV file takes two bytes at the
// least, so a file of 60 MB can hold 30 million rows, all of them bad: there is no need to look at all of them.
func (s *surveyed) maxBad(ctx context.Context, j *conf.Job) (int64, error) {
	if s.schema.Format != table.CSV || j.Limits.MaxBadFraction >= 1 {
		return math.MaxInt64, nil
	}
	size := int64(0)
	for _, p := range s.files {
		info, err := s.fs.Stat(ctx, p)
		if err != nil {
			return 0, err
		}
		size += info.Size
	}
	return max(fewBad, int64(j.Limits.MaxBadFraction*float64(size/2+1))), nil
}

// adviceOnRows is what helps most of a table's bad rows, if one thing does.
func adviceOnRows(causes map[string]int64) string {
	if 2*causes["encoding"] > sum(causes) {
		return "convert the table to UTF-8, for example: iconv -f LATIN1 -t UTF-8 OLD > NEW"
	}
	return ""
}

// checkTable sees to it that the table has the columns that the job names, and that its rows can be encoded.
func checkTable(ctx context.Context, j *conf.Job, _ *Options, f *findings) (string, error) {
	s, err := survey(ctx, j)
	if err != nil {
		return "", asTableError(j, err)
	}
	f.table = s
	return s.describe(j), nil
}

// asTableError gives an error that does not say what the user can do one that does: a store's failure.
func asTableError(j *conf.Job, err error) error {
	if serr := exit.Store(err); serr != nil {
		return serr
	}
	if saysWhatToDo(err) {
		return err
	}
	if away(string(j.Table.URI), err) {
		return elsewhere("table.uri", string(j.Table.URI), err)
	}
	return &InputError{ID: "E-TABLE", Key: "table.uri", Path: string(j.Table.URI), Cause: "cannot be read", Err: err, Next: "check the files and their permissions"}
}

// saysWhatToDo tells whether an error has an id and a hint of its own. The engine's errors have ids of their kinds, which say
// little: of those one counts that was given its own.
func saysWhatToDo(err error) bool {
	e, kindOnly := err.(*errs.Error) // looked at by itself, and not for what is in it
	if kindOnly = kindOnly && e.ID == ""; !kindOnly {
		says, ok := err.(interface {
			ErrorID() string
			Hint() string
		})
		if ok && says.Hint() != "" {
			return true
		}
	}
	switch u := err.(type) {
	case interface{ Unwrap() error }:
		return saysWhatToDo(u.Unwrap())
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(u.Unwrap(), saysWhatToDo)
	}
	return false
}

// describe says what was found.
func (s *surveyed) describe(j *conf.Job) string {
	e := &s.Encoding
	out := []string{fmt.Sprintf("%s, key %s, label %s, %s", j.Table.URI, j.Table.Key, j.Table.Label, results.Several(int64(e.Width()), "feature"))}
	out = append(out, fmt.Sprintf("%s%s; %s, %s of them usable, %d %s", s.schema.Describe(), files(len(s.files)),
		results.Several(e.Rows, "row"), results.Count(e.Good), len(s.Classes), plural(len(s.Classes), "class", "classes")))
	if e.Dropped > 0 {
		out = append(out, fmt.Sprintf("%s left out for a missing value", results.Several(e.Dropped, "row")))
	}
	for _, cause := range slices.Sorted(maps.Keys(s.Causes)) {
		out = append(out, fmt.Sprintf("bad rows: %s %s", results.Count(s.Causes[cause]), cause))
	}
	for i := range e.Columns {
		switch c := &e.Columns[i]; {
		case c.Categorical:
			out = append(out, fmt.Sprintf("%s: %s", c.Name, results.Several(int64(c.Width()), "column")))
		case c.Missing > 0:
			out = append(out, fmt.Sprintf("%s: %s missing, filled with %v", c.Name, results.Count(c.Missing), c.Fill))
		}
	}
	if n := len(s.schema.Skipped); n > 0 {
		out = append(out, "left out: "+strings.Join(s.schema.Skipped[:min(n, 8)], ", "))
	}
	return strings.Join(out, "; ")
}

func files(n int) string {
	if n == 1 {
		return ""
	}
	return fmt.Sprintf(", %d files", n)
}

// summary is what the results say about the table.
func (s *surveyed) summary() *results.Table {
	t := &results.Table{Format: s.schema.Format, Files: len(s.files), Missing: s.schema.Missing}
	for i := range s.Encoding.Columns {
		switch c := &s.Encoding.Columns[i]; {
		case c.Categorical:
			t.Categorical = append(t.Categorical, results.Categorical{Column: c.Name, Categories: c.Categories, Other: c.Others, Missing: c.Missing, Absent: c.Absent})
		case c.Missing > 0:
			t.Filled = append(t.Filled, results.Filled{Column: c.Name, Rows: c.Missing, Value: c.Fill})
		}
	}
	return t
}
