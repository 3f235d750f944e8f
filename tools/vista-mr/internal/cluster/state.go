package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/commit"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/status"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
)

const maxRecord = 8 << 20

// load reads what an earlier tracker has left, and starts what was not over. It returns what drivers have had run.
func (m *jobs) load(ctx context.Context) ([]mr.JobID, error) {
	files := map[string]map[string]dfs.Path{}
	for info, err := range m.store.List(ctx, "jobs") {
		if err != nil {
			return nil, err
		}
		id, rest, ok := strings.Cut(strings.TrimPrefix(string(info.Path), "jobs/"), "/")
		if !ok {
			continue
		}
		if files[id] == nil {
			files[id] = map[string]dfs.Path{}
		}
		files[id][rest] = info.Path
	}
	var mu sync.Mutex
	var runs []mr.JobID
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readsAtOnce)
	for id, parts := range files {
		if parts["job.json"] == "" {
			continue // its tracker was stopped before it answered
		}
		g.Go(func() error {
			b, err := m.loadJob(ctx, id, parts)
			if err != nil || b == nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			m.byID[id] = b
			m.order = append(m.order, b)
			runs = append(runs, b.runs...)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	slices.SortFunc(m.order, func(a, b *book) int { return a.Submitted.Compare(b.Submitted) })
	return runs, nil
}

// readsAtOnce is how many jobs are read at once: a tracker that has had a thousand must not take a minute to start on a slow store.
const readsAtOnce = 16

// loadJob reads what there is of a job, and adopts one that is not over; nil: it cannot be read, or was taken back, and is left out.
func (m *jobs) loadJob(ctx context.Context, id string, parts map[string]dfs.Path) (*book, error) {
	end := lastEnd(parts)
	if end == "" { // it is adopted before it is read: see handOver
		if err := m.adopt(ctx, id); err != nil {
			return nil, err
		}
	}
	b := &book{past: &status.History{}, over: make(chan struct{})}
	if err := m.read(ctx, parts["job.json"], &b.sub); err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		m.log.Error("a job of an earlier tracker cannot be read, and is left out", zap.String("job", id), zap.Error(err))
		return nil, nil
	}
	b.Job = Job{ID: id, Name: b.sub.Name, User: b.sub.User, Output: b.sub.Output, State: Queued, Submitted: b.sub.Submitted}
	if end != "" {
		var e ended
		if err := m.read(ctx, end, &e); err != nil {
			if ctx.Err() != nil {
				return nil, err
			}
			m.log.Error("how a job ended cannot be read", zap.String("job", id), zap.Error(err))
			e.State = Failed
		}
		b.end(&e)
		b.logs = e.Logs
		b.past = status.Restore(e.Record)
		return b, nil
	}
	b.Ending = parts[killedFile] != ""
	if p := parts[startedFile]; p != "" {
		var s begun
		if err := m.read(ctx, p, &s); ctx.Err() != nil {
			return nil, err
		} else if err != nil { // then it counts from now on
			m.log.Warn("when a job has begun cannot be read", zap.String("job", id), zap.Error(err))
		}
		b.Started = s.Started
	}
	for name := range parts {
		if run, ok := strings.CutPrefix(name, "runs/"); ok { // jobs' names are legal in paths
			b.runs = append(b.runs, mr.JobID(run))
		}
	}
	return b, nil
}

// handOver decides about a job that was written down when another tracker had the state already. That one may have found it, and then
// it is taken: it must neither be removed nor submitted again. If it has not adopted it, the job is taken back, and the client is sent
// there. A tracker adopts a job before it reads it, so it runs none that was taken back before. One that adopts between the look and
// the removal is found by the second look, and the job is written down again: if that tracker has not read it by then, the one after it
// runs it.
func (m *jobs) handOver(s *submission, data []byte) error {
	ctx := m.base // what was begun is decided, whether the client waits or not
	taken, err := m.adoptedByAnother(ctx, s.ID)
	if err == nil && !taken {
		if err = m.store.Remove(ctx, s.file()); err == nil {
			taken, err = m.adoptedByAnother(ctx, s.ID)
		}
		if err == nil && taken {
			err = dfs.WriteFile(ctx, m.store, s.file(), data)
		}
	}
	if err == nil && taken {
		return nil
	}
	return errors.Join(errs.E("submit", errs.Unreachable, "", errors.New("another tracker has taken over")), err)
}

// adoptedByAnother tells whether a job of this tracker's has been adopted.
func (m *jobs) adoptedByAnother(ctx context.Context, id string) (bool, error) {
	for info, err := range m.store.List(ctx, dfs.Path("jobs").Join(id)) {
		if err != nil {
			return false, err
		}
		if strings.HasPrefix(info.Path.Base(), adopted) {
			return true, nil
		}
	}
	return false, nil
}

// adopt says that the job is this tracker's from now on. Who only looks has no epoch and adopts nothing.
func (m *jobs) adopt(ctx context.Context, id string) error {
	if m.epoch == 0 {
		return nil
	}
	if err := m.store.Claim(ctx, dfs.Path("jobs").Join(id, m.mark(adopted, ""))); err != nil && !errs.Is(err, errs.Exist) {
		return err
	}
	return nil
}

// How a job ended is in a file that names the epoch of the tracker that says so. A tracker after it that found the job unfinished has
// claimed a mark before it went on with it: what one before that says later, because it was stopped and does not know yet, does not
// count.
const (
	endedMark = "ended-"
	adopted   = "adopted-"
)

// startedFile says when a job has begun, for the first time.
const startedFile = "started.json"

// begun is what it holds.
type begun struct {
	Started time.Time `json:"started"`
}

// keepStart writes down when a job has begun. Without it a tracker after this one would count from its own beginning, which is no reason
// to have the job wait.
func (m *jobs) keepStart(id string, at time.Time) {
	data, err := json.Marshal(begun{at})
	if err == nil {
		err = dfs.WriteFile(m.base, m.store, dfs.Path("jobs").Join(id, startedFile), data)
	}
	if err != nil && m.base.Err() == nil && !errs.Is(err, errs.Exist) {
		m.log.Warn("when a job has begun could not be written down", zap.String("job", id), zap.Error(err))
	}
}

// mark is the name of a file of a job that carries this tracker's epoch.
func (m *jobs) mark(kind, suffix string) string {
	return fmt.Sprintf("%s%010d%s", kind, m.epoch, suffix)
}

// lastEnd is the file, of a job's, that says how it ended and counts; "": it has not ended.
func lastEnd(parts map[string]dfs.Path) dfs.Path {
	end, last := "", ""
	for name := range parts {
		if e, ok := strings.CutPrefix(name, endedMark); ok {
			end = max(end, strings.TrimSuffix(e, ".json")) // all have as many digits
		} else if e, ok := strings.CutPrefix(name, adopted); ok {
			last = max(last, e)
		}
	}
	if end == "" || end < last {
		return ""
	}
	return parts[endedMark+end+".json"]
}

// keepEnd writes down how a job ended. While the store refuses that, it is tried again behind the job's back, until it is written, this
// tracker stops or another one has the state: those after it would run the job again.
func (m *jobs) keepEnd(id string, e *ended) {
	data, err := json.Marshal(e)
	if err != nil {
		m.log.Error("how a job ended cannot be written down", zap.String("job", id), zap.Error(err))
		return
	}
	file := dfs.Path("jobs").Join(id, m.mark(endedMark, ".json"))
	write := func() error {
		err := dfs.WriteFile(m.base, m.store, file, data)
		if errs.Is(err, errs.Exist) { // only this tracker writes it: an attempt before has, and was not told
			return nil
		}
		return err
	}
	if err = write(); err == nil {
		return
	}
	m.log.Error("how a job ended could not be written down; it is tried again", zap.String("job", id), zap.Error(err))
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.base.Err() != nil {
		return
	}
	m.work.Go(func() {
		for pause := time.Second; ; pause = min(2*pause, mostPause) {
			select {
			case <-time.After(pause):
			case <-m.base.Done():
				m.log.Error("how a job ended is not written down: a tracker after this one will run it again", zap.String("job", id))
				return
			}
			if m.superseded(m.base) {
				m.log.Warn("how a job ended is not written down: another tracker goes on with it", zap.String("job", id))
				return
			}
			err := write()
			if err == nil {
				m.log.Info("how a job ended is written down now", zap.String("job", id))
				return
			}
			m.log.Warn("how a job ended could not be written down; it is tried again", zap.String("job", id), zap.Error(err))
		}
	})
}

// mostPause is between two attempts to write down how a job ended.
const mostPause = 30 * time.Second

// superseded tells whether another tracker has the state, which this one is about to find out and end for. A store that does not answer
// says nothing.
func (m *jobs) superseded(ctx context.Context) bool {
	return m.current != nil && errs.Is(m.current(ctx), errs.Lost)
}

// ReadJobs lists the jobs in a tracker's state, the newest first, without a tracker. Those that are not over count as running if they have ever
// begun, else as queued. A folder that
// no tracker has had is refused: exit class invalid.
func ReadJobs(ctx context.Context, state dfs.FS) (JobList, error) {
	m := &jobs{store: state, log: zap.NewNop(), byID: map[string]*book{}, most: 1}
	if _, err := m.load(ctx); err != nil {
		return JobList{}, err
	}
	if len(m.order) == 0 { // a tracker that has had no job has an epoch
		epoch, err := (&commit.Publisher{FS: state}).Epoch(ctx)
		if err != nil {
			return JobList{}, err
		}
		if epoch == 0 {
			return JobList{}, exit.As(exit.Invalid, &errs.Error{Op: "jobs", Kind: errs.NotExist, ID: "E-NO-STATE",
				Err: errors.New("no tracker has its state there: there is no epochs/NNNNNNNNNN and no jobs/ID/job.json"),
				Fix: "name the folder that the tracker was given with --state; without --state, vista-mr jobs asks the tracker"})
		}
	}
	list := m.list()
	for i := range list {
		switch j := &list[i]; {
		case j.State != Queued:
		case j.Ending:
			j.Waits = "was killed; it ends when a tracker has this state"
			if !j.Started.IsZero() {
				j.State = Running
			}
		case j.Started.IsZero():
			j.Waits = "waits for a tracker on this state, or for its turn there"
		default:
			j.State, j.Waits = Running, "goes on when a tracker has this state; whether one has it now cannot be told from here"
		}
	}
	return JobList{SchemaVersion: 1, Jobs: list}, nil
}

func (m *jobs) read(ctx context.Context, p dfs.Path, v any) error {
	b, err := dfs.ReadFile(ctx, m.store, p, maxRecord)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}
