package fault

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

type file struct {
	fs     *FS
	path   dfs.Path
	under  dfs.File
	closed atomic.Bool
}

func (h *file) Size() int64 { return h.under.Size() }

func (h *file) ReadAt(b []byte, off int64) (int, error) {
	if h.closed.Load() {
		return 0, errs.E("read", errs.Internal, string(h.path), errClosed)
	}
	v, err := h.fs.before(context.Background(), Read, h.path)
	if err != nil {
		return 0, err
	}
	if v.is(Torn) {
		n, err := h.under.ReadAt(b[:min(int64(len(b)), v.rule.After)], off)
		if n == len(b) {
			return n, err // it did not come to that
		}
		return n, v.err()
	}
	n, err := h.under.ReadAt(b, off)
	if n > 0 && v.is(Flip) {
		b[n/2] ^= 1 << (n % 8)
	}
	return n, err
}

func (h *file) Close() error {
	h.closed.Store(true)
	h.fs.ended(h)
	return h.under.Close()
}

type writer struct {
	fs     *FS
	path   dfs.Path
	under  dfs.Writer
	failed error
}

func (w *writer) Write(b []byte) (int, error) {
	if w.failed != nil {
		return 0, w.failed
	}
	v, err := w.fs.before(context.Background(), Write, w.path)
	if err != nil {
		w.failed = err
		return 0, err
	}
	part := b
	if v.is(Torn) {
		part = b[:min(int64(len(b)), v.rule.After)]
	}
	n, err := w.under.Write(part)
	if err == nil && len(part) < len(b) {
		err = v.err()
	}
	w.failed = err
	return n, err
}

func (w *writer) Commit(ctx context.Context) error {
	v, err := w.fs.before(ctx, Commit, w.path)
	if err != nil {
		return err
	}
	if w.failed != nil {
		return errs.E("commit", errs.Unknown, string(w.path), w.failed)
	}
	err = w.under.Commit(ctx)
	if err == nil {
		w.fs.ended(w)
	}
	return v.after(err)
}

// Abort always aborts: a failed one only says so. Otherwise a test that injects failures would
// itself leak files of the system.
func (w *writer) Abort() error {
	_, injected := w.fs.before(context.Background(), Abort, w.path)
	w.fs.ended(w)
	return errors.Join(injected, w.under.Abort())
}
