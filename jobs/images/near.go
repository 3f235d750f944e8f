package images

import (
	"context"
	"sync"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
)

// locating bounds how many files are asked about at once, and maxLocated how many in all: where there are more, their images
// are files of their own, of which a split has many, on all machines.
const (
	locating   = 8
	maxLocated = 10_000
)

// Locate fills in where the splits that Write has made are near: the machines that hold most of the file that gives a split most of
// its bytes. One call is made for each split, some at once. It is a hint; the error is that of the first call that has
// failed, after which no more are made.
func (x *Index) Locate(ctx context.Context, open func(ctx context.Context, uri string) (dfs.FS, dfs.Path, error), splits []mr.Split) error {
	if len(splits) > maxLocated {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	bounds := x.splits(len(splits))
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(locating, len(splits)) {
		wg.Go(func() {
			for i := range next {
				hosts, err := x.near(ctx, open, bounds[i])
				if err != nil {
					cancel(err)
				}
				splits[i].Hosts = hosts
			}
		})
	}
	for i := range splits {
		if ctx.Err() != nil {
			break
		}
		next <- i
	}
	close(next)
	wg.Wait()
	return context.Cause(ctx)
}

// near are the machines near a split.
func (x *Index) near(ctx context.Context, open func(ctx context.Context, uri string) (dfs.FS, dfs.Path, error), bounds [2]int) ([]string, error) {
	u, off, length := x.main(bounds)
	if length == 0 {
		return nil, nil
	}
	fs, p, err := open(ctx, u)
	if err != nil || !fs.Caps().BlockHosts {
		return nil, err
	}
	return dfs.Hosts(ctx, fs, p, off, length)
}

// main is the file, and the range of it, that gives entries most of their bytes.
func (x *Index) main(bounds [2]int) (uri string, off, length int64) {
	var best, bytes int64
	var lo, hi int64
	flush := func(k int) {
		if bytes > best || uri == "" {
			best, uri, off, length = bytes, x.units[x.entries[k].unit].uri(), lo, max(hi-lo, 1)
		}
	}
	for k := bounds[0]; k < bounds[1]; k++ {
		e := &x.entries[k]
		u := &x.units[e.unit]
		if k == bounds[0] || !u.sameFile(&x.units[x.entries[k-1].unit]) {
			if k > bounds[0] {
				flush(k - 1)
			}
			bytes, lo, hi = 0, e.at, e.at
			if u.Packed != nil {
				lo, hi = u.Packed.At, u.Packed.At
			}
		}
		at, size := e.at, max(e.size, 1)
		if u.Packed != nil {
			at, size = u.Packed.At, max(u.Packed.Stored, 1)
		}
		lo, hi, bytes = min(lo, at), max(hi, at+size), bytes+size
	}
	if bounds[1] > bounds[0] {
		flush(bounds[1] - 1)
	}
	return uri, off, length
}
