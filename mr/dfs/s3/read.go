package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/minio/minio-go/v7"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// Sizes of reading. The beginning comes with the opening: most images are whole with it. A reader that
// goes on where it has stopped is given a stream, twice as long each time; what a stream is ahead lies in
// the system's buffers and not in ours.
const (
	headSize    = 256 << 10
	streamFirst = 1 << 20
	streamMost  = 32 << 20
	maxStreams  = 4         // that wait for their readers to come back, in one file
	drainMost   = 128 << 10 // what is cheaper to read than a new connection
)

// file reads ranges of one version of an object.
type file struct {
	fs   *FS
	path dfs.Path
	key  string
	etag string
	size int64
	made context.Context // of Open: a read that waits ends with it, a later one does not mind

	mu      sync.Mutex
	closed  bool
	run     context.Context // ends with Close
	stop    context.CancelFunc
	head    []byte // the beginning, until somebody reads elsewhere
	waiting []*stream
	ends    []ended // where reads have ended, the latest last
}

// stream is the reply to a request for a range, and how much of it has been read.
type stream struct {
	body     io.ReadCloser
	cancel   context.CancelFunc
	pos, end int64
	length   int64
}

// ended is where a read has ended, and how long a stream from there should be.
type ended struct{ at, next int64 }

func (s *stream) close() {
	if left := s.end - s.pos; left > 0 && left <= drainMost {
		_, _ = io.CopyN(io.Discard, s.body, left) // to keep the connection; if it fails, there is none to keep
	}
	s.cancel()
	_ = s.body.Close() // reading only
}

// Open reads the beginning of the object, and with it its size and version.
func (f *FS) Open(ctx context.Context, p dfs.Path) (dfs.File, error) {
	key, err := f.key(ctx, "open", p)
	if err != nil {
		return nil, err
	}
	o := &file{fs: f, path: p, key: key, made: ctx}
	err = f.try(ctx, func() error { return o.begin(ctx) })
	if r, ok := response(err); ok && r.StatusCode == http.StatusRequestedRangeNotSatisfiable { // it is empty
		var info minio.ObjectInfo
		if info, err = f.head(ctx, key); err == nil && info.Size > 0 {
			err = errChanged
		}
	}
	if err != nil {
		return nil, f.fail(ctx, "open", p, err)
	}
	o.run, o.stop = context.WithCancel(context.WithoutCancel(ctx))
	return o, nil
}

// begin gets the first bytes.
func (o *file) begin(ctx context.Context) error {
	opts := minio.GetObjectOptions{}
	if err := opts.SetRange(0, headSize-1); err != nil {
		return err
	}
	body, info, header, err := o.fs.core.GetObject(ctx, o.fs.bucket.name, o.key, opts)
	if err != nil {
		return err
	}
	defer body.Close() // reading only
	o.etag, o.size = info.ETag, info.Size
	if r := header.Get("Content-Range"); r != "" {
		_, total, _ := strings.Cut(r, "/")
		if o.size, err = strconv.ParseInt(total, 10, 64); err != nil {
			return fmt.Errorf("the store's reply has Content-Range %q", r)
		}
	}
	if o.size < 0 {
		return errors.New("the store does not say how large the object is")
	}
	o.head = make([]byte, min(o.size, headSize))
	if _, err := io.ReadFull(body, o.head); err != nil {
		return fmt.Errorf("reading the object's beginning: %w", err)
	}
	return nil
}

func (o *file) Size() int64 { return o.size }

// Close ends reads that are under way.
func (o *file) Close() error {
	o.mu.Lock()
	waiting := o.waiting
	o.closed, o.waiting, o.head = true, nil, nil
	o.mu.Unlock()
	o.stop()
	for _, s := range waiting {
		s.cancel()
		_ = s.body.Close() // reading only
	}
	return nil
}

// ReadAt reads from the beginning that Open has brought, from a stream that has come to off, or asks for
// the range.
func (o *file) ReadAt(b []byte, off int64) (int, error) {
	o.mu.Lock()
	closed := o.closed
	o.mu.Unlock()
	switch {
	case closed:
		return 0, errs.E("read", errs.Internal, string(o.path), errors.New("the file is closed"))
	case off < 0:
		return 0, errs.E("read", errs.Internal, string(o.path), errors.New("negative offset"))
	case off >= o.size && len(b) > 0:
		return 0, io.EOF
	}
	want := int(min(int64(len(b)), max(o.size-off, 0)))
	n, err := o.read(b[:want], off)
	if err == nil && want < len(b) {
		err = io.EOF
	}
	return n, err
}

func (o *file) read(b []byte, off int64) (int, error) {
	n := o.fromHead(b, off)
	if n == len(b) {
		return n, nil
	}
	ctx, cancel := context.WithCancel(o.run)
	defer cancel()
	if o.made.Err() == nil {
		defer context.AfterFunc(o.made, cancel)()
	}
	for t := o.fs.patient(); ; {
		k, err := o.some(ctx, b[n:], off+int64(n))
		if n += k; k > 0 {
			t.moved()
		}
		if err == nil {
			return n, nil
		}
		if errors.Is(err, errNoRange) || !t.again(ctx, err) {
			return n, o.failed(ctx, err)
		}
	}
}

var errNoRange = errors.New("the store does not give parts of an object")

func (o *file) failed(ctx context.Context, err error) error {
	switch r, ok := response(err); {
	case o.made.Err() != nil && ctx.Err() != nil:
		return errs.E("read", errs.Canceled, string(o.path), o.made.Err())
	case ctx.Err() != nil:
		return errs.E("read", errs.Internal, string(o.path), errors.New("the file was closed while it was read"))
	case isRefused(err), ok && r.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		err = errChanged
	case errors.Is(err, errNoRange):
		err = &errs.Error{Kind: errs.Invalid, ID: "E-S3-LACKING", Path: o.fs.Name(o.path), Fix: "use a store that answers range requests", Err: err}
	}
	return o.fs.fail(context.WithoutCancel(ctx), "read", o.path, err)
}

// fromHead copies what the beginning has, and lets go of it when it is not wanted any more.
func (o *file) fromHead(b []byte, off int64) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	if off >= int64(len(o.head)) {
		o.head = nil
		return 0
	}
	n := copy(b, o.head[off:])
	o.note(off+int64(n), streamFirst)
	return n
}

// note remembers where a read has ended. mu is held.
func (o *file) note(at, next int64) {
	if len(o.ends) == 2*maxStreams {
		o.ends = o.ends[1:]
	}
	o.ends = append(o.ends, ended{at, next})
}

// some reads b, or a part of it and an error.
func (o *file) some(ctx context.Context, b []byte, off int64) (int, error) {
	s, err := o.streamAt(ctx, off, int64(len(b)))
	if err != nil {
		return 0, err
	}
	// The stream outlives this read, but must not hang longer than it.
	unhook := context.AfterFunc(ctx, s.cancel)
	k, err := io.ReadFull(s.body, b[:min(int64(len(b)), s.end-s.pos)])
	alive := unhook()
	s.pos += int64(k)
	if err != nil || !alive {
		s.cancel()
		_ = s.body.Close() // reading only
		if err == nil {
			err = ctx.Err()
		}
		return k, err
	}
	o.park(s)
	if k < len(b) { // the stream was shorter; the next one begins here
		more, err := o.some(ctx, b[k:], off+int64(k))
		return k + more, err
	}
	return k, nil
}

// streamAt takes the stream that has come to off, or begins one: a long one if a read has ended there.
func (o *file) streamAt(ctx context.Context, off, want int64) (*stream, error) {
	length := want
	o.mu.Lock()
	for i, s := range o.waiting {
		if s.pos == off {
			o.waiting = append(o.waiting[:i], o.waiting[i+1:]...)
			o.mu.Unlock()
			return s, nil
		}
	}
	for i := len(o.ends) - 1; i >= 0; i-- {
		if e := o.ends[i]; e.at == off {
			length = max(want, e.next)
			o.ends = append(o.ends[:i], o.ends[i+1:]...)
			break
		}
	}
	o.mu.Unlock()
	end := min(off+length, o.size)

	opts := minio.GetObjectOptions{}
	if err := opts.SetRange(off, end-1); err != nil {
		return nil, err
	}
	if o.etag != "" {
		if err := opts.SetMatchETag(o.etag); err != nil {
			return nil, err
		}
	}
	// The request lives as long as the stream; until the reply is there, also no longer than this read.
	run, cancel := context.WithCancel(o.run)
	unhook := context.AfterFunc(ctx, cancel)
	body, info, header, err := o.fs.core.GetObject(run, o.fs.bucket.name, o.key, opts)
	if !unhook() && err == nil {
		err = ctx.Err()
		_ = body.Close() // reading only
	}
	if err != nil {
		cancel()
		return nil, err
	}
	s := &stream{body: body, cancel: cancel, pos: off, end: end, length: length}
	whole := off == 0 && info.Size == o.size
	if r := header.Get("Content-Range"); !whole && !strings.HasPrefix(r, fmt.Sprintf("bytes %d-", off)) {
		cancel()
		return nil, errors.Join(errNoRange, body.Close())
	}
	if o.etag != "" && info.ETag != o.etag { // the condition was not looked at
		cancel()
		return nil, errors.Join(errChanged, body.Close())
	}
	return s, nil
}

// park keeps a stream for the read that goes on, or notes that it has come to its end.
func (o *file) park(s *stream) {
	var out *stream
	o.mu.Lock()
	switch {
	case s.pos == s.end:
		out = s
		o.note(s.pos, min(max(2*s.length, streamFirst), streamMost))
	case o.closed:
		out = s
	default:
		if len(o.waiting) == maxStreams {
			out, o.waiting = o.waiting[0], o.waiting[1:]
		}
		o.waiting = append(o.waiting, s)
	}
	o.mu.Unlock()
	if out != nil {
		out.close()
	}
}
