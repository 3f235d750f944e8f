package task

import (
	"context"
	"sync"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// begunRoom is how many bytes a file takes while the store still creates it.
const begunRoom = 64 << 10

// begun is a file that the store creates beside the attempt's work: an attempt has one for each channel, and a store across the
// network takes some 10 ms for each. An error of creating it is that of the first call that comes after it. Like every writer it belongs to
// one goroutine.
type begun struct {
	made chan struct{} // closed when w or err is set, and what came before is written

	mu     sync.Mutex
	early  []byte // written before the file was there
	w      dfs.Writer
	err    error
	opened bool // what comes now goes to w
}

var _ dfs.Writer = (*begun)(nil)

// begin starts to create a file. Its end waits for that, so ctx should be the attempt's.
func begin(ctx context.Context, fs dfs.FS, p dfs.Path) *begun {
	b := &begun{made: make(chan struct{})}
	go func() {
		defer close(b.made)
		var w dfs.Writer
		err := errs.Guard(func() (err error) {
			w, err = fs.Create(ctx, p)
			return err
		})
		b.mu.Lock()
		defer b.mu.Unlock()
		b.opened = true
		if b.err = err; err != nil {
			return
		}
		b.w = w
		if len(b.early) > 0 {
			b.err = errs.Guard(func() error {
				_, err := w.Write(b.early)
				return err
			})
			b.early = nil
		}
	}()
	return b
}

// wait returns when the file is there, or cannot be.
func (b *begun) wait() error {
	<-b.made
	return b.err
}

func (b *begun) Write(p []byte) (int, error) {
	b.mu.Lock()
	if !b.opened && len(b.early)+len(p) <= begunRoom {
		b.early = append(b.early, p...)
		b.mu.Unlock()
		return len(p), nil
	}
	b.mu.Unlock()
	if err := b.wait(); err != nil {
		return 0, err
	}
	return b.w.Write(p)
}

func (b *begun) Commit(ctx context.Context) error {
	if err := b.wait(); err != nil {
		return err
	}
	return b.w.Commit(ctx)
}

func (b *begun) Abort() error {
	<-b.made
	if b.w == nil {
		return nil // the error of creating it has been told, or is the reason of another
	}
	return b.w.Abort()
}
