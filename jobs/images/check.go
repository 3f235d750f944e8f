package images

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/vista-mr/vista-mr/jobs/parquet"
	"github.com/vista-mr/vista-mr/mr/avro"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// Check finds a source's files and looks into the first of them: what it says is what Scan would do, and what
// it refuses Scan would refuse. Of a folder of files there is nothing to look into: it is scanned.
func Check(ctx context.Context, r Resolver, spec Spec) (string, *Index, error) {
	s, err := Find(ctx, r, spec.URI)
	if err != nil {
		return "", nil, err
	}
	if s.Format == Files {
		x, err := s.scan(ctx, spec, nil)
		if err != nil {
			return "", nil, err
		}
		return x.What, x, nil
	}
	what, err := s.check(ctx, spec)
	return what, nil, err
}

// check looks into the first of several containers.
func (s *Source) check(ctx context.Context, spec Spec) (string, error) {
	what := s.describe(spec)
	uri := s.uri(s.Files[0].Path)
	f, err := s.FS.Open(ctx, s.Files[0].Path)
	if err != nil {
		return "", &SourceError{Path: uri, Cause: "cannot be read", Fix: "check the file and its permissions", Err: err}
	}
	defer f.Close() // reading only
	more, err := columnsOf(s, f, f.Size(), spec)
	var se *SourceError
	switch {
	case errors.As(err, &se):
		if se.Path == "" {
			se.Path = uri
		}
		return "", err
	case errs.Is(err, errs.Invalid), errs.Is(err, errs.Corrupt):
		return "", &SourceError{Path: uri, Cause: "cannot be used", Fix: "name the files and the columns that hold the images", Err: err}
	}
	return what + more, err
}

// columnsOf says which columns of a file are used.
func columnsOf(s *Source, f io.ReaderAt, size int64, spec Spec) (string, error) {
	switch s.Format {
	case Avro:
		r, err := avro.NewReader(f, size, avro.ReaderOptions{})
		if err != nil {
			return "", err
		}
		l, err := newLayout(r.Schema(), spec.KeyField, spec.ImageField)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf(", key column %s, image column %s", l.root.fields[l.key].name, l.root.fields[l.image].name), nil
	case Parquet:
		p, err := parquet.Open(f, size)
		if err != nil {
			return "", err
		}
		c, err := findColumns(p, spec)
		if err != nil {
			return "", err
		}
		how := ""
		if c.stem {
			how = "the stem of "
		}
		return fmt.Sprintf(", %d rows in the first, key column %s%s, image column %s", p.Rows, how, c.key.Name, c.image.Name), nil
	}
	return "", nil
}
