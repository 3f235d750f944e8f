package run

import (
	"go.uber.org/zap"

	"github.com/vista-mr/vista-mr/layers/ort"
	"github.com/vista-mr/vista-mr/mr/dfs"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/exit"
	"github.com/vista-mr/vista-mr/tools/vista-mr/internal/host"
)

// Stores opens every URI that a job file may hold.
func Stores() *dfs.Mux { return stores() }

// NewHost makes what a worker daemon's attempts run in, with the runtime started; close ends it.
func NewHost(lib, scratch string, slots int, log *zap.Logger) (h *host.Host, closeAll func() error, err error) {
	rt, err := ort.Init(ort.Options{Library: lib, CacheDir: cacheDir()})
	if err != nil {
		return nil, nil, exit.As(exit.Invalid, err)
	}
	return &host.Host{Stores: stores(), ORT: rt, Blobs: programCache(scratch), Scratch: scratch, Slots: slots, Log: log}, rt.Close, nil
}
