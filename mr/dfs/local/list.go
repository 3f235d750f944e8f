package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// List walks the folder and yields regular files. Links are followed, a link to nothing or
// to itself is skipped, and a link to a folder that holds it is an error; so are links that lead to the same folders
// again and again. The names of a folder, and of those above it, are held while it is listed: about 50 bytes for
// each, and as much for each folder that has been listed.
func (f *FS) List(ctx context.Context, dir dfs.Path) iter.Seq2[dfs.Info, error] {
	return func(yield func(dfs.Info, error) bool) {
		name, err := f.folder(ctx, "list", dir)
		if err != nil {
			yield(dfs.Info{}, err)
			return
		}
		info, err := os.Stat(name)
		if err != nil {
			if kindOf(err) != errs.NotExist {
				yield(dfs.Info{}, wrap("list", f.shown(dir), err))
			}
			return
		}
		if info.IsDir() { // a file has nothing below it
			w := walk{fs: f, ctx: ctx, yield: yield, seen: map[inode]bool{}}
			w.folder(dir, name, info)
		}
	}
}

// walk is one listing under way. It lives as long as the call that holds ctx.
type walk struct {
	fs    *FS
	ctx   context.Context
	yield func(dfs.Info, error) bool
	above []fs.FileInfo // the folders that we are in, to find circles
	seen  map[inode]bool
	first int // names in folders that were listed for the first time, with the folders
	again int // in those that were seen
}

// inode is a folder, whatever path leads to it; inodeOf finds it, where the system tells.
type inode struct{ dev, ino uint64 }

// What links show again may be freeAgain names, and timesAgain the names that are there: a link or a few to all of the
// data are fine, but two in each folder to the next one make 2^n paths of n folders.
const (
	freeAgain  = 10_000
	timesAgain = 4
)

// count notes a folder of n names, and refuses links that show the same ones too often.
func (w *walk) count(self fs.FileInfo, n int) error {
	id, ok := inodeOf(self)
	if !ok {
		return nil
	}
	if !w.seen[id] {
		w.seen[id] = true
		w.first += 1 + n
		return nil
	}
	if w.again += 1 + n; w.again > freeAgain+timesAgain*w.first {
		return &errs.Error{Op: "list", Kind: errs.Invalid, Fix: "remove links to folders that are listed already", Err: fmt.Errorf("links lead to the same folders again and again: %d names, %d of them again", w.first+w.again, w.again)}
	}
	return nil
}

type entry struct {
	name   string      // with a slash behind folders, so that names sort as paths do
	linked fs.FileInfo // what a link leads to; else nil
}

func (w *walk) fail(dir dfs.Path, err error) bool {
	w.yield(dfs.Info{}, wrap("list", w.fs.shown(dir), err))
	return false
}

// folder yields what is below dir; false: stop.
func (w *walk) folder(dir dfs.Path, name string, self fs.FileInfo) bool {
	w.above = append(w.above, self)
	defer func() { w.above = w.above[:len(w.above)-1] }()
	entries, err := w.read(name)
	if err != nil {
		return w.fail(dir, err)
	}
	if err := w.count(self, len(entries)); err != nil {
		return w.fail(dir, err)
	}
	for i, e := range entries {
		if i%256 == 0 && w.ctx.Err() != nil {
			return w.fail(dir, w.ctx.Err())
		}
		base, isFolder := strings.CutSuffix(e.name, "/")
		info, err := e.linked, error(nil)
		if info == nil {
			info, err = os.Lstat(filepath.Join(name, base))
		}
		switch {
		case err != nil && kindOf(err) == errs.NotExist: // removed since
		case err != nil:
			return w.fail(dir.Join(base), err)
		case isFolder:
			if !w.folder(dir.Join(base), filepath.Join(name, base), info) {
				return false
			}
		default:
			if !w.yield(dfs.Info{Path: dir.Join(base), Size: info.Size(), ModTime: info.ModTime()}, nil) {
				return false
			}
		}
	}
	return true
}

// read returns the names of a folder's files and folders in the order of paths.
func (w *walk) read(name string) ([]entry, error) {
	all, err := readDir(name)
	if err != nil {
		if kindOf(err) == errs.NotExist {
			return nil, nil // removed since
		}
		return nil, err
	}
	out := make([]entry, 0, len(all))
	for _, d := range all {
		if isTemp(d.Name()) && !d.IsDir() {
			continue
		}
		typ, linked := d.Type(), fs.FileInfo(nil)
		if typ&fs.ModeSymlink != 0 {
			if err := w.ctx.Err(); err != nil {
				return nil, err
			}
			linked, err = os.Stat(filepath.Join(name, d.Name()))
			if err != nil && (kindOf(err) == errs.NotExist || errors.Is(err, syscall.ELOOP)) {
				continue // a link to nothing, or to itself
			}
			if err != nil {
				return nil, err
			}
			typ = linked.Mode().Type()
		}
		switch {
		case typ.IsDir():
			if linked != nil && slices.ContainsFunc(w.above, func(up fs.FileInfo) bool { return os.SameFile(up, linked) }) {
				return nil, &errs.Error{Op: "list", Kind: errs.Invalid, Path: filepath.Join(name, d.Name()), Fix: "remove the link", Err: errors.New("the link leads back to a folder that holds it")}
			}
			out = append(out, entry{d.Name() + "/", linked})
		case typ.IsRegular():
			out = append(out, entry{d.Name(), linked})
		}
	}
	slices.SortFunc(out, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	return out, nil
}

// readDir is os.ReadDir without sorting.
func readDir(name string) ([]fs.DirEntry, error) {
	d, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	all, err := d.ReadDir(-1)
	return all, errors.Join(err, d.Close())
}
