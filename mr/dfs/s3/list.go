package s3

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// pageSize is how many keys are asked for at once, and held.
const pageSize = 1000

// page lists at most n objects whose keys begin with prefix and lie behind after.
func (f *FS) page(ctx context.Context, prefix, after string, n int) ([]minio.ObjectInfo, error) {
	var out []minio.ObjectInfo
	opts := minio.ListObjectsOptions{Prefix: prefix, Recursive: true, StartAfter: after, MaxKeys: n}
	for info := range f.core.ListObjectsIter(ctx, f.bucket.name, opts) {
		if info.Err != nil {
			return nil, info.Err
		}
		if out = append(out, info); len(out) == n {
			break
		}
	}
	return out, ctx.Err()
}

// List asks for page after page. Each begins behind the last key of the one before, so one that fails is
// asked for again and nothing is shown twice.
func (f *FS) List(ctx context.Context, dir dfs.Path) iter.Seq2[dfs.Info, error] {
	return func(yield func(dfs.Info, error) bool) {
		if err := ctx.Err(); err != nil {
			yield(dfs.Info{}, errs.E("list", errs.Canceled, string(dir), err))
			return
		}
		if err := dir.Check(); err != nil {
			yield(dfs.Info{}, err)
			return
		}
		prefix := f.root
		if dir != "" {
			prefix += string(dir) + "/"
		}
		for last, more := "", true; more; {
			var page []minio.ObjectInfo
			err := f.try(ctx, func() (err error) {
				page, err = f.page(ctx, prefix, last, pageSize)
				return err
			})
			if err != nil {
				yield(dfs.Info{}, f.fail(ctx, "list", dir, err))
				return
			}
			more = len(page) == pageSize
			for _, o := range page {
				if o.Key <= last {
					yield(dfs.Info{}, f.fail(ctx, "list", dir, &errs.Error{Kind: errs.Invalid, ID: "E-S3-LACKING", Path: f.Name(dir), Fix: "use a store that lists in the order of keys; vista-mr doctor tests it",
						Err: fmt.Errorf("the store lists %q behind %q", o.Key, last)}))
					return
				}
				last = o.Key
				if strings.HasSuffix(o.Key, "/") { // stands for an empty folder
					continue
				}
				p := dfs.Path(strings.TrimPrefix(o.Key, f.root))
				err := p.Check()
				if err != nil {
					err = f.fail(ctx, "list", dir, &errs.Error{Kind: errs.Invalid, ID: "E-S3-KEY", Path: f.Name(dir), Fix: "copy the object to another key, or name a folder that does not hold it",
						Err: fmt.Errorf("the key %q has empty, \".\" or \"..\" parts, so it is the name of no file", o.Key)})
				} else if ctx.Err() != nil {
					err = errs.E("list", errs.Canceled, string(dir), ctx.Err())
				}
				if err != nil {
					yield(dfs.Info{}, err)
					return
				}
				if !yield(dfs.Info{Path: p, Size: o.Size, ModTime: o.LastModified}, nil) {
					return
				}
			}
		}
	}
}

// Upload is a multipart upload that has neither been completed nor aborted.
type Upload struct {
	Path  dfs.Path
	Begun time.Time
	id    string
}

// Uploads lists uploads below a folder that are not finished, those of living writers included.
func (f *FS) Uploads(ctx context.Context, dir dfs.Path) ([]Upload, error) {
	if err := dir.Check(); err != nil {
		return nil, err
	}
	var out []Upload
	key, id := "", ""
	for {
		var r minio.ListMultipartUploadsResult
		// Without a prefix: MinIO takes one for the whole key.
		err := f.try(ctx, func() (err error) {
			r, err = f.core.ListMultipartUploads(ctx, f.bucket.name, "", key, id, "", pageSize)
			return err
		})
		if err != nil {
			return nil, f.fail(ctx, "list uploads", dir, err)
		}
		for _, u := range r.Uploads {
			below, ours := strings.CutPrefix(u.Key, f.root)
			if ours && dfs.Path(below).Under(dir) {
				out = append(out, Upload{dfs.Path(below), u.Initiated, u.UploadID})
			}
		}
		if !r.IsTruncated || r.NextKeyMarker == key && r.NextUploadIDMarker == id {
			return out, nil
		}
		key, id = r.NextKeyMarker, r.NextUploadIDMarker
	}
}

// Sweep aborts all uploads below a folder: what writers have left that ended without a word. A writer
// that lives loses its file, so the folder must be one that nobody writes to any more.
func (f *FS) Sweep(ctx context.Context, dir dfs.Path) error {
	all, err := f.Uploads(ctx, dir)
	if err != nil {
		return err
	}
	for _, u := range all {
		if err := f.abort(ctx, f.root+string(u.Path), u.id); err != nil {
			return f.fail(ctx, "sweep", u.Path, err)
		}
	}
	return nil
}

func (f *FS) abort(ctx context.Context, key, id string) error {
	err := f.try(ctx, func() error { return f.core.AbortMultipartUpload(ctx, f.bucket.name, key, id) })
	if isCode(err, "NoSuchUpload") || isAbsent(err) {
		return nil
	}
	return err
}
