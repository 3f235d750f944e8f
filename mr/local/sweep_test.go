package local_test

import (
	"slices"
	"testing"

	"github.com/vista-mr/vista-mr/mr/commit"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/fault"
	"github.com/vista-mr/vista-mr/mr/dfs/fault/sweep"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/mrtest"
)

// TestEveryOperationFailsOnce runs a whole job once for every operation of its store: each run
// ends with the output of the clean one, or with a clear error; what it leaves can be resumed,
// and then gives the clean output.
func TestEveryOperationFailsOnce(t *testing.T) {
	job := wordCountJob(splits(t, "a b a\nc\n", "b a\n", "", "d d d d\n"))
	run := func(t *testing.T, fs dfs.FS) ([]string, error) {
		c := mrtest.New(t, wordCount()...)
		c.Store = fs
		done, err := c.Run(t.Context(), job)
		if err != nil {
			return nil, err
		}
		c.Store = fs
		lines, err := c.Records(t.Context(), done["reduce"], "counts")
		slices.Sort(lines)
		return lines, err
	}
	var clean, got []string
	sweep.Run(t, sweep.Scenario{
		Run: func(t *testing.T, fs dfs.FS) (err error) {
			got, err = run(t, fs)
			return err
		},
		Check: func(t *testing.T, r sweep.Result) {
			if r.Clean() {
				clean = got
			}
			if r.Err == nil && !slices.Equal(got, clean) {
				t.Errorf("got %q, want %q", got, clean)
			}
			p := &commit.Publisher{FS: r.Store, Root: dfs.Path(job.ID)}
			if _, err := p.Load(t.Context(), "reduce"); err != nil && !errs.Is(err, errs.NotExist) {
				t.Errorf("half published: %v", err)
			}
			again, err := run(t, r.Store)
			if err != nil || !slices.Equal(again, clean) {
				t.Errorf("resumed: %q, %v; want %q", again, err, clean)
			}
		},
		Modes: []fault.Action{fault.Fail, fault.Torn, fault.Flip, fault.Lose, fault.Down, fault.Full},
	})
}
