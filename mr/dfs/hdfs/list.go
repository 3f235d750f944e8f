package hdfs

import (
	"cmp"
	"context"
	"iter"
	"maps"
	"slices"
	"strings"

	hadoop "github.com/colinmarc/hdfs/v2"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// List walks the folder. The names of a folder, and of those above it, are held while it is listed: a few hundred bytes
// for each.
func (f *FS) List(ctx context.Context, dir dfs.Path) iter.Seq2[dfs.Info, error] {
	return func(yield func(dfs.Info, error) bool) {
		if err := f.folder(ctx, "list", dir); err != nil {
			yield(dfs.Info{}, err)
			return
		}
		f.walk(ctx, dir, yield)
	}
}

// walk yields what is below dir; false: stop.
func (f *FS) walk(ctx context.Context, dir dfs.Path, yield func(dfs.Info, error) bool) bool {
	all, err := f.entries(ctx, dir)
	if err != nil {
		yield(dfs.Info{}, f.wrap("list", dir, err))
		return false
	}
	for i, st := range all {
		p := dir.Join(string(st.GetPath()))
		if i%256 == 0 || st.GetFileType() == typeFolder {
			if err := ctx.Err(); err != nil {
				yield(dfs.Info{}, f.wrap("list", p, err))
				return false
			}
		}
		if st.GetFileType() == typeFolder {
			if !f.walk(ctx, p, yield) {
				return false
			}
		} else if !yield(info(p, st), nil) {
			return false
		}
	}
	return true
}

// entries returns a folder's files and folders in the order of paths; none of what is no folder.
func (f *FS) entries(ctx context.Context, dir dfs.Path) ([]*hadoop.FileStatus, error) {
	return f.all(ctx, dir, func(name string) bool { return !isTemp(name) })
}

// all is entries with those files only whose names are wanted.
func (f *FS) all(ctx context.Context, dir dfs.Path, wanted func(name string) bool) ([]*hadoop.FileStatus, error) {
	var all []*hadoop.FileStatus
	var after []byte
	for {
		var part []*hadoop.FileStatus
		var remaining int
		err := f.pool.do(ctx, f.opt.Patience, func(s *session) (err error) {
			part, remaining, err = s.list(f.abs(dir), after)
			return err
		})
		if kindOf(err) == errs.NotExist { // absent, or removed since
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		for _, st := range part {
			after = st.GetPath()
			if len(after) == 0 { // of a file, its own: it has nothing below it
				return nil, nil
			}
			if t := st.GetFileType(); t == typeFolder || t == typeFile && wanted(string(after)) {
				all = append(all, st)
			}
		}
		if remaining == 0 || len(part) == 0 {
			break
		}
	}
	// HDFS sorts a folder's name as if no slash followed.
	slices.SortFunc(all, func(a, b *hadoop.FileStatus) int { return strings.Compare(sortKey(a), sortKey(b)) })
	return all, nil
}

func sortKey(st *hadoop.FileStatus) string {
	if st.GetFileType() == typeFolder {
		return string(st.GetPath()) + "/"
	}
	return string(st.GetPath())
}

// byShare sorts hosts by what they have, then by name.
func byShare(share map[string]int64) []string {
	return slices.SortedFunc(maps.Keys(share), func(a, b string) int {
		return cmp.Or(cmp.Compare(share[b], share[a]), strings.Compare(a, b))
	})
}
