package s3

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// ownerKey is the name of the object's property that tells its writer.
const ownerKey = "Vista-Mr-Writer"

// newToken is a writer's name, which no other has.
func newToken() string {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		panic(err) // crypto/rand never fails on the systems that Go runs on
	}
	return hex.EncodeToString(b[:])
}

// owned is what an object is made with that tells its writer.
func owned(token string) minio.PutObjectOptions {
	// Not pieces of the body are signed, but the whole, which every store understands.
	return minio.PutObjectOptions{DisableContentSha256: true, UserMetadata: map[string]string{ownerKey: token}}
}

// created adds the condition that the object must be new.
func created(o minio.PutObjectOptions) minio.PutObjectOptions {
	o.SetMatchETagExcept("*")
	return o
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// put creates an object in one call.
func (f *FS) put(ctx context.Context, key string, data []byte, token string) error {
	sum, opts := digest(data), created(owned(token))
	err := f.try(ctx, func() error {
		_, err := f.core.PutObject(ctx, f.bucket.name, key, bytes.NewReader(data), int64(len(data)), "", sum, opts)
		return err
	})
	return f.settle(ctx, key, token, err)
}

// settle decides what a store's answer to a creation means: an object that is there already may be our
// own, made by a try whose reply was lost here or on the way, between a proxy and the store. ETags do not
// tell: attempts of one task write the same bytes.
func (f *FS) settle(ctx context.Context, key, token string, err error) error {
	r, ok := response(err)
	gone := ok && r.Code == "NoSuchUpload" // completed by a try whose reply was lost, or ended by somebody
	if err == nil || !gone && !isRefused(err) && !isFolder(err) && !(ok && r.StatusCode == 409) {
		return err
	}
	info, herr := f.head(ctx, key)
	switch {
	case herr == nil && info.UserMetadata[ownerKey] == token:
		return nil
	case herr == nil:
		return errTaken
	case isAbsent(herr) && isRefused(err): // it was there, and has been removed since
		return errTaken
	case isAbsent(herr):
		return err
	}
	return herr
}

// writer holds the part that is being filled and, while that goes on, the one that is being sent.
type writer struct {
	fs    *FS
	path  dfs.Path
	key   string
	token string
	buf   []byte
	// Parts are sent while the next one is filled. That must not end with the ctx of Create, which a
	// writer may outlive, but a Write that has to wait ends with it.
	made     context.Context
	sending  context.Context
	stop     context.CancelFunc
	sent     chan sentPart // the part on its way; nil: none
	upload   string        // "" as long as all of the file is in buf
	doubtful bool          // an upload may have been begun that we have not heard of
	parts    []minio.CompletePart
	failed   error
	ended    bool
}

type sentPart struct {
	part minio.CompletePart
	buf  []byte
	err  error
}

// Create calls nobody: the store decides at the end.
func (f *FS) Create(ctx context.Context, p dfs.Path) (dfs.Writer, error) {
	key, err := f.key(ctx, "create", p)
	if err != nil {
		return nil, err
	}
	w := &writer{fs: f, path: p, key: key, token: newToken(), made: ctx}
	w.sending, w.stop = context.WithCancel(context.WithoutCancel(ctx))
	return w, nil
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
	n := 0
	for n < len(b) {
		if len(w.buf) == w.fs.partSize {
			if err := w.flush(); err != nil {
				w.failed = err
				return n, err
			}
		}
		n += w.fill(b[n:])
	}
	return n, nil
}

// fill copies what fits. Small files are many: their buffer grows with them.
func (w *writer) fill(b []byte) int {
	size := w.fs.partSize
	if need := len(w.buf) + len(b); need > cap(w.buf) && cap(w.buf) < size {
		if need > size/2 || w.upload != "" {
			w.buf = append(w.fs.part(), w.buf...)
		} else {
			w.buf = append(make([]byte, 0, max(need, 2*cap(w.buf), 512)), w.buf...)
		}
	}
	k := min(size-len(w.buf), len(b))
	w.buf = append(w.buf, b[:k]...)
	return k
}

// part is an empty buffer for a part.
func (b *bucket) part() []byte {
	if p, ok := b.parts.Get().(*[]byte); ok {
		return (*p)[:0]
	}
	return make([]byte, 0, b.partSize)
}

func (b *bucket) giveBack(buf []byte) {
	if cap(buf) == b.partSize {
		b.parts.Put(&buf)
	}
}

// flush begins to send the part, after the one before has arrived.
func (w *writer) flush() error {
	ctx, cancel := context.WithCancel(w.sending)
	defer cancel()
	if w.made.Err() == nil {
		defer context.AfterFunc(w.made, cancel)()
	}
	if err := w.arrived(ctx, "write"); err != nil {
		return err
	}
	if len(w.parts) == maxParts-1 {
		return errs.E("write", errs.Invalid, string(w.path), fmt.Errorf("a file has at most %d bytes", w.fs.Caps().MaxObject))
	}
	if w.upload == "" {
		if err := w.begin(ctx); err != nil {
			return w.fs.fail(ctx, "write", w.path, err)
		}
	}
	number, buf := len(w.parts)+1, w.buf
	sent := make(chan sentPart, 1)
	w.sent, w.buf = sent, nil
	go func() { sent <- w.fs.send(w.sending, w.key, w.upload, number, buf) }()
	return nil
}

// arrived waits for the part that is on its way.
func (w *writer) arrived(ctx context.Context, op string) error {
	if w.sent == nil {
		return nil
	}
	select {
	case s := <-w.sent:
		w.sent = nil
		w.fs.giveBack(s.buf)
		if s.err != nil {
			return w.fs.fail(w.sending, op, w.path, s.err)
		}
		w.parts = append(w.parts, s.part)
		return nil
	case <-ctx.Done():
		return errs.E(op, errs.Canceled, string(w.path), context.Cause(ctx))
	}
}

// begin starts the upload. If its outcome is not known there may be one that nobody can name.
func (w *writer) begin(ctx context.Context) error {
	opts := owned(w.token)
	return w.fs.try(ctx, func() (err error) {
		w.upload, err = w.fs.core.NewMultipartUpload(ctx, w.fs.bucket.name, w.key, opts)
		if _, ok := response(err); err != nil && !ok {
			w.doubtful = true
		}
		return err
	})
}

// send uploads one part.
func (f *FS) send(ctx context.Context, key, upload string, number int, buf []byte) sentPart {
	out := sentPart{buf: buf}
	opts := minio.PutObjectPartOptions{Sha256Hex: digest(buf), DisableContentSha256: true}
	out.err = f.try(ctx, func() error {
		p, err := f.core.PutObjectPart(ctx, f.bucket.name, key, upload, number, bytes.NewReader(buf), int64(len(buf)), opts)
		out.part = minio.CompletePart{PartNumber: number, ETag: p.ETag}
		return err
	})
	return out
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
	var err error
	if w.upload == "" {
		err = w.fs.put(ctx, w.key, w.buf, w.token)
	} else {
		err = w.complete(ctx)
	}
	if err != nil {
		w.failed = w.fs.fail(ctx, "commit", w.path, err)
		return w.failed
	}
	w.ended = true
	w.stop()
	w.fs.giveBack(w.buf)
	w.buf = nil
	if w.doubtful {
		// The object is there, so any other upload of its name is lost: ours that we have not heard of,
		// too. What stays is found by Sweep.
		_ = w.fs.sweepFile(ctx, w.path)
	}
	return nil
}

// complete sends what is left and makes the parts an object.
func (w *writer) complete(ctx context.Context) error {
	if err := w.arrived(ctx, "commit"); err != nil {
		return err
	}
	if len(w.buf) > 0 {
		s := w.fs.send(ctx, w.key, w.upload, len(w.parts)+1, w.buf)
		if s.err != nil {
			return s.err
		}
		w.parts, w.buf = append(w.parts, s.part), nil
		w.fs.giveBack(s.buf)
	}
	opts := created(minio.PutObjectOptions{})
	err := w.fs.try(ctx, func() error {
		_, err := w.fs.core.CompleteMultipartUpload(ctx, w.fs.bucket.name, w.key, w.upload, w.parts, opts)
		return err
	})
	return w.fs.settle(ctx, w.key, w.token, err)
}

// abortTimeout bounds an Abort, which has no ctx.
const abortTimeout = 20 * time.Second

// Abort drops the parts. Ending twice is harmless.
func (w *writer) Abort() error {
	if w.ended {
		return nil
	}
	w.ended = true
	w.stop()
	if w.sent != nil {
		s := <-w.sent // soon, because it was stopped; and a part that arrives after the abort would stay
		w.fs.giveBack(s.buf)
		w.sent = nil
	}
	w.fs.giveBack(w.buf)
	w.buf = nil
	if w.upload == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.sending), abortTimeout)
	defer cancel()
	if err := w.fs.abort(ctx, w.key, w.upload); err != nil {
		return w.fs.fail(context.WithoutCancel(ctx), "abort", w.path, err)
	}
	return nil
}

// sweepFile aborts all uploads of one name.
func (f *FS) sweepFile(ctx context.Context, p dfs.Path) error {
	all, err := f.Uploads(ctx, p.Dir())
	for _, u := range all {
		if u.Path == p {
			err = errors.Join(err, f.abort(ctx, f.root+string(p), u.id))
		}
	}
	return err
}
