// Package ort runs CNN programs on ONNX Runtime. It is the only part of the project that needs
// cgo.
//
// Invariant: there is one environment and, for each program, one session in the process, with
// one thread of its own for each call; parallelism is the caller's goroutines. So the weights
// are held once, and the same batch gives the same bits whoever runs it.
//
// Use:
//  1. Init once, with the memory that activations and weights may take together, if that is
//     to be limited, and a folder for prepared models.
//  2. Open a program, once for all goroutines.
//  3. NewRunner for each goroutine: it owns buffers that are reused from call to call.
//
// Prepared models: with a cache folder, the first Open of a program writes the optimized graph
// and the weights in the layout of this CPU; later ones map that file. Sessions then start in
// hundredths of a second, and weights are pages of a file instead of memory of the process.
//
// Package tools/vista-mr adapts it to what jobs expect of an engine. It reads no ONNX itself:
// names and shapes are told by whoever built the program.
package ort

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	ort "github.com/yalue/onnxruntime_go"
)

// Options say what the runtime may use.
type Options struct {
	// ArenaLimit bounds what all sessions together may allocate, in bytes: a batch that does
	// not fit fails with an Error whose OutOfMemory is true. 0: no limit.
	ArenaLimit int64
	// CacheDir is where prepared models are kept. "": they are not.
	CacheDir string
}

// Runtime is the process's ONNX Runtime.
type Runtime struct {
	o    Options
	open int // sessions; guarded by mu
}

var (
	mu      sync.Mutex // guards the environment, which the binding has one of
	current *Runtime
)

// Error is a failure of the runtime.
type Error struct {
	Op   string
	ID   string
	Fix  string
	Err  error
	full bool
}

func (e *Error) Error() string { return fmt.Sprintf("ONNX Runtime: %s: %v", e.Op, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ErrorID is stable.
func (e *Error) ErrorID() string {
	if e.ID == "" {
		return "E-ORT"
	}
	return e.ID
}

// Hint says what to do.
func (e *Error) Hint() string { return e.Fix }

// OutOfMemory tells whether the memory limit was met: a smaller batch may work.
func (e *Error) OutOfMemory() bool { return e.full }

func wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	e := &Error{Op: op, Err: err}
	for _, sign := range []string{"Failed to allocate memory", "BFCArena", "bad_alloc", "Available memory of"} {
		e.full = e.full || strings.Contains(text, sign)
	}
	return e
}

// Library is the file name of the runtime's library on this system.
func Library() string {
	switch runtime.GOOS {
	case "darwin":
		return "libonnxruntime.dylib"
	case "windows":
		return "onnxruntime.dll"
	}
	return "libonnxruntime.so"
}

// FindLibrary looks for the library: VISTA_MR_ORT_LIB, beside the program, then in bin/ of the
// module that a test runs in.
func FindLibrary() (string, error) {
	missing := func(looked ...string) error {
		return &Error{Op: "find library", ID: "E-ORT-LIB", Err: fmt.Errorf("%s is not at %s", Library(), strings.Join(looked, " nor at ")),
			Fix: "`make setup` fetches it; VISTA_MR_ORT_LIB=/path/to/" + Library() + " names one that is installed"}
	}
	if p := os.Getenv("VISTA_MR_ORT_LIB"); p != "" {
		if _, err := os.Stat(p); err != nil {
			return "", missing(p)
		}
		return p, nil
	}
	var looked []string
	if exe, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(exe); err == nil {
			exe = real
		}
		looked = append(looked, filepath.Join(filepath.Dir(exe), Library()))
	}
	if dir, err := os.Getwd(); err == nil {
		for ; ; dir = filepath.Dir(dir) {
			if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
				looked = append(looked, filepath.Join(dir, "bin", Library()))
				break
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	for _, p := range looked {
		if _, err := os.Stat(p); err == nil {
			return p, nil
		}
	}
	return "", missing(looked...)
}

// Init loads the library and makes the environment. A process has one: a second Init before
// Close is an error.
func Init(o Options) (*Runtime, error) {
	mu.Lock()
	defer mu.Unlock()
	if current != nil {
		return nil, wrap("start", errors.New("it is running already"))
	}
	lib, err := FindLibrary()
	if err != nil {
		return nil, err
	}
	setMalloc()
	ort.SetSharedLibraryPath(lib)
	if err := ort.InitializeEnvironment(ort.WithLogLevelError()); err != nil {
		return nil, &Error{Op: "load " + lib, ID: "E-ORT-LIB", Err: err,
			Fix: "`make setup` fetches a version that fits; VISTA_MR_ORT_LIB names another one"}
	}
	if o.ArenaLimit > 0 {
		if err := limitArena(o.ArenaLimit); err != nil {
			return nil, errors.Join(wrap("limit memory", err), ort.DestroyEnvironment())
		}
	}
	current = &Runtime{o: o}
	return current, nil
}

// limitArena makes one arena that all sessions allocate from. It grows by what is asked for:
// growing by powers of two would waste up to half of a limit.
func limitArena(limit int64) error {
	const sameAsRequested = 1
	cfg, err := ort.NewArenaCfg(int(limit), sameAsRequested, -1, -1)
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

// Close ends the runtime. All sessions must have been closed.
func (r *Runtime) Close() error {
	mu.Lock()
	defer mu.Unlock()
	if r.open > 0 {
		return wrap("stop", fmt.Errorf("%d sessions are open", r.open))
	}
	current = nil
	return wrap("stop", ort.DestroyEnvironment())
}
