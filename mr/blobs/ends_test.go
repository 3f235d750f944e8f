package blobs

import (
	"context"
	"runtime"
	"testing"

	"github.com/vista-mr/vista-mr/mr/dfs/mem"
)

// ending is a context that ends when it has been asked so often whether it has.
type ending struct {
	context.Context
	left int
}

func (e *ending) Err() error {
	if e.left--; e.left < 0 {
		return context.Canceled
	}
	return nil
}

// TestNothingIsHeldWithAnError: whenever a context ends, there is a bundle or an error, and with an error no file stays open.
func TestNothingIsHeldWithAnError(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("open files are counted in /proc")
	}
	open := func() int { return names(t, "/proc/self/fd") }
	fs, c := mem.New(), New(t.TempDir(), 1<<20)
	b := put(t, fs, "a", 5000)
	release(t, get(t, c, fs, b))
	for n, before := 0, open(); ; n++ {
		h, err := c.Get(&ending{t.Context(), n}, fs, b)
		if err != nil && h != nil {
			t.Fatalf("after %d looks: both a bundle and %v", n, err)
		}
		done := h != nil
		if done {
			release(t, h)
		}
		if now := open(); now != before {
			t.Fatalf("after %d looks %d files are open, %d before", n, now, before)
		}
		if done && n > 100 {
			return
		}
		if n > 1000 {
			t.Fatal("it never succeeds")
		}
	}
}
