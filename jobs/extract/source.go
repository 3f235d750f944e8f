package extract

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"path"
	"strings"

	"golang.org/x/sync/semaphore"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// item is one record before inference. Its slices are valid until the next one is asked for.
type item struct {
	key    []byte
	row    []byte        // encoded; nil if the join comes later
	image  []byte        // of sources Files and Joined
	volume []byte        // of source Volume, as stored
	bad    *mr.BadRecord // the image cannot be had; image is nil then
}

// readAheadBytes bounds the image files that a task holds, unless one alone is larger.
const readAheadBytes = 8 << 20

// maxFile is the largest file that is read: the largest that is decoded.
func (w *work) maxFile() int64 { return w.decode.Spec().MaxBytes }

// KeyOf is an image file's key: its name without folder and extension.
func KeyOf(uri string) string {
	name := path.Base(uri)
	if i := strings.LastIndexByte(name, '.'); i > 0 {
		name = name[:i]
	}
	return name
}

// items yields a task's records in the order that defines the order of all it writes.
func (w *work) items(ctx context.Context) iter.Seq2[item, error] {
	if w.p.Source == Files {
		return w.files(ctx)
	}
	return func(yield func(item, error) bool) {
		for r, err := range w.t.Records(ctx, w.p.Input) {
			it := item{key: r.Key}
			switch {
			case err != nil:
			case w.p.Source == Joined:
				it.row, it.image, err = SplitJoined(r.Value)
			default:
				it.volume = r.Value
			}
			if err != nil {
				yield(it, err)
				return
			}
			if !yield(it, nil) {
				return
			}
		}
	}
}

// fetched is a file on its way from the reading goroutine.
type fetched struct {
	item
	weight int64
	err    error
}

// files reads ahead in a goroutine of its own, which ends before the sequence does.
func (w *work) files(ctx context.Context) iter.Seq2[item, error] {
	return func(yield func(item, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		ch := make(chan fetched, 2*w.p.Batch) // closed by the reading goroutine
		room := semaphore.NewWeighted(max(readAheadBytes, w.maxFile()))
		go func() {
			defer close(ch)
			w.readAhead(ctx, room, ch)
		}()
		defer func() {
			cancel()
			for range ch { // until the goroutine has ended
			}
		}()
		for f := range ch {
			more := yield(f.item, f.err)
			room.Release(f.weight) // not before it is decoded
			if !more || f.err != nil {
				return
			}
		}
		if err := ctx.Err(); err != nil {
			yield(item{}, err)
		}
	}
}

func (w *work) readAhead(ctx context.Context, room *semaphore.Weighted, ch chan<- fetched) {
	for _, f := range w.t.Spec().Split.Files {
		it, ok := w.lookup(KeyOf(f.URI))
		var got fetched
		if ok {
			got = w.fetch(ctx, room, f.URI, it)
		} else {
			got = fetched{item: it}
		}
		select {
		case ch <- got:
		case <-ctx.Done():
			return
		}
		if got.err != nil {
			return
		}
	}
}

// lookup joins a key with the broadcast table. Without a row there is no need to read.
func (w *work) lookup(key string) (it item, wanted bool) {
	it.key = []byte(key)
	if w.table == nil {
		return it, true
	}
	it.row, wanted = w.table.Lookup(it.key)
	return it, wanted
}

// fetch reads one file. A file that is gone is a bad record; a store that does not answer is
// the attempt's error.
func (w *work) fetch(ctx context.Context, room *semaphore.Weighted, uri string, it item) fetched {
	fs, p, err := w.t.Resolve(ctx, uri)
	if err != nil {
		return fetched{item: it, err: err}
	}
	data, err := readFile(ctx, room, fs, p, w.maxFile())
	var tooLarge errTooLarge
	switch {
	case err == nil:
		it.image = data
	case errors.As(err, &tooLarge):
		it.bad = badImage(it.key, "too-large", err)
	case errs.Is(err, errs.NotExist):
		it.bad = badImage(it.key, "missing", err)
	default:
		return fetched{item: it, err: errs.E("read image", errs.KindOf(err), uri, err)}
	}
	return fetched{item: it, weight: int64(len(data))}
}

type errTooLarge struct{ size, most int64 }

func (e errTooLarge) Error() string { return fmt.Sprintf("%d bytes, more than %d", e.size, e.most) }

// readFile takes room for the file before it reads it; the receiver gives it back.
func readFile(ctx context.Context, room *semaphore.Weighted, fs dfs.FS, p dfs.Path, most int64) ([]byte, error) {
	f, err := fs.Open(ctx, p)
	if err != nil {
		return nil, err
	}
	defer f.Close() // reading only: a failed close loses nothing
	if f.Size() > most {
		return nil, errTooLarge{f.Size(), most}
	}
	if err := room.Acquire(ctx, f.Size()); err != nil {
		return nil, err
	}
	data := make([]byte, f.Size())
	if n, err := f.ReadAt(data, 0); err != nil && !(errors.Is(err, io.EOF) && n == len(data)) {
		room.Release(f.Size())
		return nil, err
	}
	return data, nil
}

func badImage(key []byte, cause string, err error) *mr.BadRecord {
	return &mr.BadRecord{Key: string(key), Stage: "image", Cause: cause, Error: err.Error()}
}
