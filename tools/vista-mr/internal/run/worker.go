package run

import (
	"github.com/vista-mr/vista-mr/layers/ort"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/host"
)

// Stores opens the URIs that job files may name.
func Stores() *dfs.Mux { return stores() }

// OpenHost starts what this process needs to run attempts of any job, as many as slots at once: ONNX Runtime with the
// user's cache, all stores, and a place for programs of stores elsewhere. Scratch is a local folder that is there.
// The function that it returns ends the runtime, after all attempts.
func OpenHost(scratch string, slots int, o Options) (*host.Host, func() error, error) {
	o.fill()
	rt, err := ort.Init(ort.Options{Library: o.ORTLib, CacheDir: cacheDir()})
	if err != nil {
		return nil, nil, exit.As(exit.Invalid, err)
	}
	return &host.Host{Stores: stores(), ORT: rt, Blobs: programCache(scratch), Scratch: scratch, Slots: slots, Log: o.Log}, rt.Close, nil
}
