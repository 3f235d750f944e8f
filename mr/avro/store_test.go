package avro

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/vista-mr/vista-mr/mr/errs"
)

// brokenAt is a store that fails every read that touches bytes from an offset on.
type brokenAt struct {
	r   io.ReaderAt
	off int64
	err error
}

func (b brokenAt) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > b.off {
		n, err := b.r.ReadAt(p[:max(0, min(int64(len(p)), b.off-off))], off)
		return n, errors.Join(b.err, err)
	}
	return b.r.ReadAt(p, off)
}

// A store that does not answer is not a damaged file: taking it for one would run the task
// that wrote the file again instead of reading once more.
func TestFailuresOfTheStoreKeepTheirKind(t *testing.T) {
	for _, codec := range []Codec{Null, Snappy} {
		data := bigFile(t, codec)
		for _, kind := range []errs.Kind{errs.Transient, errs.Unreachable, errs.Canceled} {
			failure := errs.E("get", kind, "s3://bucket/part", errors.New("no answer"))
			for at := 0; at < len(data); at += 1 + len(data)/41 {
				_, err := readAll(brokenAt{bytes.NewReader(data), int64(at), failure}, int64(len(data)), 0)
				if !errs.Is(err, kind) || !errors.Is(err, failure) {
					t.Fatalf("%s: store fails at %d of %d with %v: got %v (%v)", codec, at, len(data), kind, err, errs.KindOf(err))
				}
			}
			// also while looking for the first block of a split
			at := int64(len(data) / 2)
			_, err := readAll(brokenAt{bytes.NewReader(data), at, failure}, int64(len(data)), at)
			if !errs.Is(err, kind) {
				t.Fatalf("%s: looking for a marker at %d: got %v, want %v", codec, at, err, kind)
			}
		}
	}
}

// A file that ends early, whatever its length was said to be, is damaged.
func TestTruncatedFilesAreCorrupt(t *testing.T) {
	data := bigFile(t, Snappy)
	r, err := NewReader(bytes.NewReader(data), int64(len(data)), ReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	whole, err := readAll(bytes.NewReader(data), int64(len(data)), 0)
	if err != nil {
		t.Fatal(err)
	}
	for n := 4; n < len(data); n += 1 + len(data)/199 {
		short := bytes.NewReader(data[:n])
		if _, err := readAll(short, int64(len(data)), 0); !errs.Is(err, errs.Corrupt) {
			t.Fatalf("%d of %d bytes, length from elsewhere: %v, want a corrupt kind", n, len(data), err)
		}
		// With the wrong length, only a cut behind a marker can go unnoticed; the manifest
		// holds length and rows against that.
		rows, err := readAll(short, int64(n), 0)
		if err == nil && (n < int(r.HeaderEnd()) || rows >= whole) || err != nil && !errs.Is(err, errs.Corrupt) {
			t.Fatalf("%d of %d bytes: %d rows, %v", n, len(data), rows, err)
		}
	}
}

// bigFile spans several read buffers and has blocks larger and smaller than one.
func bigFile(t testing.TB, codec Codec) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, WriterOptions{Schema: KVSchema, Codec: codec, BlockBytes: 100_000})
	if err != nil {
		t.Fatal(err)
	}
	x := uint32(1)
	for i := range 16 {
		value := make([]byte, 1000+i%7*80_000)
		for j := range value {
			x = x*1664525 + 1013904223
			value[j] = byte(x >> 24)
		}
		if err := w.Append(AppendKV(nil, []byte{byte(i)}, value)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// readAll counts the records of all blocks from start on.
func readAll(r io.ReaderAt, size, start int64) (rows int, err error) {
	a, err := NewReader(r, size, ReaderOptions{})
	if err != nil {
		return 0, err
	}
	it := a.Blocks(start, size)
	for it.Next() {
		if err := EachKV(it.Block(), func(_, _ []byte) bool { rows++; return true }); err != nil {
			return rows, err
		}
	}
	return rows, it.Err()
}

// failingWriter takes n bytes.
type failingWriter struct {
	n   int
	err error
}

func (w *failingWriter) Write(p []byte) (int, error) {
	if len(p) > w.n {
		n := w.n
		w.n = 0
		return n, w.err
	}
	w.n -= len(p)
	return len(p), nil
}

// A Writer that failed once stays failed: nothing may be written behind a gap.
func TestWriterStopsAtTheFirstFailure(t *testing.T) {
	full := errs.E("write", errs.NoSpace, "part", errors.New("disk full"))
	whole := kvFile(t, 100, Snappy)
	for n := range len(whole) {
		dst := &failingWriter{n: n, err: full}
		w, err := NewWriter(dst, WriterOptions{Schema: KVSchema, Codec: Snappy, BlockBytes: 200, Meta: map[string]string{"vista.test": "yes"}})
		for i := 0; err == nil && i < 100; i++ {
			err = w.Append(AppendKV(nil, []byte("key"), bytes.Repeat([]byte{byte(i)}, i%50)))
		}
		dst.n = 1 << 20 // a store that recovers must get nothing more
		if err != nil && w != nil {
			before := w.Bytes()
			if again := w.Close(); !errs.Is(again, errs.NoSpace) {
				t.Fatalf("Close after a failed write: %v", again)
			}
			if w.Bytes() != before || dst.n != 1<<20 {
				t.Fatalf("%d bytes were written after a failure", w.Bytes()-before)
			}
		}
		if err != nil && !errs.Is(err, errs.NoSpace) {
			t.Fatalf("disk full at %d: %v", n, err)
		}
	}
}

// A marker may lie across two reads of the search for it.
func TestMarkersAcrossReads(t *testing.T) {
	data := bigFile(t, Null)
	r, err := NewReader(bytes.NewReader(data), int64(len(data)), ReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var starts []int64 // of blocks
	it := r.Blocks(0, int64(len(data)))
	for it.Next() {
		starts = append(starts, it.Block().Offset)
	}
	if it.Err() != nil {
		t.Fatal(it.Err())
	}
	tried := 0
	for i := 1; i < len(starts); i++ {
		// The search begins 16 bytes before the range and reads readBuffer at a time; the marker
		// ends where the block starts.
		for cut := int64(-1); cut <= 17; cut++ {
			start := starts[i] - cut - readBuffer + 16
			if start <= starts[i-1] {
				continue
			}
			it := r.Blocks(start, int64(len(data)))
			if !it.Next() || it.Block().Offset != starts[i] {
				t.Fatalf("from %d: block at %d, want the one at %d; %v", start, it.Block().Offset, starts[i], it.Err())
			}
			tried++
		}
	}
	if tried < 100 {
		t.Errorf("only %d cuts: the file has no blocks larger than a read", tried)
	}
}
