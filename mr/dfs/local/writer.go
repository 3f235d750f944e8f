package local

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// tempPrefix and tempDigits make the name of an unfinished file.
const (
	tempPrefix = ".tmp-"
	tempDigits = 16
)

// isTemp tells whether the last element of a path is the name of an unfinished file.
func isTemp(base string) bool {
	digits, ok := strings.CutPrefix(base, tempPrefix)
	return ok && len(digits) == tempDigits && strings.Trim(digits, "0123456789abcdef") == ""
}

// writer writes to a file without a name, or to a hidden one beside the final name.
type writer struct {
	fs     *FS
	path   dfs.Path
	name   string
	tmp    string // "" for a file without a name
	f      *os.File
	failed error
	ended  bool
}

// Create opens the unfinished file in the folder of the final name, making that folder.
func (f *FS) Create(ctx context.Context, p dfs.Path) (dfs.Writer, error) {
	name, err := f.file(ctx, "create", p)
	if err != nil {
		return nil, err
	}
	dir := filepath.Dir(name)
	var w *writer
	err = f.inFolder(dir, func() (err error) {
		if !f.hidden {
			if h := openUnnamed(dir); h != nil {
				w = &writer{fs: f, path: f.shown(p), name: name, f: h}
				return nil
			}
		}
		w, err = f.createHidden(p, name)
		return err
	})
	if err != nil {
		return nil, wrap("create", f.shown(p), err)
	}
	return w, nil
}

// createHidden is for file systems without unnamed files.
func (f *FS) createHidden(p dfs.Path, name string) (*writer, error) {
	var id [tempDigits / 2]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, err
	}
	tmp := filepath.Join(filepath.Dir(name), tempPrefix+hex.EncodeToString(id[:]))
	h, err := os.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
	if err != nil {
		return nil, err
	}
	return &writer{fs: f, path: f.shown(p), name: name, tmp: tmp, f: h}, nil
}

func (w *writer) errEnded(op string) error {
	return errs.E(op, errs.Internal, string(w.path), errors.New("the writer has ended"))
}

func (w *writer) Write(b []byte) (int, error) {
	if w.failed != nil {
		return 0, w.failed
	}
	if w.ended {
		return 0, w.errEnded("write")
	}
	n, err := w.f.Write(b)
	w.failed = wrap("write", w.path, err)
	return n, w.failed
}

func (w *writer) Commit(ctx context.Context) error {
	if w.ended {
		return w.errEnded("commit")
	}
	if w.failed != nil {
		return errs.E("commit", errs.Unknown, string(w.path), w.failed)
	}
	if err := ctx.Err(); err != nil {
		return errs.E("commit", errs.Canceled, string(w.path), err)
	}
	w.ended = true
	var err error
	if w.fs.sync {
		err = w.f.Sync()
	}
	if err == nil {
		err = w.publish()
	}
	if closeErr := w.f.Close(); err == nil {
		err = closeErr
	}
	if w.tmp != "" {
		// After a rename it is gone; where it stays, it is hidden and harmless.
		if rmErr := unlink(w.tmp); err == nil && !errors.Is(rmErr, fs.ErrNotExist) {
			err = rmErr
		}
	}
	if err == nil && w.fs.sync {
		err = syncFolder(filepath.Dir(w.name))
	}
	return wrap("commit", w.path, err)
}

// publish gives the file its name, unless the name is taken.
func (w *writer) publish() error {
	if w.tmp == "" {
		err := linkUnnamed(w.f, w.name)
		if errors.Is(err, fs.ErrNotExist) { // a file without a name does not keep its folder
			err = w.fs.inFolder(filepath.Dir(w.name), func() error { return linkUnnamed(w.f, w.name) })
		}
		return err
	}
	err := os.Link(w.tmp, w.name)
	if err == nil || errors.Is(err, fs.ErrExist) || !noLinks(err) {
		return err
	}
	err = renameExclusive(w.tmp, w.name)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return errors.Join(err, errNoExclusive)
	}
	return err
}

var errNoExclusive = errors.New("this file system can neither link nor rename without overwriting: use a folder on another one")

// noLinks tells whether the error is that of a file system without hard links.
func noLinks(err error) bool {
	for _, no := range []syscall.Errno{syscall.EPERM, syscall.ENOTSUP, syscall.EOPNOTSUPP, syscall.ENOSYS, syscall.EMLINK, syscall.EXDEV} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}

// Abort drops the file. Ending twice is harmless.
func (w *writer) Abort() error {
	if w.ended {
		return nil
	}
	w.ended = true
	err := w.f.Close()
	if w.tmp != "" {
		err = errors.Join(err, unlink(w.tmp))
	}
	return wrap("abort", w.path, err)
}
