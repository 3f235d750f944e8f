// Package commit makes a phase visible exactly once, without renames and on any store that
// has an exclusive create.
//
// Invariant: of one phase, epoch and revision at most one manifest is ever visible, and
// readers see either it or nothing. A manifest that was published is never changed; one whose
// files proved to be damaged is outranked by the next revision.
//
// How a phase is published:
//  1. Its manifest is written under a name that carries its own SHA-256: writing it twice, or
//     twice at the same time, can only ever write the same bytes.
//  2. An empty marker is claimed whose *name* carries epoch, revision and digest. An empty
//     file cannot be torn, and a claim has one winner.
//  3. If a higher epoch has been claimed meanwhile, the publisher is no longer the job's
//     coordinator and says so; its marker is outranked.
//
// Readers look for the marker of the highest epoch, and in it of the highest revision, read the
// manifest that it names, and compare its digest. They list the folder of markers only, which
// has a handful of files, and never a folder of part files. Package local and the tracker
// publish; resuming a job loads. A manifest that is lost or damaged makes its phase run again:
// the next epoch outranks it.
//
// Until its phase is published, a committed task is kept in a journal, so that a job that was stopped, or whose coordinator was
// killed, goes on with the tasks that are left. The journal is segments: files that are written once, each with all the results that
// came while the one before was being written. An idle journal writes a result at once; a busy one costs far less than one
// file for each task, and small segments are merged. The order is: write the segment, look that no higher epoch was claimed, and
// only then say that what is in it is durable. So whoever takes over has either been seen by that look, or sees the segment. A seal says which
// segments it has seen: what an old coordinator writes after that was never acknowledged and never counts. A
// segment whose end is missing or whose bytes are damaged is read as far as its checksums go; the tasks in the rest run again.
//
// Layout below the root: epochs/NNNNNNNNNN, seals/EPOCH, phases/PHASE/manifest-DIGEST.json,
// phases/PHASE/published-EPOCH-REVISION-DIGEST, phases/PHASE/tasks/EPOCH-NUMBER.
package commit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// Publisher publishes and loads the phases of one job.
type Publisher struct {
	FS   dfs.FS
	Root dfs.Path    // folder of the job
	Log  *zap.Logger // may be nil
	// After is an epoch that was used, though the store may not know any more: somebody has removed the job's folder, and
	// what ran in that epoch is still remembered elsewhere. Epochs that are claimed are higher.
	After int64
	// MaxManifest bounds manifests in bytes, written and read; 0: 1 GiB, which is 300 bytes
	// for each of more than three million tasks and files.
	MaxManifest int64

	journal journal // of tasks that were committed and whose phases are not published
}

const (
	manifestPrefix = "manifest-"
	markerPrefix   = "published-"
)

func (p *Publisher) limit() int64 {
	if p.MaxManifest > 0 {
		return p.MaxManifest
	}
	return 1 << 30
}

func (p *Publisher) folder(phase mr.PhaseID) dfs.Path {
	return p.Root.Join("phases", mr.FileName(string(phase)))
}

// Publish makes a phase visible. Publishing the same manifest again succeeds and changes
// nothing; another manifest of the same phase, epoch and revision is refused with errs.Exist,
// and one that readers would refuse for its size with errs.Invalid.
func (p *Publisher) Publish(ctx context.Context, m mr.PhaseManifest) error {
	size, digest, err := measure(&m)
	if err != nil {
		return errs.E("publish", errs.Internal, string(m.Phase), err)
	}
	if limit := p.limit(); size > limit {
		return &errs.Error{Op: "publish", Kind: errs.Invalid, ID: "E-MANIFEST-SIZE", Path: string(m.Phase),
			Err: fmt.Errorf("the manifest has %d bytes, more than %d, for %d tasks", size, limit, len(m.Tasks)),
			Fix: "use fewer and larger tasks, or fewer partitions"}
	}
	dir := p.folder(m.Phase)
	if err := p.writeOnce(ctx, dir.Join(manifestPrefix+digest+".json"), &m, digest); err != nil {
		return errs.E("publish", errs.Unknown, string(m.Phase), err)
	}
	if other, err := p.marker(ctx, m.Phase); err != nil {
		return err
	} else if other.epoch == m.Epoch && other.revision == m.Revision && other.digest != digest {
		return errs.E("publish", errs.Exist, string(m.Phase), fmt.Errorf("epoch %d has published another manifest", m.Epoch))
	}
	name := fmt.Sprintf("%s%010d-%04d-%s", markerPrefix, m.Epoch, m.Revision, digest)
	if err := p.FS.Claim(ctx, dir.Join(name)); err != nil && !errs.Is(err, errs.Exist) {
		return errs.E("publish", errs.Unknown, string(m.Phase), err)
	}
	highest, err := p.Epoch(ctx)
	if err != nil {
		return err
	}
	if highest > m.Epoch {
		return errs.E("publish", errs.Lost, string(m.Phase), fmt.Errorf("epoch %d has taken over from %d", highest, m.Epoch))
	}
	p.clear(ctx, m.Phase)
	return nil
}

// digestOf is the SHA-256 of a manifest, in hex.
func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// writeOnce writes a manifest, whose name says its content. If it is there already, somebody wrote
// the same; that it is whole is looked up, because once a marker names it, it is too late.
func (p *Publisher) writeOnce(ctx context.Context, path dfs.Path, m *mr.PhaseManifest, digest string) error {
	err := p.writeManifest(ctx, path, m)
	if !errs.Is(err, errs.Exist) {
		return err
	}
	there, err := dfs.ReadFile(ctx, p.FS, path, p.limit())
	if err != nil {
		return err
	}
	if digestOf(there) != digest {
		return errs.E("publish", errs.Corrupt, string(path), errors.New("it is there already, and damaged: remove it"))
	}
	return nil
}

// marker is what the name of a marker says.
type marker struct {
	epoch    int64
	revision int
	digest   string
}

func (m marker) less(o marker) bool {
	return m.epoch < o.epoch || m.epoch == o.epoch && m.revision < o.revision
}

func parseMarker(base string) (marker, bool) {
	name, ok := strings.CutPrefix(base, markerPrefix)
	e, rest, _ := strings.Cut(name, "-")
	r, digest, _ := strings.Cut(rest, "-")
	epoch, err := strconv.ParseInt(e, 10, 64)
	revision, rerr := strconv.Atoi(r)
	if !ok || err != nil || rerr != nil || epoch < 0 || revision < 0 || len(digest) != 2*sha256.Size {
		return marker{}, false // nobody of ours wrote it
	}
	return marker{epoch, revision, digest}, true
}

// marker finds the marker of the highest epoch and revision; one without a digest when there
// is none.
func (p *Publisher) marker(ctx context.Context, phase mr.PhaseID) (marker, error) {
	best := marker{epoch: -1}
	for info, err := range p.FS.List(ctx, p.folder(phase)) {
		if err != nil {
			return best, errs.E("find phase", errs.Unknown, string(phase), err)
		}
		if m, ok := parseMarker(info.Path.Base()); ok && best.less(m) {
			best = m
		}
	}
	return best, nil
}

// Load returns the published manifest of a phase, or errs.NotExist. If it is published and its
// manifest is lost or damaged, the error is errs.Corrupt.
func (p *Publisher) Load(ctx context.Context, phase mr.PhaseID) (*mr.PhaseManifest, error) {
	mark, err := p.marker(ctx, phase)
	if err != nil {
		return nil, err
	}
	if mark.digest == "" {
		return nil, errs.E("load phase", errs.NotExist, string(phase), errors.New("it is not published"))
	}
	path := p.folder(phase).Join(manifestPrefix + mark.digest + ".json")
	corrupt := func(err error) error { return errs.E("load phase", errs.Corrupt, string(path), err) }
	data, err := dfs.ReadFile(ctx, p.FS, path, p.limit())
	if errs.Is(err, errs.NotExist) {
		return nil, corrupt(errors.New("a marker names the manifest, and it is gone"))
	}
	if errs.Is(err, errs.Invalid) { // larger than any that is published
		return nil, corrupt(err)
	}
	if err != nil {
		return nil, errs.E("load phase", errs.Unknown, string(path), err)
	}
	if digestOf(data) != mark.digest {
		return nil, corrupt(errors.New("the manifest is not what its name says"))
	}
	var m mr.PhaseManifest
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, corrupt(err)
	}
	if m.Phase != phase {
		return nil, corrupt(fmt.Errorf("it is the manifest of %s", m.Phase))
	}
	return &m, nil
}

// LoadAll returns the phases of a job that need not run again: those that are published, as
// long as all that they stand on need not either. A phase whose manifest is lost or damaged
// runs again, with a warning; and so do the phases whose files were dropped when a phase that
// must run again was published, because it may read them anew.
func (p *Publisher) LoadAll(ctx context.Context, job *mr.JobSpec) ([]mr.PhaseManifest, error) {
	have := map[mr.PhaseID]*mr.PhaseManifest{}
	again := map[mr.PhaseID]bool{}
	was := map[mr.PhaseID]bool{} // published once, so that what it drops may be gone
	for i := range job.Phases {
		ph := &job.Phases[i]
		m, err := p.Load(ctx, ph.ID)
		switch {
		case errs.Is(err, errs.NotExist):
			again[ph.ID] = true
		case errs.Is(err, errs.Corrupt):
			again[ph.ID], was[ph.ID] = true, true
			p.warn("the manifest of a published phase is damaged: the phase runs again", ph.ID, err)
		case err != nil:
			return nil, err
		case len(m.Tasks) != ph.NumTasks():
			return nil, &errs.Error{Op: "load phase", Kind: errs.Invalid, ID: "E-OTHER-JOB", Path: string(ph.ID),
				Err: fmt.Errorf("%d tasks are published, the job has %d", len(m.Tasks), ph.NumTasks()),
				Fix: "the job was changed since it ran: use another output folder"}
		default:
			have[ph.ID], was[ph.ID] = m, true
		}
	}
	for changed := true; changed; { // at most once for each phase
		changed = false
		mark := func(id mr.PhaseID) { changed, again[id] = changed || !again[id], true }
		for i := range job.Phases {
			ph := &job.Phases[i]
			for _, in := range ph.Inputs {
				if again[in.Phase] {
					mark(ph.ID)
				}
			}
			for _, id := range ph.After {
				if again[id] {
					mark(ph.ID)
				}
			}
			for _, d := range ph.Drop {
				if again[ph.ID] && was[ph.ID] {
					mark(d.Phase)
				}
			}
		}
	}
	var out []mr.PhaseManifest
	for i := range job.Phases {
		if id := job.Phases[i].ID; !again[id] {
			out = append(out, *have[id])
		}
	}
	return out, nil
}

func (p *Publisher) warn(what string, phase mr.PhaseID, err error) {
	if p.Log != nil {
		p.Log.Warn(what, zap.String("phase", string(phase)), zap.Error(err))
	}
}

// EpochsFolder is the folder, below a job's, of the marks of epochs.
const EpochsFolder = "epochs"

// EpochMark is the file that says that an epoch of a job was claimed. It is there as long as the job's folder: who cleans up removes
// these marks first, so that whoever has written something and then finds its mark knows that the clean-up comes after it.
func EpochMark(root dfs.Path, n int64) dfs.Path {
	return root.Join(EpochsFolder, fmt.Sprintf("%010d", n))
}

// Epochs are those that were claimed, in order.
func (p *Publisher) Epochs(ctx context.Context) (all []int64, _ error) {
	for info, err := range p.FS.List(ctx, p.Root.Join(EpochsFolder)) {
		if err != nil {
			return nil, errs.E("find epoch", errs.Unknown, "", err)
		}
		if n, err := strconv.ParseInt(info.Path.Base(), 10, 64); err == nil {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	return all, nil
}

// Epoch is the highest epoch that was claimed; 0 when there is none.
func (p *Publisher) Epoch(ctx context.Context) (int64, error) {
	all, err := p.Epochs(ctx)
	if err != nil || len(all) == 0 {
		return 0, err
	}
	return max(0, all[len(all)-1]), nil
}

// Current fails with errs.Lost unless the caller's epoch is the highest that was claimed: another one has taken over, or
// has even finished and removed what the job was made from.
func (p *Publisher) Current(ctx context.Context, epoch int64) error {
	highest, err := p.Epoch(ctx)
	if err == nil && highest != epoch {
		err = errs.E("epoch", errs.Lost, "", fmt.Errorf("%d is not the last one any more, which is %d", epoch, highest))
	}
	return err
}

// ClaimEpoch makes the caller the job's coordinator: of any number that try, each gets a
// number of its own, and only the highest may publish. A number that is skipped, because a
// reply was lost, does no harm.
func (p *Publisher) ClaimEpoch(ctx context.Context) (int64, error) {
	highest, err := p.Epoch(ctx)
	if err != nil {
		return 0, err
	}
	highest = max(highest, p.After)
	const tries = 100
	for n := highest + 1; n <= highest+tries; n++ {
		err := p.FS.Claim(ctx, EpochMark(p.Root, n))
		if err == nil {
			p.journal.claim(n)
			return n, nil
		}
		if !errs.Is(err, errs.Exist) {
			return 0, errs.E("claim epoch", errs.Unknown, "", err)
		}
	}
	return 0, errs.E("claim epoch", errs.Transient, "", fmt.Errorf("%d others were quicker", tries))
}

// TakeOver makes the caller the job's coordinator and tells what those before have left: phases that are published (LoadAll)
// and tasks of others that are kept (LoadTasks). What those before write from then on counts no more, for whoever comes later.
func (p *Publisher) TakeOver(ctx context.Context, job *mr.JobSpec) (epoch int64, done []mr.PhaseManifest, kept []mr.Manifest, err error) {
	if epoch, err = p.ClaimEpoch(ctx); err != nil {
		return 0, nil, nil, err
	}
	if done, err = p.LoadAll(ctx, job); err != nil {
		return 0, nil, nil, err
	}
	if kept, err = p.LoadTasks(ctx, job, done); err != nil {
		return 0, nil, nil, err
	}
	if epoch > 1 { // somebody was there before
		if err = p.writeSeal(ctx, epoch); err != nil {
			return 0, nil, nil, err
		}
	}
	return epoch, done, kept, nil
}
