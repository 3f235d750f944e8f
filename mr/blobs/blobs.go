// Package blobs keeps files of a store on the local disk, for what needs files of the operating system: the programs of
// a CNN, which a runtime maps. What is kept is named by its content, so jobs and processes share it, and it is
// fetched once per machine.
//
// Invariant: what Get returns is what its digests say, byte for byte, each time; damage on the way or on the disk is
// noticed and mended by fetching again. What a process holds is not removed by any other.
//
// Files that belong together (a graph and its weights) are one Bundle, a folder here. It is made under a name of its
// own and renamed into place, which is fine on a local disk: of two processes that fetch the same, one keeps its own
// and the other takes that. A lock on the folder's own lock file, shared by all who hold it, keeps it from being
// removed; it is gone with the process. What gives a bundle its name, or takes it away, holds the cache's own lock for that
// moment: who finds that a bundle is to go must not remove another one that has taken its place.
//
// Layout: DIR/blob-DIGEST/{lock, files...}, DIR/.lock, and DIR/.new-* for what is in the making or being removed.
package blobs

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// File is one file of a bundle.
type File struct {
	Name   string   `json:"name"` // in the bundle's folder; a plain name
	Path   dfs.Path `json:"path"` // in the store
	Bytes  int64    `json:"bytes"`
	SHA256 string   `json:"sha256"`
}

// Bundle is files that belong together.
type Bundle []File

// Digest names the bundle's content; where it lies in a store is no part of it.
func (b Bundle) Digest() string {
	h := sha256.New()
	for _, f := range b {
		fmt.Fprintf(h, "%q %d %q\n", f.Name, f.Bytes, f.SHA256)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// check refuses what would be written anywhere but into the bundle's folder: specifications come from elsewhere.
func (b Bundle) check() error {
	seen := map[string]bool{lockName: true}
	for _, f := range b {
		if sum, err := hex.DecodeString(f.SHA256); err != nil || len(sum) != sha256.Size || f.Bytes < 0 {
			return fmt.Errorf("file %q has the digest %q and %d bytes", f.Name, f.SHA256, f.Bytes)
		}
		if seen[f.Name] || f.Name != filepath.Base(f.Name) || !filepath.IsLocal(f.Name) || f.Name == "." {
			return fmt.Errorf("%q is no name for a file, or used twice", f.Name)
		}
		seen[f.Name] = true
	}
	if len(b) == 0 {
		return errors.New("no files")
	}
	return nil
}

// Cache is a folder of bundles. Several may use the same folder, in this process and in others.
type Cache struct {
	dir   string
	limit int64

	mu     sync.Mutex
	making map[string]*turn // by digest: of several that want the same at once one fetches it
}

// turn is who deals with a bundle now.
type turn struct {
	taken chan struct{} // holds a token meanwhile
	reads atomic.Int64  // so far
}

type watching struct{}

// Watched has moved called whenever a Get with the context that it returns goes on: it has read a piece, or whoever fetches the same has,
// for which it waits. Between them a store may take its time. moved is called from the goroutine of Get.
func Watched(ctx context.Context, moved func()) context.Context {
	return context.WithValue(ctx, watching{}, moved)
}

// look is how often one who waits looks whether the other goes on.
const look = 200 * time.Millisecond

// New returns a cache in a local folder, which need not exist yet. Beyond limit bytes, what was not used for longest
// and is not held goes.
func New(dir string, limit int64) *Cache {
	return &Cache{dir: dir, limit: limit, making: map[string]*turn{}}
}

const (
	prefix    = "blob-"
	newPrefix = ".new-"
	lockName  = "lock"
	guardName = ".lock"
)

// Held is a bundle on the local disk, which stays until Release.
type Held struct {
	Dir  string
	lock *os.File
}

// Path is the name of one of its files in the operating system.
func (h *Held) Path(name string) string { return filepath.Join(h.Dir, name) }

// Release lets go of the bundle.
func (h *Held) Release() error { return h.lock.Close() }

// Get returns a bundle, fetching it from the store if it is not here or damaged. Damage in the store is errs.Corrupt. With an error nothing
// is held.
func (c *Cache) Get(ctx context.Context, store dfs.FS, b Bundle) (*Held, error) {
	if err := b.check(); err != nil {
		return nil, errs.E("fetch", errs.Invalid, "", err)
	}
	digest := b.Digest()
	ctx, done, err := c.alone(ctx, digest)
	if err != nil {
		return nil, errs.E("fetch", errs.Canceled, "", err)
	}
	defer done()
	dir := filepath.Join(c.dir, prefix+digest[:32])
	h, err := c.hold(ctx, dir, b)
	if h != nil {
		return h, nil
	}
	if ctx.Err() != nil {
		return nil, errors.Join(err, ctx.Err())
	}
	tmp, lock, err := c.fetch(ctx, store, b)
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp) // after the rename there is nothing to remove
	// Another process may be doing the same, or removing what is damaged: who comes last looks again.
	const tries = 10
	for range tries {
		if err = c.place(tmp, dir); err == nil {
			c.prune(time.Now())
			return &Held{dir, lock}, nil
		}
		was, serr := os.Stat(dir)
		if serr != nil { // it was removed
			continue
		}
		if h, err = c.hold(ctx, dir, b); h != nil {
			_ = lock.Close() // of what is not needed any more
			return h, nil
		}
		if ctx.Err() != nil {
			return nil, errors.Join(err, ctx.Err(), lock.Close())
		}
		if err = c.dropThis(dir, was); err != nil { // it is damaged; whoever has it mapped keeps its pages
			break
		}
	}
	if err == nil {
		err = errs.E("", errs.Transient, "", errors.New("other processes were quicker, again and again"))
	}
	return nil, errors.Join(errs.E("fetch", errs.Unknown, dir, err), lock.Close())
}

// place gives a bundle its name.
func (c *Cache) place(tmp, dir string) error {
	return c.exclusively(func() error { return os.Rename(tmp, dir) })
}

// exclusively calls f while no other process or goroutine places or drops a bundle.
func (c *Cache) exclusively(f func() error) error {
	guard, err := os.OpenFile(filepath.Join(c.dir, guardName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer guard.Close() // nothing was written
	if err := lockWait(guard); err != nil {
		return err
	}
	return f()
}

// alone has one goroutine at a time deal with a bundle, with the context that it returns.
func (c *Cache) alone(ctx context.Context, digest string) (_ context.Context, done func(), err error) {
	c.mu.Lock()
	t := c.making[digest]
	if t == nil {
		t = &turn{taken: make(chan struct{}, 1)}
		c.making[digest] = t
	}
	c.mu.Unlock()
	moved, ok := ctx.Value(watching{}).(func())
	if !ok {
		moved = func() {}
	}
	tick := time.NewTicker(look)
	defer tick.Stop()
	for seen := t.reads.Load(); ; {
		select {
		case t.taken <- struct{}{}:
			return Watched(ctx, func() { t.reads.Add(1); moved() }), func() { <-t.taken }, nil
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case <-tick.C:
			if n := t.reads.Load(); n != seen {
				seen = n
				moved()
			}
		}
	}
}

// hold takes a bundle that is here; nil: it is not, or it is not what it should be.
func (c *Cache) hold(ctx context.Context, dir string, b Bundle) (*Held, error) {
	name := filepath.Join(dir, lockName)
	lock, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	// Whoever removes a bundle has its lock: with it, what the name leads to stays.
	if err := errors.Join(lockShared(lock), same(lock, name), verify(ctx, dir, b)); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	now := time.Now()
	_ = os.Chtimes(name, now, now) // it has been used; if that cannot be noted, it ages
	return &Held{dir, lock}, nil
}

// same tells whether a file is still that of its name.
func same(f *os.File, name string) error {
	a, err := f.Stat()
	if err != nil {
		return err
	}
	b, err := os.Stat(name)
	if err != nil {
		return err
	}
	if !os.SameFile(a, b) {
		return errors.New("it was removed")
	}
	return nil
}

// verify reads a bundle's files, which also brings them into the system's page cache.
func verify(ctx context.Context, dir string, b Bundle) error {
	for _, f := range b {
		in, err := os.Open(filepath.Join(dir, f.Name))
		if err != nil {
			return err
		}
		sum := sha256.New()
		n, err := io.Copy(sum, &interruptible{ctx, in})
		if err = errors.Join(err, in.Close()); err != nil {
			return err
		}
		if err := f.matches(n, sum); err != nil {
			return err
		}
	}
	return nil
}

func (f *File) matches(n int64, sum hash.Hash) error {
	if got := hex.EncodeToString(sum.Sum(nil)); n != f.Bytes || got != f.SHA256 {
		return fmt.Errorf("%s: %d bytes with the digest %.12s, want %d with %.12s", f.Name, n, got, f.Bytes, f.SHA256)
	}
	return nil
}

// interruptible ends reading when ctx does, and tells who watches.
type interruptible struct {
	ctx context.Context
	r   io.Reader
}

func (i *interruptible) Read(b []byte) (int, error) {
	if err := i.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := i.r.Read(b)
	if moved, ok := i.ctx.Value(watching{}).(func()); ok && n > 0 {
		moved()
	}
	return n, err
}

// fetch copies a bundle into a folder of its own, which is held from the beginning.
func (c *Cache) fetch(ctx context.Context, store dfs.FS, b Bundle) (dir string, lock *os.File, err error) {
	if err := os.MkdirAll(c.dir, 0o777); err != nil {
		return "", nil, errs.E("fetch", errs.KindOf(err), c.dir, err)
	}
	if dir, err = os.MkdirTemp(c.dir, newPrefix+"*"); err != nil {
		return "", nil, errs.E("fetch", errs.KindOf(err), c.dir, err)
	}
	for _, f := range b {
		if err := fetchFile(ctx, store, f, filepath.Join(dir, f.Name)); err != nil {
			return "", nil, errors.Join(err, os.RemoveAll(dir))
		}
	}
	if lock, err = os.Create(filepath.Join(dir, lockName)); err == nil {
		if err = lockShared(lock); err == nil {
			return dir, lock, nil
		}
		err = errors.Join(err, lock.Close())
	}
	return "", nil, errors.Join(errs.E("fetch", errs.KindOf(err), dir, err), os.RemoveAll(dir))
}

func fetchFile(ctx context.Context, store dfs.FS, f File, to string) (err error) {
	in, err := store.Open(ctx, f.Path)
	if err != nil {
		return err
	}
	defer in.Close() // reading only
	if in.Size() != f.Bytes {
		return errs.E("fetch", errs.Corrupt, string(f.Path), fmt.Errorf("%d bytes, want %d", in.Size(), f.Bytes))
	}
	out, err := os.Create(to)
	if err != nil {
		return errs.E("fetch", errs.KindOf(err), to, err)
	}
	sum := sha256.New()
	// Large requests: a store far away answers each of them late.
	from := bufio.NewReaderSize(&interruptible{ctx, io.NewSectionReader(in, 0, in.Size())}, 4<<20)
	n, err := io.Copy(io.MultiWriter(out, sum), struct{ io.Reader }{from})
	if err = errors.Join(err, out.Close()); err != nil {
		return errs.E("fetch", errs.KindOf(err), string(f.Path), err)
	}
	if err := f.matches(n, sum); err != nil {
		return errs.E("fetch", errs.Corrupt, string(f.Path), err)
	}
	return nil
}
