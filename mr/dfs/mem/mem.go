// Package mem is the dfs reference adapter: a file system in memory, for tests and for
// comparing the others with.
//
// Invariant: it holds exactly what was committed, so a copy of it (Crash) is what a crash of
// every process would leave.
package mem

import (
	"context"
	"errors"
	"io"
	"iter"
	"maps"
	"sort"
	"sync"
	"sync/atomic"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// FS is a file system in memory. Contents are never changed once they are committed.
type FS struct {
	mu    sync.Mutex
	files map[dfs.Path][]byte
}

var _ dfs.FS = (*FS)(nil)

// New returns an empty file system.
func New() *FS { return &FS{files: map[dfs.Path][]byte{}} }

// Crash returns a file system with what is committed now. Open writers are not part of it.
func (f *FS) Crash() *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &FS{files: maps.Clone(f.files)}
}

// Caps names the adapter.
func (f *FS) Caps() dfs.Caps { return dfs.Caps{Name: "mem"} }

func check(ctx context.Context, op string, p dfs.Path) error {
	if err := ctx.Err(); err != nil {
		return errs.E(op, errs.Canceled, string(p), err)
	}
	if p == "" {
		return errs.E(op, errs.Invalid, "", errors.New("the root is no file"))
	}
	return p.Check()
}

type file struct {
	path   dfs.Path
	data   []byte
	closed atomic.Bool
}

func (f *file) Size() int64 { return int64(len(f.data)) }

func (f *file) Close() error {
	f.closed.Store(true)
	return nil
}

// ReadAt fails after Close, as it does on a disk.
func (f *file) ReadAt(b []byte, off int64) (int, error) {
	if f.closed.Load() {
		return 0, errs.E("read", errs.Internal, string(f.path), errors.New("the file is closed"))
	}
	if off < 0 {
		return 0, errs.E("read", errs.Internal, string(f.path), errors.New("negative offset"))
	}
	if off >= int64(len(f.data)) {
		return 0, io.EOF
	}
	n := copy(b, f.data[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// Open opens a committed file.
func (f *FS) Open(ctx context.Context, p dfs.Path) (dfs.File, error) {
	if err := check(ctx, "open", p); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	data, ok := f.files[p]
	if !ok {
		return nil, errs.E("open", errs.NotExist, string(p), nil)
	}
	return &file{path: p, data: data}, nil
}

type writer struct {
	fs    *FS
	path  dfs.Path
	data  []byte
	ended bool
}

// Create starts a file.
func (f *FS) Create(ctx context.Context, p dfs.Path) (dfs.Writer, error) {
	if err := check(ctx, "create", p); err != nil {
		return nil, err
	}
	return &writer{fs: f, path: p}, nil
}

func (w *writer) Write(b []byte) (int, error) {
	if w.ended {
		return 0, errs.E("write", errs.Internal, string(w.path), errors.New("the writer has ended"))
	}
	w.data = append(w.data, b...)
	return len(b), nil
}

func (w *writer) Commit(ctx context.Context) error {
	if w.ended {
		return errs.E("commit", errs.Internal, string(w.path), errors.New("the writer has ended"))
	}
	if err := ctx.Err(); err != nil {
		return errs.E("commit", errs.Canceled, string(w.path), err)
	}
	w.ended = true
	return w.fs.put("commit", w.path, w.data)
}

func (w *writer) Abort() error {
	w.ended = true
	return nil
}

func (f *FS) put(op string, p dfs.Path, data []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.files[p]; ok {
		return errs.E(op, errs.Exist, string(p), nil)
	}
	f.files[p] = data
	return nil
}

// Claim creates an empty file.
func (f *FS) Claim(ctx context.Context, p dfs.Path) error {
	if err := check(ctx, "claim", p); err != nil {
		return err
	}
	return f.put("claim", p, nil)
}

// Stat describes a file. There is no clock here: files have no time.
func (f *FS) Stat(ctx context.Context, p dfs.Path) (dfs.Info, error) {
	if err := check(ctx, "stat", p); err != nil {
		return dfs.Info{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	data, ok := f.files[p]
	if !ok {
		return dfs.Info{}, errs.E("stat", errs.NotExist, string(p), nil)
	}
	return dfs.Info{Path: p, Size: int64(len(data))}, nil
}

// List yields a snapshot.
func (f *FS) List(ctx context.Context, dir dfs.Path) iter.Seq2[dfs.Info, error] {
	return func(yield func(dfs.Info, error) bool) {
		if err := dir.Check(); err != nil {
			yield(dfs.Info{}, err)
			return
		}
		if err := ctx.Err(); err != nil {
			yield(dfs.Info{}, errs.E("list", errs.Canceled, string(dir), err))
			return
		}
		f.mu.Lock()
		var all []dfs.Info
		for p, data := range f.files {
			if p.Under(dir) {
				all = append(all, dfs.Info{Path: p, Size: int64(len(data))})
			}
		}
		f.mu.Unlock()
		sort.Slice(all, func(i, j int) bool { return all[i].Path < all[j].Path })
		for _, i := range all {
			if err := ctx.Err(); err != nil {
				yield(dfs.Info{}, errs.E("list", errs.Canceled, string(dir), err))
				return
			}
			if !yield(i, nil) {
				return
			}
		}
	}
}

// Remove removes a file.
func (f *FS) Remove(ctx context.Context, p dfs.Path) error {
	if err := check(ctx, "remove", p); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.files, p)
	return nil
}
