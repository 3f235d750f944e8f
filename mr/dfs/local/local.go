// Package local is the dfs adapter for a POSIX file system.
//
// Invariant: a name appears only by an exclusive link or rename of a complete and synced file,
// or by an exclusive create for a claim; so after a crash at any moment every visible file is
// whole. On Linux a file in the making has no name at all where the file system allows that,
// so a killed process leaves nothing; elsewhere it leaves hidden files named ".tmp-" and
// sixteen hexadecimal digits, which no operation shows and no path may name.
//
// Paths cannot leave the root by "..". Symbolic links inside the root are followed: the data
// are the user's, and links to other disks are common. It is used for the job's folder on one
// machine, for local input, and in tests; it must not be used for folders that network file
// systems share without a linearizable link(2).
//
// The operations of the disk behind a commit, with sync: create, write, fsync, link, fsync of
// the folder; and one fsync for every folder that had to be made.
package local

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// FS is a folder of the local file system.
type FS struct {
	root    string
	sync    bool
	hidden  bool       // use hidden files, even where unnamed ones are to be had
	folders sync.Mutex // held while folders are made, see makeFolder
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

// Sub returns what lies below a folder.
func (f *FS) Sub(dir dfs.Path) dfs.FS {
	return &FS{root: f.Name(dir), sync: f.sync, hidden: f.hidden}
}

// Caps names the adapter.
func (f *FS) Caps() dfs.Caps { return dfs.Caps{Name: "local"} }

// Name is the name of p in the operating system.
func (f *FS) Name(p dfs.Path) string { return filepath.Join(f.root, filepath.FromSlash(string(p))) }

// shown is what errors call p: below the root of everything, where input lies, the name that the user knows.
func (f *FS) shown(p dfs.Path) dfs.Path {
	if f.root == "/" {
		return dfs.Path(f.Name(p))
	}
	return p
}

// folder is the name of the folder p in the operating system; the root is one.
func (f *FS) folder(ctx context.Context, op string, p dfs.Path) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", errs.E(op, errs.Canceled, string(p), err)
	}
	if err := p.Check(); err != nil {
		return "", err
	}
	return f.Name(p), nil
}

// file is the name of the file p in the operating system.
func (f *FS) file(ctx context.Context, op string, p dfs.Path) (string, error) {
	if p == "" {
		return "", errs.E(op, errs.Invalid, "", errors.New("the root is no file"))
	}
	if isTemp(p.Base()) {
		return "", errs.E(op, errs.Invalid, string(p), errors.New("names of this form are kept for unfinished files"))
	}
	return f.folder(ctx, op, p)
}

type file struct {
	f    *os.File
	path dfs.Path
	size int64
}

func (f *file) Size() int64 { return f.size }

// ReadAt reads; the error at the end is io.EOF itself, as io.ReaderAt wants it.
func (f *file) ReadAt(b []byte, off int64) (int, error) {
	n, err := f.f.ReadAt(b, off)
	if err == io.EOF {
		return n, err
	}
	return n, wrap("read", f.path, err)
}

func (f *file) Close() error { return wrap("close", f.path, f.f.Close()) }

// Open opens a regular file. A folder is errs.NotExist, because other stores have none.
func (f *FS) Open(ctx context.Context, p dfs.Path) (dfs.File, error) {
	name, err := f.file(ctx, "open", p)
	if err != nil {
		return nil, err
	}
	h, info, err := OpenFile(name)
	if err != nil {
		return nil, wrap("open", f.shown(p), err)
	}
	return &file{f: h, path: f.shown(p), size: info.Size()}, nil
}

// OpenFile opens a regular file of the operating system for reading. Something else is fs.ErrNotExist if it is a folder,
// as in every store, and otherwise ErrNotRegular: a pipe would wait for a writer for ever, a device may have no end,
// and of sockets and devices without a driver nothing but a look tells why they cannot be opened.
func OpenFile(name string) (*os.File, fs.FileInfo, error) {
	h, err := os.OpenFile(name, os.O_RDONLY|nonblock, 0)
	if err != nil {
		if info, serr := os.Stat(name); serr == nil && !info.Mode().IsRegular() {
			err = regular(info)
		}
		return nil, nil, err
	}
	info, err := h.Stat()
	if err == nil {
		err = regular(info)
	}
	if err != nil {
		return nil, nil, errors.Join(err, h.Close())
	}
	return h, info, nil
}

// regular refuses what is no file.
func regular(info fs.FileInfo) error {
	switch {
	case info.IsDir():
		return fs.ErrNotExist
	case !info.Mode().IsRegular():
		return ErrNotRegular
	}
	return nil
}

// Stat describes a regular file.
func (f *FS) Stat(ctx context.Context, p dfs.Path) (dfs.Info, error) {
	name, err := f.file(ctx, "stat", p)
	if err != nil {
		return dfs.Info{}, err
	}
	info, err := os.Stat(name)
	if err == nil {
		err = regular(info)
	}
	if err != nil {
		return dfs.Info{}, wrap("stat", f.shown(p), err)
	}
	return dfs.Info{Path: p, Size: info.Size(), ModTime: info.ModTime()}, nil
}

// Claim creates the marker exclusively.
func (f *FS) Claim(ctx context.Context, p dfs.Path) error {
	name, err := f.file(ctx, "claim", p)
	if err != nil {
		return err
	}
	dir := filepath.Dir(name)
	var h *os.File
	err = f.inFolder(dir, func() (err error) {
		h, err = os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
		return err
	})
	if err != nil {
		return wrap("claim", f.shown(p), err)
	}
	err = h.Close()
	if err == nil && f.sync {
		err = syncFolder(dir)
	}
	return wrap("claim", f.shown(p), err)
}

// Remove removes a file. Folders stay, empty ones too: removing them would race with writers
// that have just made them.
func (f *FS) Remove(ctx context.Context, p dfs.Path) error {
	name, err := f.file(ctx, "remove", p)
	if err != nil {
		return err
	}
	err = unlink(name)
	if err != nil && kindOf(err) == errs.NotExist {
		return nil
	}
	if err != nil {
		if info, statErr := os.Lstat(name); statErr == nil && info.IsDir() {
			return nil // systems disagree about the error of unlinking a folder
		}
	}
	return wrap("remove", f.shown(p), err)
}

// RemoveFolder removes a folder and all that is in it, empty folders too. An absent folder is no error. Of a link to a folder the link
// is removed.
func (f *FS) RemoveFolder(ctx context.Context, dir dfs.Path) error {
	name, err := f.folder(ctx, "remove", dir)
	if err != nil {
		return err
	}
	if dir == "" {
		return errs.E("remove", errs.Invalid, "", errors.New("the root is not removed"))
	}
	if info, err := os.Lstat(name); err == nil && info.Mode().IsRegular() {
		return nil // the name of a file is no folder
	}
	return wrap("remove", f.shown(dir), os.RemoveAll(name))
}

// RemoveEmpty removes a folder in which there is nothing; another one is an error, and stays as it is. An absent one is no error.
func (f *FS) RemoveEmpty(ctx context.Context, dir dfs.Path) error {
	name, err := f.folder(ctx, "remove", dir)
	if err != nil {
		return err
	}
	err = syscall.Rmdir(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return wrap("remove", f.shown(dir), err)
}

// inFolder makes a folder and then something in it. An empty folder may be removed between the two (RemoveEmpty): then both are done
// again.
func (f *FS) inFolder(dir string, do func() error) (err error) {
	for range makeTries {
		if err = f.makeFolder(dir); err == nil {
			err = do()
		}
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return err
}

// makeTries bounds how often a folder is made that is removed again at once.
const makeTries = 1000

// errFileAbove is met where a file bears the name of a folder that is wanted.
var errFileAbove = errors.New("a part of the path is a file, not a folder")

// makeFolder makes a folder and those above it. With sync their names are durable when it
// returns, also when another goroutine has made them a moment ago: it holds the lock until
// they are.
func (f *FS) makeFolder(name string) error {
	if !f.sync {
		return mkdirAll(name)
	}
	f.folders.Lock()
	defer f.folders.Unlock()
	var missing []string // from the inside out
	for dir := name; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(dir); err == nil || !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			break
		}
		missing = append(missing, dir)
	}
	if err := mkdirAll(name); err != nil {
		return err
	}
	for _, dir := range missing {
		if err := syncFolder(filepath.Dir(dir)); err != nil {
			return err
		}
	}
	return nil
}

func mkdirAll(name string) error {
	err := os.MkdirAll(name, 0o777)
	if errors.Is(err, syscall.ENOTDIR) {
		return errFileAbove
	}
	return err
}

// syncFolder makes the names in a folder durable.
func syncFolder(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, errInvalid) || errors.Is(err, errors.ErrUnsupported) {
		err = nil // the file system has no such thing as syncing a folder
	}
	return errors.Join(err, d.Close())
}
