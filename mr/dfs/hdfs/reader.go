package hdfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	hadoop "github.com/colinmarc/hdfs/v2"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// file is an open file. Readers of the library serve one goroutine at a time and keep a connection to a DataNode at
// their place in the file, so there are as many as goroutines read at once; a few are kept.
type file struct {
	fs   *FS
	path dfs.Path
	size int64
	id   uint64

	mu     sync.Mutex
	idle   []*reader
	closed bool
}

// reader is a reader of the library, at a place.
type reader struct {
	r  *hadoop.FileReader
	s  *session
	at int64
}

// maxIdle bounds the readers that are kept for the next read.
const maxIdle = 4

// Open opens a file.
func (f *FS) Open(ctx context.Context, p dfs.Path) (dfs.File, error) {
	if err := f.file(ctx, "open", p); err != nil {
		return nil, err
	}
	of := &file{fs: f, path: p}
	r, st, err := of.open(ctx)
	if err != nil {
		return nil, f.wrap("open", p, err)
	}
	if st.GetFileType() != typeFile {
		err = os.ErrNotExist
	} else {
		err = readable(st)
	}
	if err != nil {
		of.drop(r, nil)
		return nil, f.wrap("open", p, err)
	}
	of.size, of.id = int64(st.GetLength()), st.GetFileId()
	of.idle = []*reader{r} // a small file is most often read once: asking for it again would be half of its calls
	return of, nil
}

func (f *file) Size() int64 { return f.size }

// ReadAt reads; the error at the end is io.EOF itself, as io.ReaderAt wants it.
func (f *file) ReadAt(b []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errs.E("read", errs.Invalid, f.fs.shown(f.path), fmt.Errorf("offset %d", off))
	}
	end := error(nil)
	if off >= f.size {
		b, end = nil, io.EOF
	} else if int64(len(b)) > f.size-off {
		b, end = b[:f.size-off], io.EOF
	}
	f.mu.Lock()
	closed := f.closed
	f.mu.Unlock()
	if closed {
		return 0, errs.E("read", errs.Internal, f.fs.shown(f.path), errors.New("the file is closed"))
	}
	n, err := f.readFull(b, off)
	if err != nil && garbled(err) && (f.fs.opt.EncryptData || f.fs.opt.DataProtection != "") {
		err = &errs.Error{Op: "read", Kind: errs.Invalid, ID: "E-HDFS-CONFIG", Err: fmt.Errorf("DataNodes encrypt without AES, and the HDFS client library reads that wrongly: %w", err), Fix: needAES}
	}
	if err != nil {
		return n, f.fs.wrap("read", f.path, err)
	}
	return n, end
}

// readFull fills b. The library turns from one DataNode to the next by itself; when it has none left, it is asked anew,
// with blocks located anew, for a quarter of the patience.
func (f *file) readFull(b []byte, off int64) (int, error) {
	done, begin, try := 0, time.Now(), 0
	for done < len(b) {
		r, err := f.take(off + int64(done))
		if err == nil {
			var n int
			n, err = r.read(b[done:])
			if done += n; err == nil {
				f.keep(r)
				continue
			}
			if n > 0 {
				try = 0
			}
			f.drop(r, err)
		}
		if k := kindOf(err); k == errs.NotExist || k == errs.Invalid || k == errs.Unauthorized {
			return done, err
		}
		pause := backoff(try, 50*time.Millisecond, 2*time.Second)
		if try++; try > 2 && time.Since(begin)+pause > f.fs.opt.Patience/4 {
			return done, err
		}
		time.Sleep(pause)
	}
	return done, nil
}

// read reads what the library returns at once, at most len(b) bytes.
func (r *reader) read(b []byte) (int, error) {
	n, err := io.ReadFull(r.r, b)
	r.at += int64(n)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = errors.New("the file ends before its length")
	}
	return n, err
}

// skip is the largest gap that is read over and not jumped over; the library's own bound.
const skip = 64 << 10

// take returns a reader at off: one that is there or a little before it, or another.
func (f *file) take(off int64) (*reader, error) {
	f.mu.Lock()
	best := -1
	for i, r := range f.idle {
		if gap := off - r.at; gap >= 0 && gap <= skip && (best < 0 || r.at > f.idle[best].at) {
			best = i
		}
	}
	if best < 0 && len(f.idle) > 0 {
		best = 0 // the one that was used longest ago
	}
	var r *reader
	if best >= 0 {
		r = f.idle[best]
		f.idle = append(f.idle[:best], f.idle[best+1:]...)
	}
	f.mu.Unlock()
	if r == nil {
		var err error
		if r, err = f.another(); err != nil {
			return nil, err
		}
	}
	if r.at != off { // a seek to where it is would cost the connection
		if _, err := r.r.Seek(off, io.SeekStart); err != nil {
			f.drop(r, err)
			return nil, err
		}
		r.at = off
	}
	return r, nil
}

// another returns one more reader of the file.
func (f *file) another() (*reader, error) {
	r, st, err := f.open(context.Background())
	if err == nil && st.GetFileId() != f.id {
		f.drop(r, nil)
		return nil, os.ErrNotExist // another file of the same name
	}
	return r, err
}

// open returns a reader at the start of what has the name now, be it a folder, and what it is.
func (f *file) open(ctx context.Context) (r *reader, st *hadoop.FileStatus, err error) {
	err = f.fs.pool.do(ctx, f.fs.opt.Patience, func(s *session) error {
		h, err := s.c.Open(f.fs.abs(f.path))
		if err != nil {
			return err
		}
		var ok bool
		if st, ok = h.Stat().Sys().(*hadoop.FileStatus); !ok {
			return errors.Join(errs.E("open", errs.Internal, "", errors.New("the HDFS client library says nothing of a file")), h.Close())
		}
		f.fs.pool.hold(s)
		r = &reader{r: h, s: s}
		return nil
	})
	return r, st, err
}

// keep lets the next read use the reader.
func (f *file) keep(r *reader) {
	f.mu.Lock()
	var old *reader
	switch {
	case f.closed:
		old = r
	default:
		if f.idle = append(f.idle, r); len(f.idle) > maxIdle {
			old = f.idle[0]
			f.idle = f.idle[1:]
		}
	}
	f.mu.Unlock()
	if old != nil {
		f.drop(old, nil)
	}
}

func (f *file) drop(r *reader, err error) {
	_ = r.r.Close() // reading only: a failed close loses nothing
	f.fs.pool.give(r.s, err)
}

func (f *file) Close() error {
	f.mu.Lock()
	idle := f.idle
	f.idle, f.closed = nil, true
	f.mu.Unlock()
	for _, r := range idle {
		f.drop(r, nil)
	}
	return nil
}

// Hosts are the machines that hold a range of a file, those with most of it first, each by name and by address.
func (f *FS) Hosts(ctx context.Context, p dfs.Path, off, length int64) ([]string, error) {
	if err := f.file(ctx, "locate", p); err != nil {
		return nil, err
	}
	if off < 0 || length < 0 {
		return nil, errs.E("locate", errs.Invalid, f.shown(p), fmt.Errorf("range %d+%d", off, length))
	}
	share := map[string]int64{}
	err := f.pool.do(ctx, f.opt.Patience, func(s *session) error {
		blocks, _, _, err := s.blocks(f.abs(p), uint64(off), uint64(length))
		if err != nil {
			return err
		}
		clear(share)
		for i := range blocks.Len() {
			b := blocks.Get(i).Message()
			from := int64(get(b, "offset").Uint())
			to := from + int64(get(get(b, "b").Message(), "numBytes").Uint())
			n := min(to, off+length) - max(from, off)
			locs := get(b, "locs").List()
			for j := range locs.Len() {
				id := get(locs.Get(j).Message(), "id").Message()
				name, address := get(id, "hostName").String(), get(id, "ipAddr").String()
				share[name] += max(n, 0)
				if address != name {
					share[address] += max(n, 0)
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, f.wrap("locate", p, err)
	}
	return byShare(share), nil
}
