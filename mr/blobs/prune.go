package blobs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// abandoned is the age at which a bundle in the making belongs to nobody any more.
const abandoned = 24 * time.Hour

// prune removes what has not been used for longest and is not held until at most limit bytes are left, and what was
// abandoned in the making. What cannot be removed is tried again by the next one that adds something.
func (c *Cache) prune(now time.Time) {
	list, err := os.ReadDir(c.dir)
	if err != nil {
		return
	}
	type old struct {
		dir   string
		bytes int64
		used  time.Time
	}
	var olds []old
	var total int64
	for _, d := range list {
		dir := filepath.Join(c.dir, d.Name())
		if strings.HasPrefix(d.Name(), newPrefix) {
			if st, err := d.Info(); err == nil && now.Sub(st.ModTime()) > abandoned {
				_ = os.RemoveAll(dir)
			}
			continue
		}
		if !strings.HasPrefix(d.Name(), prefix) {
			continue // not ours
		}
		o := old{dir: dir}
		files, _ := os.ReadDir(dir) // somebody removes it
		for _, f := range files {
			if st, err := f.Info(); err == nil {
				o.bytes += st.Size()
				if f.Name() == lockName {
					o.used = st.ModTime()
				}
			}
		}
		total += o.bytes
		olds = append(olds, o)
	}
	slices.SortFunc(olds, func(a, b old) int { return a.used.Compare(b.used) })
	for _, o := range olds {
		if total <= c.limit {
			return
		}
		if c.exclusively(func() error { return dropIdle(o.dir) }) == nil {
			total -= o.bytes
		}
	}
}

// dropIdle removes a bundle that nobody holds. It is called exclusively.
func dropIdle(dir string) error {
	lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) { // damaged, or gone
		return drop(dir)
	}
	if err != nil {
		return err
	}
	defer lock.Close() // nothing was written
	if err := lockAlone(lock); err != nil {
		return err
	}
	return drop(dir)
}

// dropThis removes a bundle that was found damaged, unless another one has its name now.
func (c *Cache) dropThis(dir string, was os.FileInfo) error {
	return c.exclusively(func() error {
		now, err := os.Stat(dir)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(was, now) {
			return nil
		}
		if err != nil {
			return err
		}
		return drop(dir)
	})
}

// drop removes a bundle. It loses its name first: what is left halfway is no bundle.
func drop(dir string) error {
	gone, err := os.MkdirTemp(filepath.Dir(dir), newPrefix+"*")
	if err != nil {
		return err
	}
	err = os.Rename(dir, filepath.Join(gone, "gone"))
	if errors.Is(err, fs.ErrNotExist) { // somebody else was quicker
		err = nil
	}
	return errors.Join(err, os.RemoveAll(gone))
}
