// Package ort runs CNN programs on ONNX Runtime. It is the only part of the project that needs
// cgo.
//
// Invariant: there is one environment and, for each program, one session in the process, which runs
// each call on the thread that makes it; parallelism is the caller's goroutines. So the weights
// are held once, and the same batch gives the same bits whoever runs it.
//
// Use:
//  1. Init once, with the memory that activations and weights may take together, if that is
//     to be limited, and a folder for prepared models.
//  2. Open a program. Opened again, it is the same session.
//  3. NewRunner for each goroutine: it owns buffers that are reused from call to call.
//
// Prepared models: with a cache folder, the first Open of a program writes the optimized graph
// and the weights in the layout of this CPU; later ones map that file. Sessions then start in
// hundredths of a second, and weights are pages of a file instead of memory of the process. The file
// format.md describes what lies in the cache.
//
// Package tools/vista-mr adapts it to what jobs expect of an engine. It reads no ONNX itself:
// names and shapes are told by whoever built the program.
package ort

import (
	"context"
	"errors"
	"fmt"
	"sync"

	ort "github.com/yalue/onnxruntime_go"
)

// Options say what the runtime may use.
type Options struct {
	// Library is the path of the runtime's library. "": that of VISTA_MR_ORT_LIB, then the one beside the program,
	// then what the system's loader knows.
	Library string
	// ArenaLimit bounds what all sessions together may allocate, in bytes: a batch that does
	// not fit fails with an Error whose OutOfMemory is true. 0: no limit.
	ArenaLimit int64
	// CacheDir is where prepared models are kept. "": they are not.
	CacheDir string
}

// Runtime is the process's ONNX Runtime. It is safe for concurrent use.
type Runtime struct {
	o    Options
	gate chan struct{} // held while a session is made: what that needs for a moment is not needed twice at once

	refs     int              // Inits without Close; guarded by mu
	open     int              // cores; guarded by mu
	sessions map[string]*core // those that can be shared, by program; guarded by mu
}

var (
	mu      sync.Mutex // guards the environment, of which the library has one
	current *Runtime
)

// Init loads the library and makes the environment. A process has one: while it is open, an Init
// with equal options returns the same Runtime, which then has to be closed as many times, and one
// with others is an error.
func Init(o Options) (*Runtime, error) {
	mu.Lock()
	defer mu.Unlock()
	if current != nil {
		if current.o != o {
			return nil, fail("start", idRun, "use the one that is open, or close it first", errors.New("it is open already, with other options"))
		}
		current.refs++
		return current, nil
	}
	if o.ArenaLimit < 0 {
		return nil, fail("start", idRun, "give a limit of 0 (none) or more", fmt.Errorf("a memory limit of %d bytes", o.ArenaLimit))
	}
	if err := silence(); err != nil {
		return nil, fail("start", idRun, "", err)
	}
	lib, _, err := CheckLibrary(o.Library)
	if err != nil {
		return nil, err
	}
	setMalloc()
	ort.SetSharedLibraryPath(lib)
	// What goes wrong comes back as an error; the library need not print it as well.
	if err := ort.InitializeEnvironment(ort.WithLogLevelFatal()); err != nil {
		return nil, fail("load "+lib, idLibrary, getLibrary, err)
	}
	if o.ArenaLimit > 0 {
		if err := limitArena(o.ArenaLimit); err != nil {
			return nil, errors.Join(fail("limit memory", idRun, "", err), ort.DestroyEnvironment())
		}
	}
	current = &Runtime{o: o, refs: 1, gate: make(chan struct{}, 1), sessions: map[string]*core{}}
	return current, nil
}

// renewArena lets go of what the arena has grown to, which it never does by itself: no session is open, and what comes next
// (training, another network) has a use for the memory.
func renewArena(limit int64) error {
	info, err := ort.GetMemoryInfo()
	if err != nil {
		return err
	}
	if err := ort.UnregisterAllocator(info); err != nil {
		return err
	}
	return limitArena(limit)
}

// limitArena makes one arena that all sessions allocate from. It grows by what is asked for:
// growing by powers of two would waste up to half of a limit.
func limitArena(limit int64) error {
	const sameAsRequested, byDefault = 1, -1
	cfg, err := ort.NewArenaCfg(int(limit), sameAsRequested, byDefault, byDefault)
	if err != nil {
		return err
	}
	defer cfg.Destroy()
	info, err := ort.GetMemoryInfo()
	if err != nil {
		return err
	}
	return ort.CreateAndRegisterAllocator(info, cfg)
}

// Version is the library's version.
func (r *Runtime) Version() string { return ort.GetVersion() }

// Close ends the runtime once it was called as often as Init. All sessions and runners must have been closed.
func (r *Runtime) Close() error {
	mu.Lock()
	defer mu.Unlock()
	if current != r {
		return nil // closed before
	}
	if r.refs > 1 {
		r.refs--
		return nil
	}
	if r.open > 0 {
		return fail("stop", idRun, "close sessions and runners first", fmt.Errorf("%d sessions are open", r.open))
	}
	current = nil
	return fail("stop", idRun, "", ort.DestroyEnvironment())
}

// enter waits for its turn to make a session.
func (r *Runtime) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case r.gate <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *Runtime) leave() { <-r.gate }
