package run

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/table"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/local"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// stores opens the URIs of a job file.
func stores() *dfs.Mux {
	return dfs.NewMux(map[string]dfs.OpenFunc{"file": local.Open})
}

// TableFiles lists the files of a table: the file itself, or the .csv files of a folder sorted by path
// (names that begin with "_" or "." are not data).
func TableFiles(ctx context.Context, j *conf.Job) (dfs.FS, []dfs.Path, error) {
	uri := string(j.Table.URI)
	fail := func(cause, next string, err error) (dfs.FS, []dfs.Path, error) {
		return nil, nil, &InputError{ID: "E-TABLE", Key: "table.uri", Path: uri, Cause: cause, Err: err, Next: next}
	}
	fs, path, err := stores().Resolve(ctx, uri)
	if err != nil {
		return fail("cannot be opened", "check table.uri", err)
	}
	info, err := fs.Stat(ctx, path)
	if err == nil {
		if info.Size == 0 {
			return fail("is empty", "the first line of the file names the columns", nil)
		}
		return fs, []dfs.Path{path}, nil
	}
	if errs.KindOf(err) != errs.NotExist {
		return fail("cannot be read", "check the file and its permissions", err)
	}
	var files []dfs.Path
	for info, err := range fs.List(ctx, path) {
		if err != nil {
			return fail("cannot be read", "check the folder and its permissions", err)
		}
		if name := info.Path.Base(); strings.HasSuffix(strings.ToLower(name), ".csv") && name[0] != '_' && name[0] != '.' && info.Size > 0 {
			files = append(files, info.Path)
		}
	}
	if len(files) == 0 {
		return fail("does not exist, or holds no .csv file", "set table.uri to the table's file"+nearHint(j.Table.URI.LocalPath()), nil)
	}
	return fs, files, nil
}

// tableSpec is what a job file says about the table.
func tableSpec(j *conf.Job) table.Spec {
	return table.Spec{URI: string(j.Table.URI), Key: j.Table.Key, Label: j.Table.Label, Features: j.Table.Features, Image: j.Images.Column}
}

// checkTable sees to it that the table's header has the columns that the job names and that there is
// something to learn from.
func checkTable(ctx context.Context, j *conf.Job, _ *Options) (string, error) {
	fs, files, err := TableFiles(ctx, j)
	if err != nil {
		return "", err
	}
	s, err := table.Inspect(ctx, fs, files[0], tableSpec(j))
	var header *table.HeaderError
	if errors.As(err, &header) {
		return "", err
	}
	if err != nil {
		return "", &InputError{ID: "E-TABLE", Key: "table.uri", Path: string(j.Table.URI), Cause: "cannot be read", Err: err, Next: "check that it is a CSV file with a header line"}
	}
	detail := fmt.Sprintf("%s, key %s, label %s, %d features", j.Table.URI, j.Table.Key, j.Table.Label, len(s.Features))
	if n := len(s.Skipped); n > 0 {
		detail += fmt.Sprintf("; not numeric and left out: %s", strings.Join(s.Skipped[:min(n, 8)], ", "))
	}
	return detail, nil
}
