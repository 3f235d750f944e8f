package shuffle

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"os"

	"github.com/vista-mr/vista-mr/mr/errs"
)

// Source is one sorted segment to be merged.
type Source struct {
	R    io.ReaderAt
	Seg  Segment
	Name string // for messages: the file that holds it
}

// MergeOptions bounds a merge.
type MergeOptions struct {
	Memory      int64  // for the buffers of all runs, in bytes; 0: 32 MiB
	Scratch     string // local folder for intermediate runs
	MergeFactor int    // runs merged at a time; 0: 16; never more than memory allows
}

// runBytes is what one open run holds: a stored and an unpacked block.
const runBytes = 3 * blockBytes

// factor is how many runs may be open at once.
func (o *MergeOptions) factor() int {
	f := o.MergeFactor
	if f < 2 {
		f = defaultFactor
	}
	memory := o.Memory
	if memory <= 0 {
		memory = defaultMemory
	}
	return max(2, min(f, int(memory/runBytes)))
}

// merger merges runs with a tournament in a binary heap.
type merger struct {
	heap  []*run
	last  *run // whose record was handed out and must move on first
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
}

func (m *merger) reduce(ctx context.Context, sources []tagged, o MergeOptions) error {
	f := o.factor()
	for len(sources) > f {
		var next []tagged
		for lo := 0; lo < len(sources); lo += f {
			hi := min(lo+f, len(sources))
			if hi-lo == 1 {
				next = append(next, sources[lo])
				continue
			}
			t, err := m.intermediate(ctx, sources[lo:hi], o)
			if err != nil {
				return err
			}
			next = append(next, t)
		}
		sources = next
	}
	return m.open(sources)
}

// open starts the runs and builds the heap.
func (m *merger) open(sources []tagged) error {
	for i, s := range sources {
		r := &run{src: s.Source, order: i, tag: s.tag, mixed: s.mixed}
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
	var value []byte
	for {
		r, err := part.next(ctx)
		if err != nil {
			return tagged{}, err
		}
		if r == nil {
			break
		}
		value = appendTag(value[:0], r.tag)
		if err := sw.add(r.key, append(value, r.value...)); err != nil {
			return tagged{}, err
		}
	}
	seg, err := sw.finish()
	if err != nil {
		return tagged{}, err
	}
	return tagged{Source: Source{R: file, Seg: seg, Name: file.Name()}, mixed: true}, nil
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
	m.temps, m.heap, m.last = nil, nil, nil
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
