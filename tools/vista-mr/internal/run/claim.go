package run

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/mr/commit"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/probe"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
)

// Claim is the right to write to an output. In a folder of this machine one process has it at a time. In a store elsewhere,
// where nobody can tell whether another process still runs, the last one that asked has it: the others find
// out before they show anything.
type Claim struct {
	State OutputState
	place *place
	lock  *os.File // of a folder of this machine
	made  []string // folders that were made for it, the innermost first

	// Of a store elsewhere:
	epoch int64
	logs  []dfs.Path // files of logs that lay in the output before the claim
	old   []dfs.Path // what lay in the job's store before the claim. A run that comes later writes nothing of it, but for names that all share
}

// runsFolder holds the epochs of runs in a store, which outlive what is cleared.
const runsFolder dfs.Path = "runs"

// Close gives the right up; what was written stays, for the next run of the job to go on from.
func (c *Claim) Close() error {
	if c.lock == nil {
		return c.place.close()
	}
	return c.lock.Close()
}

// Undo leaves nothing of a claim under which nothing was computed: what was there before stays, the run that an earlier
// one has left included.
func (c *Claim) Undo(ctx context.Context) error {
	if c.State != OutputNew {
		return nil
	}
	if c.lock == nil {
		ctx = context.WithoutCancel(ctx)
		if err := c.Check(ctx); err != nil || c.place.finished(ctx) { // another run counts on it
			return nil
		}
		return errors.Join(c.place.clear(ctx, nil), c.place.out.Remove(ctx, MarkerFile))
	}
	err := errors.Join(os.RemoveAll(c.place.work()), os.Remove(filepath.Join(c.place.dir, MarkerFile)))
	for _, dir := range c.made {
		if os.Remove(dir) != nil { // somebody else uses it by now
			break
		}
	}
	return err
}

// Check fails if another run has taken over.
func (c *Claim) Check(ctx context.Context) error {
	if c.lock != nil {
		return nil
	}
	err := c.runs().Current(ctx, c.epoch)
	if errs.Is(err, errs.Lost) {
		if c.gone(ctx) {
			return goneError(c.place)
		}
		return takenError(c.place)
	}
	return err
}

// gone tells whether somebody has removed the output: neither is it anybody's, nor has a run any epoch there. (A run that is done has none
// either, and leaves its results.)
func (c *Claim) gone(ctx context.Context) bool {
	epoch, err := c.runs().Epoch(ctx)
	if err != nil || epoch > 0 {
		return false
	}
	for _, f := range []dfs.Path{MarkerFile, SuccessFile} {
		if _, err := c.place.out.Stat(ctx, f); !errs.Is(err, errs.NotExist) {
			return false
		}
	}
	return true
}

// clearGone removes what this run has written since its output was removed. Late attempts on workers remove their own (package worker).
func (c *Claim) clearGone(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	if c.lock != nil || !c.gone(ctx) {
		return nil
	}
	err := dfs.RemoveAll(ctx, c.place.store, "")
	dfs.Prune(ctx, c.place.out, "")
	return err
}

// taken replaces a failure by its cause, if that is another run that has taken over, or has come to the end before this one could, or
// that the output was removed: what this one meets then is chance.
func (c *Claim) taken(ctx context.Context, err error) error {
	if err == nil || c.lock != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	if cerr := c.Check(ctx); errs.Is(cerr, errs.Lost) {
		return cerr
	}
	if c.place.finished(ctx) {
		return finishedOutput(c.place.name)
	}
	return err
}

// index is the file that splits of images are parts of. In a store elsewhere each claim has its own: a run that has been taken over from,
// and does not know it yet, neither removes nor writes that of the later one.
func (c *Claim) index() dfs.Path {
	if c.lock != nil {
		return imageIndex
	}
	return dfs.Path(fmt.Sprintf("images-%010d.index", c.epoch))
}

// replace has a file of a store written whose name another run may take at the same time: what is there is removed, unless it is the same
// bytes already (nil: that is not looked at). As long as the claim holds, who was first does not count. For a folder of this machine, and
// with nil, there are no others.
func (c *Claim) replace(ctx context.Context, fs dfs.FS, name dfs.Path, same []byte, write func() error) error {
	const tries = 5
	for try := 1; ; try++ {
		there, err := c.vacate(ctx, fs, name, same)
		if err != nil || there {
			return err
		}
		if err := write(); c == nil || c.lock != nil || try == tries || !errs.Is(err, errs.Exist) {
			return err
		}
	}
}

// vacate removes a file, unless it is the same bytes as wanted: then it is there. A run may be stopped behind its last look at the
// claims, for as long as another one needs to come to its end. What it does then must not hurt that one's files: so it removes nothing
// of which it has not seen before that look that it is there, which is what earlier runs have left. To create a file hurts nobody.
func (c *Claim) vacate(ctx context.Context, fs dfs.FS, name dfs.Path, same []byte) (there bool, _ error) {
	info, err := fs.Stat(ctx, name)
	absent := errs.Is(err, errs.NotExist)
	if err != nil && !absent {
		return false, err
	}
	if !absent && same != nil && info.Size == int64(len(same)) {
		data, err := dfs.ReadFile(ctx, fs, name, info.Size)
		there = err == nil && bytes.Equal(data, same)
	}
	if c != nil {
		if err := c.Check(ctx); err != nil {
			return false, err
		}
	}
	if absent || there {
		return there, nil
	}
	return false, fs.Remove(ctx, name)
}

func (c *Claim) runs() *commit.Publisher {
	return &commit.Publisher{FS: c.place.store, Root: runsFolder}
}

// claimStore makes an output elsewhere this job's own.
func claimStore(ctx context.Context, j *conf.Job, p *place) (*Claim, error) {
	state, err := lookAtStore(ctx, j, p)
	if err != nil {
		return nil, err
	}
	c := &Claim{State: state, place: p}
	if state == OutputNew {
		b, err := json.Marshal(newMarker(j))
		if err != nil {
			return nil, err
		}
		err = dfs.WriteFile(ctx, p.out, MarkerFile, append(b, '\n'))
		switch {
		case errs.Is(err, errs.Exist): // somebody was first: whose is it?
			c.State = OutputUnfinished
			if _, err = lookAtStore(ctx, j, p); err != nil {
				return nil, err
			}
		case err != nil:
			return nil, elsewhere("output", p.name, err)
		}
	}
	if err := probe.Exclusive(ctx, p.store, ""); err != nil {
		err = elsewhere("output", p.name, err)
		if c.State == OutputNew {
			err = errors.Join(err, p.out.Remove(context.WithoutCancel(ctx), MarkerFile))
		}
		return nil, err
	}
	if c.old, err = p.files(ctx); err != nil {
		return nil, elsewhere("output", p.name, err)
	}
	for _, name := range []dfs.Path{EventsFile, AttemptsFile} {
		switch _, err := p.out.Stat(ctx, name); {
		case err == nil:
			c.logs = append(c.logs, name)
		case !errs.Is(err, errs.NotExist):
			return nil, elsewhere("output", p.name, err)
		}
	}
	if c.epoch, err = c.runs().ClaimEpoch(ctx); err != nil {
		return nil, elsewhere("output", p.name, err)
	}
	// The one before may have come to its end since the place was looked at, or does so now.
	ended, err := c.supersede(ctx)
	if err != nil && !p.finished(ctx) {
		return nil, elsewhere("output", p.name, err)
	}
	if ended {
		if err := p.markFinished(ctx); err != nil && !p.finished(ctx) {
			return nil, elsewhere("output", p.name, err)
		}
	}
	if ended || p.finished(ctx) {
		p.tidy(ctx)
		return nil, finishedOutput(p.name)
	}
	return c, nil
}

// lookAtStore is lookAtOutput for a store elsewhere.
func lookAtStore(ctx context.Context, j *conf.Job, p *place) (OutputState, error) {
	data, err := dfs.ReadFile(ctx, p.out, MarkerFile, maxConfig)
	if errs.Is(err, errs.NotExist) {
		first := dfs.Path("")
		for info, err := range p.out.List(ctx, "") {
			if err != nil {
				return 0, elsewhere("output", p.name, err)
			}
			first = info.Path
			break
		}
		if first == "" {
			return OutputNew, nil
		}
		// The marker is the first file of an output: it may have come between the two looks.
		data, err = dfs.ReadFile(ctx, p.out, MarkerFile, maxConfig)
		if errs.Is(err, errs.NotExist) {
			return 0, refusedOutput(p.name, fmt.Sprintf("holds files that are not this job's (%s)", first), nil)
		}
	}
	if err != nil {
		return 0, elsewhere("output", p.name, err)
	}
	if err := whose(data, j, p.name); err != nil {
		return 0, err
	}
	switch _, err := p.out.Stat(ctx, SuccessFile); {
	case err == nil:
		return 0, finishedOutput(p.name)
	case !errs.Is(err, errs.NotExist):
		return 0, elsewhere("output", p.name, err)
	}
	return OutputUnfinished, nil
}

// whose refuses an output whose marker is not this job's.
func whose(data []byte, j *conf.Job, name string) error {
	var m marker
	if err := json.Unmarshal(data, &m); err != nil {
		return refusedOutput(name, MarkerFile+" is damaged", err)
	}
	if m.Digest != j.Digest() {
		return refusedOutput(name, fmt.Sprintf("belongs to the job %q or to other settings of this one", m.Name), nil)
	}
	return nil
}

func refusedOutput(name, cause string, err error) error {
	return exit.As(exit.Invalid, &InputError{ID: "E-OUTPUT", Key: "output", Path: name, Cause: cause, Err: err,
		Next: "choose another folder (--set output=...), or remove this one if nobody needs it"})
}

// blockedOutput refuses an output for a file that is in the way: that may be anybody's, so nothing is said of removing it.
func blockedOutput(name, cause string) error {
	return exit.As(exit.Invalid, &InputError{ID: "E-OUTPUT", Key: "output", Path: name, Cause: cause,
		Next: "choose another folder (--set output=...): a file is in the way"})
}

// finishedCause says of an output that a job has come to its end there.
const finishedCause = "holds the finished results of this job"

// isFinished tells whether that is the failure.
func isFinished(err error) bool {
	var e *InputError
	return errors.As(err, &e) && e.Cause == finishedCause
}

func finishedOutput(name string) error {
	return exit.As(exit.Invalid, &InputError{ID: "E-OUTPUT", Key: "output", Path: name, Cause: finishedCause,
		Next: "vista-mr results " + conf.Quote(name) + " shows them; to run it again choose another folder (--set output=...)"})
}
