package run

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/jobs/images"
	"github.com/vista-mr/vista-mr/jobs/pack"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/progress"
)

// Pack puts the images of a source into shards in a folder.
func Pack(ctx context.Context, source images.Spec, out string, sink progress.Sink) (*pack.Summary, error) {
	to, dir, err := stores().Resolve(ctx, out)
	if err != nil {
		return nil, exit.As(exit.Invalid, err)
	}
	s, err := pack.Run(ctx, pack.Options{Source: source, From: stores(), To: to, Out: dir, OutName: out,
		Progress: func(done, total int64) {
			sink.Update(progress.Update{Stage: "pack", Unit: "images", Done: done, Total: total, End: done == total})
		},
		Scanned: func(done, total int) {
			sink.Update(progress.Update{Stage: "scan", Unit: "files", Done: int64(done), Total: int64(total), End: done == total})
		}})
	var output *pack.OutputError
	var from *images.SourceError
	switch {
	case err == nil:
		return s, nil
	case errors.As(err, &output), errors.As(err, &from):
		return nil, exit.As(exit.Invalid, err)
	}
	return nil, exit.Running(badPlace(out, err))
}

// badPlace says of a failure in a local folder of a store that nothing can be written there; of others, nothing.
func badPlace(out string, err error) error {
	dir, aerr := filepath.Abs(conf.URI(out).LocalPath())
	if aerr != nil || conf.URI(out).Scheme() != "file" || !errs.Is(err, errs.Unauthorized) && !errs.Is(err, errs.Invalid) {
		return err
	}
	for e, in := (*errs.Error)(nil), err; errors.As(in, &e); in = e.Err {
		path := conf.URI(e.Path).LocalPath()
		if path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/") {
			return unwritable("OUT", out, "cannot be written", e.Err)
		}
	}
	return err
}

// BadPlace says of an error of the operating system that OUT is no place where anything can be written; errors that
// are not about the place stay as they are.
func BadPlace(out string, err error) error {
	for _, no := range []error{fs.ErrPermission, fs.ErrExist, syscall.EROFS, syscall.ENOTDIR, syscall.ELOOP, syscall.ENAMETOOLONG} {
		if errors.Is(err, no) {
			return unwritable("OUT", out, "cannot be written", err)
		}
	}
	return err
}
