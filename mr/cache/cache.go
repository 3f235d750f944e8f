// Package cache keeps a process's pinned data under one byte budget: what fits stays in
// memory, what does not goes to a local file and is read back piece by piece.
//
// Invariant: the values that all Floats of a Cache keep in memory never exceed its budget.
// Beyond it come only buffers: 256 KiB for each Floats that is being written to disk, and what
// callers of View bring along, with up to 8 KiB more.
// Rounds phases use it for decoded feature matrices, which are scanned once per round and
// would otherwise decide how much memory a job needs. It is not a shared or durable store:
// files belong to one process and die with it, so they are written in the machine's own byte
// order. Their checksums are kept in memory; damage is errs.Lost, because what is lost is a copy: whoever has pinned it
// reads it anew and is not charged.
//
// Use:
//  1. New with the budget and a local folder.
//  2. NewFloats for each matrix, Append rows in order, Seal once.
//  3. View any range, any number of times, from any goroutine with a buffer of its own.
//  4. Close gives memory back to the budget, or removes the file.
package cache

import (
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"sync"
	"unsafe"

	"github.com/vista-mr/vista-mr/mr/errs"
)

// Cache hands out memory up to a budget, and files beyond it.
type Cache struct {
	dir string

	mu     sync.Mutex
	budget int64
	used   int64
	peak   int64
	disk   int64
}

// New returns a cache of budget bytes that overflows into files in dir.
func New(budget int64, dir string) *Cache { return &Cache{dir: dir, budget: budget} }

// Usage is a Cache's account in bytes.
type Usage struct {
	Budget, Memory, PeakMemory, Disk int64
}

// Usage returns the account as it stands.
func (c *Cache) Usage() Usage {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Usage{Budget: c.budget, Memory: c.used, PeakMemory: c.peak, Disk: c.disk}
}

func (c *Cache) take(n int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.used+n > c.budget {
		return false
	}
	c.used += n
	c.peak = max(c.peak, c.used)
	return true
}

func (c *Cache) give(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.used -= n
}

func (c *Cache) addDisk(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.disk += n
}

// Floats is a sequence of float32 values, written once and then read many times.
type Floats struct {
	c        *Cache
	n        int64 // values appended
	capacity int64
	mem      []float32 // nil when on disk
	file     *os.File
	buf      []float32 // pending values of a file
	sums     []uint32  // of a file: CRC32C of each cell
	sealed   bool
}

// cell is how many values of a file have a checksum together: 4 KiB, so that a view reads little more than it is asked for.
const cell = 1 << 10

var table = crc32.MakeTable(crc32.Castagnoli)

// fileBuffer is how many values a Floats on disk collects before it writes them: large
// enough that a write costs little, small enough not to matter beside one matrix block.
const fileBuffer = 64 << 10

// NewFloats reserves room for n values: in memory if the budget allows all of them, else in
// a new local file.
func (c *Cache) NewFloats(n int64) (*Floats, error) {
	if n < 0 || n > math.MaxInt64/4 {
		return nil, fmt.Errorf("cache: room for %d values", n)
	}
	f := &Floats{c: c, capacity: n}
	if c.take(4 * n) {
		f.mem = make([]float32, n)
		return f, nil
	}
	file, err := os.CreateTemp(c.dir, "cache-*")
	if err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	// The name goes at once, so that nothing stays behind however the process ends.
	if err := os.Remove(file.Name()); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("cache: %w", err)
	}
	c.addDisk(4 * n)
	f.file, f.buf = file, make([]float32, 0, min(n, fileBuffer))
	return f, nil
}

// InMemory tells whether views cost nothing.
func (f *Floats) InMemory() bool { return f.file == nil }

// Len is the number of values appended.
func (f *Floats) Len() int64 { return f.n }

// Append adds values; more than were reserved is an error.
func (f *Floats) Append(v []float32) error {
	if f.sealed || f.n+int64(len(v)) > f.capacity {
		return fmt.Errorf("cache: %d values appended to %d of %d (sealed %v)", len(v), f.n, f.capacity, f.sealed)
	}
	if f.file == nil {
		f.n += int64(copy(f.mem[f.n:], v))
		return nil
	}
	f.n += int64(len(v))
	for len(v) > 0 {
		k := min(len(v), cap(f.buf)-len(f.buf))
		f.buf = append(f.buf, v[:k]...)
		v = v[k:]
		if len(f.buf) == cap(f.buf) {
			if err := f.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *Floats) flush() error {
	if len(f.buf) == 0 {
		return nil
	}
	if _, err := f.file.Write(asBytes(f.buf)); err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	// Only the last buffer of a file may end within a cell.
	for lo := 0; lo < len(f.buf); lo += cell {
		f.sums = append(f.sums, crc32.Checksum(asBytes(f.buf[lo:min(lo+cell, len(f.buf))]), table))
	}
	f.buf = f.buf[:0]
	return nil
}

// Seal ends appending. Views are allowed from then on.
func (f *Floats) Seal() error {
	if f.file != nil {
		if err := f.flush(); err != nil {
			return err
		}
		f.buf = nil
	}
	f.sealed = true
	return nil
}

// View returns n values from off. In memory it is the data itself, which must not be
// changed; on disk it is read into buf, which is grown if need be and returned for the next
// call. Goroutines may call View at the same time, each with its own buf.
func (f *Floats) View(off, n int64, buf []float32) (view, newBuf []float32, err error) {
	if !f.sealed || off < 0 || n < 0 || off+n > f.n {
		return nil, buf, fmt.Errorf("cache: view %d+%d of %d (sealed %v)", off, n, f.n, f.sealed)
	}
	if f.file == nil {
		return f.mem[off : off+n], buf, nil
	}
	// Whole cells are read, whose checksums are known.
	first, last := off/cell, (off+n+cell-1)/cell
	lo, hi := first*cell, min(last*cell, f.n)
	if int64(cap(buf)) < hi-lo {
		buf = make([]float32, hi-lo)
	}
	buf = buf[:hi-lo]
	if _, err := f.file.ReadAt(asBytes(buf), 4*lo); err != nil {
		return nil, buf, fmt.Errorf("cache: %w", err)
	}
	for i, sum := range f.sums[first:last] {
		if got := crc32.Checksum(asBytes(buf[i*cell:min((i+1)*cell, len(buf))]), table); got != sum {
			return nil, buf, errs.E("cache", errs.Lost, "", fmt.Errorf("checksum is %08x, want %08x: what was pinned is damaged on the local disk", got, sum))
		}
	}
	return buf[off-lo : off-lo+n], buf, nil
}

// Close gives the room back. Views must not be used afterwards. Closing twice does nothing.
func (f *Floats) Close() error {
	if f.file != nil {
		f.c.addDisk(-4 * f.capacity)
		err := f.file.Close()
		f.file, f.buf, f.sums, f.n = nil, nil, nil, 0
		return err
	}
	if f.mem != nil {
		f.c.give(4 * f.capacity)
		f.mem, f.n = nil, 0
	}
	return nil
}

// asBytes views float32 values as the bytes they are made of.
func asBytes(v []float32) []byte {
	if len(v) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), 4*len(v))
}
