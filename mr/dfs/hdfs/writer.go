package hdfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	hadoop "github.com/colinmarc/hdfs/v2"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// writer writes to a hidden file beside the final name.
type writer struct {
	fs      *FS
	ctx     context.Context // of Create, for what a Write does anew
	path    dfs.Path
	temp    string
	s       *session
	w       io.WriteCloser // of the library
	written int64
	failed  error
	ended   bool // by Commit or Abort
	left    bool // the hidden file may still be there
}

// Create begins the hidden file, making the folder.
func (f *FS) Create(ctx context.Context, p dfs.Path) (dfs.Writer, error) {
	if err := f.file(ctx, "create", p); err != nil {
		return nil, err
	}
	w := &writer{fs: f, ctx: ctx, path: p}
	if err := w.begin(ctx); err != nil {
		return nil, f.wrap("create", p, err)
	}
	return w, nil
}

// begin makes the hidden file.
func (w *writer) begin(ctx context.Context) error {
	f, p := w.fs, w.path
	var made []string // names that a lost reply may have made
	begin := func() error {
		if err := f.usableFolder(ctx, p.Dir()); err != nil {
			return err
		}
		return f.pool.do(ctx, f.opt.Patience, func(s *session) (err error) {
			if w.temp, err = f.newTemp(p); err != nil { // never the name of an earlier try
				return err
			}
			replication, block := s.layout(f.opt)
			h, err := s.c.CreateFile(w.temp, replication, block, f.opt.filePerm())
			if err != nil {
				made = append(made, w.temp)
				return err
			}
			f.pool.hold(s)
			w.s, w.w, w.left = s, h, true
			return nil
		})
	}
	err := begin()
	if kindOf(err) == errs.NotExist { // the folder was there, and is gone
		f.forget(p.Dir())
		err = begin()
	}
	if err != nil || len(made) > 0 {
		f.drop(made)
	}
	return err
}

// first writes the first bytes. A file of which no byte has been taken yet is begun anew where its DataNodes fail: the NameNode
// chooses a dead one until it is stale, which is for 30 seconds unless it is told otherwise, and the library does not choose
// among them.
func (w *writer) first(b []byte) (int, error) {
	begun := time.Now()
	for try := 0; ; try++ {
		n, err := w.w.Write(b)
		if err == nil || n > 0 || kindOf(err) != errs.Transient {
			return n, err
		}
		pause := backoff(try, 100*time.Millisecond, 2*time.Second)
		if time.Since(begun)+pause > w.fs.opt.Patience || !sleep(w.ctx, pause) {
			return n, err
		}
		_ = w.drop() // what stays is hidden
		_ = w.w.Close()
		w.release(err)
		if berr := w.begin(w.ctx); berr != nil {
			return 0, errors.Join(err, berr)
		}
	}
}

func (w *writer) errEnded(op string) error {
	return errs.E(op, errs.Internal, w.fs.shown(w.path), errors.New("the writer has ended"))
}

// piece bounds what the library copies at once.
const piece = 1 << 20

func (w *writer) Write(b []byte) (int, error) {
	if w.failed != nil {
		return 0, w.failed
	}
	if w.ended {
		return 0, w.errEnded("write")
	}
	done := 0
	for done < len(b) {
		write := w.w.Write
		if w.written == 0 && done == 0 {
			write = w.first
		}
		n, err := write(b[done:min(done+piece, len(b))])
		done += n
		if err != nil {
			// The pipeline of DataNodes is not mended by the library, and closing the file could make what has
			// arrived look complete. So nothing more is done with it.
			w.failed = w.fs.wrap("write", w.path, err)
			break
		}
	}
	w.written += int64(done)
	return done, w.failed
}

// Commit closes the hidden file, sees that it has the length that was written, and gives it its name.
func (w *writer) Commit(ctx context.Context) error {
	if w.ended {
		return w.errEnded("commit")
	}
	if w.failed != nil {
		return errs.E("commit", errs.Unknown, w.fs.shown(w.path), w.failed)
	}
	if err := ctx.Err(); err != nil {
		return errs.E("commit", errs.Canceled, w.fs.shown(w.path), err)
	}
	w.ended = true
	err := w.close(ctx)
	w.release(err)
	if err == nil {
		err = w.publish(ctx)
	}
	if kindOf(err) == errs.Exist {
		_ = w.drop() // Abort tries again; what stays is hidden
	}
	return w.fs.wrap("commit", w.path, err)
}

func (w *writer) publish(ctx context.Context) error {
	st, err := w.fs.stat(ctx, w.temp)
	if err != nil {
		return err
	}
	if got := int64(st.GetLength()); got != w.written {
		return errs.E("commit", errs.Transient, "", fmt.Errorf("the file has %d bytes, and %d were written", got, w.written))
	}
	if err := w.fs.rename(ctx, w.temp, w.fs.abs(w.path), st.GetFileId()); err != nil {
		return err
	}
	w.left = false
	return nil
}

// close closes the hidden file. It is tried again while the DataNodes have not told the NameNode of the last block, and
// while the NameNode is away; after any other failure the end of the file may be missing at a DataNode, and a second
// Close would say that all is well.
func (w *writer) close(ctx context.Context) error {
	begin := time.Now()
	for try := 0; ; try++ {
		err := w.w.Close()
		if err == nil {
			return nil
		}
		most := 100 * time.Millisecond
		if !hadoop.IsErrReplicating(err) {
			if w.isClosed(ctx, err) {
				return nil
			}
			if !away(err) {
				return err
			}
			most = 2 * time.Second // the library bars a NameNode for five seconds
		}
		pause := backoff(try, time.Millisecond, most) // the DataNodes tell of a block a moment after they have it
		if time.Since(begin)+pause > w.fs.opt.Patience {
			return errs.E("close", errs.Transient, "", err)
		}
		if !sleep(ctx, pause) {
			return ctx.Err()
		}
	}
}

// isClosed tells whether the file is closed although Close has failed: its reply was lost, and the next try finds nothing
// open. The length is compared as well, here and in publish.
func (w *writer) isClosed(ctx context.Context, err error) bool {
	var pe *os.PathError // of the call that closes the file, and no other
	if !errors.As(err, &pe) {
		return false
	}
	closed := false
	_ = w.fs.pool.do(ctx, w.fs.opt.Timeout, func(s *session) error { // where this fails, Close is tried again
		_, size, open, err := s.blocks(w.temp, 0, 1)
		closed = err == nil && !open && int64(size) == w.written
		return err
	})
	return closed
}

// release gives the session back.
func (w *writer) release(err error) {
	if w.s != nil {
		w.fs.pool.give(w.s, err)
		w.s = nil
	}
}

func (w *writer) drop() error {
	if !w.left {
		return nil
	}
	err := w.fs.dropOne(w.temp)
	w.left = err != nil
	return err
}

// Abort drops the file. Only then the library's writer is closed, for the sake of its connection: whatever that does to
// the hidden file, nobody can give it a name any more.
func (w *writer) Abort() error {
	if w.ended {
		return w.fs.wrap("abort", w.path, w.drop())
	}
	w.ended = true
	err := w.drop()
	_ = w.w.Close() // it fails: the file is gone
	w.release(nil)
	return w.fs.wrap("abort", w.path, err)
}
