package shuffle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"

	"github.com/vista-mr/vista-mr/mr/errs"
)

// Source is one sorted segment to be merged.
type Source struct {
	R    io.ReaderAt
	Done func() error // called when the segment has been read to its end; may be nil
	Seg  Segment
	Name string // for messages: the file that holds it
}

// MergeOptions bounds a merge.
type MergeOptions struct {
	Memory      int64  // for the buffers of all runs, in bytes; 0: 32 MiB
	Scratch     string // local folder for intermediate runs
	MergeFactor int    // runs merged at a time; 0: 16; never more than memory allows
}

// factor is how many runs may be open at once: as many as memory holds an unpacked block of,
// beside what all share, a stored block and the buffers that an intermediate run is written
// through. Two are always open, whatever the memory.
func (o *MergeOptions) factor(sources []tagged) int {
	f := o.MergeFactor
	if f < 2 {
		f = defaultFactor
	}
	memory := o.Memory
	if memory <= 0 {
		memory = defaultMemory
	}
	block := int64(1)
	for _, s := range sources {
		block = max(block, s.Seg.block())
	}
	block += block / 32
	return int(max(2, min(int64(f), memory/block-4)))
}

// block is the size of the segment's largest block, or what it is on average if that is not known.
func (s *Segment) block() int64 {
	if s.Block > 0 || s.Records <= 0 {
		return s.Block
	}
	return min(s.RawBytes, blockBytes+s.RawBytes/s.Records)
}

// merger merges runs with a tournament in a binary heap.
type merger struct {
	heap  []*run
	last  *run // whose record was handed out and must move on first
	stage []byte
	temps []*os.File
}

// newMerger brings the sources down to as many as may be open, merging neighbours into
// intermediate runs, so that the order of sources is kept among equal keys.
func newMerger(ctx context.Context, sources []Source, o MergeOptions) (*merger, error) {
	m := &merger{}
	tags := make([]tagged, len(sources))
	for i, s := range sources {
		tags[i] = tagged{Source: s, tag: i}
	}
	err := m.reduce(ctx, tags, o)
	if err != nil {
		return nil, errors.Join(err, m.close())
	}
	return m, nil
}

// tagged is a source with the index that its records answer to. Intermediate runs hold
// records of several sources, so their values carry the index in front.
type tagged struct {
	Source
	tag   int
	mixed bool
	temp  *os.File // of an intermediate run
}

// reduce merges neighbours until few enough sources are left, no more of them than needed:
// what need not be merged now is read once less.
func (m *merger) reduce(ctx context.Context, sources []tagged, o MergeOptions) error {
	f := o.factor(sources)
	for len(sources) > f {
		var next []tagged
		for lo := 0; lo < len(sources); {
			// A group of n makes one run of n, so the excess shrinks by n-1.
			excess := len(next) + len(sources) - lo - f
			hi := lo + max(1, min(f, excess+1, len(sources)-lo))
			if hi-lo == 1 {
				next = append(next, sources[lo])
				lo = hi
				continue
			}
			t, err := m.intermediate(ctx, sources[lo:hi], o)
			if err != nil {
				return err
			}
			next = append(next, t)
			lo = hi
		}
		sources = next
	}
	return m.open(sources)
}

// open starts the runs and builds the heap.
func (m *merger) open(sources []tagged) error {
	for i, s := range sources {
		if s.Seg.Offset < 0 || s.Seg.Bytes < 0 {
			return errs.E("shuffle", errs.Corrupt, s.Name, fmt.Errorf("a segment of %d bytes at %d", s.Seg.Bytes, s.Seg.Offset))
		}
		r := &run{src: s.Source, order: i, tag: s.tag, mixed: s.mixed, stage: &m.stage}
		ok, err := r.advance()
		if err != nil {
			return err
		}
		if ok {
			m.heap = append(m.heap, r)
		}
	}
	for i := len(m.heap)/2 - 1; i >= 0; i-- {
		m.down(i)
	}
	return nil
}

// intermediate merges some sources into a local file.
func (m *merger) intermediate(ctx context.Context, sources []tagged, o MergeOptions) (tagged, error) {
	file, err := os.CreateTemp(o.Scratch, "merge-*")
	if err != nil {
		return tagged{}, errs.E("merge", errs.KindOf(err), o.Scratch, err)
	}
	m.temps = append(m.temps, file)
	part := &merger{}
	if err := part.open(sources); err != nil {
		return tagged{}, err
	}
	sw := &segmentWriter{w: file}
	sw.start(sources[0].Seg.Partition, 0)
	var tag []byte
	for {
		r, err := part.next(ctx)
		if err != nil {
			return tagged{}, err
		}
		if r == nil {
			break
		}
		tag = appendTag(tag[:0], r.tag)
		if err := sw.addTagged(r.key, tag, r.value); err != nil {
			return tagged{}, err
		}
	}
	seg, err := sw.finish()
	if err != nil {
		return tagged{}, err
	}
	for _, s := range sources { // merged runs only take space from now on
		if s.temp != nil {
			if err := m.remove(s.temp); err != nil {
				return tagged{}, err
			}
		}
	}
	return tagged{Source: Source{R: file, Seg: seg, Name: file.Name()}, mixed: true, temp: file}, nil
}

// remove closes and removes an intermediate run.
func (m *merger) remove(file *os.File) error {
	m.temps = slices.DeleteFunc(m.temps, func(f *os.File) bool { return f == file })
	return errors.Join(file.Close(), os.Remove(file.Name()))
}

func (m *merger) less(a, b *run) bool {
	if a.prefix != b.prefix {
		return a.prefix < b.prefix
	}
	if c := bytes.Compare(a.key, b.key); c != 0 {
		return c < 0
	}
	return a.order < b.order
}

func (m *merger) down(i int) {
	h := m.heap
	for {
		c := 2*i + 1
		if c >= len(h) {
			return
		}
		if c+1 < len(h) && m.less(h[c+1], h[c]) {
			c++
		}
		if !m.less(h[c], h[i]) {
			return
		}
		h[i], h[c] = h[c], h[i]
		i = c
	}
}

// next hands out the run that holds the smallest record; nil at the end. The record is valid
// until the next call.
func (m *merger) next(ctx context.Context) (*run, error) {
	if m.last != nil {
		fresh := len(m.last.block) == 0
		ok, err := m.last.advance()
		if err != nil {
			return nil, err
		}
		if fresh && ctx.Err() != nil { // once in a block is often enough to look
			return nil, ctx.Err()
		}
		if !ok {
			n := len(m.heap) - 1
			m.heap[0] = m.heap[n]
			m.heap = m.heap[:n]
		}
		m.down(0)
		m.last = nil
	}
	if len(m.heap) == 0 {
		return nil, nil
	}
	m.last = m.heap[0]
	return m.last, nil
}

func (m *merger) close() error {
	var all []error
	for _, f := range m.temps {
		all = append(all, f.Close(), os.Remove(f.Name()))
	}
	m.temps, m.heap, m.last, m.stage = nil, nil, nil, nil
	return errors.Join(all...)
}

// Groups walks merged records key by key. It belongs to one goroutine.
type Groups struct {
	m      *merger
	key    []byte
	cur    *run // holds a record of the current key that was not taken yet
	peeked *run // first record of the next key
	source int
	err    error
	ctx    context.Context // of the Next that began the group; values are part of that step
}

// Merge merges sorted segments. Equal keys come in the order of sources.
func Merge(ctx context.Context, sources []Source, o MergeOptions) (*Groups, error) {
	m, err := newMerger(ctx, sources, o)
	if err != nil {
		return nil, err
	}
	return &Groups{m: m}, nil
}

// Next moves to the next key, skipping what is left of the current one.
func (g *Groups) Next(ctx context.Context) bool {
	g.ctx = ctx
	for g.err == nil && g.cur != nil {
		g.advance()
	}
	if g.err != nil {
		return false
	}
	r := g.peeked
	g.peeked = nil
	if r == nil {
		if r, g.err = g.m.next(ctx); g.err != nil || r == nil {
			return false
		}
	}
	g.key = append(g.key[:0], r.key...)
	g.cur = r
	return true
}

// advance moves to the next record of the key.
func (g *Groups) advance() {
	r, err := g.m.next(g.ctx)
	switch {
	case err != nil:
		g.err, g.cur = err, nil
	case r == nil:
		g.cur = nil
	case bytes.Equal(r.key, g.key):
		g.cur = r
	default:
		g.cur, g.peeked = nil, r
	}
}

// Key is the current key, valid until Next.
func (g *Groups) Key() []byte { return g.key }

// Values yields the current key's values, once. Each is valid until the next step.
func (g *Groups) Values() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for g.cur != nil {
			g.source = g.cur.tag
			if !yield(g.cur.value, nil) {
				return
			}
			g.advance()
		}
		if g.err != nil {
			yield(nil, g.err)
		}
	}
}

// Source is the index of the source that the current value came from.
func (g *Groups) Source() int { return g.source }

// Err is what ended the walk early.
func (g *Groups) Err() error { return g.err }

// Close removes intermediate runs.
func (g *Groups) Close() error { return g.m.close() }
