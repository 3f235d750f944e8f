package hdfs

import (
	"context"
	"errors"
	"strings"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// Sweep removes unfinished files below a folder: what writers have left that were killed. A writer that lives loses its file, so
// the folder must be one that nobody writes to any more.
func (f *FS) Sweep(ctx context.Context, dir dfs.Path) error {
	if err := f.folder(ctx, "sweep", dir); err != nil {
		return err
	}
	all, err := f.all(ctx, dir, isTemp)
	if err != nil {
		return f.wrap("sweep", dir, err)
	}
	for _, st := range all {
		p := dir.Join(string(st.GetPath()))
		if st.GetFileType() == typeFolder {
			if err := f.Sweep(ctx, p); err != nil {
				return err
			}
			continue
		}
		err := f.pool.do(ctx, f.opt.Patience, func(s *session) error { return s.remove(f.abs(p)) })
		if err != nil && kindOf(err) != errs.NotExist {
			return f.wrap("sweep", p, err)
		}
	}
	return nil
}

// RemoveFolder removes a folder and all that is in it, unfinished files and empty folders too, in one call. An absent folder
// is no error.
func (f *FS) RemoveFolder(ctx context.Context, dir dfs.Path) error {
	if err := f.folder(ctx, "remove", dir); err != nil {
		return err
	}
	if dir == "" {
		return errs.E("remove", errs.Invalid, f.shown(dir), errors.New("the root is not removed"))
	}
	name := f.abs(dir)
	err := f.pool.do(ctx, f.opt.Patience, func(s *session) error {
		st, err := s.stat(name)
		if err != nil || st.GetFileType() != typeFolder { // the name of a file is no folder
			return err
		}
		return s.removeFolder(name)
	})
	f.forgetBelow(name)
	if kindOf(err) == errs.NotExist {
		return nil
	}
	return f.wrap("remove", dir, err)
}

// HasFolder tells whether there is a folder of this name.
func (f *FS) HasFolder(ctx context.Context, dir dfs.Path) (bool, error) {
	if err := f.folder(ctx, "stat", dir); err != nil {
		return false, err
	}
	st, err := f.stat(ctx, f.abs(dir))
	if kindOf(err) == errs.NotExist {
		return false, nil
	}
	return err == nil && st.GetFileType() == typeFolder, f.wrap("stat", dir, err)
}

// RemoveEmpty removes a folder in which there is nothing; another one is an error, and stays as it is. Writers that have just made sure that
// it is there fail.
func (f *FS) RemoveEmpty(ctx context.Context, dir dfs.Path) error {
	if ok, err := f.HasFolder(ctx, dir); !ok || dir == "" {
		return err
	}
	name := f.abs(dir)
	err := f.pool.do(ctx, f.opt.Patience, func(s *session) error { return s.remove(name) })
	f.forgetBelow(name)
	if kindOf(err) == errs.NotExist {
		return nil
	}
	return f.wrap("remove", dir, err)
}

// forgetBelow forgets that a folder and those in it can be used.
func (f *FS) forgetBelow(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for known := range f.usable {
		if known == name || strings.HasPrefix(known, name+"/") {
			delete(f.usable, known)
		}
	}
}
