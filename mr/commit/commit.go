// Package commit makes a phase visible exactly once, without renames and on any store that
// has an exclusive create.
//
// Invariant: of one phase and epoch at most one manifest is ever visible, and readers see
// either it or nothing. A manifest that was published is never changed.
//
// How a phase is published:
//  1. Its manifest is written under a name that carries its own SHA-256: writing it twice, or
//     twice at the same time, can only ever write the same bytes.
//  2. An empty marker is claimed whose *name* carries epoch and digest. An empty file cannot
//     be torn, and a claim has one winner.
//  3. If a higher epoch has been claimed meanwhile, the publisher is no longer the job's
//     coordinator and says so; its marker is outranked.
//
// Readers look for the marker of the highest epoch, read the manifest that it names, and
// compare its digest. They list the folder of markers only, which has a handful of files, and
// never a folder of part files. Package local and the tracker publish; resuming a job loads.
//
// Layout below the root: epochs/NNNNNNNNNN, phases/PHASE/manifest-DIGEST.json,
// phases/PHASE/published-EPOCH-DIGEST.
package commit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// Publisher publishes and loads the phases of one job.
type Publisher struct {
	FS   dfs.FS
	Root dfs.Path // folder of the job
}

const (
	manifestPrefix = "manifest-"
	markerPrefix   = "published-"
	// maxManifest bounds what Load reads: 300 bytes for each of a million tasks and files.
	maxManifest = 1 << 30
)

func (p *Publisher) folder(phase mr.PhaseID) dfs.Path {
	return p.Root.Join("phases", mr.FileName(string(phase)))
}

// Publish makes a phase visible. Publishing the same manifest again succeeds and changes
// nothing; another manifest of the same phase and epoch is refused with errs.Exist.
func (p *Publisher) Publish(ctx context.Context, m mr.PhaseManifest) error {
	data, err := json.Marshal(&m)
	if err != nil {
		return errs.E("publish", errs.Internal, string(m.Phase), err)
	}
	sum := sha256.Sum256(data)
	digest := hex.EncodeToString(sum[:])
	dir := p.folder(m.Phase)
	if err := p.writeOnce(ctx, dir.Join(manifestPrefix+digest+".json"), data); err != nil {
		return errs.E("publish", errs.Unknown, string(m.Phase), err)
	}
	if other, err := p.marker(ctx, m.Phase); err != nil {
		return err
	} else if other.epoch == m.Epoch && other.digest != digest {
		return errs.E("publish", errs.Exist, string(m.Phase), fmt.Errorf("epoch %d has published another manifest", m.Epoch))
	}
	name := fmt.Sprintf("%s%010d-%s", markerPrefix, m.Epoch, digest)
	if err := p.FS.Claim(ctx, dir.Join(name)); err != nil && !errs.Is(err, errs.Exist) {
		return errs.E("publish", errs.Unknown, string(m.Phase), err)
	}
	highest, err := p.epoch(ctx)
	if err != nil {
		return err
	}
	if highest > m.Epoch {
		return errs.E("publish", errs.Lost, string(m.Phase), fmt.Errorf("epoch %d has taken over from %d", highest, m.Epoch))
	}
	return nil
}

// writeOnce writes a file whose name says its content. If it is there already, somebody wrote
// the same; that it is whole is looked up, because once a marker names it, it is too late.
func (p *Publisher) writeOnce(ctx context.Context, path dfs.Path, data []byte) error {
	err := dfs.WriteFile(ctx, p.FS, path, data)
	if !errs.Is(err, errs.Exist) {
		return err
	}
	there, err := dfs.ReadFile(ctx, p.FS, path, maxManifest)
	if err != nil {
		return err
	}
	if !bytes.Equal(there, data) {
		return errs.E("publish", errs.Corrupt, string(path), errors.New("it is there already, and damaged: remove it"))
	}
	return nil
}

type marker struct {
	epoch  int64
	digest string
}

// marker finds the marker of the highest epoch; a zero one when there is none.
func (p *Publisher) marker(ctx context.Context, phase mr.PhaseID) (marker, error) {
	best := marker{epoch: -1}
	for info, err := range p.FS.List(ctx, p.folder(phase)) {
		if err != nil {
			return best, errs.E("find phase", errs.Unknown, string(phase), err)
		}
		name, ok := strings.CutPrefix(info.Path.Base(), markerPrefix)
		if !ok {
			continue
		}
		e, digest, _ := strings.Cut(name, "-")
		epoch, err := strconv.ParseInt(e, 10, 64)
		if err != nil || len(digest) != 2*sha256.Size {
			continue // nobody of ours wrote it
		}
		if epoch > best.epoch {
			best = marker{epoch, digest}
		}
	}
	return best, nil
}

// Load returns the published manifest of a phase, or errs.NotExist.
func (p *Publisher) Load(ctx context.Context, phase mr.PhaseID) (*mr.PhaseManifest, error) {
	mark, err := p.marker(ctx, phase)
	if err != nil {
		return nil, err
	}
	if mark.digest == "" {
		return nil, errs.E("load phase", errs.NotExist, string(phase), errors.New("it is not published"))
	}
	path := p.folder(phase).Join(manifestPrefix + mark.digest + ".json")
	data, err := dfs.ReadFile(ctx, p.FS, path, maxManifest)
	if err != nil {
		return nil, errs.E("load phase", errs.Unknown, string(path), err)
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != mark.digest {
		return nil, errs.E("load phase", errs.Corrupt, string(path), errors.New("the manifest is not what its name says"))
	}
	var m mr.PhaseManifest
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, errs.E("load phase", errs.Corrupt, string(path), err)
	}
	if m.Phase != phase {
		return nil, errs.E("load phase", errs.Corrupt, string(path), fmt.Errorf("it is the manifest of %s", m.Phase))
	}
	return &m, nil
}

// LoadAll returns the phases of a job that are published, as long as all that they stand on
// are published too.
func (p *Publisher) LoadAll(ctx context.Context, job *mr.JobSpec) ([]mr.PhaseManifest, error) {
	var out []mr.PhaseManifest
	have := map[mr.PhaseID]bool{}
	for i := range job.Phases {
		ph := &job.Phases[i]
		whole := true
		for _, in := range ph.Inputs {
			whole = whole && have[in.Phase]
		}
		for _, id := range ph.After {
			whole = whole && have[id]
		}
		if !whole {
			continue
		}
		m, err := p.Load(ctx, ph.ID)
		if errs.Is(err, errs.NotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if len(m.Tasks) != ph.NumTasks() {
			return nil, errs.E("load phase", errs.Corrupt, string(ph.ID), fmt.Errorf("%d tasks, the job has %d", len(m.Tasks), ph.NumTasks()))
		}
		have[ph.ID] = true
		out = append(out, *m)
	}
	return out, nil
}

func (p *Publisher) epochPath(n int64) dfs.Path {
	return p.Root.Join("epochs", fmt.Sprintf("%010d", n))
}

// epoch is the highest epoch that was claimed; 0 when there is none.
func (p *Publisher) epoch(ctx context.Context) (int64, error) {
	highest := int64(0)
	for info, err := range p.FS.List(ctx, p.Root.Join("epochs")) {
		if err != nil {
			return 0, errs.E("find epoch", errs.Unknown, "", err)
		}
		if n, err := strconv.ParseInt(info.Path.Base(), 10, 64); err == nil {
			highest = max(highest, n)
		}
	}
	return highest, nil
}

// ClaimEpoch makes the caller the job's coordinator: of any number that try, each gets a
// number of its own, and only the highest may publish. A number that is skipped, because a
// reply was lost, does no harm.
func (p *Publisher) ClaimEpoch(ctx context.Context) (int64, error) {
	highest, err := p.epoch(ctx)
	if err != nil {
		return 0, err
	}
	const tries = 100
	for n := highest + 1; n <= highest+tries; n++ {
		err := p.FS.Claim(ctx, p.epochPath(n))
		if err == nil {
			return n, nil
		}
		if !errs.Is(err, errs.Exist) {
			return 0, errs.E("claim epoch", errs.Unknown, "", err)
		}
	}
	return 0, errs.E("claim epoch", errs.Transient, "", fmt.Errorf("%d others were quicker", tries))
}
