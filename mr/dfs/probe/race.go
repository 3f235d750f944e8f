package probe

import (
	"context"
	"fmt"
	"sync"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// errWrong is what a race has shown.
type errWrong struct{ text string }

func (e *errWrong) Error() string { return e.text }

// race lets writers race for a name, on both clients, and returns who has won.
func (p *probe) race(take func(fs dfs.FS, writer int) error) (winner int, err error) {
	result := make([]error, p.Writers)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range result {
		wg.Go(func() {
			fs := p.fs
			if i%2 == 1 {
				fs = p.other
			}
			<-start
			result[i] = take(fs, i)
		})
	}
	close(start)
	wg.Wait()
	winner, won := -1, 0
	for i, err := range result {
		switch {
		case err == nil:
			winner, won = i, won+1
		case !errs.Is(err, errs.Exist):
			return -1, err
		}
	}
	if won != 1 {
		return -1, &errWrong{fmt.Sprintf("of %d writers of one name %d were told that they have it", p.Writers, won)}
	}
	return winner, nil
}

// races repeats a race, several at once, for as long as there is time, and stops at the first that goes wrong.
func (p *probe) races(ctx context.Context, n int, one func(ctx context.Context, i int) error) (int, error) {
	const atOnce = 4 // with their writers enough to make a store sweat, and to hide its latency
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var mu sync.Mutex
	next, done := 0, 0
	var failed error
	var wg sync.WaitGroup
	for range atOnce {
		wg.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				enough := i >= n || failed != nil || ctx.Err() != nil || i > 0 && p.late()
				mu.Unlock()
				if enough {
					return
				}
				err := one(ctx, i)
				mu.Lock()
				if err == nil {
					done++
				} else if failed == nil {
					failed = fmt.Errorf("race %d: %w", i+1, err)
					stop() // what the others report is a consequence
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return done, failed
}

// told says how many races there were, and if time has ended them.
func told(done, wanted int, what string) string {
	s := fmt.Sprintf("%d races, %s", done, what)
	if done < wanted {
		s += fmt.Sprintf(" (of %d: the time was over)", wanted)
	}
	return s
}
