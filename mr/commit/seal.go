package commit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// A seal says which segments of earlier epochs a coordinator has found when it took over. What such an epoch writes later was
// never acknowledged, and the files that it speaks of may have been removed meanwhile: nobody may count it, not even a third coordinator,
// to which both look old. So of epochs below that of the last seal, only what it names counts.
type seal struct {
	epoch int64
	names map[mr.PhaseID]map[string]bool
}

func (p *Publisher) sealPath(epoch int64) dfs.Path {
	return p.Root.Join("seals", fmt.Sprintf("%010d", epoch))
}

func (s seal) counts(phase mr.PhaseID, o segment) bool {
	return o.epoch >= s.epoch || s.names[phase][o.name()]
}

// writeSeal names the segments that the books have, and nothing of phases without one.
func (p *Publisher) writeSeal(ctx context.Context, epoch int64) error {
	names := map[mr.PhaseID][]string{}
	j := &p.journal
	j.mu.Lock()
	for phase, b := range j.books {
		b.mu.Lock()
		for _, s := range b.live {
			names[phase] = append(names[phase], s.name())
		}
		b.mu.Unlock()
	}
	j.mu.Unlock()
	data, err := json.Marshal(names)
	if err != nil {
		return errs.E("seal", errs.Internal, "", err)
	}
	if err := dfs.WriteFile(ctx, p.FS, p.sealPath(epoch), append([]byte(digestOf(data)+"\n"), data...)); err != nil {
		return errs.E("seal", errs.Unknown, "", err)
	}
	return nil
}

// lastSeal is the highest one, but for those of coordinators that came after this one; an empty one, if there is none. One
// that is damaged names nothing: tasks run again.
func (p *Publisher) lastSeal(ctx context.Context) (seal, error) {
	p.journal.mu.Lock()
	own, claimed := p.journal.epoch, p.journal.claimed
	p.journal.mu.Unlock()
	var last seal
	for info, err := range p.FS.List(ctx, p.Root.Join("seals")) {
		if err != nil {
			return last, errs.E("find seal", errs.Unknown, "", err)
		}
		n, err := strconv.ParseInt(info.Path.Base(), 10, 64)
		if err == nil && (!claimed || n <= own) {
			last.epoch = max(last.epoch, n)
		}
	}
	if last.epoch == 0 {
		return last, nil
	}
	path := p.sealPath(last.epoch)
	data, err := dfs.ReadFile(ctx, p.FS, path, p.limit())
	if err == nil {
		last.names, err = parseSeal(data)
	} else if kind := errs.KindOf(err); kind != errs.NotExist && kind != errs.Corrupt && kind != errs.Invalid {
		return last, errs.E("load seal", errs.Unknown, string(path), err)
	}
	if err != nil {
		p.warn("what was kept before cannot be told from what came too late: it runs again", "", fmt.Errorf("%s: %w", path, err))
	}
	return last, nil
}

func parseSeal(data []byte) (map[mr.PhaseID]map[string]bool, error) {
	digest, data, _ := bytes.Cut(data, []byte("\n"))
	if digestOf(data) != string(digest) {
		return nil, errors.New("the seal is not what its digest says")
	}
	var names map[mr.PhaseID][]string
	if err := json.Unmarshal(data, &names); err != nil {
		return nil, err
	}
	out := map[mr.PhaseID]map[string]bool{}
	for phase, all := range names {
		out[phase] = map[string]bool{}
		for _, name := range all {
			out[phase][name] = true
		}
	}
	return out, nil
}

// segments lists those of a phase: what counts, and what came too late.
func (p *Publisher) segments(ctx context.Context, phase mr.PhaseID) (live, dead []segment, err error) {
	var all []segment
	for info, err := range p.FS.List(ctx, p.tasks(phase)) {
		if err != nil {
			return nil, nil, errs.E("find tasks", errs.Unknown, string(phase), err)
		}
		if s, ok := parseSegment(info.Path.Base()); ok { // else nobody of ours wrote it
			s.size = info.Size
			all = append(all, s)
		}
	}
	if len(all) == 0 {
		return nil, nil, nil
	}
	last, err := p.lastSeal(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, s := range all {
		if last.counts(phase, s) {
			live = append(live, s)
		} else {
			dead = append(dead, s)
		}
	}
	return live, dead, nil
}
