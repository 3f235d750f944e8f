package task

import (
	"bytes"
	"context"
	"sync"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// A task that reads all files of a phase reads one from each of its tasks, and most of its time goes into waiting for the store to open them. So
// small ones are fetched while those before them are read: at most aheadFiles of at most aheadBytes each.
const (
	aheadFiles = 8
	aheadBytes = 256 << 10
)

// ahead opens the files of an input, one after the other.
type ahead struct {
	fs      dfs.FS
	files   []mr.PartFile
	fetched map[int]*fetched
	running sync.WaitGroup
}

// fetched is a small file's content. It may be read when done is closed.
type fetched struct {
	done chan struct{}
	data []byte
	err  error
}

func newAhead(fs dfs.FS, files []mr.PartFile) *ahead {
	return &ahead{fs: fs, files: files, fetched: map[int]*fetched{}}
}

// open opens file i. Files are opened in their order, each once.
func (h *ahead) open(ctx context.Context, i int) (dfs.File, error) {
	f := h.files[i]
	for next := i + 1; next < min(i+aheadFiles, len(h.files)); next++ {
		if h.fetched[next] == nil && h.files[next].Bytes <= aheadBytes {
			h.fetch(ctx, next)
		}
	}
	got := h.fetched[i]
	if got == nil {
		return h.fs.Open(ctx, f.Path)
	}
	delete(h.fetched, i)
	<-got.done
	if errs.Is(got.err, errs.Invalid) { // longer than its manifest says: whoever reads it compares the two
		return h.fs.Open(ctx, f.Path)
	}
	if got.err != nil {
		return nil, got.err
	}
	return held{bytes.NewReader(got.data)}, nil
}

func (h *ahead) fetch(ctx context.Context, i int) {
	f := &fetched{done: make(chan struct{})}
	h.fetched[i] = f
	h.running.Go(func() {
		defer close(f.done)
		f.err = errs.Guard(func() (err error) {
			f.data, err = dfs.ReadFile(ctx, h.fs, h.files[i].Path, aheadBytes)
			return err
		})
	})
}

// wait returns when nothing is being fetched.
func (h *ahead) wait() { h.running.Wait() }

// held is a file whose bytes have been read.
type held struct{ *bytes.Reader }

// Size is the file's length.
func (h held) Size() int64 { return h.Reader.Size() }

// Close does nothing.
func (held) Close() error { return nil }
