// Package host makes what attempts run in: the kinds of jobs with ONNX Runtime behind them, the job's store, and what
// its specification asks for. A worker, the in-process engine and the attempt command use it alike.
//
// Invariant: a specification names files by paths in its job's store or by URIs of its input, and opens nothing else
// of this machine. A program from another machine's store runs only if its bytes are what the specification says.
//
// Callers are package run and the commands. The package reads no environment and keeps nothing between calls; what
// it opens belongs to the attempts' environment.
package host

import (
	"context"
	"errors"

	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/jobs"
	"github.com/vista-mr/vista-mr/jobs/extract"
	"github.com/vista-mr/vista-mr/layers/ort"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/blobs"
	"github.com/vista-mr/vista-mr/mr/cache"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/mr/errs"
	"github.com/vista-mr/vista-mr/mr/task"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/machine"
)

// Host is what a process has for attempts of any job.
type Host struct {
	Stores *dfs.Mux     // of jobs and their input
	ORT    *ort.Runtime // what programs run on
	// Runtime is used instead of ORT where jobs come and go: it gives the runtime to a program that is about to be opened, for a
	// job with these settings, until release is called.
	Runtime func(s mr.Settings) (rt *ort.Runtime, release func() error, err error)
	Blobs   *blobs.Cache // programs from stores of other machines
	Scratch string       // a local folder for spills and the like
	Slots   int          // attempts at once
	Log     *zap.Logger  // nil: nobody
}

// Env makes what the attempts of the specification's job run in.
func (h *Host) Env(ctx context.Context, spec *mr.TaskSpec) (*task.Env, error) {
	if spec.Store == "" {
		return nil, errs.E("run", errs.Invalid, "", errors.New("the specification names no store"))
	}
	store, err := h.Stores.Folder(ctx, spec.Store)
	if err != nil {
		return nil, err
	}
	return h.env(store, spec.Settings)
}

func (h *Host) env(store dfs.FS, s mr.Settings) (*task.Env, error) {
	registry, err := jobs.Registry(&programs{runtime: h.runtime(s), store: store, blobs: h.Blobs})
	if err != nil {
		return nil, errs.E("run", errs.Internal, "", err)
	}
	return &task.Env{Store: store, Mux: h.Stores, Registry: registry, Shared: task.NewShared(), Cache: cache.New(s.Cache, h.Scratch),
		Scratch: h.Scratch, Slots: h.Slots, SortMemory: s.SortMemory, Log: h.Log, KeepLogs: true, Usage: Usage}, nil
}

// runtime is how programs of a job get what they run on.
func (h *Host) runtime(s mr.Settings) func() (*ort.Runtime, func() error, error) {
	if h.Runtime != nil {
		return func() (*ort.Runtime, func() error, error) { return h.Runtime(s) }
	}
	return func() (*ort.Runtime, func() error, error) {
		if h.ORT == nil {
			return nil, nil, errs.E("open program", errs.Internal, "", errors.New("there is no ONNX Runtime in this process"))
		}
		return h.ORT, func() error { return nil }, nil
	}
}

// Usage is what this process uses.
func Usage() task.Usage {
	now, peak := machine.Resident()
	return task.Usage{CPU: machine.CPU(), Resident: now, Peak: peak}
}

// Loops has all kinds for a process that drives jobs and runs no attempts: it needs no ONNX Runtime.
func Loops() (*mr.Registry, error) { return jobs.Registry(nowhere{}) }

// nowhere runs no programs.
type nowhere struct{}

func (nowhere) Open(context.Context, extract.Model) (extract.Session, error) {
	return nil, errs.E("open program", errs.Internal, "", errors.New("no attempts run in this process"))
}
