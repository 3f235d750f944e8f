package task

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// counted counts how often each file is opened.
type counted struct {
	dfs.FS
	mu     sync.Mutex
	opened map[dfs.Path]int
}

func (c *counted) Open(ctx context.Context, p dfs.Path) (dfs.File, error) {
	c.mu.Lock()
	c.opened[p]++
	c.mu.Unlock()
	return c.FS.Open(ctx, p)
}

func TestFilesAreOpenedOnceAndInOrder(t *testing.T) {
	c := &counted{FS: mem.New(), opened: map[dfs.Path]int{}}
	var files []mr.PartFile
	var want [][]byte
	for i := range 30 {
		p := dfs.Path(fmt.Sprintf("f%d", i))
		b := bytes.Repeat([]byte{byte(i)}, i%4*aheadBytes/2+1) // every fourth is too large
		if err := dfs.WriteFile(t.Context(), c.FS, p, b); err != nil {
			t.Fatal(err)
		}
		files, want = append(files, mr.PartFile{Path: p, Bytes: int64(len(b))}), append(want, b)
	}
	files = append(files, mr.PartFile{Path: "absent", Bytes: 5})
	h := newAhead(c, files)
	defer h.wait()
	for i := range want {
		f, err := h.open(t.Context(), i)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, f.Size())
		if n, err := f.ReadAt(got, 0); n != len(got) || !bytes.Equal(got, want[i]) {
			t.Errorf("file %d: %d bytes, %v", i, n, err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := h.open(t.Context(), len(want)); !errs.Is(err, errs.NotExist) {
		t.Errorf("an absent file: %v", err)
	}
	for p, n := range c.opened {
		if n != 1 {
			t.Errorf("%s was opened %d times", p, n)
		}
	}
}

func TestAFileLongerThanItsManifestIsOpened(t *testing.T) {
	store := mem.New()
	for _, p := range []dfs.Path{"a", "b"} {
		if err := dfs.WriteFile(t.Context(), store, p, make([]byte, aheadBytes+1)); err != nil {
			t.Fatal(err)
		}
	}
	h := newAhead(store, []mr.PartFile{{Path: "a", Bytes: 3}, {Path: "b", Bytes: 3}})
	defer h.wait()
	for i := range 2 {
		f, err := h.open(t.Context(), i)
		if err != nil || f.Size() != aheadBytes+1 {
			t.Errorf("file %d: %v", i, err)
		}
	}
}
