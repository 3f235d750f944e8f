package task

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/attemptlog"
	"github.com/vista-mr/vista-mr/mr/dfs/mem"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// TestClosingIsTold once an attempt that was not quick has computed, before its files are there; not of one that fails, nor of one that
// has to merge what it has sorted.
func TestClosingIsTold(t *testing.T) {
	for name, c := range map[string]struct {
		takes      time.Duration
		err        error
		partitions int
		want       int
	}{
		"long":    {takes: quick + time.Millisecond, want: 1},
		"quick":   {},
		"fails":   {takes: quick + time.Millisecond, err: errors.New("no luck")},
		"shuffle": {takes: quick + time.Millisecond, partitions: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := mem.New()
			e := env(t, store, mapper("write", func(ctx context.Context, tk mr.Task) error {
				p, err := tk.Part(ctx, "x", mr.PartOptions{})
				if err != nil {
					return err
				}
				time.Sleep(c.takes) // being long is the subject
				return errors.Join(p.Append([]byte("k"), []byte("v")), c.err)
			}))
			s := spec("write", mr.MapPhase)
			s.Partitions = c.partitions
			told := 0
			m, err := e.For(attemptlog.New(), &atomic.Int64{}, func() {
				told++
				if _, err := store.Stat(t.Context(), s.Out.Join("x-00000.avro")); !errs.Is(err, errs.NotExist) {
					t.Errorf("the file is there already: %v", err)
				}
			}).Run(t.Context(), s, nil)
			if (err != nil) != (c.err != nil) || told != c.want {
				t.Fatalf("%v, told %d times, want %d", err, told, c.want)
			}
			if err == nil && len(m.Files) == 0 {
				t.Error("no file")
			}
		})
	}
}
