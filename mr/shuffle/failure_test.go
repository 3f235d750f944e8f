package shuffle

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/vista-mr/vista-mr/mr/checksum"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// spilled is a Writer that has spilled a few times.
func spilled(t *testing.T, o Options) *Writer {
	t.Helper()
	o.Memory = 4000
	w, err := NewWriter(o)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 600 {
		if err := w.Add(t.Context(), fmt.Append(nil, i*7919%600), make([]byte, 25)); err != nil {
			t.Fatal(err)
		}
	}
	if len(w.spills) < 4 {
		t.Fatalf("%d spills are too few for this test", len(w.spills))
	}
	return w
}

func nothingLeft(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("%d files are left in scratch, %v", len(left), err)
	}
}

// limited takes n bytes and then fails.
type limited struct {
	n   int
	err error
}

func (l *limited) Write(b []byte) (int, error) {
	if l.n -= len(b); l.n < 0 {
		return 0, l.err
	}
	return len(b), nil
}

// Whatever fails, the failure keeps its kind and Close leaves nothing behind.
func TestFailuresKeepTheirKindAndLeaveNothing(t *testing.T) {
	full := errs.E("write", errs.NoSpace, "part", errors.New("disk full"))
	combined := errors.New("cannot combine")
	failing := func(after int) Combine {
		return func(key []byte, values iter.Seq[[]byte], emit func(key, value []byte) error) error {
			if after--; after < 0 {
				return combined
			}
			for v := range values {
				if err := emit(key, v); err != nil {
					return err
				}
			}
			return nil
		}
	}
	for _, factor := range []int{2, 16} {
		for n := 0; n < 6000; n += 500 {
			dir := t.TempDir()
			w := spilled(t, Options{Partitions: 3, Scratch: dir, MergeFactor: factor})
			if _, err := w.Finish(t.Context(), &limited{n: n, err: full}); !errs.Is(err, errs.NoSpace) && n < 2000 {
				t.Errorf("disk full after %d bytes: %v", n, err)
			}
			if err := w.Close(); err != nil {
				t.Error(err)
			}
			nothingLeft(t, dir)
		}
		for _, after := range []int{600, 700, 1100} {
			dir := t.TempDir()
			w := spilled(t, Options{Partitions: 3, Scratch: dir, MergeFactor: factor, Combine: failing(after)})
			if _, err := w.Finish(t.Context(), io.Discard); !errors.Is(err, combined) {
				t.Errorf("combiner that fails at call %d: %v", after, err)
			}
			if err := w.Close(); err != nil {
				t.Error(err)
			}
			nothingLeft(t, dir)
		}
	}
}

func TestMisuseIsRefused(t *testing.T) {
	if _, err := NewWriter(Options{}); !errs.Is(err, errs.Invalid) {
		t.Errorf("no partitions: %v", err)
	}
	w, err := NewWriter(Options{Partitions: 2, Partition: func([]byte, int) int { return 2 }})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Add(t.Context(), []byte("k"), nil); !errs.Is(err, errs.Internal) {
		t.Errorf("a partition that does not exist: %v", err)
	}
	rename := func(key []byte, _ iter.Seq[[]byte], emit func(key, value []byte) error) error {
		return emit([]byte("z"), nil)
	}
	if w, err = NewWriter(Options{Partitions: 1, Combine: rename}); err != nil {
		t.Fatal(err)
	}
	if err := w.Add(t.Context(), []byte("k"), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Finish(t.Context(), io.Discard); !errs.Is(err, errs.Internal) {
		t.Errorf("a combiner that changes the key: %v", err)
	}
	if _, err := w.Finish(t.Context(), io.Discard); !errs.Is(err, errs.Internal) {
		t.Errorf("Finish twice: %v", err)
	}
	if err := w.Add(t.Context(), []byte("k"), nil); !errs.Is(err, errs.Internal) {
		t.Errorf("Add after Finish: %v", err)
	}
	if w, err = NewWriter(Options{Partitions: 1, Memory: 100, Scratch: t.TempDir() + "/none"}); err != nil {
		t.Fatal(err)
	}
	for i := 0; err == nil && i < 100; i++ {
		err = w.Add(t.Context(), []byte("k"), make([]byte, 100))
	}
	if !errs.Is(err, errs.NotExist) {
		t.Errorf("no scratch folder: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

// numbers is a segment of n sorted records, of more than one block if n is large.
func numbers(t testing.TB, n int) ([]byte, Segment) {
	t.Helper()
	var recs []record
	for i := range n {
		recs = append(recs, record{key: fmt.Sprintf("%06d", i), value: fmt.Sprint(rand.New(rand.NewPCG(uint64(i), 1)).Uint64())})
	}
	data, index := mapOutput(t, Options{Partitions: 1}, recs)
	return data, index[0]
}

// countingAt counts requests and fails from one on.
type countingAt struct {
	r     io.ReaderAt
	calls int
	fail  int // the call that fails; 0: none
	err   error
	bytes int64
}

func (c *countingAt) ReadAt(b []byte, off int64) (int, error) {
	if c.calls++; c.fail > 0 && c.calls >= c.fail {
		return 0, c.err
	}
	c.bytes += int64(len(b))
	return c.r.ReadAt(b, off)
}

// On a remote store every read is a request: there is one for each block, and one more.
func TestEachBlockIsOneRequest(t *testing.T) {
	data, seg := numbers(t, 20_000)
	c := &countingAt{r: bytes.NewReader(data)}
	if _, err := merged(t.Context(), []Source{{R: c, Seg: seg}}, MergeOptions{}); err != nil {
		t.Fatal(err)
	}
	if blocks := int((seg.RawBytes + blockBytes - 1) / blockBytes); c.calls > blocks+1 || c.bytes != seg.Bytes {
		t.Errorf("%d requests for %d bytes; want %d for %d", c.calls, c.bytes, blocks+1, seg.Bytes)
	}
}

// A store that does not answer is not a damaged segment, whichever request it is.
func TestFailuresOfASourceKeepTheirKind(t *testing.T) {
	data, seg := numbers(t, 8000)
	for _, kind := range []errs.Kind{errs.Transient, errs.Unreachable, errs.Canceled} {
		failure := errs.E("get", kind, "s3://bucket/seg", errors.New("no answer"))
		for fail := 1; ; fail++ {
			dir := t.TempDir()
			bad := &countingAt{r: bytes.NewReader(data), fail: fail, err: failure}
			sources := []Source{{R: bytes.NewReader(data), Seg: seg}, {R: bad, Seg: seg, Name: "second"}, {R: bytes.NewReader(data), Seg: seg}}
			_, err := merged(t.Context(), sources, MergeOptions{MergeFactor: 2, Scratch: dir})
			nothingLeft(t, dir)
			if err == nil {
				if fail < 3 {
					t.Fatalf("only %d requests", fail-1)
				}
				break
			}
			if !errs.Is(err, kind) || !errors.Is(err, failure) {
				t.Fatalf("request %d fails with %v: got %v", fail, kind, err)
			}
		}
	}
}

// The message names the file that is damaged, so that its writer can run again.
func TestDamageNamesItsSource(t *testing.T) {
	data, seg := numbers(t, 2000)
	rnd := rand.New(rand.NewPCG(5, 5))
	for trial := range 100 {
		dir := t.TempDir()
		bad := bytes.Clone(data)
		bad[rnd.IntN(len(bad))] ^= 1 << rnd.IntN(8)
		var sources []Source
		for i := range 5 {
			s := Source{R: bytes.NewReader(data), Seg: seg, Name: fmt.Sprint("file-", i)}
			if i == trial%5 {
				s.R = bytes.NewReader(bad)
			}
			sources = append(sources, s)
		}
		_, err := merged(t.Context(), sources, MergeOptions{MergeFactor: 2 + trial%3, Scratch: dir})
		var e *errs.Error
		if !errs.Is(err, errs.Corrupt) || !errors.As(err, &e) || e.Path != sources[trial%5].Name || !strings.Contains(err.Error(), e.Path) {
			t.Fatalf("damage in %s: %v", sources[trial%5].Name, err)
		}
		nothingLeft(t, dir)
	}
}

// An index that belongs to another segment is noticed: every field of it, but the partition.
func TestWrongIndexIsCorrupt(t *testing.T) {
	data, seg := numbers(t, 8000)
	for name, change := range map[string]func(*Segment){
		"offset":          func(s *Segment) { s.Offset++ },
		"offset below 0":  func(s *Segment) { s.Offset = -1 },
		"fewer bytes":     func(s *Segment) { s.Bytes -= 13 },
		"more bytes":      func(s *Segment) { s.Bytes += 13 },
		"a head is left":  func(s *Segment) { s.Bytes = blockHead },
		"part of a head":  func(s *Segment) { s.Bytes = 5 },
		"negative":        func(s *Segment) { s.Bytes = -7 },
		"fewer records":   func(s *Segment) { s.Records-- },
		"more records":    func(s *Segment) { s.Records++ },
		"checksum":        func(s *Segment) { s.CRC ^= 1 },
		"smaller blocks":  func(s *Segment) { s.Block = 100 },
		"nothing is left": func(s *Segment) { s.Bytes = 0 },
	} {
		s := seg
		change(&s)
		if _, err := merged(t.Context(), []Source{{R: bytes.NewReader(data), Seg: s}}, MergeOptions{}); !errs.Is(err, errs.Corrupt) {
			t.Errorf("%s: %v (%v), want a corrupt kind", name, err, errs.KindOf(err))
		}
	}
}

// Canceling stops a merge within a block, in any of its passes.
func TestMergeStopsWhenCanceled(t *testing.T) {
	data, seg := numbers(t, 30_000)
	for calls := 1; calls < 60; calls += 7 {
		dir := t.TempDir()
		ctx, cancel := context.WithCancel(t.Context())
		var sources []Source
		at := &cancelAt{calls: calls, cancel: cancel}
		for range 5 {
			sources = append(sources, Source{R: at.reader(bytes.NewReader(data)), Seg: seg})
		}
		_, err := merged(ctx, sources, MergeOptions{MergeFactor: 2, Scratch: dir})
		cancel()
		if after := at.seen - calls; !errs.Is(err, errs.Canceled) || after > 12 {
			t.Errorf("canceled at request %d: %v, %d requests later", calls, err, after)
		}
		nothingLeft(t, dir)
	}
}

// cancelAt cancels at some request to any of its readers.
type cancelAt struct {
	calls, seen int
	cancel      func()
}

func (c *cancelAt) reader(r io.ReaderAt) io.ReaderAt {
	return readerFunc(func(b []byte, off int64) (int, error) {
		if c.seen++; c.seen == c.calls {
			c.cancel()
		}
		return r.ReadAt(b, off)
	})
}

type readerFunc func(b []byte, off int64) (int, error)

func (f readerFunc) ReadAt(b []byte, off int64) (int, error) { return f(b, off) }

// Too many sources are merged beforehand, but no more of them than needed, and what has been
// merged on is removed at once.
func TestNoMoreIsMergedThanNeeded(t *testing.T) {
	data, seg := numbers(t, 6_000)
	for _, c := range []struct{ sources, factor, files, merged int }{
		{16, 16, 0, 0}, {17, 16, 1, 2}, {20, 16, 1, 5}, {31, 16, 1, 16}, {32, 16, 2, 18}, {9, 3, 3, 9}, {5, 2, 1, 4},
	} {
		dir := t.TempDir()
		var sources []Source
		for range c.sources {
			sources = append(sources, Source{R: &countingAt{r: bytes.NewReader(data)}, Seg: seg})
		}
		g, err := Merge(t.Context(), sources, MergeOptions{MergeFactor: c.factor, Scratch: dir})
		if err != nil {
			t.Fatal(err)
		}
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		whole := 0
		for _, s := range sources {
			if s.R.(*countingAt).bytes == seg.Bytes {
				whole++
			}
		}
		if len(files) != c.files || whole != c.merged {
			t.Errorf("%d sources, %d at a time: %d were merged beforehand and %d files are there; want %d and %d",
				c.sources, c.factor, whole, len(files), c.merged, c.files)
		}
		for g.Next(t.Context()) {
		}
		if g.Err() != nil {
			t.Error(g.Err())
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		nothingLeft(t, dir)
	}
}

// wide is an endless file that begins with head; the rest is zero.
type wide struct{ head []byte }

func (w wide) ReadAt(b []byte, off int64) (int, error) {
	clear(b)
	if off < int64(len(w.head)) {
		copy(b, w.head[off:])
	}
	return len(b), nil
}

// TestDamagedLengthIsNotAllocated: no bit of a block's lengths, once wrong, makes a reader
// allocate more than the segment's largest block takes.
func TestDamagedLengthIsNotAllocated(t *testing.T) {
	for bit := range 64 {
		head := make([]byte, blockHead)
		binary.LittleEndian.PutUint32(head[0:], 50_000)
		binary.LittleEndian.PutUint32(head[4:], 65_536)
		binary.LittleEndian.PutUint32(head[8:], checksum.Sum(head[:8]))
		head[bit/8] ^= 1 << (bit % 8)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Merge(t.Context(), []Source{{R: wide{head}, Seg: Segment{Bytes: 2 << 30, Records: 10, Block: 66_000}}},
			MergeOptions{Memory: 1 << 20, Scratch: t.TempDir()})
		runtime.ReadMemStats(&after)
		if !errs.Is(err, errs.Corrupt) {
			t.Errorf("bit %d: %v, want corrupt", bit, err)
		}
		if n := (after.TotalAlloc - before.TotalAlloc) >> 10; n > 512 {
			t.Errorf("bit %d: %d KiB allocated", bit, n)
		}
	}
}

// TestIntermediateMergesDoNotAllocateByRecord: records are copied from block to block.
func TestIntermediateMergesDoNotAllocateByRecord(t *testing.T) {
	const runs, records = 8, 20_000
	var sources []Source
	for range runs {
		var file bytes.Buffer
		sw := &segmentWriter{w: &file}
		sw.start(0, 0)
		for i := range records {
			if err := sw.add(binary.BigEndian.AppendUint32(nil, uint32(i)), make([]byte, 100)); err != nil {
				t.Fatal(err)
			}
		}
		seg, err := sw.finish()
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, Source{R: bytes.NewReader(file.Bytes()), Seg: seg})
	}
	dir := t.TempDir()
	allocs := testing.AllocsPerRun(1, func() {
		g, err := Merge(t.Context(), sources, MergeOptions{Memory: 1 << 20, MergeFactor: 2, Scratch: dir})
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > records/10 {
		t.Errorf("%.0f allocations to merge %d records of %d runs", allocs, records*runs, runs)
	}
}
