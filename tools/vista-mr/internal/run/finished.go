package run

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/results"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
)

// maxResults bounds ResultsFile.
const maxResults = 1 << 30

// Results reads what a finished job has left in its output: results.json, and what it says.
func Results(ctx context.Context, output string) ([]byte, *results.Summary, error) {
	name := conf.URI(output).LocalPath()
	read := readLocal
	if conf.URI(output).Scheme() != "file" {
		read = readElsewhere
	}
	data, err := read(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	s, err := results.Parse(data)
	if err != nil {
		return nil, nil, noResults("E-RESULTS", name, ResultsFile+" cannot be understood", "use the version of vista-mr that wrote it, or run the job again", err)
	}
	return data, s, nil
}

func noResults(id, name, cause, next string, err error) error {
	return exit.As(exit.Invalid, &InputError{ID: id, Key: "results", Path: name, Cause: cause, Next: next, Err: err})
}

// unfinished says why an output without SuccessFile has no results. ours: it has MarkerFile.
func unfinished(name string, ours bool) error {
	if ours {
		return noResults("E-NO-RESULTS", name, "the job is not finished", "vista-mr submit FILE, with its job file, takes it up again", nil)
	}
	return noResults("E-NO-RESULTS", name, "is not the output of a finished job (no "+SuccessFile+")", "give the output folder of a finished job", nil)
}

func readLocal(_ context.Context, dir string) ([]byte, error) {
	if _, err := os.Stat(dir); err != nil {
		return nil, noResults("E-NO-RESULTS", dir, "cannot be read", "give the output folder of a finished job", err)
	}
	if _, err := os.Stat(filepath.Join(dir, SuccessFile)); err != nil {
		_, err := os.Stat(filepath.Join(dir, MarkerFile))
		return nil, unfinished(dir, err == nil)
	}
	Tidy(dir)
	data, err := ReadFile(filepath.Join(dir, ResultsFile), maxResults)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, noResults("E-NO-RESULTS", dir, "holds no "+ResultsFile, "give the output folder of a finished job", nil)
	}
	if err != nil {
		return nil, noResults("E-NO-RESULTS", dir, "cannot be read", "check the permissions of "+ResultsFile, err)
	}
	return data, nil
}

func readElsewhere(ctx context.Context, uri string) ([]byte, error) {
	p, err := openPlace(ctx, conf.URI(uri))
	if err != nil {
		return nil, err
	}
	var there [2]bool
	for i, name := range []dfs.Path{SuccessFile, MarkerFile} {
		_, err := p.out.Stat(ctx, name)
		if err != nil && !errs.Is(err, errs.NotExist) {
			return nil, elsewhere("results", p.name, err)
		}
		there[i] = err == nil
	}
	if !there[0] {
		return nil, unfinished(p.name, there[1])
	}
	p.tidy(ctx)
	data, err := dfs.ReadFile(ctx, p.out, ResultsFile, maxResults)
	if errs.Is(err, errs.NotExist) {
		return nil, noResults("E-NO-RESULTS", p.name, "holds no "+ResultsFile, "give the output folder of a finished job", nil)
	}
	if err != nil {
		return nil, elsewhere("results", p.name, err)
	}
	return data, nil
}

// OutputFile names a file of a job's output as a user would.
func OutputFile(output conf.URI, name string) string {
	if output.Scheme() == "file" {
		return filepath.Join(output.LocalPath(), name)
	}
	return inFolder(folderURI(string(output)), name)
}
