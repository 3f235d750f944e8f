package images

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/vista-mr/vista-mr/jobs/parquet"
	"github.com/vista-mr/vista-mr/mr/avro"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// unpackedBytes is how much of what was unpacked is kept for tasks that need it next. A single page may be larger.
const unpackedBytes = 64 << 20

// unpacked holds the pages and blocks that a process has unpacked last. Writers make pages of 1,000 images,
// tasks read 64: without it each task would unpack the page again.
type unpacked struct {
	mu    sync.Mutex
	items []*unpackedItem // the one used last at the end
}

type unpackedItem struct {
	uri    string
	at     int64
	bytes  int64
	ready  chan struct{} // closed when values or err is set
	values [][]byte
	err    error
}

var _ io.Closer = (*unpacked)(nil)

func newUnpacked() *unpacked { return &unpacked{} }

// get returns a unit's values, unpacking them if nobody has. Callers that come meanwhile wait; a failure is told
// to all of them and forgotten.
func (c *unpacked) get(ctx context.Context, u *unit, open func() ([][]byte, error)) ([][]byte, error) {
	c.mu.Lock()
	i := slices.IndexFunc(c.items, func(it *unpackedItem) bool { return it.at == u.Packed.At && it.uri == u.uri() })
	if i >= 0 {
		it := c.items[i]
		c.items = append(slices.Delete(c.items, i, i+1), it)
		c.mu.Unlock()
		select {
		case <-it.ready:
			return it.values, it.err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	it := &unpackedItem{uri: u.uri(), at: u.Packed.At, bytes: u.raw(), ready: make(chan struct{})}
	c.items = append(c.items, it)
	c.shrink()
	c.mu.Unlock()

	it.err = errs.E("unpack", errs.Internal, u.uri(), fmt.Errorf("unpacking did not end"))
	defer func() { // also if open panics
		if it.err != nil {
			c.mu.Lock()
			c.items = slices.DeleteFunc(c.items, func(x *unpackedItem) bool { return x == it })
			c.mu.Unlock()
		}
		close(it.ready)
	}()
	it.values, it.err = open()
	return it.values, it.err
}

// shrink lets go of what was used longest ago. It is called with c.mu held.
func (c *unpacked) shrink() {
	total := int64(0)
	for i := len(c.items) - 1; i >= 0; i-- {
		if total += c.items[i].bytes; total > unpackedBytes && i < len(c.items)-1 {
			c.items = slices.Clone(c.items[i+1:])
			return
		}
	}
}

// Close lets go of everything.
func (c *unpacked) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.items = nil
	return nil
}

// unpackUnit reads and unpacks a page or block.
func unpackUnit(f dfs.File, u *unit) ([][]byte, error) {
	p := u.Packed
	if u.Kind == page {
		if p.Page == nil || p.Stored < 0 || p.Stored > parquet.MaxPage {
			return nil, corrupt("a page of %d bytes", p.Stored)
		}
		body := make([]byte, p.Stored)
		if n, err := f.ReadAt(body, p.At); n < len(body) {
			if ended(err) {
				return nil, changed(u)
			}
			return nil, err
		}
		return p.Page.Strings(body, p.At)
	}
	r, err := avro.NewReader(f, f.Size(), avro.ReaderOptions{})
	if err != nil {
		return nil, err
	}
	l, err := newLayout(r.Schema(), p.Key, p.Field)
	if err != nil {
		return nil, err
	}
	it := r.Blocks(p.At, p.At+1)
	if !it.Next() {
		if it.Err() != nil {
			return nil, it.Err()
		}
		return nil, changed(u)
	}
	values, err := blockValues(it.Block().Data, it.Block().Count, l)
	if err != nil {
		return nil, corrupt("block at %d: %w", p.At, err)
	}
	return values, nil
}
