package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/vista-mr/vista-mr/conf"
	"github.com/vista-mr/vista-mr/mr/commit"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/dfs/local"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
)

// place is where a job leaves its results and works until it is done: a folder of this machine, or of a store elsewhere.
// All that is written to it goes through out and store; what only a folder of this machine has (a lock, appending to a
// file) asks for dir.
type place struct {
	name     string // as messages and commands write it
	dir      string // of this machine; "" for one elsewhere
	out      dfs.FS
	store    dfs.FS // below out: what a run keeps until it is done
	storeURI string // that other processes open
	scratch  string // local folder for what need not last; made by begin
}

// openPlace finds the place of a job's output. Nothing is made.
func openPlace(ctx context.Context, output conf.URI) (*place, error) {
	if output.Scheme() != "file" {
		return openStore(ctx, output)
	}
	p := &place{name: output.LocalPath(), dir: output.LocalPath()}
	p.out = local.New(p.dir, true)
	p.store = dfs.Sub(p.out, workFolder)
	p.scratch = filepath.Join(p.work(), scratchFolder)
	// Without a working folder there is nothing that a relative path could be made from.
	var err error
	if p.storeURI, err = filepath.Abs(p.work()); err != nil {
		return nil, unwritable("output", p.name, "cannot be found", err)
	}
	return p, nil
}

func openStore(ctx context.Context, output conf.URI) (*place, error) {
	uri := folderURI(string(output))
	out, err := stores().Folder(ctx, uri)
	if err != nil {
		return nil, elsewhere("output", uri, err)
	}
	return &place{name: uri, out: out, store: dfs.Sub(out, workFolder), storeURI: inFolder(uri, workFolder)}, nil
}

// folderURI is a URI without slashes at its end, but for that of a root without a host.
func folderURI(uri string) string {
	scheme, rest, _ := strings.Cut(uri, "://")
	if rest = strings.TrimRight(rest, "/"); rest == "" {
		rest = "/"
	}
	return scheme + "://" + rest
}

// inFolder is the URI of what has a name in a folder.
func inFolder(uri, name string) string { return strings.TrimSuffix(uri, "/") + "/" + name }

// work is the local folder behind store.
func (p *place) work() string { return filepath.Join(p.dir, workFolder) }

// begin makes an empty folder for scratch files, of which a process that was killed leaves some where the folder has a
// name of its own.
func (p *place) begin() (err error) {
	if p.dir != "" {
		return errors.Join(os.RemoveAll(p.scratch), os.MkdirAll(p.scratch, 0o777))
	}
	if p.scratch == "" {
		p.scratch, err = scratch()
	}
	return err
}

// programs is the local folder in which a network is tried. On this machine what is written for that is kept.
func (p *place) programs() (string, error) {
	if p.dir == "" {
		return p.scratch, p.begin()
	}
	dir := filepath.Join(p.work(), modelsFolder)
	return dir, os.MkdirAll(dir, 0o777)
}

// clear removes what a run has left in the store, but for what keep names; nil: nothing.
func (p *place) clear(ctx context.Context, keep func(dfs.Path) bool) error {
	all, err := p.files(ctx)
	if err != nil {
		return err
	}
	return p.remove(ctx, all, keep)
}

// files are those in the job's store.
func (p *place) files(ctx context.Context) (all []dfs.Path, _ error) {
	for i, err := range p.store.List(ctx, "") {
		if err != nil {
			return nil, err
		}
		all = append(all, i.Path)
	}
	return all, nil
}

// remove removes files of the job's store, but for what keep names; nil: nothing.
func (p *place) remove(ctx context.Context, all []dfs.Path, keep func(dfs.Path) bool) error {
	// There is a file for each task, and a store far away answers each request late.
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(removers)
	for _, f := range all {
		if keep != nil && keep(f) {
			continue
		}
		g.Go(func() error { return p.store.Remove(ctx, f) })
	}
	return g.Wait()
}

// removers is how many files are removed at once.
const removers = 16

// leave removes what a run that is done was made from, and, in a store elsewhere, what runs have left that were killed. The marks of epochs
// go first: a worker that has slept through the end of the job finds by them that what it has just written is to go, too.
func (p *place) leave(ctx context.Context) error {
	err := p.clear(ctx, func(f dfs.Path) bool { return f.Dir().Base() != commit.EpochsFolder })
	if p.dir != "" {
		return errors.Join(err, os.RemoveAll(p.work()))
	}
	if !dfs.AtOnce(p.store) {
		err = errors.Join(err, p.clear(ctx, nil))
	}
	return errors.Join(err, dfs.RemoveAll(ctx, p.store, ""), dfs.Sweep(ctx, p.out, ""), p.close())
}

// close removes what a run has in other places than its own.
func (p *place) close() error {
	if p.dir != "" || p.scratch == "" {
		return nil
	}
	return os.RemoveAll(p.scratch)
}

// elsewhere says of a failure of a store what the user can do about it, and gives it its exit class if the store does not
// answer or refuses. key is that of the job file.
func elsewhere(key, uri string, err error) error {
	e := &InputError{ID: "E-" + strings.ToUpper(errs.KindOf(err).String()), Key: key, Path: uri, Cause: "cannot be opened", Err: err}
	var says interface{ ErrorID() string }
	if errors.As(err, &says) {
		e.ID = says.ErrorID()
	}
	var hint interface{ Hint() string }
	if errors.As(err, &hint) {
		e.Next = hint.Hint()
	}
	if s := storesOwn(err); s != nil { // it knows better than what was put around it
		e.ID, e.Next, e.Err = s.ID, s.Fix, s
	}
	class := exit.Unreachable
	switch errs.KindOf(err) {
	case errs.Unauthorized:
		e.Cause = "is refused"
		or(&e.Next, "check the identity that is used, and what it may read and write there")
	case errs.Unreachable, errs.Transient:
		e.Cause = "does not answer"
		or(&e.Next, "check that the store runs and can be reached, then run the same command again")
	case errs.Canceled:
		return err
	default:
		class = exit.Invalid
		or(&e.Next, "check "+key)
	}
	return exit.As(class, e)
}

// storesOwn is the innermost error with an id of its own: what the store itself has said; nil if there is none.
func storesOwn(err error) (own *errs.Error) {
	for e := (*errs.Error)(nil); errors.As(err, &e); err = e.Err {
		if e.ID != "" {
			own = e
		}
	}
	return own
}

func or(s *string, fallback string) {
	if *s == "" {
		*s = fallback
	}
}

// away tells whether a store elsewhere has failed, whatever was asked of it.
func away(uri string, err error) bool {
	if conf.URI(uri).Scheme() == "file" {
		return false
	}
	switch errs.KindOf(err) {
	case errs.Unauthorized, errs.Unreachable, errs.Transient:
		return true
	}
	return false
}

// takenError says that another run of the same job goes on with an output in this one's place.
func takenError(p *place) error {
	return &errs.Error{Op: "run", Kind: errs.Lost, ID: "E-OUTPUT-TAKEN", Path: p.name, Err: fmt.Errorf("%s: another run of this job has taken over", p.name),
		Fix: "leave it to that one; vista-mr results " + conf.Quote(p.name) + " shows what it has found when it is done"}
}

// goneError says that an output was removed while its job ran.
func goneError(p *place) error {
	return &errs.Error{Op: "run", Kind: errs.Lost, ID: goneID, Path: p.name, Err: fmt.Errorf("%s: the output has been removed while the job ran", p.name),
		Fix: "submit the job again"}
}

// goneID is the id of an output that was removed while its job ran.
const goneID = "E-OUTPUT-GONE"

// isGone tells whether that is the failure.
func isGone(err error) bool {
	var id interface{ ErrorID() string }
	return errors.As(err, &id) && id.ErrorID() == goneID
}
