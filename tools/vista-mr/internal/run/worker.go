package run

import (
	"errors"
	"sync"

	"github.com/vista-mr/vista-mr/layers/ort"
	"github.com/vista-mr/vista-mr/mr"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/host"
)

// Stores opens the URIs that job files may name.
func Stores() *dfs.Mux { return stores() }

// OpenHost starts what this process needs to run attempts of any job, as many as slots at once: ONNX Runtime with the
// user's cache, all stores, and a place for programs of stores elsewhere. Scratch is a local folder that is there. Memory is what all
// jobs together may take, in bytes; 0: there is no limit. The function that it returns ends the runtime, after all attempts.
func OpenHost(scratch string, slots int, memory int64, o Options) (*host.Host, func() error, error) {
	o.fill()
	rts := &runtimes{o: ort.Options{Library: o.ORTLib, CacheDir: cacheDir()}, memory: memory}
	if err := rts.start(0); err != nil { // a library that is missing is told at once
		return nil, nil, exit.As(exit.Invalid, err)
	}
	warnOfCache(o.Log)
	return &host.Host{Stores: stores(), Runtime: rts.use, Blobs: programCache(scratch), Scratch: scratch, Slots: slots, Log: o.Log}, rts.Close, nil
}

// runtimes keeps a process's ONNX Runtime within the memory of the jobs that use it. How much it may allocate is said when it is
// started, so it is started anew when nobody uses it and another job comes.
type runtimes struct {
	o      ort.Options
	memory int64

	mu   sync.Mutex
	rt   *ort.Runtime
	used int // programs that are open
}

// arena is what the runtime may allocate for all jobs that come while it is open, when the first of them has these settings: what that one's
// plan gives it, and all that is left for others beside that one. 0: any.
func (r *runtimes) arena(s mr.Settings) int64 {
	if s.Native <= 0 || s.Memory <= 0 || r.memory <= 0 {
		return 0
	}
	return s.Native + max(0, r.memory-s.Memory)
}

func (r *runtimes) use(s mr.Settings) (*ort.Runtime, func() error, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.used == 0 {
		if err := r.start(r.arena(s)); err != nil {
			return nil, nil, err
		}
	}
	r.used++
	return r.rt, sync.OnceValue(func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.used--
		return nil
	}), nil
}

// start starts the runtime, or starts it anew if it may allocate another amount.
func (r *runtimes) start(arena int64) error {
	if r.rt != nil && r.o.ArenaLimit == arena {
		return nil
	}
	if r.rt != nil {
		if err := r.rt.Close(); err != nil {
			return err
		}
		r.rt = nil
	}
	o := r.o
	o.ArenaLimit = arena
	rt, err := ort.Init(o)
	if err != nil {
		return err
	}
	r.rt, r.o = rt, o
	return nil
}

// Close ends the runtime. All programs have been closed.
func (r *runtimes) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rt == nil {
		return nil
	}
	if r.used > 0 {
		return errors.Join(errors.New("programs are open"), r.rt.Close())
	}
	return r.rt.Close()
}
