package run

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/images"
	"github.com/vista-mr/vista-mr/jobs/results"
	"github.com/vista-mr/vista-mr/jobs/table"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/progress"
)

// imageIndex is the file in the job's store that splits of images are parts of; in a store elsewhere there is a number in its name
// (Claim.index).
const imageIndex dfs.Path = "images.index"

// isIndex tells whether a path in the job's store is that of such a file.
func isIndex(name string) bool {
	return name == string(imageIndex) || strings.HasPrefix(name, "images-") && strings.HasSuffix(name, ".index")
}

// imageSpec is what a job file says about images.
func imageSpec(j *conf.Job) images.Spec {
	return images.Spec{URI: string(j.Images.URI), Key: j.Images.Key, KeyField: j.Images.Fields.Key, ImageField: j.Images.Fields.Image,
		Multiple: j.Images.Multiple}
}

// scanImages finds a job's images, by their keys or by the paths that the table names.
func scanImages(ctx context.Context, j *conf.Job, t *surveyed, sink progress.Sink) (*images.Index, error) {
	x, err := func() (*images.Index, error) {
		if j.Images.Column != "" {
			x, err := images.ScanColumn(ctx, stores(), imageSpec(j), t.Encoding.Good, func(yield func(key, value string) error) error {
				return imagePaths(ctx, t.fs, t.files, t.schema, yield)
			})
			if err == nil && j.Limits.MaxBadFraction <= tryUpTo {
				err = x.TryPaths(ctx, stores())
			}
			return x, err
		}
		return images.Scan(ctx, stores(), imageSpec(j), func(done, total int) {
			sink.Update(progress.Update{Stage: "scan", Unit: "files", Done: int64(done), Total: int64(total), End: done == total})
		})
	}()
	if away(string(j.Images.URI), err) {
		return nil, elsewhere("images.uri", string(j.Images.URI), err)
	}
	return x, imagesError(err)
}

// tryUpTo is the share of bad records up to which a job cannot do well if none of many paths names a file.
const tryUpTo = 0.5

// imagePaths yields the image path of every good row; what is wrong with the others is found when they are read.
func imagePaths(ctx context.Context, fs dfs.FS, files []dfs.Path, s *table.Schema, yield func(key, value string) error) error {
	for r, err := range table.Read(ctx, fs, files, s) {
		var bad *table.Bad
		switch {
		case errors.As(err, &bad):
			continue
		case err != nil:
			return err
		}
		if err := yield(r.Key, r.Image); err != nil {
			return err
		}
	}
	return nil
}

// imagesError names the key of the job file that an error about the images' source is about.
func imagesError(err error) error {
	if serr := exit.Store(err); serr != nil {
		return serr
	}
	var e *images.SourceError
	if !errors.As(err, &e) {
		return err
	}
	key := e.Key
	if key == "" {
		key = "images.uri"
	}
	if saysWhatToDo(e.Err) {
		return invalid(e.Err)
	}
	return invalid(&InputError{ID: e.ErrorID(), Key: key, Path: e.Path, Cause: e.Cause, Err: e.Err, Next: e.Fix})
}

// checkImages finds the images. Where that takes more than listing a folder or reading a table, validate only looks at
// the format, and at the columns that would be used.
func checkImages(ctx context.Context, j *conf.Job, o *Options, f *findings) (string, error) {
	uri := string(j.Images.URI)
	near := func(err error) error {
		var source *InputError
		if errors.As(err, &source) && source.Path == uri && j.Images.URI.Scheme() == "file" {
			source.Next += nearHint(j.Images.URI.LocalPath())
		}
		return err
	}
	switch {
	case j.Images.Column != "" && f.table == nil: // where the table's problem is told, there are no paths
		return "", nil
	case j.Images.Column != "" || o.opensModel:
		x, err := scanImages(ctx, j, f.table, o.Progress)
		if err != nil {
			return "", near(err)
		}
		f.images = x
		if j.Images.Column != "" {
			return fmt.Sprintf("%s in column %s, relative to %s", results.Several(x.Images, "path"), j.Images.Column, uri), nil
		}
		return uri + ": " + x.What, nil
	}
	what, x, err := images.Check(ctx, stores(), imageSpec(j))
	if away(uri, err) {
		return "", elsewhere("images.uri", uri, err)
	}
	if err != nil {
		return "", near(imagesError(err))
	}
	f.images = x
	return uri + ": " + what, nil
}
