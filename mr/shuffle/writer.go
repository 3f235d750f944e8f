package shuffle

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/vista-mr/vista-mr/mr/errs"
)

// Options says how a map task's output is sorted.
type Options struct {
	Partitions  int
	Partition   func(key []byte, n int) int // nil: the function Partition
	Memory      int64                       // bound on buffered records and merge buffers, in bytes; 0: 32 MiB
	Scratch     string                      // local folder for spills
	Combine     Combine                     // nil: none
	MergeFactor int                         // runs merged at a time; 0: 16, fewer where memory is short
}

const (
	defaultMemory = 32 << 20
	defaultFactor = 16
)

// entry is one buffered record: its place in the buffer, its partition, and the first bytes
// of its key, which decide most comparisons without touching the buffer.
type entry struct {
	prefix    uint64
	offset    uint32
	key       uint32 // length
	value     uint32 // length
	partition int32
}

const entryBytes = 24

// Writer sorts the output of one map task. It belongs to one goroutine.
type Writer struct {
	o       Options
	limit   int64
	buf     []byte
	entries []entry
	spills  []spill
	done    bool
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
	return &Writer{o: o, limit: min(o.Memory, 1<<31)}, nil
}

// Add takes one record. Both slices are copied.
func (w *Writer) Add(ctx context.Context, key, value []byte) error {
	if w.done {
		return errs.E("shuffle", errs.Internal, "", errors.New("record after Finish"))
	}
	need := int64(len(key) + len(value))
	if need > maxBlock-64 {
		return errs.E("shuffle", errs.Invalid, "", fmt.Errorf("a record of %d bytes is too large", need))
	}
	if used := int64(len(w.buf)) + entryBytes*int64(len(w.entries)+1); len(w.entries) > 0 && used+need > w.limit {
		if err := w.spill(ctx); err != nil {
			return err
		}
	}
	p := w.o.Partition(key, w.o.Partitions)
	if p < 0 || p >= w.o.Partitions {
		return errs.E("shuffle", errs.Internal, "", fmt.Errorf("partition %d of %d", p, w.o.Partitions))
	}
	w.entries = append(w.entries, entry{prefix: prefix(key), offset: uint32(len(w.buf)),
		key: uint32(len(key)), value: uint32(len(value)), partition: int32(p)})
	w.grow(int(need))
	w.buf = append(append(w.buf, key...), value...)
	return nil
}

// grow keeps the buffer's capacity within the memory bound: append alone would overshoot.
func (w *Writer) grow(n int) {
	if len(w.buf)+n <= cap(w.buf) {
		return
	}
	c := max(2*cap(w.buf), len(w.buf)+n, 64<<10)
	if int64(c) > w.limit && int64(len(w.buf)+n) <= w.limit {
		c = int(w.limit)
	}
	w.buf = append(make([]byte, 0, c), w.buf...)
}

// prefix is the key's first 8 bytes as a number that compares as they do.
func prefix(key []byte) uint64 {
	if len(key) >= 8 {
		return binary.BigEndian.Uint64(key)
	}
	var b [8]byte
	copy(b[:], key)
	return binary.BigEndian.Uint64(b[:])
}

func (w *Writer) key(e *entry) []byte { return w.buf[e.offset : e.offset+e.key] }
func (w *Writer) val(e *entry) []byte {
	at := e.offset + e.key
	return w.buf[at : at+e.value]
}

// sort orders the buffered records by partition and key. Offsets grow as records are added,
// so that they decide ties by the order of emission.
func (w *Writer) sort() {
	slices.SortFunc(w.entries, func(a, b entry) int {
		switch {
		case a.partition != b.partition:
			return int(a.partition) - int(b.partition)
		case a.prefix != b.prefix:
			if a.prefix < b.prefix {
				return -1
			}
			return 1
		}
		if c := bytes.Compare(w.key(&a), w.key(&b)); c != 0 {
			return c
		}
		if a.offset != b.offset {
			if a.offset < b.offset {
				return -1
			}
			return 1
		}
		return int(a.key+a.value) - int(b.key+b.value) // both empty records of one key
	})
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

// flush writes the buffered records, sorted, and empties the buffer.
func (w *Writer) flush(ctx context.Context, out io.Writer) (Index, error) {
	w.sort()
	sw := &segmentWriter{w: out}
	var index Index
	offset := int64(0)
	for lo := 0; lo < len(w.entries); {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		p := w.entries[lo].partition
		hi := lo
		for hi < len(w.entries) && w.entries[hi].partition == p {
			hi++
		}
		sw.start(int(p), offset)
		if err := w.writeSorted(sw, w.entries[lo:hi]); err != nil {
			return nil, err
		}
		seg, err := sw.finish()
		if err != nil {
			return nil, err
		}
		index = append(index, seg)
		offset += seg.Bytes
		lo = hi
	}
	w.entries, w.buf = w.entries[:0], w.buf[:0]
	return index, nil
}

func (w *Writer) writeSorted(sw *segmentWriter, es []entry) error {
	if w.o.Combine == nil {
		for i := range es {
			if err := sw.add(w.key(&es[i]), w.val(&es[i])); err != nil {
				return err
			}
		}
		return nil
	}
	for lo := 0; lo < len(es); {
		hi := lo + 1
		for hi < len(es) && es[hi].prefix == es[lo].prefix && bytes.Equal(w.key(&es[hi]), w.key(&es[lo])) {
			hi++
		}
		group := es[lo:hi]
		err := w.o.Combine(w.key(&es[lo]), func(yield func([]byte) bool) {
			for i := range group {
				if !yield(w.val(&group[i])) {
					return
				}
			}
		}, sameKey(w.key(&es[lo]), sw.add))
		if err != nil {
			return err
		}
		lo = hi
	}
	return nil
}

// sameKey refuses a combiner that changes the key: its output would not be sorted any more.
func sameKey(want []byte, add func(key, value []byte) error) func(key, value []byte) error {
	return func(key, value []byte) error {
		if !bytes.Equal(key, want) {
			return errs.E("combine", errs.Internal, "", fmt.Errorf("key %q became %q", want, key))
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
	if len(w.entries) > 0 {
		if err := w.spill(ctx); err != nil {
			return nil, err
		}
	}
	w.buf, w.entries = nil, nil // the merge needs the memory
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

// Close removes the spills. It is called in any case, also after an error.
func (w *Writer) Close() error {
	var all []error
	for _, s := range w.spills {
		all = append(all, s.file.Close(), os.Remove(s.file.Name()))
	}
	w.spills, w.buf, w.entries, w.done = nil, nil, nil, true
	return errors.Join(all...)
}
