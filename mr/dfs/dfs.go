// Package dfs is the shared file system as a port: the few operations that the engine needs
// of local disks, HDFS and object stores alike, and nothing that one of them lacks.
//
// Invariant: a file is visible under its name either not at all or complete, and a name is
// used once. There is no rename, no append and no overwriting; what needs an arbiter uses
// Claim, which exactly one of any number of racers wins.
//
// Subpackages adapt it: mem (the reference), local, hdfs, s3, and fault, which wraps another one and fails on purpose.
// dfstest is the suite that every adapter must pass. Callers hold paths relative to a file
// system's root; Mux turns the URIs of job files into a file system and a path.
package dfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/vista-mr/vista-mr/mr/errs"
)

// Path is a slash-separated name below the root of a file system, clean and relative: no
// empty, "." or ".." elements. The empty Path is the root. Names are bytes, compared as such.
// Engine code uses only letters, digits and "._-"; the user's files may have any name, but a
// last element of ".tmp-" and sixteen hexadecimal digits is kept for adapters.
type Path string

// Join appends elements. They are taken as they are; Check tells whether the result is legal.
func (p Path) Join(elem ...string) Path {
	s := string(p)
	for _, e := range elem {
		switch {
		case e == "":
		case s == "":
			s = e
		default:
			s += "/" + e
		}
	}
	return Path(s)
}

// Base is the last element.
func (p Path) Base() string { return string(p[strings.LastIndexByte(string(p), '/')+1:]) }

// Dir is the path without its last element.
func (p Path) Dir() Path {
	if i := strings.LastIndexByte(string(p), '/'); i >= 0 {
		return p[:i]
	}
	return ""
}

// Under tells whether p lies below the folder dir.
func (p Path) Under(dir Path) bool {
	return dir == "" || strings.HasPrefix(string(p), string(dir)+"/")
}

// Name is what a message calls a file: its name outside of the file system, if that has one.
func Name(fs FS, p Path) string {
	if n, ok := fs.(interface{ Name(Path) string }); ok {
		return n.Name(p)
	}
	return string(p)
}

// Check reports a path that is not clean and relative. Adapters call it on every path, so a
// hostile name cannot leave the root.
func (p Path) Check() error {
	if p == "" {
		return nil
	}
	for _, e := range strings.Split(string(p), "/") {
		if e == "" || e == "." || e == ".." || strings.IndexByte(e, 0) >= 0 {
			return errs.E("path", errs.Invalid, string(p), fmt.Errorf("%q is not a clean relative path", string(p)))
		}
	}
	return nil
}

// Info describes a file.
type Info struct {
	Path    Path
	Size    int64
	ModTime time.Time
}

// Caps says how a file system differs from others.
type Caps struct {
	Name       string // for messages: "local", "hdfs", ...
	BlockHosts bool   // knows where a file's blocks are
	MaxObject  int64  // largest file in bytes; 0: no limit that matters
}

// File is an open file. It may be read by several goroutines.
type File interface {
	io.ReaderAt // at the end: io.EOF with what could be read
	io.Closer
	Size() int64
}

// Writer is a file in the making. It belongs to one goroutine. After a failed Write, Commit
// refuses: a truncated file must never look complete. Every writer must be ended, by a Commit
// that succeeds or by Abort; else it holds a handle and space until the process ends.
type Writer interface {
	io.Writer
	// Commit makes the file visible and durable. If a file of the name is there already, it
	// fails with errs.Exist and changes nothing. After an error it is not known whether the
	// file is visible, except for errs.Exist, which says that a file is, and for a ctx that
	// was canceled before the call; names are never reused, so it does not matter.
	Commit(ctx context.Context) error
	// Abort drops the file. After Commit it does nothing.
	Abort() error
}

// FS is a file system. All methods may be called from any goroutine. A ctx that is canceled
// before the call makes it fail with errs.Canceled and change nothing. Absent files are
// errs.NotExist; folders are not files, so the name of one is absent. A path that is not
// clean is errs.Invalid, and so is the root where a file is meant.
type FS interface {
	Open(ctx context.Context, p Path) (File, error)
	// Create starts a file, which stays invisible until its writer commits. Folders need not
	// be made. A name that is taken is refused with errs.Exist here or by Commit.
	Create(ctx context.Context, p Path) (Writer, error)
	// Claim creates an empty marker file: errs.Exist for every racer but one.
	Claim(ctx context.Context, p Path) error
	Stat(ctx context.Context, p Path) (Info, error)
	// List yields the files below a folder, at any depth, sorted by path. It sees every file
	// that was committed before it was called, and never one that is not. An absent folder
	// is empty. After an error it ends. Ranging again lists again.
	List(ctx context.Context, dir Path) iter.Seq2[Info, error]
	// Remove removes a file. An absent file is no error.
	Remove(ctx context.Context, p Path) error
	Caps() Caps
}

// ReadFile reads a whole file of at most limit bytes.
func ReadFile(ctx context.Context, fs FS, p Path, limit int64) ([]byte, error) {
	f, err := fs.Open(ctx, p)
	if err != nil {
		return nil, err
	}
	defer f.Close() // reading only: a failed close loses nothing
	if f.Size() > limit {
		return nil, errs.E("read", errs.Invalid, string(p), fmt.Errorf("%d bytes, more than %d", f.Size(), limit))
	}
	b := make([]byte, f.Size())
	if n, err := f.ReadAt(b, 0); n < len(b) {
		return nil, errs.E("read", errs.KindOf(err), string(p), err)
	}
	return b, nil
}

// WriteFile creates a file with the given content.
func WriteFile(ctx context.Context, fs FS, p Path, data []byte) error {
	w, err := fs.Create(ctx, p)
	if err != nil {
		return err
	}
	if _, err := w.Write(data); err != nil {
		return errors.Join(err, w.Abort())
	}
	if err := w.Commit(ctx); err != nil {
		return errors.Join(err, w.Abort())
	}
	return nil
}

// maxFailed bounds how many failures RemoveAll reports one by one.
const maxFailed = 10

// sweeper is a file system where a writer that ends without a word leaves something that nobody sees and
// that stays.
type sweeper interface {
	Sweep(ctx context.Context, dir Path) error
}

// remover is a file system that removes a folder with all that is in it at once, and where a folder stays that was not removed.
type remover interface {
	RemoveFolder(ctx context.Context, dir Path) error
}

// Sweep removes what writers have left below a folder that ended without a word. A writer that lives may lose its file, so nobody
// whose files count may be writing there.
func Sweep(ctx context.Context, fs FS, dir Path) error {
	whole, in := unwrap(fs, dir)
	if s, ok := whole.(sweeper); ok {
		return s.Sweep(ctx, in)
	}
	return nil
}

// AtOnce tells whether RemoveAll takes no longer for many files than for few.
func AtOnce(fs FS) bool {
	whole, _ := unwrap(fs, "")
	_, ok := whole.(remover)
	return ok
}

// emptier is a file system where folders stay, and that can remove one in which there is nothing, and nothing else.
type emptier interface {
	RemoveEmpty(ctx context.Context, dir Path) error
}

// Prune removes a folder and those above it, up to the file system's root, as far as there is nothing in them, where folders are
// something. What cannot be removed is in use or somebody else's, and stays: there is no error to tell. A writer that has just made
// sure of such a folder begins anew, or fails.
func Prune(ctx context.Context, fs FS, dir Path) {
	whole, in := unwrap(fs, dir)
	e, ok := whole.(emptier)
	for ok && e.RemoveEmpty(ctx, in) == nil && dir != "" {
		dir, in = dir.Dir(), in.Dir()
	}
}

// RemoveAll removes every file below a folder, and what dead writers have left there, and the folder where folders are
// something. It goes on after a file that it cannot remove. Nobody may be writing to the folder any more.
func RemoveAll(ctx context.Context, fs FS, dir Path) error {
	if whole, in := unwrap(fs, dir); in != "" {
		if r, ok := whole.(remover); ok {
			return r.RemoveFolder(ctx, in)
		}
	}
	var all []Path
	for info, err := range fs.List(ctx, dir) {
		if err != nil {
			return err
		}
		all = append(all, info.Path)
	}
	var failed []error
	for _, p := range all {
		if ctx.Err() != nil {
			return errs.E("remove", errs.Canceled, string(dir), ctx.Err())
		}
		if err := fs.Remove(ctx, p); err != nil {
			failed = append(failed, err)
		}
	}
	if err := Sweep(ctx, fs, dir); err != nil {
		failed = append(failed, err)
	}
	if len(failed) > maxFailed {
		failed = append(failed[:maxFailed], fmt.Errorf("and %d more failures", len(failed)-maxFailed))
	}
	return errors.Join(failed...)
}
