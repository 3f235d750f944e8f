package commit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
)

// tasks is the folder of a phase's committed tasks, each in a file that is named after its attempt.
func (p *Publisher) tasks(phase mr.PhaseID) dfs.Path { return p.folder(phase).Join("tasks") }

func taskName(a mr.AttemptID, epoch int64) string {
	return fmt.Sprintf("%08d-%010d-%04d", a.Task.Index, epoch, a.Number)
}

// Keep makes the result of a task durable while its phase is not published yet, so that a coordinator that comes
// after need not run it again. Keeping the same attempt again changes nothing.
func (p *Publisher) Keep(ctx context.Context, m mr.Manifest) error {
	data, err := json.Marshal(&m)
	if err != nil {
		return errs.E("keep", errs.Internal, m.Attempt.String(), err)
	}
	data = append([]byte(digestOf(data)+"\n"), data...)
	path := p.tasks(m.Attempt.Task.Phase).Join(taskName(m.Attempt, m.Epoch))
	if err := dfs.WriteFile(ctx, p.FS, path, data); err != nil && !errs.Is(err, errs.Exist) {
		return errs.E("keep", errs.Unknown, m.Attempt.String(), err)
	}
	return nil
}

// Forget takes back what Keep has kept of an attempt: its files are about to be removed. What was never kept is no error.
func (p *Publisher) Forget(ctx context.Context, a mr.AttemptID, epoch int64) error {
	if err := p.FS.Remove(ctx, p.tasks(a.Task.Phase).Join(taskName(a, epoch))); err != nil && !errs.Is(err, errs.NotExist) {
		return errs.E("forget", errs.Unknown, a.String(), err)
	}
	return nil
}

// LoadTasks returns the tasks that were kept of phases that were never published, beside those that LoadAll has found to
// be done: of each task the newest. It passes over tasks of a phase that stands on one that must run again, over
// those of rounds, which stand on each other, and, with a warning, over what is damaged.
func (p *Publisher) LoadTasks(ctx context.Context, job *mr.JobSpec, done []mr.PhaseManifest) ([]mr.Manifest, error) {
	ready := map[mr.PhaseID]bool{}
	for i := range done {
		ready[done[i].Phase] = true
	}
	var out []mr.Manifest
	for i := range job.Phases {
		ph := &job.Phases[i]
		stands := ph.Type != mr.RoundsPhase && !ready[ph.ID]
		for _, in := range ph.Inputs {
			stands = stands && ready[in.Phase]
		}
		for _, id := range ph.After {
			stands = stands && ready[id]
		}
		if !stands {
			continue
		}
		// What was published once may have lost files to a phase that dropped them.
		if m, err := p.marker(ctx, ph.ID); err != nil {
			return nil, err
		} else if m.digest != "" {
			continue
		}
		kept, err := p.kept(ctx, ph)
		if err != nil {
			return nil, err
		}
		out = append(out, kept...)
	}
	return out, nil
}

// kept reads what is kept of a phase.
func (p *Publisher) kept(ctx context.Context, ph *mr.PhaseSpec) ([]mr.Manifest, error) {
	newest := make([]dfs.Path, ph.NumTasks())
	for info, err := range p.FS.List(ctx, p.tasks(ph.ID)) {
		if err != nil {
			return nil, errs.E("find tasks", errs.Unknown, string(ph.ID), err)
		}
		index, rest, _ := strings.Cut(info.Path.Base(), "-")
		n, err := strconv.Atoi(index)
		if err != nil || n < 0 || n >= len(newest) || rest == "" {
			continue // nobody of ours wrote it
		}
		if newest[n] == "" || newest[n].Base() < info.Path.Base() { // epoch and number have as many digits in all names
			newest[n] = info.Path
		}
	}
	var out []mr.Manifest
	for i, path := range newest {
		if path == "" {
			continue
		}
		data, err := dfs.ReadFile(ctx, p.FS, path, p.limit())
		if err != nil && !errs.Is(err, errs.NotExist) && !errs.Is(err, errs.Corrupt) && !errs.Is(err, errs.Invalid) {
			return nil, errs.E("load task", errs.Unknown, string(path), err)
		}
		var m mr.Manifest
		if err == nil {
			m, err = parseTask(data, mr.TaskID{Phase: ph.ID, Index: i})
		}
		if err != nil {
			p.warn("a task that was kept is damaged: it runs again", ph.ID, err)
			continue
		}
		out = append(out, m)
	}
	return out, nil
}

func parseTask(data []byte, want mr.TaskID) (m mr.Manifest, err error) {
	digest, data, _ := bytes.Cut(data, []byte("\n"))
	if digestOf(data) != string(digest) {
		return m, errors.New("the manifest is not what its digest says")
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, err
	}
	if m.Attempt.Task != want {
		return m, fmt.Errorf("it is the manifest of %s", m.Attempt.Task)
	}
	return m, nil
}
