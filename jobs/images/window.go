package images

import (
	"errors"
	"fmt"
	"io"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// Bytes of a window. On this machine a request costs little, and what lies between headers is better
// passed over; elsewhere a request costs as much as reading a few MiB.
const (
	smallWindow = 8 << 10
	largeWindow = 4 << 20
)

func windowFor(fs dfs.FS) int {
	if name := fs.Caps().Name; name == "local" || name == "mem" {
		return smallWindow
	}
	return largeWindow
}

// window reads a file from front to back, in pieces, passing over what is not asked for.
type window struct {
	r     io.ReaderAt
	size  int64
	chunk int
	at    int64 // of data in the file
	data  []byte
	pos   int64 // for Read and Seek
}

// errEnd says that a file ends within something.
var errEnd = errors.New("the file ends early")

// peek returns n bytes at an offset, or fewer where the file ends. They are valid until the next call.
func (w *window) peek(at int64, n int) ([]byte, error) {
	n = int(max(min(int64(n), w.size-at), 0))
	if at >= w.at && at+int64(n) <= w.at+int64(len(w.data)) {
		return w.data[at-w.at:][:n], nil
	}
	want := int(min(int64(max(n, w.chunk)), w.size-at))
	if cap(w.data) < want {
		w.data = make([]byte, want)
	}
	w.data, w.at = w.data[:want], at
	if k, err := w.r.ReadAt(w.data, at); k < want {
		w.data = w.data[:0]
		if err == nil || errors.Is(err, io.EOF) {
			return nil, errs.E("read", errs.Corrupt, "", fmt.Errorf("%w: at byte %d of %d", errEnd, at+int64(k), w.size))
		}
		return nil, errs.E("read", errs.Unknown, "", err)
	}
	return w.data[:n], nil
}

// Read and Seek make it something that package archive/tar passes over members in.
func (w *window) Read(b []byte) (int, error) {
	if w.pos >= w.size {
		return 0, io.EOF
	}
	p, err := w.peek(w.pos, min(len(b), w.chunk))
	n := copy(b, p)
	w.pos += int64(n)
	return n, err
}

// Seek moves the place that Read reads from.
func (w *window) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += w.pos
	case io.SeekEnd:
		offset += w.size
	}
	if offset < 0 {
		return 0, errs.E("seek", errs.Internal, "", fmt.Errorf("offset %d", offset))
	}
	w.pos = offset
	return offset, nil
}
