package run

import (
	"context"
	"errors"
	"fmt"

	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// In a store elsewhere a run may be stopped at any moment, and go on when a later one is at work. So it is decided once for each claim how
// it ends, by one exclusive create: by the run itself, that its output is whole, or by one that comes later, that it must not say so any
// more. A run writes the marker of a finished output only behind the former, and touches what lies in the output only behind the latter,
// for each claim before its own. Of all claims at most one can end well, because every later one has then seen it: who comes after a run
// that was stopped between that decision and the marker writes the marker for it.

// endingsFolder holds how claims have ended, by their numbers. It goes with the folder of runs, which outlives what is cleared.
const endingsFolder = runsFolder + "/endings"

// ending is how a claim has ended.
type ending string

const (
	endedWell  ending = "ended\n" // its output is whole
	superseded ending = "superseded\n"
)

// maxEnding bounds the file, in bytes.
const maxEnding = 64

// decide says how a claim ends, unless that was said before. It returns what was said first.
func (p *place) decide(ctx context.Context, epoch int64, how ending) (ending, error) {
	name := endingsFolder.Join(fmt.Sprintf("%010d", epoch))
	err := dfs.WriteFile(ctx, p.store, name, []byte(how))
	if err == nil {
		return how, nil
	}
	// Whatever the error is: another one was first, or only the store's answer was lost.
	data, rerr := dfs.ReadFile(ctx, p.store, name, maxEnding)
	switch said := ending(data); {
	case rerr == nil && (said == endedWell || said == superseded):
		return said, nil
	case rerr == nil:
		return "", errs.E("end", errs.Corrupt, string(name), fmt.Errorf("it says %q", data))
	case errs.Is(rerr, errs.NotExist) && errs.Is(err, errs.Exist): // removed in between, with all that the run was made from
		return "", errs.E("end", errs.Lost, string(name), rerr)
	}
	return "", errors.Join(err, rerr)
}

// end says that this run's output is whole. If a later run has said before that this one must not, it fails as Check does.
func (c *Claim) end(ctx context.Context) error {
	if c.lock != nil {
		return nil
	}
	how, err := c.place.decide(ctx, c.epoch, endedWell)
	if err == nil && how != endedWell {
		err = takenError(c.place)
	}
	return err
}

// supersede says of all claims before this one that they must not end any more, and tells whether one of them has: its output is whole.
func (c *Claim) supersede(ctx context.Context) (ended bool, err error) {
	all, err := c.runs().Epochs(ctx)
	if err != nil {
		return false, err
	}
	for _, epoch := range all {
		if epoch >= c.epoch {
			break
		}
		how, err := c.place.decide(ctx, epoch, superseded)
		if err != nil {
			return false, err
		}
		ended = ended || how == endedWell
	}
	return ended, nil
}
