package shuffle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"

	"github.com/vista-mr/vista-mr/mr/errs"
)

// Options says how a map task's output is sorted.
type Options struct {
	Partitions  int
	Partition   func(key []byte, n int) int // nil: the function Partition
	Memory      int64                       // bound on buffered records, and then on merge buffers, in bytes; 0: 32 MiB
	Scratch     string                      // local folder for spills
	Combine     Combine                     // nil: none
	MergeFactor int                         // runs merged at a time; 0: 16, fewer where memory is short
}

const (
	defaultMemory = 32 << 20
	defaultFactor = 16
)

// Pages are small enough that a Writer of little memory has many, and large enough that
// merging them is cheap.
const (
	minPage = 2 << 10
	maxPage = 512 << 10
)

// Writer sorts the output of one map task. It belongs to one goroutine.
type Writer struct {
	o      Options
	limit  int
	page   int     // bytes of an ordinary page
	pages  []*page // with records, in the order in which they were filled; all but the last sorted
	free   []*page
	held   int // bytes of all pages
	spills []spill
	done   bool
}

// spill is a local file with a sorted segment for each partition.
type spill struct {
	file  *os.File
	index Index
}

// NewWriter checks the options.
func NewWriter(o Options) (*Writer, error) {
	if o.Partitions < 1 {
		return nil, errs.E("shuffle", errs.Invalid, "", fmt.Errorf("%d partitions", o.Partitions))
	}
	if o.Partition == nil {
		o.Partition = Partition
	}
	if o.Memory <= 0 {
		o.Memory = defaultMemory
	}
	if o.MergeFactor < 2 {
		o.MergeFactor = defaultFactor
	}
	limit := int(min(o.Memory, math.MaxInt))
	page := min(max(limit/32, minPage), maxPage)
	return &Writer{o: o, limit: limit, page: page - page%entryBytes}, nil // a whole number of entries and nothing above a size class
}

// Add takes one record. Both slices are copied.
func (w *Writer) Add(ctx context.Context, key, value []byte) error {
	if w.done {
		return errs.E("shuffle", errs.Internal, "", errors.New("record after Finish"))
	}
	if err := checkSize(key, value); err != nil {
		return err
	}
	p := w.o.Partition(key, w.o.Partitions)
	if p < 0 || p >= w.o.Partitions {
		return errs.E("shuffle", errs.Internal, "", fmt.Errorf("partition %d of %d", p, w.o.Partitions))
	}
	need := len(key) + len(value) + entryBytes
	if len(w.pages) == 0 || !w.pages[len(w.pages)-1].fits(need) {
		if err := w.turn(ctx, need); err != nil {
			return err
		}
	}
	w.pages[len(w.pages)-1].add(p, key, value)
	return nil
}

// turn sorts the page that is full and begins another one that has room for need bytes,
// spilling if there is no memory for it.
func (w *Writer) turn(ctx context.Context, need int) error {
	if len(w.pages) > 0 {
		w.pages[len(w.pages)-1].sort()
	}
	size := max(w.page, need)
	if w.reuse(size) {
		return nil
	}
	if w.drop(size); w.held+size > w.limit && len(w.pages) > 0 {
		if err := w.spill(ctx); err != nil {
			return err
		}
		if w.reuse(size) {
			return nil
		}
		w.drop(size)
	}
	p := newPage(size)
	w.held += p.size()
	w.pages = append(w.pages, p)
	return nil
}

// reuse takes a free page that is large enough.
func (w *Writer) reuse(size int) bool {
	for i := len(w.free) - 1; i >= 0; i-- {
		if p := w.free[i]; p.size() >= size {
			w.free = slices.Delete(w.free, i, i+1)
			p.reset()
			w.pages = append(w.pages, p)
			return true
		}
	}
	return false
}

// drop gives free pages back until size more bytes may be held.
func (w *Writer) drop(size int) {
	for len(w.free) > 0 && w.held+size > w.limit {
		last := len(w.free) - 1
		w.held -= w.free[last].size()
		w.free[last] = nil
		w.free = w.free[:last]
	}
}

// spill sorts what is buffered into a local file.
func (w *Writer) spill(ctx context.Context) error {
	file, err := os.CreateTemp(w.o.Scratch, "spill-*")
	if err != nil {
		return errs.E("spill", errs.KindOf(err), w.o.Scratch, err)
	}
	s := spill{file: file}
	w.spills = append(w.spills, s) // so that Close removes it whatever happens
	index, err := w.flush(ctx, file)
	if err != nil {
		return err
	}
	w.spills[len(w.spills)-1].index = index
	return nil
}

// flush writes the buffered records, sorted, and frees their pages.
func (w *Writer) flush(ctx context.Context, out io.Writer) (Index, error) {
	if n := len(w.pages); n > 0 {
		w.pages[n-1].sort()
	}
	sw := &segmentWriter{w: out}
	in := newSorted(w.pages)
	var index Index
	offset := int64(0)
	for !in.done() {
		p := in.partition()
		sw.start(int(p), offset)
		if err := w.writeSorted(ctx, sw, in, p); err != nil {
			return nil, err
		}
		seg, err := sw.finish()
		if err != nil {
			return nil, err
		}
		index = append(index, seg)
		offset += seg.Bytes
	}
	w.free = append(w.free, w.pages...)
	clear(w.pages)
	w.pages = w.pages[:0]
	return index, nil
}

// looks is how many records or keys pass between two looks at a context.
const looks = 1 << 12

// writeSorted writes the records of one partition, combined.
func (w *Writer) writeSorted(ctx context.Context, sw *segmentWriter, in *sorted, partition int32) error {
	for n := 0; !in.done() && in.partition() == partition; n++ {
		if n%looks == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		key := in.key()
		if w.o.Combine == nil {
			if err := sw.add(key, in.val()); err != nil {
				return err
			}
			in.advance()
			continue
		}
		values := func(yield func([]byte) bool) {
			for in.at(partition, key) {
				v := in.val()
				in.advance()
				if !yield(v) {
					return
				}
			}
		}
		if err := w.o.Combine(key, values, sameKey(key, sw.add)); err != nil {
			return err
		}
		for in.at(partition, key) { // what the combiner did not ask for
			in.advance()
		}
	}
	return nil
}

func checkSize(key, value []byte) error {
	if len(key) > maxRecord || len(value) > maxRecord-len(key) {
		return errs.E("shuffle", errs.Invalid, "", fmt.Errorf("a record of %d + %d bytes is too large: at most %d fit", len(key), len(value), maxRecord))
	}
	return nil
}

// sameKey refuses a combiner that changes the key: its output would not be sorted any more.
func sameKey(want []byte, add func(key, value []byte) error) func(key, value []byte) error {
	return func(key, value []byte) error {
		if !bytes.Equal(key, want) {
			return errs.E("combine", errs.Internal, "", fmt.Errorf("key %q became %q", want, key))
		}
		if err := checkSize(key, value); err != nil {
			return err
		}
		return add(key, value)
	}
}

// Finish writes one segment for each partition that has records.
func (w *Writer) Finish(ctx context.Context, out io.Writer) (Index, error) {
	if w.done {
		return nil, errs.E("shuffle", errs.Internal, "", errors.New("Finish was called before"))
	}
	w.done = true
	if len(w.spills) == 0 {
		return w.flush(ctx, out)
	}
	if len(w.pages) > 0 {
		if err := w.spill(ctx); err != nil {
			return nil, err
		}
	}
	w.pages, w.free, w.held = nil, nil, 0 // the merge needs the memory
	var index Index
	offset := int64(0)
	sw := &segmentWriter{w: out}
	for p := range w.o.Partitions {
		var sources []Source
		for _, s := range w.spills {
			i, ok := slices.BinarySearchFunc(s.index, p, func(seg Segment, p int) int { return seg.Partition - p })
			if ok {
				sources = append(sources, Source{R: s.file, Seg: s.index[i], Name: s.file.Name()})
			}
		}
		if len(sources) == 0 {
			continue
		}
		sw.start(p, offset)
		if err := w.mergeInto(ctx, sw, sources); err != nil {
			return nil, err
		}
		seg, err := sw.finish()
		if err != nil {
			return nil, err
		}
		index = append(index, seg)
		offset += seg.Bytes
	}
	return index, nil
}

// mergeInto merges one partition's runs, combining once more if there is a combiner.
func (w *Writer) mergeInto(ctx context.Context, sw *segmentWriter, sources []Source) (err error) {
	m, err := newMerger(ctx, sources, MergeOptions{Memory: w.o.Memory, Scratch: w.o.Scratch, MergeFactor: w.o.MergeFactor})
	if err != nil {
		return err
	}
	if w.o.Combine == nil {
		defer func() { err = errors.Join(err, m.close()) }()
		for {
			r, err := m.next(ctx)
			if err != nil || r == nil {
				return err
			}
			if err := sw.add(r.key, r.value); err != nil {
				return err
			}
		}
	}
	g := &Groups{m: m}
	defer func() { err = errors.Join(err, g.Close()) }()
	for g.Next(ctx) {
		var failed error
		values := func(yield func([]byte) bool) {
			for v, err := range g.Values() {
				if err != nil {
					failed = err
					return
				}
				if !yield(v) {
					return
				}
			}
		}
		if err := w.o.Combine(g.Key(), values, sameKey(g.Key(), sw.add)); err != nil {
			return err
		}
		if failed != nil {
			return failed
		}
	}
	return g.Err()
}

// Spilled is how often the buffer went to the local disk, and the bytes that went there. It is called before Close.
func (w *Writer) Spilled() (times int, bytes int64) {
	for _, s := range w.spills {
		for _, seg := range s.index {
			bytes += seg.Bytes
		}
	}
	return len(w.spills), bytes
}

// Close removes the spills. It is called in any case, also after an error.
func (w *Writer) Close() error {
	var all []error
	for _, s := range w.spills {
		all = append(all, s.file.Close(), os.Remove(s.file.Name()))
	}
	w.spills, w.pages, w.free, w.held, w.done = nil, nil, nil, 0, true
	return errors.Join(all...)
}
