package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/tracker"
	"github.com/vista-mr/vista-mr/mr/wire"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/run"
	"github.com/vista-mr/vista-mr/vistaopt"
)

// Engine has a driver's phases run by a tracker's workers.
type Engine struct {
	Client Client
	Job    string // whose driver this is
	Tell   ProgressLines
	Log    *zap.Logger
}

var _ run.Engine = (*Engine)(nil)

// waitForWorkers is how long a driver waits for a first worker before it can plan.
const waitForWorkers = 2 * time.Minute

// Machine is the least of what the workers offer, because a plan must fit on each, and the tracker, in which training is driven.
func (e *Engine) Machine(ctx context.Context) (vistaopt.Machine, error) {
	info, err := e.Client.Tracker(ctx)
	if err != nil {
		return vistaopt.Machine{}, err
	}
	for start := time.Now(); ; {
		list, err := e.Client.Workers(ctx)
		if err != nil {
			return vistaopt.Machine{}, err
		}
		if m := least(list.Workers); m.Cores > 0 {
			m.Tracker = vistaopt.Tracker{Memory: info.Memory, Jobs: info.Jobs, Whole: info.Whole}
			return m, nil
		}
		if time.Since(start) > waitForWorkers {
			return vistaopt.Machine{}, &errs.Error{Op: "plan", Kind: errs.Unreachable, ID: "E-NO-WORKERS", Path: e.Client.URL,
				Err: fmt.Errorf("no worker has joined the tracker within %v", waitForWorkers), Fix: "start workers: vista-mr worker --tracker " + e.Client.URL}
		}
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return vistaopt.Machine{}, ctx.Err()
		}
	}
}

// least is the least of what workers offer, and the one that has the least memory. Weights are mapped on all of them or on none.
func least(workers []tracker.WorkerNow) vistaopt.Machine {
	var m vistaopt.Machine
	most := int64(0)
	for _, w := range workers {
		if w.Slots < 1 { // it drains
			continue
		}
		m.Workers++
		m.Unmapped = m.Unmapped || !w.Keeps
		if m.Cores == 0 || w.Slots < m.Cores {
			m.Cores = w.Slots
		}
		if w.Memory <= 0 { // it says no limit
			most = math.MaxInt64
			continue
		}
		most = max(most, w.Memory)
		switch {
		case m.Memory == 0 || w.Memory < m.Memory:
			m.Memory, m.Least, m.Most = w.Memory, string(w.ID), w.Whole
		case w.Memory == m.Memory:
			m.Most = min(m.Most, w.Whole)
		}
	}
	if most == m.Memory && m.Workers > 1 {
		m.Least = vistaopt.EachWorker
	}
	m.Whole = m.Memory
	return m
}

// Run has the phases run.
func (e *Engine) Run(ctx context.Context, w *run.Work) (map[mr.PhaseID]*mr.PhaseManifest, error) {
	e.Tell.Plan(w.Plan)
	spec := w.Spec
	// One tracker runs jobs of many outputs, and the same job for several.
	place := sha256.Sum256([]byte(spec.Store))
	spec.ID += mr.JobID("-" + hex.EncodeToString(place[:4]))
	spec.Settings.Slots, spec.Settings.Memory = w.Slots, max(w.Room.Heap+w.Room.Arena, w.Room.Trainer)
	w.Ran = spec.ID
	spec.Settings.Native, spec.Phases = w.Room.Arena, slices.Clone(spec.Phases)
	for i := range spec.Phases {
		spec.Phases[i].Heap = w.Heap(&spec.Phases[i])
	}
	var done []mr.PhaseManifest
	var kept []mr.Manifest
	resumed := false
	resume := func() {
		if !resumed {
			resumed = true
			w.Resumed(done, kept)
		}
	}
	remote := &wire.Remote{URL: e.Client.URL, Token: e.Client.Token, HTTP: e.Client.HTTP, Job: e.Job, Log: e.Log}
	out, err := remote.Run(ctx, &spec, func(u tracker.Update) {
		switch u.Kind {
		case tracker.PhaseRestored:
			done = append(done, *u.Published) // said again when a tracker comes back; the first time counts
		case tracker.TaskRestored:
			kept = append(kept, *u.Manifest)
		default:
			resume()
			w.Peak = max(w.Peak, u.Peak)
			w.Observe(u)
		}
	})
	resume()
	w.Elsewhere = true
	w.Machine = e.had(ctx)
	return out, err
}

// had is the least of what the workers offer; nothing if they cannot be asked, which is not worth a job.
func (e *Engine) had(ctx context.Context) vistaopt.Machine {
	list, err := e.Client.Workers(ctx)
	if err != nil {
		e.Log.Warn("workers do not tell what they hold", zap.Error(err))
	}
	return least(list.Workers)
}

// WhyEnded is why a driver's tracker has told it to end, as far as the tracker says so within a moment: its job is killed, or the tracker itself ends.
func (c *Client) WhyEnded(ctx context.Context, job string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	why := "the tracker was told to end; when it runs again, it goes on with the job"
	if r, err := c.Job(ctx, job); err == nil && r.Job.Ending {
		why = "the job was killed; submitted again, it goes on where it stopped"
	}
	return errs.E("drive", errs.Canceled, "", errors.New(why))
}

// EndWith cancels a driver when its tracker is gone: when r, a pipe from it, ends.
func EndWith(r io.Reader, cancel context.CancelCauseFunc) {
	go func() {
		_, err := io.Copy(io.Discard, r)
		cancel(errors.Join(errs.E("drive", errs.Canceled, "", errors.New("the tracker has ended")), err))
	}()
}
