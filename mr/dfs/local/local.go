// Package local is the dfs adapter for a POSIX file system.
//
// Invariant: a name appears only by link(2) from a complete and synced file, or by an
// exclusive create for a claim; so after a crash at any moment every visible file is whole.
// What a crash leaves of unfinished writers are hidden files named ".tmp-*", which listings
// skip and which nobody reads.
//
// Paths cannot leave the root by "..". Symbolic links inside the root are followed: the data
// are the user's, and links to other disks are common. It is used for the job's folder on one
// machine, for local input, and in tests; it must not be used for folders that network file
// systems share without a linearizable link(2).
package local

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"iter"
	"net/url"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

const tempPrefix = ".tmp-"

// FS is a folder of the local file system.
type FS struct {
	root string
	sync bool
}

var _ dfs.FS = (*FS)(nil)

// New returns the file system below root, which need not exist yet. With sync, a committed
// file survives a crash of the machine; without, only one of the process.
func New(root string, sync bool) *FS { return &FS{root: root, sync: sync} }

// Open opens the URI of a local path for a dfs.Mux: the root is "/", so that input may lie
// anywhere; a relative path is taken from the working folder.
func Open(_ context.Context, u *url.URL) (dfs.FS, dfs.Path, error) {
	if u.Host != "" && u.Host != "localhost" {
		return nil, "", errs.E("open", errs.Invalid, u.String(), errors.New("a file URI names no host: write file:///PATH"))
	}
	abs, err := filepath.Abs(u.Path)
	if err != nil {
		return nil, "", errs.E("open", errs.Unknown, u.Path, err)
	}
	return New("/", true), dfs.Path(strings.TrimPrefix(filepath.ToSlash(abs), "/")), nil
}

// Caps names the adapter.
func (f *FS) Caps() dfs.Caps { return dfs.Caps{Name: "local"} }

// name is the path in the operating system.
func (f *FS) name(ctx context.Context, p dfs.Path) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if err := p.Check(); err != nil {
		return "", err
	}
	return filepath.Join(f.root, filepath.FromSlash(string(p))), nil
}

func wrap(op string, p dfs.Path, err error) error {
	if err == nil {
		return nil
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return errs.E(op, errs.KindOf(err), string(p), pe.Err) // the path is ours to name
	}
	return errs.E(op, errs.KindOf(err), string(p), err)
}

type file struct {
	*os.File
	size int64
}

func (f *file) Size() int64 { return f.size }

// Open opens a regular file.
func (f *FS) Open(ctx context.Context, p dfs.Path) (dfs.File, error) {
	name, err := f.name(ctx, p)
	if err != nil {
		return nil, err
	}
	h, err := os.Open(name)
	if err != nil {
		return nil, wrap("open", p, err)
	}
	info, err := h.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: name, Err: errors.New("not a regular file")}
	}
	if err != nil {
		return nil, errors.Join(wrap("open", p, err), h.Close())
	}
	return &file{File: h, size: info.Size()}, nil
}

// writer writes to a hidden file beside the final name.
type writer struct {
	fs     *FS
	path   dfs.Path
	name   string
	tmp    string
	f      *os.File
	failed error
	ended  bool
}

// Create opens the hidden file.
func (f *FS) Create(ctx context.Context, p dfs.Path) (dfs.Writer, error) {
	name, err := f.name(ctx, p)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		return nil, wrap("create", p, err)
	}
	var id [8]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, wrap("create", p, err)
	}
	tmp := filepath.Join(filepath.Dir(name), tempPrefix+hex.EncodeToString(id[:]))
	h, err := os.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
	if err != nil {
		return nil, wrap("create", p, err)
	}
	return &writer{fs: f, path: p, name: name, tmp: tmp, f: h}, nil
}

func (w *writer) Write(b []byte) (int, error) {
	if w.failed != nil {
		return 0, w.failed
	}
	if w.ended {
		return 0, errs.E("write", errs.Internal, string(w.path), errors.New("the writer has ended"))
	}
	n, err := w.f.Write(b)
	w.failed = wrap("write", w.path, err)
	return n, w.failed
}

func (w *writer) Commit(ctx context.Context) (err error) {
	if w.ended {
		return errs.E("commit", errs.Internal, string(w.path), errors.New("the writer has ended"))
	}
	if w.failed == nil {
		w.failed = ctx.Err()
	}
	if w.failed != nil {
		return errs.E("commit", errs.KindOf(w.failed), string(w.path), w.failed)
	}
	w.ended = true
	if w.fs.sync {
		err = w.f.Sync()
	}
	err = errors.Join(err, w.f.Close())
	if err == nil {
		err = os.Link(w.tmp, w.name)
	}
	if rmErr := os.Remove(w.tmp); err == nil {
		err = rmErr
	}
	if err == nil && w.fs.sync {
		err = syncFolder(filepath.Dir(w.name))
	}
	return wrap("commit", w.path, err)
}

func (w *writer) Abort() error {
	if w.ended {
		return nil
	}
	w.ended = true
	return wrap("abort", w.path, errors.Join(w.f.Close(), os.Remove(w.tmp)))
}

// syncFolder makes names durable.
func syncFolder(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Claim creates the marker exclusively.
func (f *FS) Claim(ctx context.Context, p dfs.Path) error {
	name, err := f.name(ctx, p)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		return wrap("claim", p, err)
	}
	h, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
	if err != nil {
		return wrap("claim", p, err)
	}
	err = h.Close()
	if err == nil && f.sync {
		err = syncFolder(filepath.Dir(name))
	}
	return wrap("claim", p, err)
}

// Stat describes a file; a folder is errs.NotExist, because other stores have none.
func (f *FS) Stat(ctx context.Context, p dfs.Path) (dfs.Info, error) {
	name, err := f.name(ctx, p)
	if err != nil {
		return dfs.Info{}, err
	}
	info, err := os.Stat(name)
	if err == nil && info.IsDir() {
		err = fs.ErrNotExist
	}
	if err != nil {
		return dfs.Info{}, wrap("stat", p, err)
	}
	return dfs.Info{Path: p, Size: info.Size(), ModTime: info.ModTime()}, nil
}

// List walks the folder. A link to a folder is followed once, a link to nothing is skipped.
func (f *FS) List(ctx context.Context, dir dfs.Path) iter.Seq2[dfs.Info, error] {
	return func(yield func(dfs.Info, error) bool) {
		name, err := f.name(ctx, dir)
		if err == nil {
			var info fs.FileInfo
			if info, err = os.Stat(name); err == nil && !info.IsDir() {
				return // a file has nothing below it
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		if err != nil {
			yield(dfs.Info{}, wrap("list", dir, err))
			return
		}
		f.walk(ctx, dir, 0, yield)
	}
}

// maxDepth ends the walk through links that form a circle.
const maxDepth = 100

func (f *FS) walk(ctx context.Context, dir dfs.Path, depth int, yield func(dfs.Info, error) bool) bool {
	name, err := f.name(ctx, dir)
	if err != nil {
		return yield(dfs.Info{}, wrap("list", dir, err)) && false
	}
	if depth > maxDepth {
		err := errs.E("list", errs.Invalid, string(dir), errors.New("folders are nested too deeply: is there a circle of links?"))
		return yield(dfs.Info{}, err) && false
	}
	entries, err := os.ReadDir(name)
	if err != nil {
		return yield(dfs.Info{}, wrap("list", dir, err)) && false
	}
	type child struct {
		name string // with a slash behind folders, so that names sort as paths do
		info fs.FileInfo
	}
	children := make([]child, 0, len(entries))
	for i, e := range entries {
		if strings.HasPrefix(e.Name(), tempPrefix) {
			continue
		}
		if i%1024 == 0 && ctx.Err() != nil {
			return yield(dfs.Info{}, ctx.Err()) && false
		}
		info, err := e.Info()
		if err == nil && info.Mode()&fs.ModeSymlink != 0 {
			info, err = os.Stat(filepath.Join(name, e.Name()))
		}
		if err != nil {
			continue // removed since, or a link to nothing
		}
		n := e.Name()
		if info.IsDir() {
			n += "/"
		}
		children = append(children, child{n, info})
	}
	sort.Slice(children, func(i, j int) bool { return children[i].name < children[j].name })
	for _, c := range children {
		p := dir.Join(strings.TrimSuffix(c.name, "/"))
		if c.info.IsDir() {
			if !f.walk(ctx, p, depth+1, yield) {
				return false
			}
			continue
		}
		if !yield(dfs.Info{Path: p, Size: c.info.Size(), ModTime: c.info.ModTime()}, nil) {
			return false
		}
	}
	return true
}

// Remove removes a file. Folders that become empty stay: removing them would race with
// writers that have just made them.
func (f *FS) Remove(ctx context.Context, p dfs.Path) error {
	name, err := f.name(ctx, p)
	if err != nil {
		return err
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return wrap("remove", p, err)
	}
	return nil
}
